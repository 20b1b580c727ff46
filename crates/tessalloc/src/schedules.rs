//! Long random schedules of the whole allocator on the simulated system, by shuttle: threads that allocate, hand blocks over, free
//! those of others, make and end heaps, grow, purge, walk, fork and end, one of them at a time, changing at any access to an atomic.
//!
//! | scenario | what meets |
//! |----------|------------|
//! | `pages`  | owners, remote frees, claims, adopters and thread ends, with next to nothing on stacks |
//! | `heaps`  | leases, late frees, heaps that are deleted, destroyed and cleared, threads that end meanwhile |
//! | `space`  | runs of all lengths in regions of 4 MiB: growth, purges, long runs |
//! | `arenas` | arenas that end and begin anew under takers who come late |
//! | `all`    | all of it, with a scavenger, walkers, forks, options and figures |
//!
//! Each process begins cold, since the first threads and regions are made in a schedule too: `schedules_run` starts processes of
//! itself. `TESSALLOC_TEST_SCHEDULES` says how many for each scenario, `TESSALLOC_TEST_SCHEDULE=pages:7` runs that one here.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use std::format;
use std::process::Command;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;

use crate::arena::{Arena, ArenaOptions};
use crate::heaps::Heap;
use crate::options::Opt;
use crate::stats::{self, Counter};
use crate::{os, raw, region, scavenger, walk};

/// Schedules of a process.
const SCHEDULES: usize = 8;
/// What each thread does, in steps.
const STEPS: usize = 24;
const SLOTS: usize = 6;

/// How often a scenario does what, of the sum.
#[derive(Clone, Copy, Default)]
struct Weights {
    alloc: u32,
    free: u32,
    hand_over: u32,
    heap: u32,
    large: u32,
    purge: u32,
    arena: u32,
    look: u32,
    fork: u32,
    idle: u32,
}

const SCENARIOS: [(&str, Weights); 5] = [
    (
        "pages",
        Weights { alloc: 10, free: 6, hand_over: 8, heap: 0, large: 0, purge: 1, arena: 0, look: 1, fork: 0, idle: 1 },
    ),
    (
        "heaps",
        Weights { alloc: 10, free: 5, hand_over: 7, heap: 6, large: 1, purge: 1, arena: 0, look: 1, fork: 0, idle: 1 },
    ),
    (
        "space",
        Weights { alloc: 2, free: 8, hand_over: 3, heap: 0, large: 10, purge: 3, arena: 0, look: 1, fork: 1, idle: 0 },
    ),
    (
        "arenas",
        Weights { alloc: 8, free: 8, hand_over: 4, heap: 3, large: 3, purge: 1, arena: 4, look: 1, fork: 0, idle: 0 },
    ),
    (
        "all",
        Weights { alloc: 10, free: 6, hand_over: 6, heap: 3, large: 2, purge: 2, arena: 1, look: 2, fork: 1, idle: 1 },
    ),
];

/// Steele, Lea and Flood's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

/// A block in use, filled with its stamp as far as its ends.
struct Held {
    block: NonNull<u8>,
    layout: Layout,
    stamp: u8,
    /// The heap that it is of; ending by it is that heap's matter.
    heap: Option<Arc<Shared>>,
}

// SAFETY: a block is one thread's at a time.
unsafe impl Send for Held {}

/// A heap that several threads use.
struct Shared(Heap);

/// Bytes at each end of a block that are written and looked at.
const END_BYTES: usize = 64;

impl Held {
    fn new(block: NonNull<u8>, layout: Layout, heap: Option<Arc<Shared>>, random: &mut Random) -> Self {
        assert!(block.addr().get().is_multiple_of(layout.align()), "a block is aligned as asked");
        let held = Self { block, layout, stamp: random.next() as u8, heap };
        for bytes in held.ends() {
            // SAFETY: the block is this thread's.
            unsafe { (*bytes).fill(held.stamp) };
        }
        held
    }

