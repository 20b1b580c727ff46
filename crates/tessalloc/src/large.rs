//! Large blocks: one block is a run of slices. Kept warm by the thread that freed them, grown in place, moved by the page table.
//!
//! | field of the descriptor | meaning in a large run                                                        |
//! |-------------------------|-------------------------------------------------------------------------------|
//! | `carved`                | slices in use: the usable size                                                  |
//! | `reserved`              | slices taken: more than in use where the block has room to grow                 |
//! | `wake`                  | how often the block has grown                                                   |
//!
//! N1 A block in use is its user's; its descriptor is touched by who frees or reallocates it, which the program orders.

use core::ptr::null_mut;
use core::sync::atomic::AtomicU32;

use crate::first_class;
use crate::heap::run_of;
use crate::options::Opt;
use crate::os;
use crate::page::{Kind, MOVED, OF_HEAP, Page, SAMPLED};
use crate::region::{self, CHUNK_SLICES, Run, SLICE_BYTES};
use crate::size_class::SizeClass;
use crate::stats::{self, Counter};
use crate::sync::Ordering;
use crate::theap::Stacks;
use crate::thread::{Thread, current, current_if_record, free_slow};
use crate::track;

/// Slices that a thread keeps warm, together.
const WARM_SLICES_MAX: u32 = CHUNK_SLICES;
/// A block that grows for the second time gets address room of so many times its size.
const ROOM_FACTOR: usize = 8;
const GROWTHS_BEFORE_ROOM: u32 = 1;
/// Slices that a block's room may take at most: 4 GiB of address space.
const ROOM_SLICES_MAX: usize = (4 << 30) / SLICE_BYTES;
/// Blocks from this size on may be moved by the page table instead of copied.
const MOVE_BYTES_MIN: usize = 8 << 20;
/// Each moved block costs mappings of its own until it is freed.
const MOVED_MAX: u32 = 256;
static MOVED_COUNT: AtomicU32 = AtomicU32::new(0);

/// Slices that no run has.
const CLOSED: usize = usize::MAX;

/// Freed runs that a thread keeps: the last one at hand, and behind it one for each slice count. N2: the last one's slices (0: there
/// is none) and start stand beside it, so that the next request for as many waits for no descriptor. The others stand as page number
/// plus one: records are many where heaps are many. N3: [`CLOSED`] slices stand for a last one that never fits, so that nothing is
/// kept and nothing had while allocations are sampled.
pub(crate) struct Warm {
    last: *mut Page,
    last_start: *mut u8,
    last_slices: usize,
    runs: [u32; CHUNK_SLICES as usize + 1],
    slices: u32,
}

impl Warm {
    pub(crate) const fn new() -> Self {
        Self {
            last: null_mut(),
            last_start: null_mut(),
            last_slices: 0,
            runs: [0; CHUNK_SLICES as usize + 1],
            slices: 0,
        }
    }

    /// Keeps nothing from now on (N3); false, for who asks whether something may be kept. There are no runs.
    pub(crate) fn close(&mut self) -> bool {
        self.last_slices = CLOSED;
        false
    }

    #[inline(always)]
    fn set_last(&mut self, page: *mut Page, start: *mut u8, slices: usize) {
        // SAFETY: N1: freed by the record's thread just now.
        unsafe {
            (*page).wake = 0;
            (*page).set_kind(Kind::Warm);
        }
        track::back(start, slices * SLICE_BYTES);
        self.last = page;
        self.last_start = start;
        self.last_slices = slices;
    }
}

impl Thread {
    /// The last warm run, in use from now, if it has so many slices (≥ 1); else null, as when another thread looks at the record.
    #[inline(always)]
    fn take_last(&mut self, slices: usize) -> *mut u8 {
        let mut start = null_mut();
        if !self.gate.try_enter() {
            return start;
        }
        if self.warm.last_slices == slices {
            self.warm.last_slices = 0;
            // SAFETY: N2: there is a last run, and it is nobody's but the thread's.
            unsafe { (*self.warm.last).set_kind(Kind::Large) };
            start = self.warm.last_start;
            track::out(start, slices * SLICE_BYTES);
        }
        self.gate.leave();
        start
    }

