//! Ceilings of the process and who is told of them: `include/tessalloc.h`.
use core::ffi::{c_int, c_void};

use tessalloc::{Opt, PressureCall};

/// Sets both ceilings: 0, or ERANGE for one that is beyond what there can be; then neither is set.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_set_limits(soft_bytes: u64, hard_bytes: u64) -> c_int {
    let soft_before = Opt::SoftLimitBytes.value();
    if Opt::SoftLimitBytes.set(soft_bytes).is_err() {
        return libc::ERANGE;
    }
    if Opt::HardLimitBytes.set(hard_bytes).is_err() {
        let _ = Opt::SoftLimitBytes.set(soft_before);
        return libc::ERANGE;
    }
    0
}

/// Has a function called on pressure; null: none. 1, or 0 if there can be no background thread.
///
/// # Safety
/// - As for the header's: it may be called with `argument` at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_on_pressure(call: Option<PressureCall>, argument: *mut c_void) -> c_int {
    // SAFETY: the caller's duty.
    unsafe { tessalloc::on_pressure_raw(call, argument) }.into()
}
