//! A thread's part of a heap: stacks of free blocks in front, queues of pages behind.
//!
//! | field             | unit   | always true                                                                  |
//! |-------------------|--------|------------------------------------------------------------------------------|
//! | `Stacks::top`     | blocks | T1 a list of blocks of this class that are handed out as far as their page knows |
//! | `Stacks::room`    | blocks | T2 limit less the length of the list; frees go elsewhere at 0 or below          |
//! | `Stacks::line`    | blocks | T7 the last blocks that a page of this owner carved, never touched; in heaps' own records only |
//! | `limits`          | blocks | T3 grows by `2 × + 4` (or more) at each refill, to 512 blocks or 32 KiB, within [`Opt::ThreadCacheBytes`] |
//! | `queues`          | pages  | T4 of this owner, by class, linked both ways; all have `IN_QUEUE`               |
//! | `held`            | pages  | T8 how many of the class are this owner's, up to 255                               |
//! | `starter`         | –      | T5 the slice whose rest serves a class's first refills, or null                 |
//! | `remote_classes`  | –      | T6 a one for each class whose blocks other threads have sent home               |
//!
//! The stacks are touched by their thread alone. All else is touched by who holds the thread's gate.

use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange;
use crate::first_class::{self, Handles};
use crate::heap::{self, DEFAULT};
use crate::inbox::next_of;
use crate::options::Opt;
use crate::page::{FRESH, FULL, IN_QUEUE, Kind, ORPHAN, Page, RESTED, STARTER_UNIT_BYTES, slice_count_for};
use crate::region::{self, SLICE_BYTES};
use crate::remote::State;
use crate::report::check;
use crate::sample;
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::stats::{self, Counter};
use crate::thread::Thread;

#[cfg(any(test, tessalloc_check))]
mod check;

/// All that the fast paths touch of a thread, by class. Two arrays, so that a class indexes both without arithmetic.
#[repr(C, align(64))]
pub(crate) struct Stacks {
    pub(crate) top: [*mut Block; CLASS_COUNT],
    pub(crate) room: [i32; CLASS_COUNT],
    pub(crate) line: Line,
    /// (In a heap's own record: none.)
    pub(crate) handles: Handles,
}

/// Blocks of one class in a row: each is had by an addition, where a list makes each wait for the one before.
/// Source: benches `heaps`, 100 blocks of a cleared heap, 2026-11.
pub(crate) struct Line {
    next: *mut u8,
    end: *mut u8,
    class: u32,
    block_bytes: u32,
}

impl Line {
    const fn new() -> Self {
        Self { next: null_mut(), end: null_mut(), class: 0, block_bytes: 0 }
    }

    /// The next block of a class; null if there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self, class: SizeClass) -> *mut u8 {
        let block = self.next;
        if self.class != class.index() as u32 || block == self.end {
            return null_mut();
        }
        self.next = block.wrapping_add(self.block_bytes as usize);
        crate::track::out(block, self.block_bytes as usize);
        block
    }

    pub(crate) fn clear(&mut self) {
        *self = Line::new();
    }
}

// SAFETY: the two statics below are never written: they hold no block and have no room.
unsafe impl Sync for Stacks {}

/// What a thread starts with, before its first slow path. In read-only memory.
pub(crate) static EMPTY: Stacks = Stacks::new();
/// What a thread has after its end, while destructors still run. In read-only memory.
pub(crate) static ENDED: Stacks = {
    let mut stacks = Stacks::new();
    // Unlike `EMPTY`, so that the two can't be laid at one address; no room all the same.
    stacks.room[0] = -1;
    stacks
};

impl Stacks {
    pub(crate) const fn new() -> Self {
        Self { top: [null_mut(); CLASS_COUNT], room: [0; CLASS_COUNT], line: Line::new(), handles: Handles::new() }
    }
}

/// Blocks a stack may grow to, and bytes.
const STACK_BLOCKS_MAX: i32 = 512;
const STACK_BYTES_MAX: i32 = 32 << 10;
/// Blocks that one refill brings at most, and bytes: what a thread takes and does not use, nobody can use.
const REFILL_BLOCKS_MAX: i32 = 64;
const REFILL_BYTES_MAX: i32 = 8 << 10;
/// What a first-class heap's stack begins with.
const FIRST_BYTES: i32 = 4 << 10;
/// What a first-class heap's line holds at most.
const LINE_BYTES: usize = 8 << 10;
/// A limit of few blocks is always granted, whatever [`Opt::ThreadCacheBytes`] says of all limits together.
const LIMIT_ALWAYS: i32 = 8;
/// Pages of a queue that one refill looks at.
const PAGES_MAX: u32 = 16;
/// Refills of a class that the starter slice serves, and the largest block it serves.
const STARTER_REFILLS: u8 = 3;
const STARTER_BYTES_MAX: usize = 2048;
/// The starter slice's class bytes, one for each 16 bytes, at its end.
pub(crate) const STARTER_TABLE_AT: usize = SLICE_BYTES - SLICE_BYTES / 16;

