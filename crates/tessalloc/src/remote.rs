//! The remote word: where threads that do not own a page leave its blocks, and who may hold the page.
//!
//! One word holds a whole list (head, tail and length, so that nobody ever walks it) and the page's state:
//!
//! | bits   | field      | unit                       |
//! |--------|------------|----------------------------|
//! | 0..16  | head       | 8 bytes from the page start |
//! | 16..32 | tail       | 8 bytes from the page start |
//! | 32..46 | count      | blocks; 0: head and tail mean nothing |
//! | 46..48 | state      | [`State`]                  |
//! | 48..64 | –          | 0                          |
//!
//! | from \ to | Owned | Posted | Ownerless | Held |
//! |-----------|-------|--------|-----------|------|
//! | Owned     |       | a push, which then puts the page into the owner's inbox | | the owner lets go |
//! | Posted    | the owner, with the page out of its inbox | pushes | | who finds the inbox closed |
//! | Ownerless |       |        | pushes | the push that reaches `claim_at`; a walker, for a look |
//! | Held      | an adopter | | the holder, list short of `claim_at` | pushes |
//!
//! Invariants:
//! - R1 The list holds only blocks that are handed out and were freed by their last user: they belong to the word.
//! - R2 Only Owned → Posted puts a page into an inbox, and only the thread that made this step does so.
//! - R3 In Posted the page's owner neither changes nor ends its tie to the page before it has the page out of its inbox.
//! - R4 In Held exactly one thread, or one list, holds the page and may touch its plain fields.

use crate::sync::{AtomicU64, Ordering};

/// Who may touch a page's plain fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The owner; nothing is on its way to it.
    Owned = 0,
    /// The owner; the page is in its inbox or about to be put there.
    Posted = 1,
    /// Nobody.
    Ownerless = 2,
    /// Who claimed it, or the list it waits in.
    Held = 3,
}

/// Blocks of one page, linked from head to tail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct List {
    pub(crate) head: u16,
    pub(crate) tail: u16,
    pub(crate) count: u16,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: 0, tail: 0, count: 0 };
}

/// What the caller of [`RemoteWord::push`] has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Pushed {
    /// Nothing: somebody else will look.
    Left,
    /// Put the page into its owner's inbox.
    Post,
    /// The page is the caller's: give it back or list it.
    Claimed,
}

/// Writes the link of a block; a model's blocks are cells beside the word.
pub(crate) trait Links {
    /// Makes the block at `from` point to the block at `to`. Both are the caller's.
    fn link(&self, from: u16, to: u16);
}

/// Most blocks that one list can count.
pub(crate) const COUNT_MAX: u32 = (1 << 14) - 1;

#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const fn new(list: List, state: State) -> Self {
        Self(list.head as u64 | (list.tail as u64) << 16 | (list.count as u64) << 32 | (state as u64) << 46)
    }

    const fn list(self) -> List {
        List { head: self.0 as u16, tail: (self.0 >> 16) as u16, count: (self.0 >> 32) as u16 & COUNT_MAX as u16 }
    }

    const fn state(self) -> State {
        match self.0 >> 46 & 3 {
            0 => State::Owned,
            1 => State::Posted,
            2 => State::Ownerless,
            _ => State::Held,
        }
    }
}

/// A page's remote frees and its state, in one atomic word.
pub(crate) struct RemoteWord(AtomicU64);

impl RemoteWord {
    #[cfg(any(test, loom))]
    pub(crate) fn new(state: State) -> Self {
        Self(AtomicU64::new(Word::new(List::EMPTY, state).0))
    }

    /// Starts a page's life. The caller holds the page and nobody else knows of it.
    pub(crate) fn reset(&self, state: State) {
        // ORDER: Relaxed: the page becomes known to others by its blocks, which the program hands over with its own ordering.
        self.0.store(Word::new(List::EMPTY, state).0, Ordering::Relaxed);
    }

