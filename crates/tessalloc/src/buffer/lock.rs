//! The lock of a buffer. Free, it costs no system call; contended, it waits in the kernel where there is one.
//!
//! `sync::Lock` is not used: that one takes part in forks, which hold all locks of the core, and a buffer's is none of them.

use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const CONTENDED: u32 = 2;

/// Looks at a taken lock before it is waited for: as long as a call of the buffer lasts.
const LOOKS: u32 = 100;

/// Excludes threads from one another. Not re-entrant.
pub(super) struct Lock(AtomicU32);

/// Holds a [`Lock`] until dropped.
pub(super) struct Guard<'a>(&'a Lock);

impl Lock {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Waits for the lock and takes it.
    pub(super) fn lock(&self) -> Guard<'_> {
        // ORDER: Acquire pairs with the Release in `drop`: the next holder sees what the last one wrote.
        if self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        Guard(self)
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..LOOKS {
            // ORDER: Relaxed: the exchange below decides.
            if self.0.load(Ordering::Relaxed) == FREE
                // ORDER: Acquire as in `lock`.
                && self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            core::hint::spin_loop();
        }
        // ORDER: Acquire as in `lock`. Bound: each turn sleeps until a holder leaves.
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            crate::sync::wait(&self.0, CONTENDED, 0);
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // ORDER: Release pairs with the Acquire in `lock`.
        if self.0.0.swap(FREE, Ordering::Release) == CONTENDED {
            crate::sync::wake(&self.0.0, 1);
        }
    }
}
