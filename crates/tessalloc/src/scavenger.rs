//! Giving memory back: on a curve while threads allocate, soon once they don't, and by a background thread when nobody calls.
//!
//! ```text
//! free memory   kept on the curve: of what came free now, all; of what came free 10 s ago, nothing
//! a quiet second: threads' pages are trimmed (empty ones back, holes in the others), then free slices go back
//! while threads work: what rests in their pages goes back too, in rounds ([`crate::rounds`])
//! ```
//!
//! V1 One thread at a time runs [`step`] or [`purge_all`] (`PASS`), by [`under_pass`]: who ends meanwhile leaves a wish to it (V3).
//! V2, V3 in [`crate::background`]: the background thread sleeps without wake-ups unless somebody reported free memory since its last
//! pass.

use core::ffi::c_void;
use core::ptr::null_mut;

use crate::background::{Background, State, Wish};
use crate::heap::DEFAULT;
use crate::options::Opt;
use crate::os;
use crate::pressure;
use crate::region::{self, SLICE_BYTES};
use crate::report::Line;
use crate::rounds::{self, visit_waiting};
use crate::stats::{self, Counter};
use crate::sync::{AtomicU64, Guard, Lock, Ordering, pause};
use crate::thread;

/// How often the curve and the threads are looked at.
const TICK_MS: u64 = 250;
/// Ticks between two looks for pressure.
const PRESSURE_TICKS: u32 = 4;
/// Ticks in which nothing came free in a chunk, after which it goes back before others.
const REST_TICKS: u32 = 4;
/// Slow paths in a tick that still count as quiet: timers that tick over, not work.
const QUIET_SLOW_MAX: u64 = 16;
/// How long a refusal of a background thread counts, unless somebody asks for one: who has no room for it now may have later.
const REFUSED_MS: u64 = 10_000;
/// Points of the curve: one a tick, or one for several if the delay has more ticks.
const CURVE_POINTS_MAX: usize = 64;
/// Free memory that is worth a background thread, in a process of one thread and of several.
const START_BYTES_SINGLE: u64 = 32 << 20;
const START_BYTES_MULTI: u64 = 4 << 20;

static BACKGROUND: Background = Background::new();
static PASS: Lock = Lock::new();
/// A thread has ended: what came free is to be looked at.
static ENDED: Wish = Wish::new();
static LAST_STEP_MS: AtomicU64 = AtomicU64::new(0);
/// When the system last refused a background thread.
static REFUSED_AT_MS: AtomicU64 = AtomicU64::new(0);
static PACE: PaceCell =
    PaceCell(core::cell::UnsafeCell::new(Pace { curve: Curve::new(), waiting: rounds::Waiting::new() }));

struct PaceCell(core::cell::UnsafeCell<Pace>);
// SAFETY: touched under `PASS` only.
unsafe impl Sync for PaceCell {}

/// What one tick leaves to the next.
struct Pace {
    curve: Curve,
    waiting: rounds::Waiting,
}

/// Slices that came free at each of the last points, newest first.
struct Curve {
    came_free: [u64; CURVE_POINTS_MAX],
    at_last_step: u64,
    ticks: usize,
}

impl Curve {
    const fn new() -> Self {
        Self { came_free: [0; CURVE_POINTS_MAX], at_last_step: 0, ticks: 0 }
    }

    /// Goes on by a tick and says how many free slices may be kept, if none is after so many ticks.
    fn step(&mut self, free_slices: u64, ticks: usize) -> u64 {
        if ticks == 0 {
            return 0;
        }
        let ticks_a_point = ticks.div_ceil(CURVE_POINTS_MAX);
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(ticks_a_point) {
            self.came_free.copy_within(0..CURVE_POINTS_MAX - 1, 1);
            self.came_free[0] = 0;
        }
        self.came_free[0] += free_slices.saturating_sub(self.at_last_step);
        let n = ticks.div_ceil(ticks_a_point) as u64;
        (0..n).map(|age| self.came_free[age as usize] * weight(n - age, n) / 1024).sum()
    }
}

/// A smooth step from 0 at 0 to 1,024 at `n`: 3x² − 2x³, rounded down.
fn weight(x: u64, n: u64) -> u64 {
    1024 * x * x * (3 * n - 2 * x) / (n * n * n)
}

/// Acts under `PASS`, and then grants what was wished meanwhile.
fn under_pass<T>(guard: Guard<'_>, act: impl FnOnce() -> T) -> T {
    let result = act();
    drop(guard);
    grant_wish();
    result
}

