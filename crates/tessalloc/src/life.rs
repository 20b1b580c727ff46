//! Whose a record is: the word by which one thread hands it to the next.
//!
//! | from \ to | UNUSED | LIVE | ENDING |
//! |-----------|--------|------|--------|
//! | UNUSED    |        | who takes the record, under the lock of records | |
//! | LIVE      | a heap's record comes to rest | | the thread's last act inside its gate; in a forked child |
//! | ENDING    | the thread, outside its gate | | |
//!
//! - L1 Who finds a record unused under the lock finds it as its last thread left it, and it belongs to nobody else.
//! - L3 Who finds a record live finds it set up. It may have ended meanwhile: who is then inside its gate looks again.

use crate::sync::{AtomicU32, Ordering};

const UNUSED: u32 = 0;
const LIVE: u32 = 1;
/// The thread has given up all that the record held, and leaves its gate; or it is gone, in a forked child.
const ENDING: u32 = 2;

/// See the module.
pub(crate) struct Life(AtomicU32);

impl Life {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(UNUSED))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(UNUSED))
    }

    /// The record is set up, for its next thread.
    pub(crate) fn begin(&self) {
        // ORDER: Release pairs with the Acquire in `is_live` (L3).
        self.0.store(LIVE, Ordering::Release);
    }

    pub(crate) fn is_live(&self) -> bool {
        // ORDER: Acquire pairs with the Release in `begin` (L3).
        self.0.load(Ordering::Acquire) == LIVE
    }

    /// The record holds nothing any more, but its thread is inside its gate still.
    pub(crate) fn wind_up(&self) {
        // ORDER: Relaxed: who claims the gate sees it by the Release in `leave`, and finds nothing to trim.
        self.0.store(ENDING, Ordering::Relaxed);
    }

    /// The record is for the next thread.
    pub(crate) fn end(&self) {
        // ORDER: Release pairs with the Acquire in `is_unused` (L1).
        self.0.store(UNUSED, Ordering::Release);
    }

    /// Whether the record is for the taking. Asked under the lock of records.
    pub(crate) fn is_unused(&self) -> bool {
        // ORDER: Acquire pairs with the Release in `end` (L1).
        self.0.load(Ordering::Acquire) == UNUSED
    }
}
