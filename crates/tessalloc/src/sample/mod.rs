//! Sampling: which allocations are samples of the heap profile, which are guarded, and where their blocks lie.
//!
//! Off, it costs the fast paths nothing, and a slow path one load. On, it works by the fast paths' own emptiness: a thread that finds
//! it on puts all that lies on its stacks home and keeps no more ready than it hands out. So each of its allocations and frees comes
//! to the slow path, and each allocation is counted in bytes, until one is due to be a sample.
//!
//! | block            | lies                                     | its record is found by                       |
//! |------------------|------------------------------------------|-----------------------------------------------|
//! | small, sampled   | in a page of places, [`Kind::Sampled`]: see [`crate::offset`] | the first word of its place |
//! | large, sampled   | as any, with [`SAMPLED`]                  | its descriptor                                |
//! | guarded, sampled or not | in a run of its own, [`Kind::Guarded`]: see [`guarded`] | its descriptor                    |
//!
//! The kind bytes of all these are 0: a free that knows nothing of sampling takes the slow path there, and what is known of a block
//! is known by its page. So sampling may be switched at any time, while blocks are in use and threads run:
//!
//! - Y1 `seen` of a thread is the word [`SWITCH`] as it was when the thread last put its stacks home. Where they differ, it does so again
//!   before its next allocation is counted. Until then it takes from its stacks and puts onto them: what passes there is no sample.
//! - Y2 No sample of the default heap is ever on a stack: only a slow path comes to its page.
//! - Y3 By a first-class heap blocks are freed with their layout, onto its stack, without a look at their page. Small samples lie
//!   only in heaps that were made while it was on; their stacks have no room for good.
//! - Y4 A thread takes no sample while it is inside: what the program's own function for call stacks allocates.

use core::ptr::null_mut;

use crate::first_class::Core;
use crate::offset;
use crate::options::Opt;
use crate::os;
use crate::page::{Kind, Page, SAMPLED};
use crate::region;
use crate::report::Line;
use crate::size_class::SizeClass;
use crate::sync::{AtomicU32, Ordering, tls};
use crate::thread::{self, Thread};

pub mod guarded;
mod numbers;
pub mod profile;
mod stack;
mod text;

use numbers::Random;
use profile::Record;

/// Bit of [`SWITCH`]: a profile is taken.
pub(crate) const PROFILE: u32 = 1;
/// Bit of [`SWITCH`]: blocks are guarded.
pub(crate) const GUARD: u32 = 2;
const ALL: u32 = PROFILE | GUARD;
/// Above the bits: counts how often one was set.
const ONE_START: u32 = 4;

/// What is on, and since which start.
static SWITCH: AtomicU32 = AtomicU32::new(0);

/// Whether allocations are looked at.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    is(ALL)
}

#[inline(always)]
pub(crate) fn is(bits: u32) -> bool {
    // ORDER: Relaxed: a thread that sees it late goes on as before (Y1).
    SWITCH.load(Ordering::Relaxed) & bits != 0
}

/// Switches for all threads; the calling one follows at once.
pub(crate) fn switch(bit: u32, on: bool) {
    let changed = |word: u32| Some(if on { (word | bit).wrapping_add(ONE_START) } else { word & !bit });
    // ORDER: Release pairs with the Acquire in `follow`: who sees it on sees what it needs.
    let _ = SWITCH.fetch_update(Ordering::Release, Ordering::Relaxed, changed);
    if on && let Some(thread) = thread::current_if_started() {
        // SAFETY: the calling thread's record.
        unsafe { (*thread).follow() };
    }
}

/// A thread's part: see the module.
pub(crate) struct Sampler {
    seen: u32,
    is_inside: bool,
    /// Until the next sample.
    bytes_left: u64,
    /// Until the next guarded one: allocations of sizes in question.
    guard_left: u64,
    random: Random,
    guard_random: Random,
}

impl Sampler {
    pub(crate) const fn new() -> Self {
        Self {
            seen: 0,
            is_inside: false,
            bytes_left: 0,
            guard_left: 0,
            random: Random::new(0),
            guard_random: Random::new(0),
        }
    }

    /// Counts a request; whether it is a sample.
    fn is_sample(&mut self, size: usize) -> bool {
        // A request of nothing is a block all the same.
        let left = self.bytes_left.saturating_sub(size.max(1) as u64);
        self.bytes_left = if left > 0 { left } else { self.random.gap(profile::mean_bytes()) };
        left == 0
    }

    /// Counts a request; whether it is to be guarded.
    fn is_guarded(&mut self, size: usize) -> bool {
        if !guarded::takes(size) {
            return false;
        }
        self.guard_left = self.guard_left.saturating_sub(1);
        let is_due = self.guard_left == 0;
        if is_due {
            // 1 to twice the rate less one: the rate on average.
            self.guard_left = 1 + self.guard_random.next() % (2 * guarded::rate() - 1);
        }
        is_due
    }
}

/// What an allocation was chosen to be.
#[derive(Clone, Copy)]
struct Chosen {
    sample: bool,
    guarded: bool,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) zeroed: bool,
    /// Of C's `malloc`, which knows no alignment.
    pub(crate) is_c: bool,
}

impl Thread {
    /// Keeps up with [`SWITCH`] (Y1), and tells what is on.
    fn follow(&mut self) -> u32 {
        // ORDER: Acquire pairs with the Release in `switch`.
        let now = SWITCH.load(Ordering::Acquire);
        if now & ALL != 0 && self.sampler.seen != now {
            self.begin_sampling(now);
        }
        now & ALL
    }

