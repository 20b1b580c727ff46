//! The calls for memory, counted by kind. A call of ours may be more than one of the system's: to align a reservation, for one.
//!
//! | word    | written by | how          | always true                              |
//! |---------|------------|--------------|------------------------------------------|
//! | `CALLS` | any thread | Relaxed add  | O1 a call is counted whether or not it succeeds |

use core::sync::atomic::{AtomicU64, Ordering};

use super::{OsError, here};

/// A kind of call.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Reserve,
    Commit,
    Purge,
    Unreserve,
    Remap,
    Renew,
    Advise,
}

static CALLS: [AtomicU64; Call::Advise as usize + 1] = [const { AtomicU64::new(0) }; Call::Advise as usize + 1];

/// Calls of a kind since the start.
pub(crate) fn calls(kind: Call) -> u64 {
    // ORDER: Relaxed: counts order nothing.
    CALLS[kind as usize].load(Ordering::Relaxed)
}

fn count(kind: Call) {
    // ORDER: Relaxed: counts order nothing.
    CALLS[kind as usize].fetch_add(1, Ordering::Relaxed);
}

/// Takes address space near `hint` (0: anywhere).
#[track_caller]
pub(crate) fn reserve(bytes: usize, align: usize, hint: usize) -> Result<*mut u8, OsError> {
    count(Call::Reserve);
    here::reserve(bytes, align, hint)
}

/// Makes a range usable.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
#[track_caller]
pub(crate) unsafe fn commit(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    count(Call::Commit);
    // SAFETY: the caller's duty.
    unsafe { here::commit(at, bytes) }
}

/// Gives the memory of a range back; it reads zero at the next touch.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
#[track_caller]
pub(crate) unsafe fn purge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    count(Call::Purge);
    // SAFETY: the caller's duty.
    unsafe { here::purge(at, bytes) }
}

/// Gives a range's address space back.
///
/// # Safety
/// - The range is ours and nobody uses it any more.
#[track_caller]
pub(crate) unsafe fn release(at: *mut u8, bytes: usize) {
    count(Call::Unreserve);
    // SAFETY: the caller's duty.
    unsafe { here::release(at, bytes) };
}

/// Moves the contents of `from` to `to` by the page table alone.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
#[track_caller]
pub(crate) unsafe fn move_pages(from: *mut u8, to: *mut u8, bytes: usize) -> Result<(), OsError> {
    count(Call::Remap);
    // SAFETY: the caller's duty.
    unsafe { here::move_pages(from, to, bytes) }
}

/// Like [`purge`], and the system may merge the mapping with its neighbours.
///
/// # Safety
/// - As for [`purge`].
#[track_caller]
pub(crate) unsafe fn renew(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    count(Call::Renew);
    // SAFETY: the caller's duty.
    unsafe { here::renew(at, bytes) }
}

/// Says that a range must not be backed by huge pages on the system's own account.
///
/// # Safety
/// - The range is a mapping of ours.
#[track_caller]
pub(crate) unsafe fn advise_small_pages(at: *mut u8, bytes: usize) {
    count(Call::Advise);
    // SAFETY: the caller's duty.
    unsafe { here::advise_small_pages(at, bytes) };
}

/// Says from which NUMA node a range's memory should come, if there is some.
///
/// # Safety
/// - The range is a mapping of ours.
#[track_caller]
pub(crate) unsafe fn advise_node(at: *mut u8, bytes: usize, node: u32) {
    count(Call::Advise);
    // SAFETY: the caller's duty.
    unsafe { here::advise_node(at, bytes, node) };
}

/// Makes a range resident in huge pages.
///
/// # Safety
/// - The range is committed, a multiple of [`HUGE_BYTES`](super::HUGE_BYTES), and nobody uses it.
#[track_caller]
pub(crate) unsafe fn populate_huge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    count(Call::Advise);
    // SAFETY: the caller's duty.
    unsafe { here::populate_huge(at, bytes) }
}
