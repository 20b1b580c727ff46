//! What working threads leave unused goes back too: pages are looked at in rounds, whoever is busy.
//!
//! | what                          | by                                  |
//! |-------------------------------|-------------------------------------|
//! | pages that wait for an owner  | [`Waiting`]: some thousands a tick    |
//! | pages of a thread that works  | [`look_at_busy`]: in its gate, until it comes |
//!
//! Each page is looked at every half [`Opt::PurgeDelayMs`]. One that rested goes back if it is empty; else its OS pages do that hold nothing.
//!
//! D1 `RESTED` is set by a look at a page, and cleared by who takes blocks of it: a page that has it at the next look rested from one look
//! to the next.
//! D2 Both rounds are the scavenger's, under its lock. A page is touched by who holds it: inside its owner's gate, or popped from its list.

use crate::heap::{self, DEFAULT};
use crate::holes;
use crate::options::Opt;
use crate::page::Page;
use crate::size_class::CLASS_COUNT;
use crate::thread::Thread;

/// Waiting pages that one tick looks at, or those of one class if they are more.
const PAGES_A_TICK: usize = 4096;

/// Ticks from one look at a page for rest to the next.
pub(crate) fn rest_ticks(tick_ms: u64) -> u32 {
    // At most 7,200, by the option's range.
    (Opt::PurgeDelayMs.value() / 2).max(Opt::IdleDelayMs.value()).div_ceil(tick_ms) as u32
}

/// A round through the pages that wait, class by class.
pub(crate) struct Waiting {
    next_class: usize,
    begun: u32,
}

impl Waiting {
    pub(crate) const fn new() -> Self {
        Self { next_class: CLASS_COUNT, begun: 0 }
    }

    /// Goes on at tick `now`. A round begins `rest_ticks` after the last one began, or later.
    pub(crate) fn step(&mut self, now: u32, rest_ticks: u32) {
        if self.next_class == CLASS_COUNT {
            if now.wrapping_sub(self.begun) < rest_ticks {
                return;
            }
            (self.next_class, self.begun) = (1, now);
        }
        let mut pages = 0;
        while self.next_class < CLASS_COUNT && pages < PAGES_A_TICK {
            DEFAULT.visit_waiting_of(self.next_class, &mut |page| {
                pages += 1;
                // SAFETY: R4: held by this thread since it was popped.
                unsafe { !(*page).note_rest() || give_back(page) }
            });
            self.next_class += 1;
        }
    }
}

/// All pages that wait: empty ones go back, of the others what holds nothing.
pub(crate) fn visit_waiting() {
    // SAFETY: R4: held by this thread since it was popped.
    DEFAULT.visit_waiting(|page| unsafe { give_back(page) });
}

/// Gives a page back if it is empty, else what it does not use; whether there still is a page.
///
/// # Safety
/// - The caller holds the page by its remote word, out of all lists.
unsafe fn give_back(page: *mut Page) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        if heap::release_if_home(page) {
            return false;
        }
        holes::purge(page);
    }
    true
}

/// Looks at the pages of a thread that works, if it is time; again at the next tick if the owner is in the allocator, or comes.
///
/// # Safety
/// - A live record; the caller has the scavenger's lock.
pub(crate) unsafe fn look_at_busy(thread: *mut Thread, now: u32, rest_ticks: u32) {
    // SAFETY: L2; `looked_at` is touched under the lock only, the rest inside the gate.
    unsafe {
        if now.wrapping_sub((*thread).looked_at) < rest_ticks || !(*thread).gate.try_claim() {
            return;
        }
        if (*thread).is_live() && (*thread).trim_rested() {
            (*thread).looked_at = now;
        }
        (*thread).gate.unclaim();
    }
}
