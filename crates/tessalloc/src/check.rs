//! All invariants of a process that stands still, told by walking all there is: for tests, compiled by `--cfg tessalloc_check`.
//!
//! | looked at        | against                                                                           |
//! |------------------|-----------------------------------------------------------------------------------|
//! | chunk words      | one another; the counts of dirty slices (S2, S4)                                   |
//! | runs             | their descriptors: kind, first byte, length, kind bytes (P2, P8, S4)               |
//! | pages of blocks  | their lists and counts (P3, P4, P6, P7, P10); the owner's queues (P1, P5, T4)       |
//! | ownerless pages  | their remote words, and the lists of pages that wait (R1, R4, W1, H1)              |
//! | threads' records | their stacks, limits and warm runs (T1–T5, N2), their rings (B1, B2)               |
//! | heaps            | their records, runs, figures and leases (F1–F5), pages of places (O1)              |
//! | the process's figures | what was found: pages, large runs, holes, bytes                               |
//!
//! Nothing here allocates, and nothing is changed but the order in which pages wait.

use core::ptr::null_mut;

use crate::exchange::OWNER_ENDED;
use crate::first_class;
use crate::heap::DEFAULT;
use crate::offset;
use crate::page::{Kind, ORPHAN, Page, PageLinks};
use crate::region::{self, Run, SLICE_BYTES};
use crate::remote::State;
use crate::scavenger;
use crate::stats::{self, Counter};
use crate::sync::Ordering;
use crate::thread::{self, Thread};

/// What the walk over all runs found.
#[derive(Default)]
struct Found {
    owned: usize,
    orphans: usize,
    waiting: usize,
    small: u64,
    large: u64,
    places: usize,
    large_of_heaps: usize,
    warm: usize,
    rings: usize,
    untouched_bytes: u64,
    hole_units: u64,
    handed_out: u64,
}

/// Reads a variable of the environment, without the prefix of its name, as far as telling what is wrong with it.
pub fn check_variable(name: &[u8], text: &[u8]) {
    crate::options::warn_of(name, text);
}

/// Checks all invariants; panics with the one that does not hold.
///
/// # Safety
/// - No other thread of the program is inside the allocator from the call to the return, and what they did there happens before it.
pub unsafe fn check_all() {
    // Keeps the background thread out.
    let _pass = scavenger::lock().lock();
    assert_eq!(region::check_all(), stats::value(Counter::DirtyFreeSlices), "S2: free slices that may be resident");
    assert_eq!(region::dirty_slices(), stats::value(Counter::DirtySlices), "S2: slices that may be resident");

    let mut found = Found::default();
    // SAFETY: by the caller's duty pages and records stand still.
    region::for_each_run(|run, page| unsafe { found.look_at(&run, page) });
    let bytes_of = |core| {
        let mut bytes = 0;
        // SAFETY: as above.
        region::for_each_run(|_, page| bytes += unsafe { if (*page).heap() == core { handed_out(page) } else { 0 } });
        bytes
    };
    let (mut owned, mut warm, mut rings) = (0, 0, 0);
    let mut look_at_own = |record: &Thread| {
        // SAFETY: as above.
        unsafe {
            owned += record.check_all();
            warm += record.check_warm();
        }
    };
    // SAFETY: L2; as above. Null is the default heap.
    let (of_heaps, of_default) = unsafe {
        thread::all().filter(|record| (**record).is_live()).for_each(|record| look_at_own(&*record));
        thread::with_shared(|shared| look_at_own(shared));
        for record in thread::all().chain(thread::all_of_heaps()).chain([thread::shared()]) {
            rings += usize::from((*record).ring.check_all());
        }
        (first_class::check_all(bytes_of), offset::check_all(null_mut()))
    };
    let places = of_default.into_iter().sum::<usize>() + of_heaps.places;
    let mut waiting = 0;
    DEFAULT.visit_waiting(|page| {
        // SAFETY: held since it was popped (R4).
        unsafe { assert_eq!((*page).remote.state(), State::Held, "W1: a page that waits is held") };
        waiting += 1;
        true
    });

    assert_eq!(found.owned, owned + of_heaps.pages, "T4: an owner's pages are in its queues and lists");
    assert_eq!(found.waiting, waiting, "H1: a page that nobody owns and that is held waits");
    assert_eq!(found.warm, warm, "N2: warm runs are in their threads' records");
    assert_eq!(found.rings, rings, "B1: a ring has its slice");
    assert_eq!(found.places, places, "O1: pages of places are in a list");
    assert_eq!(found.large_of_heaps, of_heaps.large, "F3: a heap's large runs are in its list");
    assert_eq!(found.small, stats::value(Counter::Pages), "pages are counted");
    assert_eq!(found.large, stats::value(Counter::LargeBlocks), "large runs are counted");
    assert_eq!(
        found.untouched_bytes,
        stats::value(Counter::UntouchedBytes),
        "what was never made into blocks is counted"
    );
    let hole_bytes = found.hole_units * crate::os::page_bytes() as u64;
    assert_eq!(hole_bytes, stats::value(Counter::HoleBytes), "holes are counted");
    let allocated = stats::value(Counter::AllocatedBytes) as i64 + thread::pending().allocated_bytes;
    assert_eq!(found.handed_out as i64, allocated, "bytes that left their pages are counted");
}

