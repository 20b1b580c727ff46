//! The default heap: what the theaps of all threads share. (First-class heaps: [`crate::first_class`].)
//!
//! | field     | written by | how        | always true                                        |
//! |-----------|------------|------------|----------------------------------------------------|
//! | `waiting` | any thread | W1 in [`crate::waiting`] | H1 by class: pages with room that nobody owns |
//! | `listed`, `kept` | any thread | Relaxed | H2 pages that came into the lists since the last sweep, and those that it found in use |

use crate::exchange;
use crate::page::{Kind, Page};
use crate::region::{self, AllPages, Run};
use crate::remote::State;
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::stats::{self, Counter};
use crate::sync::{AtomicU32, Ordering};
use crate::track;
use crate::waiting::WaitingList;

/// Pages without an owner, by class.
pub(crate) struct DefaultHeap {
    waiting: [WaitingList; CLASS_COUNT],
    listed: AtomicU32,
    kept: AtomicU32,
}

/// The heap of plain `malloc`.
pub(crate) static DEFAULT: DefaultHeap = DefaultHeap {
    waiting: [const { WaitingList::new() }; CLASS_COUNT],
    listed: AtomicU32::new(0),
    kept: AtomicU32::new(0),
};

/// The slices of a page.
///
/// # Safety
/// - The caller holds the page.
pub(crate) unsafe fn run_of(page: *mut Page) -> Run {
    // SAFETY: the caller holds the page, so its set-once fields stand still.
    let (start, count) = unsafe {
        let count = match (*page).kind() {
            Kind::Small => (*page).slice_count(),
            Kind::Starter => 1,
            _ => (*page).reserved as usize,
        };
        ((*page).start, count)
    };
    match region::find(start.addr()) {
        Some((region, slice)) => Run { region, slice, count },
        None => crate::report::corrupted("a page lies outside all regions", start.addr()),
    }
}

/// Lets the fast paths know a run as a page of the default heap.
pub(crate) fn mark_plain(run: &Run, class: SizeClass) {
    for slice in run.slice..run.slice + run.count {
        // ORDER: Relaxed: read by who holds a block of the page (S4).
        run.region.kind_byte(slice).store(class.index() as u8, Ordering::Relaxed);
    }
}

/// Gives an empty page's slices back.
///
/// # Safety
/// - The caller holds the page, no block of it is handed out, and no queue or list links it.
pub(crate) unsafe fn release(page: *mut Page) {
    // SAFETY: the caller's duty.
    unsafe {
        let run = run_of(page);
        let holes = (*page).holes.count_ones();
        if holes > 0 {
            stats::sub(Counter::HoleBytes, u64::from(holes) * crate::os::page_bytes() as u64);
        }
        stats::sub(Counter::UntouchedBytes, (*page).untouched_bytes());
        let touched_slices = ((*page).touched as usize).div_ceil(region::SLICE_BYTES);
        run.forget(touched_slices, run.count - touched_slices);
        for slice in run.slice..run.slice + run.count {
            // ORDER: Relaxed: published by the Release with which the slices are given (S4).
            run.region.kind_byte(slice).store(0, Ordering::Relaxed);
        }
        (*page).set_kind(Kind::Free);
        track::back(run.start(), run.count * region::SLICE_BYTES);
        // ORDER: Relaxed: as above.
        (*page).owner.store(0, Ordering::Relaxed);
        stats::sub(Counter::Pages, 1);
        run.give();
    }
}

/// A full page is worth claiming when this part of it has come home: many small blocks are worth waiting for, so that they change
/// hands less often; larger ones would strand too much. (A starter slice goes when all of it has come home.)
/// Source: benches `handoff/64B/2t` and `freeonly/16..1024B/5t`, 2026-11: a quarter for all strands 1.33 × live, an eighth 1.28 ×.
const fn claim_fraction(block_bytes: u32) -> u32 {
    if block_bytes < 128 { 4 } else { 8 }
}

impl DefaultHeap {
    /// Takes a page of a class that waits for an owner; the caller holds it.
    pub(crate) fn adopt(&self, class: usize) -> Option<*mut Page> {
        if self.waiting[class].is_empty() {
            return None;
        }
        self.waiting[class].pop(&AllPages).map(region::page_by_number)
    }