/// Called outside all gates and locks when a thread reports its figures. `freed`: whether it freed more than it allocated.
#[cold]
pub(crate) fn look(freed: bool) {
    let reclaimable = stats::reclaimable_bytes();
    let start = if thread::is_multi_threaded() { START_BYTES_MULTI } else { START_BYTES_SINGLE };
    let keep = Opt::KeepBytes.value();
    let worth = (if freed { start } else { start / 2 }).max(keep);
    match BACKGROUND.state() {
        // A free may come from inside the C library, where a new thread is not welcome: an allocation starts it early.
        State::None
            if Opt::Scavenger.is_on() && (reclaimable > worth || pressure::is_new() || pressure::is_watched()) =>
        {
            spawn()
        }
        State::Asleep if (freed && reclaimable > keep || pressure::is_new()) => BACKGROUND.wake_up(),
        State::None | State::Refused if freed => step_by_timer(),
        _ => {}
    }
}

/// What an ended thread leaves is likely to be of no use: free memory goes back at once, down to a quarter of what is in use.
pub(crate) fn after_thread_end() {
    DEFAULT.sweep();
    ENDED.make();
    grant_wish();
}

/// Does what ended threads wished, unless another thread holds `PASS`, and so does it afterwards. For who has held `PASS`.
pub(crate) fn grant_wish() {
    const KEEP_BYTES_MIN: u64 = 2 << 20;
    ENDED.grant(&PASS, || {
        let in_use = (stats::value(Counter::AllocatedBytes) as i64).max(0) as u64;
        let keep = (in_use / 4).max(KEEP_BYTES_MIN).max(Opt::KeepBytes.value()) / SLICE_BYTES as u64;
        let free = stats::value(Counter::DirtyFreeSlices);
        if free > keep {
            purge_free(free - keep);
        }
    });
}

/// Where there is no background thread, whoever frees much looks at the clock.
fn step_by_timer() {
    let now = os::now_us() / 1000;
    // ORDER: Relaxed: two threads that both step find `PASS` taken.
    if now.wrapping_sub(LAST_STEP_MS.load(Ordering::Relaxed)) >= TICK_MS {
        LAST_STEP_MS.store(now, Ordering::Relaxed);
        if now.wrapping_sub(REFUSED_AT_MS.load(Ordering::Relaxed)) >= REFUSED_MS {
            BACKGROUND.ask_again();
        }
        if let Some(guard) = PASS.try_lock() {
            under_pass(guard, || step(false));
        }
    }
}

fn spawn() {
    crate::fork::start();
    if BACKGROUND.try_start() && !os::spawn(run) {
        // ORDER: Relaxed: a time.
        REFUSED_AT_MS.store(os::now_us() / 1000, Ordering::Relaxed);
        BACKGROUND.refuse();
        if Opt::Verbose.is_on() {
            Line::new().text("no background thread: the system refused it").write();
        }
    }
}

/// Has the background thread look for pressure from now on. False if there is none.
pub(crate) fn watch() -> bool {
    if Opt::Scavenger.is_on() {
        BACKGROUND.ask_again();
        match BACKGROUND.state() {
            State::None => spawn(),
            State::Asleep => BACKGROUND.wake_up(),
            _ => {}
        }
    }
    matches!(BACKGROUND.state(), State::Awake | State::Asleep)
}

/// Gives some free slices back, unless another thread is about to. Takes no other lock, and waits for none.
pub(crate) fn purge_some(slices: u64) {
    if let Some(guard) = PASS.try_lock() {
        under_pass(guard, || purge_free(slices));
    }
}

/// The background thread. It allocates nothing and has no record, unless a function that is told of pressure allocates.
extern "C" fn run(_: *mut c_void) -> *mut c_void {
    if Opt::Verbose.is_on() {
        Line::new().text("background thread started").write_inside();
    }
    let mut ticks = 0u32;
    loop {
        pause(TICK_MS);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(PRESSURE_TICKS) || pressure::is_new() {
            pressure::look();
        }
        let before = stats::value(Counter::AllocatedBytes);
        if pass() {
            // A report that came during the pass found it awake.
            if !BACKGROUND.lie_down(|| stats::value(Counter::AllocatedBytes) != before) {
                continue;
            }
            // Bound: sleeps until a report.
            while BACKGROUND.is_asleep() {
                if pressure::is_watched() || pressure::lasts() {
                    BACKGROUND.sleep(u64::from(PRESSURE_TICKS) * TICK_MS);
                    pressure::look();
                } else {
                    BACKGROUND.sleep(0);
                }
            }
        }
    }
}