#[derive(Clone, Copy)]
struct Queue {
    first: *mut Page,
    last: *mut Page,
}

/// Queues and starter slice of one thread in one heap.
pub(crate) struct Theap {
    queues: [Queue; CLASS_COUNT],
    refills: [u8; CLASS_COUNT],
    held: [u8; CLASS_COUNT],
    limits: [i32; CLASS_COUNT],
    starter: *mut Page,
    remote_classes: [u64; 2],
    budget: i32,
    /// Pages without room, so that the thread's end finds them.
    full: *mut Page,
}

/// Whether blocks were new memory that reads zero but for their links.
pub(crate) struct Refill {
    pub(crate) first: *mut Block,
    pub(crate) count: u32,
    pub(crate) is_fresh: bool,
}

const NO_BLOCKS: Refill = Refill { first: null_mut(), count: 0, is_fresh: false };

impl Theap {
    pub(crate) const fn new() -> Self {
        Self {
            queues: [Queue { first: null_mut(), last: null_mut() }; CLASS_COUNT],
            refills: [0; CLASS_COUNT],
            held: [0; CLASS_COUNT],
            limits: [0; CLASS_COUNT],
            starter: null_mut(),
            remote_classes: [0; 2],
            budget: Opt::ThreadCacheBytes.default_value() as i32,
            full: null_mut(),
        }
    }

    /// While all limits are 0: what they may grow to is as asked for now.
    pub(crate) fn begin(&mut self) {
        self.budget = Opt::ThreadCacheBytes.value() as i32;
    }

    /// Puts a page in front of its class's queue, which is the owner's from now on.
    ///
    /// # Safety
    /// - The caller holds the page and the queues, and no queue links the page.
    unsafe fn hold(&mut self, page: *mut Page) {
        // SAFETY: T4; the caller's duty.
        unsafe {
            let class = usize::from((*page).class);
            self.queues[class].push_front(page);
            self.held[class] = self.held[class].saturating_add(1);
        }
    }

    /// Counts a page that is about to be the owner's no more.
    ///
    /// # Safety
    /// - The caller holds the page.
    unsafe fn hold_no_more(&mut self, page: *mut Page) {
        // SAFETY: set once.
        let class = usize::from(unsafe { (*page).class });
        self.held[class] = self.held[class].saturating_sub(1);
    }

    /// While all stacks are empty: they grow anew.
    pub(crate) fn reset_limits(&mut self) {
        self.limits = [0; CLASS_COUNT];
        self.begin();
    }
}

impl Queue {
    /// # Safety
    /// - The caller holds the page and the queue, and no queue links the page.
    unsafe fn push_back(&mut self, page: *mut Page) {
        // SAFETY: T4; the caller's duty.
        unsafe {
            (*page).next = null_mut();
            (*page).previous = self.last;
            if self.last.is_null() {
                self.first = page;
            } else {
                (*self.last).next = page;
            }
            self.last = page;
        }
    }

    /// # Safety
    /// - As for [`Queue::push_back`].
    unsafe fn push_front(&mut self, page: *mut Page) {
        // SAFETY: T4; the caller's duty.
        unsafe {
            (*page).previous = null_mut();
            (*page).next = self.first;
            if self.first.is_null() {
                self.last = page;
            } else {
                (*self.first).previous = page;
            }
            self.first = page;
        }
    }

    /// # Safety
    /// - The caller holds the queue, and it links the page.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: T4; the caller's duty.
        unsafe {
            let (previous, next) = ((*page).previous, (*page).next);
            if previous.is_null() {
                self.first = next;
            } else {
                (*previous).next = next;
            }
            if next.is_null() {
                self.last = previous;
            } else {
                (*next).previous = previous;
            }
            (*page).next = null_mut();
            (*page).previous = null_mut();
        }
    }
}

