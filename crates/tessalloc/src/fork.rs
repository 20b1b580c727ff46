//! Fork: locks are held across it in one order, threads that the child will not have are parked, and the child takes over.
//!
//! Order: `PASS` (scavenger), heaps, shared record, records, blocks at offsets, regions' table, each region, profile.
//!
//! F1 In the child a record that was parked at the fork is whole, and is ended there; one that was inside its gate is left alone
//!    for good: what it holds leaks in the child.

use core::ptr::null_mut;

use crate::first_class;
use crate::gate::Gate;
use crate::os;
use crate::region;
use crate::scavenger;
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, Lock, Ordering, hold_all, hold_all_no_more, wait};
use crate::thread::{self, Thread};
use crate::walk;

/// A word that the kernel clears in every forked child; null where it can't.
static WITNESS: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
static STARTED: AtomicBool = AtomicBool::new(false);
static FORKING: AtomicBool = AtomicBool::new(false);
const PRESENT: u32 = 1;

/// Registers the handlers, once, before the process has a second thread that allocates: a lone thread's fork needs none. Handlers
/// of others that were registered earlier run while ours hold the locks; [`crate::sync::hold_all`] lets them allocate. May
/// allocate: call outside all locks.
pub(crate) fn start() {
    // ORDER: AcqRel: one caller registers.
    if STARTED.load(Ordering::Relaxed) || STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let bytes = os::page_bytes();
    if let Ok(page) = os::reserve(bytes, bytes, 0) {
        // SAFETY: reserved just now; released again if it can't serve.
        unsafe {
            if os::commit(page, bytes).is_ok() && os::wipe_on_fork(page, bytes) {
                let word: *mut AtomicU32 = page.cast();
                // ORDER: Relaxed: published by the Release below.
                (*word).store(PRESENT, Ordering::Relaxed);
                // ORDER: Release pairs with the Acquire in `notice_raw_fork`.
                WITNESS.store(word, Ordering::Release);
            } else {
                os::release(page, bytes);
            }
        }
    }
    os::at_fork(prepare, parent, child);
}

fn locks() -> impl Iterator<Item = &'static Lock> {
    core::iter::once(scavenger::lock())
        .chain(first_class::locks())
        .chain(thread::locks())
        .chain([crate::offset::lock(), crate::pressure::lock()])
        .chain(core::iter::once(region::grow_lock()))
        .chain(region::all().iter().map(region::Region::lock))
        .chain(core::iter::once(crate::sample::profile::lock()))
}

unsafe extern "C" fn prepare() {
    /// How long all busy threads together are waited for.
    const TRIES: u32 = 5;
    for lock in locks() {
        lock.acquire();
    }
    hold_all();
    // ORDER: Relaxed: read by this thread, in the parent and in the child.
    FORKING.store(true, Ordering::Relaxed);
    let own = thread::current_if_started().unwrap_or(null_mut());
    let mut tries = TRIES;
    // SAFETY: L2.
    unsafe {
        for other in thread::all().filter(|other| *other != own) {
            park(other, &mut tries, Gate::try_claim);
        }
        for record in thread::all_of_heaps() {
            // The forking thread goes on using its own, and may lease those that nobody has: all others go in there by a claim.
            let lessee = lessee_of(record);
            let is_held = lessee.is_null() || lessee == own;
            let take: fn(&Gate) -> bool = if is_held { Gate::try_hold } else { Gate::try_claim };
            park(record, &mut tries, take);
        }
    }
}

/// Parks a live record; after some tries of all together, it is left as it is.
///
/// # Safety
/// - The caller forks, and holds all locks.
unsafe fn park(record: *mut Thread, tries: &mut u32, take: impl Fn(&Gate) -> bool) {
    // SAFETY: L2; `parked` is touched by who forks.
    unsafe {
        (*record).parked = false;
        while (*record).is_live() {
            (*record).parked = take(&(*record).gate);
            if (*record).parked || *tries == 0 {
                break;
            }
            *tries -= 1;
            static CLOCK: AtomicU32 = AtomicU32::new(0);
            wait(&CLOCK, 0, 1);
        }
    }
}

