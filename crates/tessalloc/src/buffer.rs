//! An allocator that lives wholly in one given buffer: no system call, no memory but the buffer's.
//!
//! ```text
//!  Buffer<N>                                             over: the caller's memory
//! ┌────────────────┬───────────────────────────────────────────────────────────┐
//! │ lock, state    │ N bytes:  free │ blocks │ kinds │ unit 0 │ unit 1 │ … │ rest │
//! └────────────────┴───────────────────────────────────────────────────────────┘
//! ```
//!
//! | field    | written by  | always true                                                                                |
//! |----------|-------------|--------------------------------------------------------------------------------------------|
//! | `lock`   | any         | B1 who touches the other fields, or the arrays in the memory, holds it                       |
//! | `start`  | set once    | B2 null: the memory is `memory`; else the caller's, given up to us for good                  |
//! | `bytes`  | set once    | B2 its length                                                                                |
//! | `plan`   | first call  | B3 arrays and units lie in the memory, apart, the arrays aligned to 8, the units to 512      |
//! | `heads`  | any call    | T1–T8 of [`table`], with the arrays                                                          |
//! | `memory` | –           | B4 what lies in units belongs to whom the blocks were handed to; we write there only to move |
//!
//! Places are distances (B5): a buffer without blocks in use may be moved.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::slice::from_raw_parts_mut;

use crate::report;

#[cfg_attr(not(target_has_atomic = "32"), path = "buffer/one_core.rs")]
mod lock;
mod table;

use lock::Lock;
use table::{Heads, Table, UNIT_BYTES};

/// Where the arrays and the units are, as distances from the start of the memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plan {
    units: usize,
    free_at: usize,
    blocks_at: usize,
    kinds_at: usize,
    units_at: usize,
}

/// As many units as fit into the memory at this address, with their arrays before them.
fn plan(address: usize, bytes: usize) -> Plan {
    /// Eight units and their bits in the arrays: 8 × 512 + 8 × 8 + 8 + 1.
    const EIGHT_UNITS_BYTES: usize = 8 * UNIT_BYTES + 73;
    let from = |at: usize, align: usize| (address + at).next_multiple_of(align) - address;
    let mut units = (bytes / EIGHT_UNITS_BYTES * 8 + 8).min(u32::MAX as usize);
    // Bound: the start is at most 8 units too high, and what alignment takes is less than one more.
    loop {
        let free_at = from(0, 8);
        let blocks_at = free_at + units.div_ceil(64) * 8;
        let kinds_at = blocks_at + units * 8;
        let units_at = from(kinds_at + units, UNIT_BYTES);
        if units == 0 || units_at + units * UNIT_BYTES <= bytes {
            return Plan { units, free_at, blocks_at, kinds_at, units_at };
        }
        units -= 1;
    }
}

struct State {
    start: *mut u8,
    bytes: usize,
    plan: Option<Plan>,
    heads: Heads,
}

/// What a buffer holds. Unit of all but the last: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct BufferStats {
    /// What blocks can be made of: the buffer without its own tables, in whole units of 512.
    pub capacity_bytes: usize,
    /// Usable bytes of the blocks in use.
    pub allocated_bytes: usize,
    /// The most that `allocated_bytes` has been.
    pub allocated_peak_bytes: usize,
    /// In units that are wholly free. What lies between this, `allocated_bytes` and the capacity is free in pages of small blocks.
    pub free_bytes: usize,
    /// The longest run of free units: the largest block that can be had.
    pub largest_free_bytes: usize,
    /// Blocks in use.
    pub blocks: usize,
}

/// An allocator of `N` bytes of its own, or [over](Buffer::over) memory given to it. It never asks a system for memory.
///
/// ```
/// use tessalloc::Buffer;
///
/// #[global_allocator]
/// static HEAP: Buffer<{ 1 << 20 }> = Buffer::new();
///
/// let numbers: Vec<u32> = (0..1000).collect();
/// assert!(HEAP.stats().allocated_bytes >= 4 * numbers.len());
/// assert!(Vec::<u8>::new().try_reserve(1 << 20).is_err());
/// ```
///
/// **What fits.** Blocks up to 2 KiB are of a size class (at most 12.5 % above the request) and share a page; larger ones, and those
/// aligned to more than 512, are runs of units of 512 bytes. An allocation fails if and only if there is neither a run of free units
/// for it, nor, up to 2 KiB, a free block in any page that is large enough and of a class that is a multiple of the alignment.
/// Free neighbours are one run from the moment they are free: a buffer without blocks is one run again.
/// Its own tables take 1.8 % of the buffer.
///
/// **Threads.** All calls may come from any thread; one lock, for the time of a call. Without contention it costs no system call,
/// and with it threads wait in the kernel. A process forked while another thread was in a call must not use the buffer.
///
/// **Cost.** A few steps where the lowest page of a class has room; to find another page, at most a step a unit; to find a run, a
/// step for each 64 units and each run of free units before it. A block that moves is copied. The lock is held meanwhile.
///
/// **Misuse.** A free of anything that is not a block in use (freed already, inside of a block, foreign) is reported and ends the
/// process. Tables lie apart from blocks: what is written to a freed block does not harm the buffer.
#[repr(C, align(512))]
pub struct Buffer<const N: usize = 0> {
    lock: Lock,
    state: UnsafeCell<State>,
    memory: UnsafeCell<MaybeUninit<[u8; N]>>,
}

