//! A scripted life of the allocator on the simulated system, run in a process of its own: every kind of block, threads that come
//! and go, frees from elsewhere, giving memory back, a fork. Blocks are written and looked at again; the figures must add up.
//!
//! The test program itself allocates from the system's allocator. What the life sees goes to standard output, a line each.

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tessalloc::guarded::{self, GuardOptions};
use tessalloc::os::sim;
use tessalloc::profile;
use tessalloc::raw;
use tessalloc::{Arena, ArenaError, ArenaFunctions, ArenaOptions, HeapOptions};

/// Set in the child; the value holds the [`Plan`]'s flags.
const LIFE: &str = "TESSALLOC_TEST_LIFE";
/// After so long a life counts as hanging: a hundred times what it takes.
const LIFE_SECONDS_MAX: u32 = 120;
/// The last line of a life that went well.
pub(crate) const DONE: &str = "life: done";

/// What a life may meet.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Allocations may fail before failing is switched off.
    pub(crate) may_fail: bool,
    /// Memory may run out to the end.
    pub(crate) is_scarce: bool,
    /// Whether it waits for the background thread.
    pub(crate) idles: bool,
}

impl Plan {
    fn text(self) -> String {
        format!("{}{}{}", u8::from(self.may_fail), u8::from(self.is_scarce), u8::from(self.idles))
    }

    fn of(text: &str) -> Plan {
        let flag = |index| text.as_bytes().get(index) == Some(&b'1');
        Plan { may_fail: flag(0), is_scarce: flag(1), idles: flag(2) }
    }
}

