//! A lock that waits in the kernel: one word, no allocation, no poisoning.

use core::sync::atomic::AtomicUsize;

use super::{AtomicU32, Ordering};

/// The thread that holds every lock because it forks; 0: none. Its fork handlers that come after ours may allocate: for it, locks
/// that it holds are neither taken again nor given back until the fork is over.
static FORKING_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Says that the calling thread holds every lock.
#[cfg(not(loom))]
pub(crate) fn hold_all() {
    // ORDER: Relaxed: compared by the same thread only.
    FORKING_THREAD.store(super::thread_id(), Ordering::Relaxed);
}

/// Says that the fork is over, in the parent and in the child.
#[cfg(not(loom))]
pub(crate) fn hold_all_no_more() {
    // ORDER: Relaxed: as above.
    FORKING_THREAD.store(0, Ordering::Relaxed);
}

/// Whether the calling thread forks, and so holds every lock.
pub(crate) fn holds_all() -> bool {
    // ORDER: Relaxed: only this thread's own number matters to it.
    let holder = FORKING_THREAD.load(Ordering::Relaxed);
    holder != 0 && holder == super::thread_id()
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const CONTENDED: u32 = 2;

/// Excludes threads from one another. Not re-entrant.
pub(crate) struct Lock(AtomicU32);

/// Holds a [`Lock`] until dropped; `None`: the calling thread forks, and holds it for longer.
pub(crate) struct Guard<'a>(Option<&'a Lock>);

impl Lock {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Waits for the lock and takes it.
    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard(self.acquire().then_some(self))
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_>> {
        // ORDER: Acquire as in `acquire`.
        self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Guard(Some(self)))
    }

    /// Takes the lock without a guard: for fork handlers, which release it elsewhere. False: the calling thread holds it, since it forks.
    pub(crate) fn acquire(&self) -> bool {
        // ORDER: Acquire pairs with the Release in `release`: the next holder sees what the last one wrote.
        if self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            if holds_all() {
                return false;
            }
            // The holder may be a thread that a forked child has not.
            super::notice_raw_fork();
            // ORDER: Acquire as above. Bound: each turn sleeps until a holder leaves.
            while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
                super::wait(&self.0, CONTENDED, 0);
            }
        }
        true
    }

    /// Takes the lock of something new for the rest of a fork, if the calling thread forks.
    #[cfg(not(loom))]
    pub(crate) fn join_fork(&self) {
        if holds_all() {
            self.acquire();
        }
    }

    /// Gives back what [`Lock::acquire`] took.
    pub(crate) fn release(&self) {
        // ORDER: Release pairs with the Acquire in `acquire`.
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            super::wake(&self.0, 1);
        }
    }

    /// In a forked child, where the holder may not exist any more.
    #[cfg(not(loom))]
    pub(crate) fn reset_in_child(&self) {
        // ORDER: Relaxed: the child has one thread.
        self.0.store(FREE, Ordering::Relaxed);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(lock) = self.0 {
            lock.release();
        }
    }
}
