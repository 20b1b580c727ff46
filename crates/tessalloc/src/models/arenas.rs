//! Places of regions that begin and end, and slices that change hands.

use super::*;
use crate::place::Place;
use crate::taken::Taken;

/// A look into a place where one arena ends and others begin: three lives, none of which holds the slice. The address of one with
/// the reach of another would.
#[test]
fn models_place_is_seen_in_one_life() {
    const NOWHERE: usize = 25;
    explore(4, || {
        let place = Arc::new(Place::new());
        place.begin(0);
        place.grow(10);
        let looker = {
            let place = place.clone();
            thread::spawn(move || assert_eq!(place.find_in_one_life(NOWHERE), None, "a slice of no life is found"))
        };
        for (first_slice, reach) in [(20, 2), (40, 30)] {
            place.end();
            place.begin(first_slice);
            place.grow(reach);
        }
        join([looker]);
    });
}

/// Who learned of a block finds its slice, whatever the region still grows to.
#[test]
fn models_place_of_a_block_is_found() {
    explore(4, || {
        let (place, told) = (Arc::new(Place::new()), Arc::new(AtomicU32::new(0)));
        place.begin(0);
        place.grow(10);
        let looker = {
            let (place, told) = (place.clone(), told.clone());
            thread::spawn(move || {
                // ORDER: Acquire: the program's own way of handing a block on.
                if told.load(Ordering::Acquire) == 1 {
                    assert_eq!(place.find_in_one_life(21), Some(1), "a block's slice is not found");
                }
            })
        };
        place.end();
        place.begin(20);
        place.grow(2);
        // ORDER: Release: as above.
        told.store(1, Ordering::Release);
        place.grow(30);
        join([looker]);
    });
}

/// A chunk with two slices, the rest is not there, and what only the holder of both touches.
struct Slices {
    taken: Taken,
    content: UnsafeCell<u32>,
}

impl Slices {
    const BOTH: u64 = 3;

    fn new() -> Arc<Self> {
        Arc::new(Self { taken: Taken::new(!Self::BOTH), content: UnsafeCell::new(0) })
    }

    /// Takes both, in one way or the other, writes, and gives them back; 1 if they were free.
    fn pass(&self, exactly: bool) -> u32 {
        let both_free = |taken: u64| (taken & Self::BOTH == 0).then_some(Self::BOTH);
        let is_free =
            if exactly { self.taken.take_exactly(Self::BOTH).is_some() } else { self.taken.take(both_free).is_some() };
        if is_free {
            self.content.with_mut(|content| unsafe { *content += 1 });
            self.taken.give(Self::BOTH);
        }
        u32::from(is_free)
    }
}

/// Slices change hands with what their holders wrote.
#[test]
fn models_slices_are_in_one_hand() {
    explore(2, || {
        let slices = Slices::new();
        let other = {
            let slices = slices.clone();
            thread::spawn(move || slices.pass(true) + slices.pass(false))
        };
        let passes = slices.pass(false) + slices.pass(true);
        let passes = passes + other.join().unwrap();
        slices.content.with(|content| assert_eq!(unsafe { *content }, passes));
        assert_eq!(slices.taken.load(Ordering::Relaxed), !Slices::BOTH, "all is free again");
    });
}

/// An arena ends and the next one opens while a thread still takes of the first: what it has then is one or the other as it is.
#[test]
fn models_next_arena_is_seen_as_it_is() {
    for exactly in [true, false] {
        explore(3, move || {
            let slices = Slices::new();
            let late = {
                let slices = slices.clone();
                thread::spawn(move || {
                    let is_taken = if exactly {
                        slices.taken.take_exactly(1).is_some()
                    } else {
                        slices.taken.take(|taken| (taken & 1 == 0).then_some(1)).is_some()
                    };
                    if is_taken {
                        slices.content.with(|content| assert!(unsafe { *content } <= 1));
                        slices.taken.give(1);
                    }
                })
            };
            // Refused while the other thread holds a slice, or looks for one.
            if slices.taken.take_exactly(Slices::BOTH).is_some() {
                slices.content.with_mut(|content| unsafe { *content += 1 });
                slices.taken.close();
                slices.taken.open(!Slices::BOTH);
            }
            join([late]);
            assert_eq!(slices.taken.load(Ordering::Relaxed), !Slices::BOTH, "nothing is lost");
        });
    }
}
