//! First-class heaps: what a heap is inside. Records of the kind that threads have, leased to the threads that use the heap.
//!
//! | field       | unit  | touched by                  | always true                                                          |
//! |-------------|-------|-----------------------------|----------------------------------------------------------------------|
//! | `id`        | –     | set once                    | F1, F7 in `identity`: never used twice in a process                   |
//! | `records`   | –     | under [`HEAPS`]             | F2 all pages of small blocks of the heap are in queues or lists of these records; none is let go |
//! | `large`     | –     | under [`HEAPS`]             | F3 all large runs of the heap, linked both ways                      |
//! | `offset_pages`, `sampled_pages` | – | under the lock of [`crate::offset`] | O1 there                                  |
//! | `allocated` | bytes | any, Relaxed                | F4 what pages have handed out, and large runs; stacks hold some of it |
//!
//! F5 A record is leased to one thread, or to none (`lessee` 0). Only that thread's own steps, or its end, take the lease away
//!    while the heap lives; when the heap goes the record stays with its last lessee, as a spare. So a thread that finds itself as
//!    lessee stays it.
//! F6 A block of a first-class heap lies on no stack but its heap's records', and in no ring: a free that is not by the heap puts
//!    it home at once. So nobody holds a block when all frees have returned, and a heap can go without asking anybody.
//!
//! Lock order: [`ENDED`], [`HEAPS`], `PASS` of [`crate::scavenger`], records, regions.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange;
use crate::heap;
use crate::large;
use crate::offset;
use crate::os;
use crate::page::{Kind, OF_HEAP, Page, PageLinks};
use crate::region::{self, Region, Run, SLICE_BYTES};
use crate::remote::List;
use crate::report::{self, ErrorKind};
use crate::ring::send_home;
use crate::sample::{self, Request};
use crate::size_class::SizeClass;
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, AtomicU64, Lock, Ordering};
use crate::theap::Stacks;
use crate::thread::{self, Thread};
use crate::track;

#[cfg(test)]
mod check;
#[cfg(tessalloc_check)]
mod check_all;
mod entry;
mod figures;
mod identity;
mod lease;
mod visit;

#[cfg(tessalloc_check)]
pub(crate) use check_all::check_all;
use figures::Handed;
pub(crate) use figures::{page_stats_of, stats_of, stats_of_default};
use identity::Id;
pub(crate) use lease::{Handles, after_fork, handle, leave_all};
use lease::{end_leases, lease, lease_locked, store_record, unlink_lease};
pub use visit::BlockInfo;
pub(crate) use visit::{visit, visit_heaps};

/// Bytes of a heap's name that are kept.
pub(crate) const NAME_BYTES: usize = 32;

/// What a heap is made with.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// A zero stands behind it.
    pub(crate) name: [u8; NAME_BYTES + 1],
    pub(crate) tag: u64,
    /// Bytes; `u64::MAX`: none.
    pub(crate) soft: u64,
    pub(crate) hard: u64,
    pub(crate) on_limit: Option<Limit>,
    pub(crate) zeroes: bool,
    /// The arena's region; null: any memory.
    pub(crate) region: *const Region,
}

/// What is called at a limit: with the heap ([`Core`]), the kind and the bytes of the request.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) call: unsafe extern "C" fn(heap: *mut c_void, kind: u32, wanted: u64, argument: *mut c_void),
    pub(crate) argument: *mut c_void,
}
pub(crate) const LIMIT_SOFT: u32 = 1;
pub(crate) const LIMIT_HARD: u32 = 2;

/// A first-class heap.
pub(crate) struct Core {
    pub(crate) id: Id,
    records: *mut Thread,
    large: *mut Page,
    pub(crate) offset_pages: offset::Pages,
    /// Of samples; the same.
    pub(crate) sampled_pages: offset::Pages,
    /// Its small blocks may be samples, and its stacks have no room for good (Y3 in [`crate::sample`]).
    has_samples: bool,
    allocated: Handed,
    over_soft: AtomicBool,
    pub(crate) settings: Settings,
    /// In the list of all heaps, or of places for heaps.
    next: *mut Core,
    previous: *mut Core,
}

