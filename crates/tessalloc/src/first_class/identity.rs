//! Ids of heaps, for who asks about a block: the place of a heap that has gone serves the next one.
//!
//! - F1 An id is never used twice in a process; 0 is no heap's.
//! - F7 Who asks about a block of a heap is told that heap's id, or that it is none's if the heap has gone: never the id of the heap
//!   that is in its place now.

use crate::sync::{AtomicU64, Ordering};

/// The id of the heap in a place.
pub(crate) struct Id(AtomicU64);

impl Id {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// For who has the heap, or compares it only.
    #[cfg(not(loom))]
    pub(crate) fn get(&self) -> u64 {
        // ORDER: Relaxed: set before the caller learned of the heap.
        self.0.load(Ordering::Relaxed)
    }

    /// A heap begins in the place. All pages of the one before are the default heap's.
    pub(crate) fn begin(&self, id: u64) {
        // ORDER: Release pairs with the Acquire in `id_of` (F7).
        self.0.store(id, Ordering::Release);
    }

    /// The heap has gone.
    #[cfg(not(loom))]
    pub(crate) fn end(&self) {
        // ORDER: Relaxed: ids are compared with those of handles only (F1).
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The id of the heap that `look` says a page is of; 0: the default heap.
pub(crate) fn id_of<'a, T>(look: impl Fn() -> *mut T, id_at: impl Fn(*mut T) -> &'a Id) -> u64 {
    let heap = look();
    if heap.is_null() {
        return 0;
    }
    // ORDER: Acquire pairs with the Release in `begin`: if this is the id of a heap that was made in the place since, the page is
    // seen below as what it became before (F7).
    let id = id_at(heap).0.load(Ordering::Acquire);
    if look() == heap { id } else { 0 }
}
