//! A list of held pages that wait for an adopter: any thread pushes, any thread pops.
//!
//! The head packs a page's number plus one with a tag that every push and pop changes, so that a head that came back is not
//! taken for one that stayed. Links are never unmapped: a reader with an old head reads a stale number and its exchange fails.
//!
//! | bits   | field |
//! |--------|-------|
//! | 0..32  | page number + 1; 0: empty |
//! | 32..64 | tag |
//!
//! W1 A page is in at most one such list, and only while its remote word is Held (R4 in [`crate::remote`]).

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Where the links of pages are, by page number.
pub(crate) trait Numbered {
    /// The link of a page: the next page's number plus one.
    fn link(&self, number: u32) -> &AtomicU32;
}

/// A last-in-first-out list of pages.
pub(crate) struct WaitingList {
    head: AtomicU64,
}

impl WaitingList {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    fn pack(number_plus_one: u32, tag: u64) -> u64 {
        u64::from(number_plus_one) | (tag >> 32).wrapping_add(1) << 32
    }

    /// Whether there may be a page.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDER: Relaxed: a hint; `pop` reads with Acquire.
        self.head.load(Ordering::Relaxed) as u32 == 0
    }

    /// Adds a page that the caller holds; from here the list holds it.
    pub(crate) fn push(&self, number: u32, links: &impl Numbered) {
        // ORDER: Relaxed: the exchange below decides.
        let mut head = self.head.load(Ordering::Relaxed);
        // Bound: repeated only when another push or pop succeeded in between.
        loop {
            // ORDER: Relaxed: published by the exchange below.
            links.link(number).store(head as u32, Ordering::Relaxed);
            // ORDER: Release publishes the link and the page's plain fields to the Acquire in `pop` (R4).
            match self.head.compare_exchange_weak(
                head,
                Self::pack(number + 1, head),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes a page out; from here the caller holds it.
    pub(crate) fn pop(&self, links: &impl Numbered) -> Option<u32> {
        // ORDER: Acquire pairs with the Release in `push`: link and fields of the page are visible.
        let mut head = self.head.load(Ordering::Acquire);
        // Bound: repeated only when another push or pop succeeded in between.
        loop {
            let number = (head as u32).checked_sub(1)?;
            // ORDER: Relaxed: a stale link makes the exchange fail by the tag.
            let next = links.link(number).load(Ordering::Relaxed);
            // ORDER: Relaxed: the tag says that it is the head that was read with Acquire, and a page's Release in `push` reaches
            // past exchanges like this one to the next reader. Acquire as above for the next turn.
            match self.head.compare_exchange_weak(head, Self::pack(next, head), Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
    }
}