struct All {
    heaps: *mut Core,
    places: *mut Core,
    /// Records without heap and lessee, by `next_lease`.
    records: *mut Thread,
    count: u64,
}

struct AllCell(UnsafeCell<All>);
// SAFETY: touched under `HEAPS` only.
unsafe impl Sync for AllCell {}

static HEAPS: Lock = Lock::new();
/// Held by a thread that has ended while it borrows a record.
static ENDED: Lock = Lock::new();
static ALL: AllCell =
    AllCell(UnsafeCell::new(All { heaps: null_mut(), places: null_mut(), records: null_mut(), count: 0 }));
/// Written under `HEAPS`.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// Bytes between places for heaps, and what they are aligned to.
const PLACE_BYTES: usize = size_of::<Core>().next_multiple_of(128);

/// The locks of this file, in their order, for a fork.
pub(crate) fn locks() -> [&'static Lock; 2] {
    [&ENDED, &HEAPS]
}

/// # Safety
/// - The caller holds [`HEAPS`] and no other reference from here.
#[allow(clippy::mut_from_ref, reason = "one at a time, under the lock")]
unsafe fn all() -> &'static mut All {
    // SAFETY: the caller's duty.
    unsafe { &mut *ALL.0.get() }
}

// ------------------------------------------------------------------------------------------------------ what theaps ask

/// Slices for a heap's page or large run; for the default heap (null) from any region.
pub(crate) fn take(heap: *mut Core, count: usize, align: usize) -> Option<Run> {
    // SAFETY: a heap stands while its records are used. `region` is set once.
    let region = if heap.is_null() { core::ptr::null() } else { unsafe { (*heap).settings.region } };
    // SAFETY: null, or a region, which is never released while a heap has it.
    match unsafe { region.as_ref() } {
        Some(region) => region::take_in(region, count, align),
        None => region::take(count, align),
    }
}

/// As [`take`], of memory of the allocator's own alone: none for a heap in an arena.
pub(crate) fn take_ordinary(heap: *mut Core, count: usize) -> Option<Run> {
    // SAFETY: as in `take`.
    let is_in_arena = !heap.is_null() && unsafe { !(*heap).settings.region.is_null() };
    if is_in_arena || !crate::pressure::admits(count) { None } else { region::take_ordinary(count, 1) }
}

/// Counts bytes that left pages (or came home, below 0).
pub(crate) fn count(heap: *mut Core, bytes: i64) {
    // SAFETY: a heap stands while its records are used.
    unsafe { (*heap).allocated.add(bytes) };
}

/// Whether a heap's small blocks may be samples.
pub(crate) fn has_samples(heap: *mut Core) -> bool {
    // SAFETY: as in `count`.
    unsafe { (*heap).has_samples }
}

/// Whether a heap's hard limit leaves so many bytes.
pub(crate) fn has_room_for(heap: *mut Core, bytes: usize) -> bool {
    // SAFETY: as in `count`.
    heap.is_null() || unsafe { (*heap).allocated().saturating_add(bytes as u64) <= (*heap).settings.hard }
}

/// How many of `want` blocks a heap's hard limit lets out.
pub(crate) fn within_limit(heap: *mut Core, block_bytes: usize, want: u32) -> u32 {
    if heap.is_null() {
        return want;
    }
    // SAFETY: as in `count`.
    unsafe {
        let hard = (*heap).settings.hard;
        if hard == u64::MAX {
            return want;
        }
        let left = hard.saturating_sub((*heap).allocated());
        (left / block_bytes as u64).min(u64::from(want)) as u32
    }
}

// ------------------------------------------------------------------------------------------------------ making and ending