    /// A warm run of so many slices (1 to 64), in use from now; null if there is none.
    fn take_warm(&mut self, slices: usize) -> *mut u8 {
        let last = self.take_last(slices);
        if !last.is_null() {
            return last;
        }
        self.gate.enter();
        let number = core::mem::replace(&mut self.warm.runs[slices], 0);
        if number != 0 {
            self.warm.slices -= slices as u32;
        }
        self.gate.leave();
        if number == 0 {
            return null_mut();
        }
        let page = region::page_by_number(number - 1);
        // SAFETY: out of the record, the run is this thread's.
        unsafe {
            (*page).set_kind(Kind::Large);
            track::out((*page).start, slices * SLICE_BYTES);
            (*page).start
        }
    }

    /// Keeps a run as the last one; false if there is one, or another thread looks at the record.
    #[inline(always)]
    fn keep_last(&mut self, page: *mut Page, start: *mut u8, slices: usize) -> bool {
        if !self.gate.try_enter() {
            return false;
        }
        let is_free = self.warm.last_slices == 0;
        if is_free {
            self.warm.set_last(page, start, slices);
        }
        self.gate.leave();
        is_free
    }

    /// Keeps a run; false if there is no place for it.
    fn keep_warm(&mut self, page: *mut Page, start: *mut u8, slices: usize) -> bool {
        self.gate.enter();
        let kept = self.warm.last_slices == 0 || self.make_room_for_last(slices);
        if kept {
            self.warm.set_last(page, start, slices);
        }
        self.gate.leave();
        kept
    }

    /// Puts the last run to those of its slice count; false if there is one, or the bound is reached.
    fn make_room_for_last(&mut self, coming: usize) -> bool {
        let slices = self.warm.last_slices;
        if slices == CLOSED {
            // Nothing was kept while allocations were sampled.
            self.warm.last_slices = 0;
            return !crate::sample::is_on() || self.warm.close();
        }
        let slot = &mut self.warm.runs[slices];
        let fits = *slot == 0 && self.warm.slices as usize + slices + coming <= WARM_SLICES_MAX as usize;
        if fits {
            // SAFETY: N2: there is a last run.
            *slot = unsafe { (*self.warm.last).number } + 1;
            self.warm.slices += slices as u32;
        }
        fits
    }

    /// Gives all warm runs back.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate.
    pub(crate) unsafe fn drop_warm(&mut self) {
        let warm = &mut self.warm;
        let last = match warm.last_slices {
            0 | CLOSED => null_mut(),
            _ => {
                warm.last_slices = 0;
                warm.last
            }
        };
        let others = warm.runs.iter_mut().map(core::mem::take).filter(|number| *number != 0);
        let others = others.map(|number| region::page_by_number(number - 1));
        let mut given = 0;
        for page in core::iter::once(last).filter(|page| !page.is_null()).chain(others) {
            // SAFETY: a warm run is nobody's but the thread's.
            given += unsafe { give(page) } as i64;
        }
        self.counts.allocated(-given);
        self.counts.freed(given.unsigned_abs());
        self.warm.slices = 0;
    }
}

/// Whether a run may be kept warm.
#[inline(always)]
unsafe fn is_plain(page: *mut Page) -> bool {
    // SAFETY: N1: the caller's run.
    unsafe {
        (*page).carved == (*page).reserved
            && (*page).reserved <= CHUNK_SLICES
            && !(*page).has(MOVED | OF_HEAP | SAMPLED)
    }
}

/// Usable bytes of a large block.
///
/// # Safety
/// - The page is a large block in use (N1).
pub(crate) unsafe fn usable_bytes(page: *mut Page) -> usize {
    // SAFETY: the caller's duty.
    unsafe { (*page).carved.get() as usize * SLICE_BYTES }
}

