//! Counters that the fast paths never touch, and the statistics made of them.
#![forbid(unsafe_code)]

use crate::region::SLICE_BYTES;
use crate::sync::{AtomicU64, Ordering};

/// A process-wide count.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// Address space of regions.
    ReservedBytes,
    /// Address space of the tables beside them.
    TableBytes,
    /// Memory for thread records.
    RecordBytes,
    /// Slices that may be resident.
    DirtySlices,
    /// The most there ever were.
    DirtySlicesPeak,
    /// Those of them that are free.
    DirtyFreeSlices,
    /// OS pages given back inside pages in use.
    HoleBytes,
    /// Bytes of blocks that left their pages, less those that came home; threads add their share in steps.
    AllocatedBytes,
    /// Given back since the start.
    PurgedBytes,
    /// Calls that gave memory back.
    PurgeCalls,
    /// Calls of the system for memory.
    OsCalls,
    /// Threads with a record now.
    Threads,
    /// Threads that ever had one.
    ThreadsTotal,
    /// Pages of small blocks in use.
    Pages,
    /// Large blocks in use.
    LargeBlocks,
    /// Slow paths of threads that have ended.
    SlowCount,
    /// Batches of remote frees of threads that have ended.
    RemoteBatches,
}

const COUNT: usize = Counter::RemoteBatches as usize + 1;
static COUNTERS: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];

/// The count now. Counts that are added to and taken from by several threads can be seen a moment apart.
pub(crate) fn value(counter: Counter) -> u64 {
    // ORDER: Relaxed: counts order nothing.
    COUNTERS[counter as usize].load(Ordering::Relaxed)
}

pub(crate) fn add(counter: Counter, by: u64) {
    // ORDER: Relaxed: counts order nothing.
    COUNTERS[counter as usize].fetch_add(by, Ordering::Relaxed);
}

pub(crate) fn sub(counter: Counter, by: u64) {
    // ORDER: Relaxed: counts order nothing.
    COUNTERS[counter as usize].fetch_sub(by, Ordering::Relaxed);
}

/// Counts slices that became dirty, and their peak.
pub(crate) fn add_with_peak(slices: u64) {
    // ORDER: Relaxed: counts order nothing.
    let now = COUNTERS[Counter::DirtySlices as usize].fetch_add(slices, Ordering::Relaxed) + slices;
    let peak = &COUNTERS[Counter::DirtySlicesPeak as usize];
    // ORDER: Relaxed: as above.
    if now > peak.load(Ordering::Relaxed) {
        peak.fetch_max(now, Ordering::Relaxed);
    }
}

/// Bytes that could go back, to within what threads have not yet reported: dirty memory that no block uses.
pub(crate) fn reclaimable_bytes() -> u64 {
    let allocated = value(Counter::AllocatedBytes) as i64;
    committed_bytes().saturating_sub(allocated.max(0) as u64)
}

fn committed_bytes() -> u64 {
    (value(Counter::DirtySlices) * SLICE_BYTES as u64).saturating_sub(value(Counter::HoleBytes))
}

/// What the allocator holds and has done, for the whole process. Read without stopping anyone: figures may be a moment apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Stats {
    /// Version of this structure: 1. Later ones only add fields at the end.
    pub version: u32,
    /// Bytes of this structure.
    pub struct_bytes: u32,
    /// Address space taken for blocks. Unit: bytes.
    pub reserved_bytes: u64,
    /// Memory that may be resident. Unit: bytes, in steps of 64 KiB less what was given back inside pages.
    pub committed_bytes: u64,
    /// The most of it there ever was. Unit: bytes.
    pub committed_peak_bytes: u64,
    /// Blocks in use, at their usable size. Small blocks that threads keep on their stacks count as used, at most
    /// `TESSALLOC_THREAD_CACHE` a thread and 8 blocks a class, and so do large ones that they keep warm, at most 8 MiB a thread.
    pub allocated_bytes: u64,
    /// Freed but held: `committed_bytes` less `allocated_bytes`.
    pub retained_bytes: u64,
    /// Memory for the allocator's own records, as far as it was touched. Unit: bytes, estimated from what is in use.
    pub metadata_bytes: u64,
    /// Given back to the system since the start. Unit: bytes.
    pub purged_bytes: u64,
    /// Threads that have a record now.
    pub threads: u64,
    /// Threads that ever had one.
    pub threads_total: u64,
    /// Pages of small blocks in use.
    pub pages: u64,
    /// Large blocks in use.
    pub large_blocks: u64,
    /// Calls of the system for memory.
    pub os_calls: u64,
    /// Calls that gave memory back.
    pub purge_calls: u64,
    /// Slow paths taken.
    pub malloc_slow_count: u64,
    /// Batches of blocks sent to the threads that own their pages.
    pub remote_batches: u64,
}

/// What threads that live have not yet added to the counters.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) allocated_bytes: i64,
    pub(crate) slow_count: u64,
    pub(crate) remote_batches: u64,
}

/// Puts the statistics together.
pub(crate) fn collect(pending: &Pending) -> Stats {
    let committed = committed_bytes();
    let allocated =
        ((value(Counter::AllocatedBytes) as i64).wrapping_add(pending.allocated_bytes).max(0) as u64).min(committed);
    let dirty = value(Counter::DirtySlicesPeak);
    Stats {
        version: 1,
        struct_bytes: size_of::<Stats>() as u32,
        reserved_bytes: value(Counter::ReservedBytes),
        committed_bytes: committed,
        committed_peak_bytes: (dirty * SLICE_BYTES as u64).max(committed),
        allocated_bytes: allocated,
        retained_bytes: committed - allocated,
        metadata_bytes: value(Counter::RecordBytes) + dirty * (size_of::<crate::page::Page>() as u64 + 2),
        purged_bytes: value(Counter::PurgedBytes),
        threads: value(Counter::Threads),
        threads_total: value(Counter::ThreadsTotal),
        pages: value(Counter::Pages),
        large_blocks: value(Counter::LargeBlocks),
        os_calls: value(Counter::OsCalls),
        purge_calls: value(Counter::PurgeCalls),
        malloc_slow_count: value(Counter::SlowCount) + pending.slow_count,
        remote_batches: value(Counter::RemoteBatches) + pending.remote_batches,
    }
}
