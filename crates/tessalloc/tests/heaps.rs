//! First-class heaps against a naive model, from several threads.

mod support;

use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use support::Random;
use tessalloc::{Heap, HeapId, HeapOptions, LimitKind, LimitReached, heap_of, raw};

impl Random {
    /// Sizes of all classes and of large runs, small ones more often.
    fn layout(&mut self) -> Layout {
        let shift = self.below(18);
        let size = self.below(1 << shift) + 1;
        Layout::from_size_align(size, 1 << self.below(7)).expect("a layout")
    }
}

/// A block that holds a pattern of its own.
#[derive(Clone, Copy)]
struct Owned {
    block: NonNull<u8>,
    layout: Layout,
    seed: u8,
}
// SAFETY: whoever holds the value owns the block.
unsafe impl Send for Owned {}

impl Owned {
    fn new(heap: &Heap, layout: Layout, seed: u8) -> Owned {
        let block = heap.alloc(layout).expect("memory");
        assert!(block.as_ptr().addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: the block holds so much.
        unsafe { block.as_ptr().write_bytes(seed, layout.size()) };
        Owned { block, layout, seed }
    }

    fn check(&self) {
        // SAFETY: the block is in use.
        let bytes = unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == self.seed), "a block of {:?} keeps what was written", self.layout);
    }

    fn free_by(self, heap: &Heap) {
        self.check();
        // SAFETY: the block is in use, and this value's.
        unsafe { heap.dealloc(self.block, self.layout) };
    }

    fn free_plain(self) {
        self.check();
        // SAFETY: as above.
        unsafe { raw::free(self.block.as_ptr()) };
    }
}

#[test]
fn heaps_keep_what_is_written_and_visit_exactly_what_is_in_use() {
    for seed in 1..=6 {
        let mut random = Random(seed);
        let mut heap = Heap::new().expect("a heap");
        let mut live: Vec<Owned> = Vec::new();
        for step in 0..6_000 {
            if live.is_empty() || random.below(100) < if step / 1000 % 2 == 0 { 65 } else { 35 } {
                live.push(Owned::new(&heap, random.layout(), step as u8));
            } else {
                let owned = live.swap_remove(random.below(live.len()));
                match random.below(3) {
                    0 => owned.free_plain(),
                    1 => owned.free_by(&heap),
                    _ => {
                        owned.check();
                        let size = random.below(4 * owned.layout.size()) + 1;
                        // SAFETY: the block is in use.
                        let block = unsafe { heap.realloc(owned.block, owned.layout, size) }.expect("memory");
                        let layout = Layout::from_size_align(size, owned.layout.align()).expect("a layout");
                        Owned {
                            block,
                            layout: Layout::from_size_align(size.min(owned.layout.size()), 1).expect("a layout"),
                            ..owned
                        }
                        .check();
                        // SAFETY: the block holds so much.
                        unsafe { block.as_ptr().write_bytes(owned.seed, size) };
                        live.push(Owned { block, layout, seed: owned.seed });
                    }
                }
            }
            if step % 1500 == 1499 {
                let model: BTreeMap<*mut u8, usize> =
                    live.iter().map(|owned| (owned.block.as_ptr(), owned.layout.size())).collect();
                let mut found = BTreeMap::new();
                assert!(heap.visit(|block| found.insert(block.address, block.bytes).is_none()));
                assert!(found.keys().eq(model.keys()), "the blocks in use, no more and no less");
                assert!(model.iter().all(|(at, size)| found[at] >= *size), "a block holds what was asked for");
                live.iter().for_each(Owned::check);
            }
        }
        for owned in live.drain(..) {
            owned.free_by(&heap);
        }
        assert!(heap.visit(|_| false), "nothing is left to be visited");
        assert_eq!(heap.allocated_bytes(), 0);
    }
}

