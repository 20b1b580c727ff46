//! A thread's record: its stacks, gate, theap, ring, warm runs and inbox.
//!
//! | field    | touched by                    | always true                                              |
//! |----------|-------------------------------|----------------------------------------------------------|
//! | `stacks` | the thread                    | T1–T3                                                    |
//! | `gate`   | see [`crate::gate`]           | G1–G3                                                    |
//! | `theap`, `ring`, `warm`, `counts` | who is inside the gate (`counts` is read by all) | T4–T6, B1–B3   |
//! | `inbox`  | any                           | I1, I2; closed exactly while no thread has the record      |
//! | `life`   | starter, the thread's end      | L1 a record with `LIVE` belongs to one thread, whose inbox is open |
//!
//! L2 Records are never unmapped and never move: an address in an owner word stays one of a record for good.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomPinned;
use core::ptr::null_mut;

use crate::block::Block;
use crate::deferred::Beats;
use crate::exchange::OWNER_ENDED;
use crate::first_class::{self, Core};
use crate::gate::Gate;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::options::{self, Opt};
use crate::os;
use crate::page::PageLinks;
use crate::page::{Kind, Page};
use crate::region::{self, Region};
use crate::remote::List;
use crate::report::{self, check};
use crate::ring::{Ring, send_home};
use crate::sample::{self, Sampler, guarded};
use crate::size_class::{BLOCK_BYTES, CLASS_COUNT, ONE_SLICE_BYTES_MAX, SizeClass};
use crate::stats::{self, Counter, Counts};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Lock, Ordering, tls};
use crate::theap::{EMPTY, ENDED, STARTER_TABLE_AT, Stacks, Theap};
use crate::track;

/// A thread reports what it allocated and freed in steps of so many bytes.
const REPORT_BYTES: i64 = 256 << 10;

/// All that the allocator keeps for one thread.
#[repr(C, align(128))]
pub(crate) struct Thread {
    pub(crate) stacks: Stacks,
    pub(crate) gate: Gate,
    pub(crate) counts: Counts,
    pub(crate) ring: Ring,
    pub(crate) theap: Theap,
    pub(crate) warm: crate::large::Warm,
    /// How often the exit hook has put itself off.
    exit_round: u32,
    /// Of a thread that works: the tick of the last look at its pages ([`crate::rounds`]), and the class where that left off.
    pub(crate) looked_at: u32,
    pub(crate) trimmed_to: u8,
    /// Slow paths at the scavenger's last look, and for how many looks there were hardly any.
    pub(crate) seen_slow: u64,
    pub(crate) quiet_ticks: u32,
    /// The forking thread has claimed the gate.
    pub(crate) parked: bool,
    /// The first-class heap whose record this is; null: a thread's own.
    pub(crate) heap: *mut Core,
    /// Of a heap's record: the token of the thread that has it; 0: none.
    pub(crate) lessee: AtomicUsize,
    pub(crate) next_in_heap: *mut Thread,
    pub(crate) next_lease: *mut Thread,
    pub(crate) previous_lease: *mut Thread,
    /// Of a thread's own record: the heaps' records that it has, and those that it had.
    pub(crate) leases: *mut Thread,
    pub(crate) spares: *mut Thread,
    /// Of a thread's own record: touched by the thread alone.
    pub(crate) beats: Beats,
    /// Of a thread's own record: the thread's number ([`crate::ThreadId`]); 0: none has it.
    pub(crate) id: AtomicU64,
    /// Whether there may be any: for the thread alone.
    pub(crate) has_leased: bool,
    life: Life,
    next: AtomicPtr<Thread>,
    pub(crate) inbox: Inbox<Page>,
    /// Of a thread's own record.
    pub(crate) sampler: Sampler,
    /// Other threads use the gate, the inbox and the figures at any time: a `&mut Thread` must not promise that they don't.
    _shared: PhantomPinned,
}

const _: () = assert!(core::mem::offset_of!(Thread, stacks) == 0);

