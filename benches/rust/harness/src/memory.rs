//! What stays resident, and address space. Tables of pointers live in mappings of their own, outside the allocator.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Peer;
use crate::block::Sized8;
use crate::measure::{Random, Run, cpu_now, mapping_count, resident_kib, status_kib};
use crate::threads::Lane;

const MIB: usize = 1 << 20;

/// A growing array in a mapping of its own.
struct Table<T: Copy> {
    base: *mut T,
    capacity: usize,
    used: usize,
}

impl<T: Copy> Table<T> {
    fn new(capacity: usize) -> Self {
        let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), capacity * size_of::<T>(), read_write, private, -1, 0) };
        if base == libc::MAP_FAILED {
            crate::fail(&format!("Cannot map a table: expected room for {capacity} entries"));
        }
        Self { base: base.cast(), capacity, used: 0 }
    }

    fn push(&mut self, item: T) {
        assert!(self.used < self.capacity, "the table is full: {} entries", self.capacity);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(self.used).write(item) }
        self.used += 1;
    }

    fn items(&mut self) -> &mut [T] {
        // SAFETY: the first `used` entries were written.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.used) }
    }

    fn swap_remove(&mut self, at: usize) -> T {
        self.used -= 1;
        let last = self.used;
        // SAFETY: both entries were written.
        unsafe {
            let item = *self.base.add(at);
            *self.base.add(at) = *self.base.add(last);
            item
        }
    }
}