impl Found {
    unsafe fn look_at(&mut self, run: &Run, page: *mut Page) {
        // SAFETY: by the duty of `check_all` the page stands still.
        unsafe {
            let kind = (*page).kind();
            if kind == Kind::Free {
                assert_eq!(run.count, 1, "P8: a run without a page is a ring's");
                self.rings += 1;
                return;
            }
            assert_eq!((*page).start, run.start(), "P2: a page starts where its run does");
            // What a page of blocks is as long as; a run of one block may go on in the next chunk.
            let slices = match kind {
                Kind::Starter => 1,
                _ if (*page).class != 0 => (*page).slice_count(),
                _ => run.count,
            };
            assert_eq!(run.count, slices, "S1: a page's slices are its own");
            let is_plain = kind == Kind::Small && (*page).heap().is_null();
            let expected = if is_plain { (*page).class } else { 0 };
            for slice in run.slice..run.slice + run.count {
                // ORDER: Relaxed: nobody writes.
                let told = run.region.kind_byte(slice).load(Ordering::Relaxed);
                assert_eq!(told, expected, "S4: the kind byte is the class of a plain page");
            }
            match kind {
                Kind::Small | Kind::Starter => self.look_at_blocks(page),
                Kind::Large => {
                    self.large += 1;
                    self.large_of_heaps += usize::from(!(*page).heap().is_null());
                    assert!((*page).carved.get() <= (*page).reserved, "N1: what is used was taken");
                }
                Kind::Warm => (self.large, self.warm) = (self.large + 1, self.warm + 1),
                // In quarantine, and nobody's.
                Kind::Guarded if (*page).used == 0 => {}
                _ => {
                    self.places += 1;
                    let is_run = (*page).block_bytes == 0;
                    self.large += u64::from(is_run);
                    self.small += u64::from(!is_run);
                    self.untouched_bytes += if is_run { 0 } else { (*page).untouched_bytes() };
                }
            }
            self.handed_out += handed_out(page);
        }
    }

    unsafe fn look_at_blocks(&mut self, page: *mut Page) {
        // SAFETY: as above.
        unsafe {
            self.small += 1;
            self.untouched_bytes += (*page).untouched_bytes();
            self.hole_units += u64::from((*page).holes.count_ones());
            check_remote(page);
            // ORDER: Relaxed: nobody writes.
            let owner = (*page).owner.load(Ordering::Relaxed);
            let state = (*page).remote.state();
            if owner == 0 {
                assert!((*page).heap().is_null(), "F2: a heap lets no page go");
                assert!(matches!(state, State::Ownerless | State::Held), "R4: nobody's page is left or held");
                self.waiting += usize::from(state == State::Held);
                if (*page).kind() == Kind::Small {
                    (*page).check_all();
                }
                return;
            }
            let record: *mut Thread = core::ptr::with_exposed_provenance_mut(owner & !OWNER_ENDED);
            assert!(matches!(state, State::Owned | State::Posted), "R3: an owner's page is owned");
            if (*page).has(ORPHAN) || owner & OWNER_ENDED != 0 {
                self.orphans += 1;
            } else {
                assert!((*record).is_live() || record == thread::shared(), "P1: an owner is alive");
                self.owned += 1;
            }
        }
    }
}

/// R1: what waits at the remote word are blocks of the page, as many as it says, that count as used.
unsafe fn check_remote(page: *mut Page) {
    // SAFETY: by the duty of `check_all` the page stands still.
    unsafe {
        let list = (*page).remote.peek();
        let count = u32::from(list.count);
        assert!(count <= (*page).used.get(), "R1: what comes home was handed out");
        // Where all of a page comes home at once nobody has written links.
        if count == 0 || count == (*page).used.get() {
            return;
        }
        let links = PageLinks((*page).start);
        let mut block = links.block(list.head);
        for left in (0..count).rev() {
            let at = block.addr().wrapping_sub((*page).start.addr());
            let bytes = ((*page).block_bytes as usize).max(8);
            assert!(at.is_multiple_of(bytes), "R1: what comes home are blocks of the page");
            assert_eq!(left == 0, block == links.block(list.tail), "R1: the list ends at its tail");
            if left > 0 {
                block = crate::block::Block::next(block);
            }
        }
    }
}

/// Bytes that a page has handed out, as figures count them.
unsafe fn handed_out(page: *mut Page) -> u64 {
    // SAFETY: by the duty of `check_all` the page stands still.
    unsafe {
        match (*page).kind() {
            Kind::Free => 0,
            Kind::Guarded if (*page).used == 0 => 0,
            // While its thread lives. ORDER: Relaxed: nobody writes.
            Kind::Starter if (*page).owner.load(Ordering::Relaxed) == 0 || (*page).has(ORPHAN) => 0,
            Kind::Starter => SLICE_BYTES as u64,
            Kind::Large | Kind::Warm => u64::from((*page).carved.get()) * SLICE_BYTES as u64,
            _ if (*page).block_bytes == 0 => u64::from((*page).reserved) * SLICE_BYTES as u64,
            _ => u64::from((*page).used.get()) * u64::from((*page).block_bytes),
        }
    }
}