impl Thread {
    /// Blocks for a class, at least one unless memory is out, up to what its stack wants.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate, and is this thread: the stack's limit grows.
    pub(crate) unsafe fn refill(&mut self, class: SizeClass, want_fresh_alone: bool) -> Refill {
        // SAFETY: the caller's duty.
        unsafe {
            if !self.inbox.is_empty() {
                self.drain_inbox();
            }
            if self.ring.is_worth_flushing() {
                self.ring.flush();
            }
            let refills = self.theap.refills[class.index()];
            self.theap.refills[class.index()] = refills.saturating_add(1);
            let bytes = class.block_bytes();
            let starter_refills = if bytes <= 1024 { STARTER_REFILLS } else { 1 };
            let keeps_none = self.keeps_none();
            if refills < starter_refills && bytes <= STARTER_BYTES_MAX && self.heap.is_null() && !keeps_none {
                let count = ((64usize << refills) / bytes).max(1) as u32;
                let refill = self.carve_starter(class, count);
                if refill.count > 0 {
                    return refill;
                }
            }
            let want = if want_fresh_alone || keeps_none { 1 } else { self.grow_limit(class) };
            self.refill_from_pages(class, want)
        }
    }

    /// Whether stacks get no room and one block at a time: allocations are sampled.
    fn keeps_none(&self) -> bool {
        if self.heap.is_null() { sample::is_on() } else { first_class::has_samples(self.heap) }
    }

    /// Lets a class's stack grow, and says how many blocks it should get now.
    fn grow_limit(&mut self, class: SizeClass) -> u32 {
        let bytes = class.block_bytes() as i32;
        let before = self.theap.limits[class.index()];
        let most = STACK_BLOCKS_MAX.min(STACK_BYTES_MAX / bytes).max(1);
        // A first-class heap may be short-lived: it begins with what costs no further OS page.
        let least = if self.heap.is_null() { 4 } else { (FIRST_BYTES / bytes).max(4) };
        let mut limit = (2 * before + least).min(most);
        if (limit - before) * bytes > self.theap.budget {
            limit = before.max(most.min(LIMIT_ALWAYS));
        }
        let growth = limit - before;
        self.theap.budget -= growth * bytes;
        self.theap.limits[class.index()] = limit;
        self.stacks.room[class.index()] += growth;
        // T2: as many as fit, but not all: the first frees find room.
        (limit - limit / 4).min(REFILL_BYTES_MAX / bytes).clamp(1, REFILL_BLOCKS_MAX) as u32
    }

    unsafe fn refill_from_pages(&mut self, class: SizeClass, want: u32) -> Refill {
        let want = first_class::within_limit(self.heap, class.block_bytes(), want);
        if want == 0 {
            return NO_BLOCKS;
        }
        // SAFETY: the caller is inside the gate.
        unsafe {
            // Bound: a second turn only when a page with room was adopted.
            loop {
                let refill = self.refill_from_queue(class, want);
                if refill.count > 0 {
                    return refill;
                }
                if !self.heap.is_null() {
                    break;
                }
                match DEFAULT.adopt(class.index()) {
                    Some(page) => self.adopt(page),
                    None => break,
                }
            }
            let page = self.begin_page(class);
            if page.is_null() { NO_BLOCKS } else { self.carve_or_line_up(page, want) }
        }
    }

    unsafe fn refill_from_queue(&mut self, class: SizeClass, want: u32) -> Refill {
        let queue = class.index();
        // SAFETY: the caller is inside the gate: all pages of the queue are this thread's (P1, T4).
        unsafe {
            for _ in 0..PAGES_MAX {
                let page = self.theap.queues[queue].first;
                if page.is_null() {
                    break;
                }
                (*page).flags &= !RESTED;
                if (*page).free.is_null() && (*page).carved == (*page).reserved && (*page).holes != 0 {
                    crate::holes::refill_hole(page);
                }
                let (first, count) = (*page).take_free(want);
                if count > 0 {
                    return self.count_out(page, first, count, false);
                }
                if (*page).carved < (*page).reserved {
                    return self.carve_or_line_up(page, want);
                }
                self.retire_full(page);
            }
        }
        NO_BLOCKS
    }

