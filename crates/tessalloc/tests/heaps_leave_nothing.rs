//! Heaps keep what is theirs and leave nothing behind: one test at a time, since the figures are the process's.

mod support;

use std::alloc::Layout;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::alone;
use tessalloc::{Heap, raw};

/// Pages without room stay the heap's when others purge: it visits their blocks, and takes them along when it goes.
#[test]
fn purged_heaps_keep_their_full_pages() {
    let _alone = alone();
    let use_and_destroy = || {
        let heap = Heap::new().expect("a heap");
        let layout = Layout::from_size_align(3000, 8).expect("a layout");
        let count = 1000;
        let blocks: Vec<_> = (0..count).map(|_| heap.alloc(layout).expect("memory")).collect();
        heap.purge();
        tessalloc::purge();
        let mut heap = heap;
        let mut found = 0;
        heap.visit(|_| {
            found += 1;
            true
        });
        assert_eq!(found, count);
        let before = heap.allocated_bytes();
        for block in &blocks[..count / 2] {
            // SAFETY: a block in use, freed once.
            unsafe { tessalloc::raw::free(block.as_ptr()) };
        }
        heap.purge();
        assert!(heap.allocated_bytes() <= before / 2 + 3072, "what was freed has come home");
        heap.destroy();
        tessalloc::purge();
    };
    use_and_destroy();
    let first = tessalloc::stats();
    for _ in 0..5 {
        use_and_destroy();
    }
    let last = tessalloc::stats();
    assert_eq!((last.pages, last.committed_bytes), (first.pages, first.committed_bytes));
    assert_eq!(last.allocated_total_bytes - last.freed_total_bytes, last.allocated_bytes);
}

#[test]
fn destroyed_heaps_leave_nothing() {
    let _alone = alone();
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

/// What another thread sent home is put there by a purge, at the moment of a clear: the process counts it once.
#[test]
fn blocks_that_come_home_while_their_heap_is_cleared_are_counted_once() {
    let _alone = alone();
    let layout = Layout::new::<[u64; 32]>();
    // So that a figure that is too low shows.
    let kept = raw::malloc(64 << 20);
    let mut heap = Heap::new().expect("a heap");
    let before = tessalloc::stats().allocated_bytes;
    let blocks: Vec<_> = (0..4000).map(|_| heap.alloc(layout).expect("memory").as_ptr().expose_provenance()).collect();
    let free_all = || {
        for block in blocks {
            // SAFETY: in use, freed once.
            unsafe { raw::free(std::ptr::with_exposed_provenance_mut(block)) };
        }
    };
    thread::scope(|scope| {
        scope.spawn(free_all).join().expect("no panic");
        let (to_owner, from_visitor) = mpsc::channel();
        scope.spawn(move || {
            // Who clears a heap waits for who visits all. Too short, the moment finds nothing and fails nothing.
            tessalloc::visit_heaps(|_| {
                to_owner.send(()).expect("the owner waits");
                thread::sleep(Duration::from_millis(50));
                tessalloc::purge();
                false
            });
        });
        from_visitor.recv().expect("heaps are visited");
        heap.clear();
    });
    let after = tessalloc::stats().allocated_bytes;
    assert!(before.abs_diff(after) <= 128 << 10, "{before} bytes before, {after} after");
    heap.destroy();
    // SAFETY: in use, freed once.
    unsafe { raw::free(kept) };
}
