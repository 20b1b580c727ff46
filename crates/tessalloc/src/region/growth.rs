//! How regions come to be and grow: address space, tables, the accessible part.

use super::{
    CHUNK_BYTES, CHUNK_SLICES, COMMIT_CHUNKS_FIRST, COMMIT_CHUNKS_MAX, COMMITTED, GROW, ORDINARY, OWN,
    REGION_BYTES_MAX, REGION_BYTES_MIN, REGION_COUNT, REGION_COUNT_MAX, REGIONS, Region, SLICE_BYTES, SLICE_SHIFT, all,
};
use crate::chunk::Chunk;
use crate::options::Opt;
use crate::os::{self, OsError};
use crate::page::Page;
use crate::report::{Line, check};
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, Ordering};

/// Whether address space is limited: then none is taken on suspicion.
static TIGHT: AtomicBool = AtomicBool::new(false);

/// Whether no region could hold a block like this, whatever is given back.
pub(crate) fn is_beyond_all(bytes: usize, align: usize) -> bool {
    bytes.saturating_add(align) > REGION_BYTES_MAX
}

/// Adds a region that can hold the run, unless another thread has added one meanwhile.
#[cold]
pub(super) fn grow(known: usize, count: usize, align: usize) -> bool {
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
    if all().iter().any(|region| region.is_ordinary() && has_room(region)) {
        return false;
    }
    let mut bytes = plan_region_bytes(index).max(need);
    // Bound: halves down to what is needed, at most 16 times.
    loop {
        if REGIONS[index].begin(index, bytes).is_ok() {
            // Nobody knows of it yet.
            REGIONS[index].lock.join_fork();
            // ORDER: Release pairs with the Acquire in `all` (S5).
            REGION_COUNT.store(index + 1, Ordering::Release);
            if Opt::Verbose.is_on() {
                Line::new().text("reserved ").number(bytes as u64 >> 20).text(" MiB of address space").write_inside();
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

/// Where a region's tables lie in their mapping, in bytes from its start.
struct TablesPlan {
    chunks_at: usize,
    summary_at: usize,
    kinds_at: usize,
    pages_at: usize,
    bytes: usize,
}

/// Lays the tables of so many chunks out, each on OS pages of its own, between guards.
fn plan_tables(chunks: usize, os_page: usize) -> TablesPlan {
    let slices = chunks * CHUNK_SLICES as usize;
    let chunks_at = os_page;
    let summary_at = chunks_at + (chunks * size_of::<Chunk>()).next_multiple_of(os_page);
    let kinds_at = summary_at + (chunks.div_ceil(64) * size_of::<u64>()).next_multiple_of(os_page);
    let pages_at = kinds_at + slices.next_multiple_of(os_page);
    let bytes = pages_at + (slices * size_of::<Page>()).next_multiple_of(os_page) + os_page;
    TablesPlan { chunks_at, summary_at, kinds_at, pages_at, bytes }
}

impl Region {
    /// Makes the region an ordinary one: address space and tables. The caller holds [`GROW`].
    fn begin(&self, index: usize, bytes: usize) -> Result<(), OsError> {
        let base = self.reserve(bytes, (bytes / CHUNK_BYTES) as u32)?;
        self.set_up(base, bytes / SLICE_BYTES, ORDINARY);
        check!(self.index() == index, "a region knows its place");
        Ok(())
    }

    /// Reserves address space, and tables for so many chunks unless there are tables.
    pub(super) fn reserve(&self, bytes: usize, chunks: u32) -> Result<*mut u8, OsError> {
        // 4 TiB aligned at random below 64 TiB: far from what the loader and the program's own mappings use.
        let hint =
            if usize::BITS == 64 { ((os::random() as usize & 0xfff_ffff) << 22) % (48 << 40) + (8 << 40) } else { 0 };
        let base = os::reserve(bytes, CHUNK_BYTES, hint)?;
        if let Err(error) = self.place_tables(chunks) {
            // SAFETY: reserved just now, known to nobody.
            unsafe { os::release(base, bytes) };
            return Err(error);
        }
        // SAFETY: a mapping of ours.
        unsafe { os::advise_small_pages(base, bytes) };
        os::name(base, bytes);
        stats::add(Counter::ReservedBytes, bytes as u64);
        Ok(base)
    }

    /// Reserves tables for so many chunks, for good, unless there are tables.
    pub(super) fn place_tables(&self, chunks: u32) -> Result<(), OsError> {
        // ORDER: Relaxed: written under `GROW` only.
        if self.table_chunks.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let os_page = os::page_bytes();
        let plan = plan_tables(chunks as usize, os_page);
        let tables = os::reserve(plan.bytes, os_page, 0)?;
        // SAFETY: the offsets stay within `plan.bytes`.
        let at = |offset: usize| unsafe { tables.add(offset) };
        // SAFETY: the range lies in the reservation, OS page aligned.
        if let Err(error) = unsafe { os::commit(at(plan.summary_at), plan.kinds_at - plan.summary_at) } {
            // SAFETY: reserved just now, known to nobody.
            unsafe { os::release(tables, plan.bytes) };
            return Err(error);
        }
        // SAFETY: a mapping of ours.
        unsafe { os::advise_small_pages(tables, plan.bytes) };
        stats::add(Counter::TableBytes, plan.bytes as u64);
        // ORDER: Relaxed: published when the region is counted (S5).
        self.chunks.store(at(plan.chunks_at).cast(), Ordering::Relaxed);
        self.summary.store(at(plan.summary_at).cast(), Ordering::Relaxed);
        self.kinds.store(at(plan.kinds_at).cast(), Ordering::Relaxed);
        self.pages.store(at(plan.pages_at).cast(), Ordering::Relaxed);
        self.table_chunks.store(chunks, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the region its addresses and its manner. The caller holds [`GROW`], and nothing of the region is in use (S6).
    pub(super) fn set_up(&self, base: *mut u8, slices: usize, manner: u32) {
        let first_slice = base.addr() >> SLICE_SHIFT;
        self.place.begin(first_slice);
        self.empty_from.begin();
        // ORDER: Relaxed, all: published when the region is counted, or its slices can be taken (S5, S6).
        self.base.store(base, Ordering::Relaxed);
        let kinds = self.kinds.load(Ordering::Relaxed);
        self.kinds_from_zero.store(kinds.wrapping_sub(first_slice), Ordering::Relaxed);
        self.slice_count.store(slices, Ordering::Relaxed);
        self.manner.store(manner, Ordering::Relaxed);
        self.chunk_count.store(slices.div_ceil(CHUNK_SLICES as usize) as u32, Ordering::Relaxed);
    }

    /// Makes the chunks below `end` usable. The caller holds the lock.
    pub(super) fn open_until(&self, end: u32) -> bool {
        let frontier = self.frontier.under_lock();
        if end <= frontier {
            return true;
        }
        if end > self.chunk_count() || !self.make_accessible(end) {
            return false;
        }
        if self.is(ORDINARY) {
            (frontier..end).for_each(|chunk| self.note_room(chunk));
        } else {
            (frontier..end).for_each(|chunk| self.close_chunk(chunk));
        }
        // ORDER: Relaxed: set once a life.
        let slices = (end as usize * CHUNK_SLICES as usize).min(self.slice_count.load(Ordering::Relaxed));
        self.place.open(slices, &self.frontier, end);
        if !self.is(ORDINARY) {
            (frontier..end).for_each(|chunk| self.open_chunk(chunk));
        }
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
        if os::COMMITS_PREFIX && !self.is(COMMITTED | OWN) {
            let start = self.base().wrapping_add(from as usize * CHUNK_BYTES);
            // ORDER: Relaxed: set once a life.
            let end = (to as usize * slices).min(self.slice_count.load(Ordering::Relaxed)) * SLICE_BYTES;
            // SAFETY: part of the region's reservation, or of memory that was handed in for it.
            unsafe { os::commit(start, end - from as usize * CHUNK_BYTES)? };
        }
        Ok(())
    }
}
