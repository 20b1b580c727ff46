//! Counts in single words.
//!
//! - C1 A peak is never below what was reported last.

use crate::sync::{AtomicU64, Ordering};

/// Adds to a count that many write, and says what it is then.
pub(crate) fn add(count: &AtomicU64, by: u64) -> u64 {
    // ORDER: Relaxed: counts order nothing.
    count.fetch_add(by, Ordering::Relaxed).wrapping_add(by)
}

/// A count has reached so much.
pub(crate) fn raise_to(peak: &AtomicU64, now: u64) {
    // ORDER: Relaxed: counts order nothing. Most of the time the peak is read only.
    if now > peak.load(Ordering::Relaxed) {
        peak.fetch_max(now, Ordering::Relaxed);
    }
}

/// Adds to a count that has one writer.
#[inline]
pub(crate) fn bump(count: &AtomicU64, by: u64) {
    // ORDER: Relaxed: one writer; readers want a recent figure.
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
