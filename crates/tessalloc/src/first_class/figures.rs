//! Figures of a heap.

use super::{Core, HEAPS};
use crate::stats::of_heap::HeapStats;
use crate::stats::pages::{self, PageStats};
use crate::sync::{AtomicU64, Ordering};

/// Bytes that pages have handed out, and large runs (F4).
pub(crate) struct Handed {
    now: AtomicU64,
    /// The most there was.
    peak: AtomicU64,
    /// All that ever went out.
    total: AtomicU64,
}

impl Handed {
    pub(super) const fn new() -> Self {
        Self { now: AtomicU64::new(0), peak: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    /// Two threads' counts may be seen in the wrong order: what is below 0 for a moment is 0.
    pub(super) fn now(&self) -> u64 {
        // ORDER: Relaxed, in all of this: figures, and a limit that may be passed by what several threads take at the same moment.
        (self.now.load(Ordering::Relaxed) as i64).max(0) as u64
    }

    /// Counts bytes that went out, or came home (below 0).
    pub(super) fn add(&self, bytes: i64) {
        // ORDER: Relaxed: as above.
        self.now.fetch_add(bytes as u64, Ordering::Relaxed);
        if bytes > 0 {
            self.went_out(bytes as u64);
        }
    }

    /// Counts bytes that may go out, which is told or taken back; false if that passes a limit.
    pub(super) fn plan(&self, bytes: u64, limit: u64) -> bool {
        // What does not fit now is not added for a moment: others would be refused by it.
        if self.now().saturating_add(bytes) > limit {
            return false;
        }
        // ORDER: Relaxed: as above.
        let before = self.now.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= limit;
        if !fits {
            self.take_back(bytes);
        }
        fits
    }

    /// What was planned did not go out.
    pub(super) fn take_back(&self, bytes: u64) {
        // ORDER: Relaxed: as above.
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What was planned went out.
    pub(super) fn went_out(&self, bytes: u64) {
        // ORDER: Relaxed: as above. Most of the time the peak is read only.
        self.total.fetch_add(bytes, Ordering::Relaxed);
        let now = self.now();
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// All of it has come home.
    pub(super) fn clear(&self) {
        // ORDER: Relaxed: nobody else counts.
        self.now.store(0, Ordering::Relaxed);
    }
}

/// What a heap holds and has done.
///
/// # Safety
/// - The heap stands.
pub(crate) unsafe fn stats_of(core: *const Core) -> HeapStats {
    let _guard = HEAPS.lock();
    // SAFETY: the caller's duty.
    unsafe { stats_locked(core) }
}

/// As [`stats_of`].
///
/// # Safety
/// - The heap stands, and the caller holds [`HEAPS`].
unsafe fn stats_locked(core: *const Core) -> HeapStats {
    let mut stats = HeapStats::NONE;
    // SAFETY: the caller's duty; the list under the lock.
    unsafe {
        let handed = &(*core).allocated;
        stats.allocated_bytes = handed.now();
        // ORDER: Relaxed: as above.
        stats.allocated_total_bytes = handed.total.load(Ordering::Relaxed);
        stats.allocated_peak_bytes = handed.peak.load(Ordering::Relaxed);
        stats.freed_total_bytes = stats.allocated_total_bytes.saturating_sub(stats.allocated_bytes);
        let mut record = (*core).records;
        // Bound: the threads that used the heap.
        while !record.is_null() {
            // ORDER: Relaxed: as above.
            stats.threads += u64::from((*record).lessee.load(Ordering::Relaxed) != 0);
            stats.malloc_slow_count += (*record).counts.slow.load(Ordering::Relaxed);
            record = (*record).next_in_heap;
        }
    }
    stats
}

/// Those of the default heap: the process's, less those of the heaps that stand.
pub(crate) fn stats_of_default() -> HeapStats {
    let all = crate::stats::now();
    let mut stats = HeapStats {
        allocated_bytes: all.allocated_bytes,
        allocated_peak_bytes: all.allocated_peak_bytes,
        allocated_total_bytes: all.allocated_total_bytes,
        freed_total_bytes: all.freed_total_bytes,
        threads: all.threads,
        malloc_slow_count: all.malloc_slow_count,
        ..HeapStats::NONE
    };
    super::visit_heaps(|core| {
        // SAFETY: visited under the lock, and so it stands.
        let heap = unsafe { stats_locked(core) };
        stats.allocated_bytes = stats.allocated_bytes.saturating_sub(heap.allocated_bytes);
        stats.allocated_total_bytes = stats.allocated_total_bytes.saturating_sub(heap.allocated_total_bytes);
        stats.freed_total_bytes = stats.freed_total_bytes.saturating_sub(heap.freed_total_bytes);
        stats.malloc_slow_count = stats.malloc_slow_count.saturating_sub(heap.malloc_slow_count);
        true
    });
    stats
}

/// Figures of a heap by size class; null is the default heap.
pub(crate) fn page_stats_of(core: *const Core) -> PageStats {
    // SAFETY: S3, S5: descriptors of chunks in use are accessible for good, and this word of them is atomic.
    pages::count(|page| core::ptr::eq(unsafe { (*page).heap() }, core))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// What can't be had leaves no trace, not even for a moment: other threads would be refused by it.
    #[test]
    fn plans_beyond_the_limit_are_never_seen() {
        let handed = Handed::new();
        thread::scope(|scope| {
            let planner = scope.spawn(|| (0..200_000).for_each(|_| assert!(!handed.plan(1 << 30, 1 << 20))));
            while !planner.is_finished() {
                assert_eq!(handed.now(), 0);
            }
        });
    }
}
