//! The gate of a record.

use super::*;

pub(super) struct Guarded {
    pub(super) gate: Gate,
    pub(super) plain: UnsafeCell<u32>,
}

impl Guarded {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(), plain: UnsafeCell::new(0) })
    }

    pub(super) fn touch(&self) {
        self.plain.with_mut(|plain| unsafe { *plain += 1 });
    }

    pub(super) fn pass(&self) {
        self.gate.enter();
        self.touch();
        self.gate.leave();
    }

    pub(super) fn claim(self: &Arc<Self>) -> thread::JoinHandle<u32> {
        let guarded = self.clone();
        thread::spawn(move || {
            if !guarded.gate.try_claim() {
                return 0;
            }
            guarded.touch();
            let _ = guarded.gate.is_wanted();
            guarded.gate.unclaim();
            1
        })
    }
}

/// The owner passes its gate while another thread claims it: one at a time, each sees what the other wrote.
#[test]
fn models_gate_lets_in_one_at_a_time() {
    SLEEPS.set(false);
    explore(3, || {
        let guarded = Guarded::new();
        let claimer = guarded.claim();
        guarded.pass();
        guarded.pass();
        let claims = claimer.join().unwrap();
        guarded.plain.with(|plain| assert_eq!(unsafe { *plain }, 2 + claims));
    });
}

/// Two threads claim the gate, one after the other, while the owner passes.
#[test]
fn models_gate_lets_in_one_claimer_at_a_time() {
    SLEEPS.set(false);
    explore(2, || {
        let guarded = Guarded::new();
        let claimers = [guarded.claim(), guarded.claim()];
        guarded.pass();
        let claims: u32 = claimers.map(|claimer| claimer.join().unwrap()).iter().sum();
        guarded.plain.with(|plain| assert_eq!(unsafe { *plain }, 1 + claims));
    });
}

/// An owner that sleeps at its gate is woken: a lost wake would leave it asleep, which loom reports as a deadlock.
#[test]
fn models_gate_wakes_the_owner() {
    SLEEPS.set(true);
    explore(3, || {
        let guarded = Guarded::new();
        let claimers = [guarded.claim(), guarded.claim()];
        guarded.pass();
        for claimer in claimers {
            claimer.join().unwrap();
        }
    });
}
