//! The first moments of the allocator in a process: each in a process of its own.
#![cfg(not(tessalloc_sim))]

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use tessalloc::raw;

const CHILD: &str = "TESSALLOC_TEST_START";

/// Threads whose first allocations are the process's first: each gives up its record when it ends.
#[test]
fn threads_that_begin_with_the_process_end_as_others_do() {
    const ROUNDS: usize = 40;
    const THREADS: usize = 4;
    if std::env::var_os(CHILD).is_none() {
        for round in 0..ROUNDS {
            let mut child = Command::new(std::env::current_exe().expect("the test program has a path"));
            let output = child.env(CHILD, "1").output().expect("the test program starts again");
            assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stdout));
        }
        return;
    }
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let begin = || {
            barrier.wait();
            // SAFETY: given back at once.
            unsafe { raw::free(raw::malloc(100)) };
        };
        let threads = [(); THREADS].map(|()| scope.spawn(begin));
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    assert_eq!(tessalloc::stats().threads, 0);
}
