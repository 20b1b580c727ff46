//! What Rust programs call.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;

use crate::options::{self, Options};
use crate::raw;
use crate::report::Sink;
use crate::scavenger;
use crate::stats::pages::PageStats;
use crate::stats::process::ProcessInfo;
use crate::stats::query::{Query, QueryError};
use crate::stats::text::Snapshot;
use crate::stats::{self, Stats, ThreadTotals};
use crate::sync::{AtomicBool, Ordering};
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

impl Tessalloc {
    /// The allocator with options that the program is built with; they are in force before the first allocation is served.
    ///
    /// ```
    /// use tessalloc::{Configured, Options, Tessalloc};
    ///
    /// #[global_allocator]
    /// static GLOBAL: Configured = Tessalloc::with(Options::new().keep_bytes(64 << 20));
    /// # assert_eq!(tessalloc::Opt::KeepBytes.value(), 64 << 20);
    /// ```
    pub const fn with(options: Options) -> Configured {
        Configured { options, is_installed: AtomicBool::new(false) }
    }
}

/// [`Tessalloc`] with options: see [`Tessalloc::with`]. Small blocks cost the same; the options are looked after where a thread has
/// no block ready, and at large blocks.
#[derive(Debug)]
pub struct Configured {
    options: Options,
    is_installed: AtomicBool,
}

impl Configured {
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        // ORDER: Relaxed: threads that install at once store the same values.
        if !self.is_installed.load(Ordering::Relaxed) {
            self.options.install();
            // ORDER: Relaxed: as above.
            self.is_installed.store(true, Ordering::Relaxed);
        }
        if zeroed {
            raw::zeroed_aligned(layout.size(), layout.align())
        } else {
            raw::aligned(layout.size(), layout.align())
        }
    }
}

// SAFETY: as for `Tessalloc`, whose blocks these are.
unsafe impl GlobalAlloc for Configured {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = raw::ready(layout.size(), layout.align());
        if block.is_null() { self.alloc_slow(layout, false) } else { block }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = raw::ready(layout.size(), layout.align());
        if block.is_null() {
            return self.alloc_slow(layout, true);
        }
        // SAFETY: the block is the caller's, and holds so many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty.
        unsafe { Tessalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's duty.
        unsafe { Tessalloc.realloc(block, layout, size) }
    }
}

/// What the allocator holds and has done, for the whole process, from any thread. Cost: a microsecond and some for each thread.
pub fn stats() -> Stats {
    stats::now()
}

/// Figures by size class, for the whole process, from any thread, read without stopping anybody. Cost: a look at every page, some
/// nanoseconds each; 2 KiB of stack.
pub fn page_stats() -> PageStats {
    stats::pages::count(|_| true)
}

/// What the system says of the process. Cost: some system calls.
pub fn process_info() -> ProcessInfo {
    stats::process::info()
}

/// What the calling thread allocated and freed since its start, as its slow paths count it: exact while allocations are sampled
/// ([`profile`](crate::profile)), for then it keeps no blocks ready. Cost: four loads.
pub fn thread_totals() -> ThreadTotals {
    thread::totals()
}

/// A figure, an option's value or an action's outcome by name: see [`Query`].
///
/// # Errors
/// As [`Query`]'s parsing and [`Query::read`].
pub fn query(name: &str) -> Result<u64, QueryError> {
    name.parse::<Query>()?.read()
}

/// Writes all figures as one JSON object, without allocating.
///
/// # Errors
/// Those of `to`.
pub fn write_json(to: &mut dyn fmt::Write) -> fmt::Result {
    Snapshot::take().write_json(to)
}

/// Writes all figures as lines to be read by people, without allocating.
///
/// # Errors
/// Those of `to`.
pub fn print_to(to: &mut dyn fmt::Write) -> fmt::Result {
    Snapshot::take().write_lines(to)
}

/// Writes what the system says of the process as lines to be read by people, without allocating.
///
/// # Errors
/// Those of `to`.
pub fn print_process_to(to: &mut dyn fmt::Write) -> fmt::Result {
    stats::text::write_process(&stats::process::info(), to)
}

/// Gives all unused memory of every thread back to the system, now, and says how many bytes went. From any thread. Threads that
/// are inside the allocator at that moment keep what they hold ready. Cost: up to 100 µs for each MiB that goes back.
pub fn purge() -> usize {
    scavenger::purge_all(scavenger::PATIENT_TRIES)
}

/// Writes the statistics to where messages go: standard error, or the function of [`set_output`](crate::set_output). Without
/// allocating.
pub fn print_stats() {
    // Where messages go takes every text.
    let _ = print_to(&mut Sink::to_messages());
}

/// Writes every option with its value, and who gave it, to standard error, without allocating.
pub fn print_options() {
    options::print();
}
