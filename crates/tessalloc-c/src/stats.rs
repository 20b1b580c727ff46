//! Statistics, queries by name, and functions of the program for messages and errors.
//!
//! | structure | head | who makes it |
//! |-----------|------|--------------|
//! | [`ProcessInfo`] | version and bytes | the caller, perhaps of an older header: as much is filled as fits |
//! | [`Class`](tessalloc::table::Class), [`Pages`] | bytes | the library: a caller of an older header knows its beginning |
use core::ffi::{CStr, c_char, c_int, c_void};

pub(crate) use tessalloc::table::fill;
use tessalloc::table::{Pages, Visit, show_pages};
use tessalloc::{HeapStats, Query, QueryError, RawOnError, RawOutput, Sink};

use crate::heap::source;

/// What the system does not tell.
const UNKNOWN: u64 = u64::MAX;

/// `tessalloc_process_info_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProcessInfo {
    version: u32,
    struct_bytes: u32,
    elapsed_us: u64,
    user_us: u64,
    system_us: u64,
    rss_bytes: u64,
    rss_peak_bytes: u64,
    commit_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
}

/// Fills `out` with what the system says of the process.
///
/// # Safety
/// - `out` points to a `tessalloc_process_info_t` of `out->struct_bytes` bytes, at least 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_process_info(out: *mut ProcessInfo) {
    let info = tessalloc::process_info();
    let told = |figure: Option<u64>| figure.unwrap_or(UNKNOWN);
    let info = ProcessInfo {
        version: 1,
        struct_bytes: 0,
        elapsed_us: told(info.elapsed_us),
        user_us: told(info.user_us),
        system_us: told(info.system_us),
        rss_bytes: told(info.rss_bytes),
        rss_peak_bytes: told(info.rss_peak_bytes),
        commit_bytes: told(info.commit_bytes),
        minor_faults: told(info.minor_faults),
        major_faults: told(info.major_faults),
    };
    // SAFETY: the caller's duty.
    unsafe { fill(out, &info) };
}

/// Fills `out` with the figures of pages without one class, if it is not null, and shows each size class that has pages to `visit`,
/// if that is not null, until it returns 0.
///
/// # Safety
/// - `out` is null, or points to a `tessalloc_page_stats_t` of `out->struct_bytes` bytes, at least 8.
/// - `visit` is null, or may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_page_stats(out: *mut Pages, visit: Option<Visit>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { show_pages(&tessalloc::page_stats(), out, visit, arg) };
}

/// Fills `out` with what a heap holds and has done.
///
/// # Safety
/// - `heap` as for the functions of `heap.rs`; `out` points to a `tessalloc_heap_stats_t` of `out->struct_bytes` bytes, at least 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_stats(heap: *const c_void, out: *mut HeapStats) {
    // SAFETY: the caller's duty.
    unsafe {
        let heap = source(heap, "run tessalloc_heap_stats");
        fill(out, &heap.map_or_else(tessalloc::default_heap_stats, |heap| heap.stats()));
    }
}

/// As [`tessalloc_page_stats`], of one heap.
///
/// # Safety
/// - As there; `heap` as for [`tessalloc_heap_stats`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_page_stats(
    heap: *const c_void,
    out: *mut Pages,
    visit: Option<Visit>,
    arg: *mut c_void,
) {
    // SAFETY: the caller's duty.
    unsafe {
        let heap = source(heap, "run tessalloc_heap_page_stats");
        let pages = heap.map_or_else(tessalloc::default_heap_page_stats, |heap| heap.page_stats());
        show_pages(&pages, out, visit, arg);
    }
}

/// What the calling thread allocated and freed so far.
///
/// # Safety
/// - Each pointer is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_thread_totals(allocated_bytes: *mut u64, freed_bytes: *mut u64) {
    let totals = tessalloc::thread_totals();
    // SAFETY: the caller's duty.
    unsafe {
        if let Some(allocated_bytes) = allocated_bytes.as_mut() {
            *allocated_bytes = totals.allocated_bytes;
        }
        if let Some(freed_bytes) = freed_bytes.as_mut() {
            *freed_bytes = totals.freed_bytes;
        }
    }
}

fn errno_of(error: QueryError) -> c_int {
    match error {
        QueryError::UnknownName => libc::ENOENT,
        QueryError::NotTold => libc::ENOTSUP,
        QueryError::ReadOnly => libc::EPERM,
        QueryError::OutOfRange => libc::ERANGE,
        _ => libc::EINVAL,
    }
}

