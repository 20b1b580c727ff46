//! Locks, pairs, ids, options, figures, and the background thread's word.

use super::*;
use crate::background::{Background, State as Doing, Wish};
use crate::hook::Hook;
use crate::identity::{Id, id_of};
use crate::option_word::Word;
use crate::stat_words;
use crate::sync::{AtomicU64, Lock};

/// Threads exclude each other, and see what the last one wrote.
#[test]
fn models_lock_has_one_holder() {
    SLEEPS.set(true);
    explore(3, || {
        let shared = Arc::new((Lock::new(), UnsafeCell::new(0)));
        let act = |shared: &(Lock, UnsafeCell<u32>), tries: bool| {
            let guard = if tries { shared.0.try_lock() } else { Some(shared.0.lock()) };
            guard.map_or(0, |_guard| {
                shared.1.with_mut(|count| unsafe { *count += 1 });
                1
            })
        };
        let others = [true, false].map(|tries| {
            let shared = shared.clone();
            thread::spawn(move || act(&shared, tries))
        });
        let count = act(&shared, false) + others.map(|other| other.join().unwrap()).iter().sum::<u32>();
        shared.1.with(|counted| assert_eq!(unsafe { *counted }, count));
    });
}

/// Who sleeps at a lock is woken; else loom finds all asleep.
#[test]
fn models_lock_wakes_who_waits() {
    SLEEPS.set(true);
    explore(3, || {
        let lock = Arc::new(Lock::new());
        let others = [0, 1].map(|_| {
            let lock = lock.clone();
            thread::spawn(move || drop(lock.lock()))
        });
        drop(lock.lock());
        join(others);
    });
}

fn pair(number: usize) -> (*mut core::ffi::c_void, *mut core::ffi::c_void) {
    (core::ptr::without_provenance_mut(number), core::ptr::without_provenance_mut(number * 3))
}

/// A reader of a hook gets a pair that was set, while another one is set.
#[test]
fn models_hook_gives_pairs_that_belong_together() {
    SLEEPS.set(false);
    explore(2, || {
        let hook = Arc::new(Hook::new());
        hook.set(pair(1).0, pair(1).1);
        let setter = {
            let hook = hook.clone();
            thread::spawn(move || hook.set(pair(2).0, pair(2).1))
        };
        if let Some((call, arg)) = hook.get() {
            assert_eq!((call, arg), pair(call.addr()), "halves of two pairs");
        }
        join([setter]);
    });
}

/// Two threads set a hook: one after the other, also where one of them asks often.
#[test]
fn models_hook_has_one_setter_at_a_time() {
    SLEEPS.set(false);
    explore(1, || {
        let hook = Arc::new(Hook::new());
        let setter = {
            let hook = hook.clone();
            thread::spawn(move || hook.set(pair(1).0, pair(1).1))
        };
        hook.set(pair(2).0, pair(2).1);
        join([setter]);
        let last = hook.get().map(|(call, arg)| (call.addr(), arg.addr()));
        assert!(matches!(last, Some((1, 3) | (2, 6))), "a pair stays, not {last:?}");
    });
}

/// Who asks for a block's heap while that goes and another one takes its place is told its id, or none.
#[test]
fn models_id_of_the_next_heap_is_not_told() {
    explore(4, || {
        /// The place of heaps, and what a page says.
        struct Place {
            id: Id,
            page: AtomicPtr<Place>,
        }
        let place = Arc::new(Place { id: Id::new(), page: AtomicPtr::new(core::ptr::null_mut()) });
        place.id.begin(1);
        place.page.store((&raw const *place).cast_mut(), Ordering::Relaxed);
        let asker = {
            let place = place.clone();
            thread::spawn(move || {
                let id = id_of(|| place.page.load(Ordering::Relaxed), |_| &place.id);
                assert!(id < 2, "a block is said to be of a heap that it was never of");
            })
        };
        // As `end`, and `create`.
        place.page.store(core::ptr::null_mut(), Ordering::Relaxed);
        place.id.begin(2);
        join([asker]);
    });
}

