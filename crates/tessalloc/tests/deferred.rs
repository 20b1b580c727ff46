//! The function for deferred frees: when it is called, and that it is never inside of itself. Alone in its process.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tessalloc::{Heap, Opt, ThreadId, raw, set_deferred_free};

/// Calls as (thread, heartbeat, force).
static CALLS: Mutex<Vec<(u64, u64, bool)>> = Mutex::new(Vec::new());
static NESTED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn deferred(force: bool, heartbeat: u64) {
    if IS_INSIDE.replace(true) {
        NESTED.fetch_add(1, Ordering::Relaxed);
    }
    // Slow paths of its own.
    let blocks: Vec<*mut u8> = (0..2000).map(|i| raw::malloc(16 + i % 500)).collect();
    // SAFETY: blocks of ours, freed once; null is nothing.
    blocks.iter().for_each(|block| unsafe { raw::free(*block) });
    let id = ThreadId::current().expect("a thread that allocates").get();
    CALLS.lock().expect("no panic").push((id, heartbeat, force));
    IS_INSIDE.set(false);
}

fn calls() -> Vec<(u64, u64, bool)> {
    std::mem::take(&mut CALLS.lock().expect("no panic"))
}

/// Blocks that stay until all are made: slow paths all the way.
fn churn(count: usize) {
    let blocks: Vec<*mut u8> = (0..count).map(|_| raw::malloc(64)).collect();
    // SAFETY: blocks of ours, freed once.
    blocks.iter().for_each(|block| unsafe { raw::free(*block) });
}

/// One test: there is one function in a process.
#[test]
fn deferred_frees_are_called_for_now_and_then() {
    const BLOCKS: usize = 40_000;
    churn(BLOCKS);
    assert!(calls().is_empty(), "none is registered");
    set_deferred_free(Some(deferred));

    // Each thread has heartbeats of its own, one after the other, at a bounded rate.
    thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(|| churn(BLOCKS)))));
    let all = calls();
    let mut ids: Vec<u64> = all.iter().map(|call| call.0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for id in ids {
        let beats: Vec<u64> = all.iter().filter(|call| call.0 == id).map(|call| call.1).collect();
        assert_eq!(beats, (1..=beats.len() as u64).collect::<Vec<_>>());
        // A refill is of 64 blocks at most, and the function's own slow paths count as well.
        assert!((BLOCKS / 64 / 8..BLOCKS / 8).contains(&beats.len()), "{} calls", beats.len());
    }
    assert!(all.iter().all(|call| !call.2), "memory is not out");

    // Of heaps and large blocks, too.
    let heap = Heap::new().expect("memory");
    let layout = std::alloc::Layout::new::<[u64; 16]>();
    (0..10_000).for_each(|_| assert!(heap.alloc(layout).is_some()));
    assert!(!calls().is_empty());
    heap.destroy();
    let large: Vec<*mut u8> = (0..80).map(|_| raw::malloc(200 << 10)).collect();
    // SAFETY: blocks of ours, freed once.
    large.iter().for_each(|block| unsafe { raw::free(*block) });
    assert!(calls().len() >= 10);

    // Memory is out: at once, whatever the rate.
    let before = tessalloc::stats().committed_bytes;
    Opt::HardLimitBytes.set(before + (1 << 20)).expect("in range");
    assert!(raw::malloc(256 << 20).is_null());
    assert!(calls().iter().any(|call| call.2), "told that memory is out");
    Opt::HardLimitBytes.set(0).expect("in range");

    set_deferred_free(None);
    churn(BLOCKS);
    assert!(calls().is_empty(), "none is registered any more");
    assert_eq!(NESTED.load(Ordering::Relaxed), 0);
}
