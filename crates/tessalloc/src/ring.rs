//! The ring of a thread: blocks of other threads' pages, gathered by page, so that a batch goes home with one atomic.
//!
//! | field     | unit   | always true                                                       |
//! |-----------|--------|-------------------------------------------------------------------|
//! | `batches` | –      | B1 a batch's blocks are all of its page and linked from head to tail |
//! | `pending` | bytes  | B2 of all batches together; at most [`BYTES_MAX`] stay behind       |
//! | `frees`   | blocks | B3 since the last flush; at most [`FREES_MAX`] stay behind          |

use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange;
use crate::heap;
use crate::page::{Page, PageLinks};
use crate::remote::List;

const BATCH_COUNT: usize = 16;
/// A batch of so many goes out.
const BLOCKS_MAX: u32 = 256;
const BYTES_MAX: u32 = 64 << 10;
const FREES_MAX: u32 = 1024;

#[derive(Clone, Copy)]
struct Batch {
    page: *mut Page,
    head: *mut Block,
    tail: *mut Block,
    count: u32,
}

const NO_BATCH: Batch = Batch { page: null_mut(), head: null_mut(), tail: null_mut(), count: 0 };

/// Open batches of remote frees.
pub(crate) struct Ring {
    batches: [Batch; BATCH_COUNT],
    pending: u32,
    frees: u32,
    /// Batches sent since the thread began.
    pub(crate) sent: u64,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self { batches: [NO_BATCH; BATCH_COUNT], pending: 0, frees: 0, sent: 0 }
    }

    /// Descriptors of neighbouring pages fall into neighbouring places.
    fn place_of(page: *mut Page) -> usize {
        let slice = page.addr() / size_of::<Page>();
        (slice ^ slice >> 4) % BATCH_COUNT
    }

    /// Adds a block to its page's open batch. False if there is none: then nothing of the page was read.
    ///
    /// # Safety
    /// - The caller holds the ring (its thread's gate), and freed the block, which is one of `page`.
    #[inline]
    pub(crate) unsafe fn add(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) -> bool {
        let batch = &mut self.batches[Self::place_of(page)];
        if batch.page != page {
            return false;
        }
        // SAFETY: B1: the head is a block that this thread freed, as is the new one.
        unsafe { Block::set_next(block, batch.head) };
        batch.head = block;
        batch.count += 1;
        self.pending += block_bytes;
        self.frees += 1;
        if batch.count >= BLOCKS_MAX {
            // SAFETY: the caller's duty.
            unsafe { self.send(Self::place_of(page)) };
        } else if self.pending > BYTES_MAX || self.frees > FREES_MAX {
            // SAFETY: the caller's duty.
            unsafe { self.flush() };
        }
        true
    }

    /// Opens a batch for a page with its first block; the one in its place goes out.
    ///
    /// # Safety
    /// - As for [`Ring::add`], and `add` has just returned false.
    pub(crate) unsafe fn open(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) {
        let place = Self::place_of(page);
        // SAFETY: the caller's duty.
        unsafe { self.send(place) };
        self.batches[place] = Batch { page, head: block, tail: block, count: 1 };
        self.pending += block_bytes;
        self.frees += 1;
        if self.pending > BYTES_MAX || self.frees > FREES_MAX {
            // SAFETY: the caller's duty.
            unsafe { self.flush() };
        }
    }

    /// Whether enough is pending to be worth sending at a refill.
    pub(crate) fn is_worth_flushing(&self) -> bool {
        self.frees >= 64
    }

    /// Sends every batch home.
    ///
    /// # Safety
    /// - The caller holds the ring.
    pub(crate) unsafe fn flush(&mut self) {
        for place in 0..BATCH_COUNT {
            // SAFETY: the caller's duty.
            unsafe { self.send(place) };
        }
        self.pending = 0;
        self.frees = 0;
    }

    unsafe fn send(&mut self, place: usize) {
        let batch = core::mem::replace(&mut self.batches[place], NO_BATCH);
        if !batch.page.is_null() {
            self.sent += 1;
            // SAFETY: B1; the caller holds the ring, so the batch is out of it for good.
            unsafe {
                let bytes = (*batch.page).block_bytes * batch.count;
                self.pending = self.pending.saturating_sub(bytes);
                send_home(batch.page, batch.head, batch.tail, batch.count);
            }
        }
    }
}

/// Leaves blocks with their page and sees to it that somebody finds them.
///
/// # Safety
/// - The blocks are of `page`, linked from head to tail, freed by the caller, and nobody else's.
pub(crate) unsafe fn send_home(page: *mut Page, head: *mut Block, tail: *mut Block, count: u32) {
    // SAFETY: the caller's duty: the page has blocks that are handed out, so it stands (P4) and its start with it.
    unsafe {
        let links = PageLinks((*page).start);
        let list = List { head: links.distance(head), tail: links.distance(tail), count: count as u16 };
        if let Some(home) = exchange::send(page, list) {
            let bytes = heap::block_bytes_of(page, home.count);
            (*page).put_list(home);
            settle_foreign(page, bytes);
        }
    }
}

/// Settles a page that this thread holds but never owned.
unsafe fn settle_foreign(page: *mut Page, came_home: u64) {
    // SAFETY: R4: held by the caller, in no queue.
    unsafe {
        (*page).flags &= !(crate::page::FULL | crate::page::IN_QUEUE | crate::page::ORPHAN);
        exchange::disown(page);
        let bytes = came_home + heap::DEFAULT.settle(page);
        crate::stats::sub(crate::stats::Counter::AllocatedBytes, bytes);
    }
}
