//! One thread-local word: this thread's [`Stacks`](crate::theap::Stacks). Never null: it starts at the read-only
//! [`EMPTY`](crate::theap::EMPTY), whose stacks are empty and have no room, so that the fast paths need no test of their own.

use crate::theap::{EMPTY, Stacks};

#[cfg(all(feature = "initial-exec", target_os = "linux", target_arch = "x86_64"))]
mod word {
    use super::*;

    // Eight bytes of the static thread-local space, initial-exec: one load of the offset, one of the word.
    core::arch::global_asm!(
        ".section .tdata,\"awT\",@progbits",
        ".p2align 3",
        ".hidden tessalloc_thread_word",
        ".globl tessalloc_thread_word",
        ".type tessalloc_thread_word,@object",
        ".size tessalloc_thread_word,8",
        "tessalloc_thread_word:",
        ".quad {empty}",
        ".text",
        empty = sym EMPTY,
    );

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        let word: *mut Stacks;
        // SAFETY: reads this thread's word, which the loader set up from `.tdata`.
        unsafe {
            core::arch::asm!("movq tessalloc_thread_word@GOTTPOFF(%rip), {0}", "movq %fs:({0}), {0}", out(reg) word,
                options(att_syntax, pure, readonly, nostack, preserves_flags));
        }
        word
    }

    pub(crate) fn set(word: *mut Stacks) {
        // SAFETY: writes this thread's word.
        unsafe {
            core::arch::asm!("movq tessalloc_thread_word@GOTTPOFF(%rip), {0}", "movq {1}, %fs:({0})", out(reg) _, in(reg) word,
                options(att_syntax, nostack, preserves_flags));
        }
    }
}

#[cfg(all(feature = "initial-exec", target_os = "linux", target_arch = "aarch64"))]
mod word {
    use super::*;

    core::arch::global_asm!(
        ".section .tdata,\"awT\",@progbits",
        ".p2align 3",
        ".hidden tessalloc_thread_word",
        ".globl tessalloc_thread_word",
        ".type tessalloc_thread_word,@object",
        ".size tessalloc_thread_word,8",
        "tessalloc_thread_word:",
        ".xword {empty}",
        ".text",
        empty = sym EMPTY,
    );

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        let word: *mut Stacks;
        // SAFETY: reads this thread's word, which the loader set up from `.tdata`.
        unsafe {
            core::arch::asm!("adrp {0}, :gottprel:tessalloc_thread_word", "ldr {0}, [{0}, :gottprel_lo12:tessalloc_thread_word]",
                "mrs {1}, tpidr_el0", "ldr {0}, [{1}, {0}]", out(reg) word, out(reg) _, options(pure, readonly, nostack, preserves_flags));
        }
        word
    }

    pub(crate) fn set(word: *mut Stacks) {
        // SAFETY: writes this thread's word.
        unsafe {
            core::arch::asm!("adrp {0}, :gottprel:tessalloc_thread_word", "ldr {0}, [{0}, :gottprel_lo12:tessalloc_thread_word]",
                "mrs {1}, tpidr_el0", "str {2}, [{1}, {0}]", out(reg) _, out(reg) _, in(reg) word, options(nostack, preserves_flags));
        }
    }
}

#[cfg(not(all(feature = "initial-exec", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
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
