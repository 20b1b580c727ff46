//! Which slices of a chunk are taken: one word, by which slices change hands, and by which the next arena in a place opens.
//!
//! | step                   | by                       | how               |
//! |------------------------|--------------------------|-------------------|
//! | [`Taken::take`], [`Taken::take_exactly`] | any    | CAS, OR: Acquire  |
//! | [`Taken::give`]        | who holds the slices     | AND: Release      |
//! | [`Taken::close`], [`Taken::open`] | who holds all, before anybody may take | OR, AND: Release |
//!
//! - K1 Who set a bit holds the slice until it clears the bit, and sees what the last holder wrote.
//! - K2 While all bits are set nobody takes. Who takes of what was opened sees all that was written before, however long ago it
//!   looked at the chunk.
//! - K3 [`Summary`] has the bit of every chunk with a free slice, as soon as those who took and gave last have noted it.
//! - K4 No chunk below [`EmptyFrom`] is wholly free, as soon as those who gave last have noted it.

use crate::sync::{AtomicU64, Ordering};

/// See the module. All zero, as memory is at first: all slices are free.
#[repr(transparent)]
pub(crate) struct Taken(AtomicU64);

impl Taken {
    #[cfg(loom)]
    pub(crate) fn new(taken: u64) -> Self {
        Self(AtomicU64::new(taken))
    }

    /// The slices that are taken: a hint for who holds none of them.
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    /// Takes the slices that `choose` finds beside what is taken, and returns them with all that are taken then; `None` if it finds
    /// none.
    #[inline]
    pub(crate) fn take(&self, choose: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64)> {
        // ORDER: Relaxed: the exchange decides.
        let mut taken = self.0.load(Ordering::Relaxed);
        // Bound: repeated only when another thread took or gave slices of this chunk in between.
        loop {
            let bits = choose(taken)?;
            // ORDER: Acquire pairs with the Release in `give` and `open` (K1, K2).
            match self.0.compare_exchange_weak(taken, taken | bits, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some((bits, taken | bits)),
                Err(now) => taken = now,
            }
        }
    }

    /// Takes exactly these slices, and returns all that are taken then; `None` if one of them is not free.
    pub(crate) fn take_exactly(&self, bits: u64) -> Option<u64> {
        // ORDER: Acquire as in `take`.
        let before = self.0.fetch_or(bits, Ordering::Acquire);
        if before & bits != 0 {
            // Only bits that this thread set, and under which it wrote nothing.
            self.give(bits & !before);
            return None;
        }
        Some(before | bits)
    }

    /// Gives slices back, and returns what was taken. The caller holds them (K1).
    pub(crate) fn give(&self, bits: u64) -> u64 {
        // ORDER: Release hands what this thread wrote to the next taker; SeqCst for the summary (K3).
        self.0.fetch_and(!bits, Ordering::SeqCst)
    }

    /// Keeps all from being taken. The caller holds all slices that are there, or nobody knows of the chunk yet.
    pub(crate) fn close(&self) {
        // ORDER: Relaxed: nobody could take before, nor can now (K2).
        self.0.fetch_or(u64::MAX, Ordering::Relaxed);
    }

    /// Lets all slices but the absent ones be taken. The caller has closed the word.
    pub(crate) fn open(&self, absent: u64) {
        // ORDER: Release pairs with the Acquires in `take` and `take_exactly` (K2).
        self.0.fetch_and(absent, Ordering::Release);
    }
}

/// Which of 64 chunks have a free slice.
#[repr(transparent)]
pub(crate) struct Summary(AtomicU64);

impl Summary {
    #[cfg(loom)]
    pub(crate) fn new(with_room: u64) -> Self {
        Self(AtomicU64::new(with_room))
    }

    /// The chunks that may have a free slice: a hint.
    pub(crate) fn load(&self) -> u64 {
        // ORDER: Relaxed: a hint; the exchange in `take` decides.
        self.0.load(Ordering::Relaxed)
    }

    /// Whoever took the last slice of a chunk notes it.
    pub(crate) fn note_used_up(&self, bit: u64, taken: &Taken) {
        // ORDER: SeqCst, with the load below and its partners in `Taken::give` and `note_room`: either this thread sees the slices
        // given since, or the giver finds the bit cleared (K3).
        self.0.fetch_and(!bit, Ordering::SeqCst);
        if taken.load(Ordering::SeqCst) != u64::MAX {
            self.note_room(bit);
        }
    }

    /// Whoever gave slices of a chunk notes it.
    pub(crate) fn note_room(&self, bit: u64) {
        // ORDER: SeqCst: see `note_used_up`.
        if self.0.load(Ordering::SeqCst) & bit == 0 {
            self.0.fetch_or(bit, Ordering::SeqCst);
        }
    }
}

/// Where to look for chunks that are wholly free.
#[repr(transparent)]
pub(crate) struct EmptyFrom(AtomicU64);

impl EmptyFrom {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The chunk from which the next look begins.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn now(&self) -> u32 {
        // ORDER: Relaxed: for tests.
        self.0.load(Ordering::Relaxed) as u32
    }

    /// All chunks are to be looked at.
    #[cfg(not(loom))]
    pub(crate) fn begin(&self) {
        // ORDER: Relaxed: a look by who knows of chunks yet comes after.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whoever gave slices of a chunk notes that it is wholly free, if it is.
    pub(crate) fn note_given(&self, chunk: u32, taken: &Taken, absent: u64) {
        // ORDER: SeqCst, with the giving and the partners in `look`: either that sees what was given, or its exchange came
        // before, and this is not lost (K4).
        if taken.load(Ordering::SeqCst) == absent {
            self.0.fetch_min(u64::from(chunk), Ordering::SeqCst);
        }
    }

    /// The first of the chunks below `end` that `is_empty`, which asks by SeqCst; `end` if none is. One thread looks at a time. Cost:
    /// chunks that were looked at are looked at again only behind one that has come free.
    pub(crate) fn look(&self, end: u32, is_empty: impl Fn(u32) -> bool) -> u32 {
        // ORDER: SeqCst: see `note_given`.
        let from = self.0.swap(u64::MAX, Ordering::SeqCst) as u32;
        let first = (from..end).find(|chunk| is_empty(*chunk)).unwrap_or(end);
        // ORDER: Relaxed: whatever was noted since stays if it is lower.
        self.0.fetch_min(u64::from(first), Ordering::Relaxed);
        first
    }
}
