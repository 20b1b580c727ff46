//! A count of one holder that everybody may read.
//!
//! | word    | written by                     | read by | how     |
//! |---------|--------------------------------|---------|---------|
//! | the one | who holds what it is a part of | anybody | Relaxed |

use core::cmp::Ordering as Compared;
use core::ops::{AddAssign, SubAssign};

use crate::sync::{AtomicU32, Ordering};

/// Costs what a plain number costs; who does not hold it may see it a moment late.
#[repr(transparent)]
pub(crate) struct OwnCount(AtomicU32);

impl OwnCount {
    pub(crate) fn get(&self) -> u32 {
        // ORDER: Relaxed: the holder reads its own; others want a recent figure.
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, count: u32) {
        // ORDER: Relaxed: one writer; counts order nothing.
        self.0.store(count, Ordering::Relaxed);
    }
}

impl AddAssign<u32> for OwnCount {
    fn add_assign(&mut self, by: u32) {
        self.set(self.get() + by);
    }
}

impl SubAssign<u32> for OwnCount {
    fn sub_assign(&mut self, by: u32) {
        self.set(self.get() - by);
    }
}

impl PartialEq<u32> for OwnCount {
    fn eq(&self, other: &u32) -> bool {
        self.get() == *other
    }
}

impl PartialOrd<u32> for OwnCount {
    fn partial_cmp(&self, other: &u32) -> Option<Compared> {
        self.get().partial_cmp(other)
    }
}
