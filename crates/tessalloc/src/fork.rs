//! Fork: locks are held across it in one order, threads that the child will not have are parked, and the child takes over.
//!
//! Order: heaps, `PASS` (scavenger), shared record, records, blocks at offsets, regions' table, each region, profile. Who visits the
//! heaps holds theirs, and may be out of memory and purge.
//!
//! F1 In the child a record that was parked at the fork is whole, and is ended there; one that was inside its gate is left alone
//!    for good: what it holds leaks in the child. So do, after a fork that ran no handlers, the pages of the thread's own record if another
//!    thread was in there.

use core::ptr::null_mut;

use crate::first_class;
use crate::gate::Gate;
use crate::os;
use crate::region;
use crate::scavenger;
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, Lock, Ordering, hold_all, hold_all_no_more, holds_all, pause};
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

/// The locks up to that of the regions' table.
fn outer_locks() -> impl Iterator<Item = &'static Lock> {
    first_class::locks().into_iter().chain([scavenger::lock()]).chain(thread::locks()).chain([
        crate::offset::lock(),
        crate::pressure::lock(),
        region::grow_lock(),
    ])
}

/// Those behind it. Which regions there are stands still while the table's lock is held: asked, and used up, under that.
fn inner_locks() -> impl Iterator<Item = &'static Lock> {
    region::all().iter().map(region::Region::lock).chain(core::iter::once(crate::sample::profile::lock()))
}

/// The records in which the forking thread goes on, after the fork too: its own, if it has one, and the shared one.
fn kept_records(own: *mut Thread) -> impl Iterator<Item = *mut Thread> {
    [own, thread::shared()].into_iter().filter(|record| !record.is_null())
}

unsafe extern "C" fn prepare() {
    /// How long all busy threads together are waited for.
    const TRIES: u32 = 5;
    for lock in outer_locks() {
        lock.acquire();
    }
    // Asked only now: the regions' table stands still.
    for lock in inner_locks() {
        lock.acquire();
    }
    hold_all();
    // ORDER: Relaxed: read by this thread, in the parent and in the child.
    FORKING.store(true, Ordering::Relaxed);
    let own = thread::current_if_started().unwrap_or(null_mut());
    let mut tries = TRIES;
    // SAFETY: L2.
    unsafe {
        // Others come to these by a claim, and not all of them hold a lock meanwhile: none is in there at the fork.
        for kept in kept_records(own) {
            (*kept).gate.hold();
            (*kept).parked = true;
        }
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
            if take(&(*record).gate) {
                // Its thread may have ended meanwhile (L3 in `life`): then the forking thread may want the record.
                (*record).parked = (*record).is_live();
                if !(*record).parked {
                    (*record).gate.unclaim();
                }
                break;
            }
            if *tries == 0 {
                break;
            }
            *tries -= 1;
            pause(1);
        }
    }
}

/// Whether the calling thread forks, and has been inside of the record's gate, or kept others out of it, since then.
///
/// # Safety
/// - A record.
pub(crate) unsafe fn keeps(record: *mut Thread) -> bool {
    // SAFETY: L2; `parked` is touched by who forks.
    holds_all() && unsafe { (*record).parked }
}