#[test]
fn blocks_know_their_heap_until_it_is_deleted() {
    let [one, two] = [(); 2].map(|()| Heap::new().expect("a heap"));
    let layouts = [Layout::new::<[u8; 100]>(), Layout::new::<[u8; 20_000]>(), Layout::new::<[u8; 1_000_000]>()];
    for layout in layouts {
        let (a, b) = (Owned::new(&one, layout, 1), Owned::new(&two, layout, 2));
        assert!(one.contains(a.block.as_ptr()) && !one.contains(b.block.as_ptr()));
        assert_eq!(heap_of(b.block.as_ptr()), Some(two.id()));
        a.free_by(&one);
        b.free_plain();
    }
    let plain = raw::malloc(100);
    assert_eq!(heap_of(plain), Some(HeapId::DEFAULT));
    // SAFETY: in use.
    unsafe { raw::free(plain) };
    assert_eq!(heap_of((&raw const layouts).cast()), None, "the thread's stack is no heap of ours");

    let kept: Vec<Owned> = layouts.iter().map(|layout| Owned::new(&one, *layout, 3)).collect();
    one.delete();
    for owned in kept {
        assert_eq!(heap_of(owned.block.as_ptr()), Some(HeapId::DEFAULT));
        owned.free_plain();
    }
}

#[test]
fn deleted_heaps_leave_blocks_to_threads_that_free_them_meanwhile() {
    for round in 0..200 {
        let heap = Heap::new().expect("a heap");
        let mut random = Random(round);
        let mut blocks: Vec<Owned> = (0..600).map(|i| Owned::new(&heap, random.layout(), i as u8)).collect();
        // Blocks of another thread's record too.
        let others = thread::scope(|scope| {
            scope
                .spawn(|| (0..300).map(|i| Owned::new(&heap, Layout::new::<[u8; 48]>(), i as u8)).collect::<Vec<_>>())
                .join()
        });
        blocks.extend(others.expect("no panic"));
        let halves = [blocks.split_off(blocks.len() / 2), blocks];
        thread::scope(|scope| {
            for half in halves {
                scope.spawn(move || half.into_iter().for_each(Owned::free_plain));
            }
            heap.delete();
        });
    }
}

#[test]
fn clear_frees_all_and_keeps_the_heap() {
    let mut heap = Heap::new().expect("a heap");
    let mut random = Random(7);
    let mut places: Option<Vec<_>> = None;
    for round in 0..20 {
        let blocks: Vec<_> = (0..100).map(|_| heap.alloc(Layout::new::<[u64; 8]>()).expect("memory")).collect();
        // From the second time on, blocks come in the order of their addresses, from the same pages.
        if round > 0 {
            assert!(*places.get_or_insert_with(|| blocks.clone()) == blocks, "the same blocks each time");
        }
        for i in 0..50 {
            Owned::new(&heap, random.layout(), i as u8);
        }
        heap.clear();
        assert!(heap.visit(|_| false), "nothing is in use");
        assert_eq!(heap.allocated_bytes(), 0);
    }
}

#[test]
fn scope_destroys_and_returns() {
    let sum = Heap::scope(|heap| {
        (0..1000u64).map(|i| u64::from(Owned::new(heap, Layout::new::<u64>(), i as u8).seed)).sum::<u64>()
    });
    assert_eq!(sum, Ok((0..1000u64).map(|i| i % 256).sum()));
}

#[test]
fn threads_share_heaps_and_hand_blocks_on() {
    const THREADS: usize = 4;
    let heap = Heap::new().expect("a heap");
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::sync_channel::<Owned>(64)).unzip();
    thread::scope(|scope| {
        for (i, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(i + 1) % THREADS].clone();
            let heap = &heap;
            scope.spawn(move || {
                let mut random = Random(i as u64 + 100);
                for step in 0..20_000 {
                    let _ = next.try_send(Owned::new(heap, random.layout(), step as u8)).map_err(|full| match full {
                        mpsc::TrySendError::Full(owned) | mpsc::TrySendError::Disconnected(owned) => {
                            owned.free_by(heap)
                        }
                    });
                    while let Ok(owned) = receiver.try_recv() {
                        if step % 2 == 0 { owned.free_by(heap) } else { owned.free_plain() }
                    }
                }
                drop(next);
                // Bound: the others end.
                receiver.try_iter().for_each(Owned::free_plain);
            });
        }
        drop(senders);
    });
    heap.destroy();
}

