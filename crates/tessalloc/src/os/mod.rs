//! The operating system behind one contract; one file a system, and [`sim`] in memory.
//!
//! | call | duty of the caller | promise |
//! |------|--------------------|---------|
//! | [`reserve`] | `bytes` and `align` are multiples of [`page_bytes`], `align` a power of two | address space without memory; no access until `commit` |
//! | [`commit`] | range lies in a reservation, OS page aligned | readable and writable; what was never written, or purged, reads zero |
//! | [`purge`] | range is committed, nobody else uses it | memory goes back; still accessible, reads zero on the next touch |
//! | [`protect`] | range is committed, nobody uses it | no access until `unprotect`; contents stay |
//! | [`unprotect`] | range is committed | readable and writable; what was purged reads zero |
//! | [`release`] | the whole of a reservation, once | address space goes back |
//! | [`move_pages`] | both ranges committed, equal length, disjoint | contents are at `to`; `from` is accessible and reads zero |
//! | [`renew`] | range is committed | like `purge`, and the kernel may merge the mapping with its neighbours |
//! | [`populate_huge`] | multiples of [`HUGE_BYTES`], committed, unused | resident in huge pages if the system can; contents zero |
//! | [`advise_node`] | range lies in a reservation | advice: where what becomes resident from now on should come from |
//! | [`env_each`] | what is shown is used in the call only | in the environment's order; false before the C library is up: ask again later |
//! | [`wait`], [`wake`] | the word outlives the call | as futex: may wake spuriously, returns at the timeout |
//! | [`container_limit`], [`shortage`] | – | what the container may use, and whether memory is short; opens and closes, holds no descriptor |
//! | [`is_readable`] | – | whether a word can be read at this moment, whatever is there; false where the system has no harmless way to tell |
//! | [`process_figures`] | – | what the system tells, else `None`; opens and closes, holds no descriptor |
//!
//! A call that fails leaves its ranges accessible; a range that `move_pages`, `purge` or `renew` was to give back or fill may have
//! lost its contents, except the source of `move_pages`.
//!
//! Every fallible call returns the call's name and the system's code, writes no `errno`, takes no lock of ours and allocates
//! nothing, except [`spawn`] and [`at_fork`], which may allocate through the C library and so run outside all locks.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cfg_attr(shuttle, allow(dead_code, reason = "threads of schedules are no threads of the system"))]
#[path = "linux.rs"]
mod system;

#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly"))]
#[path = "bsd.rs"]
mod system;

#[cfg(windows)]
#[path = "windows.rs"]
mod system;

#[cfg(target_family = "wasm")]
#[path = "wasm.rs"]
mod system;

#[cfg(not(tessalloc_sim))]
use system as here;

#[cfg(tessalloc_sim)]
pub mod sim;
#[cfg(tessalloc_sim)]
use sim as here;

#[cfg(all(tessalloc_sim, shuttle))]
#[cfg_attr(not(test), allow(dead_code, reason = "schedules are tests"))]
pub(crate) mod scheduled;

#[cfg(any(windows, target_family = "wasm", shuttle))]
mod no_fork;

mod calls;
pub(crate) use calls::{
    Call, advise_node, advise_small_pages, calls, commit, move_pages, populate_huge, purge, release, renew, reserve,
};
pub(crate) use here::*;

#[cfg(test)]
mod contract;

#[cfg(unix)]
#[cfg_attr(shuttle, allow(dead_code, reason = "as above"))]
mod unix;

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod posix;

/// What [`populate_huge`] counts in.
pub(crate) const HUGE_BYTES: usize = 2 << 20;

/// A call of the operating system that failed.
#[cfg_attr(not(tessalloc_sim), expect(unreachable_pub, reason = "public where the simulated system is"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsError {
    /// The call as the system's manual names it.
    pub call: &'static str,
    /// The system's code: `errno`, or `GetLastError`.
    pub code: i32,
}

/// Whether tasks have to wait for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "systems tell more or less")]
pub(crate) enum Shortage {
    None,
    /// Some wait.
    Some,
    /// All do, or are about to.
    Severe,
}

/// What the system says of the process; `None`: it does not tell. Times in microseconds, memory in bytes.
#[derive(Default)]
pub(crate) struct ProcessFigures {
    pub(crate) elapsed_us: Option<u64>,
    pub(crate) user_us: Option<u64>,
    pub(crate) system_us: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) rss_peak_bytes: Option<u64>,
    pub(crate) commit_bytes: Option<u64>,
    pub(crate) minor_faults: Option<u64>,
    pub(crate) major_faults: Option<u64>,
}
