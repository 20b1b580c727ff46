//! Statistics: counters that the fast paths never touch, and the figures made of them. Nothing here is switched off in release.
//!
//! | part | holds |
//! |------|-------|
//! | here | process-wide counters, a record's own counts, [`Stats`] |
//! | [`of_heap`] | figures of a first-class heap |
//! | [`pages`] | figures by size class, read from the page descriptors |
//! | [`process`] | what the system says of the process |
//! | [`query`] | every figure by its name |
//! | [`text`] | all of it as JSON, or to be read by people |
//!
//! | word             | written by            | how                         | always true                                       |
//! |------------------|-----------------------|-----------------------------|---------------------------------------------------|
//! | [`Counter`]      | any thread            | Relaxed add                 | C1 a peak is never below what was reported last    |
//! | [`Counts`]       | the record's holder   | Relaxed load, then store    | C2 `net` is what `AllocatedBytes` still lacks      |
//! | `Page::used`, `carved` | the page's holder | Relaxed store, [`OwnCount`] | P4, P6 of [`crate::page`]                         |
//!
//! Every figure is read without stopping anybody: figures of one answer may be a moment apart, and sums can be off by what moved
//! meanwhile. When no other thread allocates or frees they are exact.

use crate::os::{self, Call};
use crate::region::SLICE_BYTES;
use crate::sync::{AtomicU64, Ordering};

pub(crate) mod of_heap;
mod own_count;
pub(crate) mod pages;
pub(crate) mod process;
pub(crate) mod query;
pub(crate) mod text;
mod words;

pub(crate) use own_count::OwnCount;
pub(crate) use words::bump;

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
    /// Of fresh pages in use: what was never made into blocks.
    UntouchedBytes,
    /// Bytes of blocks that left their pages, less those that came home; threads add their share in steps.
    AllocatedBytes,
    /// The most of it that was ever reported.
    AllocatedBytesPeak,
    /// Bytes of blocks that ever left their pages, for threads that have ended.
    AllocatedBytesTotal,
    /// Bytes of blocks that threads sent home, for threads that have ended.
    FreedBytesTotal,
    /// Given back since the start.
    PurgedBytes,
    /// Threads with a record now.
    Threads,
    /// The most there ever were.
    ThreadsPeak,
    /// Threads that ever had one.
    ThreadsTotal,
    /// Pages of small blocks in use.
    Pages,
    /// The most there ever were.
    PagesPeak,
    /// Pages ever begun.
    PagesTotal,
    /// Large runs in use, or warm.
    LargeBlocks,
    /// The most there ever were.
    LargeBlocksPeak,
    /// Large runs ever begun.
    LargeBlocksTotal,
    /// First-class heaps now.
    Heaps,
    /// The most there ever were.
    HeapsPeak,
    /// Heaps ever made.
    HeapsTotal,
    /// Slow paths of threads that have ended.
    SlowCount,
    /// Batches of remote frees of threads that have ended.
    RemoteBatches,
    /// Pages without an owner that a thread took over.
    Reclaims,
}

pub(crate) const COUNT: usize = Counter::Reclaims as usize + 1;
pub(crate) static COUNTERS: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];

impl Counter {
    /// Where the most of it is kept, and how much there ever was.
    const fn peak_and_total(self) -> (Option<Counter>, Option<Counter>) {
        match self {
            Counter::DirtySlices => (Some(Counter::DirtySlicesPeak), None),
            Counter::Threads => (Some(Counter::ThreadsPeak), Some(Counter::ThreadsTotal)),
            Counter::Pages => (Some(Counter::PagesPeak), Some(Counter::PagesTotal)),
            Counter::LargeBlocks => (Some(Counter::LargeBlocksPeak), Some(Counter::LargeBlocksTotal)),
            Counter::Heaps => (Some(Counter::HeapsPeak), Some(Counter::HeapsTotal)),
            _ => (None, None),
        }
    }
}

/// The count now. Counts that are added to and taken from by several threads can be seen a moment apart.
pub(crate) fn value(counter: Counter) -> u64 {
    // ORDER: Relaxed: counts order nothing.
    COUNTERS[counter as usize].load(Ordering::Relaxed)
}

/// Adds to a count, and to its peak and total where it has them.
pub(crate) fn add(counter: Counter, by: u64) {
    let now = words::add(&COUNTERS[counter as usize], by);
    let (peak, total) = counter.peak_and_total();
    if let Some(total) = total {
        words::add(&COUNTERS[total as usize], by);
    }
    if let Some(peak) = peak {
        raise_to(peak, now);
    }
}