    /// The state now; another thread may change it unless the caller's role excludes that.
    pub(crate) fn state(&self) -> State {
        // ORDER: Relaxed: a hint, or the caller's own last word.
        Word(self.0.load(Ordering::Relaxed)).state()
    }

    /// How many blocks wait here now.
    #[cfg(any(test, loom))]
    pub(crate) fn count(&self) -> u32 {
        // ORDER: Relaxed: a hint; who acts on it takes the list with Acquire.
        u32::from(Word(self.0.load(Ordering::Relaxed)).list().count)
    }

    /// Leaves a batch of blocks. `claim_at`: how many make an ownerless page worth claiming; read only in that state.
    pub(crate) fn push(&self, batch: List, links: &impl Links, claim_at: impl Fn() -> u32) -> Pushed {
        // ORDER: Relaxed: the exchange below decides; the mark that goes with it is a guess that `look_again` corrects.
        let mut seen = Word(self.0.load(Ordering::Relaxed));
        // Bound: a turn is repeated only when another thread's push or take succeeded in between.
        loop {
            let waiting = seen.list();
            let mut list = List { count: waiting.count + batch.count, ..batch };
            if waiting.count > 0 {
                links.link(batch.tail, waiting.head);
                list.tail = waiting.tail;
            }
            let (state, next) = match seen.state() {
                State::Owned => (State::Posted, Pushed::Post),
                State::Ownerless if u32::from(list.count) >= claim_at() => (State::Held, Pushed::Claimed),
                state => (state, Pushed::Left),
            };
            // ORDER: Release publishes the links and the blocks' last contents to the Acquire in `take` (R1).
            // Acquire: a claim reads what the last holder wrote before its Release in `leave` (R4), and a post reads the
            // owner that was stored before the word became Owned (R3).
            match self.0.compare_exchange_weak(seen.0, Word::new(list, state).0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if state == State::Ownerless => return self.look_again(list, claim_at),
                Ok(_) => return next,
                Err(now) => seen = Word(now),
            }
        }
    }

    /// After blocks were left in an ownerless page: the mark that `push` read may be an old one. It was read before the exchange,
    /// and the page may have changed hands since while the word came back to what it was.
    #[inline]
    fn look_again(&self, list: List, claim_at: impl Fn() -> u32) -> Pushed {
        if u32::from(list.count) < claim_at() {
            return Pushed::Left;
        }
        let (left, held) = (Word::new(list, State::Ownerless), Word::new(list, State::Held));
        // ORDER: Acquire as in `push`. When it fails, another push came later and looks, or has claimed the page.
        match self.0.compare_exchange(left.0, held.0, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Pushed::Claimed,
            Err(_) => Pushed::Left,
        }
    }

    /// Takes the whole list; the word becomes `then`, empty. For the owner with the page out of its inbox (Posted → Owned), a
    /// holder (Held → Held) and an adopter (Held → Owned).
    pub(crate) fn take(&self, then: State) -> List {
        // ORDER: Acquire pairs with the Release in `push`: the links are visible. Release: an adopter's owner word, stored
        // before, is visible to the push that posts (R3).
        Word(self.0.swap(Word::new(List::EMPTY, then).0, Ordering::AcqRel)).list()
    }

    /// The list that waits here now, and stays: pushes only add in front of it. For a holder, or who is inside the owner's gate.
    pub(crate) fn peek(&self) -> List {
        // ORDER: Acquire pairs with the Release in `push`, and in `leave`: the links, and a claimer's plain fields, are visible.
        Word(self.0.load(Ordering::Acquire)).list()
    }

    /// Holds an ownerless page for a look, which begins with [`RemoteWord::peek`]: Ownerless → Held, with the list where it is. False
    /// if it is not ownerless.
    pub(crate) fn claim(&self) -> bool {
        // ORDER: Relaxed: the exchange below decides.
        let mut seen = Word(self.0.load(Ordering::Relaxed));
        // Bound: repeated only when a push came in between, at most `claim_at` times.
        while seen.state() == State::Ownerless {
            let held = Word::new(seen.list(), State::Held).0;
            // ORDER: Relaxed: the Acquire in `peek` pairs with the Release in `leave`: then the plain fields are visible (R4).
            match self.0.compare_exchange_weak(seen.0, held, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = Word(now),
            }
        }
        false
    }