unsafe extern "C" fn parent() {
    for other in thread::all().chain(thread::all_of_heaps()) {
        // SAFETY: L2; parked by this thread in `prepare`.
        unsafe {
            if core::mem::take(&mut (*other).parked) {
                (*other).gate.unclaim();
            }
        }
    }
    // ORDER: Relaxed: as in `prepare`.
    FORKING.store(false, Ordering::Relaxed);
    hold_all_no_more();
    for lock in locks() {
        lock.release();
    }
}

unsafe extern "C" fn child() {
    // ORDER: Relaxed: the child has one thread.
    FORKING.store(false, Ordering::Relaxed);
    if let Some(word) = witness() {
        word.store(PRESENT, Ordering::Relaxed);
    }
    take_over();
}

/// A fork as the parent sees it, for schedules; `between` is what later handlers do.
#[cfg(all(test, shuttle))]
pub(crate) fn pretend(between: impl FnOnce()) {
    // SAFETY: one after the other, on one thread.
    unsafe {
        prepare();
        between();
        parent();
    }
}

fn take_over() {
    hold_all_no_more();
    for lock in locks() {
        lock.reset_in_child();
    }
    scavenger::reset_in_child();
    walk::reset_in_child();
    let own = thread::current_if_started().unwrap_or(null_mut());
    // SAFETY: the child has one thread, and the locks are free.
    unsafe { first_class::after_fork(own) };
    for other in thread::all().filter(|other| *other != own) {
        // SAFETY: F1: parked outside its gate: its pages, ring and warm runs are whole, and its thread is not here. What lies on
        // its stacks, which pass no gate, is left alone.
        unsafe {
            if core::mem::take(&mut (*other).parked) {
                (*other).gate.reset_in_child();
                (*other).forget_stacks();
                thread::end(other);
            } else if (*other).is_live() {
                (*other).forsake();
                stats::sub(Counter::Threads, 1);
            }
        }
    }
    if !own.is_null() {
        // SAFETY: the calling thread's record; nobody can be in it.
        unsafe { (*own).gate.reset_in_child() };
    }
}

/// The thread that has a heap's record; null: nobody.
///
/// # Safety
/// - The caller holds the lock under which it is written, or is the only thread of a forked child.
unsafe fn lessee_of(record: *mut Thread) -> *mut Thread {
    // SAFETY: L2. ORDER: Relaxed: by the caller's duty.
    core::ptr::with_exposed_provenance_mut(unsafe { (*record).lessee.load(Ordering::Relaxed) })
}

fn witness() -> Option<&'static AtomicU32> {
    // ORDER: Acquire pairs with the Release in `start`.
    // SAFETY: null, or a word that is never unmapped.
    unsafe { WITNESS.load(Ordering::Acquire).as_ref() }
}

/// A fork that ran no handlers, by a plain system call, is noticed at the child's first slow path.
#[inline]
pub(crate) fn notice_raw_fork() {
    // ORDER: Relaxed: written before this thread began, or by this thread.
    if witness().is_some_and(|word| word.load(Ordering::Relaxed) != PRESENT) {
        after_raw_fork();
    }
}

#[cold]
fn after_raw_fork() {
    // ORDER: Relaxed: the child has one thread. Between `prepare` and `child` the handlers do this.
    if !FORKING.load(Ordering::Relaxed) {
        if let Some(word) = witness() {
            word.store(PRESENT, Ordering::Relaxed);
        }
        let own = thread::current_if_started().unwrap_or(null_mut());
        for other in thread::all().chain(thread::all_of_heaps()) {
            // SAFETY: L2: nobody was parked: all but this thread's own records are left alone (F1).
            unsafe { (*other).parked = !own.is_null() && lessee_of(other) == own };
        }
        take_over();
    }
}