    /// Finds a place for a page that the caller holds: back to the region if it is empty, into the list if it has room, else it
    /// is left without an owner until enough of it has come home. Returns the bytes of the blocks that came home on the way.
    ///
    /// # Safety
    /// - The caller holds the page by its remote word (Held), and no queue links it.
    pub(crate) unsafe fn settle(&self, page: *mut Page) -> u64 {
        let mut came_home = 0;
        // Bound: a turn is repeated only when a quarter of the page came home in between: 4 times.
        loop {
            // SAFETY: R4: held by the caller.
            unsafe {
                let list = (*page).remote.take(State::Held);
                came_home += block_bytes_of(page, list.count);
                (*page).put_list(list);
                if (*page).used == 0 {
                    release(page);
                    return came_home;
                }
                if (*page).kind() == Kind::Small && (*page).has_room() {
                    let number = (*page).number;
                    self.waiting[usize::from((*page).class)].push(number, &AllPages);
                    // ORDER: Relaxed: a figure (H2).
                    self.listed.fetch_add(1, Ordering::Relaxed);
                    return came_home;
                }
                let used = (*page).used.get();
                let claim_at = match (*page).kind() {
                    Kind::Starter => used,
                    _ => (used / claim_fraction((*page).block_bytes)).max(1),
                };
                if exchange::leave(page, claim_at) {
                    return came_home;
                }
            }
        }
    }

    /// Gives back the pages that wait though all their blocks have come home since: nobody else finds those of classes that no thread
    /// asks for. Looks once as many pages were listed as it kept the last time, so that a page costs two looks; called where pages
    /// are listed in numbers: when a thread ends, or a heap is deleted.
    pub(crate) fn sweep(&self) {
        const PAGES_MIN: u32 = 64;
        // ORDER: Relaxed: figures; the exchange lets one thread in.
        let listed = self.listed.load(Ordering::Relaxed);
        if listed < self.kept.load(Ordering::Relaxed).max(PAGES_MIN)
            || self.listed.compare_exchange(listed, 0, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let mut kept = 0;
        self.visit_waiting(|page| {
            // SAFETY: R4: held by this thread since it was popped.
            let stays = unsafe { !release_if_home(page) };
            kept += u32::from(stays);
            stays
        });
        // ORDER: Relaxed: a figure.
        self.kept.store(kept, Ordering::Relaxed);
    }

    /// Goes once through the pages that wait: `visit` gets each, held, and says whether it goes back into its list. They all go back,
    /// class by class, after the last one, or when `visit` unwinds.
    pub(crate) fn visit_waiting(&self, mut visit: impl FnMut(*mut Page) -> bool) {
        for class in 1..CLASS_COUNT {
            self.visit_waiting_of(class, &mut visit);
        }
    }

    /// As [`DefaultHeap::visit_waiting`], the pages of one class.
    pub(crate) fn visit_waiting_of(&self, class: usize, visit: &mut impl FnMut(*mut Page) -> bool) {
        struct Kept<'a>(&'a WaitingList, *mut Page);
        impl Drop for Kept<'_> {
            fn drop(&mut self) {
                while !self.1.is_null() {
                    // SAFETY: R4: held by this thread since it was popped.
                    let (number, next) = unsafe { ((*self.1).number, (*self.1).next) };
                    self.0.push(number, &AllPages);
                    self.1 = next;
                }
            }
        }
        let mut kept = Kept(&self.waiting[class], core::ptr::null_mut());
        // Bound: each page is popped once, since they go back only after the last one.
        while let Some(page) = self.adopt(class) {
            // SAFETY: R4: held by this thread; W1 ended with the pop, so the queue's link is free to use.
            unsafe { (*page).next = kept.1 };
            let next = core::mem::replace(&mut kept.1, page);
            if !visit(page) {
                kept.1 = next;
            }
        }
    }
}

/// Takes home what has come to a page that waited; true if that was all, and the page is given back.
///
/// # Safety
/// - The caller holds the page by its remote word, out of all lists.
pub(crate) unsafe fn release_if_home(page: *mut Page) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        let list = (*page).remote.take(State::Held);
        stats::sub(Counter::AllocatedBytes, block_bytes_of(page, list.count));
        (*page).put_list(list);
        let is_home = (*page).used == 0;
        if is_home {
            release(page);
        }
        is_home
    }
}

/// Bytes of `count` blocks of a page; 0 in a starter slice, which counts as used as a whole.
///
/// # Safety
/// - The caller holds the page.
pub(crate) unsafe fn block_bytes_of(page: *mut Page, count: u16) -> u64 {
    // SAFETY: set-once field of a page that the caller holds.
    u64::from(count) * u64::from(unsafe { (*page).block_bytes })
}
