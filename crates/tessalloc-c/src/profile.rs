//! Heap profiles of `include/tessalloc.h`.
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::{null, null_mut};

use tessalloc::RawOutput;
use tessalloc::profile::{self, Amount, Figures, Kind, ProfileError, RawUnwinder};

use crate::stats::sink;
use crate::unwind;

/// What is not told: no sample was freed.
const UNKNOWN: u64 = u64::MAX;

/// `tessalloc_profile_stack_t`. Later versions only append.
#[repr(C)]
pub struct Stack {
    struct_bytes: u64,
    frames: *const usize,
    depth: u64,
    in_use: Amount,
    allocated: Amount,
    peak: Amount,
    mean_lifetime_us: u64,
}

impl Stack {
    fn new(frames: &[usize], figures: &Figures) -> Self {
        Self {
            struct_bytes: size_of::<Self>() as u64,
            frames: if frames.is_empty() { null() } else { frames.as_ptr() },
            depth: frames.len() as u64,
            in_use: figures.in_use,
            allocated: figures.allocated,
            peak: figures.peak,
            mean_lifetime_us: figures.mean_lifetime_us.unwrap_or(UNKNOWN),
        }
    }
}

/// What C calls with a call stack; 0 ends the visit.
type Visit = unsafe extern "C" fn(stack: *const Stack, arg: *mut c_void) -> c_int;

fn errno_of(result: Result<(), ProfileError>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(ProfileError::OutOfRange { .. }) => libc::ERANGE,
        Err(ProfileError::OutOfMemory) => libc::ENOMEM,
        Err(_) => libc::EIO,
    }
}

fn kind_of(kind: c_int) -> Kind {
    if kind == 0 { Kind::InUse } else { Kind::Peak }
}

/// Samples allocations from now on: 0, `ERANGE`, `ENOMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_profile_start(mean_bytes: u64) -> c_int {
    errno_of(profile::start(mean_bytes))
}

/// Takes no more samples.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_profile_stop() {
    profile::stop();
}

/// Whether allocations are sampled.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_profile_is_on() -> c_int {
    profile::is_on().into()
}

/// Shows all call stacks together.
///
/// # Safety
/// - `visit` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_profile_totals(visit: Visit, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { visit(&Stack::new(&[], &profile::totals()), arg) };
}

/// Shows each call stack, until `visit` returns 0.
///
/// # Safety
/// - `visit` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_profile_visit(visit: Visit, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    profile::visit(|frames, figures| unsafe { visit(&Stack::new(frames, figures), arg) } != 0);
}

/// Writes a profile by `write`, or without it to where messages go.
///
/// # Safety
/// - `write` is null, or may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_profile_write(kind: c_int, write: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    let mut sink = unsafe { sink(write, arg) };
    // A sink takes every text.
    let _ = profile::write(kind_of(kind), &mut sink);
}

/// Writes a profile to a file: 0, or `EIO`.
///
/// # Safety
/// - `file` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_profile_dump(kind: c_int, file: *const c_char) -> c_int {
    if file.is_null() {
        return libc::EIO;
    }
    // SAFETY: the caller's duty.
    errno_of(profile::dump(kind_of(kind), unsafe { CStr::from_ptr(file) }))
}

/// Has call stacks taken by a function; null: as at first.
///
/// # Safety
/// - `unwinder` is null, or may be called with `arg` from any thread, at any time from now on, also after another one was set, and
///   returns how many of the places it filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_profile_set_unwinder(unwinder: Option<RawUnwinder>, arg: *mut c_void) {
    // SAFETY: the caller's duty, or a function of ours.
    unsafe {
        match unwinder {
            Some(_) => profile::set_raw_unwinder(unwinder, arg),
            None => profile::set_raw_unwinder(unwind::by_default(), null_mut()),
        }
    }
}
