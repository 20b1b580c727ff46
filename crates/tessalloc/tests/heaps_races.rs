//! What threads do to heaps as they end, and what others do to a heap that goes: each test is a race that was lost once.

use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::thread;

use tessalloc::{Heap, HeapId, ThreadId, heap_of, raw};

const SMALL: Layout = Layout::new::<[u64; 6]>();

/// A scope ends when its threads have returned from what they run: the threads themselves end a moment later, and give back then
/// what they had of the heap.
#[test]
fn heaps_are_cleared_and_visited_while_their_threads_end() {
    for round in 0..2_000 {
        let mut heap = Heap::new().expect("a heap");
        for _ in 0..2 {
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..40).for_each(|_| assert!(heap.alloc(SMALL).is_some())));
                }
            });
            let mut seen = 0;
            assert!(heap.visit(|_| {
                seen += 1;
                true
            }));
            assert_eq!(seen, 80, "round {round}");
            heap.clear();
            assert!(heap.visit(|block| panic!("nothing is in use, but {block:?} is")));
        }
        heap.destroy();
    }
}

#[test]
fn heaps_go_on_after_a_visitor_that_panics() {
    let mut heap = Heap::new().expect("a heap");
    let block = heap.alloc(SMALL).expect("memory");
    let visited = catch_unwind(AssertUnwindSafe(|| heap.visit(|_| std::panic::resume_unwind(Box::new(())))));
    assert!(visited.is_err());
    // SAFETY: the block is in use, and not after.
    unsafe { raw::free(block.as_ptr()) };
    assert!(heap.visit(|block| panic!("nothing is in use, but {block:?} is")));
    heap.delete();
}

/// A visitor may give back what its thread holds: of the heap it visits there is nothing on stacks.
#[test]
fn visitors_may_purge_their_thread() {
    let mut heap = Heap::new().expect("a heap");
    let block = heap.alloc(SMALL).expect("memory");
    let own = ThreadId::current().expect("this thread has allocated");
    assert!(heap.visit(|_| own.purge().is_some()));
    // SAFETY: of this heap, in use, freed once.
    unsafe { heap.dealloc(block, SMALL) };
    heap.destroy();
}

/// A heap's place in memory serves the next one: who asks for a block's heap at that moment must not be told the next one's id.
#[test]
fn blocks_of_deleted_heaps_are_never_said_to_be_of_the_next_heap() {
    let block = AtomicPtr::new(std::ptr::null_mut());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut seen = [0u64; 2];
            while !is_done.load(Ordering::Acquire) {
                let block: *mut u64 = block.load(Ordering::Acquire);
                if block.is_null() {
                    continue;
                }
                // SAFETY: never freed; the id was written before the block was shown.
                let wanted = unsafe { *block };
                match heap_of(block.cast()).expect("a block of ours") {
                    HeapId::DEFAULT => seen[0] += 1,
                    id if id.get() == wanted => seen[1] += 1,
                    id => {
                        is_done.store(true, Ordering::Release);
                        panic!("a block of heap {wanted} is said to be of {id:?}");
                    }
                }
            }
            seen
        });
        for _ in 0..20_000 {
            if is_done.load(Ordering::Acquire) {
                break;
            }
            let heap = Heap::new().expect("a heap");
            let new: *mut u64 = heap.alloc(SMALL).expect("memory").as_ptr().cast();
            // SAFETY: allocated just now.
            unsafe { new.write(heap.id().get()) };
            block.store(new, Ordering::Release);
            heap.delete();
            Heap::new().expect("a heap in the same place").delete();
        }
        is_done.store(true, Ordering::Release);
        let [default, own] = asker.join().expect("no wrong answer");
        assert!(default > 0 && own > 0, "asked before and after: {default}, {own}");
    });
}
