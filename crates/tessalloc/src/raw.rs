//! The allocator on raw pointers, as C sees it: null is out of memory, no call writes `errno`.
//!
//! Cost: a small block is allocated and freed on the thread's stack of its class: no atomic, no call, no page touched.

use core::ptr::null_mut;

use crate::block::Block;
use crate::deferred;
use crate::large;
use crate::page::{Kind, OF_HEAP, Page};
use crate::region;
use crate::report::{self, ErrorKind};
use crate::sample::{self, Request};
use crate::scavenger;
pub(crate) use crate::size_class::SMALL_BYTES_MAX;
use crate::size_class::{BLOCK_BYTES, SizeClass, TABLE_BYTES_MAX};
use crate::sync::{Ordering, tls};
use crate::theap::Stacks;
use crate::thread;
use crate::track;

mod extra;
pub use extra::*;
pub(crate) use extra::{Source, block_from, regrown_from, resized_from, zeroed_from};

/// The largest size that is served; beyond it, null.
pub const BYTES_MAX: usize = isize::MAX as usize;
/// What C expects of every block.
pub const C_ALIGN: usize = 16;

/// A block from this thread's stack, or null.
#[inline(always)]
pub(crate) fn pop(stacks: *mut Stacks, class: SizeClass) -> *mut u8 {
    // SAFETY: classes are below the tables' length. T1: the stack is this thread's. The read-only stacks have no block and are
    // not written.
    unsafe {
        let top = (&raw mut (*stacks).top).cast::<*mut Block>().add(class.index());
        let block = *top;
        if !block.is_null() {
            *top = Block::next(block);
            *(&raw mut (*stacks).room).cast::<i32>().add(class.index()) += 1;
            track::out_of(class, block.cast());
        }
        block.cast()
    }
}

/// As [`pop`], and then a block of the line: what a first-class heap's record holds.
#[inline(always)]
pub(crate) fn pop_or_take(stacks: *mut Stacks, class: SizeClass) -> *mut u8 {
    let block = pop(stacks, class);
    // SAFETY: T7: the line is this thread's; the read-only stacks' lines are empty and not written.
    if block.is_null() { unsafe { (*stacks).line.take(class) } } else { block }
}

/// Puts a freed block on this thread's stack; false if that has no room.
///
/// # Safety
/// - The stacks are the calling thread's or read-only, and the block is a freed one of the class.
#[inline(always)]
pub(crate) unsafe fn push(stacks: *mut Stacks, class: usize, block: *mut u8) -> bool {
    // SAFETY: classes are below the tables' length (S4). T1, T2: the stack is this thread's, and the caller freed the block. The
    // read-only stacks, and class 0's, have no room and are not written.
    unsafe {
        let room = (&raw mut (*stacks).room).cast::<i32>().add(class);
        if *room <= 0 {
            return false;
        }
        let top = (&raw mut (*stacks).top).cast::<*mut Block>().add(class);
        Block::set_next(block.cast(), *top);
        *top = block.cast();
        *room -= 1;
        track::back_of(class, block);
        true
    }
}

/// A block of at least `size` bytes, aligned to 16; null if memory is out or `size` is above [`BYTES_MAX`]. Size 0 gives a block
/// of its own.
#[inline(always)]
pub fn malloc(size: usize) -> *mut u8 {
    malloc_or(size, malloc_slow)
}

/// As [`malloc`]; `slow` answers when the thread's stack is empty, by [`malloc_slow`] and what its caller adds.
#[inline(always)]
pub fn malloc_or(size: usize, slow: impl FnOnce(usize) -> *mut u8) -> *mut u8 {
    if size <= TABLE_BYTES_MAX {
        let block = pop(tls::get(), SizeClass::of_c_bytes(size));
        if !block.is_null() {
            return track::asked(block, size);
        }
    }
    track::asked(slow(size), size)
}

/// As [`malloc`], for a size that the thread's stack has no block of.
#[cold]
#[inline(never)]
pub fn malloc_slow(size: usize) -> *mut u8 {
    if sample::is_on() {
        return alloc_counted(Request { size, align: C_ALIGN, zeroed: false, is_c: true });
    }
    alloc_slow(tls::get(), size, C_ALIGN, false)
}

/// As [`malloc`], at any power of two.
#[inline(always)]
pub fn aligned(size: usize, align: usize) -> *mut u8 {
    let stacks = tls::get();
    let Some(class) = SizeClass::of_layout(size, align) else {
        return aligned_large(stacks, size, align);
    };
    let block = pop(stacks, class);
    if !block.is_null() {
        return track::asked(block, size);
    }
    track::asked(alloc_slow(stacks, size, align, false), size)
}

