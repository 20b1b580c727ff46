//! The inbox of a thread: pages on which other threads left blocks. Any thread pushes, the owner takes all.
//!
//! I1 A page is in at most one inbox, and its link is the inbox's while it is (R2 in [`crate::remote`]).
//! I2 Once closed, nothing is pushed until it opens for the next thread: a push that finds it closed keeps its page.

use crate::sync::{AtomicPtr, Ordering};

/// What can lie in an [`Inbox`].
pub(crate) trait Linked: Sized {
    /// The link, the inbox's while the node lies in one.
    fn link(&self) -> &AtomicPtr<Self>;
}

/// A list that many push to and one takes whole.
pub(crate) struct Inbox<T> {
    head: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { head: AtomicPtr::new(core::ptr::null_mut()) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// The address that stands for "closed": no node has it, since nodes are aligned.
    fn closed() -> *mut T {
        core::ptr::without_provenance_mut(1)
    }

    /// Whether there may be something to take.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        // ORDER: Relaxed: a hint; `take` reads with Acquire.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Puts a node in. False if the inbox is closed: the node stays the caller's.
    ///
    /// # Safety
    /// - `node` points to a live node that lies in no inbox, and whose link nobody else touches (I1).
    pub(crate) unsafe fn push(&self, node: *mut T) -> bool {
        // ORDER: Acquire: who finds it closed goes on with what the closer wrote before (pairs with AcqRel in `close`).
        let mut head = self.head.load(Ordering::Acquire);
        // Bound: repeated only when another push or take succeeded in between.
        loop {
            if head == Self::closed() {
                return false;
            }
            // SAFETY: the caller's duty: the node is alive and its link is ours (I1).
            // ORDER: Relaxed: published by the exchange below.
            unsafe { (*node).link().store(head, Ordering::Relaxed) };
            // ORDER: Release publishes the link to the Acquire in `take`.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all nodes; null if there are none. Only the owner, or who claimed its gate. The links lead on; read a node's link
    /// before letting the node go.
    pub(crate) fn take(&self) -> *mut T {
        if self.is_empty() {
            return core::ptr::null_mut();
        }
        // ORDER: Acquire pairs with the Release in `push`: the links are visible.
        let taken = self.head.swap(core::ptr::null_mut(), Ordering::Acquire);
        debug_assert!(taken != Self::closed(), "a closed inbox has no owner who could take");
        taken
    }

    /// Takes all nodes and accepts no more.
    pub(crate) fn close(&self) -> *mut T {
        // ORDER: Acquire as in `take`; Release hands what the owner wrote to pushers that find it closed.
        let taken = self.head.swap(Self::closed(), Ordering::AcqRel);
        if taken == Self::closed() { core::ptr::null_mut() } else { taken }
    }

    /// Accepts nodes again, for the next thread.
    pub(crate) fn open(&self) {
        // ORDER: Relaxed: a late push that still sees it closed keeps its page, which is right as well.
        self.head.store(core::ptr::null_mut(), Ordering::Relaxed);
    }
}

/// The node after this one; null at the end.
///
/// # Safety
/// - `node` was taken from an inbox by the caller and not let go.
pub(crate) unsafe fn next_of<T: Linked>(node: *mut T) -> *mut T {
    // SAFETY: the caller's duty.
    // ORDER: Relaxed: the Acquire of `take` made all links visible.
    unsafe { (*node).link().load(Ordering::Relaxed) }
}