/// Counts bytes that left pages for no record (or came home, below 0).
pub(crate) fn allocated(bytes: i64) {
    add(Counter::AllocatedBytes, bytes as u64);
    let total = if bytes < 0 { Counter::FreedBytesTotal } else { Counter::AllocatedBytesTotal };
    add(total, bytes.unsigned_abs());
}

pub(crate) fn sub(counter: Counter, by: u64) {
    // ORDER: Relaxed: counts order nothing.
    COUNTERS[counter as usize].fetch_sub(by, Ordering::Relaxed);
}

fn raise_to(peak: Counter, now: u64) {
    words::raise_to(&COUNTERS[peak as usize], now);
}

/// Figures of one record, written by who holds it, read by all.
pub(crate) struct Counts {
    /// Bytes that left pages less those that came home, since the last report.
    net: AtomicU64,
    pub(crate) slow: AtomicU64,
    /// Bytes that ever left pages for this thread.
    out: AtomicU64,
    /// Bytes that this thread ever put home itself; what it sent to others' pages its ring counts.
    home: AtomicU64,
}

impl Counts {
    pub(crate) const fn new() -> Self {
        Self { net: AtomicU64::new(0), slow: AtomicU64::new(0), out: AtomicU64::new(0), home: AtomicU64::new(0) }
    }

    /// Counts bytes that left pages (or came home, below 0).
    #[inline]
    pub(crate) fn allocated(&self, bytes: i64) {
        bump(&self.net, bytes as u64);
        if bytes > 0 {
            bump(&self.out, bytes as u64);
        }
    }

    /// Counts bytes among those that came home: the record's own thread freed them.
    #[inline]
    pub(crate) fn freed(&self, bytes: u64) {
        bump(&self.home, bytes);
    }

    /// Bytes not yet reported.
    pub(crate) fn unreported(&self) -> i64 {
        // ORDER: Relaxed: as above.
        self.net.load(Ordering::Relaxed) as i64
    }

    /// Reports; true if memory came free and somebody should look whether it can go back.
    #[cold]
    #[inline(never)]
    pub(crate) fn report(&self) -> bool {
        let sum = self.unreported();
        add(Counter::AllocatedBytes, sum as u64);
        raise_to(Counter::AllocatedBytesPeak, (value(Counter::AllocatedBytes) as i64).max(0) as u64);
        // ORDER: Relaxed: as above.
        self.net.store(0, Ordering::Relaxed);
        sum < 0
    }

    /// What the thread allocated and freed, with `sent` bytes that it sent to pages of others.
    pub(crate) fn totals(&self, sent: u64) -> ThreadTotals {
        // ORDER: Relaxed: as above.
        let (out, home) = (self.out.load(Ordering::Relaxed), self.home.load(Ordering::Relaxed));
        ThreadTotals { allocated_bytes: out, freed_bytes: home.wrapping_add(sent) }
    }