    /// New blocks of a page: a list; for a first-class heap one block, and more in the line.
    unsafe fn carve_or_line_up(&mut self, page: *mut Page, want: u32) -> Refill {
        // SAFETY: the caller holds the page, and it has blocks left to carve.
        unsafe {
            if self.heap.is_null() || want == 1 {
                return self.carve(page, want);
            }
            self.put_line_home();
            let block_bytes = (*page).block_bytes as usize;
            let most = first_class::within_limit(self.heap, block_bytes, (LINE_BYTES / block_bytes).max(1) as u32);
            let is_fresh = (*page).has(FRESH);
            let (first, count) = (*page).carve_untouched(most.max(1));
            let refill = self.count_out(page, first.cast(), count, is_fresh);
            self.stacks.line = Line {
                next: first.wrapping_add(block_bytes),
                end: first.wrapping_add(count as usize * block_bytes),
                class: u32::from((*page).class),
                block_bytes: block_bytes as u32,
            };
            Refill { count: 1, ..refill }
        }
    }

    /// Gives the line's blocks back to their page.
    ///
    /// # Safety
    /// - The caller is the record's thread, or its heir, inside the gate.
    pub(crate) unsafe fn put_line_home(&mut self) {
        let line = core::mem::replace(&mut self.stacks.line, Line::new());
        let bytes = line.end.addr() - line.next.addr();
        if bytes == 0 {
            return;
        }
        // SAFETY: T7: the page is this record's, and the blocks are the last that it carved. One goes the usual way, which looks
        // whether the page is empty.
        unsafe {
            let page = crate::thread::page_of(line.next);
            let others = (bytes / line.block_bytes as usize - 1) as u32;
            (*page).uncarve(others);
            self.count(-i64::from(others * line.block_bytes));
            self.put_home(page, line.next.cast());
        }
    }

    unsafe fn carve(&mut self, page: *mut Page, want: u32) -> Refill {
        // SAFETY: the caller holds the page, and it has blocks left to carve.
        unsafe {
            let is_fresh = (*page).has(FRESH);
            let (first, count) = (*page).carve(want);
            self.count_out(page, first, count, is_fresh)
        }
    }

    /// Counts bytes that left pages (or came home, below 0), for the thread and for its heap. Of a first-class heap, what comes home
    /// was freed just now, by whatever thread; of the default heap, who frees counts that: [`Thread::count_freed`].
    #[inline]
    fn count(&mut self, bytes: i64) {
        self.counts.allocated(bytes);
        if !self.heap.is_null() {
            first_class::count(self.heap, bytes);
            if bytes < 0 {
                self.counts.freed(bytes.unsigned_abs());
            }
        }
    }

    /// Counts bytes among those that came home: this thread freed them itself.
    #[inline]
    pub(crate) fn count_freed(&self, bytes: u64) {
        if self.heap.is_null() {
            self.counts.freed(bytes);
        }
    }

    unsafe fn count_out(&mut self, page: *mut Page, first: *mut Block, count: u32, is_fresh: bool) -> Refill {
        // SAFETY: the caller holds the page.
        let bytes = i64::from(count) * i64::from(unsafe { (*page).block_bytes });
        self.count(bytes);
        Refill { first, count, is_fresh }
    }

    /// A new page for a class, in front of its queue; null if memory is out.
    unsafe fn begin_page(&mut self, class: SizeClass) -> *mut Page {
        let count = slice_count_for(class, self.theap.held[class.index()]) as usize;
        let Some(run) = first_class::take(self.heap, count, 1) else { return null_mut() };
        let fresh = run.touch(0, count);
        let page = run.page();
        // SAFETY: S1: the slices and their descriptor are this thread's.
        unsafe {
            (*page).begin_small(&run, class, self.token(), fresh);
            (*page).set_kind(Kind::Small);
            for slice in run.slice + 1..run.slice + count {
                // Blocks in the page's other slices find it by `starts`.
                check!((*run.region.page(slice)).kind() != Kind::Large, "an inner slice has no page of its own");
            }
            if self.heap.is_null() {
                heap::mark_plain(&run, class);
            } else {
                (*page).set_heap(self.heap);
            }
            (*page).flags |= IN_QUEUE;
            self.theap.hold(page);
        }
        stats::add(Counter::Pages, 1);
        page
    }

    /// Makes an adopted page this thread's.
    unsafe fn adopt(&mut self, page: *mut Page) {
        stats::add(Counter::Reclaims, 1);
        // SAFETY: R4: held by this thread since it took it from the list.
        unsafe {
            (*page).wake = 0;
            (*page).flags = (*page).flags & !(FULL | RESTED) | IN_QUEUE;
            let list = exchange::adopt(page, self.token());
            self.count(-(heap::block_bytes_of(page, list.count) as i64));
            (*page).put_list(list);
            self.theap.hold(page);
        }
    }

