//! A general-purpose memory allocator: fast, small, and it gives back what is not used, while nobody allocates, by default.
//!
//! ```
//! use tessalloc::Tessalloc;
//!
//! #[global_allocator]
//! static GLOBAL: Tessalloc = Tessalloc;
//!
//! let numbers: Vec<u64> = (0..1000).collect();
//! assert_eq!(numbers.iter().sum::<u64>(), 499_500);
//! assert!(tessalloc::stats().allocated_bytes > 0);
//! ```
//!
//! | module | holds |
//! |--------|-------|
//! | `sync` | the one door to atomics, thread locals, locks, wait and wake |
//! | `os` | the operating system, one file each |
//! | `options`, `report`, `stats` | settings, errors without allocation, counters |
//! | `size_class`, `bitmap` | pure arithmetic |
//! | `taken`, `chunk`, `grown`, `place`, `region`, `arena` | the address space: slices, chunks and their words; parts of it that programs set apart |
//! | `block`, `page`, `remote`, `holes` | pages of equal blocks, and who may touch them |
//! | `track` | what sanitizers are told of them |
//! | `gate`, `inbox`, `waiting`, `exchange`, `life`, `background`, `ring` | the protocols between threads |
//! | `theap`, `heap`, `large`, `offset`, `thread` | per-thread stacks and queues, large runs, records |
//! | `first_class`, [`Heap`] | first-class heaps, inside and outside |
//! | `sample`, [`profile`], [`guarded`] | which allocations are samples, and what is known of them; which are guarded |
//! | `scavenger`, `fork` | giving memory back; processes that split |
//! | `walk`, `threads`, `deferred` | looking at all pages and blocks; what a program says about its threads, and has called by them |
//! | `raw`, [`Tessalloc`] | what programs call |
//! | [`Buffer`] | an allocator apart from all that, in one given buffer |
//!
//! | feature | |
//! |---------|-|
//! | `std` (default) | thread locals by `std::thread_local!` |
//! | `addon` | for add-ons and plug-ins, which a program loads while it runs: see `docs/add-ons.md` |
//! | `initial-exec` | thread locals of libraries that are there from the start: for the preload library. `addon` wins |
//! | `allocator-api2` | [`&Heap`](Heap) as `Allocator` of that crate: collections of its own and of `hashbrown` in a heap |
//! | `unwind` | call stacks of [`profile`] by the unwinder that programs of `std` hold anyway, instead of by frame pointers |
//! | `asan`, `valgrind` | AddressSanitizer, or memcheck, sees uses of freed blocks and of memory beyond one: for builds that are tested |
//! | `nightly` | `&Heap` as the standard `Allocator`: needs a nightly compiler |
#![no_std]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![cfg_attr(target_os = "none", allow(dead_code, reason = "without a system the crate is `Buffer` alone"))]

#[cfg(any(feature = "std", test, loom, shuttle))]
extern crate std;

#[cfg(not(target_os = "none"))]
mod background;
#[cfg(not(target_os = "none"))]
mod chunk;
#[cfg(not(target_os = "none"))]
mod exchange;
#[cfg(not(target_os = "none"))]
mod gate;
#[cfg(not(target_os = "none"))]
mod grown;
#[cfg(not(target_os = "none"))]
mod inbox;
#[cfg(not(target_os = "none"))]
mod life;
#[cfg(not(target_os = "none"))]
mod place;
#[cfg(not(target_os = "none"))]
mod remote;
#[cfg(not(target_os = "none"))]
mod sync;
#[cfg(not(target_os = "none"))]
mod taken;
#[cfg(not(target_os = "none"))]
mod waiting;

#[cfg(loom)]
mod models;
// Words of other modules that the models run.
#[cfg(loom)]
#[path = "report/hook.rs"]
mod hook;
#[cfg(loom)]
#[path = "first_class/identity.rs"]
mod identity;
#[cfg(loom)]
#[path = "options/word.rs"]
mod option_word;
#[cfg(all(test, shuttle, tessalloc_sim, tessalloc_check))]
mod schedules;
#[cfg(loom)]
#[path = "stats/words.rs"]
mod stat_words;

#[cfg(target_os = "none")]
mod bare;
#[cfg(target_os = "none")]
use bare as report;
#[cfg(target_os = "none")]
use bare as sync;

