//! The options of `include/tessalloc.h`: numbers, names and units are those of the core's table.
use core::ffi::{CStr, c_char, c_int};
use core::ptr::{copy_nonoverlapping, null};

use tessalloc::Opt;

/// `tessalloc_option_info_t`. Later versions only append.
#[repr(C)]
pub struct Info {
    struct_bytes: u32,
    unit: u32,
    source: u32,
    /// Zero: what stands behind it is aligned to 8.
    padding: u32,
    value: u64,
    default_value: u64,
    least: u64,
    most: u64,
    name: *const c_char,
    doc: *const c_char,
}

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
    let Some(opt) = of_number(option) else { return libc::EINVAL };
    opt.set(value).map_or(libc::ERANGE, |()| 0)
}

/// Sets a value as the environment gives it: 0, EINVAL for no such option, ERANGE for a text that is no value of it.
///
/// # Safety
/// - `text` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_option_set_text(option: c_int, text: *const c_char) -> c_int {
    let Some(opt) = of_number(option) else { return libc::EINVAL };
    // SAFETY: the caller's duty.
    let value = unsafe { text_of(text) }.and_then(|text| opt.parse(text));
    value.and_then(|value| opt.set(value).ok()).map_or(libc::ERANGE, |()| 0)
}

/// Writes as much of what is known of an option as the caller's struct holds: 0, EINVAL for no such option.
///
/// # Safety
/// - `out` points to a `tessalloc_option_info_t` of `out->struct_bytes` bytes, at least 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_option_info(option: c_int, out: *mut Info) -> c_int {
    let Some(opt) = of_number(option) else { return libc::EINVAL };
    let (least, most) = opt.range();
    // SAFETY: the caller's duty.
    let room = unsafe { (&raw const (*out).struct_bytes).read() } as usize;
    let bytes = room.min(size_of::<Info>());
    let info = Info {
        struct_bytes: bytes as u32,
        unit: opt.unit() as u32,
        source: opt.source() as u32,
        padding: 0,
        value: opt.value(),
        default_value: opt.default_value(),
        least,
        most,
        name: opt.c_name().as_ptr(),
        doc: opt.c_doc().as_ptr(),
    };
    // SAFETY: `bytes` is within both structs; they don't overlap, `info` is a local.
    unsafe { copy_nonoverlapping((&raw const info).cast::<u8>(), out.cast::<u8>(), bytes) };
    0
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
