//! What several tests need. Each takes what it uses.
#![allow(dead_code)]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tessalloc::Arena;

/// Held by tests that look at the process's figures or change its options: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random numbers, the same at each run: a linear congruential generator, of which the low bits are left out.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Releases an arena that nobody has blocks in. A thread that was joined may be giving up its pages still.
pub(crate) fn released(mut arena: Arena) {
    let start = Instant::now();
    while let Err((still, error)) = arena.release() {
        let used = still.used_bytes();
        assert!(start.elapsed() < Duration::from_secs(30), "{error}: {still:?} with {used} bytes used");
        arena = still;
        std::thread::sleep(Duration::from_millis(1));
    }
}
