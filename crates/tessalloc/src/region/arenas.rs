//! Regions that are arenas: how they begin, how their chunks open, how they end (S6).

use core::cell::UnsafeCell;
use core::ffi::c_void;

use super::growth::{grow, is_tight};
use super::taking::Part;
use super::{
    CHUNK_SLICES, COMMITTED, EXCLUSIVE, GIVEN, GROW, KEPT, OWN, REGION_COUNT, REGIONS, Region, SHARED, SLICE_BYTES,
    TICK, USED, all,
};
use crate::arena::{ArenaError, ArenaFunctions, ArenaInfo, ArenaOptions};
use crate::os;
use crate::stats::{self, Counter};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Arenas that may live at a time. Each makes finding the region of an address a step longer.
pub(crate) const ARENA_COUNT_MAX: usize = 128;
/// Chunks that an arena's tables have room for at least, 16 GiB: 34 MiB of address space.
const TABLE_CHUNKS_MIN: u32 = if usize::BITS < 64 { 16 } else { 4096 };
/// Bytes of an arena's name that are kept.
pub(crate) const NAME_BYTES: usize = 32;

/// Shared arenas that live.
pub(super) static SHARED_COUNT: AtomicU32 = AtomicU32::new(0);
static ARENAS_MADE: AtomicU64 = AtomicU64::new(0);

/// The first live arena from a place in the table on, with its place.
pub(crate) fn arena_from(place: usize) -> Option<(usize, ArenaInfo)> {
    let _grow = GROW.lock();
    let is_live = |region: &&Region| !region.is_ordinary() && region.chunk_count() > 0;
    let region = all().get(place..)?.iter().find(is_live)?;
    // SAFETY: S7: under `GROW`.
    Some((region.index(), unsafe { region.info() }))
}

/// What the program said of an arena.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) id: u64,
    pub(crate) numa_node: Option<u32>,
    functions: ArenaFunctions,
    name: [u8; NAME_BYTES],
    name_bytes: u8,
}

/// The text of a name.
pub(crate) fn text_of(name: &[u8; NAME_BYTES], bytes: u8) -> &str {
    core::str::from_utf8(&name[..usize::from(bytes)]).unwrap_or_default()
}

impl About {
    pub(crate) fn name(&self) -> &str {
        text_of(&self.name, self.name_bytes)
    }
}

/// See S7.
pub(super) struct ArenaCell(UnsafeCell<About>);

// SAFETY: S7: written while nobody can hold a slice or a handle, read by who holds one.
unsafe impl Sync for ArenaCell {}

impl ArenaCell {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(About {
            id: 0,
            numa_node: None,
            functions: ArenaFunctions::NONE,
            name: [0; NAME_BYTES],
            name_bytes: 0,
        }))
    }
}

/// What an arena's own function did for slices that were to become usable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Refused,
    /// They may hold anything.
    Unknown,
    Zero,
}

/// Where an arena's memory comes from.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// From the system.
    Reserve,
    /// From the program: the first slice's start. The caller vouches for the memory.
    Manage(*mut u8),
}

/// Begins an arena of so many slices. The options have been looked at by [`crate::arena`].
pub(crate) fn begin_arena(
    source: Source,
    slices: usize,
    options: &ArenaOptions<'_>,
) -> Result<&'static Region, ArenaError> {
    let no_memory = |error: os::OsError| ArenaError::Refused { call: error.call, code: error.code };
    // The first region is where the fast paths look: it is never an arena.
    if all().is_empty() && !grow(0, 1, 1) {
        return Err(ArenaError::NoFirstRegion);
    }
    let role = if options.exclusive { EXCLUSIVE } else { SHARED };
    let chunks = slices.div_ceil(CHUNK_SLICES as usize) as u32;
    let grow_guard = GROW.lock();
    if let Source::Manage(start) = source
        && let Some(other) = all().iter().find(|other| other.overlaps(start.addr(), slices * SLICE_BYTES))
    {
        return Err(ArenaError::Overlap { address: start.addr(), other: other.base().addr() });
    }
    let Some(index) = place_for(chunks) else { return Err(ArenaError::TooMany) };
    let region = &REGIONS[index];
    // A thread that still looks at an arena which was here takes nothing before this one is whole.
    region.lock.join_fork();
    let _guard = region.lock.lock();
    // Tables stay with the place, and so are made for larger arenas too, where address space is plenty.
    let table_chunks = if is_tight() { chunks } else { chunks.next_power_of_two().max(TABLE_CHUNKS_MIN) };
    let (base, given) = match source {
        Source::Reserve => (region.reserve(slices * SLICE_BYTES, table_chunks).map_err(no_memory)?, 0),
        Source::Manage(start) => {
            region.place_tables(table_chunks).map_err(no_memory)?;
            (start, GIVEN)
        }
    };
    region.tell(options);
    region.set_up(base, slices, role | given | manner_of(source, options));
    if index == all().len() {
        // ORDER: Release pairs with the Acquire in `all`.
        REGION_COUNT.store(index + 1, Ordering::Release);
    }
    if let Source::Reserve = source
        && let Some(node) = options.numa_node
    {
        // SAFETY: the whole of what was reserved just now.
        unsafe { os::advise_node(base, slices * SLICE_BYTES, node) };
    }
    if let Source::Reserve = source
        && (options.committed || options.huge_pages)
    {
        // SAFETY: the whole of what was reserved just now.
        if let Err(error) = unsafe { os::commit(base, slices * SLICE_BYTES) } {
            region.end_locked();
            return Err(no_memory(error));
        }
    }
    // Filling memory takes long: others may go on.
    drop(grow_guard);
    let huge_bytes = slices * SLICE_BYTES / os::HUGE_BYTES * os::HUGE_BYTES;
    if let Source::Reserve = source
        && options.huge_pages
        && huge_bytes > 0
    {
        // A refusal leaves memory that becomes resident as it is used.
        // SAFETY: committed just now, from a chunk's boundary on; nobody can take of it yet.
        let _ = unsafe { os::populate_huge(base, huge_bytes) };
    }
    if role == SHARED {
        // ORDER: Relaxed: a hint.
        SHARED_COUNT.fetch_add(1, Ordering::Relaxed);
    }
    Ok(region)
}

