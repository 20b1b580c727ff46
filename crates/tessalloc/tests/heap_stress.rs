//! Many short heaps of many threads at once: they end, one way or the other, while other threads free blocks of theirs, allocate from
//! them, and end. Every block keeps what was written, and what the process holds comes to a height and stays there; when all have ended,
//! nothing of it is left.
//!
//! The full size is 32 workers of 10,000 heaps each:
//!
//!     TESSALLOC_TEST_STRESS=32x10000 cargo test --release -p tessalloc --test heap_stress -- --nocapture
//!
//! `npm run sanitize -- thread` runs it under ThreadSanitizer, smaller.

mod support;

use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::Random;
use tessalloc::{Heap, Tessalloc, raw};

/// What the test itself allocates is the default heap's, of the same allocator.
#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

/// Workers and heaps a worker: of each test run, and what makes the process's size comparable.
const DEFAULT_SIZE: (usize, usize) = (8, 400);
/// Blocks of a heap before it is handed around.
const BLOCKS: usize = 60;
/// Heaps of one thread, which then ends.
const HEAPS_A_THREAD: usize = 100;
/// How far the resident size may waver besides the tenth that it may grow, by the work that waits for other threads at a moment; and
/// what may be left when all have ended, of which the process itself is a third.
const SLACK_KIB: u64 = 16 << 10;
/// Handed-on work that a worker leaves waiting at most, before it does it.
const MAIL_MAX: usize = 64;

impl Random {
    /// Small blocks of all classes, and now and then a large run.
    fn layout(&mut self) -> Layout {
        let shift = if self.below(100) == 0 { 18 } else { 3 + self.below(11) };
        let size = self.below(1 << shift) + 1;
        Layout::from_size_align(size, 1 << self.below(7)).expect("a layout")
    }
}

/// A block that holds its seed in its first and last bytes.
struct Owned {
    block: NonNull<u8>,
    layout: Layout,
    seed: u8,
}
// SAFETY: whoever holds the value owns the block.
unsafe impl Send for Owned {}

impl Owned {
    fn new(heap: &Heap, random: &mut Random) -> Owned {
        let (layout, seed) = (random.layout(), random.below(256) as u8);
        let block = heap.alloc(layout).expect("memory");
        assert!(block.as_ptr().addr().is_multiple_of(layout.align()), "{layout:?}");
        let owned = Owned { block, layout, seed };
        owned.ends().into_iter().for_each(|end| {
            // SAFETY: the block holds so much.
            unsafe { end.write(seed) };
        });
        owned
    }

    fn ends(&self) -> [*mut u8; 2] {
        [self.block.as_ptr(), self.block.as_ptr().wrapping_add(self.layout.size() - 1)]
    }

    fn check(&self) {
        for end in self.ends() {
            // SAFETY: the block is in use.
            assert_eq!(unsafe { end.read() }, self.seed, "a block of {:?} keeps what was written", self.layout);
        }
    }

    fn free_by(self, heap: &Heap) {
        self.check();
        // SAFETY: a block of the heap, in use, and this value's.
        unsafe { heap.dealloc(self.block, self.layout) };
    }

    fn free_plain(self) {
        self.check();
        // SAFETY: as above.
        unsafe { raw::free(self.block.as_ptr()) };
    }
}

/// What a worker asks of another.
enum Work {
    /// Free these, and count them.
    Free(Vec<Owned>, Arc<AtomicUsize>),
    /// Free these, whose heap may be gone.
    FreeDeleted(Vec<Owned>),
    /// Use the heap; whoever is last ends it, with what is left in it.
    Use(Arc<Heap>, Vec<Owned>),
}

impl Work {
    fn perform(self, random: &mut Random) {
        match self {
            Work::Free(blocks, freed) => {
                let count = blocks.len();
                blocks.into_iter().for_each(Owned::free_plain);
                freed.fetch_add(count, Ordering::Release);
            }
            Work::FreeDeleted(blocks) => blocks.into_iter().for_each(Owned::free_plain),
            Work::Use(heap, blocks) => {
                let own: Vec<_> = (0..BLOCKS / 2).map(|_| Owned::new(&heap, random)).collect();
                for (i, owned) in blocks.into_iter().chain(own).enumerate() {
                    if i % 3 > 0 { owned.free_by(&heap) } else { owned.free_plain() }
                }
                if let Some(heap) = Arc::into_inner(heap) {
                    heap.destroy();
                }
            }
        }
    }
}

struct Stress {
    mail: Vec<Mutex<Vec<Work>>>,
    heaps: usize,
    done: AtomicU32,
    /// Resident bytes after each tenth.
    resident: [AtomicU64; 10],
}

impl Stress {
    fn take(&self, worker: usize) -> Option<Work> {
        self.mail[worker].lock().expect("no panic").pop()
    }

