//! What a program says about its threads. Alone in its process: figures are looked at.

use std::sync::mpsc;
use std::thread;

use tessalloc::{PageOwner, ThreadId, Which, raw, stats, thread_idle, visit_pages};

const BLOCKS: usize = 20_000;

/// Blocks of 64 bytes on this thread; every second one freed.
fn every_second() -> Vec<*mut u8> {
    let blocks: Vec<*mut u8> = (0..BLOCKS).map(|_| raw::malloc(64)).collect();
    // SAFETY: blocks of ours, freed once.
    blocks.iter().step_by(2).for_each(|block| unsafe { raw::free(*block) });
    blocks.into_iter().skip(1).step_by(2).collect()
}

fn owned_pages(id: ThreadId) -> usize {
    let mut count = 0;
    let walked = visit_pages(Which::Thread(id), |_| {
        count += 1;
        true
    });
    assert!(walked.to_the_end && walked.skipped_pages == 0);
    count
}

/// One test: the figures are the process's.
#[test]
fn idle_threads_leave_what_they_hold_and_threads_are_purged_by_id() {
    let main = ThreadId::current().expect("a record");
    assert_eq!(ThreadId::current(), Some(main), "the same as long as the thread lives");
    assert_eq!(ThreadId::from_number(main.get()), main);

    // Idle: pages with room are others' to take, and are taken again when it works again.
    let kept = every_second();
    assert!(owned_pages(main) > 10);
    let large = raw::malloc(8 << 20);
    // SAFETY: a block of ours, freed once.
    unsafe {
        large.write_bytes(1, 8 << 20);
        raw::free(large);
    }
    thread_idle();
    assert!(owned_pages(main) <= 1, "its first blocks' page at most: {}", owned_pages(main));
    let (mut abandoned, mut used) = (0, 0);
    let walked = visit_pages(Which::WithoutThread, |page| {
        abandoned += usize::from(page.owner == PageOwner::Abandoned);
        used += page.used;
        true
    });
    assert!(walked.to_the_end && abandoned > 10);
    assert!((kept.len() - 200..=kept.len()).contains(&used), "nothing lies on stacks: {used}");
    assert!(stats().retained_bytes < 4 << 20, "{:?}", stats());
    let again: Vec<*mut u8> = (0..BLOCKS / 4).map(|_| raw::malloc(64)).collect();
    let pages_of = |block: &*mut u8| block.addr() >> 16;
    let reused =
        again.iter().filter(|block| kept.iter().step_by(100).any(|kept| pages_of(kept) == pages_of(block))).count();
    assert!(reused > again.len() / 2, "pages with room are taken again: {reused}");

    // By id: another thread's, which waits outside the allocator; and one that has ended.
    let (send, ids) = mpsc::channel();
    let (end, is_over) = mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        let mut blocks = every_second();
        // Whole pages are free, and whole OS pages in others.
        // SAFETY: blocks of ours, freed once.
        blocks.drain(..BLOCKS / 4).for_each(|block| unsafe { raw::free(block) });
        send.send(ThreadId::current().expect("a record")).expect("a receiver");
        let _ = is_over.recv();
        // SAFETY: as above.
        blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
    });
    let id = ids.recv().expect("an id");
    assert!(id != main && id.is_alive());
    assert!(id.purge().is_some(), "a waiting thread is reached");
    drop(end);
    worker.join().expect("the worker");
    assert!(!id.is_alive());
    assert_eq!(id.purge(), None, "it has ended");

    // One's own, with its stacks.
    // SAFETY: blocks of ours, freed once.
    kept.into_iter().chain(again).for_each(|block| unsafe { raw::free(block) });
    assert!(main.purge().is_some());
    assert!(owned_pages(main) <= 1);
    assert_eq!(stats().allocated_bytes / (1 << 20), 0, "{:?}", stats());
}