#[test]
fn records_of_ended_threads_serve_the_next() {
    let heap = Heap::new().expect("a heap");
    let kept = Mutex::new(Vec::new());
    for i in 0..200 {
        thread::scope(|scope| {
            let push = || kept.lock().expect("no panic").push(Owned::new(&heap, Layout::new::<[u8; 64]>(), i as u8));
            // A scope alone ends before its threads have given back what they had.
            scope.spawn(push).join().expect("no panic");
        });
    }
    let pages: HashMap<usize, usize> =
        kept.lock().expect("no panic").iter().fold(HashMap::new(), |mut pages, owned| {
            *pages.entry(owned.block.as_ptr().addr() >> 16).or_default() += 1;
            pages
        });
    assert!(pages.len() <= 3, "and its pages: {pages:?}");
    for owned in kept.into_inner().expect("no panic") {
        owned.free_by(&heap);
    }
}

static SOFT: AtomicU64 = AtomicU64::new(0);
static HARD: AtomicU64 = AtomicU64::new(0);

fn tell(reached: LimitReached) {
    assert_eq!(reached.tag, 77);
    match reached.kind {
        LimitKind::Soft => &SOFT,
        LimitKind::Hard => &HARD,
    }
    .fetch_add(1, Ordering::Relaxed);
}

#[test]
fn limits_are_told_and_kept() {
    const HARD_BYTES: u64 = 1 << 20;
    let heap = HeapOptions::new()
        .tag(77)
        .soft_limit(HARD_BYTES / 2)
        .hard_limit(HARD_BYTES)
        .on_limit(tell)
        .build()
        .expect("a heap");
    let layout = Layout::new::<[u8; 1000]>();
    let mut blocks = Vec::new();
    while let Some(block) = heap.alloc(layout) {
        blocks.push(block);
        assert!(heap.allocated_bytes() <= HARD_BYTES);
    }
    assert!(blocks.len() as u64 * 1000 > HARD_BYTES * 9 / 10, "{} blocks fit", blocks.len());
    assert_eq!((SOFT.load(Ordering::Relaxed), HARD.load(Ordering::Relaxed)), (1, 1));
    assert!(heap.alloc(Layout::new::<[u8; 300_000]>()).is_none(), "a large one neither");
    assert_eq!(HARD.load(Ordering::Relaxed), 2);
    for block in blocks.drain(..) {
        // SAFETY: in use.
        unsafe { heap.dealloc(block, layout) };
    }
    heap.purge();
    let large = Layout::new::<[u8; 300_000]>();
    let block = heap.alloc(large).expect("room again");
    // SAFETY: in use.
    unsafe { heap.dealloc(block, large) };
}

/// A limit is kept by what blocks take, and so told by that.
#[test]
fn limits_are_told_where_a_block_takes_more_than_was_asked_for() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let tell = |reached: LimitReached| {
        assert_eq!(reached.kind, LimitKind::Hard);
        TOLD.fetch_add(reached.wanted_bytes, Ordering::Relaxed);
    };
    let heap = HeapOptions::new().hard_limit(1000).on_limit(tell).build().expect("a heap");
    assert!(heap.alloc(Layout::new::<[u8; 990]>()).is_none(), "of a class of 1,024");
    assert!(heap.aligned_at(940, 64, 8).is_null(), "of the same class, with 56 bytes in front");
    let heap = HeapOptions::new().hard_limit(100_000).on_limit(tell).build().expect("a heap");
    assert!(heap.alloc(Layout::new::<[u8; 90_000]>()).is_none(), "of two slices");
    assert_eq!(TOLD.load(Ordering::Relaxed), 990 + 940 + 90_000);
}

