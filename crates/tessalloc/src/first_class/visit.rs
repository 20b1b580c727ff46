//! Walking heaps: their blocks, and the heaps themselves.

use super::{Core, HEAPS, all, entry};
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
    let Some(visiting) = Visiting::begin(core) else { return false };
    // SAFETY: the caller's duty: the records are quiet, and the gates keep the scavenger and ending threads out.
    unsafe {
        for record in live_records(core) {
            let mut goes_on = true;
            (*record).for_each_page(|page| {
                goes_on = goes_on && holes::visit_used(page, &mut |address, bytes| visit(BlockInfo { address, bytes }));
            });
            if !goes_on {
                return false;
            }
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

/// The first `count` live records of a heap are visited until this is dropped, on every way out of a visitor. Once begun, all of them are.
struct Visiting {
    core: *mut Core,
    count: usize,
}

impl Visiting {
    /// Goes into all records, and puts home what lies on stacks and in inboxes. Under the lock: a thread may be at its end, and give
    /// back its leases, although its last call returned. `None` where the calling thread forks and another one is in a record.
    fn begin(core: *mut Core) -> Option<Self> {
        let _guard = HEAPS.lock();
        let mut visiting = Self { core, count: 0 };
        for record in live_records(core) {
            // SAFETY: by the duty of `visit` the owners are outside.
            unsafe {
                if !entry::exclude_for_visit(record) {
                    return None;
                }
                visiting.count += 1;
                (*record).settle_all();
            }
        }
        // One record's ring may have filled another's inbox. SAFETY: as above.
        live_records(core).for_each(|record| unsafe { (*record).drain_inbox() });
        Some(visiting)
    }
}

/// Of a heap that stands, and by the duty of [`visit`] gets no record meanwhile.
fn live_records(core: *mut Core) -> impl Iterator<Item = *mut Thread> {
    // SAFETY: see above.
    let first = unsafe { (*core).records };
    // SAFETY: as above.
    let next = |record: &*mut Thread| unsafe { (**record).next_in_heap };
    let all = core::iter::successors((!first.is_null()).then_some(first), move |record| {
        Some(next(record)).filter(|next| !next.is_null())
    });
    // SAFETY: L2.
    all.filter(|record| unsafe { (**record).is_live() })
}

impl Drop for Visiting {
    fn drop(&mut self) {
        // SAFETY: this value's creator went in.
        live_records(self.core).take(self.count).for_each(|record| unsafe { entry::leave(record) });
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
