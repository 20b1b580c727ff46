//! Fork handlers of others, older than ours: at a fork they run while ours hold what the child must find whole.
#![cfg(target_os = "linux")]

mod support;

use std::alloc::Layout;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError, mpsc};
use std::thread;

use support::alone;
use tessalloc::{Heap, Walked, Which, raw};

static HEAP: OnceLock<Heap> = OnceLock::new();
/// What the handlers do.
static ACT: AtomicPtr<fn()> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn act() {
    // SAFETY: null, or a constant.
    if let Some(act) = unsafe { ACT.load(Ordering::Relaxed).as_ref() } {
        act();
    }
}

/// Has the handlers do this at each fork: before it, and after it in both processes.
fn handlers_do(what: &'static fn()) {
    ACT.store(std::ptr::from_ref(what).cast_mut(), Ordering::Relaxed);
}

/// The handlers do nothing, and are older than the allocator's: each test calls this first.
fn begin() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    let alone = alone();
    ONCE.call_once(|| {
        // SAFETY: handlers of this program.
        unsafe {
            raw::free(raw::malloc(1));
            assert_eq!(libc::pthread_atfork(Some(act), Some(act), Some(act)), 0);
            thread::spawn(|| raw::free(raw::malloc(1))).join().unwrap();
        }
    });
    ACT.store(std::ptr::null_mut(), Ordering::Relaxed);
    alone
}

/// Blocks that no memory made accessible so far holds, and one of the heap if there is one.
fn allocate() {
    for _ in 0..8 {
        assert!(!raw::malloc(40 << 20).is_null());
    }
    assert!(HEAP.get().is_none_or(|heap| heap.alloc(Layout::new::<u64>()).is_some()));
}

/// Forks, and ends if parent or child hang.
fn fork() {
    fork_and(|| true);
}

/// As [`fork`], with what the child does at last.
fn fork_and(work: fn() -> bool) {
    // SAFETY: the timer ends a process that hangs; the child uses this allocator and system calls.
    unsafe {
        libc::alarm(20);
        let process = libc::fork();
        assert!(process >= 0, "a process for a test");
        if process == 0 {
            libc::alarm(20);
            libc::_exit(i32::from(!work()));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(process, &mut status, 0), process);
        assert_eq!(status, 0, "the child hangs, crashes or says no");
        libc::alarm(0);
    }
}

#[test]
fn a_handler_that_was_registered_after_the_first_block_may_allocate() {
    let _alone = begin();
    handlers_do(&(allocate as fn()));
    fork();
    // The heap's part that the other thread leaves is nobody's when the handler comes: it slept at its gate for good once.
    let heap = HEAP.get_or_init(|| Heap::new().expect("a heap"));
    thread::spawn(|| assert!(heap.alloc(Layout::new::<u64>()).is_some())).join().unwrap();
    fork();
}

/// A block of another thread's and one of the calling thread's.
static LOOKED_FOR: Mutex<[usize; 2]> = Mutex::new([0; 2]);
static WALKS: AtomicU32 = AtomicU32::new(0);

/// Whether a walk comes to its end and tells both blocks.
fn tells_both() -> bool {
    let looked_for = *LOOKED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = [false; 2];
    let walked = tessalloc::visit_blocks(Which::All, |_, block| {
        let at = block.address.addr();
        (0..2).for_each(|i| found[i] |= (at..at + block.bytes).contains(&looked_for[i]));
        true
    });
    walked == Walked { to_the_end: true, skipped_pages: 0 } && found == [true; 2]
}

fn walk() {
    assert!(tells_both(), "a walk in a handler tells all, also of threads that wait for the fork");
    WALKS.fetch_add(1, Ordering::Relaxed);
}

/// Runs `main` beside a thread that does `first`, which may send something, and then waits until `main` has come to its end.
fn beside<T: Send>(first: impl FnOnce(mpsc::Sender<T>) + Send, main: impl FnOnce(mpsc::Receiver<T>)) {
    let (to_main, from_other) = mpsc::channel();
    let (to_other, from_main) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Dropped when `main` unwinds, too: the other thread ends.
        let _to_other = to_other;
        scope.spawn(move || {
            first(to_main);
            let _ = from_main.recv();
        });
        main(from_other);
    });
}

/// The lock of walks was never given back in the parent: its next walk hung.
#[test]
fn a_handler_may_walk() {
    let _alone = begin();
    let first = |to_main: mpsc::Sender<usize>| {
        to_main.send(raw::malloc(100).expose_provenance()).expect("main waits");
    };
    beside(first, |from_other| {
        *LOOKED_FOR.lock().unwrap() = [from_other.recv().expect("a block"), raw::malloc(100).addr()];
        handlers_do(&(walk as fn()));
        fork_and(tells_both);
        assert_eq!(WALKS.load(Ordering::Relaxed), 2, "before the fork, and after it");
        assert!(tells_both());
    });
}

/// Heaps to end, with blocks that a plain free is to be given afterwards.
static HEAPS: Mutex<Vec<Heap>> = Mutex::new(Vec::new());

/// Ends a heap in each way, and has a look at one before.
fn end_heaps() {
    let mut heaps = HEAPS.lock().unwrap_or_else(PoisonError::into_inner);
    for way in 0..3 {
        let mut heap = heaps.pop().expect("heaps enough");
        let mut blocks = 0;
        let is_whole = heap.visit(|_| {
            blocks += 1;
            true
        });
        assert!(is_whole && blocks >= 2, "{blocks} blocks");
        match way {
            0 => heap.destroy(),
            1 => heap.delete(),
            _ => {
                heap.clear();
                assert!(heap.alloc(Layout::new::<u64>()).is_some());
                drop(heap);
            }
        }
    }
    let new = Heap::new().expect("a heap");
    assert!(new.alloc(Layout::new::<[u8; 3000]>()).is_some());
}

/// The forking thread waited for itself to leave the heap's parts.
#[test]
fn a_handler_may_end_heaps() {
    let _alone = begin();
    // Their parts are the other thread's while it lives.
    let first = |to_main: mpsc::Sender<Heap>| {
        for _ in 0..6 {
            let heap = Heap::new().expect("a heap");
            assert!(heap.alloc(Layout::new::<u64>()).is_some());
            to_main.send(heap).expect("main waits");
        }
    };
    beside(first, |from_other| {
        for _ in 0..6 {
            let heap = from_other.recv().expect("a heap");
            assert!(heap.alloc(Layout::new::<u64>()).is_some());
            HEAPS.lock().unwrap().push(heap);
        }
        handlers_do(&(end_heaps as fn()));
        fork_and(|| HEAPS.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    });
    assert!(HEAPS.lock().unwrap().is_empty());
}

/// Who visits heaps held what the fork waited for, and waited for what the fork held.
#[test]
fn a_visitor_of_heaps_may_purge_while_another_thread_forks() {
    let _alone = begin();
    let _heap = Heap::new().expect("a heap");
    let (to_forker, from_visitor) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            tessalloc::visit_heaps(|_| {
                to_forker.send(()).expect("the other thread waits");
                // For the fork to come to its locks: too short, it finds nothing.
                thread::sleep(std::time::Duration::from_millis(50));
                tessalloc::purge();
                false
            });
        });
        from_visitor.recv().expect("heaps are visited");
        fork();
    });
}