    /// Takes a page without room out of its queue. It goes without an owner if others free blocks of its class.
    unsafe fn retire_full(&mut self, page: *mut Page) {
        // SAFETY: the caller is inside the gate, and the queue links the page.
        unsafe {
            let index = usize::from((*page).class);
            self.theap.queues[index].unlink(page);
            (*page).flags &= !IN_QUEUE;
            (*page).mark_full();
            if !(self.sees_remote(index) && self.let_go(page)) {
                self.link_full(page);
            }
        }
    }

    /// Whether other threads have sent blocks of a class home to this one. A first-class heap keeps its pages all the same: it finds
    /// them by its records when it goes.
    fn sees_remote(&self, class: usize) -> bool {
        self.heap.is_null() && self.theap.remote_classes[class / 64] >> (class % 64) & 1 == 1
    }

    /// Leaves a page that is in no queue without an owner; false, and still this thread's, if something is on its way to it.
    unsafe fn let_go(&mut self, page: *mut Page) -> bool {
        // SAFETY: the caller is inside the gate, and the page is this thread's.
        unsafe {
            if !exchange::let_go(page) {
                return false;
            }
            self.theap.hold_no_more(page);
            (*page).flags &= !FULL;
            let bytes = DEFAULT.settle(page);
            self.count(-(bytes as i64));
        }
        true
    }

    /// Lets go of the full pages that are meant. A first-class heap keeps its own: it finds them by its records (F2).
    unsafe fn let_go_full(&mut self, is_meant: impl Fn(*mut Page) -> bool) {
        let mut page = if self.heap.is_null() { self.theap.full } else { null_mut() };
        // Bound: the full pages there are.
        while !page.is_null() {
            // SAFETY: the caller is inside the gate, and the list holds this thread's pages.
            unsafe {
                let next = (*page).next;
                if is_meant(page) {
                    self.unlink_full(page);
                    if !self.let_go(page) {
                        self.link_full(page);
                    }
                }
                page = next;
            }
        }
    }

    unsafe fn link_full(&mut self, page: *mut Page) {
        let mut queue = Queue { first: self.theap.full, last: null_mut() };
        // SAFETY: the list of full pages is this thread's; a page in it has neighbours as in a queue.
        unsafe { queue.push_front(page) };
        self.theap.full = queue.first;
    }

    unsafe fn unlink_full(&mut self, page: *mut Page) {
        let mut queue = Queue { first: self.theap.full, last: null_mut() };
        // SAFETY: the page is in the list of full pages.
        unsafe { queue.unlink(page) };
        self.theap.full = queue.first;
    }

    /// Puts a block of a page of this thread home.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate, the page is this thread's, and the block one of its handed-out blocks.
    #[inline]
    pub(crate) unsafe fn put_home(&mut self, page: *mut Page, block: *mut Block) {
        // SAFETY: the caller's duty.
        unsafe {
            self.count(-i64::from((*page).block_bytes));
            if (*page).put(block) {
                self.wake(page);
            }
        }
    }

    /// Looks at a page of this thread whose `used` fell to `wake` (P5).
    #[cold]
    unsafe fn wake(&mut self, page: *mut Page) {
        // SAFETY: the caller is inside the gate, and the page is this thread's.
        unsafe {
            if (*page).kind() == Kind::Starter {
                if (*page).used == 0 {
                    (*page).start_anew();
                }
                return;
            }
            let index = usize::from((*page).class);
            if (*page).has(FULL) {
                self.unlink_full(page);
                (*page).flags = (*page).flags & !FULL | IN_QUEUE;
                (*page).wake = 0;
                self.theap.queues[index].push_back(page);
            }
            if (*page).used == 0 {
                let queue = &self.theap.queues[index];
                // The only page of its class stays for the next request; the scavenger takes it if none comes.
                if queue.first != page || queue.last != page {
                    self.release_empty(page);
                } else if (*page).holes == 0 {
                    (*page).start_anew();
                }
            }
        }
    }

    unsafe fn release_empty(&mut self, page: *mut Page) {
        // SAFETY: the caller is inside the gate; the page is this thread's, empty, and in its queue.
        unsafe {
            check!((*page).remote.state() == State::Owned, "an empty page has nothing on its way");
            self.theap.queues[usize::from((*page).class)].unlink(page);
            self.theap.hold_no_more(page);
            (*page).flags &= !IN_QUEUE;
            heap::release(page);
        }
    }

