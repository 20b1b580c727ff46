//! Where a region lies in the address space, as those see it who look an address up without a lock.
//!
//! | field         | unit   | written by                         | read by |
//! |---------------|--------|------------------------------------|---------|
//! | `first_slice` | slices | [`Place::begin`]                   | any     |
//! | `reach`       | slices | [`Place::end`], [`Place::grow`]    | any     |
//! | `epoch`       | –      | [`Place::begin`]                   | any     |
//!
//! A region that is an arena ends, and another one begins in its place. All writers hold one lock.
//!
//! Invariants:
//! - G1 `reach` is 0 from [`Place::end`] to the first [`Place::grow`] of the next life.
//! - G2 `epoch` counts lives: who finds it the same before and after its look has seen one life, or one with no reach (G1).
//! - G3 Who holds a block knows of its life, and the life goes on: it finds the block's slice in this place and in no other.
//! - G4 Every slice that can be taken is within reach.

use crate::grown::Grown;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// See the module.
#[repr(C)]
pub(crate) struct Place {
    /// Slices between address 0 and the base.
    first_slice: AtomicUsize,
    /// Slices from the base on that were ever used.
    reach: AtomicUsize,
    epoch: AtomicU32,
}

impl Place {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { first_slice: AtomicUsize::new(0), reach: AtomicUsize::new(0), epoch: AtomicU32::new(0) }
    }

    /// loom's atomics are made at run time.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { first_slice: AtomicUsize::new(0), reach: AtomicUsize::new(0), epoch: AtomicU32::new(0) }
    }

    /// Slices between address 0 and the base.
    #[cfg(not(loom))]
    pub(crate) fn first_slice(&self) -> usize {
        // ORDER: Relaxed: for those who know of this life.
        self.first_slice.load(Ordering::Relaxed)
    }

    /// Slices between the base and a slice counted from address 0; `None` beyond the reach. For a place that has one life.
    #[inline(always)]
    pub(crate) fn find(&self, slice_from_zero: usize) -> Option<usize> {
        // ORDER: Relaxed, both: `reach` is 0 until the region is there. Who holds a block of it got it through an ordering of its
        // own.
        let slice = slice_from_zero.wrapping_sub(self.first_slice.load(Ordering::Relaxed));
        if slice < self.reach.load(Ordering::Relaxed) { Some(slice) } else { None }
    }

    /// As [`Place::find`], for a place that may end and begin anew meanwhile (G3).
    pub(crate) fn find_in_one_life(&self, slice_from_zero: usize) -> Option<usize> {
        // ORDER: Acquire, all three: who reads the reach of another life sees its epoch below (G2).
        let epoch = self.epoch.load(Ordering::Acquire);
        let slice = slice_from_zero.wrapping_sub(self.first_slice.load(Ordering::Acquire));
        let is_inside = slice < self.reach.load(Ordering::Acquire);
        // ORDER: Relaxed: ordered by the Acquires above.
        if is_inside && self.epoch.load(Ordering::Relaxed) == epoch { Some(slice) } else { None }
    }

    /// A new life begins, with nothing within reach.
    pub(crate) fn begin(&self, first_slice: usize) {
        // ORDER: Release, both, pair with the Acquires in `find_in_one_life`: who reads the new slice sees no reach of an earlier life
        // (G1); who reads the new epoch sees the slice.
        self.first_slice.store(first_slice, Ordering::Release);
        // ORDER: Relaxed: one writer at a time.
        let epoch = self.epoch.load(Ordering::Relaxed);
        self.epoch.store(epoch.wrapping_add(1), Ordering::Release);
    }

    /// So many slices are within reach.
    pub(crate) fn grow(&self, reach: usize) {
        // ORDER: Release: who reads it sees this life's epoch. Who reads it with Relaxed holds a block beyond, and got that later.
        self.reach.store(reach, Ordering::Release);
    }

    /// As [`Place::grow`], and the chunks below `end` may be looked at: only then, so that who takes a slice of one finds it here (G4).
    pub(crate) fn open(&self, reach: usize, frontier: &Grown, end: u32) {
        self.grow(reach);
        frontier.grow(end);
    }

    /// The life ends: nobody holds a block.
    pub(crate) fn end(&self) {
        // ORDER: Relaxed: published by the next `begin`; until then who reads what was finds what was.
        self.reach.store(0, Ordering::Relaxed);
    }
}
