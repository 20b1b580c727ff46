//! Page descriptors: one for each slice of a region, in a table beside it.
//!
//! A page is a run of blocks of one size class; its descriptor is that of its first slice. Two lines of 64 bytes: the first is
//! written by the owner alone, the second by remote threads.
//!
//! | field        | unit   | written by     | how     | always true                                                    |
//! |--------------|--------|----------------|---------|----------------------------------------------------------------|
//! | `owner`      | thread | holder         | Release | P1 the address of a thread's record, with [`OWNER_ENDED`](crate::exchange::OWNER_ENDED) if that thread has ended; or 0 = nobody |
//! | `start`      | –      | set once       | plain   | P2 the first byte of the page, on a slice                       |
//! | `free`       | blocks | holder         | plain   | P3 a list of free carved blocks of this page, outside all holes |
//! | `used`       | blocks | holder         | Relaxed | P4 carved blocks that are handed out: used by the program, on a stack, or on their way home |
//! | `wake`       | blocks | holder         | plain   | P5 when `used` falls to it the page is looked at: 0 in a queue, 7/8 of `reserved` when full |
//! | `carved`     | blocks | holder         | Relaxed | P6 used ≤ carved ≤ reserved: blocks made so far; the rest was never touched as blocks |
//! | `reserved`   | blocks | set once       | plain   | P6 blocks that fit: they reach into the page's last slice       |
//! | `block_bytes`| bytes  | set once       | plain   | P7 that of `class`; 0 in a large run                            |
//! | `class`      | –      | set once       | plain   | P7                                                              |
//! | `touched`    | bytes  | holder         | plain   | P13 whole OS pages from the start, at least those of carved blocks: what lies behind holds nothing |
//! | `class_seen`, `fit_seen` | – | set once  | Relaxed | P7 `class` and `reserved`, for who counts pages without holding them |
//! | `kind`       | –      | region         | Relaxed | P8 [`Kind::Free`] exactly while the slices are free or warm     |
//! | `flags`      | –      | holder         | plain   | P9 `IN_QUEUE` exactly while a theap's queue links it            |
//! | `holes`      | OS pages | holder       | plain   | P10 a one: that OS page was purged, and every block that overlaps it is free and not in `free` |
//! | `remote`     | –      | any            | see [`crate::remote`] | R1–R4                                            |
//! | `previous`, `next` | – | holder        | plain   | P9 links of the queue                                           |
//! | `claim_at`   | blocks | holder         | Relaxed | P11 how many remote blocks make an ownerless page worth claiming |
//! | `heap`       | –      | holder         | Relaxed | P12 the first-class heap whose block or blocks these are, or null: the default heap's. Then the kind bytes are 0 |
//! | `seen`       | –      | walkers        | Relaxed | K3 in [`crate::walk`]                                          |
//!
//! A large run uses `carved` for the slices in use and `reserved` for the slices taken; `wake` counts how often it grew; `free` is the
//! record of a sample where `SAMPLED` says so, else null.
//!
//! "Holder" is the owner inside its gate, who claimed that gate, or who holds the page by its remote word (R4).

use core::marker::PhantomPinned;
use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange::Exchanged;
use crate::first_class::Core;
use crate::inbox::{Inbox, Linked};
use crate::os;
use crate::region::{Run, SLICE_BYTES};
use crate::remote::{Links, List, RemoteWord, State};
use crate::report::check;
use crate::sample::profile::Record;
use crate::size_class::SizeClass;
use crate::stats::{self, Counter, OwnCount};
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::thread::Thread;
use crate::track;

#[cfg(any(test, tessalloc_check))]
mod check;

/// What the slices of a descriptor are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nobody's.
    Free = 0,
    /// Blocks of one class.
    Small = 1,
    /// Blocks of mixed small classes: a theap's first ones.
    Starter = 2,
    /// One block.
    Large = 3,
    /// A large run kept by a thread for its next request.
    Warm = 4,
    /// Blocks that start inside their places, or one in a run: see [`crate::offset`].
    Offset = 5,
    /// As [`Kind::Offset`], each with the record of a sample in front: see [`crate::sample`].
    Sampled = 6,
    /// One block in front of an OS page without access: see [`crate::guarded`].
    Guarded = 7,
}

