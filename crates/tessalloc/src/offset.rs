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
//! Small samples ([`crate::sample`]) lie in the same way, in pages of kind [`Kind::Sampled`]: in front of each, at its place's start,
//! stands the address of its record.
//!
//! | field of the descriptor  | meaning in a page of places             | in a run with one block |
//! |--------------------------|-----------------------------------------|-------------------------|
//! | `class`                  | that of the places                      | 0                       |
//! | `used`, `carved`, `free` | as in other pages; the holder: the lock | 1, slices, –            |
//! | `next`, `previous`       | O1 in `with_room` of its heap's list for the kind exactly while it has room, else in `full` | O1 in `full` |
//!
//! O2 Where `lead` is 0 there is nothing to do here: such a block is an ordinary one.

use core::cell::UnsafeCell;
use core::ptr::null_mut;

use crate::block::Block;
use crate::first_class::{self, Core};
use crate::holes;
use crate::large;
use crate::page::{Kind, Page, slice_count_for};
use crate::region::{self, CHUNK_BYTES, Run, SLICE_BYTES};
use crate::report::check;
use crate::sample::guarded;
use crate::sample::profile::{self, Record};
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::stats::{self, Counter};
use crate::sync::{Lock, tls};
use crate::theap::Stacks;
use crate::thread;
use crate::track;

/// Alignments at an offset go up to this.
pub(crate) const ALIGN_MAX: usize = CHUNK_BYTES;

static LOCK: Lock = Lock::new();
/// The default heap's, of each kind, by class.
static DEFAULT: Default = Default(UnsafeCell::new([const { [const { Pages::new() }; CLASS_COUNT] }; 2]));

struct Default(UnsafeCell<[[Pages; CLASS_COUNT]; 2]>);
// SAFETY: touched under `LOCK` only.
unsafe impl Sync for Default {}

/// A heap's pages of places, and runs. Touched under `LOCK` only.
pub(crate) struct Pages {
    with_room: *mut Page,
    full: *mut Page,
}

impl Pages {
    pub(crate) const fn new() -> Self {
        Self { with_room: null_mut(), full: null_mut() }
    }

    fn is_empty(&self) -> bool {
        self.with_room.is_null() && self.full.is_null()
    }

    /// The list that a page belongs to as it is.
    unsafe fn list_of(&mut self, page: *mut Page) -> &mut *mut Page {
        // SAFETY: the caller holds the lock, and the page is of this heap.
        let has_room = unsafe { (*page).block_bytes != 0 && (*page).has_room() };
        if has_room { &mut self.with_room } else { &mut self.full }
    }

    unsafe fn link(&mut self, page: *mut Page) {
        // SAFETY: the caller holds the lock, and the page is in no list.
        unsafe {
            let first = self.list_of(page);
            (*page).previous = null_mut();
            (*page).next = *first;
            if !(*first).is_null() {
                (**first).previous = page;
            }
            *first = page;
        }
    }

    /// Before a change that may take the page to the other list.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: the caller holds the lock; O1: the page is in this list.
        unsafe {
            let first = self.list_of(page);
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
        }
    }
}

/// The lock of this file, for a fork.
pub(crate) fn lock() -> &'static Lock {
    &LOCK
}

/// The pages of a heap where those of a class are; null is the default heap.
///
/// # Safety
/// - The caller holds the lock, and no other reference from here; the heap stands.
unsafe fn pages_of<'a>(heap: *mut Core, kind: Kind, class: usize) -> &'a mut Pages {
    let is_sampled = kind != Kind::Offset;
    // SAFETY: the caller's duty.
    unsafe {
        match is_sampled {
            _ if heap.is_null() => &mut (*DEFAULT.0.get())[usize::from(is_sampled)][class],
            false => &mut (*heap).offset_pages,
            true => &mut (*heap).sampled_pages,
        }
    }
}

/// The kinds that have lists; guarded runs are among the samples.
const KINDS: [Kind; 2] = [Kind::Offset, Kind::Sampled];

/// Bytes between a place's start and its block.
pub(crate) fn lead_of(align: usize, offset: usize) -> usize {
    offset.wrapping_neg() & (align - 1)
}

/// A block of `bytes` that starts `lead` (> 0) bytes behind a multiple of `align`; null if memory is out, or the heap's hard limit
/// reached. The second value says whether it reads zero.
///
/// # Safety
/// - `heap` stands, or is null: the default heap.
pub(crate) unsafe fn alloc(
    heap: *mut Core,
    stacks: *mut Stacks,
    bytes: usize,
    align: usize,
    lead: usize,
) -> (*mut u8, bool) {
    // SAFETY: the caller's duty.
    unsafe { alloc_of_kind(Kind::Offset, heap, stacks, bytes, align, lead) }
}

