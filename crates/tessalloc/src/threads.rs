//! What a program says about its threads: who they are, that one will wait, that memory is wanted back.

use crate::first_class;
use crate::scavenger;
use crate::sync::{Ordering, tls};
use crate::thread::{self, Thread};

/// A thread that has allocated: comparable, never reused in a process. Ids say nothing about whether the thread still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(u64);

impl ThreadId {
    /// The calling thread's; its record is made if it has none yet. `None` at a thread's end, when its record is given up, and if
    /// there is no memory for one. Cost: some ns.
    pub fn current() -> Option<Self> {
        // SAFETY: the calling thread's record.
        thread::current(tls::get()).and_then(|record| unsafe { Self::of(record) })
    }

    /// The number; the threads of a process count from 1, as they first allocate.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The thread with a number, as [`ThreadId::get`] gave it.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Whether the thread has not ended yet. Cost: a step for each thread there ever was at once.
    pub fn is_alive(self) -> bool {
        self.record().is_some()
    }

    /// Gives back what the thread holds and nobody uses: runs kept warm, batches, and empty pages become free memory of the process;
    /// OS pages that hold no block go back to the system, and their bytes are returned. Of the calling thread also what lies on its
    /// stacks; those of other threads are theirs alone. `None` if it has ended, or was inside the allocator at each of some
    /// attempts. From any thread. Free memory goes back by itself, or at once by [`crate::purge`].
    pub fn purge(self) -> Option<u64> {
        let record = self.record()?;
        // SAFETY: L2; entered by its gate: the caller's own by right, another's by claim.
        unsafe {
            if Some(record) == thread::current_if_started() {
                (*record).gate.enter();
                (*record).flush_stacks();
                let bytes = (*record).trim();
                (*record).gate.leave();
                return Some(bytes + first_class::purge_leases(record));
            }
            let bytes = scavenger::trim_patiently(record, || ThreadId::of(record) == Some(self))?;
            Some(bytes + first_class::purge_leases(record))
        }
    }

    /// The id of a record's thread; `None` if it has none now.
    ///
    /// # Safety
    /// - A record.
    pub(crate) unsafe fn of(record: *mut Thread) -> Option<Self> {
        // SAFETY: L2. ORDER: Relaxed: a number that names the life, read beside nothing else.
        unsafe {
            let id = (*record).id.load(Ordering::Relaxed);
            (id != 0).then_some(Self(id))
        }
    }

    fn record(self) -> Option<*mut Thread> {
        // SAFETY: records of the list.
        thread::all().find(|record| unsafe { Self::of(*record) } == Some(self))
    }
}

/// Says that the calling thread will wait, as one of a pool does: what it holds goes back at once, instead of some time after it was
/// last seen at work. Blocks on its stacks go home, batches are sent, warm runs and empty pages become free memory; its other pages are
/// left for other threads, and so are its parts of heaps; free memory beyond a quarter of what is in use goes back to the system.
/// Nothing is lost: the thread takes pages again when it next allocates. For a wait of milliseconds or more. Cost: some ns for each
/// block on its stacks and each page, and up to 100 µs for each MiB that goes back.
pub fn thread_idle() {
    let Some(record) = thread::current_if_started() else { return };
    // SAFETY: the calling thread's record.
    unsafe {
        first_class::leave_all(record);
        (*record).gate.enter();
        (*record).flush_stacks();
        (*record).ring.end();
        (*record).drop_warm();
        (*record).drain_inbox();
        (*record).leave_pages();
        (*record).gate.leave();
        (*record).after_slow();
    }
    scavenger::after_thread_end();
}
