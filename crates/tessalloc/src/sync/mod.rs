//! The one door to atomics, cells, thread locals, locks, wait and wake. Under `cfg(loom)` the model checker's twins stand here,
//! and what the protocols ([`crate::remote`], [`crate::gate`], [`crate::inbox`]) do is explored in every order. Under `cfg(shuttle)`
//! the whole allocator runs in long random schedules: its atomics are points at which another thread may go on.

#[cfg(not(loom))]
mod real {
    #[cfg(not(shuttle))]
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    #[cfg(shuttle)]
    pub(crate) mod scheduled;
    #[cfg(shuttle)]
    pub(crate) use scheduled::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    mod lock;
    pub(crate) mod tls;
    pub(crate) use lock::{Guard, Lock, hold_all, hold_all_no_more};

    /// The light half of an asymmetric barrier: orders this thread's store before its next load, as far as [`barrier_heavy`]
    /// by another thread is concerned. Costs nothing.
    #[inline(always)]
    pub(crate) fn barrier_light() {
        // ORDER: SeqCst for the compiler alone; `barrier_heavy` of the other thread makes the processor follow.
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    }

    /// The heavy half: every other thread passes a full barrier. False where the system has none: then nothing may be concluded.
    pub(crate) fn barrier_heavy() -> bool {
        crate::os::barrier_all_threads()
    }

    pub(crate) use crate::os::{wait, wake};

    /// Has the processor bring a line of memory near, if it can. Touches nothing.
    #[inline(always)]
    pub(crate) fn prefetch(at: *const u8) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a hint, of any address.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = at;
    }
}

#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// loom knows no asymmetric barrier: both halves are full fences.
    pub(crate) fn barrier_light() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(crate) fn barrier_heavy() -> bool {
        loom::sync::atomic::fence(Ordering::SeqCst);
        true
    }

    std::thread_local! {
        /// Whether [`wait`] sleeps until a wake, so that a lost one is found. Else it returns at once, as the system's may: then the
        /// sleep orders nothing that the word itself does not. All threads of a model share it: they run on the test's own.
        pub(crate) static SLEEPS: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
    }

    loom::lazy_static! {
        static ref SLEEPERS: (loom::sync::Mutex<()>, loom::sync::Condvar) = (loom::sync::Mutex::new(()), loom::sync::Condvar::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout_ms: u64) {
        if !SLEEPS.get() {
            return loom::thread::yield_now();
        }
        let guard = SLEEPERS.0.lock().unwrap();
        // ORDER: Relaxed: under the lock that a waker passes after it changed the word.
        if word.load(Ordering::Relaxed) == expected {
            drop(SLEEPERS.1.wait(guard).unwrap());
        }
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: u32) {
        if SLEEPS.get() {
            drop(SLEEPERS.0.lock().unwrap());
            SLEEPERS.1.notify_all();
        }
    }
}

#[cfg(loom)]
pub(crate) use model::*;
