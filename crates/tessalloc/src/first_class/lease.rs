//! Leases: which thread has which record of a heap (F5).

use core::ptr::{NonNull, null_mut};

use super::{All, Core, HEAPS, all};
use crate::sync::Ordering;
use crate::theap::Stacks;
use crate::thread::{self, Thread};

/// The records that a thread has of the heaps it used last.
pub(crate) struct Handles([Handle; HANDLE_COUNT]);

const HANDLE_COUNT: usize = 8;
/// No heap's id.
const NO_HEAP: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Handle {
    /// [`NO_HEAP`]: none. Stale where the heap is gone (F1); never 0, which is the id of heaps that have ended.
    id: u64,
    record: NonNull<Thread>,
}

impl Handles {
    pub(crate) const fn new() -> Self {
        Self([Handle { id: NO_HEAP, record: NonNull::dangling() }; HANDLE_COUNT])
    }
}

/// The calling thread's record of a heap, if it used the heap lately.
#[inline(always)]
pub(crate) fn handle(stacks: *mut Stacks, id: u64) -> Option<NonNull<Thread>> {
    // SAFETY: the calling thread's stacks; or those in read-only memory, whose table is empty.
    let handle = unsafe { &(*stacks).handles.0[id as usize % HANDLE_COUNT] };
    if handle.id == id { Some(handle.record) } else { None }
}

/// The calling thread's record of a heap, leased if need be; null if memory is out, or for a thread that has ended.
///
/// # Safety
/// - The heap stands.
#[cold]
pub(crate) unsafe fn lease(core: *mut Core, stacks: *mut Stacks) -> *mut Thread {
    let Some(thread) = thread::current(stacks) else { return null_mut() };
    // SAFETY: the heap stands, the thread is the caller; lists under the lock.
    unsafe {
        let id = (*core).id.get();
        if let Some(record) = handle(stacks, id) {
            return record.as_ptr();
        }
        let _guard = HEAPS.lock();
        let record = lease_locked(core, thread);
        if let Some(record) = NonNull::new(record) {
            (*thread).stacks.handles.0[id as usize % HANDLE_COUNT] = Handle { id, record };
        }
        record
    }
}

/// The record of a heap for a thread: the one it has, one that nobody has, or another; null if memory is out.
///
/// # Safety
/// - The caller holds [`HEAPS`]; the heap stands; `thread` is the caller's record, or the one under `ENDED`.
pub(super) unsafe fn lease_locked(core: *mut Core, thread: *mut Thread) -> *mut Thread {
    // SAFETY: the caller holds `HEAPS`; `thread` is the calling thread's record.
    unsafe {
        let all = all();
        let token = (*thread).token();
        let mut unleased = null_mut();
        let mut record = (*core).records;
        // Bound: the threads that used the heap.
        while !record.is_null() {
            // ORDER: Relaxed: written under the lock.
            let lessee = (*record).lessee.load(Ordering::Relaxed);
            if lessee == token {
                return record;
            }
            if lessee == 0 && (*record).is_live() {
                unleased = record;
            }
            record = (*record).next_in_heap;
        }
        if unleased.is_null() {
            let mut record = (*thread).spares;
            if record.is_null() {
                record = all.records;
                if record.is_null() {
                    record = thread::make_record_for_heaps();
                    if record.is_null() {
                        return record;
                    }
                } else {
                    all.records = (*record).next_lease;
                }
            } else {
                (*thread).spares = (*record).next_lease;
            }
            (*record).heap = core;
            (*record).next_in_heap = (*core).records;
            (*core).records = record;
            (*record).begin();
            unleased = record;
        }
        // ORDER: Relaxed: read by others for being theirs or not.
        (*unleased).lessee.store(token, Ordering::Relaxed);
        (*thread).has_leased = true;
        link_lease(unleased, thread);
        unleased
    }
}

/// Puts a record into its lessee's list.
///
/// # Safety
/// - The caller holds [`HEAPS`], or is the only thread of a forked child; the record is in no list.
unsafe fn link_lease(record: *mut Thread, thread: *mut Thread) {
    // SAFETY: the caller's duty.
    unsafe {
        (*record).previous_lease = null_mut();
        (*record).next_lease = (*thread).leases;
        if !(*thread).leases.is_null() {
            (*(*thread).leases).previous_lease = record;
        }
        (*thread).leases = record;
    }
}