/// How the arena's memory is committed and purged.
fn manner_of(source: Source, options: &ArenaOptions<'_>) -> u32 {
    let functions = &options.functions;
    let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    match source {
        Source::Reserve => {
            flag(options.pinned || options.huge_pages, KEPT) | flag(options.committed || options.huge_pages, COMMITTED)
        }
        Source::Manage(_) => {
            let is_own = functions.commit.is_some();
            let is_kept = options.pinned || !(functions.purge.is_some() || (options.anonymous && !is_own));
            flag(is_kept, KEPT)
                | flag(is_own, OWN)
                | flag(options.committed, COMMITTED)
                | flag(!options.zeroed && (options.committed || !is_own), USED)
        }
    }
}

/// A place in the table: of those where an arena has ended and whose tables suffice, that with the smallest tables; else a new one.
/// The caller holds [`GROW`].
fn place_for(chunks: u32) -> Option<usize> {
    // ORDER: Relaxed: written under `GROW` only.
    let room = |region: &Region| region.table_chunks.load(Ordering::Relaxed);
    let ended = |region: &Region| !region.is_ordinary() && region.chunk_count() == 0 && room(region) >= chunks;
    let regions = all();
    let known = (0..regions.len()).filter(|index| ended(&regions[*index])).min_by_key(|index| room(&regions[*index]));
    let arenas = regions.iter().filter(|region| !region.is_ordinary()).count();
    known.or((arenas < ARENA_COUNT_MAX && regions.len() < REGIONS.len()).then_some(regions.len()))
}

impl Region {
    /// What the program said of the arena.
    ///
    /// # Safety
    /// - The caller holds a slice of the arena, or its handle (S7).
    pub(crate) unsafe fn about(&self) -> &About {
        // SAFETY: S7, by the caller's duty.
        unsafe { &*self.arena.0.get() }
    }

    /// What the arena is at the moment.
    ///
    /// # Safety
    /// - The caller holds [`GROW`], or the arena's handle (S7).
    pub(crate) unsafe fn info(&self) -> ArenaInfo {
        let (slices, heaps) = self.in_use();
        // SAFETY: S7, by the caller's duty.
        let about = unsafe { self.about() };
        ArenaInfo {
            id: about.id,
            address: self.base().addr(),
            bytes: self.area_bytes(),
            used_bytes: slices as usize * SLICE_BYTES,
            heaps,
            is_exclusive: self.is_exclusive(),
            numa_node: about.numa_node,
            name: about.name,
            name_bytes: about.name_bytes,
        }
    }

    fn tell(&self, options: &ArenaOptions<'_>) {
        let kept = &options.name[..options.name.floor_char_boundary(NAME_BYTES)];
        let mut name = [0; NAME_BYTES];
        name[..kept.len()].copy_from_slice(kept.as_bytes());
        let about = About {
            // ORDER: Relaxed: written under `GROW` only.
            id: ARENAS_MADE.fetch_add(1, Ordering::Relaxed) + 1,
            numa_node: options.numa_node,
            functions: options.functions,
            name,
            name_bytes: kept.len() as u8,
        };
        // SAFETY: S7: the caller holds `GROW` and the lock of a region of which no slice can be taken.
        unsafe { *self.arena.0.get() = about };
    }

    /// Bytes that the region has room for.
    pub(crate) fn area_bytes(&self) -> usize {
        // ORDER: Relaxed: set once a life (S6).
        self.slice_count.load(Ordering::Relaxed) * SLICE_BYTES
    }

