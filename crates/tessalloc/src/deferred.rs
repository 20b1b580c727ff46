//! The function that a program has called now and then from the slow path, for frees that it put off.
//!
//! D1 It runs outside of all gates and locks, on a thread that allocates, and never inside of itself: `runs` of the thread's record
//!    is true meanwhile.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

use crate::report::Hook;
use crate::thread;

/// What C registers.
pub type RawDeferredFree = unsafe extern "C" fn(force: c_int, heartbeat: u64, argument: *mut c_void);

static HOOK: Hook = Hook::new();

/// A thread calls the function at each so many slow paths.
const EVERY: u32 = 8;

/// Of a thread's own record, touched by the thread alone.
pub(crate) struct Beats {
    slow: u32,
    runs: bool,
    count: u64,
}

impl Beats {
    pub(crate) const fn new() -> Self {
        Self { slow: 0, runs: false, count: 0 }
    }
}

/// Has a function called from the slow path of allocations, for frees that the program put off: reference counts to take down, queues
/// to empty. `None`: none.
///
/// It is called on the thread that allocates, before its request is served: at every eighth time that the thread has no block ready, of
/// the heap and size that it wants, so at most once for each 64 KiB of small blocks or so and for every eighth large one. `heartbeat`
/// counts the calls on that thread, from 1 on. `force` says that memory is out: all that can be freed should be, before the request is
/// tried once more. It may allocate and free; it is not called inside of itself, nor by threads at their end. It must not panic.
/// From any thread; another one may be in the last function still. Cost while there is one: some ns for each slow path.
///
/// ```
/// tessalloc::set_deferred_free(Some(|force, heartbeat| {
///     let at_once = if force { usize::MAX } else { 100 };
///     let _ = (at_once, heartbeat); // free so many of those that wait
/// }));
/// # tessalloc::set_deferred_free(None);
/// ```
pub fn set_deferred_free(free: Option<fn(force: bool, heartbeat: u64)>) {
    unsafe extern "C" fn relay(force: c_int, heartbeat: u64, free: *mut c_void) {
        // SAFETY: the argument is the function below.
        let free = unsafe { core::mem::transmute::<*mut c_void, fn(bool, u64)>(free) };
        free(force != 0, heartbeat);
    }
    let relayed = free.map(|_| relay as RawDeferredFree);
    // SAFETY: the relay may be called with this function at any time.
    unsafe { set_raw_deferred_free(relayed, free.map_or(null_mut(), |free| free as *mut c_void)) };
}

/// [`set_deferred_free`] for C.
///
/// # Safety
/// - `free` may be called with `argument` from any thread, at any time from now on, also after another one was set.
pub unsafe fn set_raw_deferred_free(free: Option<RawDeferredFree>, argument: *mut c_void) {
    HOOK.set(free.map_or(null_mut(), |free| free as *mut c_void), argument);
}

/// A slow path, outside of all gates and locks; `force`: memory is out.
#[inline]
pub(crate) fn beat(force: bool) {
    if HOOK.is_set() {
        beat_slow(force);
    }
}

#[cold]
#[inline(never)]
fn beat_slow(force: bool) {
    let Some(record) = thread::current_if_started() else { return };
    // SAFETY: the calling thread's record, of which nobody else touches this field; no reference to it lasts over the call (D1).
    unsafe {
        let beats = &raw mut (*record).beats;
        (*beats).slow = (*beats).slow.wrapping_add(1);
        if (*beats).runs || !force && !(*beats).slow.is_multiple_of(EVERY) {
            return;
        }
        let Some((free, argument)) = HOOK.get() else { return };
        (*beats).runs = true;
        (*beats).count += 1;
        // SAFETY: `set_raw_deferred_free` stored a function of this type, and its caller vouched for the call.
        core::mem::transmute::<*mut c_void, RawDeferredFree>(free)(c_int::from(force), (*beats).count, argument);
        (*beats).runs = false;
    }
}