/// A block of `bytes` at a multiple of `align` that has a sample's record. As [`alloc`].
///
/// # Safety
/// - As for [`alloc`]; the record is the caller's.
pub(crate) unsafe fn alloc_sampled(
    heap: *mut Core,
    bytes: usize,
    align: usize,
    record: *mut Record,
) -> (*mut u8, bool) {
    let align = align.max(16);
    // SAFETY: the caller's duty; the place begins so far in front of its block, and is the caller's.
    unsafe {
        let found = alloc_of_kind(Kind::Sampled, heap, tls::get(), bytes, align, align);
        if !found.0.is_null() {
            found.0.sub(align).cast::<*mut Record>().write(record);
        }
        found
    }
}

unsafe fn alloc_of_kind(
    kind: Kind,
    heap: *mut Core,
    stacks: *mut Stacks,
    bytes: usize,
    align: usize,
    lead: usize,
) -> (*mut u8, bool) {
    // One byte at least: the block has to lie in its place.
    let Some(whole) = bytes.max(1).checked_add(lead) else { return (null_mut(), false) };
    let class = SizeClass::of_layout(whole, align.max(16));
    let counted = class.map_or(whole.div_ceil(SLICE_BYTES) * SLICE_BYTES, SizeClass::block_bytes);
    // SAFETY: the caller's duty.
    let (place, is_fresh) = unsafe {
        match class {
            _ if !first_class::has_room_for(heap, counted) => return (null_mut(), false),
            Some(class) => (take_place(kind, heap, class), false),
            None => take_run(kind, heap, counted / SLICE_BYTES, align),
        }
    };
    if place.is_null() {
        return (place, false);
    }
    large::count(thread::current(stacks), counted as i64);
    track::open(place, counted);
    (place.wrapping_add(lead), is_fresh)
}

unsafe fn take_place(kind: Kind, heap: *mut Core, class: SizeClass) -> *mut u8 {
    let _guard = LOCK.lock();
    // SAFETY: under the lock all pages of places are this thread's (O1).
    unsafe {
        let pages = pages_of(heap, kind, class.index());
        let mut page = pages.with_room;
        // Bound: the heap's pages with room. The default heap's first one will do.
        while !page.is_null() && (*page).class() != class {
            page = (*page).next;
        }
        if page.is_null() {
            let Some(new) = begin(kind, heap, class) else { return null_mut() };
            page = new;
        } else {
            pages.unlink(page);
        }
        let (free, count) = (*page).take_free(1);
        let place = if count > 0 { free } else { (*page).carve(1).0 };
        pages.link(page);
        count_in_heap(heap, class.block_bytes() as i64);
        place.cast()
    }
}

/// A page of places, in no list.
fn begin(kind: Kind, heap: *mut Core, class: SizeClass) -> Option<*mut Page> {
    let run = first_class::take(heap, slice_count_for(class, u8::MAX) as usize, 1)?;
    let is_fresh = run.touch(0, run.count);
    let page = run.page();
    // SAFETY: S1: the slices and their descriptor are this thread's.
    unsafe {
        (*page).begin_small(&run, class, 0, is_fresh);
        (*page).set_kind(kind);
        (*page).set_heap(heap);
    }
    stats::add(Counter::Pages, 1);
    Some(page)
}

unsafe fn take_run(kind: Kind, heap: *mut Core, slices: usize, align: usize) -> (*mut u8, bool) {
    let Some(run) = first_class::take(heap, slices, align.div_ceil(SLICE_BYTES)) else { return (null_mut(), false) };
    let start = run.start();
    let (page, is_fresh) = large::begin_run(run, slices);
    // SAFETY: the run and its descriptor are this thread's.
    unsafe { keep_run(kind, heap, page) };
    (start, is_fresh)
}

/// Makes a run with one block one of a heap's.
///
/// # Safety
/// - `heap` stands, or is null; the run and its descriptor are the calling thread's.
pub(crate) unsafe fn keep_run(kind: Kind, heap: *mut Core, page: *mut Page) {
    let _guard = LOCK.lock();
    // SAFETY: the caller's duty; under the lock.
    unsafe {
        (*page).used.set(1);
        (*page).set_kind(kind);
        (*page).set_heap(heap);
        pages_of(heap, kind, 0).link(page);
        count_in_heap(heap, i64::from((*page).reserved) * SLICE_BYTES as i64);
    }
}

unsafe fn count_in_heap(heap: *mut Core, bytes: i64) {
    if !heap.is_null() {
        first_class::count(heap, bytes);
    }
}

