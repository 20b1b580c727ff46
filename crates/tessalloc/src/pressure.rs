//! Ceilings: a hard one at which allocations fail, soft ones at which memory goes back harder and the program is told.
//!
//! | ceiling | compared with | looked at | beyond it |
//! |---------|---------------|-----------|-----------|
//! | [`Opt::HardLimitBytes`] | memory of ours that may be resident | at each run of slices taken | free memory goes back; then the run is refused |
//! | [`Cause::SoftLimit`]: [`Opt::SoftLimitBytes`] | the same | when threads report, and each second | all free memory goes back at once; told |
//! | [`Cause::Container`]: nine tenths of the container's limit | what is resident of the whole process | each second | the same |
//! | [`Cause::System`]: the system lacks memory | what it says itself | each second | the same |
//!
//! | word      | written by | always true |
//! |-----------|------------|-------------|
//! | `LASTING` | the background thread | E1 a bit for each cause that lasts; set when it begins, so it is told once |
//! | `TOLD`    | under `CALL` | E2 function and argument belong together; called outside all locks by the background thread alone |
//! | `TOLD[0]` | under `CALL` | E3 that of [`on_pressure`], where one takes the other's place; the rest are of [`listen`], no pair twice |
//!
//! The looks each second are the background thread's: while it is awake, and for good once somebody wants to be told.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;

use crate::options::Opt;
use crate::os::{self, Shortage};
use crate::region::SLICE_BYTES;
use crate::scavenger;
use crate::stats::{self, Counter};
use crate::sync::{AtomicBool, AtomicU32, Lock, Ordering};

/// Why memory should be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Cause {
    /// What the allocator holds is above [`Opt::SoftLimitBytes`].
    SoftLimit = 0,
    /// The process holds nine tenths of what its container may have (`memory.max` or `memory.high` of its control group, or of
    /// one above).
    Container = 1,
    /// Tasks of the container or the machine wait for memory.
    System = 2,
}

/// Memory that should be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Pressure {
    /// Why.
    pub cause: Cause,
    /// Whether it has become severe: the container's limit is all but reached, or all tasks wait. Told again when it becomes so.
    pub is_severe: bool,
    /// What is held: by the allocator, or for [`Cause::Container`] by the process. Unit: bytes.
    pub held_bytes: u64,
    /// What it should stay below; 0 for [`Cause::System`]. Unit: bytes.
    pub limit_bytes: u64,
}

/// What is called.
pub type PressureCall = unsafe extern "C" fn(argument: *mut c_void, pressure: *const Pressure);

#[derive(Clone, Copy)]
struct Told {
    call: Option<PressureCall>,
    argument: *mut c_void,
}

const NOBODY: Told = Told { call: None, argument: null_mut() };

impl Told {
    fn is(&self, call: PressureCall, argument: *mut c_void) -> bool {
        self.argument == argument && self.call.is_some_and(|own| core::ptr::fn_addr_eq(own, call))
    }
}

/// More than copies of this allocator that one process is known to hold.
const TOLD_MAX: usize = 16;

struct ToldCell(UnsafeCell<[Told; TOLD_MAX]>);
// SAFETY: touched under `CALL` only.
unsafe impl Sync for ToldCell {}

static CALL: Lock = Lock::new();
static TOLD: ToldCell = ToldCell(UnsafeCell::new([NOBODY; TOLD_MAX]));
static IS_WATCHED: AtomicBool = AtomicBool::new(false);
static LASTING: AtomicU32 = AtomicU32::new(0);

const CAUSES: [Cause; 3] = [Cause::SoftLimit, Cause::Container, Cause::System];

impl Cause {
    const fn lasts(self) -> u32 {
        1 << self as u32
    }

    const fn is_severe(self) -> u32 {
        self.lasts() << 16
    }
}

/// The lock of this file, for a fork.
pub(crate) fn lock() -> &'static Lock {
    &CALL
}

