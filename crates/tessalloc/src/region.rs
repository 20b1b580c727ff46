//! The address space: regions cut in slices, chunks of 64 slices, and what is known of each.
//!
//! ```text
//! region   |chunk 0          |chunk 1          | …  accessible prefix … | no access |
//! chunk    |slice|slice| … 64 of them, 64 KiB each                      = 4 MiB
//! beside   [guard][chunk words][summary][kinds: a byte a slice][page descriptors: 128 bytes a slice]
//! ```
//!
//! | word of a chunk | a one means                                     | written by                    |
//! |-----------------|-------------------------------------------------|-------------------------------|
//! | `taken`         | the slice is part of a run, or being purged     | any: CAS to take, AND to give  |
//! | `starts`        | a run, or its part in this chunk, begins here    | who holds the run              |
//! | `dirty`         | may be resident; a zero reads as zeroes          | who holds the slice            |
//! | `committed`     | usable (only where commit goes by slice)         | who holds the slice            |
//!
//! Invariants:
//! - S1 A slice whose `taken` bit a thread has set is that thread's to touch, with its bits in the other words and its descriptor.
//! - S2 `dirty & !taken` are the slices that a purge may give back; [`Counters::dirty_free`] counts them.
//! - S3 Chunks below `frontier` are accessible and their words valid; those above were never used.
//! - S4 `kinds` is 0 except for slices of plain small pages of the default heap, where it is the size class.
//! - S5 Regions are never released; their fields are set before they are counted, and `reach` is 64 times the frontier, so that
//!   an address below it has its kind byte and descriptor.

use core::ptr::null_mut;

use crate::bitmap::{Runs, find_run, last_one_until, mask};
use crate::options::Opt;
use crate::os::{self, OsError};
use crate::page::{Kind, Page};
use crate::report::{Line, check};
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Lock, Ordering};
use crate::waiting::Numbered;

pub(crate) const SLICE_SHIFT: u32 = 16;
pub(crate) const SLICE_BYTES: usize = 1 << SLICE_SHIFT;
pub(crate) const CHUNK_SLICES: u32 = 64;
pub(crate) const CHUNK_BYTES: usize = SLICE_BYTES * CHUNK_SLICES as usize;
const REGION_COUNT_MAX: usize = 64;
/// Bits of a page number that hold the slice; the region stands above.
const NUMBER_SLICE_BITS: u32 = 24;
const REGION_BYTES_MAX: usize = if usize::BITS < 64 { 1 << 30 } else { SLICE_BYTES << NUMBER_SLICE_BITS };
const REGION_BYTES_MIN: usize = 32 << 20;
/// Chunks made accessible at the first step; later steps double what there is.
const COMMIT_CHUNKS_FIRST: u32 = 4;
const COMMIT_CHUNKS_MAX: u32 = 4096;
/// Partly used chunks that are looked at for a run of several slices before an unused one is taken.
const CANDIDATES_MAX: u32 = 64;

#[repr(C, align(64))]
pub(crate) struct Chunk {
    taken: AtomicU64,
    starts: AtomicU64,
    dirty: AtomicU64,
    committed: AtomicU64,
    /// Clock of the last give, in ticks of the purge.
    given_at: AtomicU32,
}

/// One reservation with its tables.
#[repr(C, align(64))]
pub(crate) struct Region {
    /// Slices between address 0 and the base.
    first_slice: AtomicUsize,
    reach: AtomicUsize,
    base: AtomicPtr<u8>,
    kinds: AtomicPtr<AtomicU8>,
    /// `kinds`, as if slices were counted from address 0.
    kinds_from_zero: AtomicPtr<AtomicU8>,
    pages: AtomicPtr<Page>,
    chunks: AtomicPtr<Chunk>,
    summary: AtomicPtr<AtomicU64>,
    chunk_count: AtomicU32,
    frontier: AtomicU32,
    accessible: AtomicU32,
    /// No chunk below is wholly free.
    empty_from: AtomicU32,
    lock: Lock,
}

static REGIONS: [Region; REGION_COUNT_MAX] = [const { Region::new() }; REGION_COUNT_MAX];
static REGION_COUNT: AtomicUsize = AtomicUsize::new(0);
static GROW: Lock = Lock::new();
/// Whether address space is limited: then none is taken on suspicion.
static TIGHT: AtomicBool = AtomicBool::new(false);
/// Clock of the purge, advanced by whoever runs it.
pub(crate) static TICK: AtomicU32 = AtomicU32::new(0);

/// Slices that one owner took together.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) region: &'static Region,
    pub(crate) slice: usize,
    pub(crate) count: usize,
}

/// Part of a run that lies in one chunk.
struct Part {
    chunk: u32,
    at: u32,
    count: u32,
}

