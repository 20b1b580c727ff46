//! What another copy of the allocator in the process needs to speak to this one: functions behind plain pointers.
//!
//! The C library exports [`OWN`] as `tessalloc_table_v1`; a Node add-on that finds it speaks to that copy, else to its own by the
//! same table. The structures are those of `tessalloc.h`, which says what each field means.
//!
//! | field     | always true                                                                                             |
//! |-----------|---------------------------------------------------------------------------------------------------------|
//! | `version` | B1 1; a table that cannot be read as this one has another name                                            |
//! | `bytes`   | B2 of the whole table: later versions only append                                                         |
//! | the rest  | B3 inner functions: what a program puts in the place of `malloc` or of `tessalloc_malloc` is not this copy |
//!
//! B3 is why the functions have a section of their own: else LLVM would merge them with exported functions that they equal, and the
//! table would reach those by name.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::copy_nonoverlapping;

use crate::options::Opt;
use crate::pressure::{self, PressureCall};
use crate::stats::pages::{ClassStats, OtherPages, PageStats};
use crate::{Stats, VERSION, raw};

/// `tessalloc_table_t`.
#[repr(C)]
pub struct Table {
    /// 1.
    pub version: u32,
    /// Bytes of the table.
    pub bytes: u32,
    /// This copy's version.
    pub version_text: extern "C" fn() -> *const c_char,
    /// As `tessalloc_stats`.
    pub stats: unsafe extern "C" fn(*mut Stats),
    /// As `tessalloc_purge`.
    pub purge: extern "C" fn() -> usize,
    /// As `tessalloc_malloc`, but for `errno`.
    pub malloc: extern "C" fn(usize) -> *mut c_void,
    /// As `tessalloc_free`.
    pub free: unsafe extern "C" fn(*mut c_void),
    /// As `tessalloc_usable_size`.
    pub usable_size: unsafe extern "C" fn(*const c_void) -> usize,
    /// As `tessalloc_is_ours`.
    pub is_ours: extern "C" fn(*const c_void) -> c_int,
    /// As `tessalloc_page_stats`.
    pub page_stats: unsafe extern "C" fn(*mut Pages, Option<Visit>, *mut c_void),
    /// As `tessalloc_option_info`.
    pub option_info: unsafe extern "C" fn(c_int, *mut OptionInfo) -> c_int,
    /// As `tessalloc_option_set`.
    pub option_set: extern "C" fn(c_int, u64) -> c_int,
    /// As `tessalloc_option_set_text`.
    pub option_set_text: unsafe extern "C" fn(c_int, *const c_char) -> c_int,
    /// Has a function called on pressure beside all others (not 0), or no more (0). 1, or 0 if that cannot be.
    pub listen: unsafe extern "C" fn(PressureCall, *mut c_void, c_int) -> c_int,
    /// Shows each range of blocks' memory that may be resident, until [`VisitRange`] answers 0. Nothing else is resident but tables.
    pub ranges: unsafe extern "C" fn(VisitRange, *mut c_void),
}

/// What is called with the start and bytes of each range; 0: no more.
pub type VisitRange = unsafe extern "C" fn(*mut c_void, usize, *mut c_void) -> c_int;

/// The table of this copy.
pub static OWN: Table = Table {
    version: 1,
    bytes: size_of::<Table>() as u32,
    version_text,
    stats,
    purge,
    malloc,
    free,
    usable_size,
    is_ours,
    page_stats,
    option_info,
    option_set,
    option_set_text,
    listen,
    ranges,
};

/// [`VERSION`] as a C string.
pub static VERSION_TEXT: &CStr = {
    const TEXT: &[u8; VERSION.len() + 1] = &{
        let mut text = [0; VERSION.len() + 1];
        let mut index = 0;
        while index < VERSION.len() {
            text[index] = VERSION.as_bytes()[index];
            index += 1;
        }
        text
    };
    match CStr::from_bytes_with_nul(TEXT) {
        Ok(text) => text,
        Err(_) => panic!("the version holds a zero"),
    }
};

/// `EINVAL`, the same on all systems: no such option.
const NO_SUCH_OPTION: c_int = 22;
/// `ERANGE`, the same on all systems: a value that the option does not take.
const OUT_OF_RANGE: c_int = 34;

/// `tessalloc_option_info_t`. Later versions only append.
#[repr(C)]
#[derive(Debug)]
pub struct OptionInfo {
    /// In: of the caller's structure. Out: those written.
    pub struct_bytes: u32,
    /// A [`Unit`](crate::options::Unit).
    pub unit: u32,
    /// A [`Source`](crate::options::Source).
    pub source: u32,
    /// Zero: what stands behind it is aligned to 8.
    pub padding: u32,
    /// In force now.
    pub value: u64,
    /// Where nobody gave another one.
    pub default_value: u64,
    /// The ends of its range.
    pub least: u64,
    /// The ends of its range.
    pub most: u64,
    /// In the environment.
    pub name: *const c_char,
    /// What it does.
    pub doc: *const c_char,
}

/// `tessalloc_class_stats_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Class {
    /// Of this structure.
    pub struct_bytes: u64,
    /// Those of the class.
    pub figures: ClassStats,
}

