//! Messages without allocation, and the one place where misuse and corruption end the process.
//!
//! | part | holds |
//! |------|-------|
//! | here | lines, kinds of errors, what ends the process |
//! | [`output`] | where messages go |
//! | [`hook`] | functions of the program that are called from here |
//!
//! Functions of the program run outside all gates and locks, so that they may allocate. After corruption was found, which may be
//! inside a gate, the thread first leaves its record alone for good: what the function allocates comes from a fresh one.

use core::ffi::{c_char, c_int, c_void};

use crate::options::Opt;
use crate::os;
use crate::sync::{AtomicU64, Ordering, tls};
use crate::theap::EMPTY;

mod hook;
mod inside;
mod output;

pub(crate) use hook::Hook;
use inside::Inside;
pub(crate) use output::catch_up;
pub use output::{RawOutput, Sink};

/// A number as text.
pub(crate) struct Digits {
    text: [u8; 20],
    from: usize,
}

impl Digits {
    pub(crate) fn of(value: u64) -> Self {
        Self::in_base(value, 10)
    }

    fn in_base(mut value: u64, base: u64) -> Self {
        let mut digits = Self { text: [0; 20], from: 20 };
        loop {
            digits.from -= 1;
            digits.text[digits.from] = b"0123456789abcdef"[(value % base) as usize];
            value /= base;
            if value == 0 {
                return digits;
            }
        }
    }

    pub(crate) fn text(&self) -> &str {
        // Digits are ASCII.
        core::str::from_utf8(&self.text[self.from..]).unwrap_or("")
    }
}

/// A line being put together on the stack, after the project's name; what doesn't fit is cut.
pub(crate) struct Line {
    text: [u8; output::LINE_BYTES],
    len: usize,
}

/// The line's end: a line break and a null byte.
const END: &[u8] = b"\n\0";

impl Line {
    pub(crate) fn new() -> Self {
        Self { text: [0; output::LINE_BYTES], len: 0 }.text("tessalloc: ")
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        let room = self.text.len() - END.len() - self.len;
        let part = &text.as_bytes()[..text.len().min(room)];
        self.text[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    pub(crate) fn number(self, value: u64) -> Self {
        self.text(Digits::of(value).text())
    }

    pub(crate) fn address(self, value: usize) -> Self {
        self.text("0x").text(Digits::in_base(value as u64, 16).text())
    }

    /// A value of an option.
    pub(crate) fn parts(self, (number, text): (Option<u64>, &str)) -> Self {
        match number {
            Some(number) => self.number(number).text(text),
            None => self.text(text),
        }
    }

    fn ended(&mut self) -> &[u8] {
        let end = self.len + END.len();
        self.text[self.len..end].copy_from_slice(END);
        &self.text[..end]
    }

    /// Writes the line to where messages go. Outside all gates and locks.
    pub(crate) fn write(mut self) {
        output::write(self.ended());
    }

    /// Writes the line from inside a gate or under a lock: a function of the program gets it later.
    pub(crate) fn write_inside(mut self) {
        output::write_inside(self.ended());
    }

    /// As [`Line::write_inside`], for what the program can go on with; no more of them than [`Opt::MaxWarnings`] says.
    pub(crate) fn warn(self) {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        // ORDER: Relaxed: a count.
        if WRITTEN.fetch_add(1, Ordering::Relaxed) < Opt::MaxWarnings.value() {
            self.write_inside();
        }
    }
}

/// What went wrong. The numbers are those of C's `TESSALLOC_ERROR_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A block was freed twice. The process ends.
    DoubleFree = 1,
    /// The allocator's own tables contradict one another. The process ends.
    Corruption = 2,
    /// A pointer that is no block of this allocator, as far as can be told. The process ends.
    ForeignPointer = 3,
    /// There is no memory for a request, or none within its heap's hard limit: it gets null.
    OutOfMemory = 4,
    /// A size beyond [`BYTES_MAX`](crate::raw::BYTES_MAX), or a product of sizes: the request gets null.
    Overflow = 5,
    /// An alignment that is no power of two, or cannot be had at that offset: the request gets null.
    InvalidArgument = 6,
    /// A heap that is none, or that was used while its blocks were visited; a walk inside of a walk. The process ends.
    Misuse = 7,
}

/// An error, as a function of the program gets it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ErrorReport<'a> {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The address in question; 0 if there is none.
    pub address: usize,
    /// The bytes asked for, of a request that gets null; else 0. `usize::MAX` for a product that no number holds.
    pub bytes: usize,
    /// The message, a line.
    pub text: &'a str,
}

