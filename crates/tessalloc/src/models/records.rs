//! Records: whose they are, how they are held over a fork, and heaps' records whose blocks are freed while the heap goes.

use super::*;
use crate::life::Life;
use crate::sync::Lock;

/// What `Life` and the gate keep.
struct Kept {
    gate: Gate,
    life: Life,
    records: Lock,
    plain: UnsafeCell<u32>,
}

impl Kept {
    fn new() -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(), life: Life::new(), records: Lock::new(), plain: UnsafeCell::new(0) })
    }

    /// As `take_record`: true if the record is the caller's now.
    fn take(&self) -> bool {
        let _guard = self.records.lock();
        if !self.life.is_unused() {
            return false;
        }
        self.plain.with_mut(|plain| unsafe {
            assert_eq!(*plain, 0, "the last thread has left something");
            *plain = 1;
        });
        self.life.begin();
        true
    }

    /// As `thread::end`.
    fn end(&self) {
        self.gate.enter();
        self.plain.with_mut(|plain| unsafe { *plain = 0 });
        self.life.wind_up();
        self.gate.leave();
        self.life.end();
    }

    /// As `scavenger::trim`.
    fn trim(&self) {
        if self.life.is_live() && self.gate.try_claim() {
            if self.life.is_live() {
                self.plain.with(|plain| assert_eq!(unsafe { *plain }, 1, "a live record is set up"));
            }
            self.gate.unclaim();
        }
    }
}

/// A thread ends late, another one takes its record, and the scavenger looks at it meanwhile.
#[test]
fn models_record_goes_from_a_thread_that_ends_to_the_next() {
    SLEEPS.set(false);
    explore(2, || {
        let record = Kept::new();
        assert!(record.take());
        let next = {
            let record = record.clone();
            thread::spawn(move || record.take())
        };
        let scavenger = {
            let record = record.clone();
            thread::spawn(move || record.trim())
        };
        record.end();
        let is_taken = next.join().unwrap();
        scavenger.join().unwrap();
        assert!(is_taken || record.take(), "nobody has the record");
        record.trim();
        record.end();
    });
}

/// The owner forks: it keeps others out, goes in and out itself, and lets others in again.
#[test]
fn models_gate_is_held_by_the_owner_that_forks() {
    SLEEPS.set(false);
    explore(3, || {
        let guarded = super::gate::Guarded::new();
        let claimer = guarded.claim();
        guarded.pass();
        let mut passes = 1;
        if guarded.gate.try_hold() {
            for _ in 0..2 {
                // What the forked child copies, outside.
                guarded.plain.with(|_| {});
                guarded.pass();
                passes += 1;
            }
            guarded.gate.unclaim();
        }
        guarded.pass();
        let claims = claimer.join().unwrap();
        guarded.plain.with(|plain| assert_eq!(unsafe { *plain }, passes + 1 + claims));
    });
}

/// A heap's record that nobody has is visited, or cleared, by one who excludes all that claim it.
#[test]
fn models_gate_without_an_owner_is_excluded() {
    SLEEPS.set(false);
    explore(2, || {
        let guarded = super::gate::Guarded::new();
        let claimer = guarded.claim();
        for visits in [false, true] {
            if visits {
                guarded.gate.exclude_for_visit();
                assert!(guarded.gate.is_visited());
            } else {
                guarded.gate.exclude();
            }
            guarded.touch();
            guarded.gate.unclaim();
        }
        let claims = claimer.join().unwrap();
        guarded.plain.with(|plain| assert_eq!(unsafe { *plain }, 2 + claims));
    });
}

/// A heap with one page, leased by a thread.
struct Leased {
    world: Arc<World>,
    gate: Gate,
    /// Whether the page is the heap's; else the default one's.
    is_heaps: AtomicU32,
    /// The stack of the record.
    stack: UnsafeCell<Vec<u16>>,
}

impl Leased {
    fn new(used: u16) -> Arc<Self> {
        Arc::new(Self {
            world: World::new(State::Owned, used, 0, 1),
            gate: Gate::new(),
            is_heaps: AtomicU32::new(1),
            stack: UnsafeCell::new(Vec::new()),
        })
    }

