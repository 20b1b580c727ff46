//! What AddressSanitizer and valgrind's memcheck are told, by the features `asan` and `valgrind`; without them nothing, at no cost.
//!
//! | event                                                 | call                                  | AddressSanitizer | memcheck       |
//! |-------------------------------------------------------|---------------------------------------|------------------|----------------|
//! | a block goes out                                      | [`out`], [`out_of`]                   | may be touched   | touched, unset |
//! | … and reads zero                                      | [`zero_of`]                           | as it is         | set            |
//! | … of which only so much was asked for                 | [`asked`]                             | the rest may not | –              |
//! | someone asks how much a block really holds            | [`whole`]                             | the rest may too | –              |
//! | a block, or a page of them, is nobody's               | [`back`], [`back_of`], [`back_whole`] | may not          | may not        |
//! | slices become memory of another kind, or the system's | [`open`]                              | may be touched   | set            |
//! | a link of a free block is read or written             | [`link`]                              | may, meanwhile   | set, meanwhile |
//!
//! Blocks that were guarded or sampled, or lie at an offset, are memory of another kind: these features see no end of them.

#![allow(unused_variables, reason = "each of the two is told some of it")]

#[cfg(any(feature = "asan", feature = "valgrind"))]
use crate::size_class::BLOCK_BYTES;
use crate::size_class::SizeClass;

/// A block goes out.
#[inline(always)]
pub(crate) fn out(block: *mut u8, bytes: usize) {
    #[cfg(feature = "asan")]
    asan::unpoison(block, bytes);
    #[cfg(feature = "valgrind")]
    memcheck::request(memcheck::UNDEFINED, block, bytes);
}

/// As [`out`], for a block of a class.
#[inline(always)]
pub(crate) fn out_of(class: SizeClass, block: *mut u8) {
    #[cfg(any(feature = "asan", feature = "valgrind"))]
    out(block, class.block_bytes());
}

/// As [`out_of`], for a block that reads zero.
#[inline(always)]
pub(crate) fn zero_of(class: SizeClass, block: *mut u8) {
    #[cfg(feature = "valgrind")]
    memcheck::request(memcheck::DEFINED, block, class.block_bytes());
}

/// A block is nobody's from now on; so is a page of them.
#[inline(always)]
pub(crate) fn back(block: *mut u8, bytes: usize) {
    #[cfg(feature = "asan")]
    asan::poison(block, bytes);
    #[cfg(feature = "valgrind")]
    memcheck::request(memcheck::NO_ACCESS, block, bytes);
}

/// As [`back`], for a block of a class.
#[inline(always)]
pub(crate) fn back_of(class: usize, block: *mut u8) {
    #[cfg(any(feature = "asan", feature = "valgrind"))]
    back(block, BLOCK_BYTES[class] as usize);
}

/// As [`back`], for a block whose size the caller does not know.
#[inline(always)]
pub(crate) fn back_whole(block: *mut u8) {
    #[cfg(any(feature = "asan", feature = "valgrind"))]
    if let Some(bytes) = crate::thread::plain_bytes(block) {
        back(block, bytes);
    }
}

/// Slices are plain memory from now on.
#[inline(always)]
pub(crate) fn open(start: *mut u8, bytes: usize) {
    #[cfg(feature = "asan")]
    asan::unpoison(start, bytes);
    #[cfg(feature = "valgrind")]
    memcheck::request(memcheck::DEFINED, start, bytes);
}

/// Of a block that went out, which may be null, `bytes` were asked for.
#[inline(always)]
pub(crate) fn asked(block: *mut u8, bytes: usize) -> *mut u8 {
    #[cfg(feature = "asan")]
    if let Some(usable) = crate::thread::plain_bytes(block) {
        asan::unpoison(block, usable);
        asan::poison(block.wrapping_add(bytes), usable - bytes);
    }
    block
}

/// All that a block holds may be used.
#[inline(always)]
pub(crate) fn whole(block: *const u8) {
    #[cfg(feature = "asan")]
    if let Some(usable) = crate::thread::plain_bytes(block) {
        asan::unpoison(block.cast_mut(), usable);
    }
}

/// Runs `act`, which reads or writes the link of a free block.
#[inline(always)]
pub(crate) fn link<T>(block: *mut u8, act: impl FnOnce() -> T) -> T {
    open(block, size_of::<usize>());
    let answer = act();
    back(block, size_of::<usize>());
    answer
}

#[cfg(feature = "asan")]
mod asan {
    use core::ffi::c_void;

    // The sanitizer's own functions, which its runtime brings.
    unsafe extern "C" {
        fn __asan_poison_memory_region(start: *const c_void, bytes: usize);
        fn __asan_unpoison_memory_region(start: *const c_void, bytes: usize);
    }

    pub(super) fn poison(start: *mut u8, bytes: usize) {
        // SAFETY: takes any range of addresses; nothing of it is read.
        unsafe { __asan_poison_memory_region(start.cast(), bytes) };
    }

    pub(super) fn unpoison(start: *mut u8, bytes: usize) {
        // SAFETY: as above.
        unsafe { __asan_unpoison_memory_region(start.cast(), bytes) };
    }
}

/// Client requests: instructions that do nothing, by which valgrind knows that a request lies in registers.
#[cfg(feature = "valgrind")]
mod memcheck {
    /// The first request of memcheck's: `M` and `C`.
    const FIRST: usize = 0x4d43_0000;
    pub(super) const NO_ACCESS: usize = FIRST;
    pub(super) const UNDEFINED: usize = FIRST + 1;
    pub(super) const DEFINED: usize = FIRST + 2;

    #[inline(always)]
    pub(super) fn request(kind: usize, start: *mut u8, bytes: usize) {
        let arguments = [kind, start.addr(), bytes, 0, 0, 0];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: rotates a register by 128 bits in all, and exchanges another with itself; under valgrind an answer comes in `rdx`.
        unsafe {
            core::arch::asm!(
                "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
                in("rax") &raw const arguments, inout("rdx") 0_usize => _, options(nostack),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: rotates a register by 128 bits in all, and sets another to itself; under valgrind an answer comes in `x3`.
        unsafe {
            core::arch::asm!(
                "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61", "orr x10, x10, x10",
                in("x4") &raw const arguments, inout("x3") 0_usize => _, options(nostack),
            );
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = arguments;
    }
}
