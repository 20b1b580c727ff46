//! The address space: regions cut in slices, chunks of 64 slices, and what is known of each.
//!
//! ```text
//! region   |chunk 0          |chunk 1          | …  accessible prefix … | no access |
//! chunk    |slice|slice| … 64 of them, 64 KiB each                      = 4 MiB
//! beside   [guard][chunk words][summary][kinds: a byte a slice][page descriptors: 128 bytes a slice]
//! ```
//!
//! What is known of a chunk's slices: [`crate::chunk`].
//!
//! An ordinary region is reserved when the others are used up. An arena ([`crate::arena`]) is a further region, of memory that
//! the program reserved or handed in; it starts at any slice, and its last chunk may lack slices.
//!
//! Invariants:
//! - S1 A slice whose `taken` bit a thread has set is that thread's to touch, with its bits in the other words
//!   ([`crate::chunk`]) and its descriptor.
//! - S2 `dirty & !taken` are the slices that a purge may give back; [`Counters::dirty_free`] counts them. In an arena that is kept
//!   as it is they count as nothing while they are free.
//! - S3 Chunks below `frontier` are accessible and their words valid; those above were never used.
//! - S4 `kinds` is 0 except for slices of plain small pages of the default heap, where it is the size class.
//! - S5 Ordinary regions are never released; their fields are set before they are counted, and `reach` is 64 times the frontier,
//!   less what the last chunk lacks, so that an address below it has its kind byte and descriptor.
//! - S6 An arena ends only while all of it is taken by who ends it. Its place in the table, and its tables, stay: they are used
//!   again by the next arena. All chunks that were ever in use stay taken in between, so a thread that still looks at the old arena
//!   finds nothing, or takes of the new one, sees it as it is, and gives back what it would not have asked for. Addresses are
//!   looked up by [`crate::place`]: whoever holds a block in a region never finds it in another.
//! - S7 `arena` is written under the table's lock while no slice of the region can be taken, and read by who holds that lock, a slice,
//!   or the arena's handle.

use core::ptr::null_mut;

use crate::bitmap::{Runs, last_one_until};
use crate::chunk::Chunk;
use crate::grown::Grown;
use crate::page::Page;
use crate::place::Place;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Lock, Ordering};
use crate::taken::{EmptyFrom, Summary};
use crate::waiting::Numbered;

mod arenas;
#[cfg(any(test, tessalloc_check))]
mod check;
#[cfg(tessalloc_check)]
mod check_runs;
mod growth;
mod places;
mod run;
mod taking;

use arenas::ArenaCell;

pub(crate) use arenas::{ARENA_COUNT_MAX, NAME_BYTES as ARENA_NAME_BYTES, Source, arena_from, begin_arena, text_of};
#[cfg(test)]
pub(crate) use check::QUIET;
#[cfg(tessalloc_check)]
pub(crate) use check::check_all;
#[cfg(tessalloc_check)]
pub(crate) use check_runs::{dirty_slices, for_each_run};
pub(crate) use growth::{is_beyond_all, is_tight};
pub(crate) use places::Places;
pub(crate) use run::Run;
pub(crate) use taking::{take, take_in, take_ordinary};

pub(crate) const SLICE_SHIFT: u32 = 16;
pub(crate) const SLICE_BYTES: usize = 1 << SLICE_SHIFT;
pub(crate) const CHUNK_SLICES: u32 = 64;
pub(crate) const CHUNK_BYTES: usize = SLICE_BYTES * CHUNK_SLICES as usize;
const REGION_COUNT_MAX: usize = 192;
/// Bits of a page number that hold the slice; the region stands above.
const NUMBER_SLICE_BITS: u32 = 24;
pub(crate) const REGION_BYTES_MAX: usize = if usize::BITS < 64 { 1 << 30 } else { SLICE_BYTES << NUMBER_SLICE_BITS };
const REGION_BYTES_MIN: usize = 32 << 20;
/// Chunks made accessible at the first step; later steps double what there is.
const COMMIT_CHUNKS_FIRST: u32 = 4;
const COMMIT_CHUNKS_MAX: u32 = 4096;
/// Partly used chunks that are looked at for a run of several slices before an unused one is taken.
const CANDIDATES_MAX: u32 = 64;

