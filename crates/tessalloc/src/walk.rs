//! Walking: the pages and blocks of the process, found by the regions' words and looked at one page at a time.
//!
//! | kind of run         | is held for the look by                                                    |
//! |---------------------|----------------------------------------------------------------------------|
//! | owned page          | its owner's gate: by right, or by claim                                    |
//! | ownerless page      | its remote word: claimed, and left again                                   |
//! | page that waits     | its remote word: popped from its list, and pushed again after the last one |
//! | large run           | nobody: only atomic words are read                                         |
//! | places at an offset, or of samples | the lock of [`crate::offset`]                               |
//!
//! - K1 One walk runs at a time ([`WALK`]), and no visitor walks. The lock comes before all others, and a fork does not take it: a
//!   visitor may take its time. The child lets it go if its holder is not there. Fork handlers walk if nobody else does.
//! - K2 While a visitor runs, the walk holds no gate and no lock but [`WALK`]: what it tells was noted before.
//! - K3 `seen` of a page is the number of the last walk that looked at it: each is told once a walk. A page that changes hands
//!   at the wrong moment, or whose owner is busy, is left out and comes in a later round.

use core::ptr::null_mut;

use crate::block::Block;
use crate::exchange::{self, OWNER_ENDED};
use crate::first_class::{self, BlockInfo};
use crate::fork;
use crate::heap::DEFAULT;
use crate::heaps::HeapId;
use crate::holes::{self, BLOCKS_MAX, for_each_one};
use crate::offset;
use crate::os;
use crate::page::{Kind, Page, PageLinks};
use crate::region::{self, Region, SLICE_BYTES};
use crate::remote::List;
use crate::report;
use crate::size_class::{BLOCK_BYTES, CLASS_COUNT};
use crate::stats::{self, Counter};
use crate::sync::{AtomicU32, AtomicUsize, Guard, Lock, Ordering, barrier_heavy, holds_all, pause};
use crate::theap::STARTER_TABLE_AT;
use crate::thread::{self, Thread};
use crate::threads::ThreadId;

/// Which pages are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// Those of the whole process: of the default heap and of all others.
    All,
    /// Those of one heap.
    Heap(HeapId),
    /// Those that a thread owns, of any heap: in them lie the small blocks that it allocated, until it gives a page up.
    Thread(ThreadId),
    /// Those without a thread, of any heap: [`PageOwner::Abandoned`] and [`PageOwner::Ownerless`].
    WithoutThread,
}

/// Who allocates from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOwner {
    /// A thread.
    Thread(ThreadId),
    /// Nobody now: its thread has given it up or ended, it has room, and the next thread that comes takes it.
    Abandoned,
    /// Nobody: a page that was full when its thread gave it up, until enough of it has been freed; a large block; blocks at an
    /// offset; the page that threads share after their end.
    Ownerless,
}

/// A run of equal blocks, a thread's first blocks, or one large block, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageInfo {
    /// Its first byte.
    pub address: *mut u8,
    /// Unit: bytes. Address space; what was never used is not resident.
    pub bytes: usize,
    /// Unit: bytes. 0: a thread's first small blocks, of mixed sizes.
    pub block_bytes: usize,
    /// Blocks handed out: in use, on threads' stacks, or gathered to be sent home.
    pub used: usize,
    /// Blocks made so far, free ones too.
    pub capacity: usize,
    /// Blocks that fit; for mixed sizes those made so far.
    pub reserved: usize,
    /// Who allocates from it.
    pub owner: PageOwner,
    /// Whose blocks these are.
    pub heap: HeapId,
}

/// How a walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a walk may have left out pages of busy threads"]
pub struct Walked {
    /// Whether the visitor always returned true. False, too, in a fork handler while another thread walks: then nothing is told.
    pub to_the_end: bool,
    /// Pages that were left out, because their threads were inside the allocator each time, or the system has no way to keep a thread
    /// out for a moment (Linux before 4.14, systems other than Linux): then those of all other threads.
    pub skipped_pages: usize,
}