/// Reads what has a name into `*out`, then sets it to `*new`; either may be null. Returns 0 or an errno value.
///
/// # Safety
/// - `name` is a C string; `out_bytes` may be read and written, and `out` written for so many bytes; `new` may be read for
///   `new_bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_ctl(
    name: *const c_char,
    out: *mut c_void,
    out_bytes: *mut usize,
    new: *const c_void,
    new_bytes: usize,
) -> c_int {
    const FIGURE_BYTES: usize = size_of::<u64>();
    if name.is_null() || out.is_null() != out_bytes.is_null() || new.is_null() != (new_bytes == 0) {
        return libc::EINVAL;
    }
    let act = || {
        // SAFETY: the caller's duty: a C string.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| libc::ENOENT)?;
        let query = name.parse::<Query>().map_err(errno_of)?;
        // SAFETY: the caller's duty: not null together with `out`.
        if !out.is_null() && unsafe { *out_bytes } != FIGURE_BYTES || !new.is_null() && new_bytes != FIGURE_BYTES {
            return Err(libc::EINVAL);
        }
        let is_action = query == Query::Purge;
        if !new.is_null() && is_action {
            return Err(libc::EPERM);
        }
        if !out.is_null() || is_action {
            let figure = query.read().map_err(errno_of)?;
            if !out.is_null() {
                // SAFETY: the caller's duty; a figure has as many bytes as was checked above. It may lie anywhere.
                unsafe { out.cast::<u64>().write_unaligned(figure) };
            }
        }
        if !new.is_null() {
            // SAFETY: as above.
            query.write(unsafe { new.cast::<u64>().read_unaligned() }).map_err(errno_of)?;
        }
        Ok(())
    };
    act().err().unwrap_or(0)
}

/// Writes by `write`, or without it to where messages go.
///
/// # Safety
/// - `write` is null, or may be called with `arg`.
pub(crate) unsafe fn sink(write: Option<RawOutput>, arg: *mut c_void) -> Sink {
    match write {
        // SAFETY: the caller's duty.
        Some(write) => unsafe { Sink::to_function(write, arg) },
        None => Sink::to_messages(),
    }
}

/// Writes all figures as one JSON object.
///
/// # Safety
/// - As for [`sink`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_stats_json(write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let mut sink = unsafe { sink(write, arg) };
    // A sink takes every text.
    let _ = tessalloc::write_json(&mut sink);
}

/// Writes all figures as lines to be read by people.
///
/// # Safety
/// - As for [`sink`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_stats_print(write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let mut sink = unsafe { sink(write, arg) };
    // A sink takes every text.
    let _ = tessalloc::print_to(&mut sink);
}

/// Writes all figures of a heap as one JSON object.
///
/// # Safety
/// - As for [`sink`]; `heap` as for [`tessalloc_heap_stats`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_stats_json(heap: *const c_void, write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let (heap, mut sink) = unsafe { (source(heap, "run tessalloc_heap_stats_json"), sink(write, arg)) };
    // A sink takes every text.
    let _ = match heap {
        Some(heap) => heap.write_json(&mut sink),
        None => tessalloc::write_default_heap_json(&mut sink),
    };
}

/// Writes all figures of a heap as lines to be read by people.
///
/// # Safety
/// - As for [`tessalloc_heap_stats_json`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_stats_print(heap: *const c_void, write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let (heap, mut sink) = unsafe { (source(heap, "run tessalloc_heap_stats_print"), sink(write, arg)) };
    // A sink takes every text.
    let _ = match heap {
        Some(heap) => heap.print_to(&mut sink),
        None => tessalloc::print_default_heap_to(&mut sink),
    };
}

/// Writes what the system says of the process as lines to be read by people.
///
/// # Safety
/// - As for [`sink`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_process_print(write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let mut sink = unsafe { sink(write, arg) };
    // A sink takes every text.
    let _ = tessalloc::print_process_to(&mut sink);
}

/// Sends messages to a function; null: to standard error.
///
/// # Safety
/// - `output` is null, or may be called with `arg` from any thread, at any time from now on, also after another one was set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_set_output(output: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { tessalloc::set_raw_output(output, arg) };
}

/// Calls a function at each error; null: nobody.
///
/// # Safety
/// - As for [`tessalloc_set_output`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_set_on_error(on_error: Option<RawOnError>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { tessalloc::set_raw_on_error(on_error, arg) };
}