    /// As `first_class::free_small`, by the thread that has the record.
    unsafe fn free(&self, block: u16) {
        let page = self.world.page();
        let token = self.world.records[0].token();
        unsafe {
            let owner = (*page).owner.load(Ordering::Relaxed) & !exchange::OWNER_ENDED;
            if owner == token {
                self.gate.enter();
                let is_home =
                    (*page).owner.load(Ordering::Relaxed) == owner && self.is_heaps.load(Ordering::Relaxed) == 1;
                if is_home {
                    self.stack.with_mut(|stack| (*stack).push(block));
                }
                self.gate.leave();
                if is_home {
                    return;
                }
            }
            self.world.send(&[block]);
        }
    }

    /// As `first_class::end`, by another thread: claims the record, puts home what lies on its stack, lets the page go.
    unsafe fn delete(&self) {
        while !self.gate.try_claim() {
            thread::yield_now();
        }
        unsafe {
            let blocks = self.stack.with_mut(|stack| core::mem::take(&mut *stack));
            for block in blocks {
                let page = self.world.page();
                (&(*page).blocks)[usize::from(block)].content.with_mut(|content| *content += 1);
                put_list(page, List { head: block, tail: block, count: 1 });
            }
            self.world.end(0, true);
            self.is_heaps.store(0, Ordering::Relaxed);
        }
        self.gate.unclaim();
    }
}

/// A heap is deleted while a thread that still has its record frees a block of it, and another thread another one: each block comes
/// home once, and the page, which is the default heap's then, goes back.
#[test]
fn models_heap_is_deleted_under_a_thread_with_its_record() {
    SLEEPS.set(false);
    explore(2, || {
        let heap = Leased::new(2);
        let deleter = {
            let heap = heap.clone();
            thread::spawn(move || unsafe { heap.delete() })
        };
        let other = heap.world.free(&[1]);
        unsafe {
            heap.free(0);
            join([deleter, other]);
            heap.world.give_back_waiting();
            heap.world.expect(0);
            assert!(plain(heap.world.page(), |plain| plain.is_released), "nobody gave the page back");
        }
    });
}

/// Blocks gathered by a thread are sent home by itself, when another page's take their place, or by the scavenger, who claims its gate.
#[test]
fn models_batch_is_sent_by_its_thread_or_by_a_claim() {
    struct Gathering {
        world: Arc<World>,
        gate: Gate,
        batch: UnsafeCell<Vec<u16>>,
    }
    impl Gathering {
        /// As `Ring::send` of the batch in a place.
        unsafe fn evict(&self) {
            let batch = self.batch.with_mut(|batch| unsafe { core::mem::take(&mut *batch) });
            if !batch.is_empty() {
                unsafe { self.world.send(&batch) };
            }
        }
    }
    SLEEPS.set(false);
    explore(2, || {
        let ring = Arc::new(Gathering {
            world: World::new(State::Owned, 3, 1, STALE_MARK),
            gate: Gate::new(),
            batch: UnsafeCell::new(Vec::new()),
        });
        let frees = {
            let ring = ring.clone();
            thread::spawn(move || {
                for (block, evicts) in [(0, false), (1, true), (2, false)] {
                    ring.gate.enter();
                    ring.batch.with_mut(|batch| unsafe { (*batch).push(block) });
                    if evicts {
                        unsafe { ring.evict() };
                    }
                    ring.gate.leave();
                }
            })
        };
        let scavenger = {
            let ring = ring.clone();
            thread::spawn(move || {
                if ring.gate.try_claim() {
                    unsafe { ring.evict() };
                    ring.gate.unclaim();
                }
            })
        };
        unsafe {
            ring.world.drain(0);
            join([frees, scavenger]);
            ring.evict();
            ring.world.drain(0);
            ring.world.expect(0);
        }
    });
}

/// A page is left without an owner, claimed by frees, adopted, and left once more while others free (a rival took it for the first
/// owner's then): each life sees the blocks that came home in it.
#[test]
fn models_page_is_abandoned_again() {
    explore(2, || {
        let world = World::new(State::Owned, 3, 0, 1);
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            world.end(0, true);
            // The next owner, if somebody has listed the page by now; it hands out again what it finds, and ends as well.
            let owns = world.adopt(1);
            world.end(1, owns);
            join(threads);
            world.send(&[2]);
            for record in &world.records {
                record.inbox.open();
            }
            world.drain(0);
            world.drain(1);
            world.give_back_waiting();
            world.expect(0);
            assert!(plain(world.page(), |plain| plain.is_released), "nobody gave the page back");
        }
    });
}