impl<T: Copy> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`.
        unsafe { libc::munmap(self.base.cast(), self.capacity * size_of::<T>()) };
    }
}

/// Four threads allocate, in turns of 40,000 blocks, and one that never allocates frees: random blocks, as soon as more
/// than 90 MB are live. So most blocks come home to a thread that is asleep. Live is what the allocator itself calls
/// usable, from the allocation on.
pub(crate) fn free_only<P: Peer>(run: &mut Run) {
    const PRODUCERS: usize = 4;
    const BATCH: usize = 100;
    const LIVE_BYTES: usize = 90_000_000;
    const TURN_BATCHES: usize = 400;
    let ops = run.ops(3_000_000);
    let turns = (ops as usize / PRODUCERS / BATCH / TURN_BATCHES).max(1);
    let batches = turns * TURN_BATCHES;
    let lanes: Vec<Lane<(Sized8, usize)>> = (0..PRODUCERS).map(|_| Lane::new(4, BATCH)).collect();
    // The smallest mean usable size is above 512 B, so there are never more blocks than this.
    let mut pool: Table<(Sized8, usize)> = Table::new(LIVE_BYTES / 256);
    let live = AtomicUsize::new(0);
    let live_peak = AtomicUsize::new(0);
    let (turn, turn_over) = (Mutex::new(0), Condvar::new());
    let start_line = Barrier::new(PRODUCERS + 1);
    let start = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (lanes, live, live_peak, start_line) = (&lanes, &live, &live_peak, &start_line);
            let (turn, turn_over) = (&turn, &turn_over);
            scope.spawn(move || {
                let mut random = Random::new(200 + producer as u64);
                start_line.wait();
                for batch in 0..batches {
                    if batch % TURN_BATCHES == 0 {
                        let mine = batch / TURN_BATCHES * PRODUCERS + producer;
                        drop(turn_over.wait_while(turn.lock().expect("no panic"), |turn| *turn != mine));
                    }
                    lanes[producer].send(|batch| {
                        let mut usable = 0;
                        for _ in 0..BATCH {
                            let block = Sized8::take(16 + random.below(1_009));
                            block.fill();
                            // SAFETY: live.
                            let bytes = unsafe { P::usable_bytes(block.block) };
                            usable += bytes;
                            batch.push((block, bytes));
                        }
                        let now = live.fetch_add(usable, Ordering::Relaxed) + usable;
                        live_peak.fetch_max(now, Ordering::Relaxed);
                    });
                    if batch % TURN_BATCHES == TURN_BATCHES - 1 {
                        *turn.lock().expect("no panic") += 1;
                        turn_over.notify_all();
                    }
                }
            });
        }
        start_line.wait();
        let start = (Instant::now(), cpu_now());
        let mut random = Random::new(199);
        for round in 0..batches * PRODUCERS {
            let received = |lane: &Lane<(Sized8, usize)>, pool: &mut Table<_>| {
                lane.try_receive(|batch| batch.drain(..).for_each(|block| pool.push(block)))
            };
            // Whoever has something next, looked at in turn.
            let mut at = round;
            let mut tries = 0;
            while !received(&lanes[at % PRODUCERS], &mut pool) {
                at += 1;
                tries += 1;
                if tries > 400 {
                    thread::yield_now();
                }
            }
            while live.load(Ordering::Relaxed) > LIVE_BYTES && pool.used > 0 {
                let (block, bytes) = pool.swap_remove(random.below(pool.used));
                // SAFETY: removed once, so freed once.
                unsafe { block.give() }
                live.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        start
    });
    run.record((batches * PRODUCERS * BATCH) as u64, start.0.elapsed(), cpu_now() - start.1);
    let live_peak = live_peak.into_inner() + pool.used * size_of::<(Sized8, usize)>();
    run.note("live_peak_mib", live_peak as f64 / MIB as f64);
    run.note("peak_per_live", status_kib("VmHWM:") as f64 * 1_024.0 / live_peak as f64);
    for (block, _) in pool.items() {
        // SAFETY: still in the pool, so not freed.
        unsafe { block.give() }
    }
}

/// 34 sizes from 8 to 6,144 B, 4 to a doubling from 64 B on; together 37 KiB.
const SIZES_34: [usize; 34] = [
    8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1_024,
    1_280, 1_536, 1_792, 2_048, 2_560, 3_072, 3_584, 4_096, 5_120, 6_144,
];

/// 64 threads, each with one block of each of 34 sizes, all written; what a thread costs, its stack included.
pub(crate) fn sizes_34(run: &mut Run) {
    const THREADS: usize = 64;
    let held = Barrier::new(THREADS + 1);
    let seen = Barrier::new(THREADS + 1);
    let before = resident_kib();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let blocks = SIZES_34.map(|bytes| {
                    let block = Sized8::take(bytes);
                    block.fill();
                    block
                });
                held.wait();
                seen.wait();
                for block in blocks {
                    // SAFETY: given once.
                    unsafe { block.give() }
                }
            });
        }
        held.wait();
        run.note("kib_a_thread", (resident_kib() - before) as f64 / THREADS as f64);
        seen.wait();
    });
}

/// 276 MiB of blocks of 512 to 2,048 B, all written.
fn many_blocks(run: &Run) -> Table<Sized8> {
    let bytes = run.ops(276) as usize * MIB;
    let mut random = Random::new(7);
    let mut table = Table::new(bytes / 512);
    let mut taken = 0;
    while taken < bytes {
        let block = Sized8::take(512 + random.below(1_537));
        block.fill();
        taken += block.bytes;
        table.push(block);
    }
    table
}

/// What is resident after each of so many seconds without a call.
fn idle(run: &mut Run, after: &[(&'static str, u64)]) {
    run.note("freed_rss_kib", resident_kib() as f64);
    let start = Instant::now();
    for (name, seconds) in after {
        thread::sleep(Duration::from_secs(*seconds).saturating_sub(start.elapsed()));
        run.note(name, resident_kib() as f64);
    }
}

/// 276 MiB of blocks of 512 to 2,048 B in order, all freed in order, then 3 s without a call.
pub(crate) fn idle_all(run: &mut Run) {
    let mut table = many_blocks(run);
    for block in table.items() {
        // SAFETY: given once.
        unsafe { block.give() }
    }
    drop(table);
    idle(run, &[("idle_1s_rss_kib", 1), ("idle_2s_rss_kib", 2), ("idle_rss_kib", 3)]);
}

/// The same, but only 19 of 20 are freed, in random order, then 10 s without a call.
pub(crate) fn idle_holes(run: &mut Run) {
    let mut table = many_blocks(run);
    Random::new(8).shuffle(table.items());
    let kept = table.used / 20;
    for block in &table.items()[kept..] {
        // SAFETY: given once.
        unsafe { block.give() }
    }
    let left: usize = table.items()[..kept].iter().map(|block| block.bytes).sum();
    run.note("live_mib", left as f64 / MIB as f64);
    // The table is half a percent of the peak; its resident part is counted for every peer alike.
    idle(run, &[("idle_1s_rss_kib", 1), ("idle_3s_rss_kib", 3), ("idle_rss_kib", 10)]);
    let (_, idle_kib) = run.last_note();
    run.note("idle_per_peak", idle_kib / status_kib("VmHWM:") as f64);
}

/// 512 threads start, allocate 100 blocks of 16 to 2,048 B each, hold them until all have theirs, free them and exit;
/// ten times over.
pub(crate) fn churn(run: &mut Run) {
    const THREADS: usize = 512;
    let mut first = 0;
    for round in 1..=10 {
        let all_there = Barrier::new(THREADS);
        thread::scope(|scope| {
            let mut handles = Vec::with_capacity(THREADS);
            for thread in 0..THREADS {
                let all_there = &all_there;
                let body = move || {
                    let mut random = Random::new((round * THREADS + thread) as u64);
                    let blocks: Vec<Sized8> = (0..100).map(|_| Sized8::take(16 + random.below(2_033))).collect();
                    all_there.wait();
                    for block in blocks {
                        // SAFETY: given once.
                        unsafe { block.give() }
                    }
                };
                let started = thread::Builder::new().stack_size(256 * 1_024).spawn_scoped(scope, body);
                let started =
                    started.unwrap_or_else(|error| crate::fail(&format!("Cannot start thread {thread}: {error}")));
                handles.push(started);
            }
            // A scope waits for the closures only; joining waits until the threads are gone.
            for handle in handles.drain(..) {
                handle.join().expect("no thread panics");
            }
        });
        match round {
            1 => first = resident_kib(),
            10 => {
                let tenth = resident_kib();
                run.note("first_rss_kib", first as f64);
                run.note("tenth_rss_kib", tenth as f64);
                run.note("tenth_per_first", tenth as f64 / first as f64);
            }
            _ => {}
        }
    }
}

/// Live blocks of 60 KiB until `GIB` of them are there; every `TOUCH`th has its first OS page touched and keeps a
/// number that is checked at the end. Gives up, and says so, before the machine runs out of memory.
pub(crate) fn space<const GIB: usize, const TOUCH: usize>(run: &mut Run) {
    const BYTES: usize = 60 * 1_024;
    const LIMIT_KIB: u64 = 14 << 20;
    let count = run.ops((GIB * 1_024 * MIB / BYTES) as u64) as usize;
    let layout = crate::block::sized(BYTES);
    let mut table: Table<*mut u64> = Table::new(count);
    let start = (Instant::now(), cpu_now());
    let mut gave_up = false;
    for index in 0..count {
        // SAFETY: not zero bytes; the block is writable.
        unsafe {
            let block = std::alloc::alloc(layout).cast::<u64>();
            if block.is_null() {
                gave_up = true;
                break;
            }
            if index % TOUCH == 0 {
                block.write(index as u64);
            }
            table.push(block);
        }
        if index % 16_384 == 0 && status_kib("VmRSS:") > LIMIT_KIB {
            gave_up = true;
            break;
        }
    }
    run.record(table.used as u64, start.0.elapsed(), cpu_now() - start.1);
    run.note("live_gib", (table.used * BYTES) as f64 / (1 << 30) as f64);
    run.note("complete", f64::from(u8::from(!gave_up)));
    run.note("rss_kib", resident_kib() as f64);
    run.note("touched_kib", (table.used.div_ceil(TOUCH) * 4) as f64);
    run.note("mappings", mapping_count() as f64);
    for index in 0..table.used {
        let block = table.items()[index];
        // SAFETY: live; touched ones hold their index.
        unsafe {
            assert!(index % TOUCH != 0 || block.read() == index as u64, "block {index} lost its content");
            std::alloc::dealloc(block.cast(), layout);
        }
    }
}
