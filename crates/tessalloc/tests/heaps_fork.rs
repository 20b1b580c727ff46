//! A fork while other threads are inside heaps: the child leaves alone what may be torn, and goes on with the rest.
#![cfg(target_os = "linux")]

mod support;

use std::alloc::Layout;
use std::sync::mpsc;
use std::thread;

use support::alone;
use tessalloc::{Heap, raw};

/// Runs `work` in a forked child, which has to end well.
fn in_child(work: impl FnOnce() -> bool) {
    // SAFETY: as for any fork.
    in_child_of(|| unsafe { libc::fork() }, work);
}

/// As [`in_child`], by a plain system call: no handlers run.
fn in_plain_child(work: impl FnOnce() -> bool) {
    // SAFETY: as for any fork.
    in_child_of(|| unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }, work);
}

fn in_child_of(fork: impl FnOnce() -> libc::pid_t, work: impl FnOnce() -> bool) {
    // SAFETY: the child calls this allocator and ends itself; the timer ends it if it hangs.
    unsafe {
        let child = fork();
        assert!(child >= 0, "a process for a test");
        if child == 0 {
            libc::alarm(10);
            libc::_exit(i32::from(!work()));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child hangs, crashes or says no");
    }
}

/// Blocks of many classes: some pages, so that to end their heap takes a while.
fn fill(heap: &Heap) {
    for i in 0..2_000 {
        heap.alloc(Layout::from_size_align(i * 7 % 5_000 + 1, 8).expect("a layout")).expect("memory");
    }
}

#[test]
fn a_record_that_is_being_visited_is_left_alone_and_no_thread_is_counted_for_it() {
    let _alone = alone();
    let mut heap = Heap::new().expect("a heap");
    let (to_main, from_visitor) = mpsc::channel();
    let (to_visitor, from_main) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Dropped when the child says no, too: then the visitor goes on.
        let (heap, to_visitor) = (&mut heap, to_visitor);
        scope.spawn(move || {
            fill(heap);
            heap.visit(|block| {
                to_main.send(block.address.expose_provenance()).expect("main waits");
                let _ = from_main.recv();
                false
            });
        });
        let block: *mut u8 = std::ptr::with_exposed_provenance_mut(from_visitor.recv().expect("the heap is visited"));
        assert!(!raw::malloc(1).is_null(), "this thread has a record");
        in_child(|| {
            // SAFETY: a block in use, of which nobody else knows here.
            unsafe { raw::free(block) };
            tessalloc::purge();
            tessalloc::stats().threads == 1
        });
        to_visitor.send(()).expect("the visitor waits");
    });
    heap.destroy();
}

/// The forking thread's own record of a heap, into which another thread went by a claim.
#[test]
fn an_own_record_that_another_thread_is_in_is_left_alone() {
    let _alone = alone();
    let mut heap = Heap::new().expect("a heap");
    let (to_main, from_visitor) = mpsc::channel();
    let (to_visitor, from_main) = mpsc::channel::<()>();
    assert!(!raw::malloc(1).is_null(), "this thread has a record");
    tessalloc::purge();
    fill(&heap);
    // An empty page, which the record keeps until somebody trims it.
    let empty = Layout::new::<[u8; 6_000]>();
    // SAFETY: allocated and freed here.
    unsafe { heap.dealloc(heap.alloc(empty).expect("memory"), empty) };
    thread::scope(|scope| {
        let (heap, to_visitor) = (&mut heap, to_visitor);
        scope.spawn(move || {
            heap.visit(|_| {
                to_main.send(()).expect("main waits");
                let _ = from_main.recv();
                false
            });
        });
        from_visitor.recv().expect("the heap is visited");
        in_child(|| {
            let pages = tessalloc::stats().pages;
            tessalloc::purge();
            tessalloc::stats().pages == pages
        });
        to_visitor.send(()).expect("the visitor waits");
    });
    let pages = tessalloc::stats().pages;
    heap.purge();
    assert!(tessalloc::stats().pages < pages, "the page was there to be given back");
    heap.destroy();
}

/// The forking thread's own record of a heap that another thread ends: that one is inside it by a claim, not under a lock.
#[test]
fn records_of_heaps_that_end_meanwhile_are_whole_or_left_alone() {
    let _alone = alone();
    let (to_ender, from_main) = mpsc::channel::<Heap>();
    thread::scope(|scope| {
        let to_ender = to_ender;
        scope.spawn(move || {
            for (round, mut heap) in from_main.into_iter().enumerate() {
                match round % 3 {
                    0 => heap.destroy(),
                    1 => heap.delete(),
                    _ => heap.clear(),
                }
            }
        });
        let kept = Heap::new().expect("a heap");
        for round in 0..30 {
            let heap = Heap::new().expect("a heap");
            fill(&heap);
            fill(&kept);
            to_ender.send(heap).expect("the other thread waits");
            // From at once to about as late as the other thread takes.
            (0..round % 20 * 100).for_each(|_| std::hint::spin_loop());
            in_child(|| {
                tessalloc::purge();
                fill(&kept);
                Heap::scope(fill).is_ok() && tessalloc::stats().threads == 1
            });
        }
        kept.destroy();
    });
}

/// The child's first calls are frees that want what a thread has which the child has not: a lock, and the way into an own record.
#[test]
fn children_of_plain_system_calls_wait_for_nobody() {
    let _alone = alone();
    let mut heap = Heap::new().expect("a heap");
    let (to_main, from_visitor) = mpsc::channel();
    let (to_visitor, from_main) = mpsc::channel::<()>();
    let [small, large] =
        [Layout::new::<[u64; 8]>(), Layout::new::<[u64; 20_000]>()].map(|layout| heap.alloc(layout).expect("memory"));
    let [small, large] = [small, large].map(|block| block.as_ptr().expose_provenance());
    thread::scope(|scope| {
        let (heap, to_visitor) = (&mut heap, to_visitor);
        scope.spawn(move || {
            assert!(!raw::malloc(1).is_null(), "this thread has a record");
            heap.visit(|_| {
                tessalloc::visit_heaps(|_| {
                    to_main.send(()).expect("main waits");
                    let _ = from_main.recv();
                    false
                });
                false
            });
        });
        from_visitor.recv().expect("the heap is visited");
        for block in [small, large] {
            // SAFETY: in use; the child is a process of its own.
            in_plain_child(|| unsafe {
                raw::free(std::ptr::with_exposed_provenance_mut(block));
                true
            });
        }
        to_visitor.send(()).expect("the visitor waits");
    });
    heap.destroy();
}