/// One reservation with its tables.
#[repr(C, align(64))]
pub(crate) struct Region {
    place: Place,
    base: AtomicPtr<u8>,
    kinds: AtomicPtr<AtomicU8>,
    /// `kinds`, as if slices were counted from address 0.
    kinds_from_zero: AtomicPtr<AtomicU8>,
    pages: AtomicPtr<Page>,
    chunks: AtomicPtr<Chunk>,
    summary: AtomicPtr<Summary>,
    chunk_count: AtomicU32,
    frontier: Grown,
    accessible: AtomicU32,
    empty_from: EmptyFrom,
    lock: Lock,
    /// Role and ways, see below.
    manner: AtomicU32,
    slice_count: AtomicUsize,
    /// Chunks that the tables have room for; 0 before there are any.
    table_chunks: AtomicU32,
    /// Heaps that take from the arena.
    heap_count: AtomicU32,
    arena: ArenaCell,
}

/// Role: everyone takes from it.
const ORDINARY: u32 = 1;
/// Role: an arena that everyone takes from.
const SHARED: u32 = 2;
/// Role: an arena that only its heaps take from.
const EXCLUSIVE: u32 = 4;
/// The memory is the program's: it is not released.
const GIVEN: u32 = 8;
/// Usable from the start.
const COMMITTED: u32 = 16;
/// Committed and purged by slice, by the program's own functions.
const OWN: u32 = 32;
/// Never purged.
const KEPT: u32 = 64;
/// May hold anything at first.
const USED: u32 = 128;

static REGIONS: [Region; REGION_COUNT_MAX] = [const { Region::new() }; REGION_COUNT_MAX];
static REGION_COUNT: AtomicUsize = AtomicUsize::new(0);
static GROW: Lock = Lock::new();
/// Clock of the purge, advanced by whoever runs it.
pub(crate) static TICK: AtomicU32 = AtomicU32::new(0);

/// The first region, where the fast paths look.
#[inline(always)]
pub(crate) fn first() -> &'static Region {
    &REGIONS[0]
}

/// All regions there are.
pub(crate) fn all() -> &'static [Region] {
    // ORDER: Acquire pairs with the Release in `grow` (S5).
    &REGIONS[..REGION_COUNT.load(Ordering::Acquire)]
}

/// Shows each run of slices of a chunk that may be resident, by its start and bytes, until `visit` says false: as they are at some
/// moment, for threads take and give meanwhile.
pub(crate) fn for_each_dirty(mut visit: impl FnMut(*mut u8, usize) -> bool) {
    for region in all() {
        for chunk in 0..region.frontier() {
            for (at, count) in Runs(region.chunk(chunk).dirty()) {
                if !visit(region.slice_start((chunk * CHUNK_SLICES + at) as usize), count as usize * SLICE_BYTES) {
                    return;
                }
            }
        }
    }
}

/// Shows the descriptor of each run there is at some moment; nothing of it is held. Bound: the chunks ever used, and 64 descriptors in each.
pub(crate) fn for_each_start(mut visit: impl FnMut(*mut Page)) {
    for region in all() {
        for chunk in 0..region.frontier() {
            let mut starts = region.starts_of(chunk);
            while starts != 0 {
                visit(region.page((chunk * CHUNK_SLICES + starts.trailing_zeros()) as usize));
                starts &= starts - 1;
            }
        }
    }
}

/// The region that holds an address, and the slice in it.
#[inline]
pub(crate) fn find(address: usize) -> Option<(&'static Region, usize)> {
    match first().slice_of(address) {
        Some(slice) => Some((first(), slice)),
        None => find_further(address),
    }
}

