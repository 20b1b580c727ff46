//! Threads that take turns: one runs while all others wait. So a program of several threads does the same each time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{JoinHandle, spawn};

/// Threads of a crew, the caller's own (0) among them.
pub const CREW_SIZE: usize = 4;

/// What a thread is to do; whoever sends it waits until it is done.
struct Turn(*mut (dyn FnMut() + 'static));
// SAFETY: the sender waits for the answer: one thread at a time has what the closure borrows.
unsafe impl Send for Turn {}

type Outcome = Result<(), Box<dyn Any + Send>>;

struct Worker {
    turns: Sender<Turn>,
    outcomes: Receiver<Outcome>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> Worker {
        let (turns, take) = channel::<Turn>();
        let (tell, outcomes) = channel();
        let thread = spawn(move || {
            for turn in take {
                // SAFETY: the sender waits, and has the closure until then.
                let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (*turn.0)() }));
                if tell.send(outcome).is_err() {
                    return;
                }
            }
        });
        Worker { turns, outcomes, thread }
    }
}

/// Threads beside the caller's, begun when they are first needed.
#[derive(Default)]
pub struct Crew {
    workers: [Option<Worker>; CREW_SIZE - 1],
}

impl Crew {
    /// Runs `act` on a thread, which begins if it has not; returns, or unwinds, when it is done.
    pub fn run(&mut self, thread: usize, act: &mut dyn FnMut()) {
        let Some(worker) = thread.checked_sub(1) else { return act() };
        let worker = self.workers[worker].get_or_insert_with(Worker::start);
        // SAFETY: only the lifetime is left out: the closure is used until the answer below, and not after.
        let turn = unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(act) };
        worker.turns.send(Turn(turn)).expect("a worker waits for its turn");
        if let Err(panic) = worker.outcomes.recv().expect("a worker answers") {
            resume_unwind(panic);
        }
    }

    /// Ends a thread, if it has begun and is not the caller's.
    pub fn end(&mut self, thread: usize) {
        if let Some(worker) = thread.checked_sub(1).and_then(|worker| self.workers[worker].take()) {
            drop(worker.turns);
            worker.thread.join().expect("a worker ends without a panic");
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        (1..CREW_SIZE).for_each(|thread| self.end(thread));
    }
}

/// Runs a test that needs the process alone: after the last one, on a thread that has ended, with all that its end does in the
/// allocator, when the next one begins.
pub fn alone<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    match std::thread::scope(|scope| scope.spawn(act).join()) {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