/// The program and the environment give values at once: the stronger one stays, and readers never see it give way.
#[test]
fn models_option_keeps_the_stronger_source() {
    explore(3, || {
        let word = Arc::new(Word::new(10, 0));
        let givers = [(30, 3), (20, 1)].map(|(value, source)| {
            let word = word.clone();
            thread::spawn(move || word.put(value, source))
        });
        let first = word.get();
        let second = word.get();
        for (value, source) in [first, second] {
            assert!(matches!((value, source), (10, 0) | (20, 1) | (30, 3)), "a value with another's source");
        }
        assert!(first.1 <= second.1, "a stronger source gave way");
        join(givers);
        assert_eq!(word.get(), (30, 3));
    });
}

/// A peak is at least what each thread reported, and not more than there was; a count of one writer only grows.
#[test]
fn models_figures_are_read_while_they_grow() {
    explore(3, || {
        let counts = Arc::new([0, 0, 0].map(AtomicU64::new));
        let others = [0, 1].map(|number| {
            let counts = counts.clone();
            thread::spawn(move || {
                let now = stat_words::add(&counts[0], 5);
                stat_words::raise_to(&counts[1], now);
                if number == 0 {
                    stat_words::bump(&counts[2], 1);
                    stat_words::bump(&counts[2], 1);
                }
                assert!(counts[1].load(Ordering::Relaxed) >= now, "C1: a peak below what was reported");
            })
        });
        let read = |at: usize| counts[at].load(Ordering::Relaxed);
        let before = (read(1), read(2));
        assert!(before.0 <= read(1) && before.1 <= read(2), "a peak and a count of one writer only grow");
        join(others);
        assert_eq!([read(0), read(1), read(2)], [10, 10, 2]);
    });
}

/// Memory is reported while the background thread lies down: it is awake, or it was woken, or it has seen the report.
#[test]
fn models_report_finds_the_background_thread_or_is_found() {
    SLEEPS.set(true);
    explore(3, || {
        let shared = Arc::new((Background::new(), AtomicU64::new(0)));
        let reporter = {
            let shared = shared.clone();
            thread::spawn(move || {
                // As `Counts::report` and `look`.
                stat_words::add(&shared.1, 1);
                if shared.0.state() == Doing::Asleep {
                    shared.0.wake_up();
                }
            })
        };
        // As the background thread: it ends here once it has seen the report, and not before.
        let is_news = || shared.1.load(Ordering::Relaxed) != 0;
        while shared.0.lie_down(is_news) {
            while shared.0.is_asleep() {
                shared.0.sleep(0);
            }
        }
        join([reporter]);
    });
}

/// Threads that end at once leave it to one of them to look: the last look sees what all of them left.
#[test]
fn models_wish_is_granted_by_who_holds_the_lock() {
    wish_while(Other::Ends);
}

/// A thread that ends while another holds the lock for a matter of its own leaves the look to that one.
#[test]
fn models_wish_is_granted_by_who_held_the_lock_for_another_matter() {
    wish_while(Other::HasHeld);
}

#[derive(Clone, Copy, PartialEq)]
enum Other {
    Ends,
    HasHeld,
}

fn wish_while(meanwhile: Other) {
    SLEEPS.set(false);
    explore(3, move || {
        let shared = Arc::new((Wish::new(), Lock::new(), AtomicU64::new(0), UnsafeCell::new(0)));
        let grant = |shared: &(Wish, Lock, AtomicU64, UnsafeCell<u64>)| {
            shared.0.grant(&shared.1, || {
                let seen = shared.2.load(Ordering::Relaxed);
                shared.3.with_mut(|last| unsafe { *last = seen });
            });
        };
        let end = move |shared: &(Wish, Lock, AtomicU64, UnsafeCell<u64>)| {
            stat_words::add(&shared.2, 1);
            shared.0.make();
            grant(shared);
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || match meanwhile {
                Other::Ends => end(&shared),
                Other::HasHeld => {
                    drop(shared.1.lock());
                    grant(&shared);
                }
            })
        };
        end(&shared);
        join([other]);
        let ended = if meanwhile == Other::Ends { 2 } else { 1 };
        shared.3.with(|seen| assert_eq!(unsafe { *seen }, ended, "nobody looked at what the last one left"));
    });
}