/// A new heap; null if memory is out.
pub(crate) fn create(settings: Settings) -> *mut Core {
    let _guard = HEAPS.lock();
    // SAFETY: under the lock.
    let all = unsafe { all() };
    // ORDER: Relaxed: written under the lock.
    if NEXT_ID.load(Ordering::Relaxed) == 1 {
        // Asked before there is a heap: who frees a block of one and who deletes it then get the same answer.
        set_has_barrier(os::barrier_register() && os::barrier_all_threads());
    }
    let core = if all.places.is_null() {
        let Some(space) = thread::record_space(PLACE_BYTES) else { return null_mut() };
        let core: *mut Core = space.cast();
        // SAFETY: fresh memory of the right size.
        unsafe { core.write(Core::new(settings)) };
        core
    } else {
        let core = all.places;
        // SAFETY: a place in the list, empty. Who asks for an old block's heap may be reading its id.
        unsafe {
            all.places = (*core).next;
            (*core).settings = settings;
            (*core).has_samples = sample::is_on();
            (*core).over_soft = AtomicBool::new(false);
            (*core).allocated = Handed::new();
        }
        core
    };
    // ORDER: Relaxed: under the lock; who asks `is_heap` about this heap learned of it after.
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    all.count += 1;
    stats::add(Counter::Heaps, 1);
    // SAFETY: a place for a heap, in no list.
    unsafe {
        (*core).id.begin(id);
        (*core).next = all.heaps;
        (*core).previous = null_mut();
        if !all.heaps.is_null() {
            (*all.heaps).previous = core;
        }
        if let Some(region) = settings.region.as_ref() {
            region.bind();
        }
    }
    all.heaps = core;
    core
}

/// Whether the heap's blocks are kept when it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// They become the default heap's.
    Delete,
    /// They are gone.
    Destroy,
}

/// Ends a heap.
///
/// # Safety
/// - Nobody allocates from the heap, or frees by it, from now on. On [`End::Destroy`]: nobody uses or frees a block of it by any
///   way, and all such frees have returned.
pub(crate) unsafe fn end(core: *mut Core, how: End) {
    // SAFETY: the caller's duty; under the lock as far as lists are touched. Once out of their lessees' lists, nobody but this
    // thread and the scavenger comes to the records; the scavenger is kept out by the gates.
    unsafe {
        let (mut records, large) = {
            let _guard = HEAPS.lock();
            let mut record = (*core).records;
            while !record.is_null() {
                unlink_lease(record);
                record = (*record).next_in_heap;
            }
            (core::mem::replace(&mut (*core).records, null_mut()), detach_large(core, how))
        };
        let (mut done, mut left) = (null_mut(), null_mut());
        while !records.is_null() {
            let record = records;
            records = (*record).next_in_heap;
            if !(*record).is_live() {
                // Torn by a fork (see `after_fork`): what it holds is lost.
                continue;
            }
            let is_inside = match how {
                End::Destroy => entry::exclude(record),
                End::Delete => entry::claim_from_lessee(record),
            };
            if !is_inside {
                (*record).next_in_heap = left;
                left = record;
                continue;
            }
            match how {
                End::Destroy => (*record).destroy_pages(),
                End::Delete => (*record).delete_pages(),
            }
            (*record).rest();
            entry::leave(record);
            (*record).next_in_heap = done;
            done = record;
        }
        match how {
            End::Destroy => release_blocks(core, large),
            End::Delete => {
                offset::hand_over(core);
                heap::DEFAULT.sweep();
            }
        }
        let _guard = HEAPS.lock();
        let all = all();
        while !done.is_null() {
            let record = done;
            done = (*record).next_in_heap;
            store_record(record, all);
        }
        if (*core).previous.is_null() {
            all.heaps = (*core).next;
        } else {
            (*(*core).previous).next = (*core).next;
        }
        if !(*core).next.is_null() {
            (*(*core).next).previous = (*core).previous;
        }
        (*core).id.end();
        all.count -= 1;
        stats::sub(Counter::Heaps, 1);
        (*core).records = left;
        if left.is_null() {
            (*core).next = all.places;
            all.places = core;
            // What was not left to the default heap has been given back.
            if let Some(region) = (*core).settings.region.as_ref() {
                region.unbind();
            }
        }
    }
}

