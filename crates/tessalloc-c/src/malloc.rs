//! The malloc family, to the letter of C23, POSIX and glibc.
//!
//! | question                             | answer                                                                             |
//! |--------------------------------------|------------------------------------------------------------------------------------|
//! | alignment of any block               | at least 16                                                                        |
//! | size 0                               | a block of its own                                                                 |
//! | size over `PTRDIFF_MAX`, or overflow | null, `errno` = ENOMEM                                                             |
//! | `realloc(p, 0)`                      | frees `p` and returns null (glibc); `errno` stays                                  |
//! | `free`                               | keeps `errno` (POSIX 2024)                                                         |
//! | `posix_memalign`, bad alignment      | returns EINVAL; neither `errno` nor the result pointer changes                     |
//! | `aligned_alloc`, not a power of two  | null, EINVAL (C17, glibc 2.38); a size that is no multiple is fine (C17)           |
//! | `memalign`, not a power of two       | rounded up to one (glibc, all versions); over half the address space: EINVAL       |
//! | `pvalloc`                            | whole OS pages; 0 bytes are one page's alignment with a block of 0 bytes, as glibc |
//! | `free_sized`, `free_aligned_sized`   | as `free`: the size is not needed, so a wrong one does no harm                     |
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

use tessalloc::raw;

use crate::block::{at_least_16, fail, or_no_memory, os_page_bytes};

/// A block at a multiple of `align`, any number: rounded up to a power of two.
fn aligned_up(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => or_no_memory(at_least_16(size, align)),
        None => fail(libc::EINVAL),
    }
}

/// `size` bytes in whole OS pages, on an OS page's start.
fn whole_os_pages(size: usize) -> *mut c_void {
    let page = os_page_bytes();
    match size.checked_next_multiple_of(page) {
        Some(size) => or_no_memory(at_least_16(size, page)),
        None => fail(libc::ENOMEM),
    }
}

/// # Safety
/// - `block` is null or a block of ours that is in use; it is not used again unless the result is null and `size` is not 0.
#[inline(always)]
unsafe fn resize(block: *mut c_void, size: usize) -> *mut c_void {
    if size == 0 && !block.is_null() {
        // SAFETY: the caller hands the block over.
        unsafe { raw::free(block.cast()) };
        return null_mut();
    }
    // SAFETY: the caller's duty is the core's.
    or_no_memory(unsafe { raw::realloc(block.cast(), size) })
}

/// # Safety
/// - `out` may be written.
#[inline(always)]
unsafe fn aligned_to(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let block = at_least_16(size, align);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's duty.
    unsafe { *out = block.cast() };
    0
}

/// A block of `size` bytes.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    raw::malloc_or(size, |size| malloc_slow(size).cast()).cast()
}

/// Outlined, so that the fast path needs no frame.
#[cold]
#[inline(never)]
extern "C" fn malloc_slow(size: usize) -> *mut c_void {
    or_no_memory(raw::malloc_slow(size))
}

/// A block of `count * size` zero bytes.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    or_no_memory(raw::calloc(count, size))
}

/// Takes a block back; null is fine.
///
/// # Safety
/// - `block` is null or a block of this library in use, and it is not used again. A pointer of anybody else is reported and
///   ends the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::free(block.cast()) };
}

/// Gives a block another size, perhaps another place.
///
/// # Safety
/// - As [`free`]; if the result is null and `size` is not 0, the block is still the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's duty is `resize`'s.
    unsafe { resize(block, size) }
}

/// [`realloc`] to `count * size` bytes.
///
/// # Safety
/// - As [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's duty is `resize`'s.
        Some(bytes) => unsafe { resize(block, bytes) },
        None => fail(libc::ENOMEM),
    }
}

/// A block at a multiple of `align`, a power of two.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    or_no_memory(at_least_16(size, align))
}

/// A block at a multiple of `align`, which is rounded up to a power of two.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    aligned_up(align, size)
}

/// A block at a multiple of `align`, by the result pointer; returns 0, EINVAL or ENOMEM.
///
/// # Safety
/// - `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    // SAFETY: the caller's duty is `aligned_to`'s.
    unsafe { aligned_to(out, align, size) }
}

/// A block on the start of an OS page.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    or_no_memory(at_least_16(size, os_page_bytes()))
}

/// A block of whole OS pages.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    whole_os_pages(size)
}

/// The bytes of a block that may be used; 0 for null.
///
/// # Safety
/// - `block` is null or a block of ours in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::usable_size(block.cast()) }
}

/// C23: [`free`] by a caller who knows the size.
///
/// # Safety
/// - As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _size: usize) {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::free(block.cast()) };
}

/// C23: [`free`] by a caller who knows alignment and size.
///
/// # Safety
/// - As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, _size: usize) {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::free(block.cast()) };
}

/// The old name of [`free`], which old binaries ask for.
///
/// # Safety
/// - As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::free(block.cast()) };
}

/// glibc's own names of the family. Programs that wrap malloc call these, so they must not lead through the public names: a
/// wrapper's `malloc` would be reached again. Static linking needs them too: what stays undefined pulls glibc's malloc in.
#[cfg(target_os = "linux")]
mod glibc_names {
    use super::*;

    /// [`super::malloc`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_malloc(size: usize) -> *mut c_void {
        or_no_memory(raw::malloc(size))
    }

    /// [`super::calloc`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_calloc(count: usize, size: usize) -> *mut c_void {
        or_no_memory(raw::calloc(count, size))
    }

    /// [`super::free`].
    ///
    /// # Safety
    /// - As [`super::free`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn __libc_free(block: *mut c_void) {
        // SAFETY: the caller's duty is the core's.
        unsafe { raw::free(block.cast()) };
    }

    /// [`super::realloc`].
    ///
    /// # Safety
    /// - As [`super::realloc`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: the caller's duty is `resize`'s.
        unsafe { resize(block, size) }
    }

    /// [`super::memalign`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_memalign(align: usize, size: usize) -> *mut c_void {
        aligned_up(align, size)
    }

    /// [`super::valloc`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_valloc(size: usize) -> *mut c_void {
        or_no_memory(at_least_16(size, os_page_bytes()))
    }

    /// [`super::pvalloc`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_pvalloc(size: usize) -> *mut c_void {
        whole_os_pages(size)
    }

    /// [`super::posix_memalign`].
    ///
    /// # Safety
    /// - As [`super::posix_memalign`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn __posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
        // SAFETY: the caller's duty is `aligned_to`'s.
        unsafe { aligned_to(out, align, size) }
    }
}
