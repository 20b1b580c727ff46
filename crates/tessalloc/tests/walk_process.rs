//! Walks over the whole process against a naive model: what is told is exactly what is in use. Alone in its process, one test at a time.

mod support;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError, mpsc};
use std::thread;

use support::{Random, alone};
use tessalloc::{
    Heap, HeapId, PageInfo, PageOwner, ThreadId, Walked, Which, raw, visit_blocks, visit_blocks_exactly, visit_pages,
};

const WHOLE: Walked = Walked { to_the_end: true, skipped_pages: 0 };

/// A block in use, and the heap that it is of.
#[derive(Clone, Copy, Debug)]
struct Held {
    address: usize,
    size: usize,
    heap: u64,
    /// It starts inside of the place that walks tell.
    is_at_offset: bool,
}

impl Held {
    fn new(random: &mut Random, heap: Option<&Heap>) -> Self {
        let shift = random.below(18);
        let size = random.below(1 << shift) + 1;
        let is_at_offset = random.below(30) == 0;
        let align = 8 << random.below(5);
        let block = match heap {
            Some(heap) if is_at_offset => heap.aligned_at(size, 64, 8),
            Some(heap) => heap.alloc(Layout::from_size_align(size, align).expect("a layout")).expect("memory").as_ptr(),
            None if is_at_offset => raw::aligned_at(size, 64, 8),
            None => raw::aligned(size, align),
        };
        assert!(!block.is_null());
        Held { address: block.expose_provenance(), size, heap: heap.map_or(0, |heap| heap.id().get()), is_at_offset }
    }

    fn free(self) {
        // SAFETY: a block of ours, of which this value is the only one.
        unsafe { raw::free(std::ptr::with_exposed_provenance_mut(self.address)) };
    }
}

/// What walks tell: bytes and heap by address.
type Told = BTreeMap<usize, (usize, PageInfo)>;

fn tell(walk: impl FnOnce(&mut dyn FnMut(&PageInfo, usize, usize) -> bool) -> Walked) -> (Told, Walked) {
    let mut told = Told::new();
    let walked = walk(&mut |page, address, bytes| {
        assert!(told.insert(address, (bytes, *page)).is_none(), "told twice");
        true
    });
    (told, walked)
}

/// # Safety
/// - As for [`visit_blocks_exactly`].
unsafe fn tell_exactly(which: Which) -> Told {
    let (told, walked) = tell(|visit| {
        // SAFETY: the caller's duty.
        unsafe { visit_blocks_exactly(which, |page, block| visit(page, block.address.addr(), block.bytes)) }
    });
    assert_eq!(walked, WHOLE);
    told
}

/// Each held block is told once, and if `exactly` nothing else is.
fn compare(told: &Told, held: &[Held], exactly: bool) {
    for block in held {
        let (&address, (bytes, page)) = told.range(..=block.address).next_back().expect("a block at or before it");
        assert!(address == block.address || block.is_at_offset, "{block:?} is not told");
        assert!(block.address + block.size <= address + bytes, "{block:?} is told too short: {bytes}");
        assert_eq!(page.heap.get(), block.heap, "{block:?}");
        assert!(page.address.addr() <= address && address + bytes <= page.address.addr() + page.bytes, "{block:?}");
    }
    assert!(!exactly || told.len() == held.len(), "{} told, {} in use", told.len(), held.len());
}

