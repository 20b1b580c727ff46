//! The gate of a thread: who may touch its pages, queues, ring and warm runs.
//!
//! The owner passes it with plain stores, in every slow path; the scavenger, or `purge`, claims it while the owner is outside.
//! Fast paths touch the thread's stacks only and pass no gate.
//!
//! | field   | written by        | how                        | always true                                          |
//! |---------|-------------------|----------------------------|------------------------------------------------------|
//! | `inside`| owner             | store, light barrier       | G1 1 while the owner is inside                        |
//! | `claim` | claimers, owner   | CAS, heavy barrier         | G2 not FREE while a claimer is inside, or asks; HELD while the owner forks |
//!
//! G3 Owner and claimer are never both inside: the owner stores `inside` and then reads `claim`, the claimer stores `claim` and
//! then reads `inside`; the barrier pair forbids that both read the old value.
//!
//! `inside` is stored, never counted up: a chain of loads and stores of one word would cost each passage its latency.

use crate::sync::{AtomicU32, Ordering, barrier_heavy, barrier_light, notice_raw_fork, pause, wait, wake};

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
/// The owner sleeps until the claimer leaves.
const WANTED: u32 = 2;
/// A claimer is inside whose caller promised that the owner stays out.
const VISITED: u32 = 3;
/// The owner forks: others stay out, and it goes in and out as before.
const HELD: u32 = 4;

/// Lets one thread at a time at a theap.
pub(crate) struct Gate {
    inside: AtomicU32,
    claim: AtomicU32,
}

impl Gate {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { inside: AtomicU32::new(0), claim: AtomicU32::new(FREE) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { inside: AtomicU32::new(0), claim: AtomicU32::new(FREE) }
    }

    /// The owner goes in. Sleeps while a claimer is inside, which is at most the time to purge one page.
    #[inline(always)]
    pub(crate) fn enter(&self) {
        if !self.try_enter() {
            self.enter_slow();
        }
    }

    /// The owner goes in, unless a claimer is inside or about to go in: then it is out again.
    #[inline(always)]
    #[must_use]
    pub(crate) fn try_enter(&self) -> bool {
        // ORDER: Relaxed, made visible by `barrier_light`; pairs with `barrier_heavy` in `try_claim` (G3).
        self.inside.store(1, Ordering::Relaxed);
        barrier_light();
        // ORDER: Acquire pairs with the Release in `unclaim`: what the last claimer wrote is visible.
        if self.claim.load(Ordering::Acquire) == FREE {
            return true;
        }
        self.leave();
        false
    }

    #[cold]
    #[inline(never)]
    fn enter_slow(&self) {
        // Who went in may be a thread that a forked child has not.
        notice_raw_fork();
        // Bound: each turn sleeps until a claimer leaves; claimers leave a wanted gate at once and don't come back for a tick.
        loop {
            // ORDER: Relaxed: only tells the claimer that somebody waits.
            match self.claim.compare_exchange(CLAIMED, WANTED, Ordering::Relaxed, Ordering::Relaxed) {
                // This thread wrote it: nobody else is inside.
                Err(HELD) => return,
                Err(VISITED) => entered_while_visited(),
                Err(FREE) => {}
                _ => wait(&self.claim, WANTED, 0),
            }
            if self.try_enter() {
                return;
            }
        }
    }

    /// The owner comes out.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        // ORDER: Release pairs with the Acquire in `try_claim`: the claimer sees what the owner wrote inside.
        self.inside.store(0, Ordering::Release);
    }

    /// Goes in for another thread; false if the owner is inside, another claimer is, or the system has no barrier.
    #[must_use]
    pub(crate) fn try_claim(&self) -> bool {
        // ORDER: Acquire pairs with the Release in `unclaim` of the last claimer.
        if self.claim.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        if barrier_heavy() {
            // ORDER: Acquire pairs with the Release in `leave`: what the owner wrote inside is visible (G3).
            if self.inside.load(Ordering::Acquire) == 0 {
                return true;
            }
        }
        self.unclaim();
        false
    }

    /// Goes in where the owner can't be: only other claimers are waited for.
    pub(crate) fn exclude(&self) {
        self.exclude_as(CLAIMED);
    }

    /// As [`Gate::exclude`], for as long as a visitor takes: an owner that comes all the same is reported, where it would sleep
    /// for good if it is the visitor itself.
    pub(crate) fn exclude_for_visit(&self) {
        self.exclude_as(VISITED);
    }

    fn exclude_as(&self, claim: u32) {
        // ORDER: Acquire as in `try_claim`. Bound: each turn sleeps while a claimer is inside, which is at most a trim.
        loop {
            match self.claim.compare_exchange(FREE, claim, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return,
                Err(VISITED) => entered_while_visited(),
                Err(_) => pause(1),
            }
        }
    }

    /// Whether a visitor is inside.
    pub(crate) fn is_visited(&self) -> bool {
        // ORDER: Relaxed: asked under the lock under which the visit began.
        self.claim.load(Ordering::Relaxed) == VISITED
    }

    /// Keeps others out while the owner, who calls this outside, forks; false if a claimer is inside. Ended by `unclaim`.
    #[must_use]
    pub(crate) fn try_hold(&self) -> bool {
        // ORDER: Acquire as in `try_claim`: the owner's own passages until `unclaim` see what the last claimer wrote.
        self.claim.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// As [`Gate::try_hold`]; waits for who is inside.
    #[cfg(not(loom))]
    pub(crate) fn hold(&self) {
        // Bound: each turn sleeps until a claimer leaves.
        while !self.try_hold() {
            self.enter();
            self.leave();
        }
    }

    /// Whether the owner sleeps at the gate: the claimer should leave.
    pub(crate) fn is_wanted(&self) -> bool {
        // ORDER: Relaxed: a hint, asked again after each page.
        self.claim.load(Ordering::Relaxed) == WANTED
    }

    /// Whether a claimer is inside, or about to ask; for who is not inside and sees nobody come or go.
    #[cfg(not(loom))]
    pub(crate) fn is_claimed(&self) -> bool {
        // ORDER: Relaxed: by the caller's duty.
        self.claim.load(Ordering::Relaxed) != FREE && self.inside.load(Ordering::Relaxed) == 0
    }

    /// The claimer comes out.
    pub(crate) fn unclaim(&self) {
        // ORDER: Release pairs with the Acquire in `enter` and `try_claim`.
        if self.claim.swap(FREE, Ordering::Release) == WANTED {
            wake(&self.claim, 1);
        }
    }

    /// In a forked child: nobody is inside, whatever the words say.
    #[cfg(not(loom))]
    pub(crate) fn reset_in_child(&self) {
        // ORDER: Relaxed: the child has one thread.
        self.inside.store(0, Ordering::Relaxed);
        self.claim.store(FREE, Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
fn entered_while_visited() -> ! {
    crate::report::misused_visit("use a heap while it is visited")
}

#[cfg(loom)]
fn entered_while_visited() -> ! {
    panic!("a heap was used while it was visited")
}