    /// Counts an allocation of the calling thread, and says what it is to be.
    fn choose(&mut self, size: usize) -> Chosen {
        if self.sampler.is_inside {
            return Chosen { sample: false, guarded: false };
        }
        let on = self.follow();
        let sampler = &mut self.sampler;
        Chosen {
            sample: on & PROFILE != 0 && sampler.is_sample(size),
            guarded: on & GUARD != 0 && sampler.is_guarded(size),
        }
    }

    /// Puts home what lies ready, and keeps nothing ready from now on (Y1).
    #[cold]
    fn begin_sampling(&mut self, now: u32) {
        self.gate.enter();
        // SAFETY: the record's own thread, inside the gate.
        unsafe {
            self.flush_stacks();
            self.drop_warm();
        }
        self.warm.close();
        self.gate.leave();
        let sampler = &mut self.sampler;
        sampler.seen = now;
        sampler.random = Random::new(os::random());
        sampler.bytes_left = sampler.random.gap(profile::mean_bytes());
        let seed = guarded::seed();
        sampler.guard_random = Random::new(if seed == 0 { os::random() } else { seed });
        sampler.guard_left = 1 + sampler.guard_random.next() % guarded::rate();
        self.after_slow();
    }
}

/// Serves a request while sampling is on: a sample where it lies, or what `plain` gives, for which memory may be out.
///
/// # Safety
/// - `heap` stands and was made while sampling was on, or is null: the default heap. `plain` gives a block of that heap, or null.
#[cold]
pub(crate) unsafe fn alloc(heap: *mut Core, request: Request, plain: impl FnOnce() -> *mut u8) -> *mut u8 {
    let Some(thread) = thread::current(tls::get()) else { return plain() };
    // SAFETY: the calling thread's record, here and below; the caller's duty.
    unsafe {
        let chosen = (*thread).choose(request.size);
        if !(chosen.sample || chosen.guarded) {
            return plain();
        }
        let record = profile::take_record();
        if record.is_null() {
            return plain();
        }
        let mut block = if chosen.guarded { guarded::alloc(heap, request, record) } else { null_mut() };
        if block.is_null() && chosen.sample && SizeClass::of_layout(request.size, request.align).is_some() {
            block = place_small(heap, request, record);
        }
        let is_placed = !block.is_null();
        if !is_placed {
            block = plain();
        }
        if block.is_null() || !(is_placed || chosen.sample && mark_large(record, block, request.size)) {
            profile::drop_record(record);
            return block;
        }
        if chosen.sample {
            begin(thread, record);
        }
        block
    }
}

/// # Safety
/// - The record is the calling thread's; the block was allocated just now, with this record, and is named in it.
unsafe fn begin(thread: *mut Thread, record: *mut Record) {
    // SAFETY: the caller's duty.
    unsafe {
        (*thread).sampler.is_inside = true;
        profile::begin(record);
        (*thread).sampler.is_inside = false;
    }
}

/// # Safety
/// - As for [`alloc`]; the record is the caller's.
unsafe fn place_small(heap: *mut Core, request: Request, record: *mut Record) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe {
        let (block, is_fresh) = offset::alloc_sampled(heap, request.size, request.align, record);
        profile::name(record, block, request.size);
        if request.zeroed && !block.is_null() && !is_fresh {
            block.write_bytes(0, crate::raw::usable_size(block));
        }
        block
    }
}

/// Gives a block the record; false if it is no large one.
///
/// # Safety
/// - The block was allocated just now; the record is the caller's.
unsafe fn mark_large(record: *mut Record, block: *mut u8, size: usize) -> bool {
    let Some((region, slice)) = region::find(block.addr()) else { return false };
    let page = region.page(slice);
    // SAFETY: the caller's duty: a large block's descriptor is its holder's. That of a small one only tells its kind.
    unsafe {
        let is_large = (*page).kind() == Kind::Large && (*page).start == block;
        if is_large {
            profile::name(record, block, size);
            (*page).set_sample(record);
        }
        is_large
    }
}

/// Says that a large block of the default heap has another size now, or is the one that another was moved to. It counts as freed and
/// allocated anew.
///
/// # Safety
/// - The block is a large one of the caller.
#[inline]
pub(crate) unsafe fn resized(block: *mut u8, size: usize) {
    // SAFETY: the caller's duty.
    unsafe {
        let Some((region, slice)) = region::find(block.addr()) else { return };
        let page = region.page(slice);
        if is_on() || (*page).has(SAMPLED) {
            resized_slow(page, block, size);
        }
    }
}

#[cold]
unsafe fn resized_slow(page: *mut Page, block: *mut u8, size: usize) {
    // SAFETY: the caller's duty.
    unsafe {
        forget(page);
        let Some(thread) = thread::current(tls::get()) else { return };
        if (*thread).choose(size).sample {
            let record = profile::take_record();
            if !record.is_null() {
                profile::name(record, block, size);
                (*page).set_sample(record);
                begin(thread, record);
            }
        }
    }
}

/// A large block goes: its sample ends, if it is one.
///
/// # Safety
/// - The caller holds the run.
pub(crate) unsafe fn forget(page: *mut Page) {
    // SAFETY: the caller's duty.
    unsafe {
        let record = (*page).take_sample();
        if !record.is_null() {
            profile::end(record);
        }
    }
}

/// What is asked for in the options, as the process starts.
pub(crate) fn start_by_options() {
    if Opt::Profile.is_on() && profile::start(Opt::ProfileRate.value()).is_err() {
        Line::new().text("no profile: the system has no memory for its table").warn();
    }
    if profile::is_on() {
        text::dump_at_exit();
    }
    guarded::start_by_options();
}

const _: () = assert!(ALL < ONE_START);