    /// Takes home what other threads have sent.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate.
    pub(crate) unsafe fn drain_inbox(&mut self) {
        let mut page = self.inbox.take();
        // Bound: the pages that were in the inbox.
        while !page.is_null() {
            // SAFETY: taken from the inbox; the link is read before the page can be posted again.
            let next = unsafe { next_of(page) };
            // SAFETY: R3: the page is posted and out of the inbox: the owner's.
            unsafe { self.collect(page) };
            page = next;
        }
    }

    /// Takes home what was sent to one page.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate and has taken the page out of its inbox.
    pub(crate) unsafe fn collect(&mut self, page: *mut Page) {
        // SAFETY: the caller has taken the page out of this thread's inbox.
        unsafe {
            if (*page).has(ORPHAN) {
                self.adopt_orphan(page);
                return;
            }
            let class = usize::from((*page).class);
            let list = (*page).remote.take(State::Owned);
            self.count(-(heap::block_bytes_of(page, list.count) as i64));
            if (*page).put_list(list) {
                self.wake(page);
            }
            if self.heap.is_null() && !self.sees_remote(class) {
                self.theap.remote_classes[class / 64] |= 1 << (class % 64);
                // Those that filled up before that was known; once for each class in a thread's life.
                self.let_go_full(|page| usize::from((*page).class) == class);
            }
        }
    }

    /// A page of the record's last thread, which was on its way into the inbox when that ended.
    unsafe fn adopt_orphan(&mut self, page: *mut Page) {
        // SAFETY: the page is posted, out of the inbox, and in no queue: this thread's.
        unsafe {
            let list = (*page).remote.take(State::Held);
            let mut bytes = heap::block_bytes_of(page, list.count);
            (*page).put_list(list);
            (*page).flags &= !(ORPHAN | FULL | IN_QUEUE);
            exchange::disown(page);
            bytes += DEFAULT.settle(page);
            // Not the record's heap's, if it has one now.
            self.counts.allocated(-(bytes as i64));
        }
    }

    /// Of pages that were taken out of the inbox of a heap's record, settles those that its last heap left when it was deleted. The
    /// others are to be emptied by the caller.
    ///
    /// # Safety
    /// - The caller is inside this record's gate.
    pub(crate) unsafe fn settle_orphans(&mut self, mut page: *mut Page) {
        // Bound: the pages that were in the inbox.
        while !page.is_null() {
            // SAFETY: out of the inbox, the page is the owner's; the link is read before it can be posted again.
            unsafe {
                let next = next_of(page);
                if (*page).has(ORPHAN) {
                    self.adopt_orphan(page);
                }
                page = next;
            }
        }
    }

    /// Blocks from the slice that all classes share at first; none if it has no room left.
    unsafe fn carve_starter(&mut self, class: SizeClass, count: u32) -> Refill {
        // SAFETY: the caller is inside the gate; the starter page is this thread's (T5).
        unsafe {
            if self.theap.starter.is_null() && !self.begin_starter() {
                return NO_BLOCKS;
            }
            let page = self.theap.starter;
            let bytes = class.block_bytes();
            // Blocks are as aligned as their size says, for requests of such alignments come to this class.
            let align = 1 << bytes.trailing_zeros();
            let at = ((*page).carved.get() as usize * 16).next_multiple_of(align);
            let count = count.min(((STARTER_TABLE_AT.saturating_sub(at)) / bytes) as u32);
            if count == 0 {
                return NO_BLOCKS;
            }
            let end = at + count as usize * bytes;
            let table = (*page).start.add(STARTER_TABLE_AT);
            // Where no block starts although one might, a walker finds class 0: before the first, and behind the last.
            let carved = (*page).carved.get() as usize;
            table.add(carved).write_bytes(0, at / 16 - carved);
            if !end.is_multiple_of(16) {
                table.add(end / 16).write(0);
            }
            for i in 0..count as usize {
                let block = at + i * bytes;
                *table.add(block / 16) = class.index() as u8;
                let next = if i + 1 == count as usize { null_mut() } else { (*page).start.add(block + bytes).cast() };
                Block::set_next((*page).start.add(block).cast(), next);
            }
            (*page).carved.set(end.div_ceil(16) as u32);
            // The blocks, and the table behind all of them.
            (*page).touch((end + SLICE_BYTES - STARTER_TABLE_AT) as u32);
            (*page).used += count;
            Refill { first: (*page).start.add(at).cast(), count, is_fresh: false }
        }
    }

