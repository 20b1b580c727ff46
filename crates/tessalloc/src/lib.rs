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
//! | `region` | the address space: slices, chunks and their words |
//! | `block`, `page`, `remote`, `holes` | pages of equal blocks, and who may touch them |
//! | `gate`, `inbox`, `waiting`, `exchange`, `ring` | the protocols between threads |
//! | `theap`, `heap`, `large`, `offset`, `thread` | per-thread stacks and queues, large runs, records |
//! | `first_class`, [`Heap`] | first-class heaps, inside and outside |
//! | `scavenger`, `fork` | giving memory back; processes that split |
//! | `raw`, [`Tessalloc`] | what programs call |
//! | [`Buffer`] | an allocator apart from all that, in one given buffer |
#![no_std]

#[cfg(any(feature = "std", test, loom))]
extern crate std;

mod exchange;
mod gate;
mod inbox;
mod remote;
mod sync;
mod waiting;

#[cfg(loom)]
mod models;

#[cfg(not(loom))]
mod bitmap;
#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
mod buffer;
#[cfg(not(loom))]
mod first_class;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod global;
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
mod heaps;
#[cfg(not(loom))]
mod holes;
#[cfg(not(loom))]
mod large;
#[cfg(not(loom))]
mod offset;
#[cfg(not(loom))]
pub mod options;
#[cfg(all(not(loom), tessalloc_sim))]
pub mod os;
#[cfg(all(not(loom), not(tessalloc_sim)))]
mod os;
#[cfg(not(loom))]
mod page;
#[cfg(not(loom))]
pub mod raw;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod scavenger;
#[cfg(not(loom))]
mod size_class;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod theap;
#[cfg(not(loom))]
mod thread;

#[cfg(not(loom))]
pub use buffer::{Buffer, BufferStats};
#[cfg(not(loom))]
pub use global::{Configured, Tessalloc, VERSION, print_options, print_stats, purge, stats};
#[cfg(not(loom))]
pub use heaps::{
    BlockInfo, Heap, HeapId, HeapInfo, HeapOptions, LimitKind, LimitReached, OutOfMemory, heap_at, heap_count, heap_of,
    visit_heaps,
};
#[cfg(not(loom))]
pub use options::{Opt, Options};
#[cfg(not(loom))]
pub use stats::Stats;
