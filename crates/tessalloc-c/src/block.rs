//! Blocks as C knows them: aligned to 16, null with `errno` where there is no memory.
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

use tessalloc::raw;

#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use libc::__error as errno_location;

/// Sets `errno` and returns null.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn fail(errno: c_int) -> *mut c_void {
    // SAFETY: the function returns the address of this thread's `errno`, valid as long as the thread.
    unsafe { *errno_location() = errno };
    null_mut()
}

/// The block, or null with `errno` = ENOMEM.
#[inline(always)]
pub(crate) fn or_no_memory(block: *mut u8) -> *mut c_void {
    if block.is_null() { fail(libc::ENOMEM) } else { block.cast() }
}

/// The core's block at a multiple of `align`, a power of two. The core knows blocks aligned to 8; C does not.
#[inline(always)]
pub(crate) fn at_least_16(size: usize, align: usize) -> *mut u8 {
    raw::aligned(size, align.max(16))
}

/// Bytes of an OS page: the kernel's, at least 4 KiB.
pub(crate) fn os_page_bytes() -> usize {
    // SAFETY: no duties; glibc reads it from the auxiliary vector.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
