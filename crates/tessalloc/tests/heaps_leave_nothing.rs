//! Destroyed heaps leave nothing behind: alone in its process, since the figures are the process's.

use std::alloc::Layout;
use std::thread;

use tessalloc::Heap;

#[test]
fn destroyed_heaps_leave_nothing() {
    let use_and_destroy = |rounds: usize| {
        for round in 0..rounds {
            let heap = Heap::new().expect("a heap");
            thread::scope(|scope| {
                for worker in 0..2 {
                    let heap = &heap;
                    scope.spawn(move || {
                        // All classes and large runs, up to 128 KiB.
                        for i in 0..500 {
                            let size = (round * 7919 + worker * 104_729 + i * 65_537) % (1 << (i % 18)) + 1;
                            heap.alloc(Layout::from_size_align(size, 1 << (i % 7)).expect("a layout")).expect("memory");
                        }
                    });
                }
            });
            heap.destroy();
        }
        tessalloc::purge();
        tessalloc::stats()
    };
    let first = use_and_destroy(5);
    let last = use_and_destroy(45);
    // What threads and the test itself hold may differ by a page here and there, of 64 KiB.
    let grown = last.allocated_bytes.saturating_sub(first.allocated_bytes);
    assert!(grown <= 128 << 10, "{} bytes before, {} after", first.allocated_bytes, last.allocated_bytes);
    assert_eq!(last.large_blocks, first.large_blocks);
}