/// A pass of the background thread. True if there is nothing to do before the next report.
pub(crate) fn pass() -> bool {
    under_pass(PASS.lock(), || step(true))
}

/// One tick: the curve, and quiet threads. The caller holds `PASS`. True if there is nothing to do before the next report.
fn step(in_background: bool) -> bool {
    // ORDER: Relaxed: under `PASS`; readers want a recent value.
    let now = region::TICK.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    // SAFETY: under `PASS`.
    let Pace { curve, waiting } = unsafe { &mut *PACE.0.get() };
    let before = stats::value(Counter::DirtyFreeSlices);
    let quiet = if in_background { look_at_threads(now, waiting) } else { Quiet::default() };
    let free = stats::value(Counter::DirtyFreeSlices);
    // What was given back just now had rested: it is not new.
    curve.at_last_step += free.saturating_sub(before);
    let mut keep = curve.step(free, (Opt::PurgeDelayMs.value() / TICK_MS) as usize);
    if quiet.all || pressure::lasts() {
        keep = 0;
    }
    let keep_bytes = if pressure::lasts() { 0 } else { Opt::KeepBytes.value() };
    let keep = keep.max(keep_bytes / SLICE_BYTES as u64);
    let free = stats::value(Counter::DirtyFreeSlices);
    if free > keep {
        purge_free(free - keep);
    }
    curve.at_last_step = stats::value(Counter::DirtyFreeSlices);
    (quiet.all && quiet.trimmed_all) || stats::reclaimable_bytes() < keep_bytes.max(1)
}

#[derive(Default)]
struct Quiet {
    all: bool,
    trimmed_all: bool,
}

/// Finds the threads that took no slow path for a while, and gives back what they hold; of the others, and of the pages that nobody
/// owns, what rested.
fn look_at_threads(now: u32, waiting: &mut rounds::Waiting) -> Quiet {
    let mut quiet = Quiet { all: true, trimmed_all: true };
    // At most 14,400, by the option's range.
    let quiet_ticks = Opt::IdleDelayMs.value().div_ceil(TICK_MS) as u32;
    let rest_ticks = rounds::rest_ticks(TICK_MS);
    for thread in thread::all().chain(thread::all_of_heaps()) {
        // SAFETY: L2; `seen_slow` and `quiet_ticks` are touched under `PASS` only, the rest inside the gate.
        unsafe {
            if !(*thread).is_live() {
                continue;
            }
            // ORDER: Relaxed: compared with the last look's only.
            let count = (*thread).counts.slow.load(Ordering::Relaxed);
            let slow = count.wrapping_sub((*thread).seen_slow);
            (*thread).seen_slow = count;
            if slow > QUIET_SLOW_MAX {
                (*thread).quiet_ticks = 0;
            } else {
                (*thread).quiet_ticks = (*thread).quiet_ticks.saturating_add(1);
            }
            if (*thread).quiet_ticks < quiet_ticks {
                quiet.all = false;
                rounds::look_at_busy(thread, now, rest_ticks);
                continue;
            }
            // Once when it has become quiet, and again when it has moved a little since.
            if (*thread).quiet_ticks == quiet_ticks || slow > 0 {
                quiet.trimmed_all &= trim(thread);
            }
        }
    }
    if quiet.all {
        visit_waiting();
    } else {
        waiting.step(now, rest_ticks);
    }
    quiet
}

/// Claims a thread's gate and trims its pages; false if the owner is busy.
unsafe fn trim(thread: *mut thread::Thread) -> bool {
    // SAFETY: L2; the claim lets this thread in.
    unsafe {
        if !(*thread).gate.try_claim() {
            return false;
        }
        if (*thread).is_live() {
            (*thread).trim();
        }
        (*thread).gate.unclaim();
    }
    true
}

/// Gives back up to `slices` free slices: from the top down, first where nothing came free lately.
fn purge_free(slices: u64) {
    let mut left = slices;
    for rest_ticks in [REST_TICKS, 0] {
        for region in region::all().iter().rev() {
            for chunk in (0..region.frontier()).rev() {
                if left == 0 {
                    return;
                }
                if region.rest_ticks(chunk) >= rest_ticks {
                    left = left.saturating_sub(region.purge_chunk(chunk, left));
                }
            }
        }
    }
}

/// How often [`purge_all`] asks a busy thread, a millisecond apart: for a program that wants memory to go back, and for one that
/// is out of memory and may ask at every allocation.
pub(crate) const PATIENT_TRIES: u32 = 4;
pub(crate) const HASTY_TRIES: u32 = 1;