/// The page is in its theap's queue.
pub(crate) const IN_QUEUE: u8 = 1;
/// All blocks are handed out; the page is in no queue.
pub(crate) const FULL: u8 = 2;
/// The memory was never written since the system gave it: blocks yet to be carved read zero.
pub(crate) const FRESH: u8 = 4;
/// The owner exited while the page was on its way into its inbox.
pub(crate) const ORPHAN: u8 = 8;
/// Nobody has taken blocks of the page since a look of the scavenger: see [`crate::rounds`].
pub(crate) const RESTED: u8 = 16;
/// The run was moved by the page table and costs a mapping of its own.
pub(crate) const MOVED: u8 = 32;
/// The run was made for a first-class heap; that may have been deleted since.
pub(crate) const OF_HEAP: u8 = 64;
/// The run's block is a sample, whose record stands in place of the list of free blocks.
pub(crate) const SAMPLED: u8 = 128;

/// A page's entry in the table beside its region.
#[repr(C, align(128))]
pub(crate) struct Page {
    pub(crate) owner: AtomicUsize,
    pub(crate) start: *mut u8,
    pub(crate) free: *mut Block,
    pub(crate) used: OwnCount,
    pub(crate) wake: u32,
    pub(crate) carved: OwnCount,
    pub(crate) reserved: u32,
    pub(crate) block_bytes: u32,
    pub(crate) class: u8,
    pub(crate) kind: AtomicU8,
    pub(crate) flags: u8,
    pub(crate) class_seen: AtomicU8,
    pub(crate) holes: u64,
    pub(crate) touched: u32,
    pub(crate) fit_seen: AtomicU32,

    pub(crate) remote: RemoteWord,
    inbox_link: AtomicPtr<Page>,
    pub(crate) waiting_link: AtomicU32,
    pub(crate) number: u32,
    pub(crate) claim_at: AtomicU32,
    pub(crate) seen: AtomicU32,
    pub(crate) next: *mut Page,
    pub(crate) previous: *mut Page,
    pub(crate) heap: AtomicPtr<Core>,
    /// Other threads use the remote word at any time, and look at counts: a `&mut Page` must not promise that they don't.
    _shared: PhantomPinned,
}

const _: () = assert!(size_of::<Page>() == 128);
// Where pointers are shorter, what remote threads write shares a line with what the owner writes: correct, and slower.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(core::mem::offset_of!(Page, remote) == 64);

impl Linked for Page {
    fn link(&self) -> &AtomicPtr<Page> {
        &self.inbox_link
    }
}

impl Exchanged for Page {
    type Links = PageLinks;

    unsafe fn remote<'a>(page: *mut Self) -> &'a RemoteWord {
        // SAFETY: the caller's duty.
        unsafe { &(*page).remote }
    }

    unsafe fn owner<'a>(page: *mut Self) -> &'a AtomicUsize {
        // SAFETY: the caller's duty.
        unsafe { &(*page).owner }
    }

    unsafe fn claim_at<'a>(page: *mut Self) -> &'a AtomicU32 {
        // SAFETY: the caller's duty.
        unsafe { &(*page).claim_at }
    }

    unsafe fn links(page: *mut Self) -> PageLinks {
        // SAFETY: the caller's duty; P2: set once.
        PageLinks(unsafe { (*page).start })
    }

    unsafe fn inbox<'a>(record: usize) -> &'a Inbox<Self> {
        let thread: *mut Thread = core::ptr::with_exposed_provenance_mut(record);
        // SAFETY: the caller's duty; records are never unmapped (L2).
        unsafe { &(*thread).inbox }
    }
}

/// Writes links of blocks that lie in a page, by their distance from its start.
pub(crate) struct PageLinks(pub(crate) *mut u8);