/// Threads allocate, free, hand blocks on to others to free, use heaps, begin and end; now and then all stand still, with blocks on
/// stacks, in rings and inboxes, in pages with and without owners: then the walk tells what the model has.
#[test]
fn exact_walk_tells_what_the_model_has() {
    const ROUNDS: usize = 12;
    const THREADS: usize = 4;
    const STEPS: usize = if cfg!(debug_assertions) { 3000 } else { 12_000 };
    let _alone = alone();
    let heaps = [Heap::new().expect("memory"), Heap::new().expect("memory")];
    let all: Mutex<Vec<Held>> = Mutex::default();
    for round in 0..ROUNDS {
        let (stand, go_on) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (all, heaps, stand, go_on) = (&all, &heaps, &stand, &go_on);
                scope.spawn(move || {
                    let mut random = Random((round * THREADS + number + 1) as u64);
                    for _half in 0..2 {
                        for _ in 0..STEPS {
                            // Most of the blocks that it frees are others'.
                            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                            if random.below(100) < 48 && !all.is_empty() {
                                let at = random.below(all.len());
                                all.swap_remove(at).free();
                            } else {
                                let heap = (random.below(3) == 0).then(|| &heaps[random.below(2)]);
                                all.push(Held::new(&mut random, heap));
                            }
                        }
                        // First time they live and stand still, second time they end before the walk.
                        stand.wait();
                        go_on.wait();
                    }
                });
            }
            for half in 0..2 {
                stand.wait();
                if half == 0 {
                    let held = all.lock().unwrap_or_else(PoisonError::into_inner);
                    // SAFETY: all threads wait at the second barrier.
                    compare(&unsafe { tell_exactly(Which::All) }, &held, true);
                    let of_heap: Vec<Held> =
                        held.iter().filter(|held| held.heap == heaps[0].id().get()).copied().collect();
                    // SAFETY: as above.
                    compare(&unsafe { tell_exactly(Which::Heap(heaps[0].id())) }, &of_heap, true);
                }
                go_on.wait();
            }
        });
        // SAFETY: the threads' work is done; what their ends still do, a walk allows.
        let told = unsafe { tell_exactly(Which::All) };
        compare(&told, &all.lock().unwrap_or_else(PoisonError::into_inner), true);
    }
    drop(heaps);
    let held = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    held.into_iter().for_each(Held::free);
    // SAFETY: the only thread.
    assert!(unsafe { tell_exactly(Which::All) }.is_empty());
}