/// Visits pages; ends when `visit` returns false. From any thread, while others allocate and free.
///
/// Exact for each page at the moment when it is looked at; pages are looked at one after the other. `visit` may allocate and free,
/// and make and end heaps; it must not walk, which is reported and ends the process. Another thread's walk waits meanwhile.
/// Cost: some ns for each page, 2 µs for one of another thread.
///
/// ```
/// use tessalloc::{Which, visit_pages};
/// # let block = tessalloc::raw::malloc(100_000);
/// let mut bytes = 0;
/// let walked = visit_pages(Which::All, |page| {
///     bytes += page.used * page.block_bytes;
///     true
/// });
/// assert!(walked.to_the_end && bytes > 0);
/// # unsafe { tessalloc::raw::free(block) };
/// ```
pub fn visit_pages(which: Which, mut visit: impl FnMut(&PageInfo) -> bool) -> Walked {
    walk(which, How { stands_still: false, tells_blocks: false }, &mut |page, _| visit(page))
}

/// Visits blocks, page by page; ends when `visit` returns false. From any thread, while others allocate and free.
///
/// A snapshot of each page, one after the other: told once is each block that is in use from the walk's start to its end, unless its
/// page was skipped. Told may be, too, blocks that lie free on other threads' stacks or are on their way home (at most
/// `TESSALLOC_THREAD_CACHE` and 256 KiB a thread), or that were allocated or freed meanwhile: when `visit` is told of a block, the block
/// may be gone already. `visit` may do what [`visit_pages`] says.
/// Cost: as for [`visit_pages`], and some ns for each block.
pub fn visit_blocks(which: Which, mut visit: impl FnMut(&PageInfo, BlockInfo) -> bool) -> Walked {
    walk(which, How { stands_still: false, tells_blocks: true }, &mut |page, block| {
        block.is_none_or(|block| visit(page, block))
    })
}

/// As [`visit_blocks`], of a process that stands still: exactly the blocks in use are told, with the bytes that may be used; nothing
/// that lies on any thread's stacks or is on its way home. Those go home first, so that threads begin again with empty stacks.
///
/// Blocks that `visit` itself allocates or frees may be told or not; all others are told exactly.
///
/// # Safety
/// - From the call to the return no other thread allocates, frees or resizes a block, by any way, nor begins or ends, as the
///   program sees to by an ordering of its own (locks, joins, a barrier): all that was done before happens before the call, and what
///   is done later happens after the return.
pub unsafe fn visit_blocks_exactly(which: Which, mut visit: impl FnMut(&PageInfo, BlockInfo) -> bool) -> Walked {
    walk(which, How { stands_still: true, tells_blocks: true }, &mut |page, block| {
        block.is_none_or(|block| visit(page, block))
    })
}

/// Rounds after which pages that could not be looked at are left out.
const ROUNDS_MAX: usize = 8;
/// How often a busy thread is asked in each, a millisecond apart.
const TRIES: usize = 3;
/// How often [`TRIES`] are made for a thread that ends: about a second.
const SETTLE_ATTEMPTS: usize = 300;

static WALK: Lock = Lock::new();
/// Whose the lock is; 0: nobody's.
static WALKER: AtomicUsize = AtomicUsize::new(0);
/// Number of the last walk. 0 is none: `seen` of fresh descriptors.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// In a forked child: a walk of another thread is gone.
pub(crate) fn reset_in_child() {
    // ORDER: Relaxed: the child has one thread.
    if WALKER.load(Ordering::Relaxed) != os::thread_id() {
        WALKER.store(0, Ordering::Relaxed);
        WALK.reset_in_child();
    }
}

#[derive(Clone, Copy)]
struct How {
    /// By [`visit_blocks_exactly`]'s duty.
    stands_still: bool,
    tells_blocks: bool,
}

type Visitor<'v> = &'v mut dyn FnMut(&PageInfo, Option<BlockInfo>) -> bool;

