//! tessalloc for C and C++: the malloc family, operators new and delete, and `tessalloc_*`.
//!
//! Every export is a thin shell over an inner name of the core (`tessalloc::raw`), so that no code of ours calls the exported
//! `malloc`: a program may replace that one, and LLVM knows its name. `no_builtins` stops LLVM from making "malloc, then
//! clear" into a call of `calloc`, which would be the function it stands in.
//!
//! | module   | exports                                                                | on failure                             |
//! |----------|------------------------------------------------------------------------|----------------------------------------|
//! | `malloc` | malloc, free, … , `__libc_*`                                           | null and `errno`                       |
//! | `info`   | mallinfo, `malloc_info`, `malloc_stats`, `malloc_trim`, mallopt        | as glibc documents                     |
//! | `cxx`    | operators new and delete in all forms                                  | new-handler, then `std::bad_alloc`     |
//! | `alloc`  | `tessalloc_*` of `include/tessalloc.h`: allocation beyond the family   | null and `errno`                       |
//! | `arena`  | `tessalloc_arena_*` of `include/tessalloc.h`                           | null and `errno`, or the code          |
//! | `buffer` | `tessalloc_buffer_*` of `include/tessalloc.h`                          | null and `errno`                       |
//! | `guarded` | `tessalloc_guarded_*`                                                 | `EINVAL` as the result                 |
//! | `heap`   | `tessalloc_heap_*` of `include/tessalloc.h`                            | null and `errno`                       |
//! | `own`    | `tessalloc_*` of `include/tessalloc.h`                                 | null, and `errno` as the malloc family |
//! | `options` | `tessalloc_option_*`                                                  | `EINVAL`, `ERANGE` as the result       |
//! | `profile` | `tessalloc_profile_*`                                                 | an errno value as the result           |
//! | `stats`  | `tessalloc_ctl`, `_stats_json`, `_process_info`, `_set_output`, …      | an errno value as the result           |
//! | `walk`   | `tessalloc_visit_…`, `tessalloc_thread_…` of `include/tessalloc.h`        | 0 and `errno`                          |
//! | `zone`   | nothing: on macOS it stands for `malloc` and `info`                    | null                                   |
//!
//! The library is compiled with panic = "abort" and without `std`. A profile that unwinds needs `std`'s panic machinery; for
//! such a profile the crate is empty.
#![cfg_attr(panic = "abort", no_std)]
#![no_builtins]
#![cfg(unix)]
#![allow(unreachable_pub, reason = "what is public here is public to C, not to another crate")]

#[cfg(panic = "abort")]
mod alloc;
#[cfg(panic = "abort")]
mod arena;
#[cfg(panic = "abort")]
mod block;
#[cfg(panic = "abort")]
mod buffer;
#[cfg(all(panic = "abort", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cxx;
#[cfg(panic = "abort")]
mod guarded;
#[cfg(panic = "abort")]
mod heap;
#[cfg(all(panic = "abort", not(target_os = "macos")))]
mod info;
#[cfg(all(panic = "abort", not(target_os = "macos")))]
mod malloc;
#[cfg(panic = "abort")]
mod options;
#[cfg(panic = "abort")]
mod own;
#[cfg(panic = "abort")]
mod pressure;
#[cfg(panic = "abort")]
mod profile;
#[cfg(panic = "abort")]
mod stats;
#[cfg(panic = "abort")]
mod walk;
#[cfg(all(panic = "abort", target_os = "macos"))]
mod zone;
#[cfg(all(panic = "abort", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
use cxx::unwind;
#[cfg(all(panic = "abort", not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))))]
mod unwind {
    /// By frame pointers.
    pub(crate) fn by_default() -> Option<tessalloc::profile::RawUnwinder> {
        None
    }
}

/// Writes `text` to standard error in one system call.
#[cfg(panic = "abort")]
fn say(text: &[u8]) {
    // SAFETY: the pointer and the length are those of one live slice; `write` only reads it. A failure has nobody to be told to.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Nothing here panics on purpose; what does is a bug of ours, and the process can't go on.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say(b"tessalloc: internal error: the C library panicked\n");
    // SAFETY: no duties.
    unsafe { libc::abort() }
}