/// Frees a block.
///
/// # Safety
/// - `address` is a block that the caller frees, and `page` the descriptor of its page or run, of kind [`Kind::Offset`],
///   [`Kind::Sampled`] or [`Kind::Guarded`].
pub(crate) unsafe fn free(stacks: *mut Stacks, page: *mut Page, address: *mut u8) {
    // SAFETY: the caller's duty: the page stands while one of its blocks is in use.
    unsafe {
        let bytes = put(page, address);
        large::count(thread::current(stacks), -(bytes as i64));
    }
}

/// The start of the place that an address lies in.
unsafe fn place_of(page: *mut Page, address: *mut u8) -> *mut u8 {
    // SAFETY: set-once fields of a page that stands while the caller's block is in use.
    unsafe {
        let at = address.addr() - (*page).start.addr();
        address.wrapping_sub(at.checked_rem((*page).block_bytes as usize).unwrap_or(at))
    }
}

unsafe fn put(page: *mut Page, address: *mut u8) -> usize {
    let _guard = LOCK.lock();
    // SAFETY: under the lock all pages of places are this thread's (O1), and their heaps stand; the caller's duty.
    unsafe {
        let heap = (*page).heap();
        match (*page).kind() {
            Kind::Sampled => profile::end(*place_of(page, address).cast::<*mut Record>()),
            Kind::Guarded => crate::sample::forget(page),
            _ => {}
        }
        let pages = pages_of(heap, (*page).kind(), usize::from((*page).class));
        pages.unlink(page);
        let bytes = match (*page).block_bytes as usize {
            0 => {
                (*page).used.set(0);
                (*page).reserved as usize * SLICE_BYTES
            }
            bytes => {
                (*page).put(place_of(page, address).cast::<Block>());
                bytes
            }
        };
        count_in_heap(heap, -(bytes as i64));
        if (*page).used == 0 {
            release(page);
        } else {
            pages.link(page);
        }
        bytes
    }
}

/// Gives the slices of a page or run back.
unsafe fn release(page: *mut Page) {
    // SAFETY: the caller holds the page, no list links it, and no block of it is used any more.
    let (start, is_run, count) = unsafe {
        if (*page).kind() == Kind::Guarded {
            return guarded::retire(page);
        }
        stats::sub(Counter::UntouchedBytes, (*page).untouched_bytes());
        (*page).set_kind(Kind::Free);
        let is_run = (*page).class == 0;
        ((*page).start, is_run, if is_run { (*page).reserved as usize } else { (*page).slice_count() })
    };
    stats::sub(if is_run { Counter::LargeBlocks } else { Counter::Pages }, 1);
    match region::find(start.addr()) {
        Some((region, slice)) => Run { region, slice, count }.give(),
        None => crate::report::corrupted("a page lies outside all regions", start.addr()),
    }
}

/// Takes all pages of a heap out of its lists, and hands each on.
unsafe fn detach(heap: *mut Core, mut to: impl FnMut(*mut Page)) {
    // SAFETY: the caller holds the lock, and the heap stands.
    let lists = KINDS.map(|kind| unsafe { core::mem::replace(pages_of(heap, kind, 0), Pages::new()) });
    for mut page in lists.into_iter().flat_map(|pages| [pages.with_room, pages.full]) {
        while !page.is_null() {
            // SAFETY: O1: a listed page stands.
            let next = unsafe { (*page).next };
            to(page);
            page = next;
        }
    }
}

/// Gives back all that a heap has here. The figures of bytes in use are left to the caller.
///
/// # Safety
/// - The heap stands, and no block of it is used any more; nobody allocates from it meanwhile.
pub(crate) unsafe fn release_all(heap: *mut Core) {
    // SAFETY: the caller's duty: nobody else touches the heap's lists.
    if unsafe { (*heap).offset_pages.is_empty() && (*heap).sampled_pages.is_empty() } {
        return;
    }
    let _guard = LOCK.lock();
    // SAFETY: under the lock; the caller's duty.
    unsafe {
        detach(heap, |page| {
            if (*page).kind() == Kind::Sampled {
                visit_page(page, &mut |place, _| {
                    profile::end(*place.cast::<*mut Record>());
                    true
                });
            }
            crate::sample::forget(page);
            (*page).used.set(0);
            release(page);
        });
    }
}

/// Makes all that a heap has here the default heap's.
///
/// # Safety
/// - The heap stands.
pub(crate) unsafe fn hand_over(heap: *mut Core) {
    let _guard = LOCK.lock();
    // SAFETY: under the lock; out of the heap's lists each page is this thread's.
    unsafe {
        detach(heap, |page| {
            (*page).set_heap(null_mut());
            pages_of(null_mut(), (*page).kind(), usize::from((*page).class)).link(page);
        });
    }
}

