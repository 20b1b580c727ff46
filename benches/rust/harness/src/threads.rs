//! Several threads against the clock. An operation is an allocation and a free; the time is wall time over the
//! operations of all threads.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::block::{Sized8, give, take};
use crate::measure::{Random, Run, cpu_now};

/// Batches on their way from one thread to another, in memory that was there before: only the blocks are allocated.
pub(crate) struct Lane<T> {
    batches: Box<[UnsafeCell<Vec<T>>]>,
    /// Batches ever sent, and ever received.
    sent: AtomicUsize,
    received: AtomicUsize,
}

// SAFETY: a batch is touched by the sender between `received` and `sent`, by the receiver between `sent` and `received`.
unsafe impl<T: Send> Sync for Lane<T> {}

impl<T> Lane<T> {
    pub(crate) fn new(batches: usize, batch: usize) -> Self {
        let batches = (0..batches).map(|_| UnsafeCell::new(Vec::with_capacity(batch))).collect();
        Self { batches, sent: AtomicUsize::new(0), received: AtomicUsize::new(0) }
    }

    /// One sender only. Waits for room.
    pub(crate) fn send(&self, fill: impl FnOnce(&mut Vec<T>)) {
        let sent = self.sent.load(Ordering::Relaxed);
        wait_until(|| sent - self.received.load(Ordering::Acquire) < self.batches.len());
        // SAFETY: there is room, so the receiver is done with this batch.
        fill(unsafe { &mut *self.batches[sent % self.batches.len()].get() });
        self.sent.store(sent + 1, Ordering::Release);
    }

    /// One receiver only; `use_batch` leaves the batch empty. False when nothing is there.
    pub(crate) fn try_receive(&self, use_batch: impl FnOnce(&mut Vec<T>)) -> bool {
        let received = self.received.load(Ordering::Relaxed);
        if self.sent.load(Ordering::Acquire) == received {
            return false;
        }
        // SAFETY: the batch was sent and not yet received.
        use_batch(unsafe { &mut *self.batches[received % self.batches.len()].get() });
        self.received.store(received + 1, Ordering::Release);
        true
    }
}

/// Spins briefly, then lets others run: the machine may have fewer processors than the workload has threads.
pub(crate) fn wait_until(ready: impl Fn() -> bool) {
    let mut turns = 0;
    while !ready() {
        turns += 1;
        if turns < 200 {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// One thread allocates blocks of 64 B, one frees them, in batches of 1,000, at most eight on their way.
pub(crate) fn hand_off(run: &mut Run) {
    const BATCH: usize = 1_000;
    struct Block(*mut u8);
    // SAFETY: whoever holds the value owns the block.
    unsafe impl Send for Block {}

    let lane: Lane<Block> = Lane::new(8, BATCH);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let free = |batch: &mut Vec<Block>| {
                for block in batch.drain(..) {
                    // SAFETY: sent once, so freed once.
                    unsafe { give::<64>(block.0) }
                }
            };
            loop {
                wait_until(|| lane.try_receive(free) || over.load(Ordering::Acquire));
                if over.load(Ordering::Acquire) && !lane.try_receive(free) {
                    break;
                }
            }
        });
        run.time(24_000_000, |ops| {
            for _ in 0..ops.div_ceil(BATCH as u64) {
                lane.send(|batch| batch.extend((0..BATCH).map(|_| Block(take::<64>()))));
            }
            // The last blocks count as well.
            wait_until(|| lane.received.load(Ordering::Acquire) == lane.sent.load(Ordering::Relaxed));
        });
        over.store(true, Ordering::Release);
    });
}

/// A pointer's bits above this one are free for the size.
const ADDRESS_BITS: u32 = 48;

/// 20,000 slots of blocks of 16 to 512 B, shared by all threads: each puts a new block into a random slot and frees
/// the old one, whoever allocated it. The size travels in the slot, as it would in a `Box<dyn …>` or a `Vec`.
pub(crate) fn shared<const THREADS: usize>(run: &mut Run) {
    const SLOTS: usize = 20_000;
    fn tagged(random: &mut Random) -> *mut u8 {
        let words = 2 + random.below(63);
        Sized8::take(words * 8).block.map_addr(|address| address | words << ADDRESS_BITS)
    }
    /// # Safety
    /// `slot` is from `tagged` and not yet freed.
    unsafe fn free(slot: *mut u8) {
        let bytes = (slot.addr() >> ADDRESS_BITS) * 8;
        let block = slot.map_addr(|address| address & ((1 << ADDRESS_BITS) - 1));
        unsafe { Sized8 { block, bytes }.give() }
    }

    let mut random = Random::new(6);
    let slots: Vec<AtomicPtr<u8>> = (0..SLOTS).map(|_| AtomicPtr::new(tagged(&mut random))).collect();
    let ops = run.ops(16_000_000);
    let each = ops / THREADS as u64;
    let start_line = Barrier::new(THREADS + 1);
    let start = thread::scope(|scope| {
        for thread in 0..THREADS {
            let (slots, start_line) = (&slots, &start_line);
            scope.spawn(move || {
                let mut random = Random::new(100 + thread as u64);
                let mut replace = |times| {
                    for _ in 0..times {
                        let slot = random.below(SLOTS);
                        let old = slots[slot].swap(tagged(&mut random), Ordering::AcqRel);
                        // SAFETY: the swap handed `old` to this thread alone.
                        unsafe { free(old) }
                    }
                };
                replace(each / 8);
                start_line.wait();
                start_line.wait();
                replace(each);
            });
        }
        start_line.wait();
        let start = (Instant::now(), cpu_now());
        start_line.wait();
        start
    });
    run.record(each * THREADS as u64, start.0.elapsed(), cpu_now() - start.1);
    for slot in slots {
        // SAFETY: all threads are gone; each slot holds one live block.
        unsafe { free(slot.into_inner()) }
    }
}
