//! Walking heaps: their blocks, and the heaps themselves.

use super::{Core, HEAPS, all};
use crate::holes;
use crate::large;
use crate::offset;
use crate::thread::Thread;

/// A block of a heap: where it is, and how many bytes it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// The block's first byte.
    pub address: *mut u8,
    /// Bytes it can hold.
    pub bytes: usize,
}

/// Visits all blocks in use of a heap; false from `visit` ends it. Returns whether it went to the end.
///
/// # Safety
/// - Nobody allocates from the heap or frees a block of it meanwhile, and all such calls have returned. `visit` may not either.
pub(crate) unsafe fn visit(core: *mut Core, visit: &mut dyn FnMut(BlockInfo) -> bool) -> bool {
    let visiting = Visiting::begin(core);
    // SAFETY: the caller's duty: the records are quiet, and the gates keep the scavenger and ending threads out.
    unsafe {
        let mut record = (*core).records;
        while !record.is_null() {
            if (*record).is_live() {
                let mut goes_on = true;
                (*record).for_each_page(|page| {
                    goes_on =
                        goes_on && holes::visit_used(page, &mut |address, bytes| visit(BlockInfo { address, bytes }));
                });
                if !goes_on {
                    return false;
                }
            }
            record = (*record).next_in_heap;
        }
        drop(visiting);
        let mut page = (*core).large;
        while !page.is_null() {
            let next = (*page).next;
            if !visit(BlockInfo { address: (*page).start, bytes: large::usable_bytes(page) }) {
                return false;
            }
            page = next;
        }
        // A block at an offset is told by the place that it lies in.
        offset::visit(core, &mut |address, bytes| visit(BlockInfo { address, bytes }))
    }
}

/// All records of a heap are visited until this is dropped, on every way out of a visitor.
struct Visiting(*mut Core);

impl Visiting {
    /// Goes into all records, and puts home what lies on stacks and in inboxes. Under the lock: a thread may be at its end, and give
    /// back its leases, although its last call returned.
    fn begin(core: *mut Core) -> Self {
        let _guard = HEAPS.lock();
        let visiting = Self(core);
        // SAFETY: by the duty of `visit` the owners are outside.
        visiting.for_each_record(|record| unsafe {
            (*record).gate.exclude_for_visit();
            (*record).settle_all();
        });
        // One record's ring may have filled another's inbox. SAFETY: as above.
        visiting.for_each_record(|record| unsafe { (*record).drain_inbox() });
        visiting
    }

    fn for_each_record(&self, mut act: impl FnMut(*mut Thread)) {
        // SAFETY: the heap stands, and by the duty of `visit` gets no record meanwhile.
        unsafe {
            let mut record = (*self.0).records;
            while !record.is_null() {
                if (*record).is_live() {
                    act(record);
                }
                record = (*record).next_in_heap;
            }
        }
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        // SAFETY: this value's creator went in.
        self.for_each_record(|record| unsafe { (*record).gate.unclaim() });
    }
}

/// Visits all heaps, newest first; false from `visit` ends it. Made or ended heaps wait meanwhile: `visit` must do neither.
pub(crate) fn visit_heaps(mut visit: impl FnMut(&Core) -> bool) {
    let _guard = HEAPS.lock();
    // SAFETY: under the lock.
    unsafe {
        let mut core = all().heaps;
        while !core.is_null() {
            if !visit(&*core) {
                return;
            }
            core = (*core).next;
        }
    }
}