    fn ends(&self) -> [*mut [u8]; 2] {
        let size = self.layout.size();
        let count = size.min(END_BYTES);
        [0, size - count].map(|from| {
            // SAFETY: inside the block.
            core::ptr::slice_from_raw_parts_mut(unsafe { self.block.as_ptr().add(from) }, count)
        })
    }

    fn check(&self) {
        for bytes in self.ends() {
            // SAFETY: the block is this thread's.
            let is_whole = unsafe { (*bytes).iter().all(|byte| *byte == self.stamp) };
            assert!(is_whole, "a block of {} bytes at {:p} was written by another", self.layout.size(), self.block);
        }
    }

    fn free(self, random: &mut Random) {
        self.check();
        let Self { block, layout, heap, .. } = self;
        let way = random.below(4) as u32;
        // SAFETY: the block is this thread's, and of the heap that it says.
        unsafe {
            if way < 2
                && let Some(heap) = &heap
            {
                return heap.0.dealloc(block, layout);
            }
            // Who is the last deletes the heap: the block is then the default heap's.
            drop(heap);
            if way.is_multiple_of(2) {
                raw::free_layout(block.as_ptr(), layout.size(), layout.align());
            } else {
                raw::free(block.as_ptr());
            }
        }
    }
}

/// What the threads of a schedule share. Nobody changes turns while a lock of it is held.
struct World {
    weights: Weights,
    slots: [Mutex<Option<Held>>; SLOTS],
    heap: Mutex<Option<Arc<Shared>>>,
    arena: Mutex<Option<Arena>>,
}

/// Runs a thread of the schedule with what the system does at its end.
fn spawn(act: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        act();
        os::scheduled::end_thread();
    })
}

const SIZES: [usize; 12] = [1, 16, 48, 64, 200, 1000, 1024, 3000, 4096, 8192, 20_000, 60_000];
const SLICE: usize = region::SLICE_BYTES;
const LARGE: [usize; 8] = [SLICE, SLICE + 1, 3 * SLICE, 9 * SLICE, 31 * SLICE, 40 * SLICE, 64 * SLICE, 70 * SLICE];

impl World {
    fn new(weights: Weights) -> Arc<Self> {
        Arc::new(Self {
            weights,
            slots: [const { Mutex::new(None) }; SLOTS],
            heap: Mutex::new(None),
            arena: Mutex::new(None),
        })
    }

    fn act(&self, random: &mut Random, own: &mut Vec<Held>) {
        let w = self.weights;
        type Way = fn(&World, &mut Random, &mut Vec<Held>);
        let ways: [(u32, Way); 10] = [
            (w.alloc, Self::alloc),
            (w.free, Self::free),
            (w.hand_over, Self::hand_over),
            (w.heap, Self::end_heap),
            (w.large, Self::alloc_large),
            (w.purge, Self::purge),
            (w.arena, Self::end_arena),
            (w.look, Self::look),
            (w.fork, Self::fork),
            (w.idle, Self::idle),
        ];
        let mut at = random.below(ways.iter().map(|(weight, _)| *weight as usize).sum()) as u32;
        for (weight, way) in ways {
            if at < weight {
                return way(self, random, own);
            }
            at -= weight;
        }
    }

    /// The heap of the moment; a new one if there is none, and at times in the arena of the moment.
    fn shared_heap(&self, random: &mut Random) -> Option<Arc<Shared>> {
        if let Some(heap) = &*self.heap.lock().unwrap() {
            return Some(heap.clone());
        }
        let arena = if random.below(2) == 0 { self.arena.lock().unwrap().take() } else { None };
        let heap = match &arena {
            Some(arena) => crate::HeapOptions::new().build_in(arena),
            None => Heap::new(),
        };
        self.keep_arena(arena);
        let heap = Arc::new(Shared(heap.ok()?));
        let before = self.heap.lock().unwrap().replace(heap.clone());
        drop(before);
        Some(heap)
    }