    /// Hands work to another worker, or does it if that one has enough.
    fn hand(&self, worker: usize, random: &mut Random, work: Work) {
        let others = self.mail.len();
        let mut mail = self.mail[(worker + 1 + random.below(others - 1)) % others].lock().expect("no panic");
        if mail.len() < MAIL_MAX {
            mail.push(work);
            return;
        }
        drop(mail);
        work.perform(random);
    }

    fn work(&self, worker: usize, rounds: Range<usize>) {
        let mut random = Random((worker << 32 | rounds.start) as u64);
        for round in rounds {
            let heap = Heap::new().expect("a heap");
            let mut blocks: Vec<Owned> = (0..BLOCKS).map(|_| Owned::new(&heap, &mut random)).collect();
            let others = blocks.split_off(BLOCKS / 2);
            match round % 4 {
                // Ends with blocks in it.
                0 => {
                    blocks.into_iter().for_each(|owned| owned.free_by(&heap));
                    others.iter().for_each(Owned::check);
                    heap.destroy();
                }
                // Ends when others have freed their part.
                1 => {
                    let (count, freed) = (others.len(), Arc::new(AtomicUsize::new(0)));
                    self.hand(worker, &mut random, Work::Free(others, freed.clone()));
                    while freed.load(Ordering::Acquire) < count {
                        match self.take(worker) {
                            Some(work) => work.perform(&mut random),
                            None => thread::yield_now(),
                        }
                    }
                    blocks.iter().for_each(Owned::check);
                    heap.destroy();
                }
                // Ends while others free their part.
                2 => {
                    self.hand(worker, &mut random, Work::FreeDeleted(others));
                    blocks.into_iter().for_each(Owned::free_plain);
                    heap.delete();
                }
                // Ends by whoever comes last.
                _ => {
                    let heap = Arc::new(heap);
                    self.hand(worker, &mut random, Work::Use(heap.clone(), others));
                    Work::Use(heap, blocks).perform(&mut random);
                }
            }
            while let Some(work) = self.take(worker) {
                work.perform(&mut random);
            }
            self.count();
        }
    }

    /// Does what others ask for until all heaps have ended.
    fn serve(&self, worker: usize) {
        let mut random = Random(worker as u64);
        // What was handed on before the last heap ended is seen below.
        while (self.done.load(Ordering::Acquire) as usize) < self.heaps * self.mail.len() {
            match self.take(worker) {
                Some(work) => work.perform(&mut random),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        while let Some(work) = self.take(worker) {
            work.perform(&mut random);
        }
    }

    fn count(&self) {
        let done = self.done.fetch_add(1, Ordering::Release) as usize + 1;
        let tenth = self.heaps * self.mail.len() / 10;
        if done.is_multiple_of(tenth) && done / tenth <= 10 {
            self.resident[done / tenth - 1].store(resident_bytes(), Ordering::Relaxed);
        }
    }
}

/// What the process has in memory; 0 where that can't be told.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

#[test]
fn short_heaps_of_many_threads_end_while_others_free() {
    let asked = std::env::var("TESSALLOC_TEST_STRESS").unwrap_or_default();
    let size = asked.split_once('x').and_then(|(workers, heaps)| Some((workers.parse().ok()?, heaps.parse().ok()?)));
    let (workers, heaps) = size.unwrap_or(DEFAULT_SIZE);
    let stress = Stress {
        mail: (0..workers).map(|_| Mutex::default()).collect(),
        heaps,
        done: AtomicU32::new(0),
        resident: Default::default(),
    };
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..workers {
            let stress = &stress;
            // Each worker is several threads, one after the other: their ends are part of it.
            scope.spawn(move || {
                for from in (0..heaps).step_by(HEAPS_A_THREAD) {
                    thread::scope(|scope| {
                        scope.spawn(move || stress.work(worker, from..heaps.min(from + HEAPS_A_THREAD)));
                    });
                }
                stress.serve(worker);
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(tessalloc::heap_count(), 0, "all heaps have ended");
    let resident: Vec<u64> = stress.resident.iter().map(|bytes| bytes.load(Ordering::Relaxed) >> 10).collect();
    tessalloc::purge();
    let end = resident_bytes() >> 10;
    println!(
        "\ncovered: {workers} x {heaps} heaps in {seconds:.1} s; KiB resident after each tenth: {resident:?}, at the end {end}"
    );
    // Under ThreadSanitizer its own memory would be measured.
    if std::env::var_os("TESSALLOC_TEST_SANITIZED").is_none() {
        // At first slices are touched more and more, as heaps take them in turn: what is free is kept for some seconds.
        let (before, last) = (median(&resident[3..6]), median(&resident[6..9]));
        assert!(
            last * 10 <= before * 11 + SLACK_KIB * 10,
            "{last} KiB after most of the heaps, {before} KiB after half"
        );
        assert!(end <= SLACK_KIB, "{end} KiB are left of {} heaps", workers * heaps);
    }
}

fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
