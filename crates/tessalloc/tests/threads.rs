//! Threads that come and go: records are used again, pages change hands, and nothing grows.

use std::sync::{Arc, Barrier};
use std::thread;

use tessalloc::Tessalloc;

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

/// Threads that hold blocks of many sizes at once, check them and free them.
fn round(threads: usize, seed: usize) {
    let all_there = Arc::new(Barrier::new(threads));
    let handles: Vec<_> = (0..threads)
        .map(|thread| {
            let all_there = Arc::clone(&all_there);
            let work = move || {
                let sizes = (0..100).map(|i| 16 + (i * 7919 + thread * 104_729 + seed * 31) % 2033);
                let blocks: Vec<Vec<u8>> = sizes.map(|size| vec![(thread ^ size) as u8; size]).collect();
                all_there.wait();
                for block in &blocks {
                    assert!(block.iter().all(|byte| *byte == (thread ^ block.len()) as u8));
                }
            };
            thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap()
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn threads_in_waves_leave_no_more_behind_than_the_first_wave() {
    round(256, 0);
    let first = tessalloc::stats();
    (1..8).for_each(|seed| round(256, seed));
    let last = tessalloc::stats();
    assert!(last.threads_total >= 8 * 256);
    assert!(last.allocated_bytes <= first.allocated_bytes + (1 << 20), "{first:?} {last:?}");
    // The peaks: what is committed between waves depends on how far the background thread has come.
    assert!(last.committed_peak_bytes <= first.committed_peak_bytes * 11 / 10 + (1 << 20), "{first:?} {last:?}");
}
