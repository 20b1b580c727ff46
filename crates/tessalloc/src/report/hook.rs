//! A function of the program that the allocator calls, with its argument.
//!
//! | field     | written by | how                         | always true                                              |
//! |-----------|------------|-----------------------------|----------------------------------------------------------|
//! | `version` | setters    | CAS to odd, Release to even | K1 odd while the pair below is being written              |
//! | `call`, `arg` | setter | Release                     | K2 read under one even version they belong together      |

use core::ffi::c_void;
use core::ptr::null_mut;

use crate::sync::{AtomicPtr, AtomicU32, Ordering, wait};

/// A function, as an address, and its argument; no function: null.
pub(crate) struct Hook {
    version: AtomicU32,
    call: AtomicPtr<c_void>,
    arg: AtomicPtr<c_void>,
}

/// How often a reader asks again when a setter was at work.
const TRIES: u32 = 8;

impl Hook {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { version: AtomicU32::new(0), call: AtomicPtr::new(null_mut()), arg: AtomicPtr::new(null_mut()) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { version: AtomicU32::new(0), call: AtomicPtr::new(null_mut()), arg: AtomicPtr::new(null_mut()) }
    }

    /// Sets the pair. Waits for another setter, a few stores long; one that a fork cut off is not waited for twice.
    pub(crate) fn set(&self, call: *mut c_void, arg: *mut c_void) {
        // ORDER: Relaxed: the exchange decides.
        let mut version = self.version.load(Ordering::Relaxed);
        let mut waits = 0;
        // Bound: a turn for each wait, and for each setter that came in between.
        loop {
            if !version.is_multiple_of(2) && waits < TRIES {
                waits += 1;
                wait(&self.version, version, 1);
                // ORDER: Relaxed: as above.
                version = self.version.load(Ordering::Relaxed);
                continue;
            }
            // ORDER: Acquire: the last setter's stores come before these.
            match self.version.compare_exchange(version, version | 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => version = now,
            }
        }
        // ORDER: Release, here and below: who sees the pair sees the odd version before it (K1), or the even one after it.
        self.call.store(call, Ordering::Release);
        self.arg.store(arg, Ordering::Release);
        self.version.store((version | 1).wrapping_add(1), Ordering::Release);
    }

    #[cfg(not(loom))]
    pub(crate) fn is_set(&self) -> bool {
        // ORDER: Relaxed: a hint.
        !self.call.load(Ordering::Relaxed).is_null()
    }

    /// The pair; `None` if there is no function, or it is being set all the time.
    pub(crate) fn get(&self) -> Option<(*mut c_void, *mut c_void)> {
        for _ in 0..TRIES {
            // ORDER: Acquire, here and below: pair with the Releases in `set` (K2).
            let before = self.version.load(Ordering::Acquire);
            let (call, arg) = (self.call.load(Ordering::Acquire), self.arg.load(Ordering::Acquire));
            // ORDER: Relaxed: after the two Acquires above.
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return if call.is_null() { None } else { Some((call, arg)) };
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn hook_pairs_belong_together_while_others_set_them() {
        static HOOK: Hook = Hook::new();
        assert!(HOOK.get().is_none());
        let pair =
            |number: usize| (core::ptr::without_provenance_mut(number), core::ptr::without_provenance_mut(number * 3));
        std::thread::scope(|scope| {
            for start in [1, 1001] {
                scope.spawn(move || {
                    (start..start + 1000).for_each(|number| {
                        let (call, arg) = pair(number);
                        HOOK.set(call, arg);
                    });
                });
            }
            for _ in 0..2000 {
                if let Some((call, arg)) = HOOK.get() {
                    assert_eq!((call, arg), pair(call.addr()));
                }
            }
        });
        assert!(HOOK.get().is_some(), "the last pair stays");
    }
}