    /// The thread ends: its figures become the process's, and the next thread starts at 0. As [`Counts::report`].
    pub(crate) fn end(&self, (batches, sent): (u64, u64)) -> bool {
        let totals = self.totals(sent);
        add(Counter::RemoteBatches, batches);
        add(Counter::AllocatedBytesTotal, totals.allocated_bytes);
        add(Counter::FreedBytesTotal, totals.freed_bytes);
        // ORDER: Relaxed: one writer.
        add(Counter::SlowCount, self.slow.swap(0, Ordering::Relaxed));
        self.out.store(0, Ordering::Relaxed);
        self.home.store(0, Ordering::Relaxed);
        self.report()
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

/// The version of [`Stats`]. Later versions only add fields at the end.
pub const STATS_VERSION: u32 = 2;

/// Makes an enumeration of a structure's figures: each has its field's name.
macro_rules! figures {
    ($(#[$meta:meta])* $names:ident of $owner:ident { $($name:ident = $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $names {
            $(#[doc = concat!("[`", stringify!($owner), "::", stringify!($field), "`]")] $name,)*
        }

        impl $names {
            /// All of them, in the order of the structure's fields.
            pub const ALL: &'static [$names] = &[$($names::$name,)*];

            /// The field's name.
            pub const fn name(self) -> &'static str {
                match self { $($names::$name => stringify!($field),)* }
            }

            /// The figure; `None` if the system does not tell it.
            pub fn of(self, figures: &$owner) -> Option<u64> {
                match self { $($names::$name => figures.$field.into(),)* }
            }
        }
    };
}
pub(crate) use figures;

/// What the allocator holds and has done, for the whole process. Read without stopping anyone: figures may be a moment apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Stats {
    /// Version of this structure: [`STATS_VERSION`].
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
    /// Large blocks in use, and those that threads keep warm.
    pub large_blocks: u64,
    /// Requests to the system for memory: the six `…_calls` below and `purge_calls` together.
    pub os_calls: u64,
    /// Requests that gave memory back and kept the address space.
    pub purge_calls: u64,
    /// Slow paths taken.
    pub malloc_slow_count: u64,
    /// Batches of blocks sent to the threads that own their pages.
    pub remote_batches: u64,
    // Since version 2.
    /// The most of `allocated_bytes` that threads reported; each reports in steps of 256 KiB. Unit: bytes.
    pub allocated_peak_bytes: u64,
    /// Bytes of blocks that ever left their pages. A block that a thread frees and allocates again on its own stack counts once.
    pub allocated_total_bytes: u64,
    /// Bytes of blocks that were ever put or sent home, counted by the thread that freed them.
    pub freed_total_bytes: u64,
    /// OS pages given back inside pages that are in use. Unit: bytes.
    pub hole_bytes: u64,
    /// The most threads that had a record at once.
    pub threads_peak: u64,
    /// The most pages there were at once.
    pub pages_peak: u64,
    /// Pages ever begun.
    pub pages_total: u64,
    /// The most large blocks there were at once.
    pub large_blocks_peak: u64,
    /// Large blocks ever made; one that is kept warm and used again counts once.
    pub large_blocks_total: u64,
    /// First-class heaps now.
    pub heaps: u64,
    /// The most there were at once.
    pub heaps_peak: u64,
    /// Heaps ever made.
    pub heaps_total: u64,
    /// Pages without an owner that a thread took over.
    pub reclaims: u64,
    /// Regions: reservations of address space, and arenas.
    pub regions: u64,
    /// Chunks of 4 MiB in them that were ever used.
    pub chunks: u64,
    /// Requests for address space.
    pub reserve_calls: u64,
    /// Requests that made address space usable.
    pub commit_calls: u64,
    /// Address space given back.
    pub release_calls: u64,
    /// Large blocks moved by the page table.
    pub remap_calls: u64,
    /// Ranges mapped anew, so that moved blocks leave no mappings behind.
    pub renew_calls: u64,
    /// Advice: huge pages wanted or not, and from which node memory should come.
    pub advise_calls: u64,
    /// Of `committed_bytes`: what pages of small blocks hold that was never made into blocks since the system gave it, so that it
    /// is not resident. Unit: bytes.
    pub untouched_bytes: u64,
}

figures! {
    /// A figure of [`Stats`].
    Figure of Stats {
        ReservedBytes = reserved_bytes,
        CommittedBytes = committed_bytes,
        CommittedPeakBytes = committed_peak_bytes,
        AllocatedBytes = allocated_bytes,
        RetainedBytes = retained_bytes,
        MetadataBytes = metadata_bytes,
        PurgedBytes = purged_bytes,
        Threads = threads,
        ThreadsTotal = threads_total,
        Pages = pages,
        LargeBlocks = large_blocks,
        OsCalls = os_calls,
        PurgeCalls = purge_calls,
        MallocSlowCount = malloc_slow_count,
        RemoteBatches = remote_batches,
        AllocatedPeakBytes = allocated_peak_bytes,
        AllocatedTotalBytes = allocated_total_bytes,
        FreedTotalBytes = freed_total_bytes,
        HoleBytes = hole_bytes,
        ThreadsPeak = threads_peak,
        PagesPeak = pages_peak,
        PagesTotal = pages_total,
        LargeBlocksPeak = large_blocks_peak,
        LargeBlocksTotal = large_blocks_total,
        Heaps = heaps,
        HeapsPeak = heaps_peak,
        HeapsTotal = heaps_total,
        Reclaims = reclaims,
        Regions = regions,
        Chunks = chunks,
        ReserveCalls = reserve_calls,
        CommitCalls = commit_calls,
        ReleaseCalls = release_calls,
        RemapCalls = remap_calls,
        RenewCalls = renew_calls,
        AdviseCalls = advise_calls,
        UntouchedBytes = untouched_bytes,
    }
}

// The structure is its head and its figures, without gaps: C counts on it, and no field lacks a name.
const _: () = assert!(size_of::<Stats>() == 8 + 8 * Figure::ALL.len());

/// What the calling thread allocated and freed since its start, as far as slow paths know: a block that it frees and allocates
/// again on its own stack does not show. So the difference is exact, to within its stacks (at most `TESSALLOC_THREAD_CACHE` and 8 blocks a class),
/// its warm large blocks (8 MiB) and the frees of others' blocks that it has not sent yet (64 KiB); the two sums are lower bounds.
/// The first 64 KiB count as one block. Blocks of first-class heaps are counted by their heaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadTotals {
    /// Bytes of blocks that left their pages for this thread.
    pub allocated_bytes: u64,
    /// Bytes of blocks that this thread freed, whoever allocated them.
    pub freed_bytes: u64,
}