    unsafe fn begin_starter(&mut self) -> bool {
        let Some(run) = region::take(1, 1) else { return false };
        let fresh = run.touch(0, 1);
        let page = run.page();
        // SAFETY: S1: the slice and its descriptor are this thread's.
        unsafe {
            let reserved = (SLICE_BYTES / STARTER_UNIT_BYTES) as u32;
            (*page).begin(run.start(), SizeClass::SPECIAL, self.token(), reserved);
            (*page).set_kind(Kind::Starter);
            (*page).begin_touched(fresh);
        }
        stats::add(Counter::Pages, 1);
        self.count(SLICE_BYTES as i64);
        self.theap.starter = page;
        true
    }

    /// Gives up all pages: the thread ends, or a forked child takes over for it. The inbox is closed and drained by the caller,
    /// the stacks are flushed.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate.
    pub(crate) unsafe fn abandon_pages(&mut self) {
        // SAFETY: the caller's duty: all pages of queues and lists are this thread's.
        unsafe {
            for class in 1..CLASS_COUNT {
                while !self.theap.queues[class].first.is_null() {
                    let page = self.theap.queues[class].first;
                    self.theap.queues[class].unlink(page);
                    self.abandon(page);
                }
            }
            while !self.theap.full.is_null() {
                let page = self.theap.full;
                self.unlink_full(page);
                self.abandon(page);
            }
            if !self.theap.starter.is_null() {
                let page = self.theap.starter;
                self.count(-(SLICE_BYTES as i64));
                self.count_freed(SLICE_BYTES as u64);
                self.abandon(page);
            }
        }
        self.theap = Theap::new();
    }

    unsafe fn abandon(&mut self, page: *mut Page) {
        // SAFETY: the page is this thread's and out of its queue.
        unsafe {
            (*page).flags &= !(IN_QUEUE | FULL);
            if (*page).used == 0 {
                heap::release(page);
                return;
            }
            if !self.heap.is_null() {
                // The heap is deleted: its blocks are the default heap's from now on.
                (*page).set_heap(null_mut());
                heap::mark_plain(&heap::run_of(page), (*page).class());
            }
            if !self.let_go(page) {
                // A push is about to put it into the inbox: who finds it there, or finds the inbox closed, settles it (R3). The
                // record's next thread must not take it for its own meanwhile.
                (*page).flags |= ORPHAN;
                exchange::orphan(page, self.token());
            }
        }
    }

    /// Visits all pages of queues and of the list of full ones; `visit` may give the page back.
    ///
    /// # Safety
    /// - The caller is inside this record's gate.
    pub(crate) unsafe fn for_each_page(&mut self, mut visit: impl FnMut(*mut Page)) {
        let firsts = self.theap.queues.iter().map(|queue| queue.first).chain(core::iter::once(self.theap.full));
        for first in firsts {
            let mut page = first;
            // Bound: the pages of the queue.
            while !page.is_null() {
                // SAFETY: T4: the caller holds the pages.
                let next = unsafe { (*page).next };
                visit(page);
                page = next;
            }
        }
    }

    /// Forgets queues and limits: the pages are gone.
    pub(crate) fn clear_theap(&mut self) {
        self.theap = Theap::new();
    }

    /// Frees all blocks of all pages; pages and limits stay.
    ///
    /// # Safety
    /// - The caller is inside this record's gate, and nobody uses a block of its pages, or is about to free one.
    pub(crate) unsafe fn clear_pages(&mut self) {
        // SAFETY: the caller's duty: the pages are this record's alone.
        unsafe {
            let posted = self.inbox.take();
            self.settle_orphans(posted);
            self.for_each_page(|page| {
                crate::holes::forget(page);
                (*page).used.set(0);
                (*page).wake = 0;
                (*page).start_anew();
                (*page).flags = (*page).flags & !FULL | IN_QUEUE;
                (*page).remote.reset(State::Owned);
            });
            while !self.theap.full.is_null() {
                let page = self.theap.full;
                self.unlink_full(page);
                self.theap.queues[usize::from((*page).class)].push_back(page);
            }
        }
        self.stacks.top = [null_mut(); CLASS_COUNT];
        self.stacks.room = self.theap.limits;
        self.stacks.line.clear();
    }

