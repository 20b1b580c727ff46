//! How many things of a row are set up: who finds one counted finds it whole.
//!
//! - D1 Things below the count were set up before it rose. One thread at a time raises it, under a lock.

use crate::sync::{AtomicU32, Ordering};

/// See the module.
#[repr(transparent)]
pub(crate) struct Grown(AtomicU32);

impl Grown {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The things that may be looked at.
    pub(crate) fn now(&self) -> u32 {
        // ORDER: Acquire pairs with the Release in `grow` (D1).
        self.0.load(Ordering::Acquire)
    }

    /// The same for who holds the lock.
    pub(crate) fn under_lock(&self) -> u32 {
        // ORDER: Relaxed: written under the lock only.
        self.0.load(Ordering::Relaxed)
    }

    /// The things below `end` are set up. The caller holds the lock.
    pub(crate) fn grow(&self, end: u32) {
        // ORDER: Release pairs with the Acquire in `now` (D1).
        self.0.store(end, Ordering::Release);
    }

    /// None of them is there any more: nobody looks at one. The caller holds the lock.
    #[cfg(not(loom))]
    pub(crate) fn end(&self) {
        // ORDER: Relaxed: nothing is handed over.
        self.0.store(0, Ordering::Relaxed);
    }
}
