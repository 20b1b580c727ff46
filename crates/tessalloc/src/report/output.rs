//! Where messages go: to standard error, or to a function of the program.
//!
//! | word    | unit  | written by     | how                | always true                                             |
//! |---------|-------|----------------|--------------------|---------------------------------------------------------|
//! | `KEPT`  | bytes | who has `BUSY` | Relaxed            | M1 whole lines up to `LEN`, those up to `GIVEN` delivered |
//! | `BUSY`  | –     | any            | Acquire, Release   | M2 one thread at a time; nobody waits for it             |
//!
//! The first messages are kept, for a function that is set later; so is one that comes up inside a gate or a lock, where no
//! function of the program may run: it is delivered at the next place where one may.

use core::ffi::{c_char, c_void};

use super::hook::Hook;
use super::inside::Inside;
use crate::os;
use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// What C calls: a text that ends with a null byte, its length without that, and the argument given with the function.
pub type RawOutput = unsafe extern "C" fn(text: *const c_char, bytes: usize, arg: *mut c_void);

static OUTPUT: Hook = Hook::new();

/// Bytes of messages that are kept; later ones are not.
const KEPT_BYTES: usize = 4096;
/// The longest line, with its line break and a null byte.
pub(super) const LINE_BYTES: usize = 256;

static KEPT: [AtomicU8; KEPT_BYTES] = [const { AtomicU8::new(0) }; KEPT_BYTES];
static LEN: AtomicUsize = AtomicUsize::new(0);
static GIVEN: AtomicUsize = AtomicUsize::new(0);
static BUSY: AtomicBool = AtomicBool::new(false);

/// Has the kept messages until dropped.
struct Kept;

impl Kept {
    /// `None` if another thread has them.
    fn take() -> Option<Self> {
        // ORDER: Acquire pairs with the Release in `drop`.
        BUSY.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Self)
    }

    /// Keeps a line, if there is room for all of it.
    fn push(&self, line: &[u8]) {
        // ORDER: Relaxed, in all of these: M2.
        let len = LEN.load(Ordering::Relaxed);
        if line.len() <= KEPT_BYTES - len {
            for (place, byte) in KEPT[len..].iter().zip(line) {
                place.store(*byte, Ordering::Relaxed);
            }
            LEN.store(len + line.len(), Ordering::Relaxed);
        }
    }

    /// The next line that was not delivered.
    fn next(&self, into: &mut [u8; LINE_BYTES]) -> usize {
        // ORDER: Relaxed, in all of this: M2.
        let (from, len) = (GIVEN.load(Ordering::Relaxed), LEN.load(Ordering::Relaxed));
        let mut bytes = 0;
        while from + bytes < len && bytes < LINE_BYTES - 1 {
            into[bytes] = KEPT[from + bytes].load(Ordering::Relaxed);
            bytes += 1;
            if into[bytes - 1] == b'\n' {
                break;
            }
        }
        into[bytes] = 0;
        // When all is delivered there is room again. ORDER: Relaxed: M2.
        let is_last = from + bytes == len;
        GIVEN.store(if is_last { 0 } else { from + bytes }, Ordering::Relaxed);
        if is_last {
            LEN.store(0, Ordering::Relaxed);
        }
        bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // ORDER: Release pairs with the Acquire in `take`.
        BUSY.store(false, Ordering::Release);
    }
}

/// Sets the function; none: standard error again. Messages kept so far go to it at once.
///
/// # Safety
/// - `output` may be called with `arg` from any thread, at any time from now on, also after another one was set.
pub(super) unsafe fn set(output: Option<RawOutput>, arg: *mut c_void) {
    let call = output.map_or(core::ptr::null_mut(), |output| output as *mut c_void);
    OUTPUT.set(call, arg);
    catch_up();
}

/// Calls a function of the program.
///
/// # Safety
/// - The pair is from [`OUTPUT`]; the text ends with a null byte.
unsafe fn call((output, arg): (*mut c_void, *mut c_void), text: &[u8]) {
    // SAFETY: `set` stored a function of this type, and its caller vouched for the call.
    unsafe {
        let output = core::mem::transmute::<*mut c_void, RawOutput>(output);
        output(text.as_ptr().cast(), text.len() - 1, arg);
    }
}

/// Writes a line that ends with a null byte, outside all gates and locks.
pub(super) fn write(line: &[u8]) {
    catch_up();
    if let Some(output) = OUTPUT.get()
        && let Some(_inside) = Inside::enter()
    {
        // SAFETY: from `OUTPUT`; the caller's text.
        return unsafe { call(output, line) };
    }
    write_error(line);
}

fn write_error(line: &[u8]) {
    let line = &line[..line.len() - 1];
    os::write_error(line);
    if !OUTPUT.is_set()
        && let Some(kept) = Kept::take()
    {
        kept.push(line);
    }
}

/// Writes a line that ends with a null byte, inside a gate or under a lock: a function of the program gets it later.
pub(super) fn write_inside(line: &[u8]) {
    match Kept::take() {
        Some(kept) if OUTPUT.is_set() => kept.push(&line[..line.len() - 1]),
        kept => {
            drop(kept);
            write_error(line);
        }
    }
}

/// Delivers what was kept, if there is a function for it. Outside all gates and locks.
#[inline]
pub(crate) fn catch_up() {
    // ORDER: Relaxed: a hint.
    if OUTPUT.is_set() && LEN.load(Ordering::Relaxed) > 0 {
        deliver_kept();
    }
}

#[cold]
fn deliver_kept() {
    let Some(_inside) = Inside::enter() else { return };
    let mut line = [0; LINE_BYTES];
    // Bound: the lines that fit; more only if others write all the time.
    for _ in 0..KEPT_BYTES {
        let Some(kept) = Kept::take() else { return };
        let bytes = kept.next(&mut line);
        drop(kept);
        match OUTPUT.get() {
            // SAFETY: from `OUTPUT`; `next` puts a null byte behind the text.
            Some(output) if bytes > 0 => unsafe { call(output, &line[..=bytes]) },
            _ => return,
        }
    }
}

/// A text for a function of C, or for where messages go: put together on the stack, and handed over line by line.
pub struct Sink {
    output: Option<(RawOutput, *mut c_void)>,
    text: [u8; LINE_BYTES],
    len: usize,
}

impl Sink {
    /// To where messages go.
    pub fn to_messages() -> Self {
        Self { output: None, text: [0; LINE_BYTES], len: 0 }
    }

    /// To a function.
    ///
    /// # Safety
    /// - `output` may be called with `arg` on this thread until the sink is dropped.
    pub unsafe fn to_function(output: RawOutput, arg: *mut c_void) -> Self {
        Self { output: Some((output, arg)), ..Self::to_messages() }
    }

    fn flush(&mut self) {
        if self.len == 0 {
            return;
        }
        self.text[self.len] = 0;
        let text = &self.text[..=self.len];
        match self.output {
            // SAFETY: the duty of `to_function`'s caller; the text ends with a null byte.
            Some((output, arg)) => unsafe { output(text.as_ptr().cast(), self.len, arg) },
            None => write(text),
        }
        self.len = 0;
    }
}

impl core::fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if self.len == LINE_BYTES - 1 {
                self.flush();
            }
            self.text[self.len] = byte;
            self.len += 1;
            if byte == b'\n' {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}
