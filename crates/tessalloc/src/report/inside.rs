//! Which threads run a function of the program at the moment.
//!
//! | field    | written by | how                          | always true                                              |
//! |----------|------------|------------------------------|----------------------------------------------------------|
//! | `INSIDE` | reporters  | CAS to enter, store to leave | K3 a thread that runs a function of the program stands in it |

use crate::os;
use crate::sync::{AtomicUsize, Ordering};

/// Threads that run a function of the program now, by number; 0: a free place.
static INSIDE: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// The calling thread may run a function of the program until this is dropped.
pub(crate) struct Inside(&'static AtomicUsize);

impl Inside {
    /// `None` if this thread runs one already, which has come back here by an allocation of its own; or if all places are taken.
    pub(crate) fn enter() -> Option<Self> {
        let thread = os::thread_id();
        // ORDER: Relaxed, in all of this: only this thread's own number matters to it.
        if INSIDE.iter().any(|place| place.load(Ordering::Relaxed) == thread) {
            return None;
        }
        let is_taken =
            |place: &&AtomicUsize| place.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        INSIDE.iter().find(is_taken).map(Self)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // ORDER: Relaxed: as above.
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_let_inside_once() {
        let first = Inside::enter();
        assert!(first.is_some());
        assert!(Inside::enter().is_none());
        drop(first);
        assert!(Inside::enter().is_some());
    }
}
