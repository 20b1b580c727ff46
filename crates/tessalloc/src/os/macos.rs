//! macOS: mappings by the C library, tagged as an allocator's; waiting by the kernel's `ulock` calls.

use core::ffi::{c_int, c_void};
use core::sync::atomic::AtomicU32;

pub(crate) use super::posix::*;
pub(crate) use super::unix::*;

/// Whether [`commit`] changes protection and so is asked for in growing steps; on Windows it is asked for by slice.
pub(crate) const COMMITS_PREFIX: bool = true;

/// The descriptor of an anonymous mapping carries a tag in its upper byte; 240 is the first for applications.
pub(super) const MAP_DESCRIPTOR: c_int = 240 << 24;

unsafe extern "C" {
    // What the system's own C++ library waits with. The timeout is in microseconds, 0 for none.
    fn __ulock_wait(operation: u32, address: *mut c_void, value: u64, timeout_us: u32) -> c_int;
    fn __ulock_wake(operation: u32, address: *mut c_void, value: u64) -> c_int;
}

const COMPARE_AND_WAIT: u32 = 1;
const WAKE_ALL: u32 = 0x100;
/// The error is the result, negated; `errno` is not touched.
const NO_ERRNO: u32 = 0x0100_0000;

/// Where this thread keeps `errno`.
///
/// # Safety
/// Only this thread may use the address.
pub(super) unsafe fn errno_at() -> *mut c_int {
    // SAFETY: the address of this thread's word.
    unsafe { libc::__error() }
}

/// A forked child can't be given zeroes here: false.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn wipe_on_fork(_at: *mut u8, _bytes: usize) -> bool {
    false
}

/// Bytes of memory in the machine; 0 if unknown.
pub(crate) fn physical_bytes() -> u64 {
    let mut bytes = 0u64;
    let mut len = size_of::<u64>();
    let done = keep_errno("sysctlbyname", || {
        let into = (&raw mut bytes).cast::<c_void>();
        // SAFETY: writes at most `len` bytes into `bytes`; the name is a C string.
        unsafe { libc::sysctlbyname(c"hw.memsize".as_ptr(), into, &mut len, core::ptr::null_mut(), 0) as isize }
    });
    if done.is_ok() { bytes } else { 0 }
}

/// There are no containers.
pub(crate) fn container_limit() -> Option<u64> {
    None
}

/// The kernel's own level: 1 normal, 2 warning, 4 critical.
pub(crate) fn shortage() -> super::Shortage {
    let mut level = 0u32;
    let mut len = size_of::<u32>();
    let _ = keep_errno("sysctlbyname", || {
        let name = c"kern.memorystatus_vm_pressure_level".as_ptr();
        // SAFETY: writes at most `len` bytes into `level`; the name is a C string.
        unsafe { libc::sysctlbyname(name, (&raw mut level).cast(), &mut len, core::ptr::null_mut(), 0) as isize }
    });
    match level {
        2 => super::Shortage::Some,
        4 => super::Shortage::Severe,
        _ => super::Shortage::None,
    }
}

/// The system has no ceiling of address space that it enforces.
pub(crate) fn address_limit() -> Option<u64> {
    None
}

/// A number that an attacker can't guess; the address of a local when the kernel has none.
pub(crate) fn random() -> u64 {
    let mut word = 0u64;
    // SAFETY: writes 8 bytes into `word`.
    let done = keep_errno("getentropy", || unsafe { libc::getentropy((&raw mut word).cast(), 8) } as isize);
    if done.is_ok() { word } else { (&raw const word).addr() as u64 ^ now_us().wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// Sleeps while `word` holds `expected`, until woken or `timeout_ms` (0: without limit).
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
    let timeout_us = u32::try_from(timeout_ms.saturating_mul(1000)).unwrap_or(u32::MAX);
    // SAFETY: the kernel reads the word, which is alive for the call.
    unsafe { __ulock_wait(COMPARE_AND_WAIT | NO_ERRNO, word.as_ptr().cast(), u64::from(expected), timeout_us) };
}

/// Wakes at most `count` threads that wait on `word`; for more than one, all.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let all = if count > 1 { WAKE_ALL } else { 0 };
    // SAFETY: only the word's address is used.
    unsafe { __ulock_wake(COMPARE_AND_WAIT | NO_ERRNO | all, word.as_ptr().cast(), 0) };
}