    /// Whether only heaps that are bound to the arena take from it.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.is(EXCLUSIVE)
    }

    fn overlaps(&self, start: usize, bytes: usize) -> bool {
        let base = self.base().addr();
        self.chunk_count() > 0 && start < base + self.area_bytes() && base < start + bytes
    }

    /// Says that a heap takes from the arena from now on: until [`Region::unbind`] it does not end.
    pub(crate) fn bind(&self) {
        // ORDER: Relaxed: who ends the arena has its only handle, and so comes after who bound by it.
        self.heap_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that a heap takes nothing more, and has given everything back.
    pub(crate) fn unbind(&self) {
        // ORDER: Release pairs with the Acquire in `end`.
        self.heap_count.fetch_sub(1, Ordering::Release);
    }

    /// Slices that are taken now, and heaps that are bound.
    pub(crate) fn in_use(&self) -> (u64, u32) {
        let taken = (0..self.frontier()).map(|index| {
            // ORDER: Relaxed: a figure.
            let taken = self.chunk(index).taken.load(Ordering::Relaxed) & !self.absent(index);
            u64::from(taken.count_ones())
        });
        // ORDER: Relaxed: a figure.
        (taken.sum(), self.heap_count.load(Ordering::Relaxed))
    }

    /// Keeps a chunk that is about to be counted closed. The caller holds the lock.
    pub(super) fn close_chunk(&self, index: u32) {
        self.chunk(index).taken.close();
    }

    /// Lets the slices of a closed chunk be taken. The caller holds the lock.
    pub(super) fn open_chunk(&self, index: u32) {
        let chunk = self.chunk(index);
        let absent = self.absent(index);
        let dirty = if self.is(USED) { !absent } else { 0 };
        // ORDER: Relaxed: a clock.
        chunk.reset(dirty, if self.is(COMMITTED) { !absent } else { 0 }, TICK.load(Ordering::Relaxed));
        if dirty != 0 && !self.is(KEPT) {
            stats::add(Counter::DirtySlices, u64::from(dirty.count_ones()));
            stats::add(Counter::DirtyFreeSlices, u64::from(dirty.count_ones()));
        }
        chunk.taken.open(absent);
        self.note_room(index);
    }

    /// Ends an arena: false, and nothing has changed, if a slice is taken or a heap is bound. Its own memory goes back.
    pub(crate) fn end(&self) -> bool {
        let _grow = GROW.lock();
        let _guard = self.lock.lock();
        // ORDER: Acquire pairs with the Release in `unbind`.
        if self.heap_count.load(Ordering::Acquire) > 0 || !self.end_locked() {
            return false;
        }
        if self.is(SHARED) {
            // ORDER: Relaxed: a hint.
            SHARED_COUNT.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// The caller holds [`GROW`] and the region's lock.
    fn end_locked(&self) -> bool {
        let frontier = self.frontier();
        let whole = |chunk: u32| Part { chunk, at: 0, count: self.absent(chunk).count_zeros() };
        for chunk in 0..frontier {
            if !self.take_exactly(&whole(chunk)) {
                (0..chunk).for_each(|before| self.give_part(&whole(before)));
                return false;
            }
        }
        for index in 0..frontier {
            let dirty = self.chunk(index).forget(u64::MAX);
            stats::sub(Counter::DirtySlices, u64::from(dirty.count_ones()));
        }
        self.place.end();
        // ORDER: Relaxed, all: who still looks at the arena finds its chunks closed (S6), or waits for the lock.
        self.frontier.end();
        self.accessible.store(0, Ordering::Relaxed);
        self.chunk_count.store(0, Ordering::Relaxed);
        crate::track::open(self.base(), self.area_bytes());
        if !self.is(GIVEN) {
            stats::sub(Counter::ReservedBytes, self.area_bytes() as u64);
            // SAFETY: reserved for this arena; nobody has a slice of it, and nobody finds it any more.
            unsafe { os::release(self.base(), self.area_bytes()) };
        }
        true
    }

    /// Makes slices usable by the arena's own function. The caller holds them.
    pub(super) fn commit_by_own(&self, start: *mut u8, bytes: usize) -> Commit {
        // SAFETY: S7: the caller holds slices of the arena.
        let functions = unsafe { &self.about().functions };
        let Some(commit) = functions.commit else { return Commit::Refused };
        // SAFETY: the program vouched for its functions; whole slices of its memory that nobody uses.
        match unsafe { commit(start.cast::<c_void>(), bytes, functions.user) } {
            ArenaFunctions::REFUSED => Commit::Refused,
            ArenaFunctions::ZEROED => Commit::Zero,
            _ => Commit::Unknown,
        }
    }

    /// Gives slices back by the arena's own function. The caller holds them.
    pub(super) fn purge_by_own(&self, start: *mut u8, bytes: usize) -> bool {
        // SAFETY: as in `commit_by_own`.
        let functions = unsafe { &self.about().functions };
        crate::track::open(start, bytes);
        // SAFETY: as in `commit_by_own`.
        functions.purge.is_some_and(|purge| unsafe { purge(start.cast::<c_void>(), bytes, functions.user) } != 0)
    }
}