fn walk(which: Which, how: How, visit: Visitor<'_>) -> Walked {
    let Some(walking) = Walking::begin() else { return Walked { to_the_end: false, skipped_pages: 0 } };
    let own = thread::current_if_started().unwrap_or(null_mut());
    let mut walk =
        Walk { which, how, visit, own, number: walking.number, goes_on: true, skipped: 0, noted: Noted::new() };
    // Before anything is told: what a thread at its end holds would be told as in use.
    let unsettled = if how.stands_still { walk.settle_all() } else { 0 };
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            pause(1);
        }
        walk.skipped = 0;
        walk.visit_waiting();
        walk.scan();
        if !walk.goes_on || walk.skipped == 0 {
            break;
        }
    }
    Walked { to_the_end: walk.goes_on, skipped_pages: walk.skipped + unsettled }
}

/// The right to walk (K1).
struct Walking {
    number: u32,
    _guard: Guard<'static>,
}

impl Walking {
    /// `None` where this thread forks and another one walks, which may want what this one holds.
    fn begin() -> Option<Self> {
        let id = os::thread_id();
        // ORDER: Relaxed, here and below: it is this thread's id only if this thread wrote it.
        if WALKER.load(Ordering::Relaxed) == id {
            report::misused_visit("begin a walk inside of one");
        }
        let guard = if holds_all() { WALK.try_lock()? } else { WALK.lock() };
        WALKER.store(id, Ordering::Relaxed);
        // ORDER: Relaxed: under the lock. After 2³² walks a page that none of them met might be taken for seen: not for 0.
        let number = NUMBER.load(Ordering::Relaxed).wrapping_add(1).max(1);
        NUMBER.store(number, Ordering::Relaxed);
        Some(Self { number, _guard: guard })
    }
}

impl Drop for Walking {
    fn drop(&mut self) {
        // ORDER: Relaxed: as in `begin`.
        WALKER.store(0, Ordering::Relaxed);
    }
}

/// What was found at one page, to be told when it is let go (K2).
struct Noted {
    info: PageInfo,
    kind: Kind,
    /// Blocks in use, by index; of a starter slice by 8 bytes.
    used: [u64; BLOCKS_MAX / 64],
    /// Of a starter slice: the class of the block that begins in each 16 bytes.
    classes: [u8; STARTER_TABLE_AT / 16],
}

impl Noted {
    fn new() -> Self {
        let info = PageInfo {
            address: null_mut(),
            bytes: 0,
            block_bytes: 0,
            used: 0,
            capacity: 0,
            reserved: 0,
            owner: PageOwner::Ownerless,
            heap: HeapId::DEFAULT,
        };
        Self { info, kind: Kind::Free, used: [0; BLOCKS_MAX / 64], classes: [0; STARTER_TABLE_AT / 16] }
    }

    /// Notes a page of small blocks.
    ///
    /// # Safety
    /// - The caller holds the page.
    unsafe fn note(&mut self, page: *mut Page, owner: PageOwner, with_blocks: bool) {
        // SAFETY: the caller's duty.
        unsafe {
            self.kind = (*page).kind();
            let coming = (*page).remote.peek();
            self.info = PageInfo {
                address: (*page).start,
                bytes: crate::heap::run_of(page).count * SLICE_BYTES,
                block_bytes: (*page).block_bytes as usize,
                used: ((*page).used.get() - u32::from(coming.count)) as usize,
                capacity: (*page).carved.get() as usize,
                reserved: (*page).reserved as usize,
                owner,
                heap: first_class::heap_id(page),
            };
            if self.kind == Kind::Starter {
                self.note_starter(page, coming);
            } else if with_blocks {
                self.used = holes::used_bits(page);
                self.take_out(page, coming, (*page).block_bytes as usize);
            }
        }
    }

    /// A starter slice: its blocks lie one behind the other, each as long as its class says.
    unsafe fn note_starter(&mut self, page: *mut Page, coming: List) {
        // SAFETY: the caller holds the page; P3 for the free list.
        unsafe {
            self.used.fill(0);
            (*page).start.add(STARTER_TABLE_AT).copy_to_nonoverlapping(self.classes.as_mut_ptr(), self.classes.len());
            let (mut at, end) = (0, (*page).carved.get() as usize * 16);
            let mut made = 0;
            // Bound: each turn goes 8 bytes on at least.
            while at < end {
                match usize::from(self.classes[at / 16]) {
                    0 => at = (at + 1).next_multiple_of(16),
                    class => {
                        self.used[at / 8 / 64] |= 1 << (at / 8 % 64);
                        made += 1;
                        at += BLOCK_BYTES[class % CLASS_COUNT] as usize;
                    }
                }
            }
            let mut free = (*page).free;
            while !free.is_null() {
                self.clear((free.addr() - (*page).start.addr()) / 8);
                free = Block::next(free);
            }
            self.take_out(page, coming, 8);
            (self.info.capacity, self.info.reserved) = (made, made);
        }
    }

