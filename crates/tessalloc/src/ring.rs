//! The ring of a thread: blocks of other threads' pages, gathered by page, so that a batch goes home with one atomic.
//!
//! A batch notes where its blocks lie and leaves them untouched: they are linked when it goes out. A page whose blocks come home
//! all in one batch is carved anew, lowest address first, so that threads that hand blocks on in order keep that order; without it,
//! lists that are cut and joined at other places each time end in disorder, and each block costs a miss.
//! Source: benches `handoff/64B/2t`, 2026-11: 11.9 ns with batches of linked blocks, of 256 at most.
//!
//! | field     | unit   | always true                                                                            |
//! |-----------|--------|----------------------------------------------------------------------------------------|
//! | `batches` | blocks | B1 `count` < `limit` ≤ [`BATCH_BLOCKS_MAX`]; so many places are noted, of blocks of the page  |
//! | `pending` | bytes  | B2 of all batches together, small blocks counted as 64; at most [`BYTES_MAX`] stay behind |
//! | `sent`, `sent_bytes` | batches, bytes | written by the holder, read by all (Relaxed)                              |

use core::marker::PhantomPinned;
use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange;
use crate::heap;
use crate::page::{Page, PageLinks};
use crate::region::{self, Run, SLICE_BYTES};
use crate::remote::{Links, List};
use crate::stats;
use crate::sync::{AtomicU64, Ordering};

const BATCH_COUNT: usize = 16;
/// A batch of so many blocks goes out, and one of so many bytes: a whole page of one slice.
const BATCH_BLOCKS_MAX: usize = 1536;
const BATCH_BYTES_MAX: u32 = SLICE_BYTES as u32;
const BYTES_MAX: u32 = 256 << 10;

/// Where the blocks of batches lie in their pages, in units of 8 bytes. The first line of each batch comes first, then the second
/// of each: small batches together touch little.
struct Places([[[u16; LINE]; BATCH_COUNT]; BATCH_BLOCKS_MAX / LINE]);
const LINE: usize = 32;

impl Places {
    #[inline(always)]
    fn of(&mut self, batch: usize, index: usize) -> &mut u16 {
        &mut self.0[index / LINE][batch][index % LINE]
    }
}

#[derive(Clone, Copy)]
struct Batch {
    page: *mut Page,
    start: *mut u8,
    count: u32,
    limit: u32,
}

const NO_BATCH: Batch = Batch { page: null_mut(), start: null_mut(), count: 0, limit: 0 };

/// Open batches, in a slice of their own.
struct Open {
    batches: [Batch; BATCH_COUNT],
    places: Places,
}
const _: () = assert!(size_of::<Open>() <= SLICE_BYTES);