/// Memory of ours that may be resident. Unit: bytes.
fn held_bytes() -> u64 {
    stats::value(Counter::DirtySlices) * SLICE_BYTES as u64 + stats::value(Counter::RecordBytes)
}

// ------------------------------------------------------------------------------------------------------ the hard ceiling

/// Whether the hard ceiling leaves so many slices. What is free goes back first, if it is in the way.
#[inline]
pub(crate) fn admits(slices: usize) -> bool {
    let limit = Opt::HardLimitBytes.value();
    limit == 0 || admits_below(limit, slices)
}

#[cold]
fn admits_below(limit: u64, slices: usize) -> bool {
    let wanted = slices as u64 * SLICE_BYTES as u64;
    let excess = |held: u64| held.saturating_add(wanted).saturating_sub(limit);
    let over = excess(held_bytes());
    if over == 0 {
        return true;
    }
    if over > stats::value(Counter::DirtyFreeSlices) * SLICE_BYTES as u64 {
        return false;
    }
    scavenger::purge_some(over.div_ceil(SLICE_BYTES as u64));
    excess(held_bytes()) == 0
}

// ------------------------------------------------------------------------------------------------------ the soft ones

/// Has a function called on pressure, in place of the one before; `None`: of none. False if there can be no background thread,
/// which is the one that looks.
fn set_call(call: Option<PressureCall>, argument: *mut c_void) -> bool {
    change(|told| {
        told[0] = Told { call, argument };
        true
    });
    call.is_none() || begin_anew()
}

/// Has a function called on pressure, beside all others; `on` false: no more, though it may still be running. False if there can
/// be no background thread, or no further function. From any thread.
pub(crate) fn listen(call: PressureCall, argument: *mut c_void, on: bool) -> bool {
    let is_found = change(|told| {
        let others = &mut told[1..];
        let at = others.iter().position(|each| each.is(call, argument));
        let Some(at) = at.or_else(|| others.iter().position(|each| on && each.call.is_none())) else { return !on };
        others[at] = if on { Told { call: Some(call), argument } } else { NOBODY };
        true
    });
    is_found && (!on || begin_anew())
}

/// Changes who is told, under the lock.
fn change(by: impl FnOnce(&mut [Told; TOLD_MAX]) -> bool) -> bool {
    let _guard = CALL.lock();
    // SAFETY: E2: under the lock.
    let told = unsafe { &mut *TOLD.0.get() };
    let is_done = by(told);
    // ORDER: Relaxed: the background thread sees it at its next look.
    IS_WATCHED.store(told.iter().any(|each| each.call.is_some()), Ordering::Relaxed);
    is_done
}

/// What lasts already is told once more, for a function that is new. False if there is no background thread.
fn begin_anew() -> bool {
    // ORDER: Relaxed: E1: a look that goes on meanwhile may leave a bit, and that cause be told when it begins next.
    LASTING.store(0, Ordering::Relaxed);
    scavenger::watch()
}

/// In a forked child: who looks is gone, and the next one begins anew.
pub(crate) fn reset_in_child() {
    // ORDER: Relaxed: the child has one thread.
    LASTING.store(0, Ordering::Relaxed);
}

/// Has `call` called when memory should be given up, in place of the function before; `None`: none. False if there can be no
/// background thread, which is the one that looks, once a second.
///
/// It is called on that thread when a [`Cause`] begins to last, and again when that has ended (a sixteenth below the limit) and
/// begins anew, or becomes severe. It may allocate and free; while it runs, nothing else goes back. By then what was unused has
/// gone back. A forked child's is called once the child has freed or allocated some MiB.
pub fn on_pressure(call: Option<fn(&Pressure)>) -> bool {
    unsafe extern "C" fn forward(argument: *mut c_void, pressure: *const Pressure) {
        // SAFETY: the argument is the function below; the pressure is there for the call.
        unsafe { core::mem::transmute::<*mut c_void, fn(&Pressure)>(argument)(&*pressure) }
    }
    match call {
        Some(call) => set_call(Some(forward), call as *mut c_void),
        None => set_call(None, null_mut()),
    }
}

