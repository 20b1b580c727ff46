//! Going into the records of a heap that ends, is cleared or visited.
//!
//! A thread that forks is inside of nearly all records for the time of the fork, and stays so. Who is inside of another one may wait
//! for what the forking thread holds, or be no thread of the child: that one is not waited for.

use super::has_barrier;
use crate::fork;
use crate::gate::Gate;
use crate::sync::{barrier_heavy, holds_all, pause};
use crate::thread::Thread;

/// How often a thread that forks asks for a record that it does not keep, a millisecond apart.
const FORK_TRIES: u32 = 20;

/// Goes into a record whose lessee can't be inside; only others are waited for. False: the calling thread forks, and another one is there.
///
/// # Safety
/// - A record of a heap; [`leave`] follows.
pub(super) unsafe fn exclude(record: *mut Thread) -> bool {
    // SAFETY: the caller's duty.
    unsafe { exclude_by(record, Gate::exclude) }
}

/// As [`exclude`], for as long as a visitor takes.
///
/// # Safety
/// - As for [`exclude`].
pub(super) unsafe fn exclude_for_visit(record: *mut Thread) -> bool {
    // SAFETY: the caller's duty.
    unsafe { exclude_by(record, Gate::exclude_for_visit) }
}

unsafe fn exclude_by(record: *mut Thread, wait: impl FnOnce(&Gate)) -> bool {
    // SAFETY: records stay mapped.
    let gate = unsafe { &(*record).gate };
    if holds_all() {
        // SAFETY: a record.
        return unsafe { goes_in_while_forking(record, || gate.try_hold()) };
    }
    wait(gate);
    true
}

/// Goes into the record of a heap that is being deleted, whose lessee may be putting a block home. False if the system has a
/// barrier no more (a filter of system calls that was installed late), or as in [`exclude`]: the record then keeps its pages, and the
/// heap its place, for good; blocks are freed as before.
///
/// # Safety
/// - As for [`exclude`].
pub(super) unsafe fn claim_from_lessee(record: *mut Thread) -> bool {
    // SAFETY: records stay mapped.
    let gate = unsafe { &(*record).gate };
    if !has_barrier() {
        // SAFETY: nobody else is ever inside.
        return unsafe { exclude(record) };
    }
    if holds_all() {
        // SAFETY: a record.
        return unsafe { goes_in_while_forking(record, || gate.try_claim()) };
    }
    while !gate.try_claim() {
        if !barrier_heavy() {
            return false;
        }
        pause(1);
    }
    true
}

unsafe fn goes_in_while_forking(record: *mut Thread, mut try_in: impl FnMut() -> bool) -> bool {
    // SAFETY: the caller's duty.
    let is_kept = unsafe { fork::keeps(record) };
    is_kept
        || (0..FORK_TRIES).any(|attempt| {
            if attempt > 0 {
                pause(1);
            }
            try_in()
        })
}

/// Comes out again.
///
/// # Safety
/// - The calling thread went in by one of the above.
pub(super) unsafe fn leave(record: *mut Thread) {
    // SAFETY: the caller's duty; records stay mapped.
    unsafe {
        if !fork::keeps(record) {
            (*record).gate.unclaim();
        }
    }
}