    /// Takes out what others have sent home.
    unsafe fn take_out(&mut self, page: *mut Page, coming: List, unit: usize) {
        // SAFETY: the caller holds the page: nobody takes its list, and links of listed blocks stay.
        unsafe {
            // Where all of a page comes home at once nobody has written links.
            if (*page).used == u32::from(coming.count) {
                return self.used.fill(0);
            }
            let links = PageLinks((*page).start);
            let mut block = links.block(coming.head);
            for left in (0..coming.count).rev() {
                self.clear((block.addr() - (*page).start.addr()) / unit);
                if left > 0 {
                    block = Block::next(block);
                }
            }
        }
    }

    fn clear(&mut self, index: usize) {
        self.used[index / 64] &= !(1 << (index % 64));
    }

    /// Tells what was noted; false if the visitor has enough.
    fn tell(&self, tells_blocks: bool, visit: &mut dyn FnMut(&PageInfo, Option<BlockInfo>) -> bool) -> bool {
        let info = &self.info;
        if !tells_blocks {
            return visit(info, None);
        }
        let mut tell =
            |at: usize, bytes| visit(info, Some(BlockInfo { address: info.address.wrapping_add(at), bytes }));
        match self.kind {
            Kind::Large => tell(0, info.block_bytes),
            Kind::Starter => for_each_one(&self.used, |index| {
                let class = usize::from(self.classes[index / 2]) % CLASS_COUNT;
                tell(index * 8, BLOCK_BYTES[class] as usize)
            }),
            _ => for_each_one(&self.used, |index| tell(index * info.block_bytes, info.block_bytes)),
        }
    }
}

/// A walk on its way.
struct Walk<'v> {
    which: Which,
    how: How,
    visit: Visitor<'v>,
    /// The calling thread's record, or null.
    own: *mut Thread,
    number: u32,
    goes_on: bool,
    skipped: usize,
    noted: Noted,
}

