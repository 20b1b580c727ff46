//! Call stacks: by frame pointers, or by a function of the program.
//!
//! A frame pointer leads to a pair of words: the caller's frame pointer, and the address to return to. What was compiled without
//! frame pointers leaves something else in the register, so each step is checked before it is read: upwards, aligned, not far, and in
//! memory that the system says can be read. A walk never faults; through such code it ends early, or at worst shows words of the
//! stack that are no return addresses.

use core::ffi::c_void;

use crate::os;
use crate::report::Hook;

/// Frames that are kept of a call stack, from the allocation outwards.
pub(crate) const DEPTH_MAX: usize = 64;

/// What C calls for a call stack: fills `frames` with up to `max` return addresses, the innermost first, and returns how many there
/// are. It runs on the allocating thread, outside all locks; what it allocates itself is no sample.
pub type RawUnwinder = unsafe extern "C" fn(frames: *mut usize, max: usize, arg: *mut c_void) -> usize;

static UNWINDER: Hook = Hook::new();

/// Has call stacks taken by a function, from the next sample on; `None`: by frame pointers again.
///
/// # Safety
/// - `unwinder` may be called with `arg` from any thread, at any time from now on, also after another one was set, and does what
///   [`RawUnwinder`] says.
pub(crate) unsafe fn set(unwinder: Option<RawUnwinder>, arg: *mut c_void) {
    UNWINDER.set(unwinder.map_or(core::ptr::null_mut(), |unwinder| unwinder as *mut c_void), arg);
}

/// The calling thread's stack: how many frames there are. Outside all locks and gates.
pub(crate) fn take(frames: &mut [usize; DEPTH_MAX]) -> usize {
    let count = match UNWINDER.get() {
        Some((unwinder, arg)) => {
            // SAFETY: `set` stored a function of this type, and its caller vouched for the call.
            let unwinder = unsafe { core::mem::transmute::<*mut c_void, RawUnwinder>(unwinder) };
            // SAFETY: as above; `frames` has so many places.
            unsafe { unwinder(frames.as_mut_ptr(), DEPTH_MAX, arg) }
        }
        None => default::take(frames),
    };
    count.min(DEPTH_MAX)
}

/// Return addresses by frame pointers.
#[cfg_attr(all(feature = "unwind", unix), allow(dead_code, reason = "the unwinder is used instead"))]
fn walk(frames: &mut [usize]) -> usize {
    /// A frame is smaller.
    const FRAME_BYTES_MAX: usize = 1 << 20;
    const WORD: usize = size_of::<usize>();
    let local = 0usize;
    let (mut below, mut at) = ((&raw const local).addr(), frame_pointer());
    let mut known_page = None;
    // Bound: the frames that fit.
    for (count, frame) in frames.iter_mut().enumerate() {
        if at <= below || at - below > FRAME_BYTES_MAX || !at.is_multiple_of(WORD) {
            return count;
        }
        for word in [at, at + WORD] {
            let page = word & !(os::page_bytes() - 1);
            if known_page != Some(page) {
                if !os::is_readable(word) {
                    return count;
                }
                known_page = Some(page);
            }
        }
        let pair: *const [usize; 2] = core::ptr::with_exposed_provenance(at);
        // SAFETY: the system says that both words can be read, they lie above this frame on a stack in use, and nobody unmaps it.
        let [next, back] = unsafe { pair.read_volatile() };
        let back = back & CODE_MASK;
        if back < 4096 {
            return count;
        }
        *frame = back;
        (below, at) = (at, next);
    }
    frames.len()
}

/// Return addresses may be signed in the bits above.
#[cfg(target_arch = "aarch64")]
const CODE_MASK: usize = (1 << 48) - 1;
#[cfg(not(target_arch = "aarch64"))]
const CODE_MASK: usize = usize::MAX;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn frame_pointer() -> usize {
    let at;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) at, options(nomem, nostack, preserves_flags)) };
    at
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn frame_pointer() -> usize {
    let at;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) at, options(nomem, nostack, preserves_flags)) };
    at
}

/// Nothing is known of frames here: a walk ends at once.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn frame_pointer() -> usize {
    0
}

/// Without a function of the program: the unwinder that every program of `std` holds.
#[cfg(all(feature = "unwind", unix))]
mod default {
    use core::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn _Unwind_Backtrace(
            trace: extern "C" fn(context: *mut c_void, arg: *mut c_void) -> c_int,
            arg: *mut c_void,
        ) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }

    struct Found<'a> {
        frames: &'a mut [usize],
        count: usize,
    }

    extern "C" fn trace(context: *mut c_void, arg: *mut c_void) -> c_int {
        const GO_ON: c_int = 0;
        const END: c_int = 5;
        // SAFETY: `take` passes its own `Found`, which nobody else uses meanwhile; the context is the unwinder's.
        let (found, at) = unsafe { (&mut *arg.cast::<Found<'_>>(), _Unwind_GetIP(context)) };
        match found.frames.get_mut(found.count) {
            Some(frame) if at != 0 => *frame = at,
            _ => return END,
        }
        found.count += 1;
        GO_ON
    }

    pub(super) fn take(frames: &mut [usize]) -> usize {
        let mut found = Found { frames, count: 0 };
        // SAFETY: reads the calling thread's stack and calls `trace` with the argument.
        unsafe { _Unwind_Backtrace(trace, (&raw mut found).cast()) };
        found.count
    }
}

#[cfg(not(all(feature = "unwind", unix)))]
mod default {
    pub(super) use super::walk as take;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of frames, as compilers lay it out; where it leads nowhere, the walk ends and does not fault.
    #[test]
    fn walk_ends_where_nothing_can_be_read() {
        let mut frames = [0; DEPTH_MAX];
        let count = walk(&mut frames);
        assert!(frames[..count].iter().all(|frame| *frame >= 4096));
        assert!(frames[count..].iter().all(|frame| *frame == 0));
        assert!(!os::is_readable(0) && !os::is_readable(4096 - 8));
    }

    #[test]
    fn a_function_of_the_program_takes_the_stack() {
        unsafe extern "C" fn three(frames: *mut usize, max: usize, arg: *mut c_void) -> usize {
            assert_eq!(max, DEPTH_MAX);
            for index in 0..3 {
                // SAFETY: there are more places.
                unsafe { frames.add(index).write(arg.addr() + index) };
            }
            3
        }
        // SAFETY: the function above may be called at any time.
        unsafe { set(Some(three), core::ptr::without_provenance_mut(5000)) };
        let mut frames = [0; DEPTH_MAX];
        let count = take(&mut frames);
        // SAFETY: none is set.
        unsafe { set(None, core::ptr::null_mut()) };
        assert_eq!((count, &frames[..4]), (3, &[5000, 5001, 5002, 0][..]));
    }
}