#[test]
fn zeroing_heaps_zero_what_was_used_before() {
    let heap = HeapOptions::new().zeroed(true).build().expect("a heap");
    for size in [8, 100, 4000, 30_000, 500_000] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        for _ in 0..50 {
            let block = heap.alloc(layout).expect("memory");
            // SAFETY: the block holds so much.
            unsafe {
                assert!(std::slice::from_raw_parts(block.as_ptr(), size).iter().all(|byte| *byte == 0));
                block.as_ptr().write_bytes(0xff, size);
                heap.dealloc(block, layout);
            }
        }
    }
}

#[test]
fn heaps_are_listed_with_name_and_tag() {
    let named = HeapOptions::new().name("sessions of a user with a name that is cut é").tag(5).build().expect("a heap");
    assert_eq!(named.name(), "sessions of a user with a name t");
    let _block = named.alloc(Layout::new::<u64>());
    let mut found = None;
    tessalloc::visit_heaps(|info| {
        if info.id == named.id() {
            found = Some(info);
        }
        found.is_none()
    });
    let info = found.expect("the heap is listed");
    assert_eq!((info.tag, info.name()), (5, named.name()));
    assert!(info.allocated_bytes >= 8);
}

#[cfg(target_os = "linux")]
#[test]
fn forked_children_use_and_end_the_heaps_of_all_threads() {
    let heap = Heap::new().expect("a heap");
    let mine = Owned::new(&heap, Layout::new::<[u8; 300]>(), 9);
    let (to_main, from_other) = mpsc::channel();
    let (to_other, from_main) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            to_main.send(Owned::new(heap, Layout::new::<[u8; 40]>(), 8)).expect("main waits");
            let _ = from_main.recv();
        });
        let others = from_other.recv().expect("the other thread has allocated");
        // SAFETY: the child calls this allocator and ends itself; the timer ends it if it hangs.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "a process for a test");
            if child == 0 {
                libc::alarm(10);
                others.free_plain();
                for i in 0..1000 {
                    Owned::new(heap, Layout::new::<[u8; 40]>(), i as u8).free_by(heap);
                }
                mine.free_by(heap);
                std::ptr::read(heap).destroy();
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0, "the child hangs or crashes");
        }
        mine.check();
        others.free_by(heap);
        drop(to_other);
    });
}

#[test]
fn many_heaps_live_at_once() {
    let heaps: Vec<Heap> = (0..2_000).map(|_| Heap::new().expect("a heap")).collect();
    let blocks: Vec<Owned> =
        heaps.iter().enumerate().map(|(i, heap)| Owned::new(heap, Layout::new::<u64>(), i as u8)).collect();
    assert!(tessalloc::heap_count() >= 2_000);
    for (heap, owned) in heaps.iter().zip(&blocks) {
        assert!(heap.contains(owned.block.as_ptr()));
        owned.check();
    }
    for (heap, owned) in heaps.iter().zip(blocks) {
        owned.free_by(heap);
    }
}

#[test]
fn heap_serves_alignment_at_an_offset_and_takes_it_along() {
    let heap = Heap::new().expect("memory");
    let kept = Heap::new().expect("memory");
    let all = [(100, 64, 8), (3000, 4096, 40), (200 << 10, 1 << 20, 24), (5 << 20, 32, 16)];
    for (size, align, offset) in all {
        for heap in [&heap, &kept] {
            let block = heap.zalloc_aligned_at(size, align, offset);
            assert_eq!(block.addr().wrapping_add(offset) % align, 0);
            assert!(heap.contains(block) && tessalloc::heap_of(block) == Some(heap.id()));
            assert!(heap.allocated_bytes() >= size as u64);
            // SAFETY: a block of ours, of so many bytes.
            unsafe {
                assert!((0..size).all(|at| block.add(at).read() == 0));
                block.write_bytes(3, size);
                let block = heap.rezalloc_aligned_at(block, 2 * size, align, offset);
                assert_eq!(block.addr().wrapping_add(offset) % align, 0);
                assert!(
                    (0..2 * size).all(|at| block.add(at).read() == if at < size { 3 } else { block.add(at).read() })
                );
                raw::free(heap.aligned_at(size, align, offset));
            }
        }
    }
    // A heap that goes takes its blocks along; one that is deleted leaves them to the default heap.
    let mut kept = kept;
    let mut blocks = Vec::new();
    kept.visit(|block| {
        blocks.push(block);
        true
    });
    assert_eq!(blocks.len(), all.len());
    heap.destroy();
    kept.delete();
    for block in blocks {
        assert_eq!(tessalloc::heap_of(block.address), Some(tessalloc::HeapId::DEFAULT));
        // SAFETY: the block starts inside its place, and was left in use: any address in the place leads to it.
        unsafe { raw::free(block.address) };
    }
}

