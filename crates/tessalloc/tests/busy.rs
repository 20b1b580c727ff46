//! What threads that go on working do not use goes back too. Alone in its process: figures are looked at, options changed.
#![cfg(not(tessalloc_sim))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tessalloc::{Opt, raw, stats};

mod support;
use support::alone;

const MIB: u64 = 1 << 20;

fn committed() -> u64 {
    stats().committed_bytes
}

/// Some hundred slow paths, in a class that nothing else here uses.
fn work() {
    let blocks: Vec<*mut u8> = (0..4000).map(|_| raw::malloc(100)).collect();
    // SAFETY: blocks of ours, freed once.
    blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
    thread::sleep(Duration::from_millis(5));
}

/// Works until so much is committed at most; what is committed after 20 s at the latest.
fn work_until(bytes: u64) -> u64 {
    let start = Instant::now();
    while committed() > bytes && start.elapsed() < Duration::from_secs(20) {
        work();
    }
    committed()
}

fn fill(bytes: usize, count: usize) -> Vec<*mut u8> {
    let blocks: Vec<*mut u8> = (0..count).map(|_| raw::malloc(bytes)).collect();
    // SAFETY: each block holds so much.
    blocks.iter().for_each(|block| unsafe { block.write_bytes(1, bytes) });
    blocks
}

fn free(blocks: impl IntoIterator<Item = *mut u8>) {
    // SAFETY: the callers' blocks, freed once.
    blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
}

/// What was left before goes back now, and what rests soon.
fn begin() -> u64 {
    Opt::PurgeDelayMs.set(1000).expect("in its range");
    Opt::IdleDelayMs.set(250).expect("in its range");
    tessalloc::purge();
    committed()
}

#[test]
fn holes_in_pages_of_a_thread_that_works_go_back() {
    let _one = alone();
    let before = begin();
    let mut kept = fill(1000, 64 << 10);
    assert!(committed() - before > 60 * MIB);
    let freed: Vec<*mut u8> =
        kept.iter().copied().enumerate().filter(|(at, _)| at % 63 != 0).map(|(_, block)| block).collect();
    kept = kept.into_iter().step_by(63).collect();
    free(freed);
    // One block in each page of 64 KiB stays, and with it an OS page, or two that it lies across.
    let left = work_until(before + 12 * MIB) - before;
    assert!(left <= 12 * MIB, "{left} bytes are held for {} blocks", kept.len());
    // SAFETY: blocks in use, of so many bytes.
    assert!(kept.iter().all(|block| unsafe { *block.add(999) } == 1));
    // What went back is had again.
    let again = fill(1000, 32 << 10);
    free(again);
    free(kept);
}

#[test]
fn pages_that_other_threads_emptied_go_back_while_their_thread_works() {
    let _one = alone();
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let before = begin();
    let (send, receive) = mpsc::channel::<Vec<usize>>();
    let (told, tell) = mpsc::channel();
    let other = thread::spawn(move || {
        for blocks in receive {
            free(blocks.into_iter().map(core::ptr::with_exposed_provenance_mut));
            told.send(()).expect("somebody waits");
        }
        while !IS_DONE.load(Ordering::Relaxed) {
            work();
        }
    });
    // Once it is known that others free blocks of the class, full pages have no owner. The blocks of one come home one by one: the
    // first makes it wait for an owner, the others come to a page that waits.
    for _ in 0..4 {
        let blocks = fill(20_000, 3200);
        let in_turn = (0..80).flat_map(|from| blocks.iter().skip(from).step_by(80));
        send.send(in_turn.map(|block| block.expose_provenance()).collect()).expect("somebody waits");
        tell.recv().expect("all are freed");
    }
    drop(send);
    let left = work_until(before + 8 * MIB) - before;
    IS_DONE.store(true, Ordering::Relaxed);
    other.join().expect("no panic");
    assert!(left <= 8 * MIB, "{left} bytes are held for nothing");
}