/// The last run that this thread freed, if it is what a request wants; else null.
#[inline(always)]
pub(crate) fn take_ready(stacks: *mut Stacks, bytes: usize, align: usize) -> *mut u8 {
    let slices = bytes.div_ceil(SLICE_BYTES);
    match current_if_record(stacks) {
        // SAFETY: the calling thread's record.
        Some(thread) if slices != 0 && align <= SLICE_BYTES => unsafe { (*thread).take_last(slices) },
        _ => null_mut(),
    }
}

/// A block of whole slices; null if memory is out.
#[inline]
pub(crate) fn alloc(stacks: *mut Stacks, bytes: usize, align: usize, zeroed: bool) -> *mut u8 {
    let slices = bytes.div_ceil(SLICE_BYTES).max(1);
    let thread = current(stacks);
    if let Some(thread) = thread
        && slices <= CHUNK_SLICES as usize
        && align <= SLICE_BYTES
    {
        // SAFETY: the calling thread's record.
        let start = unsafe { (*thread).take_warm(slices) };
        if !start.is_null() {
            if zeroed {
                // SAFETY: N1: the run is this thread's, and holds so much.
                unsafe { start.write_bytes(0, bytes) };
            }
            return start;
        }
    }
    alloc_cold(thread, bytes, align, zeroed)
}

#[inline(never)]
fn alloc_cold(thread: Option<*mut Thread>, bytes: usize, align: usize, zeroed: bool) -> *mut u8 {
    crate::deferred::beat(false);
    let slices = bytes.div_ceil(SLICE_BYTES).max(1);
    let Some((page, is_fresh)) = begin(slices, slices, align.div_ceil(SLICE_BYTES)) else { return null_mut() };
    count(thread, (slices * SLICE_BYTES) as i64);
    // SAFETY: N1: a new block.
    unsafe {
        if !zeroed {
            track::out((*page).start, slices * SLICE_BYTES);
        } else if !is_fresh {
            (*page).start.write_bytes(0, bytes);
        }
        (*page).start
    }
}

/// Takes `reserved` slices, of which `used` are used. The second value says whether those read zero.
fn begin(used: usize, reserved: usize, align: usize) -> Option<(*mut Page, bool)> {
    Some(begin_run(region::take(reserved, align)?, used))
}

/// Makes a run a large block, of which `used` slices are used.
pub(crate) fn begin_run(run: Run, used: usize) -> (*mut Page, bool) {
    let is_fresh = run.touch(0, used);
    let page = run.page();
    // SAFETY: S1: the run and its descriptor are this thread's.
    unsafe {
        (*page).begin(run.start(), SizeClass::SPECIAL, 0, run.count as u32);
        (*page).carved.set(used as u32);
        (*page).set_kind(Kind::Large);
    }
    stats::add(Counter::LargeBlocks, 1);
    (page, is_fresh)
}

/// Gives the run of a first-class heap back.
///
/// # Safety
/// - As for [`free`], and no list links the run.
pub(crate) unsafe fn release(page: *mut Page) {
    // SAFETY: the caller's duty.
    stats::allocated(-(unsafe { give(page) } as i64));
}

pub(crate) fn count(thread: Option<*mut Thread>, bytes: i64) {
    match thread {
        // SAFETY: the calling thread's record.
        Some(thread) => unsafe {
            // A claimer counts what it gives back: the figures have one writer inside the gate.
            (*thread).gate.enter();
            (*thread).counts.allocated(bytes);
            if bytes < 0 {
                (*thread).counts.freed(bytes.unsigned_abs());
            }
            (*thread).gate.leave();
            (*thread).after_slow();
        },
        None => stats::allocated(bytes),
    }
}

/// Frees the large block at an address, as the caller's layout says it is one.
///
/// # Safety
/// - As for `free`; what is no large block is left to [`free_slow`].
#[inline(never)]
pub(crate) unsafe fn free_at(stacks: *mut Stacks, address: *mut u8) {
    if let Some(slice) = region::first().slice_of(address.addr()) {
        let page = region::first().page(slice);
        // SAFETY: as in `free_slow`.
        unsafe {
            if (*page).kind() == Kind::Large
                && (*page).start == address
                && is_plain(page)
                && let Some(thread) = current_if_record(stacks)
                && (*thread).keep_last(page, address, (*page).reserved as usize)
            {
                return;
            }
        }
    }
    // SAFETY: the caller's duty.
    unsafe { free_slow(stacks, address) }
}