unsafe extern "C" fn parent() {
    for other in thread::all().chain(thread::all_of_heaps()).chain(core::iter::once(thread::shared())) {
        // SAFETY: L2; parked, or held, by this thread in `prepare`.
        unsafe {
            if core::mem::take(&mut (*other).parked) {
                (*other).gate.unclaim();
            }
        }
    }
    // ORDER: Relaxed: as in `prepare`.
    FORKING.store(false, Ordering::Relaxed);
    hold_all_no_more();
    inner_locks().for_each(Lock::release);
    outer_locks().for_each(Lock::release);
    scavenger::grant_wish();
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
    outer_locks().chain(inner_locks()).for_each(Lock::reset_in_child);
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
    for kept in kept_records(own) {
        // SAFETY: held by this thread since `prepare`; after a fork that ran no handlers, nobody is there who could be inside.
        unsafe {
            (*kept).parked = false;
            (*kept).gate.reset_in_child();
        }
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

/// A fork that ran no handlers, by a plain system call, is noticed where the child first wants memory, or has to wait for a lock or at a
/// gate.
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
            unsafe {
                (*other).parked = !own.is_null() && lessee_of(other) == own;
                if (other == own || (*other).parked) && (*other).gate.is_claimed() {
                    thread::leave_torn(other);
                }
            }
        }
        take_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Arena, ArenaOptions};
    use std::sync::{PoisonError, mpsc};
    use std::thread::{scope, sleep};
    use std::time::Duration;
    use std::vec::Vec;

    /// What a fork that has come to its first lock may do before the test goes on. Too short, it finds nothing and fails nothing.
    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn locks_of_regions_that_come_while_a_fork_waits_are_held_too() {
        let _quiet = region::QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = scavenger::lock().lock();
        let (to_main, from_forker) = mpsc::channel();
        scope(|scope| {
            let forker = scope.spawn(move || {
                to_main.send(()).expect("main waits");
                // SAFETY: the handlers, in the order in which a fork calls them.
                unsafe { prepare() };
                let free = region::all().iter().filter(|region| region.lock().try_lock().is_some()).count();
                // SAFETY: as above.
                unsafe { parent() };
                free
            });
            from_forker.recv().expect("the forking thread runs");
            sleep(MOMENT);
            let (before, mut arenas) = (region::all().len(), Vec::new());
            while region::all().len() == before {
                arenas.push(Arena::reserve(Arena::BYTES_MIN, &ArenaOptions::new().exclusive(true)).expect("room"));
            }
            drop(pass);
            assert_eq!(forker.join().expect("no panic"), 0, "locks of regions are free at the fork");
            arenas.into_iter().for_each(|arena| assert!(arena.release().is_ok()));
        });
    }

    /// A plain system call while another thread is inside of the calling thread's record: the child looks at nothing that may be torn.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_leaves_pages_alone_that_another_thread_was_at() {
        const BYTES: usize = 3000;
        // Forks are heeded from the second thread on.
        // SAFETY: given back at once.
        unsafe { crate::raw::free(crate::raw::malloc(1)) };
        let _quiet = region::QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let (to_main, from_forker) = mpsc::channel();
        let (to_forker, from_main) = mpsc::channel();
        scope(|scope| {
            scope.spawn(move || {
                let block = crate::raw::malloc(BYTES);
                let own = thread::current_if_started().expect("a record");
                // SAFETY: a block in use; the owner word is atomic.
                let owner_of = |block| unsafe { (*thread::page_of(block)).owner.load(Ordering::Relaxed) };
                to_main.send(own.expose_provenance()).expect("main waits");
                from_main.recv().expect("main is in the record");
                // SAFETY: the child uses this allocator and system calls, and ends; the timer ends it if it hangs.
                unsafe {
                    let process = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t;
                    if process == 0 {
                        libc::alarm(10);
                        // More than lay on the stack.
                        let blocks = [(); 64].map(|()| crate::raw::malloc(BYTES));
                        let is_whole = owner_of(blocks[63]) == (*own).token() && owner_of(block) != (*own).token();
                        blocks.into_iter().chain([block]).for_each(|block| crate::raw::free(block));
                        crate::purge();
                        libc::_exit(i32::from(!is_whole || crate::raw::malloc(BYTES).is_null()));
                    }
                    let mut status = -1;
                    libc::waitpid(process, &mut status, 0);
                    to_main.send(status as usize).expect("main waits");
                    crate::raw::free(block);
                }
            });
            let record = from_forker.recv().expect("the forking thread runs");
            let record: *mut Thread = core::ptr::with_exposed_provenance_mut(record);
            // SAFETY: L2; the forking thread waits outside.
            let gate = unsafe { &(*record).gate };
            gate.exclude();
            to_forker.send(()).expect("the forking thread waits");
            let status = from_forker.recv();
            gate.unclaim();
            assert_eq!(status, Ok(0), "the child hangs, or goes on with what may be torn");
        });
    }

    /// By `ThreadId::purge` and by walks other threads go into a record without any lock.
    #[test]
    fn a_fork_waits_until_its_own_records_are_left() {
        let _quiet = region::QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        for is_shared in [false, true] {
            let (to_main, from_forker) = mpsc::channel();
            let (to_forker, from_main) = mpsc::channel();
            scope(|scope| {
                let forker = scope.spawn(move || {
                    // SAFETY: given back at once.
                    unsafe { crate::raw::free(crate::raw::malloc(1)) };
                    let own = thread::current_if_started().expect("a record");
                    to_main
                        .send(if is_shared { thread::shared() } else { own }.expose_provenance())
                        .expect("main waits");
                    from_main.recv().expect("main is in the record");
                    // SAFETY: the handlers, in the order in which a fork calls them.
                    unsafe {
                        prepare();
                        let is_left = from_main.try_recv().is_ok();
                        parent();
                        is_left
                    }
                });
                let record = from_forker.recv().expect("the forking thread runs");
                let record: *mut Thread = core::ptr::with_exposed_provenance_mut(record);
                // SAFETY: L2; the forking thread waits outside.
                let gate = unsafe { &(*record).gate };
                gate.exclude();
                to_forker.send(()).expect("the forking thread waits");
                sleep(MOMENT);
                // One that did not wait is gone.
                let _ = to_forker.send(());
                gate.unclaim();
                assert!(forker.join().expect("no panic"), "forked while another thread was inside");
            });
        }
    }
}