/// Cuts slices `[slice, slice + count)` at chunk borders.
fn parts(slice: usize, count: usize) -> impl Iterator<Item = Part> {
    let end = slice + count;
    let mut from = slice;
    core::iter::from_fn(move || {
        if from == end {
            return None;
        }
        let at = (from % CHUNK_SLICES as usize) as u32;
        let count = (end - from).min((CHUNK_SLICES - at) as usize) as u32;
        let part = Part { chunk: (from / CHUNK_SLICES as usize) as u32, at, count };
        from += count as usize;
        Some(part)
    })
}

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
    all().iter().find_map(|region| region.slice_of(address).map(|slice| (region, slice)))
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

/// Takes a run of slices, aligned to `align` slices; a new region is made when the others are used up.
pub(crate) fn take(count: usize, align: usize) -> Option<Run> {
    for region in all() {
        if let Some(run) = region.take(count, align) {
            return Some(run);
        }
    }
    // Bound: each turn adds a region, or finds one that another thread added; 64 at most.
    loop {
        let known = all().len();
        if !grow(known, count, align) {
            return None;
        }
        for region in &all()[known..] {
            if let Some(run) = region.take(count, align) {
                return Some(run);
            }
        }
    }
}

/// Whether no region could hold a block like this, whatever is given back.
pub(crate) fn is_beyond_all(bytes: usize, align: usize) -> bool {
    bytes.saturating_add(align) > REGION_BYTES_MAX
}

/// Adds a region that can hold the run, unless another thread has added one meanwhile.
#[cold]
fn grow(known: usize, count: usize, align: usize) -> bool {
    let _guard = GROW.lock();
    let index = all().len();
    if index > known {
        return true;
    }
    let Some(need) =
        count.checked_add(align.max(CHUNK_SLICES as usize)).and_then(|slices| slices.checked_mul(SLICE_BYTES))
    else {
        return false;
    };
    if index == REGION_COUNT_MAX || need > REGION_BYTES_MAX {
        return false;
    }
    let need = need.next_multiple_of(CHUNK_BYTES);
    // What has room that was never used was refused the memory for it, and so would a further region be.
    let has_room = |region: &Region| (region.chunk_count() - region.frontier()) as usize * CHUNK_BYTES >= need;
    if all().iter().any(has_room) {
        return false;
    }
    let mut bytes = plan_region_bytes(index).max(need);
    // Bound: halves down to what is needed, at most 16 times.
    loop {
        if REGIONS[index].begin(index, bytes).is_ok() {
            // ORDER: Release pairs with the Acquire in `all` (S5).
            REGION_COUNT.store(index + 1, Ordering::Release);
            if Opt::Verbose.is_on() {
                Line::new().text("reserved ").number(bytes as u64 >> 20).text(" MiB of address space").write();
            }
            return true;
        }
        let half = (bytes / 2).next_multiple_of(CHUNK_BYTES);
        let least = need.max(REGION_BYTES_MIN.min(bytes));
        if half < least && bytes > least {
            bytes = least;
        } else if half >= least && half < bytes {
            bytes = half;
        } else if bytes > need {
            bytes = need;
        } else {
            return false;
        }
    }
}

/// Whether address space is limited for this process.
pub(crate) fn is_tight() -> bool {
    // ORDER: Relaxed: a hint.
    TIGHT.load(Ordering::Relaxed)
}

/// How much address space a region should take.
fn plan_region_bytes(index: usize) -> usize {
    let asked = Opt::ReserveBytes.value() as usize;
    if asked > 0 {
        return asked.clamp(CHUNK_BYTES, REGION_BYTES_MAX).next_multiple_of(CHUNK_BYTES);
    }
    if let Some(limit) = os::address_limit() {
        // ORDER: Relaxed: a hint.
        TIGHT.store(true, Ordering::Relaxed);
        return ((limit / 16) as usize).clamp(REGION_BYTES_MIN, REGION_BYTES_MAX).next_multiple_of(CHUNK_BYTES);
    }
    if usize::BITS < 64 {
        return 64 << 20;
    }
    if index == 0 && is_reserving_dear() {
        return 1 << 30;
    }
    let wanted = (os::physical_bytes() as usize).saturating_mul(4).max(64 << 30);
    wanted.checked_next_power_of_two().unwrap_or(REGION_BYTES_MAX).min(REGION_BYTES_MAX)
}

/// Whether reserving costs time by the byte, as under emulators: a probe of 256 MiB that takes over half a millisecond.
fn is_reserving_dear() -> bool {
    const PROBE_BYTES: usize = 256 << 20;
    const DEAR_US: u64 = 500;
    let before = os::now_us();
    match os::reserve(PROBE_BYTES, os::page_bytes(), 0) {
        Ok(probe) => {
            let took = os::now_us() - before;
            // SAFETY: the probe was reserved just now and nobody else knows it.
            unsafe { os::release(probe, PROBE_BYTES) };
            took > DEAR_US
        }
        Err(_) => false,
    }
}

