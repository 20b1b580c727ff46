//! The options of `include/tessalloc.h`: numbers, names and units are those of the core's table.
use core::ffi::{CStr, c_char, c_int};
use core::ptr::null;

use tessalloc::Opt;
use tessalloc::table::{self, OptionInfo};

fn of_number(option: c_int) -> Option<Opt> {
    Opt::ALL.get(usize::try_from(option).ok()?).copied()
}

/// How many options there are.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_option_count() -> c_int {
    Opt::ALL.len() as c_int
}

/// The option's name in the environment; null if there is no such option.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_option_name(option: c_int) -> *const c_char {
    of_number(option).map_or(null(), |opt| opt.c_name().as_ptr())
}

/// The option of a name; −1 if there is none.
///
/// # Safety
/// - `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_option_find(name: *const c_char) -> c_int {
    // SAFETY: the caller's duty.
    unsafe { text_of(name) }.and_then(Opt::of_name).map_or(-1, |opt| opt as c_int)
}

/// The value in force; 0 if there is no such option.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_option_get(option: c_int) -> u64 {
    of_number(option).map_or(0, Opt::value)
}

/// Sets a value: 0, EINVAL for no such option, ERANGE for a value that it does not take.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_option_set(option: c_int, value: u64) -> c_int {
    table::option_set(option, value)
}

/// Sets a value as the environment gives it: 0, EINVAL for no such option, ERANGE for a text that is no value of it.
///
/// # Safety
/// - `text` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_option_set_text(option: c_int, text: *const c_char) -> c_int {
    // SAFETY: the caller's duty.
    unsafe { table::option_set_text(option, text) }
}

/// Writes as much of what is known of an option as the caller's struct holds: 0, EINVAL for no such option.
///
/// # Safety
/// - `out` points to a `tessalloc_option_info_t` of `out->struct_bytes` bytes, at least 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_option_info(option: c_int, out: *mut OptionInfo) -> c_int {
    // SAFETY: the caller's duty.
    unsafe { table::option_info(option, out) }
}

/// Writes every option with its value, and who gave it, to standard error.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_options_print() {
    tessalloc::print_options();
}

/// A C string as text; `None` for null and for what is no UTF-8.
///
/// # Safety
/// - `text` is null or a C string that lives as long as the result is used.
unsafe fn text_of<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: the caller's duty.
    if text.is_null() { None } else { unsafe { CStr::from_ptr(text) }.to_str().ok() }
}