/// `tessalloc_page_stats_t`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Pages {
    /// 1.
    pub version: u32,
    /// In: of the caller's structure. Out: those written.
    pub struct_bytes: u32,
    /// Those of pages without one class.
    pub figures: OtherPages,
}

/// What is called with each size class; 0: no more.
pub type Visit = unsafe extern "C" fn(*const Class, *mut c_void) -> c_int;

/// Copies as much of `from` as the caller's structure holds, and says in it how much that is.
///
/// # Safety
/// - Both structures begin with the words of version and bytes; `out` has the bytes that its second word says, at least 8.
pub unsafe fn fill<T>(out: *mut T, from: &T) {
    let out = out.cast::<u32>();
    // SAFETY: the caller's duty: the two words are there; what is copied lies within both structures, which don't overlap.
    unsafe {
        let bytes = (out.add(1).read() as usize).min(size_of::<T>());
        if bytes >= 2 * size_of::<u32>() {
            copy_nonoverlapping((&raw const *from).cast::<u8>(), out.cast::<u8>(), bytes);
            out.add(1).write(bytes as u32);
        }
    }
}

/// Fills `out`, if it is not null, and shows each class to `visit`, if that is not null.
///
/// # Safety
/// - `out` is null, or points to [`Pages`] of `out->struct_bytes` bytes, at least 8.
/// - `visit` is none, or may be called with `arg`.
pub unsafe fn show_pages(pages: &PageStats, out: *mut Pages, visit: Option<Visit>, arg: *mut c_void) {
    if !out.is_null() {
        // SAFETY: the caller's duty.
        unsafe { fill(out, &Pages { version: 1, struct_bytes: 0, figures: pages.other() }) };
    }
    let Some(visit) = visit else { return };
    for figures in pages.classes() {
        // SAFETY: the caller's duty.
        if unsafe { visit(&Class { struct_bytes: size_of::<Class>() as u64, figures }, arg) } == 0 {
            return;
        }
    }
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
extern "C" fn version_text() -> *const c_char {
    VERSION_TEXT.as_ptr()
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn stats(out: *mut Stats) {
    // SAFETY: the caller keeps the duties of `tessalloc_stats`.
    unsafe { fill(out, &crate::stats()) };
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn ranges(visit: VisitRange, arg: *mut c_void) {
    // SAFETY: the caller's function may be called with its argument.
    crate::region::for_each_dirty(|at, bytes| unsafe { visit(at.cast(), bytes, arg) } != 0);
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
extern "C" fn purge() -> usize {
    crate::purge()
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
extern "C" fn malloc(size: usize) -> *mut c_void {
    raw::malloc(size).cast()
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller keeps the duties of `free`.
    unsafe { raw::free(block.cast()) };
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn usable_size(block: *const c_void) -> usize {
    // SAFETY: the caller keeps the duties of `malloc_usable_size`.
    unsafe { raw::usable_size(block.cast()) }
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
extern "C" fn is_ours(address: *const c_void) -> c_int {
    c_int::from(raw::is_ours(address.cast()))
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn page_stats(out: *mut Pages, visit: Option<Visit>, arg: *mut c_void) {
    // SAFETY: the caller keeps the duties of `tessalloc_page_stats`.
    unsafe { show_pages(&crate::page_stats(), out, visit, arg) };
}

fn of_number(option: c_int) -> Option<Opt> {
    Opt::ALL.get(usize::try_from(option).ok()?).copied()
}

/// Writes as much of what is known of an option as the caller's struct holds: 0, EINVAL for no such option.
///
/// # Safety
/// - `out` points to [`OptionInfo`] of `out->struct_bytes` bytes, at least 4.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
pub unsafe extern "C" fn option_info(option: c_int, out: *mut OptionInfo) -> c_int {
    let Some(opt) = of_number(option) else { return NO_SUCH_OPTION };
    let (least, most) = opt.range();
    // SAFETY: the caller's duty.
    let room = unsafe { (&raw const (*out).struct_bytes).read() } as usize;
    let bytes = room.min(size_of::<OptionInfo>());
    let info = OptionInfo {
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

/// Sets a value: 0, EINVAL for no such option, ERANGE for a value that it does not take.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
pub extern "C" fn option_set(option: c_int, value: u64) -> c_int {
    let Some(opt) = of_number(option) else { return NO_SUCH_OPTION };
    opt.set(value).map_or(OUT_OF_RANGE, |()| 0)
}

/// Sets a value as the environment gives it: 0, EINVAL for no such option, ERANGE for a text that is no value of it.
///
/// # Safety
/// - `text` is null or a C string.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
pub unsafe extern "C" fn option_set_text(option: c_int, text: *const c_char) -> c_int {
    let Some(opt) = of_number(option) else { return NO_SUCH_OPTION };
    // SAFETY: the caller's duty.
    let text = if text.is_null() { None } else { unsafe { CStr::from_ptr(text) }.to_str().ok() };
    let value = text.and_then(|text| opt.parse(text));
    value.and_then(|value| opt.set(value).ok()).map_or(OUT_OF_RANGE, |()| 0)
}

#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.tessalloc_inner"))]
unsafe extern "C" fn listen(call: PressureCall, argument: *mut c_void, on: c_int) -> c_int {
    c_int::from(pressure::listen(call, argument, on != 0))
}
