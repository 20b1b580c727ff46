//! Messages without allocation, and the one place where misuse and corruption end the process.

use crate::options::Opt;
use crate::os;
use crate::sync::{AtomicU64, Ordering};

/// A line being put together on the stack; what doesn't fit is cut.
pub(crate) struct Line {
    text: [u8; 240],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { text: [0; 240], len: 0 }
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        let room = self.text.len() - self.len;
        let part = &text.as_bytes()[..text.len().min(room)];
        self.text[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    pub(crate) fn number(self, value: u64) -> Self {
        self.digits(value, 10)
    }

    pub(crate) fn address(self, value: usize) -> Self {
        self.text("0x").digits(value as u64, 16)
    }

    /// A value of an option.
    pub(crate) fn parts(self, (number, text): (Option<u64>, &str)) -> Self {
        match number {
            Some(number) => self.number(number).text(text),
            None => self.text(text),
        }
    }

    fn digits(self, mut value: u64, base: u64) -> Self {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(value % base) as usize];
            value /= base;
            if value == 0 {
                break;
            }
        }
        match core::str::from_utf8(&digits[at..]) {
            Ok(text) => self.text(text),
            Err(_) => self,
        }
    }

    /// Writes the line to standard error, after the project's name.
    pub(crate) fn write(mut self) {
        if self.len == self.text.len() {
            self.len -= 1;
        }
        self.text[self.len] = b'\n';
        os::write_error(b"tessalloc: ");
        os::write_error(&self.text[..=self.len]);
    }

    /// As [`Line::write`], for what the program can go on with; no more of them than [`Opt::MaxWarnings`] says.
    pub(crate) fn warn(self) {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        // ORDER: Relaxed: a count.
        if WRITTEN.fetch_add(1, Ordering::Relaxed) < Opt::MaxWarnings.value() {
            self.write();
        }
    }
}

/// `free` and its kind got an address that is no block of ours.
#[cold]
#[inline(never)]
pub(crate) fn foreign_pointer(action: &str, address: usize) -> ! {
    Line::new()
        .text("cannot ")
        .text(action)
        .text(": expected a block of this allocator, received ")
        .address(address)
        .text(" (another allocator's block, or freed twice)")
        .write();
    os::abort()
}

/// A heap was used while its blocks are visited, perhaps by the visitor.
#[cold]
#[inline(never)]
pub(crate) fn used_while_visited() -> ! {
    Line::new().text("cannot use a heap while it is visited: expected its visitor to return first").write();
    os::abort()
}

/// A heap was to free what is not its own.
#[cold]
#[inline(never)]
pub(crate) fn foreign_to_heap(address: usize) -> ! {
    Line::new().text("cannot free by a heap: expected a block of this heap, received ").address(address).write();
    os::abort()
}

/// A function for heaps got an address that is no heap.
#[cold]
#[inline(never)]
pub(crate) fn no_heap(action: &str, address: usize) -> ! {
    Line::new()
        .text("cannot ")
        .text(action)
        .text(": expected a heap, received ")
        .address(address)
        .text(" (none of this allocator's, or one that has ended)")
        .write();
    os::abort()
}

/// The allocator's own tables contradict one another: something wrote where it should not.
#[cold]
#[inline(never)]
pub(crate) fn corrupted(what: &str, address: usize) -> ! {
    Line::new().text("corrupted memory: ").text(what).text(" at ").address(address).write();
    os::abort()
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
