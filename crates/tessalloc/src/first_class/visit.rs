//! Walking heaps: their blocks, and the heaps themselves.

use super::{Core, HEAPS, all};
use crate::holes;
use crate::large;
use crate::offset;

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
    // SAFETY: the caller's duty: the records are quiet, and the gates keep the scavenger out.
    unsafe {
        let mut record = (*core).records;
        while !record.is_null() {
            if (*record).is_live() {
                (*record).gate.exclude();
                (*record).settle_all();
                (*record).gate.unclaim();
            }
            record = (*record).next_in_heap;
        }
        let mut record = (*core).records;
        while !record.is_null() {
            if (*record).is_live() {
                (*record).gate.exclude();
                let mut goes_on = true;
                (*record).drain_inbox();
                (*record).for_each_page(|page| {
                    goes_on =
                        goes_on && holes::visit_used(page, &mut |address, bytes| visit(BlockInfo { address, bytes }));
                });
                (*record).gate.unclaim();
                if !goes_on {
                    return false;
                }
            }
            record = (*record).next_in_heap;
        }
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
