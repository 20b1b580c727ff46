//! Operators new and delete, all forms.
//!
//! A `new` that finds no memory calls the new-handler again and again, which may throw, and without one throws
//! `std::bad_alloc`. An exception must not pass a Rust frame, so every function on that way is naked: assembly with unwind
//! tables, which ends in a *jump* to libstdc++'s thrower. The library itself needs no libstdc++: its names are weak.
//!
//! | form                     | does                                                              | may be replaced by the program |
//! |--------------------------|-------------------------------------------------------------------|--------------------------------|
//! | `new`, aligned `new`     | the core's block, else [`new_slow`]                               | yes                            |
//! | `delete`, aligned        | the core's free                                                   | yes                            |
//! | `new[]`, `delete[]`      | jump to the single form *by its public name*                      | yes                            |
//! | sized `delete`           | jump to the form without size, by its public name                 | yes                            |
//! | nothrow `new`            | call the throwing form by its public name, null for any exception | yes                            |
//! | nothrow `delete`         | jump to the plain form, by its public name                        | yes                            |
//!
//! By its public name: the standard has a program that replaces `operator new(size_t)` alone replace all that build on it.
//!
//! Where the C++ runtime comes from, in this order: the weak names; a runtime that was loaded by `dlopen` out of our sight (a
//! C program with a C++ plug-in); in a static program without libstdc++'s thrower, an exception made by hand; else a message
//! and abort.
#![allow(non_snake_case, reason = "the names are C++'s")]

use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr::null;

use tessalloc::raw;

use crate::block::at_least_16;

#[macro_use]
#[cfg_attr(target_arch = "x86_64", path = "cxx/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "cxx/aarch64.rs")]
mod text;

/// A block for `new`, or null.
extern "C" fn new_block(size: usize) -> *mut u8 {
    raw::malloc(size)
}

/// A block for aligned `new`, or null; also for an `align` that is no power of two.
extern "C" fn new_aligned(size: usize, align: usize) -> *mut u8 {
    if align.is_power_of_two() { at_least_16(size, align) } else { core::ptr::null_mut() }
}

unsafe extern "C" fn delete_block(block: *mut u8) {
    // SAFETY: the caller of the operator hands over null or a block of ours.
    unsafe { raw::free(block) };
}

/// Makes accessors for names that may be missing: the address, or null.
macro_rules! weak {
    ($($function:ident = $name:literal;)*) => { $(
        #[unsafe(naked)]
        extern "C" fn $function() -> *const c_void {
            naked_asm!(weak_address_text!($name))
        }
    )* };
}

pub(crate) mod unwind;

weak! {
    weak_get_new_handler = "_ZSt15get_new_handlerv";
    weak_throw_bad_alloc = "_ZSt17__throw_bad_allocv";
    weak_allocate_exception = "__cxa_allocate_exception";
    weak_throw = "__cxa_throw";
    weak_bad_alloc_type = "_ZTISt9bad_alloc";
    weak_bad_alloc_table = "_ZTVSt9bad_alloc";
    weak_dlsym = "dlsym";
}