#[cfg(all(not(any(loom, target_os = "none")), any(feature = "allocator-api2", feature = "nightly")))]
mod allocator;
#[cfg(not(any(loom, target_os = "none")))]
mod arena;
#[cfg(not(loom))]
mod bitmap;
#[cfg(not(any(loom, target_os = "none")))]
mod block;
#[cfg(not(loom))]
mod buffer;
#[cfg(all(tessalloc_check, not(any(loom, target_os = "none"))))]
mod check;
#[cfg(not(any(loom, target_os = "none")))]
mod deferred;
#[cfg(not(any(loom, target_os = "none")))]
mod first_class;
#[cfg(not(any(loom, target_os = "none")))]
mod fork;
#[cfg(not(any(loom, target_os = "none")))]
mod global;
#[cfg(not(any(loom, target_os = "none")))]
mod heap;
#[cfg(not(any(loom, target_os = "none")))]
mod heaps;
#[cfg(not(any(loom, target_os = "none")))]
mod holes;
#[cfg(not(any(loom, target_os = "none")))]
mod large;
#[cfg(not(any(loom, target_os = "none")))]
mod offset;
#[cfg(not(any(loom, target_os = "none")))]
pub mod options;
#[cfg(all(not(any(loom, target_os = "none")), tessalloc_sim))]
pub mod os;
#[cfg(all(not(any(loom, target_os = "none")), not(tessalloc_sim)))]
mod os;
#[cfg(not(any(loom, target_os = "none")))]
mod page;
#[cfg(not(any(loom, target_os = "none")))]
mod pressure;
#[cfg(not(any(loom, target_os = "none")))]
pub mod raw;
#[cfg(not(any(loom, target_os = "none")))]
mod region;
#[cfg(not(any(loom, target_os = "none")))]
mod report;
#[cfg(not(any(loom, target_os = "none")))]
mod ring;
#[cfg(not(any(loom, target_os = "none")))]
mod rounds;
#[cfg(not(any(loom, target_os = "none")))]
mod sample;
#[cfg(not(any(loom, target_os = "none")))]
mod scavenger;
#[cfg(not(loom))]
mod size_class;
#[cfg(not(any(loom, target_os = "none")))]
mod stats;
#[cfg(not(any(loom, target_os = "none")))]
#[doc(hidden)]
pub mod table;
#[cfg(not(any(loom, target_os = "none")))]
mod theap;
#[cfg(not(any(loom, target_os = "none")))]
mod thread;
#[cfg(not(any(loom, target_os = "none")))]
mod threads;
#[cfg(not(any(loom, target_os = "none")))]
mod track;
#[cfg(not(any(loom, target_os = "none")))]
#[doc(hidden)]
pub mod view;
#[cfg(not(any(loom, target_os = "none")))]
mod walk;

#[cfg(not(any(loom, target_os = "none")))]
pub use arena::{Arena, ArenaError, ArenaFunctions, ArenaInfo, ArenaOptions, arenas};
#[cfg(not(loom))]
pub use buffer::{Buffer, BufferStats};
#[cfg(all(tessalloc_check, not(any(loom, target_os = "none"))))]
#[doc(hidden)]
pub use check::{check_all, check_variable};
#[cfg(not(any(loom, target_os = "none")))]
pub use deferred::{RawDeferredFree, set_deferred_free, set_raw_deferred_free};
#[cfg(not(any(loom, target_os = "none")))]
pub use global::{
    Configured, Tessalloc, VERSION, page_stats, print_options, print_process_to, print_stats, print_to, process_info,
    purge, query, stats, thread_totals, write_json,
};
#[cfg(not(any(loom, target_os = "none")))]
pub use heaps::{
    BlockInfo, Heap, HeapId, HeapInfo, HeapOptions, LimitKind, LimitReached, OutOfMemory, default_heap_page_stats,
    default_heap_stats, heap_at, heap_count, heap_of, print_default_heap_to, visit_heaps, visit_raw_heaps,
    write_default_heap_json,
};
#[cfg(not(any(loom, target_os = "none")))]
pub use options::{Opt, Options};
#[cfg(not(any(loom, target_os = "none")))]
pub use pressure::{Cause, Pressure, PressureCall, on_pressure, on_pressure_raw};
#[cfg(not(any(loom, target_os = "none")))]
pub use report::{
    ErrorKind, ErrorReport, RawError, RawOnError, RawOutput, Sink, set_on_error, set_output, set_raw_on_error,
    set_raw_output,
};
#[cfg(not(any(loom, target_os = "none")))]
pub use sample::{guarded, profile};
#[cfg(not(any(loom, target_os = "none")))]
pub use stats::of_heap::{HEAP_STATS_VERSION, HeapFigure, HeapStats};
#[cfg(not(any(loom, target_os = "none")))]
pub use stats::pages::{ClassFigure, ClassStats, OtherFigure, OtherPages, PageStats};
#[cfg(not(any(loom, target_os = "none")))]
pub use stats::process::{ProcessFigure, ProcessInfo};
#[cfg(not(any(loom, target_os = "none")))]
pub use stats::query::{Query, QueryError};
#[cfg(not(any(loom, target_os = "none")))]
pub use stats::{Figure, STATS_VERSION, Stats, ThreadFigure, ThreadTotals};
#[cfg(not(any(loom, target_os = "none")))]
pub use threads::{ThreadId, thread_idle};
#[cfg(not(any(loom, target_os = "none")))]
pub use walk::{PageInfo, PageOwner, Walked, Which, visit_blocks, visit_blocks_exactly, visit_pages};

/// The examples of the guides are tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/add-ons.md")]
    struct AddOns;
    #[doc = include_str!("../../../docs/arenas.md")]
    struct Arenas;
    #[doc = include_str!("../../../docs/buffer.md")]
    struct Buffers;
    #[doc = include_str!("../../../docs/heaps.md")]
    struct Heaps;
    #[doc = include_str!("../../../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../../../docs/options.md")]
    struct Options;
    #[doc = include_str!("../../../docs/profiles.md")]
    struct Profiles;
    #[doc = include_str!("../../../docs/statistics.md")]
    struct Statistics;
    #[doc = include_str!("../../../docs/walking.md")]
    struct Walking;
    #[doc = include_str!("../../../README.md")]
    struct Readme;
}