/// Takes a record out of its lessee's list. It stays the lessee's (F5).
///
/// # Safety
/// - The caller holds [`HEAPS`].
pub(super) unsafe fn unlink_lease(record: *mut Thread) {
    // SAFETY: the caller holds `HEAPS`.
    unsafe {
        // ORDER: Relaxed: written under the lock.
        let lessee = (*record).lessee.load(Ordering::Relaxed);
        if lessee == 0 {
            return;
        }
        let thread: *mut Thread = core::ptr::with_exposed_provenance_mut(lessee);
        if (*record).previous_lease.is_null() {
            (*thread).leases = (*record).next_lease;
        } else {
            (*(*record).previous_lease).next_lease = (*record).next_lease;
        }
        if !(*record).next_lease.is_null() {
            (*(*record).next_lease).previous_lease = (*record).previous_lease;
        }
    }
}

/// Keeps a record that has no heap any more for its last lessee, or for all if that has ended.
///
/// # Safety
/// - The caller holds [`HEAPS`], and no list has the record.
pub(super) unsafe fn store_record(record: *mut Thread, all: &mut All) {
    // SAFETY: the caller holds `HEAPS`; the record is in no list.
    unsafe {
        // ORDER: Relaxed: written under the lock.
        let lessee = (*record).lessee.load(Ordering::Relaxed);
        let thread: *mut Thread = core::ptr::with_exposed_provenance_mut(lessee);
        if lessee != 0 && (*thread).is_live() {
            (*record).next_lease = (*thread).spares;
            (*thread).spares = record;
        } else {
            (*record).lessee.store(0, Ordering::Relaxed);
            (*record).next_lease = all.records;
            all.records = record;
        }
    }
}

/// A thread ends: what it leased is free for others, with all its pages.
///
/// # Safety
/// - `thread` is the calling thread's record, after its last allocation.
pub(crate) unsafe fn leave_all(thread: *mut Thread) {
    // SAFETY: the caller's duty; lists under the lock.
    unsafe {
        // The lists themselves may be changed by who ends a heap, under the lock.
        if !(*thread).has_leased {
            return;
        }
        let _guard = HEAPS.lock();
        let all = all();
        end_leases(thread);
        let mut record = core::mem::replace(&mut (*thread).spares, null_mut());
        while !record.is_null() {
            let next = (*record).next_lease;
            // ORDER: Relaxed: written under the lock.
            (*record).lessee.store(0, Ordering::Relaxed);
            store_record(record, all);
            record = next;
        }
        (*thread).stacks.handles = Handles::new();
    }
}

/// In a forked child: the records of threads that are not there go to whoever comes next, the caller keeps its own. Those that were
/// not parked may be torn: what they hold stays as it is until the heap goes, and is lost then.
///
/// # Safety
/// - The caller is the child's only thread, and [`HEAPS`] is free.
pub(crate) unsafe fn after_fork(own: *mut Thread) {
    // SAFETY: the caller's duty.
    unsafe {
        if !own.is_null() {
            // Who ended a heap has taken some out: the list is made anew of those that are whole.
            (*own).leases = null_mut();
            (*own).stacks.handles = Handles::new();
        }
        for record in thread::all_of_heaps() {
            let is_whole = core::mem::take(&mut (*record).parked) || !(*record).is_live();
            // ORDER: Relaxed: the child has one thread.
            let lessee: *mut Thread = core::ptr::with_exposed_provenance_mut((*record).lessee.load(Ordering::Relaxed));
            let is_own = !lessee.is_null() && lessee == own;
            if !is_own {
                (*record).lessee.store(0, Ordering::Relaxed);
            }
            if !lessee.is_null() && !is_own {
                (*lessee).leases = null_mut();
                (*lessee).spares = null_mut();
                // The next thread with this record has leased nothing.
                (*lessee).stacks.handles = Handles::new();
            }
            if !is_whole {
                // ORDER: Relaxed: as above.
                (*record).lessee.store(0, Ordering::Relaxed);
                (*record).forsake();
                continue;
            }
            (*record).gate.reset_in_child();
            if is_own && (*record).is_live() {
                link_lease(record, own);
            } else if !lessee.is_null() && !is_own {
                (*record).forget_stacks();
                (*record).theap.reset_limits();
            }
        }
    }
}

/// Gives back all leases of a thread.
///
/// # Safety
/// - The caller holds [`HEAPS`], and `thread` is the calling thread's record, or the one under [`ENDED`].
pub(super) unsafe fn end_leases(thread: *mut Thread) {
    // SAFETY: the caller's duty.
    unsafe {
        let mut record = core::mem::replace(&mut (*thread).leases, null_mut());
        while !record.is_null() {
            let next = (*record).next_lease;
            // Who visits the heap has put all of it home, under this lock.
            if !(*record).gate.is_visited() {
                (*record).gate.enter();
                (*record).flush_stacks();
                (*record).ring.end();
                (*record).gate.leave();
            }
            // ORDER: Relaxed: written under the lock.
            (*record).lessee.store(0, Ordering::Relaxed);
            record = next;
        }
    }
}
