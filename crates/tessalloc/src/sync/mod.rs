//! The one door to atomics, cells, thread locals, locks, wait and wake. Under `cfg(loom)` the model checker's twins stand here,
//! and what the protocols ([`crate::remote`], [`crate::gate`], [`crate::inbox`]) do is explored in every order. Under `cfg(shuttle)`
//! the whole allocator runs in long random schedules: its atomics are points at which another thread may go on.

mod lock;
pub(crate) use lock::Lock;
#[cfg(not(loom))]
pub(crate) use lock::{Guard, hold_all, hold_all_no_more, holds_all};

#[cfg(not(loom))]
mod real {
    #[cfg(not(shuttle))]
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    #[cfg(shuttle)]
    pub(crate) mod scheduled;
    #[cfg(shuttle)]
    pub(crate) use scheduled::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    #[cfg(not(shuttle))]
    pub(crate) use core::sync::atomic::fence;
    #[cfg(shuttle)]
    pub(crate) use scheduled::fence;

    pub(crate) mod tls;
    pub(crate) use crate::fork::notice_raw_fork;
    pub(crate) use crate::os::thread_id;

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

    /// Lets some time pass.
    pub(crate) fn pause(ms: u64) {
        /// Never changes: only waited on with a timeout.
        static CLOCK: AtomicU32 = AtomicU32::new(0);
        wait(&CLOCK, 0, ms);
    }

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
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

    /// No thread of a model forks.
    pub(crate) fn thread_id() -> usize {
        0
    }

    /// As above.
    pub(crate) fn notice_raw_fork() {}

    /// loom takes SeqCst of anything but a fence for AcqRel: here fences stand beside it, as compilers put them.
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        fn between_fences<T>(order: Ordering, act: impl FnOnce() -> T) -> T {
            let fence_if = || {
                if order == Ordering::SeqCst {
                    fence(Ordering::SeqCst);
                }
            };
            fence_if();
            let result = act();
            fence_if();
            result
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            Self::between_fences(order, || self.0.load(order))
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
        }

        pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
            Self::between_fences(order, || self.0.swap(value, order))
        }

        pub(crate) fn compare_exchange(&self, old: u64, new: u64, set: Ordering, get: Ordering) -> Result<u64, u64> {
            self.0.compare_exchange(old, new, set, get)
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            old: u64,
            new: u64,
            set: Ordering,
            get: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange_weak(old, new, set, get)
        }

        pub(crate) fn fetch_update(
            &self,
            set: Ordering,
            get: Ordering,
            next: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            self.0.fetch_update(set, get, next)
        }

        pub(crate) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
            Self::between_fences(order, || self.0.fetch_and(bits, order))
        }

        pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
            Self::between_fences(order, || self.0.fetch_or(bits, order))
        }

        pub(crate) fn fetch_add(&self, by: u64, order: Ordering) -> u64 {
            self.0.fetch_add(by, order)
        }

        pub(crate) fn fetch_min(&self, with: u64, order: Ordering) -> u64 {
            Self::between_fences(order, || self.0.fetch_min(with, order))
        }

        pub(crate) fn fetch_max(&self, with: u64, order: Ordering) -> u64 {
            self.0.fetch_max(with, order)
        }
    }

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

    pub(crate) fn pause(_ms: u64) {
        loom::thread::yield_now();
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