    fn keep_arena(&self, arena: Option<Arena>) {
        let Some(arena) = arena else { return };
        let before = self.arena.lock().unwrap().replace(arena);
        // One too many: it stays as long as a heap has it, and its address space for good.
        _ = before.map(Arena::release);
    }

    fn alloc_of(&self, random: &mut Random, own: &mut Vec<Held>, size: usize) {
        let align = if random.below(8) == 0 { 1 << random.below(14) } else { 1 };
        let layout = Layout::from_size_align(size, align).unwrap();
        let heap = if self.weights.heap > 0 && random.below(2) == 0 { self.shared_heap(random) } else { None };
        let zeroed = random.below(4) == 0;
        let block = match &heap {
            Some(heap) if zeroed => heap.0.alloc_zeroed(layout),
            Some(heap) => heap.0.alloc(layout),
            None if zeroed => NonNull::new(raw::zeroed_aligned(size, align)),
            None => NonNull::new(raw::aligned(size, align)),
        };
        let Some(block) = block else { return };
        if zeroed {
            // SAFETY: the block is this thread's, and has so many bytes.
            let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), size) };
            assert!(bytes.iter().all(|byte| *byte == 0), "a block that was to be zero is not");
        }
        own.push(Held::new(block, layout, heap, random));
    }

    /// Some blocks of one size: enough for events of a page.
    fn alloc(&self, random: &mut Random, own: &mut Vec<Held>) {
        let size = SIZES[random.below(SIZES.len())];
        for _ in 0..1 + random.below(if size >= 1000 { 12 } else { 40 }) {
            self.alloc_of(random, own, size);
        }
    }

    fn alloc_large(&self, random: &mut Random, own: &mut Vec<Held>) {
        let size = LARGE[random.below(LARGE.len())];
        self.alloc_of(random, own, size);
    }

    fn free(&self, random: &mut Random, own: &mut Vec<Held>) {
        for _ in 0..1 + random.below(12) {
            if own.is_empty() {
                return;
            }
            let at = random.below(own.len());
            own.swap_remove(at).free(random);
        }
    }

    /// Blocks go to other threads, and those of others come.
    fn hand_over(&self, random: &mut Random, own: &mut Vec<Held>) {
        for slot in &self.slots {
            let gives = if own.is_empty() { None } else { Some(own.swap_remove(random.below(own.len()))) };
            let taken = core::mem::replace(&mut *slot.lock().unwrap(), gives);
            if let Some(taken) = taken {
                if random.below(2) == 0 {
                    taken.free(random);
                } else {
                    taken.check();
                    own.push(taken);
                }
            }
        }
    }

    /// The heap of the moment is nobody's any more but that of its blocks; or a heap of this thread's own is cleared, and ends.
    fn end_heap(&self, random: &mut Random, own: &mut Vec<Held>) {
        if random.below(2) == 0 {
            let heap = self.heap.lock().unwrap().take();
            return drop(heap);
        }
        let Ok(mut heap) = Heap::new() else { return };
        self.use_heap(&heap, random);
        heap.clear();
        let rest = self.use_heap(&heap, random);
        match random.below(3) {
            0 => heap.destroy(),
            // SAFETY: of the heap, and freed by nobody else; others may be at their ends, with leases of it.
            1 => rest.iter().for_each(|held| unsafe { raw::free(held.block.as_ptr()) }),
            _ => {
                heap.delete();
                own.extend(rest);
            }
        }
    }

    /// Allocates from a heap, frees some of it, and gives the others.
    fn use_heap(&self, heap: &Heap, random: &mut Random) -> Vec<Held> {
        let sizes = [SIZES[random.below(SIZES.len())], SIZES[random.below(SIZES.len())], LARGE[random.below(3)]];
        let mut rest = Vec::new();
        for size in sizes {
            let layout = Layout::from_size_align(size, 1).unwrap();
            for _ in 0..random.below(12) {
                let Some(block) = heap.alloc(layout) else { continue };
                let held = Held::new(block, layout, None, random);
                match random.below(4) {
                    // SAFETY: the block is this thread's, and of this heap.
                    0 => unsafe { heap.dealloc(block, layout) },
                    1 => held.free(random),
                    _ => rest.push(held),
                }
            }
        }
        rest
    }

    fn end_arena(&self, random: &mut Random, _own: &mut Vec<Held>) {
        let arena = self.arena.lock().unwrap().take();
        let kept = match arena {
            Some(arena) => arena.release().err().map(|(arena, _)| arena),
            None => {
                let options = ArenaOptions::new().exclusive(random.below(2) == 0);
                Arena::reserve((1 + random.below(70)) * SLICE, &options).ok()
            }
        };
        self.keep_arena(kept);
    }

    fn purge(&self, random: &mut Random, _own: &mut Vec<Held>) {
        match random.below(3) {
            0 => drop(scavenger::purge_all(scavenger::HASTY_TRIES)),
            1 => drop(scavenger::pass()),
            _ => scavenger::purge_some(4),
        }
    }

    #[allow(clippy::ptr_arg, reason = "as the others")]
    fn look(&self, random: &mut Random, own: &mut Vec<Held>) {
        match random.below(6) {
            0 => {
                let walked = walk::visit_blocks(walk::Which::All, |_, _| true);
                assert!(walked.to_the_end);
            }
            1 => {
                let stats = crate::stats();
                assert!(stats.allocated_bytes <= stats.committed_bytes || stats.retained_bytes == 0);
            }
            2 => drop(crate::page_stats()),
            3 => {
                let value = random.below(3) as u64 * 250 + 250;
                Opt::IdleDelayMs.set(value).expect("in range");
                assert!(matches!(Opt::IdleDelayMs.value(), 250 | 500 | 750), "a value that somebody set");
            }
            4 => crate::visit_heaps(|_| true),
            _ => {
                if let Some(held) = own.first() {
                    // SAFETY: the block is in use.
                    let usable = unsafe { raw::usable_size(held.block.as_ptr()) };
                    assert!(usable >= held.layout.size());
                    let id = crate::heap_of(held.block.as_ptr()).expect("a block of ours");
                    if let Some(heap) = &held.heap {
                        assert_eq!(id, heap.0.id(), "a block is its heap's");
                    }
                }
            }
        }
    }

    /// As a fork does in the parent: all others are kept out, and the forking thread goes on. It ends no heap meanwhile.
    fn fork(&self, random: &mut Random, own: &mut Vec<Held>) {
        let mut kept: Vec<_> = own.iter().map(|held| held.heap.clone()).collect();
        kept.push(self.shared_heap(random));
        crate::fork::pretend(|| {
            self.alloc(random, own);
            if self.weights.large > 0 {
                self.alloc_large(random, own);
            }
            self.free(random, own);
        });
    }

    fn idle(&self, _random: &mut Random, _own: &mut Vec<Held>) {
        crate::thread_idle();
    }

    /// What is left when all threads have ended.
    fn clear(&self, random: &mut Random) {
        for slot in &self.slots {
            let held = slot.lock().unwrap().take();
            if let Some(held) = held {
                held.free(random);
            }
        }
        let heap = self.heap.lock().unwrap().take();
        drop(heap);
        let arena = self.arena.lock().unwrap().take();
        _ = arena.map(Arena::release);
    }

    /// A thread's life. It frees what it has, leaves it to others, or frees after its record was given up.
    fn live(&self, mut random: Random) {
        let mut own = Vec::new();
        for _ in 0..STEPS {
            self.act(&mut random, &mut own);
        }
        let late = own.len() / 2 * random.below(2);
        let rest = own.split_off(late);
        for held in rest {
            held.free(&mut random);
        }
        if late > 0 {
            os::scheduled::end_thread();
            for held in own {
                held.free(&mut random);
            }
            let mut last = Vec::new();
            self.alloc(&mut random, &mut last);
            for held in last {
                held.free(&mut random);
            }
        }
    }
}