/// [`ErrorReport`] for C. Later versions only append fields.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[non_exhaustive]
pub struct RawError {
    /// A number of [`ErrorKind`].
    pub kind: c_int,
    /// Bytes of this structure.
    pub struct_bytes: u32,
    /// The address in question, or null.
    pub address: *const c_void,
    /// The bytes asked for, or 0.
    pub bytes: usize,
    /// The message; ends with a null byte.
    pub text: *const c_char,
}

/// What C calls with an error.
pub type RawOnError = unsafe extern "C" fn(error: *const RawError, arg: *mut c_void);

static ON_ERROR: Hook = Hook::new();

/// Sends messages to a function instead of standard error; `None`: to standard error again. The messages so far, up to 4 KiB of
/// them, go to the function at once. It is called on any thread, may allocate, and gets whole lines; what it causes itself goes to
/// standard error. It must not panic. From any thread.
pub fn set_output(output: Option<fn(&str)>) {
    unsafe extern "C" fn relay(text: *const c_char, bytes: usize, output: *mut c_void) {
        // SAFETY: the argument is the function below; the text has so many bytes and is a message's.
        let (output, text) = unsafe {
            (
                core::mem::transmute::<*mut c_void, fn(&str)>(output),
                core::slice::from_raw_parts(text.cast::<u8>(), bytes),
            )
        };
        output(core::str::from_utf8(text).unwrap_or("a message that is no text\n"));
    }
    let relayed = output.map(|_| relay as RawOutput);
    // SAFETY: the relay may be called with this function at any time.
    unsafe { set_raw_output(relayed, output.map_or(core::ptr::null_mut(), |output| output as *mut c_void)) };
}

/// [`set_output`] for C.
///
/// # Safety
/// - `output` may be called with `arg` from any thread, at any time from now on, also after another one was set.
pub unsafe fn set_raw_output(output: Option<RawOutput>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { output::set(output, arg) };
}

