//! The words of a chunk, a bit for each of its 64 slices, and the run that reaches into it.
//!
//! | word        | a one means                                           | written by                    |
//! |-------------|-------------------------------------------------------|-------------------------------|
//! | `taken`     | the slice is part of a run, being purged, or not there | any: CAS to take, AND to give |
//! | `starts`    | a run begins here                                      | who holds the run             |
//! | `dirty`     | may be resident; a zero reads as zeroes                | who holds the slice           |
//! | `committed` | usable (only where commit goes by slice)               | who holds the slice           |
//!
//! - S1 A slice whose `taken` bit a thread has set is that thread's to touch, with its bits in the other words. They are changed by
//!   read-modify-writes, since their neighbours are others', and need no ordering of their own: `taken` hands them on (K1).
//! - S8 `head` is that of a run that goes on in the first slice from an earlier chunk, and belongs to who holds that slice. It lies
//!   here, not in the slice's descriptor: a run of many chunks, of which little may ever be touched, writes 64 bytes for each.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::taken::Taken;

/// See the module. All zero, as memory is at first: all slices are free, and were never used.
#[repr(C, align(64))]
pub(crate) struct Chunk {
    pub(crate) taken: Taken,
    pub(crate) starts: AtomicU64,
    dirty: AtomicU64,
    committed: AtomicU64,
    /// The run's first slice plus one; 0: the first slice is free, or a run's own first one (S8).
    head: AtomicU32,
    /// Clock of the last give, in ticks of the purge.
    given_at: AtomicU32,
}

impl Chunk {
    /// Where `starts` lies, for readers outside of the process.
    #[cfg(not(loom))]
    pub(crate) const STARTS_AT: usize = core::mem::offset_of!(Chunk, starts);

    #[cfg(loom)]
    pub(crate) fn new(taken: u64) -> Self {
        let (zero, none) = (|| AtomicU64::new(0), || AtomicU32::new(0));
        Self {
            taken: Taken::new(taken),
            starts: zero(),
            dirty: zero(),
            committed: zero(),
            head: none(),
            given_at: none(),
        }
    }

    /// Where runs begin, as it is at some moment.
    pub(crate) fn starts(&self, order: Ordering) -> u64 {
        self.starts.load(order)
    }

    /// A run begins at a slice that the caller holds.
    pub(crate) fn begin_run(&self, at: u32) {
        // ORDER: Relaxed: S1; readers hold a block of the run.
        self.starts.fetch_or(1 << at, Ordering::Relaxed);
    }

    /// The run that begins at a slice of the region goes on in the chunk's first slice, which the caller holds.
    pub(crate) fn go_on(&self, head: usize) {
        // ORDER: Relaxed: S8; readers hold a block of the run.
        self.head.store(head as u32 + 1, Ordering::Relaxed);
    }

    /// The first slice of the run that goes on here from an earlier chunk.
    pub(crate) fn head(&self) -> Option<usize> {
        // ORDER: Relaxed: S8: who asks holds a block of the run, or its first slice here.
        Some(self.head.load(Ordering::Relaxed).checked_sub(1)? as usize)
    }

    /// No run begins, nor goes on, in these slices of the caller's any more.
    pub(crate) fn end_runs(&self, bits: u64, tick: u32) {
        // ORDER: Relaxed: S1, S8; published by the Release in `give`.
        self.starts.fetch_and(!bits, Ordering::Relaxed);
        if bits & 1 == 1 {
            self.head.store(0, Ordering::Relaxed);
        }
        self.given_at.store(tick, Ordering::Relaxed);
    }

    /// Slices that may be resident: for those of the caller's, or as a hint.
    pub(crate) fn dirty(&self) -> u64 {
        // ORDER: Relaxed: S1.
        self.dirty.load(Ordering::Relaxed)
    }

    /// Slices of the caller's may be written from now on; those that were so before.
    pub(crate) fn touch(&self, bits: u64) -> u64 {
        // ORDER: Relaxed: S1.
        self.dirty.fetch_or(bits, Ordering::Relaxed) & bits
    }

    /// Slices of the caller's read zero; those that may have not before.
    pub(crate) fn forget(&self, bits: u64) -> u64 {
        // ORDER: Relaxed: S1.
        self.dirty.fetch_and(!bits, Ordering::Relaxed) & bits
    }

    /// Slices that are usable, for those of the caller's.
    pub(crate) fn committed(&self) -> u64 {
        // ORDER: Relaxed: S1.
        self.committed.load(Ordering::Relaxed)
    }

    /// Slices of the caller's are usable.
    pub(crate) fn commit(&self, bits: u64) {
        // ORDER: Relaxed: S1.
        self.committed.fetch_or(bits, Ordering::Relaxed);
    }

    /// Slices of the caller's are usable no more.
    pub(crate) fn decommit(&self, bits: u64) {
        // ORDER: Relaxed: S1.
        self.committed.fetch_and(!bits, Ordering::Relaxed);
    }

    /// A chunk all of which is the caller's begins anew.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self, dirty: u64, committed: u64, tick: u32) {
        // ORDER: Relaxed: S1.
        self.dirty.store(dirty, Ordering::Relaxed);
        self.committed.store(committed, Ordering::Relaxed);
        self.given_at.store(tick, Ordering::Relaxed);
    }

    /// When slices were last given back, in ticks.
    #[cfg(not(loom))]
    pub(crate) fn given_at(&self) -> u32 {
        // ORDER: Relaxed: a hint.
        self.given_at.load(Ordering::Relaxed)
    }

    /// What was given just now does not count.
    #[cfg(not(loom))]
    pub(crate) fn set_given_at(&self, tick: u32) {
        // ORDER: Relaxed: a hint.
        self.given_at.store(tick, Ordering::Relaxed);
    }
}
