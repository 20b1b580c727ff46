//! What Rust programs call.

use core::alloc::{GlobalAlloc, Layout};

use crate::raw;
use crate::report::Line;
use crate::scavenger;
use crate::stats::{self, Stats};
use crate::thread;

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The allocator, for `#[global_allocator]`. Without state of its own: all instances are one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tessalloc;

// SAFETY: blocks are at least as large and as aligned as their layout asks, distinct while in use, and stay until freed: P3, P4
// and T1 of the core's modules. No call unwinds.
unsafe impl GlobalAlloc for Tessalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        raw::aligned(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        raw::zeroed_aligned(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty.
        unsafe { raw::free_layout(block, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's duty.
        unsafe { raw::realloc_aligned(block, size, layout.align()) }
    }
}

/// What the allocator holds and has done, for the whole process, from any thread. Cost: a microsecond and some for each thread.
pub fn stats() -> Stats {
    stats::collect(&thread::pending())
}

/// Gives all unused memory of every thread back to the system, now, and says how many bytes went. From any thread. Threads that
/// are inside the allocator at that moment keep what they hold ready. Cost: up to 100 µs for each MiB that goes back.
pub fn purge() -> usize {
    scavenger::purge_all(scavenger::PATIENT_TRIES)
}

/// Writes the statistics to standard error, without allocating.
pub fn print_stats() {
    let now = stats();
    let mib = |bytes: u64| bytes >> 10;
    let rows: [(&str, u64, &str); 10] = [
        ("allocated", mib(now.allocated_bytes), "KiB"),
        ("committed", mib(now.committed_bytes), "KiB"),
        ("committed at most", mib(now.committed_peak_bytes), "KiB"),
        ("retained", mib(now.retained_bytes), "KiB"),
        ("given back", mib(now.purged_bytes), "KiB"),
        ("reserved", mib(now.reserved_bytes), "KiB"),
        ("pages", now.pages, ""),
        ("large blocks", now.large_blocks, ""),
        ("threads", now.threads_total, ""),
        ("slow paths", now.malloc_slow_count, ""),
    ];
    for (name, value, unit) in rows {
        Line::new().text(name).text(" ").number(value).text(" ").text(unit).write();
    }
}
