//! Walking: visits see exactly what is in use, whatever threads did before and do at that moment.

use std::alloc::Layout;
use std::process::Command;

use tessalloc::{Heap, raw};

/// `scope` returns when the threads' work has, not when their destructors have: those give back what the threads leased of the heap.
#[test]
fn regress_heap_is_visited_and_cleared_while_its_last_threads_are_ending() {
    let layout = Layout::new::<[u64; 4]>();
    let mut heap = Heap::new().expect("memory");
    for round in 0..if cfg!(debug_assertions) { 400 } else { 2000 } {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let blocks = [(); 500].map(|()| heap.alloc(layout).expect("memory"));
                    // SAFETY: blocks of the heap, freed once.
                    blocks[1..].iter().for_each(|block| unsafe { heap.dealloc(*block, layout) });
                });
            }
        });
        let mut count = 0;
        heap.visit(|_| {
            count += 1;
            true
        });
        assert_eq!(count, 3, "round {round}");
        heap.clear();
    }
}

const MISUSE: &str = "TESSALLOC_TEST_MISUSE_OF_A_VISIT";

#[test]
fn a_visitor_that_uses_the_heap_is_reported_and_ends_the_process() {
    for what in ["alloc", "free"] {
        let child = Command::new(std::env::current_exe().expect("the test program has a path"))
            .args(["--exact", "misuse_of_a_visit_in_a_child", "--nocapture", "--test-threads=1"])
            .env(MISUSE, what)
            .output()
            .expect("the test program starts again");
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success(), "{what}: it went on");
        assert!(text.contains("tessalloc: cannot use a heap while it is visited: expected"), "{what}: {text}");
    }
}

#[test]
fn misuse_of_a_visit_in_a_child() {
    let Ok(what) = std::env::var(MISUSE) else { return };
    let heap = Heap::new().expect("memory").into_raw();
    // SAFETY: the heap stands; two values for it at once, and what the visitor does: what is wrong here is what is tested.
    unsafe {
        let (mut visited, used) = (Heap::from_raw(heap), Heap::from_raw(heap));
        used.alloc(Layout::new::<u64>()).expect("memory");
        visited.visit(|block| {
            match what.as_str() {
                "alloc" => drop(used.alloc(Layout::new::<u64>())),
                _ => raw::free(block.address),
            }
            true
        });
    }
}