impl Links for PageLinks {
    fn link(&self, from: u16, to: u16) {
        // SAFETY: R1: both blocks were freed by the caller and lie in the page that starts here; nobody else touches them.
        unsafe { Block::set_next(self.block(from), self.block(to)) };
    }
}

impl PageLinks {
    /// The block at a distance in units of 8 bytes.
    pub(crate) fn block(&self, at: u16) -> *mut Block {
        self.0.wrapping_add(usize::from(at) << 3).cast()
    }

    /// A block's distance in units of 8 bytes.
    pub(crate) fn distance(&self, block: *mut Block) -> u16 {
        ((block.addr() - self.0.addr()) >> 3) as u16
    }
}

/// What `carved` and `reserved` of a starter page count.
pub(crate) const STARTER_UNIT_BYTES: usize = 16;

/// Slices of a page at most. (Places in it have 16 bits, in units of 8 bytes: it could be 8.)
const PAGE_SLICES_MAX: u32 = 4;

/// Slices of a page for blocks of a class, for who has `held` pages of it: at first the fewest of which an eighth at most is left
/// over behind the last block, later more, but never more than the pages held have together. So a thread with a block or two of each
/// size holds little, also where the memory was written before and all of it is resident.
/// Source: decision 0010.
pub(crate) const fn slice_count_for(class: SizeClass, held: u8) -> u32 {
    let bytes = class.block_bytes();
    if bytes <= crate::size_class::ONE_SLICE_BYTES_MAX {
        return 1;
    }
    let mut fewest = 1;
    while fewest < PAGE_SLICES_MAX && !fits_well(fewest, bytes) {
        fewest += 1;
    }
    // Blocks of 52 KiB fit well into no page; one of one slice leaves as much as longer ones.
    if !fits_well(fewest, bytes) {
        fewest = 1;
    }
    let doublings = if held < 4 { held as u32 / 2 } else { 2 };
    let count = fewest << doublings;
    if count < PAGE_SLICES_MAX { count } else { PAGE_SLICES_MAX }
}

/// Whether an eighth at most is left over behind the last block.
const fn fits_well(slices: u32, block_bytes: usize) -> bool {
    let bytes = slices as usize * SLICE_BYTES;
    bytes % block_bytes * 8 <= bytes
}

impl Page {
    /// Sets the fields up for a page of small blocks. The caller has taken the slices; `kind` is written last, by the region.
    pub(crate) fn begin_small(&mut self, run: &Run, class: SizeClass, owner: usize, fresh: bool) {
        self.begin(run.start(), class, owner, (run.count * SLICE_BYTES / class.block_bytes()) as u32);
        self.flags = if fresh { FRESH } else { 0 };
        track::back(run.start(), run.count * SLICE_BYTES);
        self.begin_touched(fresh);
    }

    /// What holds nothing behind the touched part of a page of small blocks, or of a starter page. In `Counter::UntouchedBytes` for as long as the page is
    /// in use. Unit: bytes.
    pub(crate) fn untouched_bytes(&self) -> u64 {
        self.slice_count() as u64 * SLICE_BYTES as u64 - u64::from(self.touched)
    }

    /// Says whether the page of small blocks, whose kind is set, holds anything yet.
    pub(crate) fn begin_touched(&mut self, fresh: bool) {
        self.touched = if fresh { 0 } else { (self.slice_count() * SLICE_BYTES) as u32 };
        stats::add(Counter::UntouchedBytes, self.untouched_bytes());
    }

    /// Says that the page is touched up to its first `bytes`.
    pub(crate) fn touch(&mut self, bytes: u32) {
        if bytes > self.touched {
            let most = (self.slice_count() * SLICE_BYTES) as u32;
            let touched = bytes.next_multiple_of(os::page_bytes() as u32).min(most);
            stats::sub(Counter::UntouchedBytes, u64::from(touched - self.touched));
            self.touched = touched;
        }
    }