/// Gives back the heap's large runs, which nobody finds any more, and its pages of places; what its other pages had handed out counts
/// as come home.
///
/// # Safety
/// - No block of the heap is used any more, and nobody allocates from it meanwhile.
unsafe fn release_blocks(core: *mut Core, mut large: *mut Page) {
    // SAFETY: the caller's duty.
    unsafe {
        let mut large_bytes = 0;
        while !large.is_null() {
            let page = large;
            large = (*page).next;
            large_bytes += (*page).carved.get() as u64 * SLICE_BYTES as u64;
            large::release(page);
        }
        offset::release_all(core);
        stats::allocated(-((*core).allocated().saturating_sub(large_bytes) as i64));
    }
}

/// The heap's large runs, to be given back; none if they stay: then they are the default heap's from here on, and who frees one
/// finds that out under the lock.
unsafe fn detach_large(core: *mut Core, how: End) -> *mut Page {
    // SAFETY: the caller holds `HEAPS`.
    unsafe {
        let first = core::mem::replace(&mut (*core).large, null_mut());
        if how == End::Destroy {
            return first;
        }
        let mut page = first;
        while !page.is_null() {
            let next = (*page).next;
            (*page).set_heap(null_mut());
            page = next;
        }
        null_mut()
    }
}
static HAS_BARRIER: AtomicBool = AtomicBool::new(false);

/// Says whether one thread can make all others pass a barrier: without, no thread puts blocks of first-class heaps home itself.
fn set_has_barrier(has: bool) {
    // ORDER: Relaxed: before the first heap, whose users learn of it by that.
    HAS_BARRIER.store(has, Ordering::Relaxed);
}

fn has_barrier() -> bool {
    // ORDER: Relaxed: as above.
    HAS_BARRIER.load(Ordering::Relaxed)
}

impl Thread {
    /// Gives all pages of a destroyed heap's record back, with all that lies in them.
    ///
    /// # Safety
    /// - The caller excludes all others from the record, and no block of its pages is used any more.
    unsafe fn destroy_pages(&mut self) {
        // SAFETY: the caller's duty: all pages of queues and lists are this record's (F2).
        unsafe {
            let posted = self.inbox.close();
            self.settle_orphans(posted);
            self.for_each_page(|page| heap::release(page));
        }
        self.empty_stacks();
        self.clear_theap();
    }

