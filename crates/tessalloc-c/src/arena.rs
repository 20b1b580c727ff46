//! The functions of `include/tessalloc.h` for arenas. An arena is the pointer that [`Arena::into_raw`] gives.
//!
//! | what was wrong                                              | `errno`  |
//! |-------------------------------------------------------------|----------|
//! | sizes, options, memory that can't be used                   | `EINVAL` |
//! | memory that another arena, or the allocator itself, has     | `EEXIST` |
//! | one arena too many                                          | `EAGAIN` |
//! | no memory from the system                                   | `ENOMEM` |
//! | released with blocks or heaps in it                         | `EBUSY`  |
use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::copy_nonoverlapping;

use tessalloc::{Arena, ArenaError, ArenaFunctions, ArenaInfo, ArenaOptions, Opt};

use crate::block::fail;

const EXCLUSIVE: u32 = 1;
const COMMITTED: u32 = 2;
const PINNED: u32 = 4;
const ZEROED: u32 = 8;
const ANONYMOUS: u32 = 16;
const HUGE_PAGES: u32 = 32;
const ON_NUMA_NODE: u32 = 64;
const FLAGS: u32 = 127;

/// Bytes of a name with its end; a multiple of 8.
const NAME_BYTES: usize = 40;

/// `tessalloc_arena_options_t`. Later versions only append; what is zero there is as if it were not there.
#[repr(C)]
pub struct Options {
    struct_bytes: u32,
    flags: u32,
    name: *const c_char,
    numa_node: u32,
    padding: u32,
    functions: ArenaFunctions,
}

/// `tessalloc_arena_info_t`. Later versions only append.
#[repr(C)]
pub struct Info {
    struct_bytes: u32,
    flags: u32,
    id: u64,
    start: *mut c_void,
    bytes: u64,
    used_bytes: u64,
    heaps: u32,
    numa_node: u32,
    name: [u8; NAME_BYTES],
}

impl Info {
    fn of(info: &ArenaInfo) -> Self {
        let mut name = [0; NAME_BYTES];
        let text = info.name().as_bytes();
        name[..text.len()].copy_from_slice(text);
        let exclusive = if info.is_exclusive { EXCLUSIVE } else { 0 };
        Self {
            struct_bytes: size_of::<Self>() as u32,
            flags: exclusive | if info.numa_node.is_some() { ON_NUMA_NODE } else { 0 },
            id: info.id,
            start: core::ptr::with_exposed_provenance_mut(info.address),
            bytes: info.bytes as u64,
            used_bytes: info.used_bytes as u64,
            heaps: info.heaps,
            numa_node: info.numa_node.unwrap_or(0),
            name,
        }
    }
}

/// What the caller's struct says, in full; `None` if it is none, or asks for what is not known here.
///
/// # Safety
/// - `options` is null or points to a struct of `options->struct_bytes` bytes, at least 4.
unsafe fn read(options: *const Options) -> Option<Options> {
    // SAFETY: the caller's duty: `given` bytes can be read. All zero is a value of the struct.
    unsafe {
        let mut read = MaybeUninit::<Options>::zeroed();
        if !options.is_null() {
            let given = (&raw const (*options).struct_bytes).read() as usize;
            let known = given.min(size_of::<Options>());
            let bytes: *const u8 = options.cast();
            if given < size_of::<u32>() || (known..given).any(|at| *bytes.add(at) != 0) {
                return None;
            }
            copy_nonoverlapping(bytes, read.as_mut_ptr().cast(), known);
        }
        let read = read.assume_init();
        (read.flags & !FLAGS == 0 && read.padding == 0).then_some(read)
    }
}

