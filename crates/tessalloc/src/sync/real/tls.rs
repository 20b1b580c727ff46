//! One thread-local word: this thread's [`Stacks`](crate::theap::Stacks). Never null: it starts at the read-only
//! [`EMPTY`](crate::theap::EMPTY), whose stacks are empty and have no room, so that the fast paths need no test of their own.

use crate::theap::{EMPTY, Stacks};

#[cfg(all(
    feature = "initial-exec",
    not(feature = "addon"),
    any(target_os = "linux", target_os = "freebsd"),
    target_arch = "x86_64"
))]
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

#[cfg(all(
    feature = "initial-exec",
    not(feature = "addon"),
    any(target_os = "linux", target_os = "freebsd"),
    target_arch = "aarch64"
))]
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

// Thread locals of macOS allocate when a thread first uses one; keys do not.
#[cfg(all(target_os = "macos", not(feature = "std")))]
mod word {
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    /// The key, plus one; 0 until made.
    static KEY: AtomicUsize = AtomicUsize::new(0);

    #[inline(always)]
    pub(crate) fn get() -> *mut Stacks {
        // ORDER: Relaxed: a thread has a word if it set one, and then it saw the key.
        let key = KEY.load(Ordering::Relaxed);
        let word = if key == 0 {
            core::ptr::null_mut()
        } else {
            // SAFETY: the key was made and is never deleted.
            unsafe { libc::pthread_getspecific(key as libc::pthread_key_t - 1) }
        };
        if word.is_null() { (&raw const EMPTY).cast_mut() } else { word.cast() }
    }

    pub(crate) fn set(word: *mut Stacks) {
        // SAFETY: the key was made and is never deleted. It fails for keys that there are not.
        unsafe { libc::pthread_setspecific(key(), word.cast()) };
    }

    /// The key; made by the first call. The process ends where there is none to be had: nothing can be allocated without.
    fn key() -> libc::pthread_key_t {
        // ORDER: Acquire pairs with the Release below: who sees the key sees it made.
        let known = KEY.load(Ordering::Acquire);
        if known != 0 {
            return known as libc::pthread_key_t - 1;
        }
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: `key` is ours to write.
        unsafe {
            if libc::pthread_key_create(&mut key, None) != 0 {
                libc::abort();
            }
        }
        // ORDER: Release pairs with the Acquire above; Acquire as there.
        match KEY.compare_exchange(0, key as usize + 1, Ordering::Release, Ordering::Acquire) {
            Ok(_) => key,
            Err(first) => {
                // SAFETY: made just now, and no thread has a value for it.
                unsafe { libc::pthread_key_delete(key) };
                first as libc::pthread_key_t - 1
            }
        }
    }
}

#[cfg(not(any(
    shuttle,
    all(target_os = "macos", not(feature = "std")),
    all(
        feature = "initial-exec",
        not(feature = "addon"),
        any(target_os = "linux", target_os = "freebsd"),
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
