//! The address space: words of chunks, and a region that grows.

use super::*;
use crate::chunk::Chunk;
use crate::grown::Grown;
use crate::place::Place;
use crate::sync::Lock;
use crate::taken::{EmptyFrom, Summary, Taken};

/// A chunk with one slice, what lies in the slice, and a summary of one chunk.
struct OneSlice {
    chunk: Chunk,
    summary: Summary,
    content: UnsafeCell<u32>,
}

impl OneSlice {
    const SLICE: u64 = 1;
    const BIT: u64 = 1;

    fn new() -> Arc<Self> {
        Arc::new(Self {
            chunk: Chunk::new(!Self::SLICE),
            summary: Summary::new(Self::BIT),
            content: UnsafeCell::new(0),
        })
    }

    /// As `Region::take_exactly`.
    fn take(&self) -> bool {
        match self.chunk.taken.take_exactly(Self::SLICE) {
            Some(taken) => {
                if taken == u64::MAX {
                    self.summary.note_used_up(Self::BIT, &self.chunk.taken);
                }
                true
            }
            None => {
                self.summary.note_room(Self::BIT);
                false
            }
        }
    }

    /// As `Region::give_part`.
    fn give(&self) {
        self.chunk.end_runs(Self::SLICE, 0);
        self.chunk.taken.give(Self::SLICE);
        self.summary.note_room(Self::BIT);
    }

    /// Takes the slice, uses it as memory that reads zero unless it is dirty, and gives it back.
    fn use_once(&self) {
        if !self.take() {
            return;
        }
        assert_eq!(self.chunk.head(), None, "no run goes on in a slice that was free");
        self.chunk.begin_run(0);
        self.chunk.go_on(7);
        if self.chunk.committed() & Self::SLICE == 0 {
            self.chunk.commit(Self::SLICE);
        }
        let was_dirty = self.chunk.touch(Self::SLICE) != 0;
        self.content.with_mut(|content| unsafe {
            assert!(was_dirty || *content == 0, "memory that was to read zero does not");
            *content = 7;
        });
        self.give();
    }

    /// As `Region::purge_chunk`.
    fn purge(&self) {
        if self.chunk.dirty() & !self.chunk.taken.load(Ordering::Relaxed) & Self::SLICE == 0 || !self.take() {
            return;
        }
        self.content.with_mut(|content| unsafe { *content = 0 });
        self.chunk.decommit(Self::SLICE);
        self.chunk.forget(Self::SLICE);
        self.give();
    }
}

/// Slices are taken, given back, purged and committed at once: one in a hand at a time, and what is said to read zero does.
#[test]
fn models_slice_is_used_while_it_is_purged() {
    explore(3, || {
        let slice = OneSlice::new();
        slice.use_once();
        let threads = [
            {
                let slice = slice.clone();
                thread::spawn(move || slice.purge())
            },
            {
                let slice = slice.clone();
                thread::spawn(move || slice.use_once())
            },
        ];
        slice.use_once();
        join(threads);
        assert_eq!(slice.chunk.taken.load(Ordering::Relaxed), !OneSlice::SLICE, "the slice is free");
        assert_eq!(slice.chunk.starts(Ordering::Relaxed), 0, "no run begins in it");
        assert_eq!(slice.chunk.head(), None, "no run goes on in it");
        let (is_dirty, is_committed) = (slice.chunk.dirty() != 0, slice.chunk.committed() != 0);
        slice.content.with(|content| assert_eq!(is_dirty && is_committed, unsafe { *content } != 0));
    });
}