#[cold]
fn find_further(address: usize) -> Option<(&'static Region, usize)> {
    all().iter().find_map(|region| Some((region, region.place.find_in_one_life(address >> SLICE_SHIFT)?)))
}

/// The descriptor with this number.
pub(crate) fn page_by_number(number: u32) -> *mut Page {
    REGIONS[(number >> NUMBER_SLICE_BITS) as usize].page((number & ((1 << NUMBER_SLICE_BITS) - 1)) as usize)
}

/// Pages by number, for [`crate::waiting::WaitingList`].
pub(crate) struct AllPages;

impl Numbered for AllPages {
    fn link(&self, number: u32) -> &AtomicU32 {
        // SAFETY: S5: numbers come from descriptors, which are never unmapped; the link is atomic.
        unsafe { &(*page_by_number(number)).waiting_link }
    }
}

impl Region {
    const fn new() -> Self {
        Self {
            place: Place::new(),
            base: AtomicPtr::new(null_mut()),
            kinds: AtomicPtr::new(null_mut()),
            kinds_from_zero: AtomicPtr::new(null_mut()),
            pages: AtomicPtr::new(null_mut()),
            chunks: AtomicPtr::new(null_mut()),
            summary: AtomicPtr::new(null_mut()),
            chunk_count: AtomicU32::new(0),
            frontier: Grown::new(),
            accessible: AtomicU32::new(0),
            empty_from: EmptyFrom::new(),
            lock: Lock::new(),
            manner: AtomicU32::new(0),
            slice_count: AtomicUsize::new(0),
            table_chunks: AtomicU32::new(0),
            heap_count: AtomicU32::new(0),
            arena: ArenaCell::new(),
        }
    }

    /// Whether any of these bits of the manner is set.
    pub(super) fn is(&self, bits: u32) -> bool {
        // ORDER: Relaxed: set before the region is counted, or while no slice of it can be taken (S5, S6).
        self.manner.load(Ordering::Relaxed) & bits != 0
    }