/// Frees a large block.
///
/// # Safety
/// - The page is a large block that the caller frees (N1).
#[inline]
pub(crate) unsafe fn free(stacks: *mut Stacks, page: *mut Page) {
    // SAFETY: the caller's duty.
    unsafe {
        if (*page).has(OF_HEAP) && first_class::free_large(page) {
            return;
        }
        let slices = (*page).reserved as usize;
        let thread = current(stacks);
        if let Some(thread) = thread
            && is_plain(page)
            && (*thread).keep_warm(page, (*page).start, slices)
        {
            return;
        }
        free_cold(thread, page);
    }
}

#[inline(never)]
unsafe fn free_cold(thread: Option<*mut Thread>, page: *mut Page) {
    // SAFETY: N1: the caller's run.
    count(thread, -(unsafe { give(page) } as i64));
}

/// Gives a run's slices back; returns the bytes that were in use.
unsafe fn give(page: *mut Page) -> usize {
    // SAFETY: N1: the caller's run.
    unsafe {
        let run = run_of(page);
        let used = (*page).carved.get() as usize;
        if (*page).has(MOVED) {
            // A moved run lies in mappings of its own until it is mapped anew.
            if os::renew(run.start(), used * SLICE_BYTES).is_ok() {
                run.forget(0, used);
            }
            // ORDER: Relaxed: a bound, not a lock.
            MOVED_COUNT.fetch_sub(1, Ordering::Relaxed);
        }
        crate::sample::forget(page);
        (*page).set_kind(Kind::Free);
        track::back(run.start(), used * SLICE_BYTES);
        stats::sub(Counter::LargeBlocks, 1);
        run.give();
        used * SLICE_BYTES
    }
}

/// Makes a large block hold `bytes` where it lies: in its room, or by taking the slices behind it; smaller, by giving slices back.
///
/// # Safety
/// - The page is a large block of the caller (N1).
pub(crate) unsafe fn resize_in_place(stacks: *mut Stacks, page: *mut Page, bytes: usize) -> bool {
    let slices = bytes.div_ceil(SLICE_BYTES).max(1);
    // SAFETY: the caller's duty.
    unsafe {
        let used = (*page).carved.get() as usize;
        let run = run_of(page);
        if slices <= used {
            if slices < run.count && slices * 2 <= used && !(*page).has(MOVED) {
                run.shrink(slices);
                (*page).carved.set(slices as u32);
                (*page).reserved = slices as u32;
                count(current(stacks), -(((used - slices) * SLICE_BYTES) as i64));
            }
            return true;
        }
        let run = if slices <= run.count {
            run
        } else {
            match run.extend(slices) {
                Some(longer) => longer,
                None => return false,
            }
        };
        run.touch(used, slices - used);
        track::open(run.start().wrapping_add(used * SLICE_BYTES), (slices - used) * SLICE_BYTES);
        (*page).carved.set(slices as u32);
        (*page).reserved = run.count as u32;
        (*page).wake += 1;
        count(current(stacks), ((slices - used) * SLICE_BYTES) as i64);
        true
    }
}