    /// Sets the fields up for any page; `reserved` counts its blocks or slices.
    pub(crate) fn begin(&mut self, start: *mut u8, class: SizeClass, owner: usize, reserved: u32) {
        self.start = start;
        self.free = null_mut();
        self.used.set(0);
        self.wake = 0;
        self.carved.set(0);
        self.reserved = reserved;
        self.block_bytes = class.block_bytes() as u32;
        self.class = class.index() as u8;
        // ORDER: Relaxed: a picture for who counts pages.
        self.class_seen.store(self.class, Ordering::Relaxed);
        self.fit_seen.store(reserved, Ordering::Relaxed);
        self.flags = 0;
        self.holes = 0;
        self.touched = 0;
        self.next = null_mut();
        self.previous = null_mut();
        self.set_heap(null_mut());
        self.remote.reset(State::Owned);
        // ORDER: Relaxed: others learn of the page by its blocks.
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// Slices of a page of small blocks: as many as its blocks reach into (P6), or the one of a starter page.
    pub(crate) fn slice_count(&self) -> usize {
        let unit = if self.kind() == Kind::Starter { STARTER_UNIT_BYTES } else { self.block_bytes as usize };
        (self.reserved as usize * unit).div_ceil(SLICE_BYTES)
    }

    pub(crate) fn class(&self) -> SizeClass {
        SizeClass::from_index(usize::from(self.class))
    }

    pub(crate) fn kind(&self) -> Kind {
        // ORDER: Relaxed: who holds a block of the page knows its kind since the block was handed out.
        match self.kind.load(Ordering::Relaxed) {
            1 => Kind::Small,
            2 => Kind::Starter,
            3 => Kind::Large,
            4 => Kind::Warm,
            5 => Kind::Offset,
            6 => Kind::Sampled,
            7 => Kind::Guarded,
            _ => Kind::Free,
        }
    }

    pub(crate) fn set_kind(&self, kind: Kind) {
        // ORDER: Relaxed: as in `kind`.
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// The first-class heap that the page is of; null: the default heap's.
    pub(crate) fn heap(&self) -> *mut Core {
        // ORDER: Relaxed: who holds a block of the page knows its heap since the block was handed out; who finds it deleted since
        // finds a page of the default heap, which is as good.
        self.heap.load(Ordering::Relaxed)
    }

    pub(crate) fn set_heap(&self, heap: *mut Core) {
        // ORDER: Relaxed: as in `heap`.
        self.heap.store(heap, Ordering::Relaxed);
    }

    /// A run's block has the record of a sample.
    pub(crate) fn set_sample(&mut self, record: *mut Record) {
        self.flags |= SAMPLED;
        self.free = record.cast();
    }

    /// The record of a run's block; null if it is no sample.
    pub(crate) fn sample(&self) -> *mut Record {
        if self.has(SAMPLED) { self.free.cast() } else { null_mut() }
    }

    /// The record of a run's block, which has it no more; null if it is no sample.
    pub(crate) fn take_sample(&mut self) -> *mut Record {
        let record = self.sample();
        if !record.is_null() {
            self.flags &= !SAMPLED;
            self.free = null_mut();
        }
        record
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Notes a look of the scavenger; true if nobody has taken blocks since the one before.
    pub(crate) fn note_rest(&mut self) -> bool {
        let rested = self.has(RESTED);
        self.flags |= RESTED;
        rested
    }

    /// Whether a block can be had without looking for remote frees.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_null() || self.carved < self.reserved || self.holes != 0
    }

    /// Marks a page without room; it is looked at again when an eighth of it has come home (one block of few).
    pub(crate) fn mark_full(&mut self) {
        self.flags |= FULL;
        self.wake = self.reserved - if self.reserved <= 16 { 1 } else { self.reserved / 8 };
    }

    /// Puts one block home. True if the page wants to be looked at (P5).
    ///
    /// # Safety
    /// - The caller holds the page, and the block is one of its handed-out blocks.
    #[inline]
    pub(crate) unsafe fn put(&mut self, block: *mut Block) -> bool {
        check!(self.used > 0, "more blocks came home than were handed out");
        // SAFETY: the caller's duty; P3 is kept since the block overlaps no hole: it was handed out (P10).
        unsafe { Block::set_next(block, self.free) };
        self.free = block;
        let used = self.used.get() - 1;
        self.used.set(used);
        used == self.wake
    }

    /// Puts a remote list home. True if the page wants to be looked at (P5).
    ///
    /// # Safety
    /// - The caller holds the page, and the list was taken from its remote word.
    pub(crate) unsafe fn put_list(&mut self, list: List) -> bool {
        if list.count == 0 {
            return false;
        }
        let links = PageLinks(self.start);
        let before = self.used.get();
        check!(before >= u32::from(list.count), "more blocks came home than were handed out");
        // SAFETY: R1: the list's blocks are the holder's now.
        unsafe { Block::set_next(links.block(list.tail), self.free) };
        self.free = links.block(list.head);
        let used = before - u32::from(list.count);
        self.used.set(used);
        if used == 0 && self.holes == 0 {
            self.start_anew();
        }
        before > self.wake && used <= self.wake
    }

    /// When nothing of it is in use, and it has no holes: blocks are made anew, in order.
    pub(crate) fn start_anew(&mut self) {
        self.free = null_mut();
        self.carved.set(0);
        self.flags &= !FRESH;
        track::back(self.start, self.reserved as usize * self.block_bytes as usize);
    }

    /// Takes up to `want` blocks that were free before, as a list that ends in null; (null, 0) if there are none.
    ///
    /// # Safety
    /// - The caller holds the page.
    pub(crate) unsafe fn take_free(&mut self, want: u32) -> (*mut Block, u32) {
        let first = self.free;
        if first.is_null() {
            return (first, 0);
        }
        let mut last = first;
        let mut count = 1;
        // SAFETY: P3: every link leads to a free block of this page or is null. Bound: `want`.
        unsafe {
            while count < want {
                let next = Block::next(last);
                if next.is_null() {
                    break;
                }
                last = next;
                count += 1;
            }
            self.free = Block::next(last);
            Block::set_next(last, null_mut());
        }
        self.used += count;
        (first, count)
    }

    /// Makes up to `want` (≥ 1) new blocks, lowest address first, as a list that ends in null; one alone has no
    /// link. The page has some left.
    ///
    /// # Safety
    /// - The caller holds the page, and `carved < reserved`.
    pub(crate) unsafe fn carve(&mut self, want: u32) -> (*mut Block, u32) {
        /// New blocks take at most this much untouched memory at a step.
        const STEP_BYTES: u32 = 4096;
        let touched = (self.touched / self.block_bytes).saturating_sub(self.carved.get());
        let step = (STEP_BYTES / self.block_bytes).max(touched).max(1);
        let bytes = self.block_bytes as usize;
        let (first, count) = self.carve_untouched(want.min(step));
        // SAFETY: P6: the blocks lie in the page and were never handed out. A block alone needs no link and is not touched: its
        // memory stays the system's until the program writes.
        unsafe {
            for i in 0..count as usize - 1 {
                let block = first.add(i * bytes);
                Block::set_next(block.cast(), block.add(bytes).cast());
            }
            if count > 1 {
                Block::set_next(first.add((count as usize - 1) * bytes).cast(), null_mut());
            }
        }
        (first.cast(), count)
    }

    /// Makes up to `want` (≥ 1) new blocks that lie in a row and have no links. The page has some left.
    pub(crate) fn carve_untouched(&mut self, want: u32) -> (*mut u8, u32) {
        let carved = self.carved.get();
        let count = want.min(self.reserved - carved);
        let first = self.start.wrapping_add(carved as usize * self.block_bytes as usize);
        self.carved.set(carved + count);
        self.touch((carved + count) * self.block_bytes);
        self.used += count;
        (first, count)
    }

    /// Takes the last `count` carved blocks back, which nobody has touched.
    pub(crate) fn uncarve(&mut self, count: u32) {
        self.carved -= count;
        self.used -= count;
    }
}