    /// Whether the region is one of the allocator's own, and no arena.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.is(ORDINARY)
    }

    /// Whether parts of a slice may be purged by the system's own call.
    pub(crate) fn purges_parts(&self) -> bool {
        !self.is(KEPT | OWN)
    }

    /// Whether memory becomes usable slice by slice, as it is taken.
    fn commits_by_slice(&self) -> bool {
        self.is(OWN) || (!crate::os::COMMITS_PREFIX && !self.is(COMMITTED))
    }

    /// The region's own place in the table follows from its address.
    fn index(&self) -> usize {
        ((&raw const *self).addr() - (&raw const REGIONS).addr()) / size_of::<Region>()
    }

    /// Whether this is the region that the fast paths know.
    pub(crate) fn is_first(&self) -> bool {
        core::ptr::eq(self, first())
    }

    /// The region's first byte.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        // ORDER: Relaxed: set once before `reach` (S5).
        self.base.load(Ordering::Relaxed)
    }

    /// The slice of an address; `None` outside the part of the region that was ever used. For the first region, which never ends.
    #[inline(always)]
    pub(crate) fn slice_of(&self, address: usize) -> Option<usize> {
        self.place.find(address >> SLICE_SHIFT)
    }

    /// The kind byte of a slice: its size class, or 0.
    #[inline(always)]
    pub(crate) fn kind_byte(&self, slice: usize) -> &AtomicU8 {
        // SAFETY: S5: the table has a byte for each slice, and callers pass slices below `reach`, which are accessible (S3).
        // ORDER: Relaxed: set once.
        unsafe { &*self.kinds.load(Ordering::Relaxed).add(slice) }
    }

    /// The kind byte of an address for which [`Region::slice_of`] knows a slice, one step sooner than by that slice: frees wait
    /// for it.
    #[inline(always)]
    pub(crate) fn kind_byte_of(&self, address: usize) -> &AtomicU8 {
        // SAFETY: as in `kind_byte`: the same byte. ORDER: Relaxed: set once.
        unsafe { &*self.kinds_from_zero.load(Ordering::Relaxed).wrapping_add(address >> SLICE_SHIFT) }
    }

    pub(crate) fn page(&self, slice: usize) -> *mut Page {
        // ORDER: Relaxed: set once (S5).
        self.pages.load(Ordering::Relaxed).wrapping_add(slice)
    }

    pub(crate) fn slice_start(&self, slice: usize) -> *mut u8 {
        self.base().wrapping_add(slice << SLICE_SHIFT)
    }

    fn chunk(&self, index: u32) -> &Chunk {
        // ORDER: Relaxed: set once before `reach` (S5).
        // SAFETY: S3: callers pass chunks below the frontier, or ones they have just made accessible.
        unsafe { &*self.chunks.load(Ordering::Relaxed).add(index as usize) }
    }

    fn summary(&self, index: u32) -> &Summary {
        // ORDER: Relaxed: set once before `reach` (S5).
        // SAFETY: the summary is accessible as a whole from the region's start on.
        unsafe { &*self.summary.load(Ordering::Relaxed).add(index as usize / 64) }
    }

    fn chunk_count(&self) -> u32 {
        // ORDER: Relaxed: set once (S5).
        self.chunk_count.load(Ordering::Relaxed)
    }

    /// Slices of a chunk that are not there: the last one's end.
    fn absent(&self, chunk: u32) -> u64 {
        // ORDER: Relaxed: set once a life (S5, S6).
        let behind = self.slice_count.load(Ordering::Relaxed).saturating_sub(chunk as usize * CHUNK_SLICES as usize);
        if behind >= CHUNK_SLICES as usize { 0 } else { u64::MAX << behind }
    }

    /// How far the base is from a chunk's boundary of the address space, in slices: 0 in ordinary regions.
    fn skew(&self) -> u32 {
        self.place.first_slice() as u32 % CHUNK_SLICES
    }

    /// Chunks in use so far.
    pub(crate) fn frontier(&self) -> u32 {
        self.frontier.now()
    }

    /// Whether it is more than the place of an arena that has ended.
    pub(crate) fn is_there(&self) -> bool {
        self.chunk_count() > 0
    }

    /// The slices of a chunk at which runs begin.
    pub(crate) fn starts_of(&self, chunk: u32) -> u64 {
        let chunk = self.chunk(chunk);
        // ORDER: Relaxed: a picture; the runs may be given back meanwhile.
        chunk.starts(Ordering::Relaxed) & chunk.taken.load(Ordering::Relaxed)
    }

    /// The first slice of the run that holds a slice, which may lie in an earlier chunk; `None` if the slice is free.
    pub(crate) fn start_of(&self, slice: usize) -> Option<usize> {
        let at = (slice % CHUNK_SLICES as usize) as u32;
        let chunk = self.chunk((slice / CHUNK_SLICES as usize) as u32);
        // ORDER: Relaxed: who asks holds a block of the run, which was taken and its start set before. A free slice, of a block
        // that was freed twice, is not part of the run in front of it.
        if chunk.taken.load(Ordering::Relaxed) >> at & 1 == 0 {
            return None;
        }
        match last_one_until(chunk.starts(Ordering::Relaxed), at) {
            Some(first) => Some(slice - (at - first) as usize),
            None => chunk.head(),
        }
    }

    /// The descriptor of the run that holds a slice; `None` if the slice is free.
    pub(crate) fn page_at(&self, slice: usize) -> Option<*mut Page> {
        Some(self.page(self.start_of(slice)?))
    }

    /// Locks the region's growth, for a fork.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }
}

/// Locks the table of regions, for a fork.
pub(crate) fn grow_lock() -> &'static Lock {
    &GROW
}
