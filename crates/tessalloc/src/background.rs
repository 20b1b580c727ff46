//! The background thread's word, and wishes that are granted by whoever holds a lock.
//!
//! | from \ to | NONE | AWAKE | ASLEEP | REFUSED |
//! |-----------|------|-------|--------|---------|
//! | NONE      |      | who starts it | | |
//! | AWAKE     | a forked child | | the thread itself | who started it, in vain |
//! | ASLEEP    | a forked child | a report; the thread itself | | |
//! | REFUSED   | who asks again | | | |
//!
//! - V2 A report that comes after the thread's last look finds it asleep and wakes it, or comes before the look that it takes as it
//!   lies down. Both first write and then read; a fence stands between on either side.
//! - V3 A wish is granted by an act that begins after it: by who wished, or by who holds the lock, for whatever matter, and looks once it
//!   is free.

use crate::sync::{AtomicBool, AtomicU32, Lock, Ordering, fence, wait, wake};

const NONE: u32 = 0;
const AWAKE: u32 = 1;
const ASLEEP: u32 = 2;
#[cfg(not(loom))]
const REFUSED: u32 = 3;

/// What the background thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    None,
    Awake,
    Asleep,
    /// The system did not start it.
    Refused,
}

/// See the module.
pub(crate) struct Background(AtomicU32);

impl Background {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// A thread that is awake.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(AWAKE))
    }

    /// What the thread does. For who has just reported: the report is seen by a thread that is told to be awake.
    pub(crate) fn state(&self) -> State {
        // ORDER: SeqCst between the report and the look: pairs with the fence in `lie_down` (V2).
        fence(Ordering::SeqCst);
        // ORDER: Relaxed: nothing is read by its leave.
        match self.0.load(Ordering::Relaxed) {
            NONE => State::None,
            AWAKE => State::Awake,
            ASLEEP => State::Asleep,
            _ => State::Refused,
        }
    }

    /// True for the one who is to start it.
    #[cfg(not(loom))]
    pub(crate) fn try_start(&self) -> bool {
        // ORDER: Relaxed: the system's call that starts a thread orders what is needed.
        self.0.compare_exchange(NONE, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It could not be started.
    #[cfg(not(loom))]
    pub(crate) fn refuse(&self) {
        // ORDER: Relaxed: nobody else writes in this state, and nothing is read by its leave.
        self.0.store(REFUSED, Ordering::Relaxed);
    }

    /// A refusal counts no more: the next one may start it.
    #[cfg(not(loom))]
    pub(crate) fn ask_again(&self) {
        // ORDER: Relaxed: as in `refuse`.
        let _ = self.0.compare_exchange(REFUSED, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Wakes it, unless another one has.
    pub(crate) fn wake_up(&self) {
        // ORDER: Relaxed: one of those who see it asleep wakes it; what they reported it reads as a figure.
        if self.0.compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            wake(&self.0, 1);
        }
    }

    /// The thread itself is about to sleep: false if `is_news` then says that something was reported.
    pub(crate) fn lie_down(&self, is_news: impl FnOnce() -> bool) -> bool {
        // ORDER: Relaxed: ordered by the fence.
        self.0.store(ASLEEP, Ordering::Relaxed);
        // ORDER: SeqCst between the state and the look: pairs with the fence in `state` (V2).
        fence(Ordering::SeqCst);
        if is_news() {
            // ORDER: Relaxed: it did not sleep; another who sees it asleep writes the same.
            self.0.store(AWAKE, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Whether nobody has woken it.
    pub(crate) fn is_asleep(&self) -> bool {
        // ORDER: Relaxed: as in `state`.
        self.0.load(Ordering::Relaxed) == ASLEEP
    }

    /// The thread itself sleeps until it is woken, or for some time; 0: no limit. It may come back early.
    pub(crate) fn sleep(&self, timeout_ms: u64) {
        wait(&self.0, ASLEEP, timeout_ms);
    }

    /// In a forked child: it is gone.
    #[cfg(not(loom))]
    pub(crate) fn reset_in_child(&self) {
        // ORDER: Relaxed: the child has one thread.
        if self.0.load(Ordering::Relaxed) != REFUSED {
            self.0.store(NONE, Ordering::Relaxed);
        }
    }
}

/// Something that is to be done under a lock, by anybody, once for all who wished it meanwhile. Whoever has held the lock grants it.
pub(crate) struct Wish(AtomicBool);

impl Wish {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Whether it is still to be done.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_open(&self) -> bool {
        // ORDER: Relaxed: for tests.
        self.0.load(Ordering::Relaxed)
    }

    /// Wishes; [`Wish::grant`] is to follow.
    pub(crate) fn make(&self) {
        // ORDER: Release hands what was written before the wish to who grants it; exchanged, so that a wish that was there is handed
        // on with it.
        self.0.swap(true, Ordering::Release);
    }

    /// Acts if it was wished, or leaves it to who holds the lock (V3). Waits for nobody.
    pub(crate) fn grant(&self, lock: &Lock, mut act: impl FnMut()) {
        // Bound: a turn for wishes that came during the last one.
        loop {
            // ORDER: SeqCst between a wish and the look at the lock; and between the lock's release and the look at the wish: who
            // finds the lock taken is seen by who holds it (V3).
            fence(Ordering::SeqCst);
            // ORDER: Relaxed: a hint; the exchange below reads what counts.
            if !self.0.load(Ordering::Relaxed) {
                return;
            }
            let Some(_guard) = lock.try_lock() else { return };
            // ORDER: Acquire pairs with the Release in `make`: the act sees what was written before the wish.
            self.0.swap(false, Ordering::Acquire);
            act();
        }
    }
}