/// A chunk's bit in the summary is cleared by who takes its last slice, and set by who gives one: at rest, a chunk with a free slice
/// is found.
#[test]
fn models_summary_finds_what_is_free() {
    explore(3, || {
        let (taken, summary) = (Taken::new(!3), Summary::new(1));
        let _ = taken.take_exactly(1);
        let chunk = Arc::new((taken, summary));
        let giver = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                chunk.0.give(1);
                chunk.1.note_room(1);
            })
        };
        // The last slice that is free, or that was.
        if chunk.0.take_exactly(2) == Some(u64::MAX) {
            chunk.1.note_used_up(1, &chunk.0);
        }
        join([giver]);
        assert_eq!(chunk.0.load(Ordering::Relaxed), !1, "one slice is free");
        assert_eq!(chunk.1.load() & 1, 1, "nobody would find it");
    });
}

/// A chunk that comes free while another thread looks for one is found by the next look, if not by this one.
#[test]
fn models_empty_chunk_is_not_passed_over() {
    explore(3, || {
        let region = Arc::new((EmptyFrom::new(), [Taken::new(1), Taken::new(1)]));
        let look = |region: &(EmptyFrom, [Taken; 2])| {
            region.0.look(2, |chunk| region.1[chunk as usize].load(Ordering::SeqCst) == 0)
        };
        let giver = {
            let region = region.clone();
            thread::spawn(move || {
                region.1[0].give(1);
                region.0.note_given(0, &region.1[0], 0);
            })
        };
        look(&region);
        join([giver]);
        assert_eq!(look(&region), 0, "nobody would find the chunk");
        assert_eq!(look(&region), 0, "a chunk that is not taken is found again");
    });
}

/// A region of chunks of one slice each. One who comes by the summary may be faster than who opened the chunk.
struct Growing {
    lock: Lock,
    place: Place,
    frontier: Grown,
    summary: Summary,
    chunks: [(UnsafeCell<bool>, Taken); 3],
}

impl Growing {
    /// As `Region::take_in`.
    fn take_in(&self, index: usize) -> bool {
        let (is_usable, taken) = &self.chunks[index];
        is_usable.with(|is_usable| assert!(unsafe { *is_usable }, "a chunk is looked at that is not accessible yet"));
        let Some((_, now)) = taken.take(|taken| (taken & 1 == 0).then_some(1)) else { return false };
        if now == u64::MAX {
            self.summary.note_used_up(1 << index, taken);
        }
        true
    }

    /// As `Region::take_short`, with `take_fresh`; the chunk of which it was.
    fn take(&self) -> usize {
        let frontier = self.frontier.now() as usize;
        let free = self.summary.load();
        if let Some(index) = (0..frontier).find(|index| free >> index & 1 == 1 && self.take_in(*index)) {
            return index;
        }
        let _guard = self.lock.lock();
        loop {
            let frontier = self.frontier.under_lock() as usize;
            if frontier > 0 && self.take_in(frontier - 1) {
                return frontier - 1;
            }
            // As `open_until`.
            self.chunks[frontier].0.with_mut(|is_usable| unsafe {
                assert!(!*is_usable, "a chunk is opened twice");
                *is_usable = true;
            });
            self.summary.note_room(1 << frontier);
            self.place.open(frontier + 1, &self.frontier, frontier as u32 + 1);
        }
    }
}

/// Threads that find no room open chunks: each gets a slice of its own, which it finds by its address, and looks at no chunk before it
/// is accessible.
#[test]
fn models_region_grows_by_one_at_a_time() {
    SLEEPS.set(true);
    explore(2, || {
        let region = Arc::new(Growing {
            lock: Lock::new(),
            place: Place::new(),
            frontier: Grown::new(),
            summary: Summary::new(0),
            chunks: core::array::from_fn(|_| (UnsafeCell::new(false), Taken::new(!1))),
        });
        let take = |region: &Growing| {
            let slice = region.take();
            assert_eq!(region.place.find(slice), Some(slice), "who frees a slice does not find it");
            slice
        };
        let other = {
            let region = region.clone();
            thread::spawn(move || take(&region))
        };
        let own = take(&region);
        assert_ne!(own, other.join().unwrap(), "a slice is in one hand");
        assert!(region.frontier.now() <= 3, "no more than it takes");
    });
}