/// Every record ever made, newest first.
static ALL: AtomicPtr<Thread> = AtomicPtr::new(null_mut());
/// The same of first-class heaps.
static ALL_OF_HEAPS: AtomicPtr<Thread> = AtomicPtr::new(null_mut());
static RECORDS: Lock = Lock::new();
/// Memory for records, handed out from one mapping at a time.
static RECORD_SPACE: RecordSpace = RecordSpace(UnsafeCell::new((null_mut(), 0)));
static STARTED: AtomicBool = AtomicBool::new(false);
/// The record of threads that have none: those that have ended, or for which there was no memory.
static SHARED: SharedRecord = SharedRecord(UnsafeCell::new(Thread::new()));
static SHARED_LOCK: Lock = Lock::new();

struct RecordSpace(UnsafeCell<(*mut u8, usize)>);
// SAFETY: touched under `RECORDS` only.
unsafe impl Sync for RecordSpace {}
struct SharedRecord(UnsafeCell<Thread>);
// SAFETY: touched under `SHARED_LOCK` only, except for the parts that are made for any thread (inbox, gate, counts).
unsafe impl Sync for SharedRecord {}

/// Bytes mapped for records at a time.
const RECORD_SPACE_BYTES: usize = 64 << 10;

impl Thread {
    const fn new() -> Self {
        Self {
            stacks: Stacks::new(),
            gate: Gate::new(),
            counts: Counts::new(),
            ring: Ring::new(),
            theap: Theap::new(),
            warm: crate::large::Warm::new(),
            exit_round: 0,
            looked_at: 0,
            trimmed_to: 0,
            seen_slow: 0,
            quiet_ticks: 0,
            parked: false,
            heap: null_mut(),
            lessee: AtomicUsize::new(0),
            next_in_heap: null_mut(),
            next_lease: null_mut(),
            previous_lease: null_mut(),
            leases: null_mut(),
            spares: null_mut(),
            beats: Beats::new(),
            id: AtomicU64::new(0),
            has_leased: false,
            life: Life::new(),
            next: AtomicPtr::new(null_mut()),
            inbox: Inbox::new(),
            sampler: Sampler::new(),
            _shared: PhantomPinned,
        }
    }

    /// What owner words hold.
    pub(crate) fn token(&self) -> usize {
        (&raw const *self).expose_provenance()
    }

    /// The record's next life begins.
    pub(crate) fn begin(&mut self) {
        self.theap.begin();
        self.sampler = Sampler::new();
        self.inbox.open();
        self.life.begin();
    }

    /// The life of a heap's record ends: it holds nothing any more, and its inbox is closed.
    ///
    /// # Safety
    /// - The caller is inside the gate.
    pub(crate) unsafe fn rest(&mut self) {
        self.heap = null_mut();
        self.report_all();
        self.life.end();
    }

    /// Hands the record's figures to the process's. True if memory came free.
    fn report_all(&mut self) -> bool {
        self.counts.end(self.ring.take_sent())
    }

    pub(crate) fn is_live(&self) -> bool {
        self.life.is_live()
    }

    /// After a slow path, outside the gate: reports figures when they have grown, and sees to what can go back.
    #[inline(always)]
    pub(crate) fn after_slow(&self) {
        let unreported = self.counts.unreported();
        if !(-REPORT_BYTES..=REPORT_BYTES).contains(&unreported) {
            self.report();
        }
    }

    #[cold]
    #[inline(never)]
    fn report(&self) {
        self.gate.enter();
        let freed = self.counts.report();
        self.gate.leave();
        // The shared record's lock is held: a background thread's start may allocate, and so may want that lock.
        if !core::ptr::eq(self, SHARED.0.get()) {
            crate::scavenger::look(freed);
            report::catch_up();
        }
    }