impl Walk<'_> {
    /// Puts home what lies on stacks, in rings and in inboxes. Returns how many records could not be entered, of threads that end at
    /// this moment, in many attempts.
    fn settle_all(&self) -> usize {
        let mut unsettled = 0;
        for record in thread::all().chain(thread::all_of_heaps()) {
            // SAFETY: L2; by the duty of `visit_blocks_exactly` nobody uses its stacks, and the gate keeps the rest out.
            unsafe {
                let is_done = (0..SETTLE_ATTEMPTS).any(|_| {
                    !(*record).is_live()
                        || self.go_in(record).is_some_and(|_inside| {
                            if (*record).is_live() {
                                (*record).settle_all();
                            }
                            true
                        })
                });
                unsettled += usize::from(!is_done);
            }
        }
        thread::with_shared(|shared| {
            shared.gate.enter();
            // SAFETY: the lock excludes all others from the shared record.
            unsafe { shared.settle_all() };
            shared.gate.leave();
        });
        unsettled
    }

    /// Pages that wait for an owner.
    fn visit_waiting(&mut self) {
        if matches!(self.which, Which::Thread(_)) || matches!(self.which, Which::Heap(id) if id != HeapId::DEFAULT) {
            return;
        }
        DEFAULT.visit_waiting(|page| {
            if self.goes_on && self.is_new(page) {
                // SAFETY: R4: held by this thread since it was popped.
                unsafe { self.noted.note(page, PageOwner::Abandoned, self.how.tells_blocks) };
                self.tell(page);
            }
            true
        });
    }

    /// All runs there are.
    fn scan(&mut self) {
        for region in region::all() {
            for chunk in 0..region.frontier() {
                let mut starts = region.starts_in(chunk);
                while starts != 0 && self.goes_on {
                    let slice = (chunk * region::CHUNK_SLICES + starts.trailing_zeros()) as usize;
                    starts &= starts - 1;
                    self.look_at(region, slice);
                }
            }
        }
    }

    fn look_at(&mut self, region: &'static Region, slice: usize) {
        let page = region.page(slice);
        // SAFETY: S3: a descriptor below the frontier, of which atomic fields are read until the page is held.
        unsafe {
            if !self.is_new(page) || matches!(self.which, Which::Heap(id) if id != first_class::heap_id(page)) {
                return;
            }
            match (*page).kind() {
                // ORDER: Relaxed: asked again when the page is held.
                Kind::Small | Kind::Starter => match (*page).owner.load(Ordering::Relaxed) {
                    0 => self.look_at_ownerless(page),
                    owner => self.look_at_owned(page, owner),
                },
                Kind::Large => self.look_at_large(page, region.slice_start(slice)),
                Kind::Offset | Kind::Sampled | Kind::Guarded => self.look_at_places(page),
                Kind::Free | Kind::Warm => {}
            }
        }
    }

    unsafe fn look_at_ownerless(&mut self, page: *mut Page) {
        if matches!(self.which, Which::Thread(_)) {
            return;
        }
        // SAFETY: a descriptor; what is claimed was an ownerless page, and is this thread's until it is left.
        unsafe {
            if !(*page).remote.claim() {
                // On its way from hand to hand, or into a list.
                self.skipped += 1;
                return;
            }
            self.noted.note(page, PageOwner::Ownerless, self.how.tells_blocks);
            if !exchange::leave_again(page) {
                stats::sub(Counter::AllocatedBytes, DEFAULT.settle(page));
            }
        }
        self.tell(page);
    }

    unsafe fn look_at_owned(&mut self, page: *mut Page, owner: usize) {
        let record: *mut Thread = core::ptr::with_exposed_provenance_mut(owner & !OWNER_ENDED);
        // SAFETY: L2: owner words lead to records. What the gate's owner owns is this thread's while it is inside.
        unsafe {
            let holder = holder_of(page, record);
            if matches!(self.which, Which::Thread(id) if holder != PageOwner::Thread(id))
                || self.which == Which::WithoutThread && matches!(holder, PageOwner::Thread(_))
            {
                return;
            }
            let Some(inside) = self.go_in(record) else {
                self.skipped += 1;
                return;
            };
            // ORDER: Relaxed: the gate's Acquire made it visible, for a page that this record owns.
            if (*page).owner.load(Ordering::Relaxed) != owner || !matches!((*page).kind(), Kind::Small | Kind::Starter)
            {
                self.skipped += usize::from((*page).kind() != Kind::Free);
                return;
            }
            if owner & OWNER_ENDED != 0 {
                // Of the record's last thread, on its way into the inbox: who finds it there leaves it to others.
                if (*record).is_live() {
                    (*record).drain_inbox();
                }
                self.skipped += 1;
                return;
            }
            self.noted.note(page, holder_of(page, record), self.how.tells_blocks);
            drop(inside);
        }
        self.tell(page);
    }

    unsafe fn look_at_large(&mut self, page: *mut Page, start: *mut u8) {
        // SAFETY: atomic fields; right for a block that stays (N1).
        let (bytes, heap) = unsafe { (crate::large::usable_bytes(page), first_class::heap_id(page)) };
        self.note_one(start, bytes, heap);
        self.tell(page);
    }

    unsafe fn look_at_places(&mut self, page: *mut Page) {
        {
            let _guard = offset::lock().lock();
            // SAFETY: under the lock all pages of places are this thread's (O1).
            unsafe {
                if !matches!((*page).kind(), Kind::Offset | Kind::Sampled | Kind::Guarded) || (*page).used == 0 {
                    return;
                }
                let record = (*page).sample();
                if !record.is_null() {
                    self.note_one((*record).block, (*record).size, first_class::heap_id(page));
                } else if (*page).block_bytes == 0 {
                    self.note_one((*page).start, (*page).reserved as usize * SLICE_BYTES, first_class::heap_id(page));
                } else {
                    self.noted.kind = Kind::Offset;
                    self.noted.used = holes::used_bits(page);
                    self.noted.info = PageInfo {
                        address: (*page).start,
                        bytes: (*page).slice_count() * SLICE_BYTES,
                        block_bytes: (*page).block_bytes as usize,
                        used: (*page).used.get() as usize,
                        capacity: (*page).carved.get() as usize,
                        reserved: (*page).reserved as usize,
                        owner: PageOwner::Ownerless,
                        heap: first_class::heap_id(page),
                    };
                }
            }
        }
        self.tell(page);
    }

    fn note_one(&mut self, address: *mut u8, bytes: usize, heap: HeapId) {
        self.noted.kind = Kind::Large;
        self.noted.info = PageInfo {
            address,
            bytes,
            block_bytes: bytes,
            used: 1,
            capacity: 1,
            reserved: 1,
            owner: PageOwner::Ownerless,
            heap,
        };
    }

    /// Whether the page was not looked at in this walk.
    fn is_new(&self, page: *mut Page) -> bool {
        // SAFETY: a descriptor, of which an atomic field is read. ORDER: Relaxed: written by walks only (K1).
        unsafe { (*page).seen.load(Ordering::Relaxed) != self.number }
    }

    /// Tells of a page that was let go, if it is wanted.
    fn tell(&mut self, page: *mut Page) {
        // SAFETY: as in `is_new`. ORDER: as there.
        unsafe { (*page).seen.store(self.number, Ordering::Relaxed) };
        let info = &self.noted.info;
        let is_wanted = match self.which {
            Which::All => true,
            Which::Heap(id) => info.heap == id,
            Which::Thread(id) => info.owner == PageOwner::Thread(id),
            Which::WithoutThread => !matches!(info.owner, PageOwner::Thread(_)),
        };
        if is_wanted {
            self.goes_on = self.noted.tell(self.how.tells_blocks, self.visit);
        }
    }

    /// Goes into a record's gate; `None` if its thread is inside each time.
    fn go_in(&self, record: *mut Thread) -> Option<Inside> {
        // SAFETY: L2.
        let gate = unsafe { &(*record).gate };
        if thread::is_of(record, self.own) {
            gate.enter();
            return Some(Inside { record, way: Way::Right });
        }
        // SAFETY: L2.
        if unsafe { fork::keeps(record) } {
            return Some(Inside { record, way: Way::Fork });
        }
        // Who is inside while this thread forks may wait for what it holds.
        let tries = if holds_all() { 1 } else { TRIES };
        for attempt in 0..tries {
            if attempt > 0 {
                pause(1);
            }
            if gate.try_claim() {
                return Some(Inside { record, way: Way::Claim });
            }
        }
        // Without a barrier nobody can be kept out; who stands still is.
        if self.how.stands_still && !barrier_heavy() {
            gate.exclude();
            return Some(Inside { record, way: Way::Claim });
        }
        None
    }
}

/// Inside a record's gate until dropped.
struct Inside {
    record: *mut Thread,
    way: Way,
}

enum Way {
    /// The record is this thread's.
    Right,
    Claim,
    /// This thread forks, and has been inside for longer.
    Fork,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // SAFETY: L2.
        let gate = unsafe { &(*self.record).gate };
        match self.way {
            Way::Right => gate.leave(),
            Way::Claim => gate.unclaim(),
            Way::Fork => {}
        }
    }
}

/// Who allocates from a page with a record in its owner word.
///
/// # Safety
/// - A descriptor and a record.
unsafe fn holder_of(page: *mut Page, record: *mut Thread) -> PageOwner {
    // SAFETY: L2: atomic fields.
    unsafe {
        if (*page).heap().is_null() {
            return ThreadId::of(record).map_or(PageOwner::Ownerless, PageOwner::Thread);
        }
        // ORDER: Relaxed: who leases it at this moment, or does not.
        let lessee: *mut Thread = core::ptr::with_exposed_provenance_mut((*record).lessee.load(Ordering::Relaxed));
        let thread = if lessee.is_null() { None } else { ThreadId::of(lessee) };
        thread.map_or(PageOwner::Abandoned, PageOwner::Thread)
    }
}