// SAFETY: B1: the state and the arrays are touched under the lock alone, and blocks belong to whom they were handed to (B4).
unsafe impl<const N: usize> Sync for Buffer<N> {}
// SAFETY: nothing of it belongs to a thread; `start` points to memory that the buffer has for itself (B2).
unsafe impl<const N: usize> Send for Buffer<N> {}

impl Buffer<0> {
    /// An allocator over memory given at run time. Tables come first; any alignment and length will do, and from about 1 KiB on there
    /// is a unit to hand out.
    ///
    /// # Safety
    /// - `bytes` bytes from `start` on can be read and written, and nobody else uses them, as long as the buffer or a block of it is
    ///   in use.
    pub const unsafe fn over(start: NonNull<u8>, bytes: usize) -> Self {
        Self::with(start.as_ptr(), bytes)
    }
}

impl<const N: usize> Buffer<N> {
    /// An empty buffer. In a `static` it costs no room in the program's file.
    pub const fn new() -> Self {
        Self::with(null_mut(), N)
    }

    const fn with(start: *mut u8, bytes: usize) -> Self {
        Self {
            lock: Lock::new(),
            state: UnsafeCell::new(State { start, bytes, plan: None, heads: Heads::EMPTY }),
            memory: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// A block, aligned as asked and with at least as many bytes; `None` if no place fits. Of size 0 too.
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.locked(|table, units| Some(at(units, table.alloc(layout.size(), layout.align())?.at())))
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// - `block` is in use, and nobody uses it any more. What is no block in use is reported and ends the process.
    pub unsafe fn dealloc(&self, block: NonNull<u8>) {
        let is_block = self.locked(|table, units| {
            let place = table.locate(distance(units, block.as_ptr()));
            place.map(|place| table.free(place)).is_some()
        });
        if !is_block {
            report::foreign_pointer("free", block.addr().get());
        }
    }

    /// The block with another size and alignment, its contents kept up to the smaller of both sizes; `None`, and the block stays as it
    /// is, if no place fits. At its place if it fits there. A block above 2 KiB fits too where it overlaps its old place; a smaller
    /// one that grows wants a further place.
    ///
    /// # Safety
    /// - `block` is in use, and unless the result is `None`, it is not used again.
    pub unsafe fn realloc(&self, block: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        let resized = self.locked(|table, units| {
            let old = table.locate(distance(units, block.as_ptr()))?;
            let new = table.resize(old, layout.size(), layout.align());
            Some(new.map(|new| {
                let place = at(units, new.at());
                // SAFETY: both places lie in the units (T1–T3); the new one is handed out to nobody yet, and what the old one held is
                // still there: nothing was written since, under the lock (B1, B4). They may overlap.
                unsafe { core::ptr::copy(block.as_ptr(), place.as_ptr(), old.bytes().min(new.bytes())) };
                place
            }))
        });
        match resized {
            Some(block) => block,
            None => report::foreign_pointer("resize", block.addr().get()),
        }
    }

    /// Bytes that may be written to a block; `None` for what is no block in use.
    pub fn usable_size(&self, block: *const u8) -> Option<usize> {
        self.locked(|table, units| Some(table.locate(distance(units, block))?.bytes()))
    }

    /// What the buffer holds now. Cost: a step for each run of free units.
    pub fn stats(&self) -> BufferStats {
        self.locked(|table, _| table.stats())
    }

    /// Runs `act` under the lock, with the address of the first unit.
    fn locked<R>(&self, act: impl FnOnce(&mut Table<'_>, *mut u8) -> R) -> R {
        let _guard = self.lock.lock();
        // SAFETY: B1: the lock is held until the end of this function, and `act` has no way to this function again.
        let state = unsafe { &mut *self.state.get() };
        let start = if state.start.is_null() { self.memory.get().cast() } else { state.start };
        let is_new = state.plan.is_none();
        let plan = *state.plan.get_or_insert_with(|| plan(start.addr(), state.bytes));
        let units = start.wrapping_add(plan.units_at);
        // SAFETY: B2, B3: the arrays lie in memory that we have for ourselves, apart, and aligned; B1 for the references. Zeroes are
        // written before the first reference is made.
        let (free, blocks, kinds) = unsafe {
            if is_new {
                start.wrapping_add(plan.free_at).write_bytes(0, plan.kinds_at + plan.units - plan.free_at);
            }
            (
                from_raw_parts_mut(start.wrapping_add(plan.free_at).cast(), plan.units.div_ceil(64)),
                from_raw_parts_mut(start.wrapping_add(plan.blocks_at).cast(), plan.units),
                from_raw_parts_mut(start.wrapping_add(plan.kinds_at), plan.units),
            )
        };
        let mut table = Table { heads: &mut state.heads, free, blocks, kinds, first: units.addr() / UNIT_BYTES };
        if is_new {
            table.begin();
        }
        act(&mut table, units)
    }
}

/// The address at a distance from the first unit.
fn at(units: *mut u8, distance: usize) -> NonNull<u8> {
    // SAFETY: B3: an address inside of the buffer's memory is not null.
    unsafe { NonNull::new_unchecked(units.wrapping_add(distance)) }
}

/// The distance from the first unit; beyond every unit for an address below.
fn distance(units: *mut u8, address: *const u8) -> usize {
    address.addr().wrapping_sub(units.addr())
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks are as large and as aligned as asked, distinct while in use, and stay until freed: T1–T3 and B3. No call unwinds.
unsafe impl<const N: usize> GlobalAlloc for Buffer<N> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller's duty; blocks in use are not null.
        unsafe { self.dealloc(NonNull::new_unchecked(block)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's duty: the rounded size is no more than `isize::MAX`; blocks in use are not null.
        let resized = unsafe {
            let layout = Layout::from_size_align_unchecked(size, layout.align());
            self.realloc(NonNull::new_unchecked(block), layout)
        };
        resized.map_or(null_mut(), NonNull::as_ptr)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn plan_lies_in_the_memory_and_wastes_less_than_a_unit() {
        for address in [0, 1, 8, 511, 512, 4096 + 24, 1 << 40] {
            for bytes in (0..3000).chain([16 << 10, (64 << 10) + 1, 1 << 20, (1 << 30) - 1, 1 << 36]) {
                let Plan { units, free_at, blocks_at, kinds_at, units_at } = plan(address, bytes);
                let text = std::format!("{bytes} bytes at {address}");
                assert!((address + free_at).is_multiple_of(8) && (address + units_at).is_multiple_of(512), "{text}");
                assert!(blocks_at - free_at == units.div_ceil(64) * 8 && kinds_at - blocks_at == units * 8, "{text}");
                assert!(units_at >= kinds_at + units, "{text}");
                if units > 0 {
                    assert!(units_at + units * 512 <= bytes, "{text}");
                }
                // One unit more takes 512 bytes, its bits in the arrays, and may push the first one up.
                let more = free_at + (units + 1).div_ceil(64) * 8 + (units + 1) * 9;
                let more_at = (address + more).next_multiple_of(512) - address;
                assert!(more_at + (units + 1) * 512 > bytes, "{text}: {} units would fit", units + 1);
            }
        }
        // 2012 × 512, and before them 32 × 8 + 2012 × 9 in 36 × 512: to the last byte.
        assert_eq!(plan(0, 1 << 20).units, 2012);
    }

    #[test]
    fn tables_hold_their_invariants_through_the_public_calls() {
        let buffer = Buffer::<{ 40 << 10 }>::new();
        let mut blocks = Vec::new();
        for size in (0..3000).step_by(37) {
            blocks.extend(buffer.alloc(Layout::from_size_align(size, 16).unwrap()));
            buffer.locked(|table, _| table.check_all());
        }
        for (index, block) in blocks.iter_mut().enumerate() {
            // SAFETY: a block in use.
            *block =
                unsafe { buffer.realloc(*block, Layout::from_size_align(index * 7, 16).unwrap()) }.unwrap_or(*block);
            buffer.locked(|table, _| table.check_all());
        }
        for block in blocks {
            // SAFETY: as above, and once.
            unsafe { buffer.dealloc(block) };
            buffer.locked(|table, _| table.check_all());
        }
        assert_eq!(buffer.stats().largest_free_bytes, buffer.stats().capacity_bytes);
    }
}
