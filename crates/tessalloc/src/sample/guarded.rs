//! Guarded blocks: one of so many allocations ends at an OS page that nobody may touch, and is untouchable for a while once freed.
//! A write past the end, or a use after the free, ends the process there and then.
//!
//! ```text
//! run    | … never touched … | block [slack] | guard: an OS page without access |        a multiple of 64 KiB
//! freed  |                     nothing may be touched                           |        until 256 others were freed
//! ```
//!
//! | field of the descriptor  | meaning                                                             |
//! |--------------------------|---------------------------------------------------------------------|
//! | `used`                   | Z1 1: in use; 0: freed, in quarantine, and all of it untouchable      |
//! | `free`, with `SAMPLED`   | Z2 the block's record, exactly while it is in use                     |
//! | `next`, `previous`       | as for other runs of [`crate::offset`] while it is in use             |
//!
//! Z3 [`COUNT`] runs are in use or in quarantine, each for two mappings: never more than [`COUNT_MAX`] and those that threads are just
//!    making. Z4 Runs lie in ordinary regions only: a program's own memory keeps its protection.
//!
//! ```
//! use tessalloc::guarded;
//! guarded::start(&guarded::GuardOptions::new().rate(1000).sizes(16, 4096));
//! # guarded::stop();
//! ```

use core::cell::UnsafeCell;
use core::ptr::null_mut;

use super::Request;
use super::profile::{self, Record};
use crate::first_class::{self, Core};
use crate::heap::run_of;
use crate::large;
use crate::offset;
use crate::options::Opt;
use crate::os;
use crate::page::{Kind, Page};
use crate::region::SLICE_BYTES;
use crate::report;
use crate::stats::{self, Counter};
use crate::sync::{AtomicU64, Ordering, tls};
use crate::theap::Stacks;
use crate::thread;

/// Guarded blocks there may be, with those in quarantine.
const COUNT_MAX: u64 = 4096;
/// Freed runs that stay untouchable. (Few on the simulated system, where each call of a life is failed once.)
const QUARANTINE: usize = if cfg!(tessalloc_sim) { 4 } else { 256 };
/// What stands between a block's end and its guard.
const SLACK: u8 = 0xfd;

static COUNT: AtomicU64 = AtomicU64::new(0);
static RATE: AtomicU64 = AtomicU64::new(0);
static MIN_BYTES: AtomicU64 = AtomicU64::new(0);
static MAX_BYTES: AtomicU64 = AtomicU64::new(0);
static PRECISE: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

/// The oldest is the next to go.
struct Quarantine(UnsafeCell<([*mut Page; QUARANTINE], usize)>);
// SAFETY: touched under the lock of `offset` only.
unsafe impl Sync for Quarantine {}
static FREED: Quarantine = Quarantine(UnsafeCell::new(([null_mut(); QUARANTINE], 0)));

/// Which allocations are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardOptions {
    /// See [`GuardOptions::rate`].
    pub rate: u64,
    /// See [`GuardOptions::sizes`].
    pub min_bytes: u64,
    /// See [`GuardOptions::sizes`].
    pub max_bytes: u64,
    /// See [`GuardOptions::precise`].
    pub precise: bool,
    /// See [`GuardOptions::seed`].
    pub seed: u64,
}

impl GuardOptions {
    /// One of 4,000 allocations, of up to 1 GiB.
    pub const fn new() -> Self {
        Self { rate: 4000, min_bytes: 0, max_bytes: 1 << 30, precise: false, seed: 0 }
    }

    /// One of so many allocations whose size is in question, at random distances with this mean; 1: all of them.
    #[must_use]
    pub const fn rate(mut self, rate: u64) -> Self {
        self.rate = rate;
        self
    }

    /// The sizes in question, both ends included. Unit: bytes.
    #[must_use]
    pub const fn sizes(mut self, least: u64, most: u64) -> Self {
        self.min_bytes = least;
        self.max_bytes = most;
        self
    }