/// One schedule, from threads that begin to a process in which nothing is in use.
fn schedule(weights: Weights, seed: u64) {
    os::scheduled::begin();
    let world = World::new(weights);
    let mut random = Random(seed);
    for _wave in 0..2 {
        let threads: Vec<_> = (0..2 + random.below(2))
            .map(|_| {
                let (world, random) = (world.clone(), Random(random.next()));
                spawn(move || world.live(random))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        // SAFETY: the threads of the schedule have ended.
        unsafe { crate::check::check_all() };
    }
    let last = world.clone();
    spawn(move || last.clear(&mut random)).join().unwrap();
    // By a thread that has nothing itself.
    spawn(|| _ = scavenger::purge_all(scavenger::PATIENT_TRIES)).join().unwrap();
    // SAFETY: the threads of the schedule have ended.
    unsafe { crate::check::check_all() };
    assert_eq!(stats::value(Counter::Heaps), 0, "heaps");
    assert_eq!(stats::value(Counter::Threads), 0, "threads");
    assert_eq!(crate::stats().allocated_bytes, 0, "bytes in use");
    assert_eq!(stats::value(Counter::Pages), 0, "pages");
    assert_eq!(stats::value(Counter::LargeBlocks), 0, "large blocks");
}

fn config() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = shuttle::MaxSteps::FailAfter(20_000_000);
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    config
}

/// Runs the schedules of one process.
fn run(name: &str, seed: u64) {
    let (_, weights) = SCENARIOS.into_iter().find(|(each, _)| *each == name).expect("a scenario of the table");
    Opt::Scavenger.set(0).unwrap();
    // Stacks of eight blocks: more goes home.
    Opt::ThreadCacheBytes.set(0).unwrap();
    crate::thread::with_shared(|shared| shared.theap.begin());
    if name == "space" {
        Opt::ReserveBytes.set(4 << 20).unwrap();
    } else {
        Opt::ReserveBytes.set(1 << 30).unwrap();
    }
    let config = config();
    let count = core::sync::atomic::AtomicU64::new(0);
    let act = move || {
        // ORDER: Relaxed: one thread.
        let number = count.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        schedule(weights, seed << 16 | number);
    };
    if seed.is_multiple_of(2) {
        shuttle::Runner::new(RandomScheduler::new_from_seed(seed, SCHEDULES), config).run(act);
    } else {
        shuttle::Runner::new(PctScheduler::new_from_seed(seed, 3 + seed as usize % 8, SCHEDULES), config).run(act);
    }
}

fn number_from(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// See the module. Prints the scenario and seed of a process that failed, with what it said.
#[test]
fn schedules_run() {
    if let Ok(one) = std::env::var("TESSALLOC_TEST_SCHEDULE") {
        let (name, seed) = one.split_once(':').expect("scenario:seed");
        return run(name, seed.parse().expect("a number"));
    }
    let count = number_from("TESSALLOC_TEST_SCHEDULES").unwrap_or(8);
    let first = number_from("TESSALLOC_TEST_SCHEDULES_FROM").unwrap_or(0);
    let only = std::env::var("TESSALLOC_TEST_SCHEDULES_OF").ok();
    let (mut ran, mut failed) = (0, Vec::new());
    for seed in first..first + count {
        for (name, _) in SCENARIOS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
            let one = format!("{name}:{seed}");
            ran += 1;
            let mut command = Command::new(std::env::current_exe().unwrap());
            // Addresses decide which batches meet: the same ones each time, where the system lets a process have them.
            #[cfg(target_os = "linux")]
            // SAFETY: one system call.
            unsafe {
                std::os::unix::process::CommandExt::pre_exec(&mut command, || {
                    libc::personality(libc::ADDR_NO_RANDOMIZE as core::ffi::c_ulong);
                    Ok(())
                });
            }
            let output = command
                .args(["--exact", "schedules::schedules_run", "--nocapture"])
                .env("TESSALLOC_TEST_SCHEDULE", &one)
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            if !output.status.success() {
                std::println!("{one}:\n{}", String::from_utf8_lossy(&output.stderr));
                failed.push(one);
            }
        }
    }
    std::println!("covered: {} schedules", ran * SCHEDULES);
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Runs the rest of a test in a process of its own, where figures are its alone. True in that process.
fn apart(test: &str) -> bool {
    const APART: &str = "TESSALLOC_TEST_APART";
    if std::env::var(APART).is_ok() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", &format!("schedules::{test}")]).env(APART, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    false
}

/// A thread that forks has the lock of a region that it adds meanwhile, from the moment when others see the region.
#[test]
fn schedules_region_of_a_forking_thread_is_its_own() {
    if !apart("schedules_region_of_a_forking_thread_is_its_own") {
        return;
    }
    Opt::Scavenger.set(0).unwrap();
    Opt::ReserveBytes.set(4 << 20).unwrap();
    let act = || {
        os::scheduled::begin();
        let (before, forks) = (region::all().len(), Arc::new(AtomicBool::new(true)));
        let other = {
            let forks = forks.clone();
            thread::spawn(move || {
                // Bound: until the region is there.
                while region::all().len() == before {
                    thread::yield_now();
                }
                let guard = region::all()[before].lock().try_lock();
                // ORDER: Relaxed: threads take turns.
                assert!(guard.is_none() || !forks.load(Relaxed), "another thread has the lock");
            })
        };
        let forking = spawn(move || {
            crate::fork::pretend(|| {
                // Bound: there is room for a block in each region.
                while region::all().len() == before {
                    assert!(!raw::malloc(3 << 20).is_null());
                }
                forks.store(false, Relaxed);
            });
        });
        forking.join().unwrap();
        other.join().unwrap();
    };
    // Each takes a region or two of those that there may be.
    shuttle::Runner::new(RandomScheduler::new_from_seed(1, 80), config()).run(act);
}

/// A thread frees a block of a heap of its own that another deletes at that moment: it comes home.
#[test]
fn schedules_block_is_freed_while_its_heap_is_deleted() {
    if !apart("schedules_block_is_freed_while_its_heap_is_deleted") {
        return;
    }
    Opt::Scavenger.set(0).unwrap();
    let act = || {
        os::scheduled::begin();
        let given = Arc::new(Mutex::new(None::<Heap>));
        let taken = given.clone();
        let frees = spawn(move || {
            let heap = Heap::new().unwrap();
            let layout = Layout::from_size_align(1000, 8).unwrap();
            // One: who put the last block of a page home that is another's by now would give the page back.
            let block = heap.alloc(layout).unwrap();
            *given.lock().unwrap() = Some(heap);
            // SAFETY: in use, freed once; the heap is deleted, not destroyed.
            unsafe { raw::free(block.as_ptr()) };
        });
        let deletes = spawn(move || {
            // Bound: until the heap is there.
            loop {
                let heap = taken.lock().unwrap().take();
                match heap {
                    Some(heap) => return heap.delete(),
                    None => thread::yield_now(),
                }
            }
        });
        frees.join().unwrap();
        deletes.join().unwrap();
        spawn(|| _ = scavenger::purge_all(scavenger::PATIENT_TRIES)).join().unwrap();
        // SAFETY: the threads of the schedule have ended.
        unsafe { crate::check::check_all() };
        assert_eq!(crate::stats().allocated_bytes, 0, "bytes in use");
        assert_eq!(stats::value(Counter::Pages), 0, "pages");
    };
    shuttle::Runner::new(RandomScheduler::new_from_seed(1, 2000), config()).run(act);
}