    /// The owner's first step of letting a page go: Owned → Held. False if a push has posted the page: then it stays owned.
    pub(crate) fn hold(&self) -> bool {
        let owned = Word::new(List::EMPTY, State::Owned).0;
        let held = Word::new(List::EMPTY, State::Held).0;
        // ORDER: Relaxed: nothing is handed over yet; `leave` or the list does that.
        self.0.compare_exchange(owned, held, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The last step: Held → Ownerless with whatever list has come. False, and still held, if `claim_at` blocks are there.
    pub(crate) fn leave(&self, claim_at: u32) -> bool {
        // ORDER: Relaxed: the exchange below decides.
        let mut seen = Word(self.0.load(Ordering::Relaxed));
        // Bound: repeated only when a push came in between, at most `claim_at` times.
        loop {
            if u32::from(seen.list().count) >= claim_at {
                return false;
            }
            let next = Word::new(seen.list(), State::Ownerless).0;
            // ORDER: Release hands the plain fields to the Acquire of the push that claims (R4).
            match self.0.compare_exchange_weak(seen.0, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = Word(now),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use std::vec::Vec;

    struct Recorded(RefCell<Vec<(u16, u16)>>);

    impl Links for Recorded {
        fn link(&self, from: u16, to: u16) {
            self.0.borrow_mut().push((from, to));
        }
    }

    fn batch(head: u16, tail: u16, count: u16) -> List {
        List { head, tail, count }
    }

    #[test]
    fn remote_word_joins_batches_at_the_head() {
        let links = Recorded(RefCell::new(Vec::new()));
        let word = RemoteWord::new(State::Owned);
        assert_eq!(word.push(batch(1, 2, 2), &links, || 9), Pushed::Post);
        assert_eq!(word.push(batch(3, 4, 2), &links, || 9), Pushed::Left);
        assert_eq!(links.0.borrow()[..], [(4, 1)]);
        assert_eq!(word.state(), State::Posted);
        assert_eq!(word.take(State::Owned), batch(3, 2, 4));
        assert_eq!((word.state(), word.count()), (State::Owned, 0));
    }

    #[test]
    fn remote_word_is_claimed_by_the_push_that_reaches_the_mark() {
        let links = Recorded(RefCell::new(Vec::new()));
        let word = RemoteWord::new(State::Owned);
        assert!(word.hold());
        assert!(word.leave(3));
        assert_eq!(word.push(batch(1, 2, 2), &links, || 3), Pushed::Left);
        assert_eq!(word.push(batch(7, 7, 1), &links, || 3), Pushed::Claimed);
        assert_eq!(word.push(batch(9, 9, 1), &links, || 3), Pushed::Left, "held pages are nobody's to claim");
        assert_eq!(word.take(State::Held), batch(9, 2, 4));
    }

    #[test]
    fn remote_word_stays_held_when_enough_came_meanwhile() {
        let links = Recorded(RefCell::new(Vec::new()));
        let word = RemoteWord::new(State::Owned);
        assert!(word.hold());
        assert_eq!(word.push(batch(1, 2, 2), &links, || 2), Pushed::Left);
        assert!(!word.leave(2));
        assert_eq!(word.state(), State::Held);
    }

    #[test]
    fn remote_word_posted_cannot_be_let_go() {
        let links = Recorded(RefCell::new(Vec::new()));
        let word = RemoteWord::new(State::Owned);
        assert_eq!(word.push(batch(0, 0, 1), &links, || 1), Pushed::Post);
        assert!(!word.hold());
    }

    #[test]
    fn remote_word_holds_the_largest_page() {
        let largest = batch(u16::MAX, u16::MAX, 8192);
        assert_eq!(Word::new(largest, State::Held).list(), largest);
        assert_eq!(Word::new(largest, State::Held).state(), State::Held);
    }
}
