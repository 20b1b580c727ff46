//! Blocks whose alignment is asked for at an offset: `block + offset` is a multiple of `align`, the block itself is not.
//!
//! ```text
//! page     | place            | place            | place            | …        places are multiples of `align`
//! block        [usable bytes ]    [usable bytes ]    [usable bytes ]          lead = -offset modulo align, the same in all
//! ```
//!
//! A block starts inside its place, so a free has to find the place's start: a division that the fast paths do not have. Such
//! blocks therefore lie in pages of their own, of kind [`Kind::Offset`], whose kind bytes are 0; a free reaches them last. They
//! are few in most programs: one lock guards them all. What is too large for a class has a run of its own.
//!
//! | field of the descriptor | meaning in a page of places           | in a run with one block   |
//! |-------------------------|---------------------------------------|---------------------------|
//! | `class`                 | that of the places                    | 0                         |
//! | `used`, `carved`, `free`| as in other pages, holder: the lock   | 1, slices, –              |
//! | `next`, `previous`      | O1 linked exactly while it has room   | –                         |
//!
//! O2 Where `lead` is 0 there is nothing to do here: such a block is an ordinary one.

use core::cell::UnsafeCell;
use core::ptr::null_mut;

use crate::block::Block;
use crate::large;
use crate::page::{Kind, Page, slice_count_of};
use crate::region::{self, CHUNK_BYTES, Run, SLICE_BYTES};
use crate::report::check;
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::stats::{self, Counter};
use crate::sync::Lock;
use crate::theap::Stacks;
use crate::thread;

/// Alignments at an offset go up to this: the block then starts in its run's first chunk, where its slice leads to the run.
pub(crate) const ALIGN_MAX: usize = CHUNK_BYTES;

static LOCK: Lock = Lock::new();
static WITH_ROOM: WithRoom = WithRoom(UnsafeCell::new([null_mut(); CLASS_COUNT]));

/// Pages with room, by class.
struct WithRoom(UnsafeCell<[*mut Page; CLASS_COUNT]>);
// SAFETY: touched under `LOCK` only.
unsafe impl Sync for WithRoom {}

/// The lock of this file, for a fork.
pub(crate) fn lock() -> &'static Lock {
    &LOCK
}

/// Bytes between a place's start and its block.
pub(crate) fn lead_of(align: usize, offset: usize) -> usize {
    offset.wrapping_neg() & (align - 1)
}

/// A block of `bytes` that starts `lead` (> 0) bytes behind a multiple of `align`; null if memory is out. The second value says
/// whether it reads zero.
pub(crate) fn alloc(stacks: *mut Stacks, bytes: usize, align: usize, lead: usize) -> (*mut u8, bool) {
    // One byte at least: the block has to lie in its place.
    let Some(whole) = bytes.max(1).checked_add(lead) else { return (null_mut(), false) };
    let (place, counted, is_fresh) = match SizeClass::of_layout(whole, align.max(16)) {
        Some(class) => (take_place(class), class.block_bytes(), false),
        None => take_run(whole, align),
    };
    if place.is_null() {
        return (place, false);
    }
    large::count(thread::current(stacks), counted as i64);
    (place.wrapping_add(lead), is_fresh)
}

fn take_place(class: SizeClass) -> *mut u8 {
    let _guard = LOCK.lock();
    // SAFETY: under the lock all pages of places are this thread's (O1).
    unsafe {
        let first = &mut (*WITH_ROOM.0.get())[class.index()];
        if first.is_null() {
            let Some(page) = begin(class) else { return null_mut() };
            *first = page;
        }
        let page = *first;
        let (free, count) = (*page).take_free(1);
        let place = if count > 0 { free } else { (*page).carve(1).0 };
        if !(*page).has_room() {
            unlink(first, page);
        }
        place.cast()
    }
}

/// A page of places, in no list.
fn begin(class: SizeClass) -> Option<*mut Page> {
    let run = region::take(slice_count_of(class) as usize, 1)?;
    let is_fresh = run.touch(0, run.count);
    let page = run.page();
    // SAFETY: S1: the slices and their descriptor are this thread's.
    unsafe {
        (*page).begin_small(run.start(), class, 0, is_fresh);
        (*page).set_kind(Kind::Offset);
    }
    stats::add(Counter::Pages, 1);
    Some(page)
}

fn take_run(whole: usize, align: usize) -> (*mut u8, usize, bool) {
    let slices = whole.div_ceil(SLICE_BYTES);
    let Some(run) = region::take(slices, align.div_ceil(SLICE_BYTES)) else { return (null_mut(), 0, false) };
    let is_fresh = run.touch(0, slices);
    let page = run.page();
    // SAFETY: S1: the run and its descriptor are this thread's.
    unsafe {
        (*page).begin(run.start(), SizeClass::SPECIAL, 0, slices as u32);
        (*page).carved = slices as u32;
        (*page).used = 1;
        (*page).set_kind(Kind::Offset);
    }
    stats::add(Counter::LargeBlocks, 1);
    (run.start(), slices * SLICE_BYTES, is_fresh)
}