    /// Counts a slow path.
    #[inline(always)]
    fn count_slow(&self) {
        // ORDER: Relaxed: one writer.
        self.counts.slow.store(self.counts.slow.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A block of a class, from the stack if it has one; null if memory is out.
    ///
    /// # Safety
    /// - This is the calling thread's record, or the caller excludes all others from it.
    pub(crate) unsafe fn alloc(&mut self, class: SizeClass, zeroed: bool) -> *mut u8 {
        let stacks = &raw mut self.stacks;
        let block = crate::raw::pop_or_take(stacks, class);
        // SAFETY: the caller's duty; the block is the caller's.
        unsafe {
            if block.is_null() {
                return self.alloc_slow(class, zeroed);
            }
            if zeroed {
                block.write_bytes(0, class.block_bytes());
            }
        }
        block
    }

    unsafe fn alloc_slow(&mut self, class: SizeClass, zeroed: bool) -> *mut u8 {
        /// From this size on, memory known to be zero is not cleared again: it is made one block at a time.
        const FRESH_BYTES_MIN: usize = 1024;
        let alone = zeroed && class.block_bytes() >= FRESH_BYTES_MIN;
        crate::fork::notice_raw_fork();
        self.count_slow();
        self.gate.enter();
        // SAFETY: inside the gate, on the record's own thread.
        let refill = unsafe { self.refill(class, alone) };
        self.gate.leave();
        if refill.first.is_null() {
            return null_mut();
        }
        let block = refill.first;
        // SAFETY: T1: the refill's blocks are this thread's, and the stack is empty.
        unsafe {
            check!(self.stacks.top[class.index()].is_null(), "a stack is refilled when it is empty");
            if refill.count > 1 {
                self.stacks.top[class.index()] = Block::next(block);
                self.stacks.room[class.index()] -= refill.count as i32 - 1;
            }
            track::out_of(class, block.cast());
            if zeroed {
                let dirty = if refill.is_fresh { size_of::<Block>() } else { class.block_bytes() };
                block.cast::<u8>().write_bytes(0, dirty);
                track::zero_of(class, block.cast());
            }
        }
        self.after_slow();
        block.cast()
    }

    /// Frees a block of another thread's page into an open batch; false if there is none, or it goes out now.
    ///
    /// # Safety
    /// - This is the calling thread's record; `block` is a handed-out block of `page`, freed by the caller.
    #[inline(always)]
    unsafe fn free_into_batch(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) -> bool {
        self.count_slow();
        self.gate.enter();
        // SAFETY: inside the gate; the caller's duty.
        let is_added = unsafe { self.ring.add(page, block, block_bytes) };
        self.gate.leave();
        is_added
    }

    /// Frees a block of a small page for which neither the stack nor a batch has room.
    ///
    /// # Safety
    /// - As for [`Thread::free_into_batch`].
    #[inline(never)]
    unsafe fn free_home(&mut self, page: *mut Page, block: *mut Block, block_bytes: u32) {
        self.gate.enter();
        // SAFETY: inside the gate; the page stands while one of its blocks is out (P4).
        unsafe {
            // ORDER: Relaxed: if it is this thread's token, this thread wrote it; any other value means "not mine".
            if !self.ring.has(page) && (*page).owner.load(Ordering::Relaxed) == self.token() {
                self.count_freed(u64::from((*page).block_bytes));
                self.put_home(page, block);
            } else {
                self.ring.add_and_send(page, block, block_bytes);
            }
        }
        self.gate.leave();
        self.after_slow();
    }

    /// In a forked child, of a thread that is not there and was not parked: the copy of what it held may be torn, so nobody
    /// enters its gate or takes the record again.
    pub(crate) fn forsake(&self) {
        if self.is_live() {
            self.life.wind_up();
            // ORDER: Relaxed: the child has one thread.
            self.id.store(0, Ordering::Relaxed);
        }
    }

    /// Forgets what lies on the stacks.
    pub(crate) fn empty_stacks(&mut self) {
        self.stacks.top = [null_mut(); CLASS_COUNT];
        self.stacks.room = [0; CLASS_COUNT];
        self.stacks.line.clear();
    }

    /// In a forked child, of a thread that is not there: what its stacks hold can't be told and is lost.
    pub(crate) fn forget_stacks(&mut self) {
        self.empty_stacks();
    }

    /// Sends the blocks of all stacks home.
    ///
    /// # Safety
    /// - The caller is the record's thread, or its heir, inside the gate.
    pub(crate) unsafe fn flush_stacks(&mut self) {
        self.theap.reset_limits();
        // SAFETY: the caller's duty.
        unsafe { self.put_line_home() };
        for class in 1..CLASS_COUNT {
            let mut block = core::mem::replace(&mut self.stacks.top[class], null_mut());
            self.stacks.room[class] = 0;
            // Bound: a stack's length.
            while !block.is_null() {
                // SAFETY: T1; the caller is the record's thread, inside the gate.
                unsafe {
                    let next = Block::next(block);
                    let page = page_of(block.cast());
                    // ORDER: Relaxed: as in `free_home`.
                    if (*page).owner.load(Ordering::Relaxed) == self.token() {
                        self.count_freed(u64::from((*page).block_bytes));
                        self.put_home(page, block);
                    } else {
                        self.ring.add_and_send(page, block, (*page).block_bytes);
                    }
                    block = next;
                }
            }
        }
    }
}

/// The descriptor of the page that holds a block.
///
/// # Safety
/// - `block` is a handed-out block of ours.
pub(crate) unsafe fn page_of(block: *mut u8) -> *mut Page {
    match region::find(block.addr()).and_then(|(region, slice)| region.page_at(slice)) {
        Some(page) => page,
        None => report::corrupted("a block lies in no run", block.addr()),
    }
}

/// All records of threads; those that are not live are empty.
pub(crate) fn all() -> impl Iterator<Item = *mut Thread> {
    all_in(&ALL)
}

/// All records of first-class heaps; those that are not live are empty.
pub(crate) fn all_of_heaps() -> impl Iterator<Item = *mut Thread> {
    all_in(&ALL_OF_HEAPS)
}

fn all_in(list: &AtomicPtr<Thread>) -> impl Iterator<Item = *mut Thread> {
    // ORDER: Acquire pairs with the Release in `make_record`.
    let mut at = list.load(Ordering::Acquire);
    core::iter::from_fn(move || {
        let thread = at;
        if thread.is_null() {
            return None;
        }
        // SAFETY: L2. ORDER: Relaxed: set before the record was published.
        at = unsafe { (*thread).next.load(Ordering::Relaxed) };
        Some(thread)
    })
}

/// The record that stacks belong to; `None` for those of a thread that has not begun or has ended.
#[inline(always)]
pub(crate) fn current_if_record(stacks: *mut Stacks) -> Option<*mut Thread> {
    let is_none = stacks.cast_const() == &raw const EMPTY || stacks.cast_const() == &raw const ENDED;
    if is_none { None } else { Some(stacks.cast()) }
}

/// This thread's record, started if need be; `None` for a thread that has ended, or when there is no memory for one.
pub(crate) fn current(stacks: *mut Stacks) -> Option<*mut Thread> {
    if stacks.cast_const() == &raw const EMPTY {
        start()
    } else if stacks.cast_const() == &raw const ENDED {
        None
    } else {
        Some(stacks.cast())
    }
}

/// The calling thread's record if it has one.
pub(crate) fn current_if_started() -> Option<*mut Thread> {
    current_if_record(tls::get())
}

/// Runs `act` on the record that threads without one share.
#[cold]
pub(crate) fn with_shared<T>(act: impl FnOnce(&mut Thread) -> T) -> T {
    let _guard = SHARED_LOCK.lock();
    // SAFETY: under the lock nobody else has the record.
    act(unsafe { &mut *SHARED.0.get() })
}

/// Whether a record is a thread's own, or one that it has of a heap. Asked by the thread itself, or where leases stand still.
pub(crate) fn is_of(record: *mut Thread, own: *mut Thread) -> bool {
    // SAFETY: L2. ORDER: Relaxed: only the thread itself writes its token, and takes it away.
    record == own || !own.is_null() && unsafe { (*record).lessee.load(Ordering::Relaxed) == (*own).token() }
}

/// The record that threads without one share: its leases, under the lock of [`first_class`].
pub(crate) fn shared() -> *mut Thread {
    SHARED.0.get()
}

#[cold]
#[inline(never)]
fn start() -> Option<*mut Thread> {
    // What these two call may allocate, and so start this thread: before the look below.
    options::load();
    if stats::value(Counter::ThreadsTotal) > 0 {
        crate::fork::start();
    }
    // A caller may still have the word from before its first call here.
    let word = tls::get();
    if word.cast_const() != &raw const EMPTY {
        return current(word);
    }
    crate::fork::notice_raw_fork();
    let thread = take_record()?;
    // SAFETY: L1: the record is this thread's from here on.
    unsafe {
        (*thread).exit_round = 0;
        (*thread).beats = Beats::new();
        stats::add(Counter::Threads, 1);
        // From here on this thread can allocate, as the calls below may.
        tls::set(&raw mut (*thread).stacks);
    }
    // By each thread: of two that begin with the process, one would find no hook to arm.
    os::exit_hook_create(thread_exit);
    start_process();
    // Without memory for it the record stays live after the thread's end: a leak, nothing worse.
    os::exit_hook_arm(thread.cast());
    report::catch_up();
    Some(thread)
}

/// What the process needs once, after its first thread can allocate.
fn start_process() {
    // ORDER: AcqRel: one thread gets false.
    if STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    // Where it fails, no gate is claimed.
    os::barrier_register();
    if Opt::Stats.is_on() {
        os::at_exit(print_stats);
    }
    sample::start_by_options();
}

extern "C" fn print_stats() {
    crate::global::print_stats();
}

/// A record for the calling thread: one that is not in use, or a new one.
fn take_record() -> Option<*mut Thread> {
    let _guard = RECORDS.lock();
    // Bound: the records there are: the most threads there ever were at once.
    // SAFETY: L2.
    let unused = all().find(|thread| unsafe { (**thread).life.is_unused() });
    let thread = unused.or_else(|| make_record(&ALL))?;
    /// Under the lock.
    static LAST_ID: AtomicU64 = AtomicU64::new(0);
    // SAFETY: L1: taken under the lock, from where on nobody else takes it. ORDER: Relaxed: a number that orders nothing.
    unsafe {
        let id = LAST_ID.load(Ordering::Relaxed) + 1;
        LAST_ID.store(id, Ordering::Relaxed);
        (*thread).id.store(id, Ordering::Relaxed);
        (*thread).begin();
    }
    Some(thread)
}

/// Memory that is never given back, for a record or what belongs to one; aligned to 128 if `bytes` is a multiple of that.
pub(crate) fn record_space(bytes: usize) -> Option<*mut u8> {
    let _guard = RECORDS.lock();
    take_space(bytes)
}

/// As [`record_space`], under [`RECORDS`].
fn take_space(bytes: usize) -> Option<*mut u8> {
    let bytes = bytes.next_multiple_of(align_of::<Thread>());
    // SAFETY: under `RECORDS`.
    let space = unsafe { &mut *RECORD_SPACE.0.get() };
    if space.1 < bytes {
        let mapped = RECORD_SPACE_BYTES.next_multiple_of(os::page_bytes());
        let at = os::reserve(mapped, os::page_bytes(), 0).ok()?;
        // SAFETY: reserved just now; released again if it can't be used.
        unsafe {
            if os::commit(at, mapped).is_err() {
                os::release(at, mapped);
                return None;
            }
            os::advise_small_pages(at, mapped);
        }
        os::name(at, mapped);
        *space = (at, mapped);
    }
    let at = space.0;
    *space = (space.0.wrapping_add(bytes), space.1 - bytes);
    stats::add(Counter::RecordBytes, bytes as u64);
    Some(at)
}

/// A new record in a list, under [`RECORDS`].
fn make_record(list: &AtomicPtr<Thread>) -> Option<*mut Thread> {
    let thread = take_space(size_of::<Thread>())?.cast::<Thread>();
    // SAFETY: fresh memory of the right size; mappings are aligned to OS pages and records are multiples of 128 bytes.
    unsafe {
        thread.write(Thread::new());
        // ORDER: Relaxed, published by the Release store; written under `RECORDS`.
        (*thread).next.store(list.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    // ORDER: Release pairs with the Acquire in `all_in`.
    list.store(thread, Ordering::Release);
    Some(thread)
}

/// A new record for a first-class heap, resting; null if memory is out.
pub(crate) fn make_record_for_heaps() -> *mut Thread {
    let _guard = RECORDS.lock();
    make_record(&ALL_OF_HEAPS).unwrap_or(null_mut())
}

/// In a child of a fork that ran no handlers, of a record of its own thread in which another thread was at that moment: what it holds
/// besides its stacks may be torn, and is left to a record that nobody has or goes into. Without memory for that it stays as it is.
///
/// # Safety
/// - The caller is the child's only thread, and outside the gate.
pub(crate) unsafe fn leave_torn(thread: *mut Thread) {
    let Some(heir) = make_record(&ALL) else { return };
    // SAFETY: L2; the caller's duty. Nobody looks at what lies in the pages: their owner word is all that is touched.
    unsafe {
        (*heir).life.wind_up();
        (*heir).gate.exclude();
        region::for_each_start(|page| {
            // ORDER: Relaxed, both: the child has one thread.
            let owner = (*page).owner.load(Ordering::Relaxed);
            if matches!((*page).kind(), Kind::Small | Kind::Starter) && owner & !OWNER_ENDED == (*thread).token() {
                (*page).owner.store((*heir).token(), Ordering::Relaxed);
            }
        });
        (*thread).inbox.open();
        (*thread).clear_theap();
        (*thread).theap.begin();
        (*thread).ring.forget();
        (*thread).warm = crate::large::Warm::new();
    }
}

/// Runs as the thread ends, in the rounds of its other destructors: the last rounds of those may still free, so it puts itself
/// off to the fourth. (ThreadSanitizer forgets a thread in that round: under it the first has to do.)
unsafe extern "C" fn thread_exit(record: *mut c_void) {
    const ROUNDS: u32 = if cfg!(tessalloc_tsan) { 1 } else { 4 };
    let thread: *mut Thread = record.cast();
    // SAFETY: L1: the hook was armed by this thread with its own record.
    unsafe {
        (*thread).exit_round += 1;
        if (*thread).exit_round < ROUNDS && os::exit_hook_arm(record) {
            return;
        }
        tls::set((&raw const ENDED).cast_mut());
        first_class::leave_all(thread);
        let freed = end(thread);
        crate::scavenger::look(freed);
        crate::scavenger::after_thread_end();
    }
}

/// Gives up all that a record holds; it is free for the next thread. True if memory came free. Starts no thread, since it
/// runs in fork handlers too.
///
/// # Safety
/// - The caller is the record's thread, after its last use of the stacks, or the only thread of a forked child.
pub(crate) unsafe fn end(thread: *mut Thread) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        let thread = &mut *thread;
        thread.gate.enter();
        thread.flush_stacks();
        thread.ring.end();
        thread.drop_warm();
        thread.drain_inbox();
        thread.abandon_pages();
        let mut page = thread.inbox.close();
        // Bound: the pages that were in the inbox.
        while !page.is_null() {
            let next = crate::inbox::next_of(page);
            thread.collect(page);
            page = next;
        }
        let freed = thread.report_all();
        thread.life.wind_up();
        // ORDER: Relaxed: a number that orders nothing.
        thread.id.store(0, Ordering::Relaxed);
        thread.gate.leave();
        stats::sub(Counter::Threads, 1);
        thread.life.end();
        freed
    }
}

/// Frees a block that the fast path can't: no room, another kind of page, another region, or no block of ours.
///
/// # Safety
/// - As for `free`: null, or a block of ours that nobody uses any more; anything else is reported if it can be told.
#[cold]
#[inline(never)]
pub(crate) unsafe fn free_slow(stacks: *mut Stacks, address: *mut u8) {
    if let Some(slice) = region::first().slice_of(address.addr()) {
        let page = region::first().page(slice);
        // The descriptor of a small page is not read: its owner may be writing it on another core.
        // ORDER: Relaxed: the caller holds a block of the slice (S4).
        let class = usize::from(region::first().kind_byte(slice).load(Ordering::Relaxed));
        // SAFETY: a descriptor of the table, of a page of one slice: of a block that the caller frees. One that begins at the
        // address and says so is a large block in use: other kinds of pages write their own, and runs that are given back say
        // that they are free.
        unsafe {
            if class != 0 {
                return free_beside_stack(stacks, page, address, BLOCK_BYTES[class]);
            } else if (*page).kind() == Kind::Large && (*page).start == address {
                return crate::large::free(stacks, page);
            } else if (*page).kind() == Kind::Small {
                return first_class::free_small(stacks, page, address.cast());
            }
        }
    }
    // SAFETY: the caller's duty.
    unsafe { free_anything(stacks, address) }
}

/// Frees a small block of the first region when the stack has no room: into a batch, or home. Apart from [`free_slow`], whose other
/// ways need no registers saved.
///
/// # Safety
/// - As for [`free_slow`], with the block's slice's page and its class's bytes.
#[cold]
#[inline(never)]
unsafe fn free_beside_stack(stacks: *mut Stacks, page: *mut Page, address: *mut u8, bytes: u32) {
    // SAFETY: the caller's duty.
    unsafe {
        if bytes as usize <= ONE_SLICE_BYTES_MAX
            && let Some(thread) = current_if_record(stacks)
        {
            track::back(address, bytes as usize);
            if !(*thread).free_into_batch(page, address.cast(), bytes) {
                (*thread).free_home(page, address.cast(), bytes);
            }
            return;
        }
        free_anything(stacks, address);
    }
}

/// Frees a block of any kind, in any region.
///
/// # Safety
/// - As for [`free_slow`].
#[inline(never)]
unsafe fn free_anything(stacks: *mut Stacks, address: *mut u8) {
    if address.is_null() {
        return;
    }
    match region::find(address.addr()) {
        // SAFETY: the caller's duty.
        Some((region, slice)) => unsafe { free_in_region(stacks, region, slice, address) },
        None => report::foreign_pointer("free", address.addr()),
    }
}

#[inline]
unsafe fn free_in_region(stacks: *mut Stacks, region: &'static Region, slice: usize, address: *mut u8) {
    // ORDER: Relaxed: the caller holds a block of the slice (S4).
    let class = region.kind_byte(slice).load(Ordering::Relaxed) as usize;
    // SAFETY: the caller's duty; see the branches.
    unsafe {
        if class != 0 {
            if !region.is_first()
                && let Some(thread) = current(stacks)
                && (*thread).stacks.room[class] > 0
            {
                // Blocks of further regions find room here.
                crate::raw::push(&raw mut (*thread).stacks, class, address);
                return;
            }
            let bytes = BLOCK_BYTES[class];
            track::back(address, bytes as usize);
            let start = if bytes as usize <= ONE_SLICE_BYTES_MAX { Some(slice) } else { region.start_of(slice) };
            let Some(start) = start else { report::foreign_pointer("free", address.addr()) };
            return free_in_page(stacks, region.page(start), address.cast(), bytes);
        }
        let Some(page) = region.page_at(slice) else { report::foreign_pointer("free", address.addr()) };
        match (*page).kind() {
            Kind::Starter => {
                track::back_whole(address);
                free_in_page(stacks, page, address.cast(), 16);
            }
            Kind::Small => first_class::free_small(stacks, page, address.cast()),
            Kind::Large if (*page).start == address => crate::large::free(stacks, page),
            Kind::Offset | Kind::Sampled => crate::offset::free(stacks, page, address),
            Kind::Guarded => guarded::free(stacks, page, address),
            Kind::Warm if (*page).start == address => report::double_free("free", address.addr()),
            _ => report::foreign_pointer("free", address.addr()),
        }
    }
}

unsafe fn free_in_page(stacks: *mut Stacks, page: *mut Page, block: *mut Block, block_bytes: u32) {
    // SAFETY: the caller's duty: the block is a handed-out one of the page.
    unsafe {
        match current(stacks) {
            Some(thread) => {
                if !(*thread).free_into_batch(page, block, block_bytes) {
                    (*thread).free_home(page, block, block_bytes);
                }
            }
            // A thread without a record sends each block home by itself.
            None => {
                Block::set_next(block, null_mut());
                let at = PageLinks((*page).start).distance(block);
                stats::add(Counter::FreedBytesTotal, u64::from((*page).block_bytes));
                send_home(page, List { head: at, tail: at, count: 1 });
            }
        }
    }
}

/// Usable bytes of a block; 0 for null.
///
/// # Safety
/// - Null, or a block of ours in use.
pub(crate) unsafe fn usable_bytes(address: *const u8, action: &str) -> usize {
    if address.is_null() {
        return 0;
    }
    track::whole(address);
    let Some((region, slice)) = region::find(address.addr()) else { report::foreign_pointer(action, address.addr()) };
    if let Some(bytes) = plain_bytes_in(region, slice, address) {
        return bytes;
    }
    let Some(page) = region.page_at(slice) else { report::foreign_pointer(action, address.addr()) };
    // SAFETY: the run stands while the caller's block is in use.
    unsafe {
        match (*page).kind() {
            Kind::Offset | Kind::Sampled => crate::offset::usable_bytes(page, address),
            Kind::Guarded => guarded::usable_bytes(page, address, action),
            Kind::Warm if (*page).start.cast_const() == address => report::double_free(action, address.addr()),
            _ => report::foreign_pointer(action, address.addr()),
        }
    }
}

/// Bytes of a block of a class, or of a large one; `None` for null and all others.
#[cfg(any(feature = "asan", feature = "valgrind"))]
pub(crate) fn plain_bytes(block: *const u8) -> Option<usize> {
    let (region, slice) = region::find(block.addr())?;
    plain_bytes_in(region, slice, block)
}

#[inline]
fn plain_bytes_in(region: &'static Region, slice: usize, block: *const u8) -> Option<usize> {
    // ORDER: Relaxed: the caller holds a block of the slice (S4).
    let class = region.kind_byte(slice).load(Ordering::Relaxed) as usize;
    if class != 0 {
        return Some(BLOCK_BYTES[class] as usize);
    }
    let page = region.page_at(slice)?;
    // SAFETY: the run stands while the caller's block is in use.
    unsafe {
        match (*page).kind() {
            Kind::Starter => {
                let table = (*page).start.add(STARTER_TABLE_AT);
                let at = block.addr() - (*page).start.addr();
                Some(BLOCK_BYTES[usize::from(*table.add(at / 16)) % CLASS_COUNT] as usize)
            }
            Kind::Small => Some((*page).block_bytes as usize),
            Kind::Large if (*page).start.cast_const() == block => Some(crate::large::usable_bytes(page)),
            _ => None,
        }
    }
}

/// What live records have not yet reported.
pub(crate) fn pending() -> stats::Pending {
    let mut pending = stats::Pending::default();
    for thread in all().chain(all_of_heaps()).chain(core::iter::once(SHARED.0.get())) {
        // SAFETY: L2; the figures are atomic.
        unsafe { pending.add(&(*thread).counts, (*thread).ring.sent()) };
    }
    pending
}

/// What the calling thread allocated and freed so far.
pub(crate) fn totals() -> stats::ThreadTotals {
    // SAFETY: the calling thread's record.
    current_if_started()
        .map_or_else(Default::default, |thread| unsafe { (*thread).counts.totals((*thread).ring.sent().1) })
}

/// The locks of this file, in their order, for a fork.
pub(crate) fn locks() -> [&'static Lock; 2] {
    [&SHARED_LOCK, &RECORDS]
}

/// Whether more than one thread has allocated so far.
pub(crate) fn is_multi_threaded() -> bool {
    stats::value(Counter::ThreadsTotal) > 1
}
