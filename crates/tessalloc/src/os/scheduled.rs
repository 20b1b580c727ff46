//! What the system knows of threads, for threads that shuttle schedules: they take turns on one thread of the system.
//!
//! Time goes on by being asked for, so that a schedule runs the same each time.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::Mutex;
use std::vec::Vec;

use shuttle::thread;

/// Schedules call the handlers themselves.
pub(crate) use super::no_fork::at_fork;

/// Threads that sleep at a word.
static SLEEPERS: Mutex<Vec<(usize, thread::Thread)>> = Mutex::new(Vec::new());
static HOOK: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static NOW_US: AtomicU64 = AtomicU64::new(0);

shuttle::thread_local! {
    static ARMED: Cell<*mut c_void> = Cell::new(null_mut());
}

/// Forgets what an earlier schedule left asleep.
pub(crate) fn begin() {
    SLEEPERS.lock().unwrap().clear();
}

/// Whether a thread of a schedule runs.
fn is_scheduled() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// The number of the thread in its schedule.
pub(crate) fn thread_id() -> usize {
    shuttle::current::try_get_current_task().map_or(usize::MAX, |task| usize::from(task) + 1)
}

/// Sleeps until a wake; a wait that ends by itself is a turn of the others. A lost wake is a deadlock, which shuttle reports.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
    // ORDER: Relaxed, as everywhere here: one thread of the system.
    if !is_scheduled() || word.load(Ordering::Relaxed) != expected {
        return;
    }
    if timeout_ms > 0 {
        NOW_US.fetch_add(timeout_ms * 1000, Ordering::Relaxed);
        return thread::yield_now();
    }
    let own = thread::current();
    let id = own.id();
    SLEEPERS.lock().unwrap().push((core::ptr::from_ref(word).addr(), own));
    thread::park();
    // It may have come back by itself: nobody wakes it in the place of another any more.
    SLEEPERS.lock().unwrap().retain(|(_, sleeper)| sleeper.id() != id);
}

/// Wakes threads that sleep at the word.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let at = core::ptr::from_ref(word).addr();
    for _ in 0..count {
        let mut sleepers = SLEEPERS.lock().unwrap();
        let Some(index) = sleepers.iter().position(|(address, _)| *address == at) else { return };
        let (_, thread) = sleepers.remove(index);
        drop(sleepers);
        thread.unpark();
    }
}

/// A millisecond later than at the last call.
pub(crate) fn now_us() -> u64 {
    // ORDER: Relaxed: as above.
    NOW_US.fetch_add(1000, Ordering::Relaxed)
}

/// The same number each time.
pub(crate) fn random() -> u64 {
    0
}

pub(crate) fn exit_hook_create(hook: unsafe extern "C" fn(*mut c_void)) -> bool {
    // ORDER: Relaxed: as above.
    HOOK.store(hook as *mut c_void, Ordering::Relaxed);
    true
}

pub(crate) fn exit_hook_arm(value: *mut c_void) -> bool {
    ARMED.with(|armed| armed.set(value));
    true
}

/// What the system does as a thread ends: shuttle's threads call it as their last act.
pub(crate) fn end_thread() {
    const ROUNDS_MAX: u32 = 4;
    // Bound: as the system's rounds.
    for _ in 0..ROUNDS_MAX {
        let value = ARMED.with(|armed| armed.replace(null_mut()));
        // ORDER: Relaxed: as above.
        let hook = HOOK.load(Ordering::Relaxed);
        if value.is_null() || hook.is_null() {
            return;
        }
        // SAFETY: `exit_hook_create` stored a function of this type.
        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(hook)(value) };
    }
}

/// There is no background thread: schedules have threads that do what it does.
pub(crate) fn spawn(_run: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    false
}