#[test]
fn heap_with_a_hard_limit_keeps_it_at_offsets() {
    let heap = tessalloc::HeapOptions::new().hard_limit(1 << 20).build().expect("memory");
    assert!(heap.aligned_at(2 << 20, 64, 8).is_null());
    let mut count = 0;
    while !heap.aligned_at(10_000, 64, 8).is_null() {
        count += 1;
    }
    assert!((90..=104).contains(&count), "{count} blocks of 10 KiB below 1 MiB");
    heap.destroy();
}

#[test]
fn heap_resizes_blocks_of_any_heap() {
    let (first, second) = (Heap::new().expect("memory"), Heap::new().expect("memory"));
    let block = first.malloc(100);
    // SAFETY: blocks of ours; only the last one is in use.
    unsafe {
        block.write_bytes(7, 100);
        let block = second.realloc_aligned_at(block, 5000, 16, 0);
        assert!(second.contains(block) && (0..100).all(|at| block.add(at).read() == 7));
        let block = first.rezalloc_aligned_at(block, 100 << 10, 16, 0);
        assert!(first.contains(block) && (0..100).all(|at| block.add(at).read() == 7));
        assert!((5120..100 << 10).all(|at| block.add(at).read() == 0));
    }
    first.destroy();
}

#[test]
fn heap_frees_without_a_layout_what_it_gave() {
    let heap = Heap::new().expect("memory");
    let mut random = Random(11);
    let mut blocks = vec![std::ptr::null_mut(); 300];
    for size in [1, 48, 1000, 30_000, 200_000] {
        assert_eq!(heap.malloc_batch(size, &mut blocks), blocks.len());
        for (at, block) in blocks.iter().enumerate() {
            assert!(heap.contains(*block));
            // SAFETY: the block holds so much.
            unsafe { block.write_bytes(at as u8, size) };
        }
        for (at, block) in blocks.iter().enumerate() {
            // SAFETY: in use, and freed once.
            unsafe {
                assert!(std::slice::from_raw_parts(*block, size).iter().all(|byte| *byte == at as u8));
                if random.below(2) == 0 { heap.free(*block) } else { raw::free(*block) }
            }
        }
    }
    // SAFETY: null, and a block at an offset.
    unsafe {
        heap.free(std::ptr::null_mut());
        heap.free(heap.aligned_at(100, 64, 8));
    }
    let mut heap = heap;
    assert!(heap.visit(|_| false), "nothing is left");
    let limited = HeapOptions::new().hard_limit(1 << 20).build().expect("memory");
    let count = limited.malloc_batch(10_000, &mut blocks);
    assert!((80..=104).contains(&count), "{count} blocks below 1 MiB");
}

#[test]
fn zeroing_heaps_zero_to_the_end_of_what_is_usable() {
    let heap = HeapOptions::new().zeroed(true).build().expect("memory");
    for _ in 0..3 {
        let block = heap.malloc(1000);
        // SAFETY: the block holds so much; it is in use until it is freed.
        unsafe {
            let usable = raw::usable_size(block);
            assert!(std::slice::from_raw_parts(block, usable).iter().all(|byte| *byte == 0));
            block.write_bytes(0xff, usable);
            heap.free(block);
        }
    }
}
