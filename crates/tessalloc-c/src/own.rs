//! The functions of `include/tessalloc.h`.
use core::ffi::{c_char, c_int, c_void};

use tessalloc::table::{self, Table};
use tessalloc::{Stats, raw};

use crate::block::{at_least_16, fail, or_no_memory};
use crate::stats::fill;

/// The table, for another copy of tessalloc that finds it by name.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_table_v1() -> &'static Table {
    &table::OWN
}

/// Where the figures lie in this process's memory, for readers outside of it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "named as C names it")]
pub static tessalloc_view_v1: tessalloc::view::View = tessalloc::view::View::new();

/// The version as text, e.g. `1.2.3`.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_version() -> *const c_char {
    table::VERSION_TEXT.as_ptr()
}

/// Fills `out`, whose `struct_bytes` the caller has set.
///
/// # Safety
/// - `out` points to a `tessalloc_stats_t` of `out->struct_bytes` bytes, at least 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_stats(out: *mut Stats) {
    // SAFETY: the caller's duty is `fill`'s.
    unsafe { fill(out, &tessalloc::stats()) };
}

/// Gives all unused memory of all threads back; returns the bytes.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_purge() -> usize {
    tessalloc::purge()
}

/// 1 if the address lies in memory that tessalloc manages, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_is_ours(address: *const c_void) -> c_int {
    c_int::from(raw::is_ours(address.cast()))
}

/// The usable size that a request of `size` bytes gets.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_good_size(size: usize) -> usize {
    raw::good_size(size)
}

/// As `malloc`.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_malloc(size: usize) -> *mut c_void {
    or_no_memory(raw::malloc(size))
}

/// As `calloc`.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_calloc(count: usize, size: usize) -> *mut c_void {
    or_no_memory(raw::calloc(count, size))
}

/// As `realloc`.
///
/// # Safety
/// - As `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if size == 0 && !block.is_null() {
        // SAFETY: the caller hands the block over.
        unsafe { raw::free(block.cast()) };
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's duty is the core's.
    or_no_memory(unsafe { raw::realloc(block.cast(), size) })
}

/// As `aligned_alloc`.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    or_no_memory(at_least_16(size, align))
}

/// As `free`.
///
/// # Safety
/// - As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_free(block: *mut c_void) {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::free(block.cast()) };
}

/// As `malloc_usable_size`.
///
/// # Safety
/// - As `malloc_usable_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_usable_size(block: *const c_void) -> usize {
    // SAFETY: the caller's duty is the core's.
    unsafe { raw::usable_size(block.cast()) }
}