/// Runs `make` with the options that the caller's struct says.
///
/// # Safety
/// - As [`read`]; the name is null or a text.
unsafe fn with_options(
    options: *const Options,
    make: impl FnOnce(&ArenaOptions<'_>) -> Result<Arena, ArenaError>,
) -> *mut c_void {
    // SAFETY: the caller's duty.
    let Some(given) = (unsafe { read(options) }) else { return fail(libc::EINVAL) };
    let name = if given.name.is_null() {
        ""
    } else {
        // SAFETY: the caller's duty.
        match unsafe { CStr::from_ptr(given.name) }.to_str() {
            Ok(name) => name,
            Err(_) => return fail(libc::EINVAL),
        }
    };
    let has = |flag: u32| given.flags & flag != 0;
    let options = ArenaOptions::new()
        .name(name)
        .exclusive(has(EXCLUSIVE))
        .committed(has(COMMITTED))
        .pinned(has(PINNED))
        .zeroed(has(ZEROED))
        .anonymous(has(ANONYMOUS))
        .huge_pages(has(HUGE_PAGES))
        .numa_node(has(ON_NUMA_NODE).then_some(given.numa_node))
        .functions(given.functions);
    match make(&options) {
        Ok(arena) => arena.into_raw(),
        Err(error) => {
            explain(&error);
            fail(errno_of(&error))
        }
    }
}

fn errno_of(error: &ArenaError) -> c_int {
    match error {
        ArenaError::Overlap { .. } => libc::EEXIST,
        ArenaError::TooMany => libc::EAGAIN,
        ArenaError::NoFirstRegion | ArenaError::Refused { .. } => libc::ENOMEM,
        ArenaError::InUse { .. } => libc::EBUSY,
        _ => libc::EINVAL,
    }
}

/// A text of bounded length; what is longer is cut.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

/// Says what was wrong, to who wants to be told much.
fn explain(error: &ArenaError) {
    if Opt::Verbose.value() != 0 {
        let mut text = Text { bytes: [0; 256], len: 0 };
        // Writing to a `Text` does not fail.
        let _ = writeln!(text, "tessalloc: {error}");
        crate::say(&text.bytes[..text.len]);
    }
}

/// The arena behind a pointer.
///
/// # Safety
/// - The pointer is one that [`tessalloc_arena_reserve`] or [`tessalloc_arena_manage`] gave, and the arena was not released.
pub(crate) unsafe fn arena_of(arena: *mut c_void) -> ManuallyDrop<Arena> {
    // SAFETY: the caller's duty.
    unsafe { Arena::from_raw(arena) }
}

/// Reserves address space for an arena; null and `errno`.
///
/// # Safety
/// - `options` is null or points to a `tessalloc_arena_options_t` of `options->struct_bytes` bytes, at least 4; its name is null or a
///   text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_reserve(bytes: usize, options: *const Options) -> *mut c_void {
    // SAFETY: the caller's duty.
    unsafe { with_options(options, |options| Arena::reserve(bytes, options)) }
}

/// Makes an arena of the program's memory; null and `errno`.
///
/// # Safety
/// - As [`tessalloc_arena_reserve`], and the duties of [`Arena::manage`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_manage(
    memory: *mut c_void,
    bytes: usize,
    options: *const Options,
) -> *mut c_void {
    // SAFETY: the caller's duty.
    unsafe { with_options(options, |options| Arena::manage(memory.cast(), bytes, options)) }
}

/// Ends an arena: 0, or `EBUSY` and it stays.
///
/// # Safety
/// - As [`arena_of`], or null; nobody uses the handle meanwhile, or after 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_release(arena: *mut c_void) -> c_int {
    if arena.is_null() {
        return 0;
    }
    // SAFETY: the caller's duty.
    match ManuallyDrop::into_inner(unsafe { arena_of(arena) }).release() {
        Ok(()) => 0,
        Err((_, error)) => {
            explain(&error);
            errno_of(&error)
        }
    }
}

/// The first byte of an arena, and how many there are.
///
/// # Safety
/// - As [`arena_of`]; `bytes` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_area(arena: *mut c_void, bytes: *mut usize) -> *mut c_void {
    // SAFETY: the caller's duty.
    unsafe {
        let (start, area_bytes) = arena_of(arena).area();
        if let Some(bytes) = bytes.as_mut() {
            *bytes = area_bytes;
        }
        start.as_ptr().cast()
    }
}

/// 1 if an address lies in an arena, in use or not.
///
/// # Safety
/// - As [`arena_of`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_contains(arena: *mut c_void, address: *const c_void) -> c_int {
    // SAFETY: the caller's duty.
    c_int::from(unsafe { arena_of(arena) }.contains(address.cast()))
}

/// Fills `out`, whose `struct_bytes` the caller has set.
///
/// # Safety
/// - As [`arena_of`]; `out` points to a `tessalloc_arena_info_t` of `out->struct_bytes` bytes, at least 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arena_info(arena: *mut c_void, out: *mut Info) {
    // SAFETY: the caller's duty; `bytes` is within both structs, which don't overlap: `info` is a local.
    unsafe {
        let mut info = Info::of(&arena_of(arena).info());
        let bytes = ((&raw const (*out).struct_bytes).read() as usize).min(size_of::<Info>());
        info.struct_bytes = bytes as u32;
        copy_nonoverlapping((&raw const info).cast::<u8>(), out.cast::<u8>(), bytes);
    }
}

/// Shows all arenas; 1 if `visit` answered for all, 0 if it ended it by 0.
///
/// # Safety
/// - `visit` may be called with `argument`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_arenas_visit(
    visit: Option<unsafe extern "C" fn(info: *const Info, argument: *mut c_void) -> c_int>,
    argument: *mut c_void,
) -> c_int {
    let Some(visit) = visit else { return 1 };
    let all = tessalloc::arenas().all(|info| {
        let info = Info::of(&info);
        // SAFETY: the caller's duty.
        unsafe { visit(&info, argument) != 0 }
    });
    c_int::from(all)
}

/// What an arena starts at a multiple of, and has as size a multiple of.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_arena_align() -> usize {
    Arena::ALIGN
}

/// Fewest bytes of an arena.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_arena_bytes_min() -> usize {
    Arena::BYTES_MIN
}

/// Most bytes of an arena.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_arena_bytes_max() -> usize {
    Arena::BYTES_MAX
}