/// The address of `name` in a C++ runtime that is loaded but not visible to us; null if there is none.
#[cold]
fn in_hidden_runtime(name: &CStr) -> *const c_void {
    let symbol = weak_dlsym();
    if symbol.is_null() {
        return null();
    }
    // SAFETY: this is libc's function of this type, just found not to be null.
    let symbol =
        unsafe { transmute::<*const c_void, extern "C" fn(*mut c_void, *const c_char) -> *const c_void>(symbol) };
    // By `dlsym`: a name of our own for `dlopen` makes the linker warn in every static program.
    let open = symbol(libc::RTLD_DEFAULT, c"dlopen".as_ptr());
    if open.is_null() {
        return null();
    }
    // SAFETY: as above.
    let open = unsafe { transmute::<*const c_void, extern "C" fn(*const c_char, c_int) -> *mut c_void>(open) };
    for library in [c"libstdc++.so.6", c"libc++.so.1"] {
        // The handle is kept: its code is about to run.
        let handle = open(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if !handle.is_null() {
            let address = symbol(handle, name.as_ptr());
            if !address.is_null() {
                return address;
            }
        }
    }
    null()
}

/// The program's new-handler; null if it has none.
#[cold]
extern "C" fn new_handler() -> *const c_void {
    let mut get = weak_get_new_handler();
    if get.is_null() {
        get = in_hidden_runtime(c"_ZSt15get_new_handlerv");
    }
    if get.is_null() {
        return null();
    }
    // SAFETY: this name is `std::new_handler std::get_new_handler() noexcept`.
    unsafe { transmute::<*const c_void, extern "C" fn() -> *const c_void>(get)() }
}

/// A function that throws `std::bad_alloc`; it does not return without one.
#[cold]
extern "C" fn thrower() -> *const c_void {
    let visible = weak_throw_bad_alloc();
    if !visible.is_null() {
        return visible;
    }
    let parts = [weak_allocate_exception(), weak_throw(), weak_bad_alloc_type(), weak_bad_alloc_table()];
    if parts.iter().all(|part| !part.is_null()) {
        return throw_by_hand as *const c_void;
    }
    let hidden = in_hidden_runtime(c"_ZSt17__throw_bad_allocv");
    if !hidden.is_null() {
        return hidden;
    }
    crate::say(b"tessalloc: operator new: out of memory, and no C++ runtime was found to throw std::bad_alloc\n");
    // SAFETY: no duties.
    unsafe { libc::abort() }
}

/// Throws `std::bad_alloc` by the ABI's functions, all of which [`thrower`] has found.
#[unsafe(naked)]
unsafe extern "C" fn throw_by_hand() {
    naked_asm!(throw_by_hand_text!())
}

/// `size` in the first, `align` in the second argument: asks the new-handler for room and tries again, until there is a block
/// or no handler.
#[unsafe(naked)]
unsafe extern "C" fn new_slow() {
    naked_asm!(new_slow_text!(), handler = sym new_handler, retry = sym new_aligned, thrower = sym thrower)
}

/// Calls the throwing form whose address is in the first scratch register with the arguments as they are; an exception
/// becomes null. Without a C++ runtime nothing can be caught: then the core's function in the second scratch register is called.
#[unsafe(naked)]
unsafe extern "C" fn without_throw() {
    naked_asm!(without_throw_text!())
}

/// `operator new(size_t)`
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn _Znwm() {
    naked_asm!(new_text!(), block = sym new_block, slow = sym new_slow)
}

/// `operator new(size_t, align_val_t)`
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn _ZnwmSt11align_val_t() {
    naked_asm!(new_aligned_text!(), block = sym new_aligned, slow = sym new_slow)
}

/// `operator delete(void*)`
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn _ZdlPv() {
    naked_asm!(jump_text!(), target = sym delete_block)
}

/// `operator delete(void*, align_val_t)`
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn _ZdlPvSt11align_val_t() {
    naked_asm!(jump_text!(), target = sym delete_block)
}

/// Makes exports that jump to another one by its public name; the arguments stay where they are, those left over do no harm.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident => $target:literal;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(jump_public_text!($target))
        }
    )* };
}

forward! {
    /// `operator new[](size_t)`
    _Znam => "_Znwm";
    /// `operator new[](size_t, align_val_t)`
    _ZnamSt11align_val_t => "_ZnwmSt11align_val_t";
    /// `operator delete[](void*)`
    _ZdaPv => "_ZdlPv";
    /// `operator delete(void*, size_t)`
    _ZdlPvm => "_ZdlPv";
    /// `operator delete[](void*, size_t)`
    _ZdaPvm => "_ZdaPv";
    /// `operator delete(void*, nothrow_t const&)`
    _ZdlPvRKSt9nothrow_t => "_ZdlPv";
    /// `operator delete[](void*, nothrow_t const&)`
    _ZdaPvRKSt9nothrow_t => "_ZdaPv";
    /// `operator delete[](void*, align_val_t)`
    _ZdaPvSt11align_val_t => "_ZdlPvSt11align_val_t";
}

/// As `forward!`, where the second argument is a size and the alignment the third: it becomes the second.
macro_rules! forward_sized_aligned {
    ($($(#[$doc:meta])* $name:ident => $target:literal;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(drop_second_jump_public_text!($target))
        }
    )* };
}

forward_sized_aligned! {
    /// `operator delete(void*, size_t, align_val_t)`
    _ZdlPvmSt11align_val_t => "_ZdlPvSt11align_val_t";
    /// `operator delete[](void*, size_t, align_val_t)`
    _ZdaPvmSt11align_val_t => "_ZdaPvSt11align_val_t";
}

forward! {
    /// `operator delete(void*, align_val_t, nothrow_t const&)`
    _ZdlPvSt11align_val_tRKSt9nothrow_t => "_ZdlPvSt11align_val_t";
    /// `operator delete[](void*, align_val_t, nothrow_t const&)`
    _ZdaPvSt11align_val_tRKSt9nothrow_t => "_ZdaPvSt11align_val_t";
}

/// Makes the nothrow forms of `new` from the throwing ones.
macro_rules! nothrow {
    ($($(#[$doc:meta])* $name:ident => $target:literal, $plain:ident;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(nothrow_text!($target), plain = sym $plain, shared = sym without_throw)
        }
    )* };
}

nothrow! {
    /// `operator new(size_t, nothrow_t const&)`
    _ZnwmRKSt9nothrow_t => "_Znwm", new_block;
    /// `operator new[](size_t, nothrow_t const&)`
    _ZnamRKSt9nothrow_t => "_Znam", new_block;
    /// `operator new(size_t, align_val_t, nothrow_t const&)`
    _ZnwmSt11align_val_tRKSt9nothrow_t => "_ZnwmSt11align_val_t", new_aligned;
    /// `operator new[](size_t, align_val_t, nothrow_t const&)`
    _ZnamSt11align_val_tRKSt9nothrow_t => "_ZnamSt11align_val_t", new_aligned;
}