    /// Whether blocks of C's `malloc`, which are aligned to 16, end at their guard whatever their size, and so are aligned only as that
    /// is: a block of 24 bytes to 8. Else up to 15 bytes lie between, which are looked at when the block is freed. Blocks of Rust are
    /// aligned as their layout says, and their ends are where that allows.
    #[must_use]
    pub const fn precise(mut self, precise: bool) -> Self {
        self.precise = precise;
        self
    }

    /// Makes the choice the same in each run: each thread chooses by the seed and its own allocations; 0: differently each time.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Guards allocations from now on, on all threads; while it is on, each allocation and each free costs tens of nanoseconds more, and a
/// guarded one some system calls and 64 KiB of address space. Threads and heaps take part as for
/// [`profile::start`](crate::profile::start). At most 4,096 blocks are guarded at once, those freed lately among them.
pub fn start(options: &GuardOptions) {
    // ORDER: Relaxed: published by the Release in `switch`; a thread that chooses meanwhile may do so by a mixture.
    for (word, value) in [
        (&RATE, options.rate.clamp(1, 1 << 62)),
        (&MIN_BYTES, options.min_bytes),
        (&MAX_BYTES, options.max_bytes),
        (&PRECISE, options.precise.into()),
        (&SEED, options.seed),
    ] {
        word.store(value, Ordering::Relaxed);
    }
    super::switch(super::GUARD, true);
}

/// What the last start was given, or what a start is given by default.
pub fn options() -> GuardOptions {
    match value(&RATE) {
        0 => GuardOptions::new(),
        rate => GuardOptions {
            rate,
            min_bytes: value(&MIN_BYTES),
            max_bytes: value(&MAX_BYTES),
            precise: value(&PRECISE) != 0,
            seed: value(&SEED),
        },
    }
}

/// Guards no more blocks. Those in use stay guarded.
pub fn stop() {
    super::switch(super::GUARD, false);
}

/// Whether allocations are guarded.
pub fn is_on() -> bool {
    super::is(super::GUARD)
}

/// As the process starts.
pub(super) fn start_by_options() {
    let rate = Opt::GuardedSampleRate.value();
    if rate > 0 {
        let options = GuardOptions::new().rate(rate).sizes(Opt::GuardedMin.value(), Opt::GuardedMax.value());
        start(&options.precise(Opt::GuardedPrecise.is_on()).seed(Opt::GuardedSampleSeed.value()));
    }
}

fn value(word: &AtomicU64) -> u64 {
    // ORDER: Relaxed: numbers that stand alone, or were published with the switch.
    word.load(Ordering::Relaxed)
}

/// The seed that was asked for; 0: none.
pub(super) fn seed() -> u64 {
    value(&SEED)
}

/// The rate; at least 1 once it is on.
pub(super) fn rate() -> u64 {
    value(&RATE).max(1)
}

/// Whether a size is in question.
pub(super) fn takes(size: usize) -> bool {
    (value(&MIN_BYTES)..=value(&MAX_BYTES)).contains(&(size as u64))
}

/// A guarded block of a heap with this record; null if there is none to be had.
///
/// # Safety
/// - `heap` stands, or is null; the record is the caller's.
pub(super) unsafe fn alloc(heap: *mut Core, request: Request, record: *mut Record) -> *mut u8 {
    let (size, os_page) = (request.size.max(1), os::page_bytes());
    if request.align > SLICE_BYTES || value(&COUNT) >= COUNT_MAX {
        return null_mut();
    }
    let align = if request.is_c && value(&PRECISE) != 0 { 1 << size.trailing_zeros().min(4) } else { request.align };
    let slices = (size.next_multiple_of(align) + os_page).div_ceil(SLICE_BYTES);
    let bytes = slices * SLICE_BYTES;
    if !first_class::has_room_for(heap, bytes) {
        return null_mut();
    }
    let Some(run) = first_class::take_ordinary(heap, slices) else { return null_mut() };
    let guard = run.start().wrapping_add(bytes - os_page);
    // SAFETY: S1: the run is this thread's.
    if unsafe { os::protect(guard, os_page) }.is_err() {
        run.give();
        return null_mut();
    }
    // ORDER: Relaxed: a bound.
    COUNT.fetch_add(1, Ordering::Relaxed);
    let block = guard.wrapping_sub(size).map_addr(|at| at & !(align - 1));
    let (page, is_fresh) = large::begin_run(run, slices);
    // SAFETY: as above: so many bytes lie between the block and its guard.
    unsafe {
        if request.zeroed && !is_fresh {
            block.write_bytes(0, size);
        }
        block.add(size).write_bytes(SLACK, guard.addr() - block.addr() - size);
        profile::name(record, block, request.size);
        (*page).set_sample(record);
        offset::keep_run(Kind::Guarded, heap, page);
    }
    large::count(thread::current(tls::get()), bytes as i64);
    block
}

/// The record of a guarded block in use; else the program is told what it did wrong.
unsafe fn record_of(page: *mut Page, address: *const u8, action: &str) -> *mut Record {
    // SAFETY: the caller's duty: a descriptor of that kind. Z1, Z2.
    unsafe {
        if (*page).used == 0 {
            report::double_free(action, address.addr());
        }
        let record = (*page).sample();
        if record.is_null() || (*record).block.cast_const() != address {
            report::foreign_pointer(action, address.addr());
        }
        record
    }
}

/// Frees a guarded block.
///
/// # Safety
/// - The page is of kind [`Kind::Guarded`], and the block its own, or what the program takes for it.
pub(crate) unsafe fn free(stacks: *mut Stacks, page: *mut Page, address: *mut u8) {
    // SAFETY: the caller's duty.
    unsafe {
        let record = record_of(page, address, "free");
        let end = address.add((*record).size.max(1));
        let guard = (*page).start.add((*page).reserved as usize * SLICE_BYTES - os::page_bytes());
        let slack = core::slice::from_raw_parts(end, guard.addr() - end.addr());
        if slack.iter().any(|byte| *byte != SLACK) {
            report::corrupted("a guarded block was written past its end", address.addr());
        }
        offset::free(stacks, page, address);
    }
}

/// Usable bytes of a guarded block: those asked for.
///
/// # Safety
/// - As for [`free`].
pub(crate) unsafe fn usable_bytes(page: *mut Page, address: *const u8, action: &str) -> usize {
    // SAFETY: the caller's duty.
    unsafe { (*record_of(page, address, action)).size }
}

/// Puts a freed run into quarantine.
///
/// # Safety
/// - The caller holds the lock of [`offset`], and the run, whose record has ended, is in no list.
pub(crate) unsafe fn retire(page: *mut Page) {
    stats::sub(Counter::LargeBlocks, 1);
    // SAFETY: the caller's duty; up to the guard the run is accessible, and nobody uses it.
    unsafe {
        let run = run_of(page);
        let bytes = run.count * SLICE_BYTES - os::page_bytes();
        if os::purge(run.start(), bytes).is_ok() {
            // The guard still holds what was written there before it was one.
            run.forget(0, run.count - 1);
        }
        // If that is refused there is no quarantine for it.
        if os::protect(run.start(), bytes).is_err() {
            return let_go(page);
        }
        let (freed, oldest) = &mut *FREED.0.get();
        let old = core::mem::replace(&mut freed[*oldest], page);
        *oldest = (*oldest + 1) % QUARANTINE;
        if !old.is_null() {
            let_go(old);
        }
    }
}

/// Gives a run back. Where the system does not give access again, which takes memory of its own, the run stays as it is for good.
unsafe fn let_go(page: *mut Page) {
    // SAFETY: the caller holds the lock, and the run is nobody's.
    unsafe {
        let run = run_of(page);
        if os::unprotect(run.start(), run.count * SLICE_BYTES).is_ok() {
            (*page).set_kind(Kind::Free);
            run.give();
            // ORDER: Relaxed: a bound.
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