/// While others allocate and free, what is in use all the time is told once, whatever thread allocated it and whether that lives.
#[test]
fn walk_beside_busy_threads_tells_what_stays() {
    let _alone = alone();
    let heap = Heap::new().expect("memory");
    let make = |seed: u64| -> Vec<Held> {
        let mut random = Random(seed);
        let mut blocks: Vec<Held> = (0..4000).map(|i| Held::new(&mut random, (i % 4 == 0).then_some(&heap))).collect();
        // Holes, so that pages have room.
        blocks.drain(1000..3000).for_each(Held::free);
        blocks
    };
    let mut stay: Vec<Held> = thread::scope(|scope| {
        let threads: Vec<_> = (1..4).map(|seed| scope.spawn(move || make(seed))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    stay.extend(make(9));
    // SAFETY: the only thread.
    let places = unsafe { tell_exactly(Which::All) };
    let is_over = AtomicBool::new(false);
    let mut whole = 0;
    thread::scope(|scope| {
        for seed in 20..23 {
            let (heap, is_over) = (&heap, &is_over);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !is_over.load(Ordering::Relaxed) {
                    // Begins and ends, too.
                    thread::scope(|scope| {
                        scope.spawn(|| Held::new(&mut Random(seed), None).free());
                    });
                    let blocks: Vec<Held> =
                        (0..300).map(|i| Held::new(&mut random, (i % 3 == 0).then_some(heap))).collect();
                    blocks.into_iter().for_each(Held::free);
                }
            });
        }
        for _ in 0..if cfg!(debug_assertions) { 30 } else { 100 } {
            let (told, walked) = tell(|visit| {
                visit_blocks(Which::All, |page, block| {
                    // Others may be told at an address that is told again, of another page there.
                    !places.contains_key(&block.address.addr()) || visit(page, block.address.addr(), block.bytes)
                })
            });
            assert!(walked.to_the_end);
            if walked.skipped_pages == 0 {
                whole += 1;
                compare(&told, &stay, false);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(whole > 0, "some walks found all threads outside the allocator in time");
    stay.into_iter().for_each(Held::free);
}

/// Who owns pages is told by thread, and by nobody when that has ended.
#[test]
fn pages_are_told_with_their_owners() {
    let _alone = alone();
    let (send_id, id) = mpsc::channel();
    let (end, is_over) = mpsc::channel::<()>();
    let heap = Heap::new().expect("memory");
    let heap_of_thread = &heap;
    let id = thread::scope(move |scope| {
        let heap = heap_of_thread;
        scope.spawn(move || {
            let small: Vec<*mut u8> = (0..10_000).map(|_| raw::malloc(64)).collect();
            let of_heap = heap.alloc(Layout::new::<[u64; 8]>()).expect("memory");
            send_id.send(ThreadId::current().expect("a thread that has allocated")).expect("a receiver");
            let _ = is_over.recv();
            // SAFETY: blocks of ours, freed once; one stays.
            small[1..].iter().for_each(|block| unsafe { raw::free(*block) });
            // SAFETY: as above.
            unsafe { heap.dealloc(of_heap, Layout::new::<[u64; 8]>()) };
        });
        let id = id.recv().expect("an id");
        assert!(id.is_alive() && Some(id) != ThreadId::current());
        let (mut used, mut of_heap) = (0, 0);
        let walked = visit_pages(Which::Thread(id), |page| {
            assert_eq!(page.owner, PageOwner::Thread(id));
            assert!(page.used <= page.capacity && page.capacity <= page.reserved);
            assert!(page.reserved * page.block_bytes <= page.bytes);
            used += page.used;
            of_heap += usize::from(page.heap == heap.id());
            assert!(page.heap == heap.id() || page.heap == HeapId::DEFAULT);
            true
        });
        assert_eq!((walked, of_heap), (WHOLE, 1));
        assert!(used >= 10_001, "all blocks of the thread lie in its pages: {used}");
        let mut blocks = 0;
        let walked = visit_blocks(Which::Thread(id), |page, block| {
            assert!(block.bytes == page.block_bytes || page.block_bytes == 0);
            blocks += 1;
            true
        });
        assert_eq!((walked, blocks), (WHOLE, used));
        drop(end);
        id
    });
    // Its end may still be on its way.
    while id.is_alive() {
        thread::yield_now();
    }
    assert_eq!(visit_pages(Which::Thread(id), |_| panic!("it has no pages any more")), WHOLE);
    let mut owners = Vec::new();
    // SAFETY: the only thread.
    let walked = unsafe {
        visit_blocks_exactly(Which::WithoutThread, |page, block| {
            owners.push((block, page.owner));
            true
        })
    };
    assert_eq!(walked, WHOLE);
    assert_eq!(owners.len(), 1, "one block stays");
    assert!(matches!(owners[0].1, PageOwner::Abandoned | PageOwner::Ownerless), "{owners:?}");
    assert_eq!(owners[0].0.bytes, 64);
    // SAFETY: the block that the thread left, freed once.
    unsafe { raw::free(owners[0].0.address) };
}

#[test]
fn a_walk_ends_when_its_visitor_has_enough() {
    let _alone = alone();
    let blocks: Vec<Held> = (0..100).map(|i| Held::new(&mut Random(i), None)).collect();
    let mut count = 0;
    let walked = visit_blocks(Which::All, |_, _| {
        count += 1;
        count < 10
    });
    assert_eq!((count, walked), (10, Walked { to_the_end: false, ..WHOLE }));
    blocks.into_iter().for_each(Held::free);
}

/// What a visitor may do: allocate and free blocks of all kinds, make and end heaps, purge; and unwind.
#[test]
fn visitors_may_allocate_and_free() {
    let _alone = alone();
    let mut held: Vec<Held> = (0..3000).map(|i| Held::new(&mut Random(i), None)).collect();
    // Pages that wait for an owner, which the walk holds while it tells of them.
    held.extend(thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut blocks: Vec<Held> = (0..3000).map(|i| Held::new(&mut Random(i), None)).collect();
            blocks.drain(1000..2000).for_each(Held::free);
            blocks
        });
        thread.join().expect("a thread")
    }));
    let mut random = Random(5);
    let mut new = Vec::new();
    let walked = visit_blocks(Which::All, |_, _| {
        let heap = (random.below(50) == 0).then(|| Heap::new().expect("memory"));
        let block = Held::new(&mut random, heap.as_ref());
        if random.below(2) == 0 {
            block.free();
        } else {
            new.push(block);
        }
        if random.below(500) == 0 {
            tessalloc::purge();
        }
        true
    });
    assert_eq!(walked, WHOLE);
    let unwound = std::panic::catch_unwind(|| visit_blocks(Which::All, |_, _| panic!("as planned")));
    assert!(unwound.is_err());
    held.into_iter().chain(new).for_each(Held::free);
    assert!(visit_blocks(Which::All, |_, _| true).to_the_end, "walks go on after one that unwound");
}

const MISUSE: &str = "TESSALLOC_TEST_WALK_IN_A_WALK";

#[test]
fn a_walk_inside_of_a_walk_is_reported_and_ends_the_process() {
    let child = Command::new(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "walk_in_a_walk_in_a_child", "--nocapture", "--test-threads=1"])
        .env(MISUSE, "1")
        .output()
        .expect("the test program starts again");
    let text = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "it went on");
    assert!(text.contains("tessalloc: cannot begin a walk inside of one: expected"), "{text}");
}

#[test]
fn walk_in_a_walk_in_a_child() {
    if std::env::var(MISUSE).is_ok() {
        let block = raw::malloc(100);
        let _ = visit_pages(Which::All, |_| visit_pages(Which::All, |_| true).to_the_end);
        // SAFETY: a block of ours, freed once.
        unsafe { raw::free(block) };
    }
}