/// Frees a block.
///
/// # Safety
/// - `address` is a block that the caller frees, and `page` the descriptor of its page or run, of kind [`Kind::Offset`].
pub(crate) unsafe fn free(stacks: *mut Stacks, page: *mut Page, address: *mut u8) {
    // SAFETY: the caller's duty: the page stands while one of its blocks is in use.
    let bytes = unsafe { if (*page).block_bytes == 0 { release_run(page) } else { put_place(page, address) } };
    large::count(thread::current(stacks), -(bytes as i64));
}

unsafe fn put_place(page: *mut Page, address: *mut u8) -> usize {
    let _guard = LOCK.lock();
    // SAFETY: under the lock all pages of places are this thread's (O1); the caller's duty.
    unsafe {
        let bytes = (*page).block_bytes as usize;
        let place = address.wrapping_sub((address.addr() - (*page).start.addr()) % bytes);
        let first = &mut (*WITH_ROOM.0.get())[usize::from((*page).class)];
        let had_room = (*page).has_room();
        (*page).put(place.cast::<Block>());
        if (*page).used == 0 {
            if had_room {
                unlink(first, page);
            }
            let slices = slice_count_of((*page).class()) as usize;
            give(page, slices);
            stats::sub(Counter::Pages, 1);
        } else if !had_room {
            link(first, page);
        }
        bytes
    }
}

unsafe fn release_run(page: *mut Page) -> usize {
    // SAFETY: the caller's duty: the run's one block is freed, nobody else touches it.
    unsafe {
        let slices = (*page).reserved as usize;
        give(page, slices);
        stats::sub(Counter::LargeBlocks, 1);
        slices * SLICE_BYTES
    }
}

unsafe fn give(page: *mut Page, count: usize) {
    // SAFETY: the caller holds the page, and no block of it is in use.
    let start = unsafe {
        (*page).set_kind(Kind::Free);
        (*page).start
    };
    if let Some((region, slice)) = region::find(start.addr()) {
        Run { region, slice, count }.give();
    }
}

unsafe fn link(first: &mut *mut Page, page: *mut Page) {
    // SAFETY: the caller holds the lock, and the page is in no list.
    unsafe {
        (*page).previous = null_mut();
        (*page).next = *first;
        if !(*first).is_null() {
            (**first).previous = page;
        }
    }
    *first = page;
}

unsafe fn unlink(first: &mut *mut Page, page: *mut Page) {
    // SAFETY: the caller holds the lock, and the page is in this list.
    unsafe {
        let (previous, next) = ((*page).previous, (*page).next);
        if previous.is_null() {
            check!(*first == page, "a page without a neighbour in front is the first");
            *first = next;
        } else {
            (*previous).next = next;
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
        (*page).next = null_mut();
        (*page).previous = null_mut();
    }
}

/// Usable bytes of a block: from it to its place's end.
///
/// # Safety
/// - As for [`free`], for a block in use.
pub(crate) unsafe fn usable_bytes(page: *mut Page, address: *const u8) -> usize {
    // SAFETY: set-once fields of a page that stands while the caller's block is in use.
    unsafe {
        let at = address.addr() - (*page).start.addr();
        match (*page).block_bytes as usize {
            0 => (*page).reserved as usize * SLICE_BYTES - at,
            bytes => bytes - at % bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;
    use std::vec::Vec;

    /// O1: the lists hold exactly the pages that have room, linked both ways. Returns the linked pages.
    fn check_all() -> usize {
        let _guard = LOCK.lock();
        let mut count = 0;
        // SAFETY: under the lock.
        for (class, &first) in unsafe { &*WITH_ROOM.0.get() }.iter().enumerate() {
            let (mut page, mut previous) = (first, null_mut());
            while !page.is_null() {
                // SAFETY: O1: a linked page stands.
                unsafe {
                    assert_eq!((*page).previous, previous);
                    assert!((*page).kind() == Kind::Offset && (*page).has_room() && (*page).used > 0);
                    assert_eq!(usize::from((*page).class), class);
                    (previous, page) = (page, (*page).next);
                }
                count += 1;
            }
        }
        count
    }

    #[test]
    fn offset_lead_puts_the_offset_on_the_alignment() {
        for align in [1, 2, 16, 4096] {
            for offset in [0, 1, 8, 15, 16, 100, 5000, usize::MAX] {
                let lead = lead_of(align, offset);
                assert!(lead < align && lead.wrapping_add(offset).is_multiple_of(align));
            }
        }
    }

    #[test]
    fn offset_pages_are_linked_while_they_have_room_and_go_when_empty() {
        let _quiet = region::QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // 21 to a page: four pages are full, and the fifth has room.
        let blocks: Vec<_> = (0..100).map(|_| raw::aligned_at(3000, 64, 8)).collect();
        assert_eq!(check_all(), 1);
        // Every seventh, then every third of the others, then the rest.
        for stride in [7, 3, 1] {
            for (index, &block) in blocks.iter().enumerate() {
                let is_due = index % stride == 0 && (stride == 7 || index % 7 != 0) && (stride != 1 || index % 3 != 0);
                if is_due {
                    // SAFETY: a block of ours, freed once.
                    unsafe { raw::free(block) };
                    check_all();
                }
            }
        }
        assert_eq!(check_all(), 0, "an empty page is given back");
    }
}