figures! {
    /// A figure of [`ThreadTotals`].
    ThreadFigure of ThreadTotals {
        AllocatedBytes = allocated_bytes,
        FreedBytes = freed_bytes,
    }
}

/// What records that live have not yet added to the counters.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) allocated_bytes: i64,
    pub(crate) slow_count: u64,
    pub(crate) remote_batches: u64,
    pub(crate) totals: ThreadTotals,
}

impl Pending {
    /// Adds a record's figures; `batches` of `sent` bytes are its ring's.
    pub(crate) fn add(&mut self, counts: &Counts, (batches, sent): (u64, u64)) {
        let totals = counts.totals(sent);
        self.allocated_bytes = self.allocated_bytes.wrapping_add(counts.unreported());
        // ORDER: Relaxed: figures.
        self.slow_count += counts.slow.load(Ordering::Relaxed);
        self.remote_batches += batches;
        self.totals.allocated_bytes = self.totals.allocated_bytes.wrapping_add(totals.allocated_bytes);
        self.totals.freed_bytes = self.totals.freed_bytes.wrapping_add(totals.freed_bytes);
    }
}

/// Puts the statistics together.
pub(crate) fn collect(pending: &Pending) -> Stats {
    let committed = committed_bytes();
    let allocated =
        ((value(Counter::AllocatedBytes) as i64).wrapping_add(pending.allocated_bytes).max(0) as u64).min(committed);
    let dirty = value(Counter::DirtySlicesPeak);
    let regions = crate::region::all();
    let mut stats = Stats {
        version: STATS_VERSION,
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
        os_calls: 0,
        purge_calls: os::calls(Call::Purge),
        malloc_slow_count: value(Counter::SlowCount) + pending.slow_count,
        remote_batches: value(Counter::RemoteBatches) + pending.remote_batches,
        allocated_peak_bytes: value(Counter::AllocatedBytesPeak).max(allocated),
        allocated_total_bytes: value(Counter::AllocatedBytesTotal).wrapping_add(pending.totals.allocated_bytes),
        freed_total_bytes: value(Counter::FreedBytesTotal).wrapping_add(pending.totals.freed_bytes),
        hole_bytes: value(Counter::HoleBytes),
        threads_peak: value(Counter::ThreadsPeak),
        pages_peak: value(Counter::PagesPeak),
        pages_total: value(Counter::PagesTotal),
        large_blocks_peak: value(Counter::LargeBlocksPeak),
        large_blocks_total: value(Counter::LargeBlocksTotal),
        heaps: value(Counter::Heaps),
        heaps_peak: value(Counter::HeapsPeak),
        heaps_total: value(Counter::HeapsTotal),
        reclaims: value(Counter::Reclaims),
        regions: regions.iter().filter(|region| region.is_there()).count() as u64,
        chunks: regions.iter().map(|region| u64::from(region.frontier())).sum(),
        reserve_calls: os::calls(Call::Reserve),
        commit_calls: os::calls(Call::Commit),
        release_calls: os::calls(Call::Unreserve),
        remap_calls: os::calls(Call::Remap),
        renew_calls: os::calls(Call::Renew),
        advise_calls: os::calls(Call::Advise),
        untouched_bytes: value(Counter::UntouchedBytes).min(committed),
    };
    stats.os_calls = stats.purge_calls
        + stats.reserve_calls
        + stats.commit_calls
        + stats.release_calls
        + stats.remap_calls
        + stats.renew_calls
        + stats.advise_calls;
    stats
}

/// The process's statistics now.
pub(crate) fn now() -> Stats {
    collect(&crate::thread::pending())
}