/// Calls a function at each error; `None`: nobody. It is called on the thread that met the error and may allocate; an error that it
/// causes itself is not reported to it. After the errors that end the process it may stay away for good, by ending the process in
/// its own way. It must not panic. From any thread.
pub fn set_on_error(on_error: Option<fn(&ErrorReport<'_>)>) {
    unsafe extern "C" fn relay(error: *const RawError, on_error: *mut c_void) {
        // SAFETY: the argument is the function below; the error is one of `raise`, with a text that ends with a null byte.
        let (on_error, error, text) = unsafe {
            let on_error = core::mem::transmute::<*mut c_void, fn(&ErrorReport<'_>)>(on_error);
            (on_error, &*error, core::ffi::CStr::from_ptr((*error).text))
        };
        let kind = match error.kind {
            1 => ErrorKind::DoubleFree,
            2 => ErrorKind::Corruption,
            3 => ErrorKind::ForeignPointer,
            4 => ErrorKind::OutOfMemory,
            5 => ErrorKind::Overflow,
            6 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Misuse,
        };
        let text = text.to_str().unwrap_or("").trim_end();
        on_error(&ErrorReport { kind, address: error.address.addr(), bytes: error.bytes, text });
    }
    let relayed = on_error.map(|_| relay as RawOnError);
    // SAFETY: the relay may be called with this function at any time.
    unsafe { set_raw_on_error(relayed, on_error.map_or(core::ptr::null_mut(), |on_error| on_error as *mut c_void)) };
}

/// [`set_on_error`] for C.
///
/// # Safety
/// - As for [`set_raw_output`].
pub unsafe fn set_raw_on_error(on_error: Option<RawOnError>, arg: *mut c_void) {
    ON_ERROR.set(on_error.map_or(core::ptr::null_mut(), |on_error| on_error as *mut c_void), arg);
}

/// Tells the program's function, if there is one.
fn raise(kind: ErrorKind, address: usize, bytes: usize, mut line: Line) {
    if let Some((on_error, arg)) = ON_ERROR.get()
        && let Some(_inside) = Inside::enter()
    {
        let error = RawError {
            kind: kind as c_int,
            struct_bytes: size_of::<RawError>() as u32,
            address: core::ptr::without_provenance(address),
            bytes,
            text: line.ended().as_ptr().cast(),
        };
        // SAFETY: `set_raw_on_error` stored a function of this type, and its caller vouched for the call.
        unsafe { core::mem::transmute::<*mut c_void, RawOnError>(on_error)(&error, arg) };
    }
}

/// Says what went wrong, tells the program's function, and ends the process.
fn end(kind: ErrorKind, address: usize, line: impl Fn() -> Line) -> ! {
    line().write();
    raise(kind, address, 0, line());
    os::abort()
}

/// `free` and its kind got an address that is no block of ours.
#[cold]
#[inline(never)]
pub(crate) fn foreign_pointer(action: &str, address: usize) -> ! {
    end(ErrorKind::ForeignPointer, address, || {
        Line::new()
            .text("cannot ")
            .text(action)
            .text(": expected a block of this allocator, received ")
            .address(address)
            .text(" (another allocator's block, or freed twice)")
    })
}

/// `free` and its kind got a block that was freed before.
#[cold]
#[inline(never)]
pub(crate) fn double_free(action: &str, address: usize) -> ! {
    end(ErrorKind::DoubleFree, address, || {
        Line::new()
            .text("cannot ")
            .text(action)
            .text(": expected a block in use, received ")
            .address(address)
            .text(" (freed before)")
    })
}

/// A visitor, or another thread while it runs, did what it must not.
#[cold]
#[inline(never)]
pub(crate) fn misused_visit(action: &str) -> ! {
    end(ErrorKind::Misuse, 0, || {
        Line::new().text("cannot ").text(action).text(": expected the visitor to return first")
    })
}

/// A heap was to free what is not its own.
#[cold]
#[inline(never)]
pub(crate) fn foreign_to_heap(address: usize) -> ! {
    end(ErrorKind::ForeignPointer, address, || {
        Line::new().text("cannot free by a heap: expected a block of this heap, received ").address(address)
    })
}

/// A function for heaps got an address that is no heap.
#[cold]
#[inline(never)]
pub(crate) fn no_heap(action: &str, address: usize) -> ! {
    end(ErrorKind::Misuse, address, || {
        Line::new()
            .text("cannot ")
            .text(action)
            .text(": expected a heap, received ")
            .address(address)
            .text(" (none of this allocator's, or one that has ended)")
    })
}

/// The allocator's own tables contradict one another: something wrote where it should not.
#[cold]
#[inline(never)]
pub(crate) fn corrupted(what: &str, address: usize) -> ! {
    // What is wrong may be this thread's record, and its gate may be passed: it is not used again.
    tls::set((&raw const EMPTY).cast_mut());
    end(ErrorKind::Corruption, address, || {
        Line::new().text("corrupted memory: ").text(what).text(" at ").address(address)
    })
}

/// A request gets null: there is no memory, or nobody could serve it. Outside all gates and locks.
#[cold]
#[inline(never)]
pub(crate) fn refused(kind: ErrorKind, bytes: usize) -> *mut u8 {
    let why = match kind {
        ErrorKind::Overflow => " (more than any block can have)",
        ErrorKind::InvalidArgument => " (the alignment cannot be had)",
        _ => " (out of memory)",
    };
    raise(kind, 0, bytes, Line::new().text("cannot allocate ").number(bytes as u64).text(" bytes").text(why));
    core::ptr::null_mut()
}

/// One fact that must hold; a failure is reported and ends the process. Checked in debug builds and under `tessalloc_check`.
macro_rules! check {
    ($fact:expr, $what:expr) => {
        if cfg!(any(debug_assertions, tessalloc_check)) && !$fact {
            $crate::report::corrupted($what, 0);
        }
    };
}
pub(crate) use check;