/// Remote frees of a thread that are on their way.
pub(crate) struct Ring {
    /// Taken with the first batch, given back when the thread rests; null when there is none.
    open: *mut Open,
    pending: u32,
    /// Batches sent since the thread began, and the bytes of their blocks.
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    /// As in a record: others read the figures at any time.
    _shared: PhantomPinned,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self {
            open: null_mut(),
            pending: 0,
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            _shared: PhantomPinned,
        }
    }

    /// There are no batches any more.
    pub(crate) fn forget(&mut self) {
        self.open = null_mut();
        self.pending = 0;
    }

    /// Descriptors of neighbouring pages fall into neighbouring places.
    #[inline(always)]
    fn place_of(page: *mut Page) -> usize {
        let slice = page.addr() / size_of::<Page>();
        (slice ^ slice >> 4) % BATCH_COUNT
    }

    /// Adds a block to its page's open batch, if there is one and it has room for more: then nothing of the page is read.
    ///
    /// # Safety
    /// - The caller holds the ring (its thread's gate), and freed the block, which is one of `page`.
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) -> bool {
        let place = Self::place_of(page);
        // SAFETY: null, or the ring's own slice.
        let Some(open) = (unsafe { self.open.as_mut() }) else { return false };
        let batch = &mut open.batches[place];
        let count = batch.count + 1;
        if batch.page != page || count >= batch.limit || self.pending >= BYTES_MAX {
            return false;
        }
        *open.places.of(place, batch.count as usize) = PageLinks(batch.start).distance(block);
        batch.count = count;
        self.pending += Self::weight(block_bytes);
        true
    }

    #[inline(always)]
    fn weight(block_bytes: u32) -> u32 {
        block_bytes.max(64)
    }

    /// Whether a batch of the page is open.
    pub(crate) fn has(&self, page: *mut Page) -> bool {
        // SAFETY: null, or the ring's own slice.
        unsafe { self.open.as_ref() }.is_some_and(|open| open.batches[Self::place_of(page)].page == page)
    }

    /// Adds a block, and sends what is due: its batch if it is full, all if too much is pending. A batch in its place goes out.
    ///
    /// # Safety
    /// - As for [`Ring::add`].
    pub(crate) unsafe fn add_and_send(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) {
        let place = Self::place_of(page);
        // SAFETY: the caller's duty; the page stands: a block of it is handed out (P4).
        unsafe {
            if self.open.is_null() && !self.begin() {
                // Memory is out: the block goes home alone.
                self.count_sent((*page).block_bytes, 1);
                let at = PageLinks((*page).start).distance(block);
                send_home(page, List { head: at, tail: at, count: 1 });
                return;
            }
            if !self.has(page) {
                self.send(place);
                let limit = (BATCH_BYTES_MAX / block_bytes).clamp(1, BATCH_BLOCKS_MAX as u32);
                (*self.open).batches[place] = Batch { page, start: (*page).start, count: 0, limit };
            }
            let open = &mut *self.open;
            let batch = &mut open.batches[place];
            *open.places.of(place, batch.count as usize) = PageLinks(batch.start).distance(block);
            batch.count += 1;
            self.pending += Self::weight(block_bytes);
            if batch.count >= batch.limit {
                self.send(place);
            }
            if self.pending >= BYTES_MAX {
                self.flush();
            }
        }
    }

    fn begin(&mut self) -> bool {
        let Some(run) = region::take_ordinary(1, 1) else { return false };
        run.touch(0, 1);
        self.open = run.start().cast();
        // SAFETY: S1: the slice is the ring's, and large enough. Places are written before they are read (B1).
        unsafe { (*self.open).batches = [NO_BATCH; BATCH_COUNT] };
        true
    }

    /// Sends every batch home, and gives up what the ring needs for itself.
    ///
    /// # Safety
    /// - The caller holds the ring.
    pub(crate) unsafe fn end(&mut self) {
        // SAFETY: the caller's duty.
        unsafe { self.flush() };
        let open = core::mem::replace(&mut self.open, null_mut());
        if let Some((region, slice)) = region::find(open.addr()) {
            Run { region, slice, count: 1 }.give();
        }
    }

    /// Whether enough is pending to be worth sending at a refill.
    pub(crate) fn is_worth_flushing(&self) -> bool {
        self.pending >= 4096
    }

    /// Sends every batch home.
    ///
    /// # Safety
    /// - The caller holds the ring.
    pub(crate) unsafe fn flush(&mut self) {
        if self.open.is_null() {
            return;
        }
        for place in 0..BATCH_COUNT {
            // SAFETY: the caller's duty.
            unsafe { self.send(place) };
        }
        self.pending = 0;
    }

    fn count_sent(&self, block_bytes: u32, count: u32) {
        stats::bump(&self.sent, 1);
        stats::bump(&self.sent_bytes, u64::from(block_bytes) * u64::from(count));
    }

    /// Batches sent since the thread began, and the bytes of their blocks; from any thread.
    pub(crate) fn sent(&self) -> (u64, u64) {
        // ORDER: Relaxed: figures.
        (self.sent.load(Ordering::Relaxed), self.sent_bytes.load(Ordering::Relaxed))
    }

    /// The same, and counts from 0 again: the thread ends.
    pub(crate) fn take_sent(&mut self) -> (u64, u64) {
        // ORDER: Relaxed: figures.
        (self.sent.swap(0, Ordering::Relaxed), self.sent_bytes.swap(0, Ordering::Relaxed))
    }

    /// Checks B1 and B2. Returns whether the ring has a slice.
    ///
    /// # Safety
    /// - The caller holds the ring.
    #[cfg(tessalloc_check)]
    pub(crate) unsafe fn check_all(&mut self) -> bool {
        // SAFETY: null, or the ring's own slice.
        let Some(open) = (unsafe { self.open.as_mut() }) else {
            assert_eq!(self.pending, 0, "B2: what is pending is in a batch");
            return false;
        };
        let mut pending = 0;
        for (place, batch) in open.batches.into_iter().enumerate().filter(|(_, batch)| !batch.page.is_null()) {
            // SAFETY: a block of the page is on its way, so it stands (P4).
            let (used, bytes) = unsafe { ((*batch.page).used.get(), (*batch.page).block_bytes) };
            assert!(batch.count < batch.limit && batch.limit as usize <= BATCH_BLOCKS_MAX, "B1: a full batch goes out");
            assert!(batch.count > 0 && batch.count <= used, "B1: what is on its way is handed out");
            for index in 0..batch.count as usize {
                let at = usize::from(*open.places.of(place, index)) * 8;
                assert!(at.is_multiple_of((bytes as usize).max(8)), "B1: what is on its way are blocks of the page");
            }
            pending += Self::weight(bytes) * batch.count;
        }
        assert!(
            self.pending >= pending && self.pending < BYTES_MAX + 2 * BATCH_BYTES_MAX,
            "B2: what is pending is counted"
        );
        true
    }

    /// Sends the batch at a place home, if there is one.
    ///
    /// # Safety
    /// - The caller holds the ring, which is open.
    unsafe fn send(&mut self, place: usize) {
        // SAFETY: the ring's own slice.
        let open = unsafe { &mut *self.open };
        let batch = core::mem::replace(&mut open.batches[place], NO_BATCH);
        if !batch.page.is_null() {
            // SAFETY: B1; the caller holds the ring, so the batch is out of it for good.
            unsafe {
                self.count_sent((*batch.page).block_bytes, batch.count);
                let weight = Self::weight((*batch.page).block_bytes) * batch.count;
                self.pending = self.pending.saturating_sub(weight);
                let places = &mut open.places;
                let head = *places.of(place, 0);
                let mut tail = head;
                // Where all of a page comes home at once nobody follows the links.
                if batch.count == (*batch.page).reserved {
                    tail = *places.of(place, batch.count as usize - 1);
                } else {
                    let links = PageLinks(batch.start);
                    for index in 1..batch.count as usize {
                        let next = *places.of(place, index);
                        links.link(tail, next);
                        tail = next;
                    }
                }
                send_home(batch.page, List { head, tail, count: batch.count as u16 });
            }
        }
    }
}

/// Leaves blocks with their page and sees to it that somebody finds them.
///
/// # Safety
/// - The blocks are of `page`, linked from head to tail, freed by the caller, and nobody else's.
pub(crate) unsafe fn send_home(page: *mut Page, list: List) {
    // SAFETY: the caller's duty: the page has blocks that are handed out, so it stands (P4) and its start with it.
    unsafe {
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
