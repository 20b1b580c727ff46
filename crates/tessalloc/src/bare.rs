//! What a [`Buffer`](crate::Buffer) needs of a system, where there is none: there, the crate is the buffer alone. Whatever is to be
//! reported goes to the program's panic handler.

use core::sync::atomic::{AtomicU32, Ordering};

/// Looks at a word that another core is to change: some hundredths of a second.
const LOOKS_MAX: u32 = 1 << 20;

/// A free, or its kind, got an address that is no block in use.
#[cold]
pub(crate) fn foreign_pointer(action: &str, address: usize) -> ! {
    panic!(
        "cannot {action}: expected a block of this allocator, received {address:#x} (another allocator's block, or freed twice)"
    )
}

/// Returns when the word has changed.
pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout_ms: u64) {
    for _ in 0..LOOKS_MAX {
        // ORDER: Relaxed: the caller looks again.
        if word.load(Ordering::Relaxed) != expected {
            return;
        }
        core::hint::spin_loop();
    }
    interrupted();
}

/// Nobody sleeps.
pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}

/// A lock that is not given back: who holds it waits for us to return.
#[cold]
pub(crate) fn interrupted() -> ! {
    panic!("cannot enter the buffer: expected no call under way, received one that this interrupt handler interrupted")
}
