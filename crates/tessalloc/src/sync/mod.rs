//! The one door to atomics, cells, thread locals, locks, wait and wake. Under `cfg(loom)` the model checker's twins stand here,
//! and what the protocols ([`crate::remote`], [`crate::gate`], [`crate::inbox`]) do is explored in every order.

#[cfg(not(loom))]
mod real {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    mod lock;
    pub(crate) mod tls;
    pub(crate) use lock::Lock;

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

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout_ms: u64) {
        // ORDER: Relaxed: only decides whether to yield; the caller reads the word again.
        if word.load(Ordering::Relaxed) == expected {
            loom::thread::yield_now();
        }
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}
}

#[cfg(loom)]
pub(crate) use model::*;