    /// Hands all pages of a deleted heap's record to the default heap.
    ///
    /// # Safety
    /// - The caller is inside the record's gate by claim, or nobody else can be.
    unsafe fn delete_pages(&mut self) {
        // SAFETY: the caller's duty.
        unsafe {
            self.flush_stacks();
            self.ring.end();
            self.drain_inbox();
            self.abandon_pages();
            self.heap = null_mut();
            let mut page = self.inbox.close();
            // Bound: the pages that were in the inbox.
            while !page.is_null() {
                let next = crate::inbox::next_of(page);
                self.collect(page);
                page = next;
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- blocks

impl Core {
    fn new(settings: Settings) -> Self {
        Self {
            id: Id::new(),
            records: null_mut(),
            large: null_mut(),
            offset_pages: offset::Pages::new(),
            sampled_pages: offset::Pages::new(),
            has_samples: sample::is_on(),
            allocated: Handed::new(),
            over_soft: AtomicBool::new(false),
            settings,
            next: null_mut(),
            previous: null_mut(),
        }
    }

    /// Bytes that pages have handed out, and large runs.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated.now()
    }

    /// Whether the heap could not hold a block like this, whatever is given back.
    fn is_beyond(&self, size: usize, align: usize) -> bool {
        // SAFETY: null, or a region, which does not end while a heap is bound to it.
        let region = unsafe { self.settings.region.as_ref() };
        region.map_or_else(|| region::is_beyond_all(size, align), |region| size > region.area_bytes())
    }

    /// Calls the limit's function.
    ///
    /// # Safety
    /// - The heap stands. No reference to it is held: the function may use it.
    unsafe fn call(core: *mut Core, kind: u32, wanted: usize) {
        // SAFETY: the caller's duty.
        if let Some(limit) = unsafe { (*core).settings.on_limit } {
            // SAFETY: who set the limit vouches for function and argument.
            unsafe { (limit.call)(core.cast(), kind, wanted as u64, limit.argument) };
        }
    }

    /// Whether the soft limit is passed now and was not at the last look.
    fn passes_soft(&self) -> bool {
        let soft = self.settings.soft;
        if soft == u64::MAX {
            return false;
        }
        let is_over = self.allocated() > soft;
        // ORDER: Relaxed: one of those who see the change tells.
        is_over != self.over_soft.load(Ordering::Relaxed)
            && self.over_soft.swap(is_over, Ordering::Relaxed) != is_over
            && is_over
    }
}

/// A block of a heap that the thread's stack has not; null if memory is out or the hard limit is reached.
///
/// # Safety
/// - The heap stands.
#[cold]
#[inline(never)]
pub(crate) unsafe fn alloc_slow(core: *mut Core, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    crate::deferred::beat(false);
    // SAFETY: the caller's duty.
    unsafe {
        alloc_within_limits(core, size, align, 0, || {
            let plain = || alloc_once(core, size, align, zeroed);
            let is_small = SizeClass::of_layout(size, align).is_some();
            if sample::is_on() && (!is_small || has_samples(core)) {
                sample::alloc(core, Request { size, align, zeroed, is_c: false }, plain)
            } else {
                plain()
            }
        })
    }
}

/// A block of a heap that starts `lead` (> 0) bytes behind a multiple of `align`; null as from [`alloc_slow`]. The second value
/// says whether it reads zero.
///
/// # Safety
/// - The heap stands.
pub(crate) unsafe fn alloc_at_offset(core: *mut Core, size: usize, align: usize, lead: usize) -> (*mut u8, bool) {
    let mut is_fresh = false;
    // SAFETY: the caller's duty.
    let block = unsafe {
        alloc_within_limits(core, size, align, lead, || {
            let (block, fresh) = offset::alloc(core, crate::sync::tls::get(), size, align, lead);
            is_fresh = fresh;
            block
        })
    };
    (block, is_fresh)
}

/// Runs `once`, and where that gives null, what a limit or the lack of memory calls for, and `once` again.
unsafe fn alloc_within_limits(
    core: *mut Core,
    size: usize,
    align: usize,
    lead: usize,
    mut once: impl FnMut() -> *mut u8,
) -> *mut u8 {
    if size > crate::raw::BYTES_MAX || !align.is_power_of_two() {
        return crate::raw::refuse(size, align);
    }
    // SAFETY: the caller's duty.
    unsafe {
        let mut block = once();
        if block.is_null() {
            // A limit is kept by what blocks take.
            let taken = if lead == 0 {
                crate::raw::good_size_aligned(size, align)
            } else {
                crate::raw::good_size_aligned(size.max(1) + lead, align.max(16))
            };
            if !has_room_for(core, taken) {
                Core::call(core, LIMIT_HARD, size);
            } else if (*core).is_beyond(size, align) {
                return report::refused(ErrorKind::OutOfMemory, size);
            } else {
                crate::deferred::beat(true);
                crate::scavenger::purge_all(crate::scavenger::HASTY_TRIES);
            }
            block = once();
        }
        if (*core).passes_soft() {
            Core::call(core, LIMIT_SOFT, size);
        }
        if block.is_null() { report::refused(ErrorKind::OutOfMemory, size) } else { block }
    }
}

unsafe fn alloc_once(core: *mut Core, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe {
        let Some(class) = SizeClass::of_layout(size, align) else {
            return alloc_large(core, size, align, zeroed);
        };
        let stacks = crate::sync::tls::get();
        let record = lease(core, stacks);
        if !record.is_null() {
            return (*record).alloc(class, zeroed);
        }
        if thread::current_if_record(stacks).is_some() || stacks.cast_const() == &raw const crate::theap::EMPTY {
            // Memory is out.
            return null_mut();
        }
        // A thread that has ended has no leases: it borrows a record for the moment.
        let _ended = ENDED.lock();
        let shared = thread::shared();
        let borrowed = {
            let _guard = HEAPS.lock();
            lease_locked(core, shared)
        };
        if borrowed.is_null() {
            return null_mut();
        }
        let block = (*borrowed).alloc(class, zeroed);
        let _guard = HEAPS.lock();
        end_leases(shared);
        block
    }
}

unsafe fn alloc_large(core: *mut Core, size: usize, align: usize, zeroed: bool) -> *mut u8 {
    let slices = size.div_ceil(SLICE_BYTES).max(1);
    let bytes = (slices * SLICE_BYTES) as u64;
    // SAFETY: the heap stands; the new run is this thread's until it is linked, under the lock.
    unsafe {
        if !(*core).allocated.plan(bytes, (*core).settings.hard) {
            return null_mut();
        }
        let Some(run) = take(core, slices, align.div_ceil(SLICE_BYTES)) else {
            (*core).allocated.take_back(bytes);
            return null_mut();
        };
        (*core).allocated.went_out(bytes);
        let (page, is_fresh) = large::begin_run(run, slices);
        (*page).flags |= OF_HEAP;
        stats::allocated(bytes as i64);
        if !zeroed {
            track::out((*page).start, bytes as usize);
        } else if !is_fresh {
            (*page).start.write_bytes(0, size);
        }
        let _guard = HEAPS.lock();
        (*page).set_heap(core);
        (*page).previous = null_mut();
        (*page).next = (*core).large;
        if !(*core).large.is_null() {
            (*(*core).large).previous = page;
        }
        (*core).large = page;
        (*page).start
    }
}

/// Frees a large run if it is a first-class heap's; false if it is not, or not any more.
///
/// # Safety
/// - The page is a large block that the caller frees.
pub(crate) unsafe fn free_large(page: *mut Page) -> bool {
    // SAFETY: the caller's duty; lists under the lock, where a delete would have taken the heap away.
    unsafe {
        {
            let _guard = HEAPS.lock();
            let core = (*page).heap();
            if core.is_null() {
                return false;
            }
            if (*page).previous.is_null() {
                (*core).large = (*page).next;
            } else {
                (*(*page).previous).next = (*page).next;
            }
            if !(*page).next.is_null() {
                (*(*page).next).previous = (*page).previous;
            }
            count(core, -((*page).carved.get() as i64 * SLICE_BYTES as i64));
        }
        large::release(page);
        true
    }
}

/// Frees a small block of a first-class heap, or of one that is being deleted at this moment: it goes onto the heap's own stack of
/// this thread, or home (F6). Inside the gate, since who deletes the heap comes to the stack by a claim.
///
/// # Safety
/// - The block is a handed-out one of the page, freed by the caller.
pub(crate) unsafe fn free_small(stacks: *mut Stacks, page: *mut Page, block: *mut Block) {
    // SAFETY: the caller's duty: the page stands while its block is out.
    unsafe {
        track::back(block.cast(), (*page).block_bytes as usize);
        if has_barrier()
            && let Some(thread) = thread::current_if_record(stacks)
        {
            // ORDER: Relaxed: a record that this thread leased says so to it for good (F5); any other value means "not mine".
            let owner = (*page).owner.load(Ordering::Relaxed) & !exchange::OWNER_ENDED;
            let record: *mut Thread = core::ptr::with_exposed_provenance_mut(owner);
            if owner != 0 && (*record).lessee.load(Ordering::Relaxed) == (*thread).token() {
                (*record).gate.enter();
                // Inside, nobody deletes the heap. ORDER: Relaxed: the gate's Acquire made it visible.
                let is_home = (*page).owner.load(Ordering::Relaxed) == owner && !(*page).heap().is_null();
                let class = usize::from((*page).class);
                let is_done = is_home && crate::raw::push(record.cast(), class, block.cast());
                if is_home && !is_done {
                    (*record).put_home(page, block);
                }
                (*record).gate.leave();
                if is_done {
                    return;
                }
                if is_home {
                    (*record).after_slow();
                    return;
                }
            }
        }
        Block::set_next(block, null_mut());
        let at = PageLinks((*page).start).distance(block);
        send_home(page, List { head: at, tail: at, count: 1 });
    }
}

/// Frees a block by its heap, when the stack of its class has no room.
///
/// # Safety
/// - The heap stands; the block is one of it, freed by the caller, with its class or `None` for a large one.
#[cold]
#[inline(never)]
pub(crate) unsafe fn free_slow(core: *mut Core, block: *mut u8, class: Option<SizeClass>) {
    let stacks = crate::sync::tls::get();
    // SAFETY: the caller's duty.
    unsafe {
        let page = thread::page_of(block);
        if (*page).heap() != core {
            report::foreign_to_heap(block.addr());
        }
        match (*page).kind() {
            Kind::Small => {}
            Kind::Large => {
                free_large(page);
                return;
            }
            _ => return thread::free_slow(stacks, block),
        }
        let class = class.unwrap_or((*page).class());
        let record = lease(core, stacks);
        if !record.is_null() && (*record).stacks.room[class.index()] > 0 {
            crate::raw::push(record.cast(), class.index(), block);
            return;
        }
        free_small(stacks, page, block.cast());
    }
}

/// Frees all blocks of a heap; pages and large runs of blocks stay its own, ready for the next.
///
/// # Safety
/// - Nobody uses or frees a block of the heap, or allocates from it, meanwhile and all such calls have returned.
pub(crate) unsafe fn clear(core: *mut Core) {
    // SAFETY: the caller's duty.
    unsafe {
        // Under the lock: a thread may be at its end, and give back its leases, although its last call returned; another may purge, and
        // put home what came to a record.
        let large = {
            let _guard = HEAPS.lock();
            let mut record = (*core).records;
            while !record.is_null() {
                if (*record).is_live() && entry::exclude(record) {
                    (*record).clear_pages();
                    entry::leave(record);
                }
                record = (*record).next_in_heap;
            }
            core::mem::replace(&mut (*core).large, null_mut())
        };
        // From here on nobody counts: there is nothing on its way home.
        release_blocks(core, large);
        (*core).allocated.clear();
    }
}

/// Gives back what the heap holds and nobody uses. Returns bytes. Records whose threads are inside the allocator keep theirs.
///
/// # Safety
/// - The heap stands.
pub(crate) unsafe fn purge(core: *mut Core) -> u64 {
    let mut bytes = 0;
    let _guard = HEAPS.lock();
    // SAFETY: under the lock.
    unsafe {
        let mut record = (*core).records;
        while !record.is_null() {
            bytes += purge_record(record);
            record = (*record).next_in_heap;
        }
    }
    bytes
}

/// As [`purge`], of all that a thread has of heaps.
///
/// # Safety
/// - `thread` is a thread's own record.
pub(crate) unsafe fn purge_leases(thread: *mut Thread) -> u64 {
    let mut bytes = 0;
    let _guard = HEAPS.lock();
    // SAFETY: under the lock.
    unsafe {
        let mut record = (*thread).leases;
        while !record.is_null() {
            bytes += purge_record(record);
            record = (*record).next_lease;
        }
    }
    bytes
}

/// Goes into a record by its gate: by right if the caller is its lessee, else by claim if that succeeds.
///
/// # Safety
/// - The caller holds [`HEAPS`].
unsafe fn purge_record(record: *mut Thread) -> u64 {
    let own = thread::current_if_started().map_or(0, |thread| thread.expose_provenance());
    // SAFETY: the caller's duty. ORDER: Relaxed: written under the lock.
    unsafe {
        // Who visits the heap has put all of it home, under this lock, and may be the caller.
        if (*record).gate.is_visited() {
            return 0;
        }
        if (*record).lessee.load(Ordering::Relaxed) == own && own != 0 {
            (*record).gate.enter();
            (*record).flush_stacks();
            let bytes = (*record).trim();
            (*record).gate.leave();
            return bytes;
        }
        if !(*record).is_live() || !(*record).gate.try_claim() {
            return 0;
        }
        let bytes = (*record).trim();
        (*record).gate.unclaim();
        bytes
    }
}

/// The descriptor of the page or run that an address in use lies in; `None` if that is none of ours.
pub(crate) fn page_at(address: *const u8) -> Option<*mut Page> {
    let (region, slice) = region::find(address.addr())?;
    let page = region.page_at(slice)?;
    // SAFETY: the block is in use, so its page stands.
    unsafe { if (*page).kind() == Kind::Free { None } else { Some(page) } }
}

/// The heap that an address in use belongs to, null for the default heap; `None` if it is none of ours.
pub(crate) fn core_of(address: *const u8) -> Option<*mut Core> {
    // SAFETY: as in `page_at`.
    page_at(address).map(|page| unsafe { (*page).heap() })
}

/// Addresses below are no heap's, and not read: null, and small numbers.
pub(crate) const ADDRESS_MIN: usize = 4096;
/// What may be read of what is said to be a heap.
pub(crate) const READ_BYTES: usize = 256;
const _: () = assert!(size_of::<Core>() <= READ_BYTES);

/// Whether a pointer is a heap's, as far as can be told: at a place for a heap, with an id that was given away and not taken back
/// since. Cost: two loads.
///
/// # Safety
/// - The pointer is below [`ADDRESS_MIN`], not aligned to 128, or [`READ_BYTES`] may be read there.
pub(crate) unsafe fn is_heap(core: *const Core) -> bool {
    if core.addr() < ADDRESS_MIN || !core.addr().is_multiple_of(128) {
        return false;
    }
    // SAFETY: the caller's duty.
    let id = unsafe { (*core).id.get() };
    // Where it is 0 the difference wraps. ORDER: Relaxed: it only grows.
    id.wrapping_sub(1) < NEXT_ID.load(Ordering::Relaxed) - 1
}

/// The id of the heap that a page is of now.
///
/// # Safety
/// - A descriptor.
pub(crate) unsafe fn heap_id(page: *mut Page) -> crate::heaps::HeapId {
    // SAFETY: the caller's duty.
    crate::heaps::HeapId::from_number(unsafe { id_of_page(page) })
}

/// # Safety
/// - As for [`heap_id`].
unsafe fn id_of_page(page: *mut Page) -> u64 {
    // SAFETY: atomic fields, and places for heaps are never unmapped.
    unsafe { identity::id_of(|| (*page).heap(), |core| &(*core).id) }
}

/// The id of the heap that an address in use belongs to, 0 for the default heap.
pub(crate) fn id_of(address: *const u8) -> Option<u64> {
    // SAFETY: a descriptor.
    page_at(address).map(|page| unsafe { id_of_page(page) })
}

/// How many heaps there are besides the default one.
pub(crate) fn heap_count() -> u64 {
    let _guard = HEAPS.lock();
    // SAFETY: under the lock.
    unsafe { all().count }
}