/// As [`aligned`], if the thread's stack has a block; else null.
#[inline(always)]
pub(crate) fn ready(size: usize, align: usize) -> *mut u8 {
    SizeClass::of_layout(size, align).map_or(null_mut(), |class| pop(tls::get(), class))
}

/// As [`aligned`], for what has no class: a run that lies ready is had without more ado.
#[inline(never)]
fn aligned_large(stacks: *mut Stacks, size: usize, align: usize) -> *mut u8 {
    let start = large::take_ready(stacks, size, align);
    if !start.is_null() {
        return track::asked(start, size);
    }
    track::asked(alloc_slow(stacks, size, align, false), size)
}

/// As [`aligned`]; the block reads zero.
#[inline]
pub fn zeroed_aligned(size: usize, align: usize) -> *mut u8 {
    let stacks = tls::get();
    if let Some(class) = SizeClass::of_layout(size, align) {
        let block = pop(stacks, class);
        if !block.is_null() {
            // SAFETY: the block is ours and holds `size` bytes.
            unsafe { block.write_bytes(0, size) };
            return track::asked(block, size);
        }
    }
    track::asked(alloc_slow(stacks, size, align, true), size)
}

/// `count` × `size` bytes that read zero; null on overflow.
#[inline]
pub fn calloc(count: usize, size: usize) -> *mut u8 {
    match count.checked_mul(size) {
        Some(bytes) => zeroed_aligned(bytes, C_ALIGN),
        None => report::refused(ErrorKind::Overflow, usize::MAX),
    }
}

#[cold]
#[inline(never)]
fn alloc_slow(stacks: *mut Stacks, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    if sample::is_on() {
        return alloc_counted(Request { size, align, zeroed, is_c: false });
    }
    alloc_unsampled(stacks, size, align, zeroed)
}

/// As [`alloc_slow`], while allocations are sampled.
#[cold]
#[inline(never)]
fn alloc_counted(request: Request) -> *mut u8 {
    let Request { size, align, zeroed, .. } = request;
    if size > BYTES_MAX || !align.is_power_of_two() {
        return refuse(size, align);
    }
    // SAFETY: null is the default heap, of which the blocks below are.
    unsafe { sample::alloc(null_mut(), request, || alloc_unsampled(tls::get(), size, align, zeroed)) }
}

#[inline(always)]
fn alloc_unsampled(stacks: *mut Stacks, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    let block =
        if size > SMALL_BYTES_MAX && size <= BYTES_MAX && align <= region::SLICE_BYTES && align.is_power_of_two() {
            large::alloc(stacks, size, align, zeroed)
        } else {
            deferred::beat(false);
            alloc_once(stacks, size, align, zeroed)
        };
    if !block.is_null() { block } else { alloc_again(size, align, zeroed) }
}

/// Says why there is no block, after one more try if that may help.
#[cold]
#[inline(never)]
fn alloc_again(size: usize, align: usize, zeroed: bool) -> *mut u8 {
    if size > BYTES_MAX || !align.is_power_of_two() {
        return refuse(size, align);
    }
    // Memory is out: what is held but not used goes back, and it is tried once more.
    if !region::is_beyond_all(size, align) {
        deferred::beat(true);
        // Whatever the system took back: warm runs and empty pages are free slices now.
        scavenger::purge_all(scavenger::HASTY_TRIES);
        let block = alloc_once(tls::get(), size, align, zeroed);
        if !block.is_null() {
            return block;
        }
    }
    report::refused(ErrorKind::OutOfMemory, size)
}

/// Null for a request that nobody could serve.
#[cold]
pub(crate) fn refuse(size: usize, align: usize) -> *mut u8 {
    let kind = if align.is_power_of_two() { ErrorKind::Overflow } else { ErrorKind::InvalidArgument };
    report::refused(kind, size)
}

fn alloc_once(stacks: *mut Stacks, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    if size > BYTES_MAX || !align.is_power_of_two() {
        return null_mut();
    }
    match SizeClass::of_layout(size, align) {
        None => large::alloc(stacks, size, align, zeroed),
        Some(class) => match thread::current(stacks) {
            // SAFETY: the calling thread's record.
            Some(thread) => unsafe { (*thread).alloc(class, zeroed) },
            // SAFETY: the lock excludes all others.
            None => thread::with_shared(|shared| unsafe { shared.alloc(class, zeroed) }),
        },
    }
}

