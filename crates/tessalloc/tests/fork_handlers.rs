//! Fork handlers of others, older than ours: at a fork they run while ours hold what the child must find whole.
#![cfg(target_os = "linux")]

use std::alloc::Layout;
use std::sync::OnceLock;
use std::thread;

use tessalloc::{Heap, raw};

static HEAP: OnceLock<Heap> = OnceLock::new();

/// Blocks that no memory made accessible so far holds, and one of the heap if there is one.
unsafe extern "C" fn allocates() {
    for _ in 0..8 {
        assert!(!raw::malloc(40 << 20).is_null());
    }
    assert!(HEAP.get().is_none_or(|heap| heap.alloc(Layout::new::<u64>()).is_some()));
}

/// Forks, and ends if parent or child hang.
fn fork() {
    // SAFETY: the timer ends a process that hangs, and the child runs system calls only.
    unsafe {
        libc::alarm(10);
        let process = libc::fork();
        assert!(process >= 0, "a process for a test");
        if process == 0 {
            libc::alarm(10);
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(process, &mut status, 0), process);
        assert_eq!(status, 0, "the child hangs or crashes");
        libc::alarm(0);
    }
}

#[test]
fn a_handler_that_was_registered_after_the_first_block_may_allocate() {
    // SAFETY: handlers of this program, which allocate.
    unsafe {
        raw::free(raw::malloc(1));
        assert_eq!(libc::pthread_atfork(Some(allocates), Some(allocates), Some(allocates)), 0);
        thread::spawn(|| raw::free(raw::malloc(1))).join().unwrap();
    }
    fork();
    // The heap's part that the other thread leaves is nobody's when the handler comes: it slept at its gate for good once.
    let heap = HEAP.get_or_init(|| Heap::new().expect("a heap"));
    thread::spawn(|| assert!(heap.alloc(Layout::new::<u64>()).is_some())).join().unwrap();
    fork();
}