impl Region {
    const fn new() -> Self {
        Self {
            first_slice: AtomicUsize::new(0),
            reach: AtomicUsize::new(0),
            base: AtomicPtr::new(null_mut()),
            kinds: AtomicPtr::new(null_mut()),
            kinds_from_zero: AtomicPtr::new(null_mut()),
            pages: AtomicPtr::new(null_mut()),
            chunks: AtomicPtr::new(null_mut()),
            summary: AtomicPtr::new(null_mut()),
            chunk_count: AtomicU32::new(0),
            frontier: AtomicU32::new(0),
            accessible: AtomicU32::new(0),
            empty_from: AtomicU32::new(0),
            lock: Lock::new(),
        }
    }

    /// Reserves the region and its tables. The caller holds [`GROW`].
    fn begin(&self, index: usize, bytes: usize) -> Result<(), OsError> {
        let os_page = os::page_bytes();
        let slices = bytes / SLICE_BYTES;
        let chunks = slices / CHUNK_SLICES as usize;
        let guard = os_page;
        let chunk_words = (chunks * size_of::<Chunk>()).next_multiple_of(os_page);
        let summary = chunks.div_ceil(64).next_multiple_of(os_page / 8) * 8;
        let kinds = slices.next_multiple_of(os_page);
        let pages = (slices * size_of::<Page>()).next_multiple_of(os_page);
        let tables_bytes = guard + chunk_words + summary + kinds + pages + guard;

        // 4 TiB aligned at random below 64 TiB: far from what the loader and the program's own mappings use.
        let hint =
            if usize::BITS == 64 { ((os::random() as usize & 0xfff_ffff) << 22) % (48 << 40) + (8 << 40) } else { 0 };
        let base = os::reserve(bytes, CHUNK_BYTES, hint)?;
        let tables = match os::reserve(tables_bytes, os_page, 0) {
            Ok(tables) => tables,
            Err(error) => {
                // SAFETY: reserved just now, known to nobody.
                unsafe { os::release(base, bytes) };
                return Err(error);
            }
        };
        // SAFETY: the offsets stay within `tables_bytes`, see above.
        let at = |offset: usize| unsafe { tables.add(offset) };
        let summary_at = at(guard + chunk_words);
        // SAFETY: the range lies in the reservation, OS page aligned.
        if let Err(error) = unsafe { os::commit(summary_at, summary) } {
            // SAFETY: both were reserved just now and are known to nobody.
            unsafe {
                os::release(tables, tables_bytes);
                os::release(base, bytes);
            }
            return Err(error);
        }
        // SAFETY: a mapping of ours.
        unsafe {
            os::advise_small_pages(base, bytes);
            os::advise_small_pages(tables, tables_bytes);
        }
        os::name(base, bytes);
        stats::add(Counter::ReservedBytes, bytes as u64);
        stats::add(Counter::TableBytes, tables_bytes as u64);
        // ORDER: Relaxed: published by the last store.
        self.chunks.store(at(guard).cast(), Ordering::Relaxed);
        self.summary.store(summary_at.cast(), Ordering::Relaxed);
        let kinds_at: *mut AtomicU8 = at(guard + chunk_words + summary).cast();
        self.kinds.store(kinds_at, Ordering::Relaxed);
        self.kinds_from_zero.store(kinds_at.wrapping_sub(base.addr() >> SLICE_SHIFT), Ordering::Relaxed);
        self.pages.store(at(guard + chunk_words + summary + kinds).cast(), Ordering::Relaxed);
        self.base.store(base, Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.first_slice.store(base.addr() >> SLICE_SHIFT, Ordering::Relaxed);
        self.chunk_count.store(chunks as u32, Ordering::Relaxed);
        check!(self.index() == index, "a region knows its place");
        Ok(())
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

    /// The slice of an address; `None` outside the part of the region that was ever used.
    #[inline(always)]
    pub(crate) fn slice_of(&self, address: usize) -> Option<usize> {
        // ORDER: Relaxed, here and below: `reach` is 0 until the region is there. Who holds a block of it got it through an
        // ordering of its own (S5).
        let slice = (address >> SLICE_SHIFT).wrapping_sub(self.first_slice.load(Ordering::Relaxed));
        if slice < self.reach.load(Ordering::Relaxed) { Some(slice) } else { None }
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

    fn summary(&self, index: u32) -> &AtomicU64 {
        // ORDER: Relaxed: set once before `reach` (S5).
        // SAFETY: the summary is accessible as a whole from the region's start on.
        unsafe { &*self.summary.load(Ordering::Relaxed).add(index as usize / 64) }
    }

    fn chunk_count(&self) -> u32 {
        // ORDER: Relaxed: set once (S5).
        self.chunk_count.load(Ordering::Relaxed)
    }

    /// Chunks in use so far.
    pub(crate) fn frontier(&self) -> u32 {
        // ORDER: Acquire pairs with the Release in `open_until` (S3).
        self.frontier.load(Ordering::Acquire)
    }

    /// The first slice of the run that holds a slice; `None` if the slice is free.
    pub(crate) fn start_of(&self, slice: usize) -> Option<usize> {
        let at = (slice % CHUNK_SLICES as usize) as u32;
        let chunk = self.chunk((slice / CHUNK_SLICES as usize) as u32);
        // ORDER: Relaxed: who asks holds a block of the run, which was taken and its start set before. A free slice, of a block
        // that was freed twice, is not part of the run in front of it.
        if chunk.taken.load(Ordering::Relaxed) >> at & 1 == 0 {
            return None;
        }
        let first = last_one_until(chunk.starts.load(Ordering::Relaxed), at)?;
        Some(slice - (at - first) as usize)
    }

    /// Takes a run; `None` if the region has none.
    fn take(&'static self, count: usize, align: usize) -> Option<Run> {
        let slice = if count <= CHUNK_SLICES as usize && align <= CHUNK_SLICES as usize {
            self.take_short(count as u32, align as u32)?
        } else {
            self.take_long(count, align)?
        };
        let run = Run { region: self, slice, count };
        if !os::COMMITS_PREFIX && !run.commit() {
            run.give();
            return None;
        }
        run.mark_starts();
        Some(run)
    }

    fn take_short(&self, count: u32, align: u32) -> Option<usize> {
        let frontier = self.frontier();
        let mut candidates = 0;
        for word in 0..frontier.div_ceil(64) {
            // ORDER: Relaxed: a hint; the exchange in `take_in` decides.
            let mut free = self.summary(word * 64).load(Ordering::Relaxed);
            while free != 0 {
                let chunk = word * 64 + free.trailing_zeros();
                free &= free - 1;
                if chunk >= frontier {
                    break;
                }
                if let Some(at) = self.take_in(chunk, count, align) {
                    return Some((chunk * CHUNK_SLICES + at) as usize);
                }
                candidates += 1;
                // Where the system refuses more memory, the further candidates are looked at after all.
                if candidates == CANDIDATES_MAX
                    && frontier < self.chunk_count()
                    && let Some(slice) = self.take_fresh(count, align)
                {
                    return Some(slice);
                }
            }
        }
        self.take_fresh(count, align)
    }

    /// Takes a run in a chunk that was never used.
    #[cold]
    fn take_fresh(&self, count: u32, align: u32) -> Option<usize> {
        let _guard = self.lock.lock();
        // Bound: a chunk is opened at each turn; a further turn only when other threads took of it before this one could.
        loop {
            // ORDER: Relaxed: written under the lock only.
            let frontier = self.frontier.load(Ordering::Relaxed);
            // Another thread may have opened a chunk while this one waited.
            if let Some(last) = frontier.checked_sub(1)
                && let Some(at) = self.take_in(last, count, align)
            {
                return Some((last * CHUNK_SLICES + at) as usize);
            }
            if !self.open_until(frontier + 1) {
                return None;
            }
        }
    }

    /// Takes a run inside one chunk.
    fn take_in(&self, index: u32, count: u32, align: u32) -> Option<u32> {
        let chunk = self.chunk(index);
        // ORDER: Relaxed: the exchange decides.
        let mut taken = chunk.taken.load(Ordering::Relaxed);
        // Bound: repeated only when another thread took or gave slices of this chunk in between.
        loop {
            let at = find_run(!taken, count, align)?;
            let bits = mask(at, count);
            // ORDER: Acquire pairs with the Release in `give_part`: what the last holder wrote is visible (S1).
            match chunk.taken.compare_exchange_weak(taken, taken | bits, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    if taken | bits == u64::MAX {
                        self.note_used_up(index);
                    }
                    self.count_taken(chunk, bits);
                    return Some(at);
                }
                Err(now) => taken = now,
            }
        }
    }

    /// Takes exactly these slices of a chunk, if they are free.
    fn take_exactly(&self, part: &Part) -> bool {
        let chunk = self.chunk(part.chunk);
        let bits = mask(part.at, part.count);
        // ORDER: Acquire as in `take_in`.
        let before = chunk.taken.fetch_or(bits, Ordering::Acquire);
        if before & bits != 0 {
            // Only bits that this thread set, and under which it wrote nothing. ORDER: SeqCst with `note_used_up`, as in `give_part`.
            chunk.taken.fetch_and(!(bits & !before), Ordering::SeqCst);
            self.note_room(part.chunk);
            return false;
        }
        if before | bits == u64::MAX {
            self.note_used_up(part.chunk);
        }
        self.count_taken(chunk, bits);
        true
    }

    fn count_taken(&self, chunk: &Chunk, bits: u64) {
        // ORDER: Relaxed: the bits are this thread's (S1).
        let dirty = (chunk.dirty.load(Ordering::Relaxed) & bits).count_ones();
        if dirty > 0 {
            stats::sub(Counter::DirtyFreeSlices, u64::from(dirty));
        }
    }

    fn note_used_up(&self, chunk: u32) {
        // ORDER: SeqCst, with the load below and its partner in `give_part`: either this thread sees the slices given since, or
        // the giver's own bit comes after this one is cleared.
        self.summary(chunk).fetch_and(!(1 << (chunk % 64)), Ordering::SeqCst);
        if self.chunk(chunk).taken.load(Ordering::SeqCst) != u64::MAX {
            self.note_room(chunk);
        }
    }

    fn note_room(&self, chunk: u32) {
        let bit = 1 << (chunk % 64);
        // ORDER: SeqCst: see `note_used_up`.
        if self.summary(chunk).load(Ordering::SeqCst) & bit == 0 {
            self.summary(chunk).fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Takes a run of over 64 slices, or with an alignment of over a chunk: whole chunks, the last perhaps in part.
    #[cold]
    fn take_long(&self, count: usize, align: usize) -> Option<usize> {
        let chunks = count.div_ceil(CHUNK_SLICES as usize);
        let align_bytes = align.checked_mul(SLICE_BYTES)?;
        let _guard = self.lock.lock();
        let total = self.chunk_count() as usize;
        // ORDER: Relaxed: written under the lock, or lowered by a give: a hint.
        let mut from = self.empty_from.load(Ordering::Relaxed) as usize;
        // Bound: `from` rises at each turn, to `total` at most.
        'next: while from + chunks <= total {
            if !self.base().addr().wrapping_add(from * CHUNK_BYTES).is_multiple_of(align_bytes) {
                from += 1;
                continue;
            }
            // ORDER: Relaxed: written under the lock only.
            let frontier = self.frontier.load(Ordering::Relaxed) as usize;
            for chunk in (from..(from + chunks).min(frontier)).rev() {
                // ORDER: Relaxed: a hint; `take_exactly` decides.
                if self.chunk(chunk as u32).taken.load(Ordering::Relaxed) != 0 {
                    from = chunk + 1;
                    continue 'next;
                }
            }
            if !self.open_until((from + chunks) as u32) {
                return None;
            }
            let slice = from * CHUNK_SLICES as usize;
            match self.take_parts(slice, count) {
                Ok(()) => return Some(slice),
                Err(conflict) => from = conflict as usize + 1,
            }
        }
        None
    }

    /// Takes exactly these slices, ascending, or none of them; the error names the chunk where one was taken.
    fn take_parts(&self, slice: usize, count: usize) -> Result<(), u32> {
        for part in parts(slice, count) {
            if !self.take_exactly(&part) {
                let got = part.chunk as usize * CHUNK_SLICES as usize + part.at as usize - slice;
                for back in parts(slice, got) {
                    self.give_part(&back);
                }
                return Err(part.chunk);
            }
        }
        Ok(())
    }

    /// Makes the chunks below `end` usable. The caller holds the lock.
    fn open_until(&self, end: u32) -> bool {
        // ORDER: Relaxed: written under the lock only.
        let frontier = self.frontier.load(Ordering::Relaxed);
        if end <= frontier {
            return true;
        }
        if end > self.chunk_count() || !self.make_accessible(end) {
            return false;
        }
        for chunk in frontier..end {
            self.note_room(chunk);
        }
        // ORDER: Release pairs with the Acquire in `frontier` (S3).
        self.frontier.store(end, Ordering::Release);
        // ORDER: Release: who reads it with Relaxed holds a block beyond and got that later (S5).
        self.reach.store(end as usize * CHUNK_SLICES as usize, Ordering::Release);
        true
    }

    /// Makes a prefix accessible, in steps that double; a refused step is tried again at what is needed.
    fn make_accessible(&self, end: u32) -> bool {
        // ORDER: Relaxed: written under the lock only.
        let have = self.accessible.load(Ordering::Relaxed);
        if end <= have {
            return true;
        }
        let step = if os::commit_is_dear() { 1 } else { have.clamp(COMMIT_CHUNKS_FIRST, COMMIT_CHUNKS_MAX) };
        let wanted = end.max(have + step).min(self.chunk_count());
        for to in [wanted, end] {
            if self.commit_chunks(have, to).is_ok() {
                // ORDER: Relaxed: written under the lock only.
                self.accessible.store(to, Ordering::Relaxed);
                return true;
            }
            // ORDER: Relaxed: a hint.
            TIGHT.store(true, Ordering::Relaxed);
        }
        false
    }

    fn commit_chunks(&self, from: u32, to: u32) -> Result<(), OsError> {
        let os_page = os::page_bytes();
        let commit_table = |table: *mut u8, entry_bytes: usize| {
            let start = from as usize * entry_bytes / os_page * os_page;
            let end = (to as usize * entry_bytes).next_multiple_of(os_page);
            // SAFETY: part of the table's reservation: tables are rounded up to OS pages.
            unsafe { os::commit(table.wrapping_add(start), end - start) }
        };
        let slices = CHUNK_SLICES as usize;
        // ORDER: Relaxed: set once (S5).
        commit_table(self.chunks.load(Ordering::Relaxed).cast(), size_of::<Chunk>())?;
        commit_table(self.kinds.load(Ordering::Relaxed).cast(), slices)?;
        commit_table(self.pages.load(Ordering::Relaxed).cast(), slices * size_of::<Page>())?;
        stats::add(Counter::OsCalls, 3);
        if os::COMMITS_PREFIX {
            stats::add(Counter::OsCalls, 1);
            let start = self.base().wrapping_add(from as usize * CHUNK_BYTES);
            // SAFETY: part of the region's reservation.
            unsafe { os::commit(start, (to - from) as usize * CHUNK_BYTES)? };
        }
        Ok(())
    }

    /// Gives slices of one chunk back. The caller holds them (S1).
    fn give_part(&self, part: &Part) {
        let chunk = self.chunk(part.chunk);
        let bits = mask(part.at, part.count);
        // ORDER: Relaxed: the bits are this thread's (S1); published by the Release below.
        let dirty = (chunk.dirty.load(Ordering::Relaxed) & bits).count_ones();
        chunk.starts.fetch_and(!bits, Ordering::Relaxed);
        chunk.given_at.store(TICK.load(Ordering::Relaxed), Ordering::Relaxed);
        if dirty > 0 {
            stats::add(Counter::DirtyFreeSlices, u64::from(dirty));
        }
        // ORDER: Release hands what this thread wrote to the Acquire in `take_in`; SeqCst with `note_used_up`.
        let before = chunk.taken.fetch_and(!bits, Ordering::SeqCst);
        check!(before & bits == bits, "slices were given back that were free");
        self.note_room(part.chunk);
        if before == bits {
            // ORDER: Relaxed: a hint.
            self.empty_from.fetch_min(part.chunk, Ordering::Relaxed);
        }
    }

    /// Gives back dirty free memory of one chunk, up to `most` slices; returns how many.
    pub(crate) fn purge_chunk(&self, index: u32, most: u64) -> u64 {
        let chunk = self.chunk(index);
        // ORDER: Relaxed: hints; the exchange below takes the slices.
        let candidates = chunk.dirty.load(Ordering::Relaxed) & !chunk.taken.load(Ordering::Relaxed);
        let mut purged = 0;
        for (at, count) in Runs(candidates) {
            if purged >= most {
                break;
            }
            let part = Part { chunk: index, at, count };
            if !self.take_exactly(&part) {
                continue;
            }
            let bits = mask(at, count);
            let start = self.slice_start((index * CHUNK_SLICES + at) as usize);
            // SAFETY: S1: the slices are ours; they are accessible (S3).
            let done = unsafe { os::purge(start, count as usize * SLICE_BYTES) }.is_ok();
            stats::add(Counter::PurgeCalls, 1);
            stats::add(Counter::OsCalls, 1);
            if done {
                // ORDER: Relaxed: the bits are ours (S1).
                let was = (chunk.dirty.fetch_and(!bits, Ordering::Relaxed) & bits).count_ones();
                stats::sub(Counter::DirtySlices, u64::from(was));
                stats::add(Counter::PurgedBytes, u64::from(was) * SLICE_BYTES as u64);
                purged += u64::from(was);
            }
            let given_at = chunk.given_at.load(Ordering::Relaxed);
            self.give_part(&part);
            // A purge is no use: the clock of the last give stays. ORDER: Relaxed: a hint.
            chunk.given_at.store(given_at, Ordering::Relaxed);
            if !done {
                break;
            }
        }
        purged
    }

    /// Ticks since slices of this chunk were last given back.
    pub(crate) fn rest_ticks(&self, index: u32) -> u32 {
        // ORDER: Relaxed: a hint.
        TICK.load(Ordering::Relaxed).wrapping_sub(self.chunk(index).given_at.load(Ordering::Relaxed))
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

impl Run {
    /// The run's first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.region.slice_start(self.slice)
    }

    /// The run's descriptor: that of its first slice. Its number is filled in here, for good.
    pub(crate) fn page(&self) -> *mut Page {
        let page = self.region.page(self.slice);
        // SAFETY: S1: the descriptor of a slice that this thread took; `number` never changes once set.
        unsafe {
            (*page).number = (self.region.index() as u32) << NUMBER_SLICE_BITS | self.slice as u32;
        }
        page
    }

    fn mark_starts(&self) {
        let head = self.region.page(self.slice);
        for (i, part) in parts(self.slice, self.count).enumerate() {
            // ORDER: Relaxed: S1; readers hold a block of the run.
            self.region.chunk(part.chunk).starts.fetch_or(1 << part.at, Ordering::Relaxed);
            if i > 0 {
                let tail = self.region.page(part.chunk as usize * CHUNK_SLICES as usize);
                // SAFETY: S1: the descriptor of a slice of this run.
                unsafe {
                    (*tail).next = head;
                    (*tail).set_kind(Kind::Tail);
                }
            }
        }
    }

    /// Makes the run's slices usable where commit goes by slice.
    fn commit(&self) -> bool {
        parts(self.slice, self.count).all(|part| {
            let chunk = self.region.chunk(part.chunk);
            let bits = mask(part.at, part.count);
            // ORDER: Relaxed: S1.
            let missing = bits & !chunk.committed.load(Ordering::Relaxed);
            Runs(missing).all(|(at, count)| {
                let start = self.region.slice_start((part.chunk * CHUNK_SLICES + at) as usize);
                // SAFETY: part of the region's reservation, ours by S1.
                let done = unsafe { os::commit(start, count as usize * SLICE_BYTES) }.is_ok();
                if done {
                    // ORDER: Relaxed: S1.
                    chunk.committed.fetch_or(mask(at, count), Ordering::Relaxed);
                }
                done
            })
        })
    }

    /// Says that slices `[from, from + count)` of the run may be written from now on. True if they all read zero.
    pub(crate) fn touch(&self, from: usize, count: usize) -> bool {
        let mut fresh = true;
        for part in parts(self.slice + from, count) {
            let chunk = self.region.chunk(part.chunk);
            let bits = mask(part.at, part.count);
            // ORDER: Relaxed: S1.
            let before = chunk.dirty.fetch_or(bits, Ordering::Relaxed) & bits;
            fresh &= before == 0;
            let new = (bits & !before).count_ones();
            if new > 0 {
                stats::add_with_peak(u64::from(new));
            }
        }
        fresh
    }

    /// Says that slices `[from, from + count)` of the run hold nothing any more and read zero.
    pub(crate) fn forget(&self, from: usize, count: usize) {
        for part in parts(self.slice + from, count) {
            let bits = mask(part.at, part.count);
            // ORDER: Relaxed: S1.
            let before = self.region.chunk(part.chunk).dirty.fetch_and(!bits, Ordering::Relaxed) & bits;
            stats::sub(Counter::DirtySlices, u64::from(before.count_ones()));
        }
    }

    /// Gives the run back.
    pub(crate) fn give(&self) {
        for part in parts(self.slice, self.count) {
            self.region.give_part(&part);
        }
    }

    /// Lengthens the run in place to `count` slices, if those behind it are free.
    pub(crate) fn extend(&self, count: usize) -> Option<Run> {
        check!(count > self.count, "a run is extended to more slices");
        let end = (self.slice + count).div_ceil(CHUNK_SLICES as usize);
        if end > self.region.chunk_count() as usize {
            return None;
        }
        let (end, frontier) = (end as u32, self.region.frontier());
        // Nothing is made accessible for a run that stops at a neighbour anyway. ORDER: Relaxed: a hint.
        let is_free =
            |part: Part| self.region.chunk(part.chunk).taken.load(Ordering::Relaxed) & mask(part.at, part.count) == 0;
        if !parts(self.slice + self.count, count - self.count).take_while(|part| part.chunk < frontier).all(is_free) {
            return None;
        }
        if end > frontier {
            let _guard = self.region.lock.lock();
            if !self.region.open_until(end) {
                return None;
            }
        }
        self.region.take_parts(self.slice + self.count, count - self.count).ok()?;
        let longer = Run { count, ..*self };
        if !os::COMMITS_PREFIX && !longer.commit() {
            longer.shrink(self.count);
            return None;
        }
        let head = self.region.page(self.slice);
        for part in parts(self.slice + self.count, count - self.count).filter(|part| part.at == 0) {
            // ORDER: Relaxed: as in `mark_starts`.
            self.region.chunk(part.chunk).starts.fetch_or(1, Ordering::Relaxed);
            let tail = self.region.page(part.chunk as usize * CHUNK_SLICES as usize);
            // SAFETY: S1: the descriptor of a slice taken just now.
            unsafe {
                (*tail).next = head;
                (*tail).set_kind(Kind::Tail);
            }
        }
        Some(longer)
    }

    /// Gives the slices from `count` on back.
    pub(crate) fn shrink(&self, count: usize) {
        for part in parts(self.slice + count, self.count - count) {
            self.region.give_part(&part);
        }
    }
}

/// Checks the words of every chunk against one another (S2, S4); the process must be quiet. Returns the dirty free slices.
#[cfg(any(test, tessalloc_check))]
pub(crate) fn check_all() -> u64 {
    let mut dirty_free = 0;
    for region in all() {
        for index in 0..region.frontier() {
            let chunk = region.chunk(index);
            // ORDER: Relaxed: nobody writes.
            let taken = chunk.taken.load(Ordering::Relaxed);
            let starts = chunk.starts.load(Ordering::Relaxed);
            let dirty = chunk.dirty.load(Ordering::Relaxed);
            assert_eq!(starts & !taken, 0, "a run starts on a free slice");
            // ORDER: Relaxed: nobody writes.
            assert!(taken == u64::MAX || region.summary(index).load(Ordering::Relaxed) >> (index % 64) & 1 == 1);
            dirty_free += u64::from((dirty & !taken).count_ones());
            for at in 0..CHUNK_SLICES {
                if taken >> at & 1 == 0 {
                    let slice = (index * CHUNK_SLICES + at) as usize;
                    assert_eq!(region.kind_byte(slice).load(Ordering::Relaxed), 0, "S4: a free slice has no class");
                }
            }
        }
    }
    dirty_free
}

/// Held by tests that need the regions quiet.
#[cfg(test)]
pub(crate) static QUIET: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::PoisonError;
    use std::vec::Vec;

    /// Random runs of all lengths, extended, shortened and given back, against a list of what is taken.
    #[test]
    fn regions_never_hand_out_a_slice_twice() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seed = 0x5eed_u64;
        let mut below = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % end) as usize
        };
        let mut runs: Vec<Run> = Vec::new();
        let overlaps = |runs: &[Run], run: &Run, but: usize| {
            runs.iter().enumerate().any(|(i, other)| {
                i != but
                    && core::ptr::eq(other.region, run.region)
                    && other.slice < run.slice + run.count
                    && run.slice < other.slice + other.count
            })
        };
        for _ in 0..4000 {
            match below(4) {
                0 | 1 => {
                    let count = if below(8) == 0 { 1 + below(300) } else { 1 + below(40) };
                    let align = 1 << below(9);
                    let run = take(count, align).expect("address space is plenty");
                    assert_eq!(run.start().addr() % (align * SLICE_BYTES), 0);
                    assert!(!overlaps(&runs, &run, usize::MAX), "a new run lies on another");
                    assert_eq!(run.region.start_of(run.slice), Some(run.slice));
                    run.touch(0, count);
                    runs.push(run);
                }
                2 if !runs.is_empty() => {
                    let at = below(runs.len() as u64);
                    let run = runs[at];
                    if below(2) == 0 {
                        if let Some(longer) = run.extend(run.count + 1 + below(70)) {
                            assert!(!overlaps(&runs, &longer, at), "a longer run lies on another");
                            runs[at] = longer;
                        }
                    } else if run.count > 1 {
                        let count = 1 + below(run.count as u64 - 1);
                        run.shrink(count);
                        runs[at].count = count;
                    }
                }
                _ if !runs.is_empty() => runs.swap_remove(below(runs.len() as u64)).give(),
                _ => {}
            }
            if runs.len() > 200 {
                runs.drain(50..).for_each(|run| run.give());
            }
        }
        check_all();
        runs.drain(..).for_each(|run| run.give());
        check_all();
        for region in all() {
            for chunk in 0..region.frontier() {
                region.purge_chunk(chunk, u64::MAX);
            }
        }
        assert_eq!(check_all(), 0, "a purge leaves no dirty free slice");
    }

    #[test]
    #[should_panic(expected = "a run starts on a free slice")]
    fn regions_check_tells_a_start_without_a_run() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let run = take(1, 1).expect("address space is plenty");
        run.give();
        let chunk = run.region.chunk((run.slice / CHUNK_SLICES as usize) as u32);
        let bit = 1 << (run.slice % CHUNK_SLICES as usize);
        // ORDER: Relaxed: this test only.
        chunk.starts.fetch_or(bit, Ordering::Relaxed);
        let found = std::panic::catch_unwind(check_all);
        chunk.starts.fetch_and(!bit, Ordering::Relaxed);
        std::panic::resume_unwind(found.expect_err("the broken word is found"));
    }
}