/// Moves a large block into a larger run; null if memory is out, and the block stays as it is.
///
/// # Safety
/// - The page is a large block of the caller (N1); afterwards the new one is.
pub(crate) unsafe fn move_to_larger(stacks: *mut Stacks, page: *mut Page, bytes: usize, align: usize) -> *mut u8 {
    let slices = bytes.div_ceil(SLICE_BYTES);
    // SAFETY: the caller's duty.
    unsafe {
        let grown = (*page).wake + 1;
        let room = slices.saturating_mul(ROOM_FACTOR);
        let align = align.div_ceil(SLICE_BYTES);
        let with_room = if grown > GROWTHS_BEFORE_ROOM && room <= ROOM_SLICES_MAX && !region::is_tight() {
            begin(slices, room, align)
        } else {
            None
        };
        let warm = if with_room.is_none() { warm_for(stacks, slices, align) } else { null_mut() };
        let (new, is_fresh) = if !warm.is_null() {
            (warm, false)
        } else {
            let Some(new) = with_room.or_else(|| begin(slices, slices, align)) else { return null_mut() };
            count(current(stacks), (slices * SLICE_BYTES) as i64);
            new
        };
        (*new).wake = grown;
        let used_bytes = usable_bytes(page);
        if is_fresh && used_bytes >= MOVE_BYTES_MIN && try_move(page, new, used_bytes) {
            // Nothing is left in the old run: it is no use warm.
            count(current(stacks), -(give(page) as i64));
        } else {
            (*new).start.copy_from_nonoverlapping((*page).start, used_bytes);
            free(stacks, page);
        }
        (*new).start
    }
}

/// The descriptor of a warm run, in use from now; null if there is none.
fn warm_for(stacks: *mut Stacks, slices: usize, align: usize) -> *mut Page {
    if slices > CHUNK_SLICES as usize || align > 1 {
        return null_mut();
    }
    // SAFETY: the calling thread's record.
    let start = current(stacks).map_or(null_mut(), |thread| unsafe { (*thread).take_warm(slices) });
    region::find(start.addr()).map_or(null_mut(), |(region, slice)| region.page(slice))
}

/// Moves the contents by the page table; false if they are still to be copied.
unsafe fn try_move(from: *mut Page, to: *mut Page, bytes: usize) -> bool {
    // An arena's memory stays where it is: it may be a file's.
    // SAFETY: N1: both runs are the caller's.
    let is_ordinary = |page: *mut Page| unsafe { run_of(page) }.region.is_ordinary();
    if !Opt::MoveLarge.is_on() || !is_ordinary(from) || !is_ordinary(to) {
        return false;
    }
    // ORDER: Relaxed: a bound, not a lock.
    if MOVED_COUNT.fetch_add(1, Ordering::Relaxed) >= MOVED_MAX {
        MOVED_COUNT.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    // SAFETY: N1: both runs are the caller's, committed, disjoint, and `to` was never written.
    unsafe {
        if os::move_pages((*from).start, (*to).start, bytes).is_err() {
            // ORDER: Relaxed: as above.
            MOVED_COUNT.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        (*to).flags |= MOVED;
        // The source reads zero now, and stays a mapping of its own only if it was one before.
        let run: Run = run_of(from);
        run.forget(0, (*from).carved.get() as usize);
    }
    true
}

#[cfg(tessalloc_check)]
impl Thread {
    /// Checks N2, and returns how many runs are warm.
    ///
    /// # Safety
    /// - Nobody else is inside this record's gate.
    pub(crate) unsafe fn check_warm(&self) -> usize {
        let mut slices = 0;
        let mut count = 0;
        let has_last = !matches!(self.warm.last_slices, 0 | CLOSED);
        let last = core::iter::once((self.warm.last, self.warm.last_slices)).filter(|_| has_last);
        let numbered = self.warm.runs.iter().enumerate().filter(|(_, number)| **number != 0);
        let others = numbered.map(|(slices, number)| (region::page_by_number(number - 1), slices));
        for (index, (page, wanted)) in last.chain(others).enumerate() {
            // SAFETY: N2: the record's runs.
            unsafe {
                assert_eq!((*page).kind(), Kind::Warm, "N2: a kept run says so");
                assert_eq!((*page).reserved as usize, wanted, "N2: a kept run is as long as its place says");
                assert!(is_plain(page), "N2: only plain runs are kept");
            }
            let is_last = has_last && index == 0;
            slices += if is_last { 0 } else { wanted };
            count += 1;
        }
        assert_eq!(self.warm.slices as usize, slices, "N2: slices of kept runs are counted");
        count
    }
}