/// Runs a life in a child: the test `child` of the same program, which must call [`live_if_child`].
pub(crate) fn run(plan: Plan, variables: &[(&str, String)]) -> Output {
    Command::new(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(LIFE, plan.text())
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .output()
        .expect("the test program starts again")
}

/// The life's lines, if it went well.
pub(crate) fn lines(output: &Output) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains(DONE) {
        return Ok(text.lines().map(String::from).collect());
    }
    Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// In a child: lives, and prints what it saw.
pub(crate) fn live_if_child() {
    let Ok(plan) = std::env::var(LIFE) else { return };
    let plan = Plan::of(&plan);
    // SAFETY: sets a timer, whose signal ends a life that hangs.
    unsafe { libc::alarm(LIFE_SECONDS_MAX) };
    // The line that the test program has begun ends here.
    println!();
    live(plan.may_fail || plan.is_scarce);
    println!("calls\tbusy\t{}", sim::counters().calls);
    if plan.idles {
        idle();
    }
    println!("calls\tall\t{}", sim::counters().calls);
    for site in sim::sites() {
        println!("site\t{}\t{}:{}\t{}\t{}", site.name, site.file, site.line, site.calls, site.failures);
    }
    sim::fail_at(None, 0);
    live(plan.is_scarce);
    println!("{DONE}");
}

/// A block and what was written into it.
struct Block {
    at: *mut u8,
    size: usize,
    seed: u8,
}

// SAFETY: a block may be used and freed on any thread.
unsafe impl Send for Block {}

/// Distances of the bytes that are written and looked at: each OS page of a block's first part is met, few of the rest, and the last
/// byte. Hundreds of lives are lived: what they touch is their time.
const STRIDE: usize = 1021;
const DENSE_BYTES: usize = 128 << 10;
const SPARSE_STRIDE: usize = 61 * STRIDE;

impl Block {
    fn at(address: *mut u8, size: usize, seed: u8) -> Option<Block> {
        if address.is_null() {
            return None;
        }
        // SAFETY: a block of at least `size` bytes.
        assert!(unsafe { raw::usable_size(address) } >= size);
        let block = Block { at: address, size, seed };
        block.write();
        Some(block)
    }

    fn offsets(size: usize) -> impl Iterator<Item = usize> {
        let sparse = (DENSE_BYTES..size).step_by(SPARSE_STRIDE);
        (0..size.min(DENSE_BYTES)).step_by(STRIDE).chain(sparse).chain(size.checked_sub(1))
    }

    fn byte(&self, offset: usize) -> u8 {
        self.seed ^ (offset / STRIDE) as u8
    }

    fn write(&self) {
        for offset in Self::offsets(self.size) {
            // SAFETY: inside the block.
            unsafe { self.at.add(offset).write(self.byte(offset)) };
        }
    }

    /// Expects the first `size` bytes as they were written.
    fn check(&self, size: usize) {
        for offset in Self::offsets(self.size).filter(|offset| *offset < size) {
            // SAFETY: inside the block.
            let found = unsafe { self.at.add(offset).read() };
            assert_eq!(found, self.byte(offset), "byte {offset} of a block of {} at {:p}", self.size, self.at);
        }
    }

    fn new(size: usize, align: usize) -> Option<Block> {
        let at = raw::aligned(size, align);
        assert_eq!(at.addr() % align, 0);
        Block::at(at, size, (size ^ align) as u8 | 1)
    }

    fn zeroed(size: usize) -> Option<Block> {
        let at = raw::calloc(size, 1);
        if !at.is_null() {
            for offset in Self::offsets(size) {
                // SAFETY: inside the block.
                assert_eq!(unsafe { at.add(offset).read() }, 0, "byte {offset} of a zeroed block of {size}");
            }
        }
        Block::at(at, size, size as u8 | 1)
    }

    /// The block at another size; as it was if that fails.
    fn resized(mut self, size: usize) -> (Block, bool) {
        // SAFETY: allocated by `raw`, and nobody else's.
        let at = unsafe { raw::realloc(self.at, size) };
        if at.is_null() {
            self.check(self.size);
            return (self, false);
        }
        self.at = at;
        self.check(size);
        self.size = size;
        self.write();
        (self, true)
    }

    fn free(self) {
        self.check(self.size);
        // SAFETY: allocated by `raw`, and freed once, since `self` is taken.
        unsafe { raw::free(self.at) };
    }
}

/// Commits memory that is there anyway.
unsafe extern "C" fn agree(_memory: *mut c_void, _bytes: usize, _user: *mut c_void) -> c_int {
    ArenaFunctions::COMMITTED
}

/// Bytes that [`purge_own`] took back.
static OWN_PURGED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Takes memory back and clears it with something else than zeroes.
unsafe extern "C" fn purge_own(memory: *mut c_void, bytes: usize, _user: *mut c_void) -> c_int {
    // SAFETY: slices of an arena that nobody uses.
    unsafe { memory.cast::<u8>().write_bytes(0xdd, bytes) };
    OWN_PURGED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    1
}

/// Blocks, and whether one that is missing is a fault.
struct Life {
    may_fail: bool,
    blocks: Vec<Block>,
}

impl Life {
    fn keep(&mut self, block: Option<Block>, what: &str) {
        assert!(block.is_some() || self.may_fail, "no memory for {what}");
        self.blocks.extend(block);
    }

    fn sizes(&mut self) {
        for shift in 0..17 {
            for step in [0, 1, 3] {
                let size = (1 << shift) + (step << shift >> 2);
                for align in [1, 16, 64, 4096, 64 << 10] {
                    self.keep(Block::new(size, align), "a small block");
                }
                self.keep(Block::zeroed(size), "a small zeroed block");
            }
        }
        for size in [200 << 10, (1 << 20) + 1, 3 << 20, 5 << 20, 9 << 20] {
            for align in [16, 2 << 20, 8 << 20] {
                self.keep(Block::new(size, align), "a large block");
            }
            self.keep(Block::zeroed(size), "a large zeroed block");
        }
    }

    fn free_every(&mut self, nth: usize) {
        let (mut freed, mut kept) = (Vec::new(), Vec::new());
        for (index, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            if index % nth == 0 { freed.push(block) } else { kept.push(block) }
        }
        freed.into_iter().for_each(Block::free);
        self.blocks = kept;
    }

    fn resizes(&mut self) {
        // Two that grow past each other, so that neither can grow where it lies: large enough to be moved, and smaller.
        for megabytes in [&[9, 13][..], &[1, 2, 3, 4, 5, 6, 7]] {
            let mut pair = [Block::new(megabytes[0] << 20, 16), Block::new(megabytes[0] << 20, 16)];
            for more in &megabytes[1..] {
                pair = pair.map(|block| {
                    let (block, done) = block?.resized(more << 20);
                    assert!(done || self.may_fail, "no memory to grow to {more} MiB");
                    Some(block)
                });
            }
            pair.into_iter().flatten().for_each(Block::free);
        }
        let steps =
            [1, 100, 5000, 40 << 10, 70 << 10, 400 << 10, 3 << 20, 7 << 20, 12 << 20, 2 << 20, 90 << 10, 3000, 8];
        let mut block = Block::new(24, 16);
        assert!(block.is_some() || self.may_fail);
        for size in steps {
            let Some(before) = block.take() else { return };
            let (after, done) = before.resized(size);
            assert!(done || self.may_fail, "no memory to resize to {size}");
            block = Some(after);
        }
        block.into_iter().for_each(Block::free);
    }

    /// Threads that allocate, free some, hand the rest over, wait, and end; some end first, so that their pages are orphans.
    fn threads(&mut self) {
        let may_fail = self.may_fail;
        let (send, receive) = mpsc::channel::<Vec<Block>>();
        let workers: Vec<_> = (0..4_usize)
            .map(|worker| {
                let (send, (release, wait)) = (send.clone(), mpsc::channel::<()>());
                let run = move || {
                    let mut life = Life { may_fail, blocks: Vec::new() };
                    for round in 0..4000 {
                        life.keep(Block::new(16 + (round * 7 + worker) % 900, 16), "a block of a thread");
                    }
                    life.keep(Block::new(300 << 10, 16), "a large block of a thread");
                    life.keep(Block::new(40 << 10, 16), "a medium block of a thread");
                    life.free_every(3);
                    send.send(std::mem::take(&mut life.blocks)).expect("the main thread listens");
                    let _ = wait.recv();
                };
                (thread::spawn(run), release)
            })
            .collect();
        drop(send);
        let handed: Vec<Vec<Block>> = (0..workers.len()).map(|_| receive.recv().expect("a thread's blocks")).collect();
        let mut handed = handed.into_iter();
        // While they wait: frees to live owners, and their memory given back from here.
        handed.by_ref().take(2).flatten().for_each(Block::free);
        tessalloc::purge();
        let mut handles = Vec::new();
        for (handle, release) in workers {
            drop(release);
            handles.push(handle);
        }
        for handle in handles {
            handle.join().expect("a thread ends well");
        }
        // Pages without an owner.
        handed.flatten().for_each(Block::free);
    }

    /// More of one size than an OS page holds, all but a few freed: holes inside pages.
    fn holes(&mut self) {
        let mut blocks: Vec<Option<Block>> = (0..5_000).map(|_| Block::new(512, 16)).collect();
        assert!(self.may_fail || blocks.iter().all(Option::is_some));
        for (index, block) in blocks.iter_mut().enumerate() {
            if index % 250 != 0
                && let Some(block) = block.take()
            {
                block.free();
            }
        }
        tessalloc::purge();
        blocks.iter().flatten().for_each(|block| block.check(512));
        for block in &mut blocks {
            if block.is_none() {
                *block = Block::new(512, 16);
            }
        }
        blocks.into_iter().flatten().for_each(Block::free);
    }

    /// Heaps that end with blocks of two threads in them, one way and the other.
    fn heaps(&mut self) {
        for destroys in [true, false] {
            let Ok(mut heap) = tessalloc::Heap::new() else {
                assert!(self.may_fail, "no memory for a heap");
                continue;
            };
            let fill = |heap: &tessalloc::Heap| -> Vec<Option<Block>> {
                let sizes = [1, 40, 700, 5000, 30_000, 90_000, 3 << 20];
                let alloc = |size: usize| heap.alloc(Layout::from_size_align(size, 16).expect("a layout"));
                sizes.into_iter().cycle().take(70).map(|size| Block::at(alloc(size)?.as_ptr(), size, 77)).collect()
            };
            let mut blocks = fill(&heap);
            let others = std::thread::scope(|scope| scope.spawn(|| fill(&heap)).join().expect("a thread ends well"));
            blocks.extend(others);
            assert!(self.may_fail || blocks.iter().all(Option::is_some), "no memory for blocks of a heap");
            let mut kept: Vec<Block> = blocks.into_iter().flatten().collect();
            for block in kept.split_off(kept.len() / 2) {
                block.free();
            }
            let mut visited = 0;
            heap.visit(|_| {
                visited += 1;
                true
            });
            assert_eq!(visited, kept.len(), "the blocks in use");
            heap.purge();
            if destroys {
                heap.destroy();
            } else {
                heap.delete();
                self.blocks.extend(kept);
            }
        }
    }

    /// Arenas that everyone takes from, reserved, and handed in with functions that commit and purge; and one for a heap alone. When
    /// they end, nothing is left of them.
    fn arenas(&mut self) {
        const BYTES: usize = 6 << 20;
        let plain = ArenaOptions::new();
        for options in [plain, plain.committed(true), plain.huge_pages(true).numa_node(Some(0))] {
            self.live_in(Arena::reserve(BYTES, &options));
        }
        let functions = ArenaFunctions { commit: Some(agree), purge: Some(purge_own), user: std::ptr::null_mut() };
        let mut memory = vec![1_u8; BYTES];
        for committed in [true, false] {
            let options = plain.committed(committed).functions(functions);
            // SAFETY: memory of this function's, which outlives the arena: it is released, or the process ends.
            let managed = unsafe { Arena::manage(memory.as_mut_ptr(), BYTES, &options) };
            self.live_in(managed);
        }
        self.heap_in(Arena::reserve(BYTES, &plain.exclusive(true)));
    }

    /// Blocks of every kind that are samples, some of which stay.
    fn profile(&mut self) {
        let before = profile::totals().in_use.samples;
        if profile::start(1).is_err() {
            assert!(self.may_fail, "no memory for a profile");
            return;
        }
        let mut others = std::mem::take(&mut self.blocks);
        for size in [1, 100, 5000, 40 << 10, 90 << 10, 2 << 20] {
            self.keep(Block::new(size, 16), "a sample");
            self.keep(Block::zeroed(size), "a zeroed sample");
            let block = Block::new(size, 64).map(|block| block.resized(size * 3));
            self.keep(block.map(|(block, _)| block), "a sample that grew");
        }
        // Guarded ones, of which each place in quarantine is taken twice.
        guarded::start(&GuardOptions::new().rate(1));
        for round in 0..12 {
            let block = Block::new(round * 30, 16);
            assert!(block.is_some() || self.may_fail, "no memory for a guarded block");
            if round < 9 {
                block.into_iter().for_each(Block::free);
            } else {
                self.blocks.extend(block);
            }
        }
        guarded::stop();
        let samples = profile::totals().in_use.samples - before;
        assert!(self.may_fail || samples == self.blocks.len() as u64, "{samples}");
        profile::stop();
        self.free_every(2);
        self.blocks.append(&mut others);
    }

    fn unless_refused(&self, arena: Result<Arena, ArenaError>) -> Option<Arena> {
        let refused = |error: &ArenaError| matches!(error, ArenaError::Refused { .. } | ArenaError::NoFirstRegion);
        arena.map_err(|error| assert!(self.may_fail && refused(&error), "{error}")).ok()
    }

    /// A heap fills its arena, and goes.
    fn heap_in(&self, arena: Result<Arena, ArenaError>) {
        let Some(arena) = self.unless_refused(arena) else { return };
        let heap = HeapOptions::new().build_in(&arena).map_err(|error| assert!(self.may_fail, "{error}"));
        if let Ok(heap) = heap {
            let layout = Layout::from_size_align(100_000, 16).expect("a layout");
            // Blocks of two slices: as many as there are, and one that is refused.
            let blocks: Vec<_> = std::iter::from_fn(|| heap.alloc(layout)).collect();
            assert!(self.may_fail || blocks.len() == arena.area().1 / (128 << 10), "{} blocks", blocks.len());
            for block in &blocks {
                assert!(arena.contains(block.as_ptr()) && heap.contains(block.as_ptr()));
                // SAFETY: a block of this heap.
                unsafe { block.write_bytes(1, layout.size()) };
            }
            heap.destroy();
        }
        assert_eq!(arena.used_bytes(), 0);
        arena.release().expect("nothing is in use any more");
    }

    fn live_in(&mut self, arena: Result<Arena, ArenaError>) {
        let Some(arena) = self.unless_refused(arena) else { return };
        let blocks: Vec<_> = [90 << 10, 700 << 10, 1 << 20, 2 << 20, 1 << 20].map(Block::zeroed).into_iter().collect();
        assert!(self.may_fail || blocks.iter().all(Option::is_some));
        let inside = blocks.iter().flatten().filter(|block| arena.contains(block.at)).count();
        assert!(inside == blocks.len() || self.may_fail, "{inside} of {} blocks are in {arena:?}", blocks.len());
        blocks.into_iter().flatten().for_each(Block::free);
        let (start, bytes) = arena.area();
        if let Err((_, error)) = arena.release() {
            panic!("nothing is in use any more: {error}");
        }
        assert!(!raw::is_ours(start.as_ptr()) && !raw::is_ours(start.as_ptr().wrapping_add(bytes - 1)));
    }

    /// A child that allocates and frees what it inherited.
    fn fork(&mut self) {
        // SAFETY: the child uses the allocator under test and system calls only, and ends without running anything else.
        unsafe {
            let process = libc::fork();
            assert!(process >= 0, "a process for a test");
            if process == 0 {
                std::mem::take(&mut self.blocks).into_iter().for_each(Block::free);
                let fresh: Vec<_> = (1..200).map(|size| Block::new(size * 37, 16)).collect();
                let enough = self.may_fail || fresh.iter().all(Option::is_some);
                fresh.into_iter().flatten().for_each(Block::free);
                libc::_exit(i32::from(!enough));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(process, &mut status, 0), process);
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                "the forked child ended with {status:#x}"
            );
        }
    }

    /// The figures against each other, against the blocks, and against the system.
    fn add_up(&self) {
        /// What a thread may keep ready and count as used: 512 KiB on its stacks, and a chunk of warm large runs.
        const READY_BYTES_MAX: u64 = (512 << 10) + (4 << 20);
        let stats = tessalloc::stats();
        let system = sim::counters();
        // SAFETY: blocks in use.
        let live: u64 = self.blocks.iter().map(|block| unsafe { raw::usable_size(block.at) } as u64).sum();
        let text = format!("{live} live bytes, {stats:?}, {system:?}");
        assert_eq!(stats.allocated_bytes + stats.retained_bytes, stats.committed_bytes, "{text}");
        assert!(stats.committed_bytes <= stats.committed_peak_bytes, "{text}");
        assert!(stats.committed_bytes <= system.committed_bytes, "{text}");
        assert!(stats.reserved_bytes <= system.reserved_bytes, "{text}");
        let own_purged_bytes = OWN_PURGED_BYTES.load(Ordering::Relaxed);
        assert!(stats.purged_bytes <= system.purged_bytes + own_purged_bytes, "{text}");
        assert!(live <= stats.allocated_bytes, "{text}");
        // The thread here, those that live on, and the shared record for what is beside threads.
        assert!(stats.allocated_bytes <= live + (stats.threads + 1) * READY_BYTES_MAX, "{text}");
        assert!(stats.threads <= stats.threads_total, "{text}");
        let inside = |block: &Block| sim::is_reserved(block.at, block.size.max(1));
        assert!(self.blocks.iter().all(inside), "a block outside of what was reserved");
        let counted = self.blocks.iter().filter(|block| block.size > 64 << 10).count() as u64;
        assert!(counted <= stats.large_blocks, "{counted} large blocks, {text}");
    }
}

fn live(may_fail: bool) {
    let mut life = Life { may_fail, blocks: Vec::new() };
    assert!(raw::malloc(usize::MAX / 2 + 1).is_null());
    // First, while there is one thread: a call that is made once has the same number in each life, and so is met by a failure.
    life.arenas();
    life.add_up();
    // Next, while all memory is fresh: only into fresh memory large blocks are moved by the page table.
    life.resizes();
    life.add_up();
    life.sizes();
    life.add_up();
    life.free_every(2);
    life.add_up();
    life.threads();
    life.add_up();
    life.holes();
    life.heaps();
    life.add_up();
    life.profile();
    life.add_up();
    life.fork();
    tessalloc::purge();
    life.add_up();
    life.free_every(1);
    tessalloc::purge();
    life.add_up();
}

/// Frees much and waits until the background thread, or a later call, has given it back.
fn idle() {
    let blocks: Vec<_> = (0..40_000).filter_map(|_| Block::new(1200, 16)).collect();
    blocks.into_iter().for_each(Block::free);
    thread::sleep(Duration::from_millis(2500));
    Block::new(1200, 16).into_iter().for_each(Block::free);
}
