//! One thread-local word: this thread's [`Stacks`](crate::theap::Stacks). Never null: it starts at the read-only
//! [`EMPTY`](crate::theap::EMPTY), whose stacks are empty and have no room, so that the fast paths need no test of their own.

use crate::theap::{EMPTY, Stacks};

#[cfg(all(feature = "initial-exec", not(feature = "addon"), target_os = "linux", target_arch = "x86_64"))]
mod word {
    use super::*;

    // Eight bytes of the static thread-local space, initial-exec: one load of the offset, one of the word. The word is the
    // distance from `EMPTY`, so that zero bytes mean `EMPTY`: while the program is being relocated (IFUNC resolvers run then)
    // the space is zero, and an initial value would come only later.
    core::arch::global_asm!(
        ".section .tbss,\"awT\",@nobits",
        ".p2align 3",
        ".hidden tessalloc_thread_word",
        ".globl tessalloc_thread_word",
        ".type tessalloc_thread_word,@object",
        ".size tessalloc_thread_word,8",
        "tessalloc_thread_word:",
        ".zero 8",
        ".text",
    );

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        let word: *mut Stacks;
        // SAFETY: reads this thread's word, which began as zero.
        unsafe {
            core::arch::asm!("movq tessalloc_thread_word@GOTTPOFF(%rip), {1}", "leaq {empty}(%rip), {0}", "addq %fs:({1}), {0}",
                out(reg) word, out(reg) _, empty = sym EMPTY, options(att_syntax, pure, readonly, nostack));
        }
        word
    }

    pub(crate) fn set(word: *mut Stacks) {
        let distance = word.addr().wrapping_sub((&raw const EMPTY).addr());
        // SAFETY: writes this thread's word.
        unsafe {
            core::arch::asm!("movq tessalloc_thread_word@GOTTPOFF(%rip), {0}", "movq {1}, %fs:({0})", out(reg) _, in(reg) distance,
                options(att_syntax, nostack, preserves_flags));
        }
    }
}

#[cfg(all(feature = "initial-exec", not(feature = "addon"), target_os = "linux", target_arch = "aarch64"))]
mod word {
    use super::*;

    core::arch::global_asm!(
        ".section .tbss,\"awT\",@nobits",
        ".p2align 3",
        ".hidden tessalloc_thread_word",
        ".globl tessalloc_thread_word",
        ".type tessalloc_thread_word,@object",
        ".size tessalloc_thread_word,8",
        "tessalloc_thread_word:",
        ".zero 8",
        ".text",
    );

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        let word: *mut Stacks;
        // SAFETY: reads this thread's word, which began as zero: the distance from `EMPTY`, as on x86-64.
        unsafe {
            core::arch::asm!("adrp {0}, :gottprel:tessalloc_thread_word", "ldr {0}, [{0}, :gottprel_lo12:tessalloc_thread_word]",
                "mrs {1}, tpidr_el0", "ldr {1}, [{1}, {0}]", "adrp {0}, {empty}", "add {0}, {0}, :lo12:{empty}", "add {0}, {0}, {1}",
                out(reg) word, out(reg) _, empty = sym EMPTY, options(pure, readonly, nostack, preserves_flags));
        }
        word
    }

    pub(crate) fn set(word: *mut Stacks) {
        let distance = word.addr().wrapping_sub((&raw const EMPTY).addr());
        // SAFETY: writes this thread's word.
        unsafe {
            core::arch::asm!("adrp {0}, :gottprel:tessalloc_thread_word", "ldr {0}, [{0}, :gottprel_lo12:tessalloc_thread_word]",
                "mrs {1}, tpidr_el0", "str {2}, [{1}, {0}]", out(reg) _, out(reg) _, in(reg) distance, options(nostack, preserves_flags));
        }
    }
}

#[cfg(shuttle)]
mod word {
    use super::*;
    use core::cell::Cell;

    shuttle::thread_local! {
        static WORD: Cell<*mut Stacks> = Cell::new((&raw const EMPTY).cast_mut());
    }

    pub(crate) fn get() -> *mut Stacks {
        WORD.with(Cell::get)
    }

    pub(crate) fn set(word: *mut Stacks) {
        WORD.with(|cell| cell.set(word));
    }
}

#[cfg(not(any(
    shuttle,
    all(
        feature = "initial-exec",
        not(feature = "addon"),
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )
)))]
mod word {
    use super::*;
    use core::cell::Cell;

    std::thread_local! {
        // Constant and without a destructor: an access is one load, and stays valid while the thread ends.
        static WORD: Cell<*mut Stacks> = const { Cell::new((&raw const EMPTY).cast_mut()) };
    }

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        WORD.with(Cell::get)
    }

    pub(crate) fn set(word: *mut Stacks) {
        WORD.with(|cell| cell.set(word));
    }
}

pub(crate) use word::{get, set};