/// Frees a block. Null is nothing. What can be told to be no block of ours is reported and ends the process.
///
/// # Safety
/// - `block` is null, or a block of this allocator that nobody uses any more.
#[inline(always)]
pub unsafe fn free(block: *mut u8) {
    let stacks = tls::get();
    let region = region::first();
    if region.slice_of(block.addr()).is_some() {
        // ORDER: Relaxed: the caller holds a block of the slice (S4).
        let class = region.kind_byte_of(block.addr()).load(Ordering::Relaxed);
        // SAFETY: the caller's duty.
        if unsafe { push(stacks, usize::from(class), block) } {
            return;
        }
    }
    // SAFETY: the caller's duty.
    unsafe { thread::free_slow(stacks, block) }
}

/// As [`free`], for a caller who knows the layout: it saves waiting for the table of kinds.
///
/// # Safety
/// - As for [`free`], and the block was allocated with this size and alignment.
#[inline(always)]
pub unsafe fn free_layout(block: *mut u8, size: usize, align: usize) {
    let stacks = tls::get();
    let region = region::first();
    let Some(class) = SizeClass::of_layout(size, align) else {
        // SAFETY: the caller's duty.
        return unsafe { large::free_at(stacks, block) };
    };
    if region.slice_of(block.addr()).is_some() {
        // ORDER: Relaxed: the caller holds a block of the slice (S4).
        let is_plain = usize::from(region.kind_byte_of(block.addr()).load(Ordering::Relaxed)) == class.index();
        // SAFETY: the caller's duty.
        if is_plain && unsafe { push(stacks, class.index(), block) } {
            return;
        }
    }
    // SAFETY: the caller's duty.
    unsafe { thread::free_slow(stacks, block) }
}

/// Makes a block hold `size` bytes, in place if it can; null if memory is out, and the block stays as it is. Null gives a new one.
///
/// # Safety
/// - `block` is null, or a block of this allocator; when another block is returned, the old one is freed.
#[inline]
pub unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { realloc_aligned(block, size, C_ALIGN) }
}

/// As [`realloc`]; the block is, or stays, aligned to `align`, a power of two.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn realloc_aligned(block: *mut u8, size: usize, align: usize) -> *mut u8 {
    if block.is_null() {
        return aligned(size, align);
    }
    if size > BYTES_MAX {
        return report::refused(ErrorKind::Overflow, size);
    }
    // SAFETY: the caller's duty, for all of this function.
    unsafe {
        let usable = thread::usable_bytes(block, "realloc");
        let is_aligned = block.addr() & (align - 1) == 0;
        // In place if it fits and at most half would be wasted.
        if is_aligned && size <= usable && (size >= usable / 2 || usable <= 64) {
            return track::asked(block, size);
        }
        if is_aligned
            && size > SMALL_BYTES_MAX
            && let Some(page) = large_page(block)
        {
            let stacks = tls::get();
            if large::resize_in_place(stacks, page, size) {
                sample::resized(block, size);
                return track::asked(block, size);
            }
            let moved = large::move_to_larger(stacks, page, size, align);
            if !moved.is_null() {
                sample::resized(moved, size);
                return track::asked(moved, size);
            }
            // Memory is out: the way below gives back what is held, and tries once more.
        }
        let new = aligned(size, align);
        if !new.is_null() {
            new.copy_from_nonoverlapping(block, usable.min(size));
            free(block);
        }
        new
    }
}

/// The descriptor of a large block; `None` for a small one, and for one of a first-class heap, which keeps its size.
unsafe fn large_page(block: *mut u8) -> Option<*mut Page> {
    let (region, slice) = region::find(block.addr())?;
    // ORDER: Relaxed: the caller holds the block.
    if region.kind_byte(slice).load(Ordering::Relaxed) != 0 {
        return None;
    }
    let page = region.page(region.start_of(slice)?);
    // SAFETY: the run stands while the caller holds its block.
    unsafe { if (*page).kind() == Kind::Large && !(*page).has(OF_HEAP) { Some(page) } else { None } }
}

/// Usable bytes of a block, never below what was asked for; 0 for null.
///
/// # Safety
/// - `block` is null, or a block of this allocator in use.
pub unsafe fn usable_size(block: *const u8) -> usize {
    // SAFETY: the caller's duty.
    unsafe { thread::usable_bytes(block, "tell the usable size") }
}

/// Usable bytes of a block that would be allocated for `size`; `size` itself beyond what can be served.
pub fn good_size(size: usize) -> usize {
    if size <= SMALL_BYTES_MAX {
        BLOCK_BYTES[SizeClass::of_bytes(size).index()] as usize
    } else {
        size.checked_next_multiple_of(region::SLICE_BYTES).unwrap_or(size)
    }
}

/// Whether an address lies in a block, or a page for blocks, of this allocator.
pub fn is_ours(address: *const u8) -> bool {
    match region::find(address.addr()) {
        Some((region, slice)) => region.start_of(slice).is_some(),
        None => false,
    }
}