/// Trims a thread's pages for as long as `is_right` says that it is the one that is meant; `None` if it is not, or is busy each time.
/// Returns bytes.
///
/// # Safety
/// - A record.
pub(crate) unsafe fn trim_patiently(thread: *mut thread::Thread, is_right: impl Fn() -> bool) -> Option<u64> {
    for attempt in 0..PATIENT_TRIES {
        if attempt > 0 {
            pause(1);
        }
        // SAFETY: L2; the claim lets this thread in.
        unsafe {
            if (*thread).gate.try_claim() {
                // The id comes before the record's life, whose inbox is open.
                let bytes = ((*thread).is_live() && is_right()).then(|| (*thread).trim());
                (*thread).gate.unclaim();
                return bytes;
            }
        }
    }
    None
}

/// Gives everything unused of every thread back, now. Threads that are inside the allocator keep theirs. Returns bytes.
pub(crate) fn purge_all(tries: u32) -> usize {
    under_pass(PASS.lock(), || purge_all_under_pass(tries))
}

fn purge_all_under_pass(tries: u32) -> usize {
    let before = stats::value(Counter::PurgedBytes);
    let own = thread::current_if_started().unwrap_or(null_mut());
    for thread in thread::all().chain(thread::all_of_heaps()) {
        // SAFETY: L2; a live record is entered by its gate: the caller's own by right, another's by claim.
        unsafe {
            if thread == own {
                (*thread).gate.enter();
                (*thread).flush_stacks();
                (*thread).trim();
                (*thread).gate.leave();
            } else if (*thread).is_live() {
                for attempt in 1..=tries {
                    if trim(thread) || attempt == tries {
                        break;
                    }
                    pause(1);
                }
            }
        }
    }
    thread::with_shared(|shared| {
        shared.gate.enter();
        // SAFETY: the lock excludes all others from the shared record.
        unsafe {
            shared.flush_stacks();
            shared.trim();
        }
        shared.gate.leave();
    });
    visit_waiting();
    purge_free(u64::MAX);
    (stats::value(Counter::PurgedBytes) - before) as usize
}

/// The lock of this file, for a fork.
pub(crate) fn lock() -> &'static Lock {
    &PASS
}

/// In a forked child: the background thread is gone; the next report starts one.
pub(crate) fn reset_in_child() {
    BACKGROUND.reset_in_child();
    pressure::reset_in_child();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curve_keeps_what_is_new_and_lets_go_what_is_old() {
        let mut curve = Curve::new();
        let mut kept = [0; 44];
        for (tick, keep) in kept.iter_mut().enumerate() {
            let free = if tick == 0 { 1000 } else { curve.at_last_step };
            *keep = curve.step(free, 40);
            curve.at_last_step = free.min(*keep);
        }
        assert_eq!(kept[0], 1000);
        assert!(kept.windows(2).all(|pair| pair[1] <= pair[0]), "never more than before: {kept:?}");
        assert!((400..=600).contains(&kept[20]), "half is kept at half time: {}", kept[20]);
        assert_eq!(kept[40], 0);
    }

    /// It was lost where `PASS` was held for another matter than another thread's end.
    #[test]
    fn wish_of_a_thread_that_ends_during_a_pass_is_granted_after_it() {
        under_pass(PASS.lock(), after_thread_end);
        // Threads of other tests end too, and see to theirs.
        let start = std::time::Instant::now();
        while ENDED.is_open() {
            assert!(start.elapsed().as_secs() < 10, "nobody looks at what the thread left");
            std::thread::yield_now();
        }
    }

    #[test]
    fn curve_without_delay_keeps_nothing() {
        assert_eq!(Curve::new().step(1000, 0), 0);
    }

    /// An hour has 14,400 ticks: more than there are points.
    #[test]
    fn curve_of_an_hour_lasts_an_hour() {
        const TICKS: usize = 14_400;
        let mut curve = Curve::new();
        let mut kept = 1000;
        for tick in 0..TICKS + CURVE_POINTS_MAX {
            let keep = curve.step(kept, TICKS);
            assert!(keep <= kept, "never more than before");
            kept = kept.min(keep);
            curve.at_last_step = kept;
            assert!(tick > TICKS / 4 || kept > 800, "a quarter of an hour: {kept} at {tick}");
            assert!(
                !(TICKS / 2 - 200..TICKS / 2 + 200).contains(&tick) || (400..=600).contains(&kept),
                "{kept} at {tick}"
            );
        }
        assert_eq!(curve.step(kept, TICKS), 0);
    }
}