/// As [`on_pressure`], with an argument of the caller's.
///
/// # Safety
/// - `call` may be called with `argument` on another thread at any time, also a second after another function has taken its place.
pub unsafe fn on_pressure_raw(call: Option<PressureCall>, argument: *mut c_void) -> bool {
    set_call(call, argument)
}

/// Whether somebody wants to be told, so that the background thread looks each second for good.
pub(crate) fn is_watched() -> bool {
    // ORDER: Relaxed: a wish.
    IS_WATCHED.load(Ordering::Relaxed)
}

/// Whether any cause lasts: then nothing free is kept.
pub(crate) fn lasts() -> bool {
    // ORDER: Relaxed: a hint.
    LASTING.load(Ordering::Relaxed) != 0
}

/// Whether the soft limit is passed and the background thread has not seen it.
pub(crate) fn is_new() -> bool {
    let limit = Opt::SoftLimitBytes.value();
    // ORDER: Relaxed: a hint.
    limit != 0 && held_bytes() > limit && LASTING.load(Ordering::Relaxed) & Cause::SoftLimit.lasts() == 0
}

/// Looks at all causes, on the background thread, outside all locks: gives memory back where one begins, and tells.
pub(crate) fn look() {
    for cause in CAUSES {
        let found = find(cause);
        // ORDER: Relaxed: E1: this thread alone writes bits; a function that was set meanwhile is told at the next look.
        let before = LASTING.load(Ordering::Relaxed);
        let (lasts, severe) = (cause.lasts(), cause.is_severe());
        let now = match found {
            Found::Calm => before & !(lasts | severe),
            Found::Same => before,
            Found::Pressing(pressure) => before | lasts | if pressure.is_severe { severe } else { 0 },
        };
        if now == before {
            continue;
        }
        // ORDER: Relaxed: as above.
        LASTING.store(now, Ordering::Relaxed);
        if let Found::Pressing(pressure) = found {
            scavenger::purge_all(scavenger::HASTY_TRIES);
            tell(&pressure);
        }
    }
}

fn tell(pressure: &Pressure) {
    let told = {
        let _guard = CALL.lock();
        // SAFETY: E2: under the lock.
        unsafe { *TOLD.0.get() }
    };
    for Told { call, argument } in told {
        if let Some(call) = call {
            // SAFETY: who set the function vouches for it and the argument.
            unsafe { call(argument, pressure) };
        }
    }
}

enum Found {
    Calm,
    /// A little below the ceiling: what lasts goes on, and nothing begins.
    Same,
    Pressing(Pressure),
}

fn find(cause: Cause) -> Found {
    match cause {
        Cause::SoftLimit => match Opt::SoftLimitBytes.value() {
            0 => Found::Calm,
            limit => compare(cause, held_bytes(), limit, u64::MAX),
        },
        Cause::Container => match (os::container_limit(), os::process_figures().rss_bytes) {
            (Some(limit), Some(held)) => compare(cause, held, limit / 10 * 9, limit - limit / 40),
            _ => Found::Calm,
        },
        Cause::System => match os::shortage() {
            Shortage::None => Found::Calm,
            shortage => Found::Pressing(Pressure {
                cause,
                is_severe: shortage == Shortage::Severe,
                held_bytes: held_bytes(),
                limit_bytes: 0,
            }),
        },
    }
}

/// Pressing from the limit on, calm again a sixteenth below it.
fn compare(cause: Cause, held_bytes: u64, limit_bytes: u64, severe_bytes: u64) -> Found {
    if held_bytes >= limit_bytes {
        Found::Pressing(Pressure { cause, is_severe: held_bytes >= severe_bytes, held_bytes, limit_bytes })
    } else if held_bytes < limit_bytes - limit_bytes / 16 {
        Found::Calm
    } else {
        Found::Same
    }
}
