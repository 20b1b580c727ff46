//! An option's value with who gave it, in one word.
//!
//! - O1 A value is only replaced by one of the same source or of a stronger one.

use crate::sync::{AtomicU64, Ordering};

/// Bits of a word that hold the source, the stronger the greater.
pub(crate) const SOURCE_BITS: u32 = 2;

/// See the module.
pub(crate) struct Word(AtomicU64);

impl Word {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: u64, source: u32) -> Self {
        Self(AtomicU64::new(value << SOURCE_BITS | source as u64))
    }

    #[cfg(loom)]
    pub(crate) fn new(value: u64, source: u32) -> Self {
        Self(AtomicU64::new(value << SOURCE_BITS | u64::from(source)))
    }

    /// The value in force, and who gave it.
    pub(crate) fn get(&self) -> (u64, u32) {
        // ORDER: Relaxed: each value stands alone.
        let word = self.0.load(Ordering::Relaxed);
        (word >> SOURCE_BITS, word as u32 % (1 << SOURCE_BITS))
    }

    /// Gives a value, unless what is in force is from a stronger source.
    pub(crate) fn put(&self, value: u64, source: u32) {
        let next = |word: u64| {
            let is_replaced = word as u32 % (1 << SOURCE_BITS) <= source;
            is_replaced.then_some(value << SOURCE_BITS | u64::from(source))
        };
        // ORDER: Relaxed: each value stands alone. A refusal leaves what is stronger (O1).
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}
