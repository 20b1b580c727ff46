//! Call stacks by the unwinder of the program's own runtime, if it has one: code in C is compiled without frame pointers as a rule.
//!
//! The library itself needs no such runtime: its names are weak, and found where they were loaded before the program started. To look
//! for them later would mean to load a library inside of `malloc`.
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::ptr::null_mut;

use tessalloc::profile::{self, RawUnwinder};

weak! {
    weak_backtrace = "_Unwind_Backtrace";
    weak_ip = "_Unwind_GetIP";
}

type Trace = extern "C" fn(context: *mut c_void, arg: *mut c_void) -> c_int;

/// The places that are filled, and what is asked for each.
struct Found {
    frames: *mut usize,
    max: usize,
    count: usize,
    ip_of: unsafe extern "C" fn(context: *mut c_void) -> usize,
}

extern "C" fn trace(context: *mut c_void, arg: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const END: c_int = 5;
    // SAFETY: `unwind` passes its own `Found`, which nobody else uses meanwhile; the context is the unwinder's.
    unsafe {
        let found = &mut *arg.cast::<Found>();
        let at = (found.ip_of)(context);
        if at == 0 || found.count == found.max {
            return END;
        }
        found.frames.add(found.count).write(at);
        found.count += 1;
    }
    GO_ON
}

unsafe extern "C" fn unwind(frames: *mut usize, max: usize, _: *mut c_void) -> usize {
    let (backtrace, ip_of) = (weak_backtrace(), weak_ip());
    // SAFETY: functions of these types, not null since `by_default` gave this one; `trace` gets the argument it expects.
    unsafe {
        let ip_of = transmute::<*const c_void, unsafe extern "C" fn(*mut c_void) -> usize>(ip_of);
        let mut found = Found { frames, max, count: 0, ip_of };
        let backtrace = transmute::<*const c_void, unsafe extern "C" fn(Trace, *mut c_void) -> c_int>(backtrace);
        backtrace(trace, (&raw mut found).cast());
        found.count
    }
}

/// The unwinder, if the program's runtime has one.
pub(crate) fn by_default() -> Option<RawUnwinder> {
    if weak_backtrace().is_null() || weak_ip().is_null() { None } else { Some(unwind) }
}

/// Before `main`: samples that were taken earlier have the call stacks that frame pointers tell.
extern "C" fn set_up() {
    // SAFETY: a function of ours, which may be called at any time.
    unsafe { profile::set_raw_unwinder(by_default(), null_mut()) };
}

#[used]
#[unsafe(link_section = ".init_array")]
static SET_UP: extern "C" fn() = set_up;
