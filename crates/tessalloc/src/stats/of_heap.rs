//! Figures of one heap. Those of a first-class heap end with it; what it had handed out and got back stays in the process's totals,
//! and so in the default heap's.
#![forbid(unsafe_code)]

/// The version of [`HeapStats`]. Later versions only add fields at the end.
pub const HEAP_STATS_VERSION: u32 = 1;

/// What a heap holds and has done. Read without stopping anyone: figures may be a moment apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct HeapStats {
    /// Version of this structure: [`HEAP_STATS_VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub struct_bytes: u32,
    /// Blocks handed out, at their usable size: in use, on threads' stacks (at most 512 KiB a thread) or on their way home.
    pub allocated_bytes: u64,
    /// The most of it there ever was.
    pub allocated_peak_bytes: u64,
    /// Bytes of blocks that ever left the heap's pages. A block that a thread frees and allocates again on its own stack counts once.
    pub allocated_total_bytes: u64,
    /// Those of them that came home, or that the heap was cleared of.
    pub freed_total_bytes: u64,
    /// Threads that have a part of the heap.
    pub threads: u64,
    /// Slow paths taken.
    pub malloc_slow_count: u64,
}

impl HeapStats {
    /// All figures 0.
    pub(crate) const NONE: Self = Self {
        version: HEAP_STATS_VERSION,
        struct_bytes: size_of::<Self>() as u32,
        allocated_bytes: 0,
        allocated_peak_bytes: 0,
        allocated_total_bytes: 0,
        freed_total_bytes: 0,
        threads: 0,
        malloc_slow_count: 0,
    };
}

super::figures! {
    /// A figure of [`HeapStats`].
    HeapFigure of HeapStats {
        AllocatedBytes = allocated_bytes,
        AllocatedPeakBytes = allocated_peak_bytes,
        AllocatedTotalBytes = allocated_total_bytes,
        FreedTotalBytes = freed_total_bytes,
        Threads = threads,
        MallocSlowCount = malloc_slow_count,
    }
}

// As for `Stats`.
const _: () = assert!(size_of::<HeapStats>() == 8 + 8 * HeapFigure::ALL.len());