    /// Puts all that lies on stacks and in the inbox home.
    ///
    /// # Safety
    /// - The caller is inside this record's gate, and nobody uses its stacks.
    pub(crate) unsafe fn settle_all(&mut self) {
        // SAFETY: the caller's duty.
        unsafe {
            self.flush_stacks();
            self.ring.end();
            self.drain_inbox();
        }
    }

    /// Gives back what this thread's pages hold and nobody uses: empty pages whole, of others the OS pages that hold no block.
    /// Stops early when the owner waits at the gate. Returns bytes.
    ///
    /// # Safety
    /// - The caller is inside this thread's gate, by right or by claim.
    pub(crate) unsafe fn trim(&mut self) -> u64 {
        let mut bytes = 0;
        // SAFETY: the caller's duty.
        unsafe {
            self.come_to_rest();
            for class in 1..CLASS_COUNT {
                if !self.trim_queue(class, |_| true, &mut bytes) {
                    return bytes;
                }
            }
            self.let_go_full(|_| true);
            self.release_empty_starter();
        }
        bytes
    }

    /// As [`Thread::trim`], for a thread that works: of pages alone that nobody has taken blocks of since the look before, and full ones
    /// stay, whose blocks it frees at less cost. True if it came to an end; the next look goes on where the owner waited.
    ///
    /// # Safety
    /// - As for [`Thread::trim`].
    pub(crate) unsafe fn trim_rested(&mut self) -> bool {
        // SAFETY: the caller's duty, and T4: the pages are this thread's.
        unsafe {
            self.come_to_rest();
            for class in usize::from(self.trimmed_to).max(1)..CLASS_COUNT {
                if !self.trim_queue(class, |page| (*page).note_rest(), &mut 0) {
                    self.trimmed_to = class as u8;
                    return false;
                }
            }
        }
        self.trimmed_to = 0;
        true
    }

    /// Sends away what is on its way to others, takes home what others sent, and keeps no run warm.
    unsafe fn come_to_rest(&mut self) {
        // SAFETY: the caller is inside the gate.
        unsafe {
            self.ring.end();
            self.drain_inbox();
            self.drop_warm();
        }
    }

    /// Trims the pages of a queue that are meant, and adds to `bytes`; false if the owner waits at the gate.
    unsafe fn trim_queue(&mut self, class: usize, is_meant: impl Fn(*mut Page) -> bool, bytes: &mut u64) -> bool {
        let mut page = self.theap.queues[class].first;
        // Bound: the queue's length.
        while !page.is_null() {
            // SAFETY: T4: the caller is inside the gate.
            unsafe {
                let next = (*page).next;
                if is_meant(page) {
                    if (*page).used == 0 {
                        self.release_empty(page);
                    } else {
                        *bytes += crate::holes::purge(page);
                    }
                }
                if self.gate.is_wanted() {
                    return false;
                }
                page = next;
            }
        }
        true
    }

    unsafe fn release_empty_starter(&mut self) {
        // SAFETY: the caller is inside the gate; the starter page is this thread's (T5).
        unsafe {
            if !self.theap.starter.is_null() && (*self.theap.starter).used == 0 {
                heap::release(core::mem::replace(&mut self.theap.starter, null_mut()));
                self.count(-(SLICE_BYTES as i64));
                self.count_freed(SLICE_BYTES as u64);
            }
        }
    }

    /// Gives empty pages back and lets go of all others: those with room for other threads to take, full ones for whoever frees in them.
    /// Those that blocks are on their way to stay, and so does the starter slice, of which nobody else could make use.
    ///
    /// # Safety
    /// - The caller is this thread, inside its gate.
    pub(crate) unsafe fn leave_pages(&mut self) {
        // SAFETY: the caller's duty: all pages of queues are this thread's.
        unsafe {
            for class in 1..CLASS_COUNT {
                let mut page = self.theap.queues[class].first;
                // Bound: the queue's length: what stays goes in front.
                while !page.is_null() {
                    let next = (*page).next;
                    if (*page).used == 0 {
                        self.release_empty(page);
                    } else {
                        self.theap.queues[class].unlink(page);
                        (*page).flags &= !IN_QUEUE;
                        if !self.let_go(page) {
                            (*page).flags |= IN_QUEUE;
                            self.theap.queues[class].push_front(page);
                        }
                    }
                    page = next;
                }
            }
            self.let_go_full(|_| true);
            self.release_empty_starter();
        }
    }
}
