//! The lock of a buffer where the processor has no compare-and-swap: a flag, for one core.
//!
//! Nothing is lost between the look at the flag and the store: what interrupts there has left every call of its own when it returns.
//! An interrupt handler that calls the buffer out of one of its calls is reported.

use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};

/// Says whether a call is under way.
pub(super) struct Lock(AtomicU32);

/// Holds a [`Lock`] until dropped.
pub(super) struct Guard<'a>(&'a Lock);

impl Lock {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes the lock.
    pub(super) fn lock(&self) -> Guard<'_> {
        // ORDER: Relaxed: whoever else looks at it runs on this core.
        if self.0.load(Ordering::Relaxed) != 0 {
            crate::bare::interrupted();
        }
        self.0.store(1, Ordering::Relaxed);
        // ORDER: Acquire for the compiler alone: what the holder does stays after the store.
        compiler_fence(Ordering::Acquire);
        Guard(self)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // ORDER: Release: what the holder did stays before it.
        self.0.0.store(0, Ordering::Release);
    }
}