/// Visits the places of a heap that are in use, or the blocks of those that are samples; false from `visit` ends it and is returned.
///
/// # Safety
/// - Nobody allocates from the heap or frees a block of it meanwhile. `visit` may not either.
pub(crate) unsafe fn visit(heap: *mut Core, visit: &mut dyn FnMut(*mut u8, usize) -> bool) -> bool {
    // SAFETY: the caller's duty: the lists stand still.
    unsafe {
        let lists = {
            let _guard = LOCK.lock();
            KINDS.map(|kind| {
                let pages = pages_of(heap, kind, 0);
                [pages.with_room, pages.full]
            })
        };
        for mut page in lists.into_iter().flatten() {
            while !page.is_null() {
                let goes_on = match (*page).kind() {
                    Kind::Sampled => visit_page(page, &mut |place, bytes| {
                        let block = (**place.cast::<*mut Record>()).block;
                        visit(block, bytes - (block.addr() - place.addr()))
                    }),
                    Kind::Guarded => {
                        let record = (*page).sample();
                        visit((*record).block, (*record).size)
                    }
                    _ => visit_page(page, visit),
                };
                if !goes_on {
                    return false;
                }
                page = (*page).next;
            }
        }
    }
    true
}

/// Visits the places of a page that are in use.
unsafe fn visit_page(page: *mut Page, visit: &mut dyn FnMut(*mut u8, usize) -> bool) -> bool {
    // SAFETY: the caller's duty: the page stands still.
    unsafe {
        match (*page).block_bytes {
            0 => visit((*page).start, (*page).reserved as usize * SLICE_BYTES),
            _ => holes::visit_used(page, visit),
        }
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

/// Checks O1 of a heap (null: the default one): each list holds pages that belong there, linked both ways. Returns how many there are with
/// room, and full.
///
/// # Safety
/// - The heap stands.
#[cfg(any(test, tessalloc_check))]
pub(crate) unsafe fn check_all(heap: *mut Core) -> [usize; 2] {
    let _guard = LOCK.lock();
    let mut counts = [0; 2];
    let classes = if heap.is_null() { 0..CLASS_COUNT } else { 0..1 };
    for (kind, class) in KINDS.into_iter().flat_map(|kind| classes.clone().map(move |class| (kind, class))) {
        // SAFETY: under the lock; the caller's duty.
        let pages = unsafe { pages_of(heap, kind, class) };
        for (list, first) in [pages.with_room, pages.full].into_iter().enumerate() {
            let (mut page, mut previous) = (first, null_mut());
            while !page.is_null() {
                // SAFETY: O1: a linked page stands.
                unsafe {
                    assert_eq!((*page).previous, previous, "O1: links lead both ways");
                    let is_kind = (*page).kind() == kind || kind == Kind::Sampled && (*page).kind() == Kind::Guarded;
                    assert!(is_kind && (*page).used > 0, "O1: a listed page is of the list's kind and in use");
                    assert_eq!((*page).heap(), heap, "O1: a listed page is of the list's heap");
                    let is_of_blocks = (*page).block_bytes != 0;
                    assert_eq!(
                        is_of_blocks && (*page).has_room(),
                        list == 0,
                        "O1: the list tells whether there is room"
                    );
                    assert!(!heap.is_null() || usize::from((*page).class) == class, "O1: lists are of one class");
                    if is_of_blocks {
                        (*page).check_all();
                    }
                    (previous, page) = (page, (*page).next);
                }
                counts[list] += 1;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;
    use std::vec::Vec;

    fn check_all() -> [usize; 2] {
        // SAFETY: null is the default heap.
        unsafe { super::check_all(null_mut()) }
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
        assert_eq!(check_all(), [1, 4]);
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
        assert_eq!(check_all(), [0, 0], "an empty page is given back");
    }

    #[test]
    fn offset_pages_of_a_heap_go_with_it() {
        let _quiet = region::QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let figures = || (stats::value(Counter::LargeBlocks), check_all());
        let before = figures();
        let (kept, gone) = (crate::Heap::new().expect("memory"), crate::Heap::new().expect("memory"));
        let blocks = [100, 200 << 10].map(|size| kept.aligned_at(size, 64, 8));
        assert!([100, 200 << 10].iter().all(|&size| !gone.aligned_at(size, 64, 8).is_null()));
        gone.destroy();
        kept.delete();
        assert_eq!(figures(), (before.0 + 1, [before.1[0] + 1, before.1[1] + 1]));
        for block in blocks {
            // SAFETY: a block of ours, freed once.
            unsafe { raw::free(block) };
        }
        assert_eq!(figures(), before);
    }
}
