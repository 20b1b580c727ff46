//! The invariants of first-class heaps, told by walking them.

use super::{Core, HEAPS, all};
use crate::offset;
use crate::sync::Ordering;
use crate::thread::Thread;

/// What the heaps' lists hold together.
#[derive(Default)]
pub(crate) struct Listed {
    /// Pages in queues and lists of the heaps' records.
    pub(crate) pages: usize,
    /// Large runs.
    pub(crate) large: usize,
    /// Pages of places, and runs with one block.
    pub(crate) places: usize,
}

/// Checks F1–F5 and O1 of all heaps. `handed_out` tells the bytes that a heap's pages have handed out, from a look at all pages.
///
/// # Safety
/// - No other thread is inside the allocator.
pub(crate) unsafe fn check_all(handed_out: impl Fn(*mut Core) -> u64) -> Listed {
    let _guard = HEAPS.lock();
    let mut listed = Listed::default();
    // SAFETY: under the lock; by the caller's duty records stand still. ORDER: Relaxed, in all of this: nobody writes.
    unsafe {
        let all = all();
        let (mut core, mut previous, mut count) = (all.heaps, core::ptr::null_mut(), 0);
        while !core.is_null() {
            assert!((*core).id.get() != 0, "F1: a heap in the list has an id");
            assert_eq!((*core).previous, previous, "F1: links of heaps lead both ways");
            let mut record = (*core).records;
            while !record.is_null() {
                assert_eq!((*record).heap, core, "F2: a heap's records are its own");
                if (*record).is_live() {
                    listed.pages += (*record).check_all();
                    check_lease(record);
                }
                record = (*record).next_in_heap;
            }
            let (mut page, mut before) = ((*core).large, core::ptr::null_mut());
            while !page.is_null() {
                assert_eq!((*page).heap(), core, "F3: a heap's large runs are its own");
                assert_eq!((*page).previous, before, "F3: links lead both ways");
                listed.large += 1;
                (before, page) = (page, (*page).next);
            }
            listed.places += offset::check_all(core).into_iter().sum::<usize>();
            let handed = (*core).allocated.now();
            assert_eq!(handed, handed_out(core), "F4: a heap counts what its pages have handed out");
            count += 1;
            (previous, core) = (core, (*core).next);
        }
        assert_eq!(count, all.count, "F1: as many heaps as are counted");
    }
    listed
}

/// F5: a leased record is in its lessee's list.
unsafe fn check_lease(record: *mut Thread) {
    // SAFETY: the caller holds `HEAPS`. ORDER: Relaxed: nobody writes.
    unsafe {
        let lessee: *mut Thread = core::ptr::with_exposed_provenance_mut((*record).lessee.load(Ordering::Relaxed));
        if lessee.is_null() {
            return;
        }
        let mut lease = (*lessee).leases;
        while lease != record {
            assert!(!lease.is_null(), "F5: a leased record is in its lessee's list");
            lease = (*lease).next_lease;
        }
    }
}
