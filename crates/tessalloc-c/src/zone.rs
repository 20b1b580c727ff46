//! macOS: the malloc family of the whole process, by a zone.
//!
//! The system's `malloc` asks the first of its zones for memory, and its `free` asks all of them whose block it has. So the library
//! exports no name of the family: a program would bind its own calls to it and not those of the system's libraries. As it is loaded, it
//! registers a zone and makes that the first. Blocks from before are their zone's still.
//!
//! | callback | promise |
//! |---|---|
//! | `size` | 0 for a pointer that is not ours: how the system finds a block's zone |
//! | `malloc`, `calloc`, `valloc`, `memalign`, `realloc` | null where there is no memory; `errno` is the system's to set |
//! | `force_lock`, `force_unlock` | nothing: the core has fork handlers of its own |
//! | `enumerator` | that there are no blocks: tools that look at another process see none of ours |
//!
//! Z1 The zone and its tables are never changed by us once registered, and never unregistered.
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::offset_of;
use core::ptr::null_mut;

use tessalloc::raw;

use crate::block::{at_least_16, os_page_bytes};

/// `malloc_zone_t` of `malloc/malloc.h`, up to version 8.
#[repr(C)]
struct Zone {
    /// The system's.
    reserved: [*mut c_void; 2],
    size: extern "C" fn(*mut Zone, *const u8) -> usize,
    malloc: extern "C" fn(*mut Zone, usize) -> *mut u8,
    calloc: extern "C" fn(*mut Zone, usize, usize) -> *mut u8,
    valloc: extern "C" fn(*mut Zone, usize) -> *mut u8,
    free: unsafe extern "C" fn(*mut Zone, *mut u8),
    realloc: unsafe extern "C" fn(*mut Zone, *mut u8, usize) -> *mut u8,
    destroy: extern "C" fn(*mut Zone),
    name: *const c_char,
    batch_malloc: Option<extern "C" fn(*mut Zone, usize, *mut *mut u8, c_uint) -> c_uint>,
    batch_free: Option<extern "C" fn(*mut Zone, *mut *mut u8, c_uint)>,
    introspection: *const Introspection,
    version: c_uint,
    memalign: extern "C" fn(*mut Zone, usize, usize) -> *mut u8,
    free_definite_size: unsafe extern "C" fn(*mut Zone, *mut u8, usize),
    pressure_relief: extern "C" fn(*mut Zone, usize) -> usize,
}

/// `malloc_introspection_t`, as zones of version 8 have it.
#[repr(C)]
struct Introspection {
    enumerator: extern "C" fn(c_uint, *mut c_void, c_uint, usize, *const c_void, *const c_void) -> c_int,
    good_size: extern "C" fn(*mut Zone, usize) -> usize,
    check: extern "C" fn(*mut Zone) -> c_int,
    print: extern "C" fn(*mut Zone, c_int),
    log: extern "C" fn(*mut Zone, *mut c_void),
    force_lock: extern "C" fn(*mut Zone),
    force_unlock: extern "C" fn(*mut Zone),
    statistics: unsafe extern "C" fn(*mut Zone, *mut Statistics),
    zone_locked: extern "C" fn(*mut Zone) -> c_int,
    /// Checking of what garbage collectors discharge: there is none.
    discharge: [*const c_void; 4],
}

/// `malloc_statistics_t`.
#[repr(C)]
struct Statistics {
    blocks_in_use: c_uint,
    size_in_use: usize,
    max_size_in_use: usize,
    size_allocated: usize,
}

// As `tests/c/zone_layout.c` has it from the system's header.
const _: () = {
    assert!(offset_of!(Zone, introspection) == 96 && offset_of!(Zone, version) == 104);
    assert!(offset_of!(Zone, memalign) == 112 && offset_of!(Zone, pressure_relief) == 128);
    assert!(offset_of!(Introspection, zone_locked) == 64 && size_of::<Introspection>() == 104);
    assert!(offset_of!(Statistics, size_in_use) == 8 && offset_of!(Statistics, size_allocated) == 24);
};

unsafe extern "C" {
    fn malloc_default_zone() -> *mut Zone;
    fn malloc_default_purgeable_zone() -> *mut Zone;
    fn malloc_get_all_zones(
        task: c_uint,
        reader: *const c_void,
        zones: *mut *mut *mut Zone,
        count: *mut c_uint,
    ) -> c_int;
    fn malloc_zone_register(zone: *mut Zone);
    fn malloc_zone_unregister(zone: *mut Zone);
}

/// For what the system changes, or only reads.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);
// SAFETY: Z1; what the system writes, it guards.
unsafe impl<T> Sync for Shared<T> {}

static INTROSPECTION: Shared<Introspection> = Shared(UnsafeCell::new(Introspection {
    enumerator,
    good_size,
    check,
    print,
    log,
    force_lock: nothing,
    force_unlock: nothing,
    statistics,
    zone_locked,
    discharge: [core::ptr::null(); 4],
}));

static ZONE: Shared<Zone> = Shared(UnsafeCell::new(Zone {
    reserved: [null_mut(); 2],
    size,
    malloc,
    calloc,
    valloc,
    free,
    realloc,
    destroy: nothing,
    name: c"tessalloc".as_ptr(),
    batch_malloc: None,
    batch_free: None,
    introspection: INTROSPECTION.0.get(),
    version: 8,
    memalign,
    free_definite_size,
    pressure_relief,
}));

/// Run by the system when it has loaded the library, before the program's own code.
#[used]
#[unsafe(link_section = "__DATA,__mod_init_func")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    // SAFETY: Z1. The system's zones are there before any library is started, and stay.
    unsafe {
        let system = first_zone();
        // What stands there under another name was put there for a reason: another allocator, or a tool that looks for faults.
        if (*system).name.is_null() || CStr::from_ptr((*system).name) != c"DefaultMallocZone" {
            return;
        }
        let purgeable = malloc_default_purgeable_zone();
        let ours = ZONE.0.get();
        malloc_zone_register(ours);
        // A zone that is taken out leaves its place to the last one, which is ours. The purgeable zone asks the default one whose
        // block it has, and so has to stand behind it.
        for zone in [system, purgeable] {
            malloc_zone_unregister(zone);
            malloc_zone_register(zone);
        }
    }
}

/// The zone that serves `malloc`. `malloc_default_zone` answers with a stand-in that is in no list.
fn first_zone() -> *mut Zone {
    let (mut zones, mut count) = (null_mut(), 0);
    // SAFETY: of this process, which is task 0, the system gives the place of its own list; it is there for good.
    unsafe {
        if malloc_get_all_zones(0, core::ptr::null(), &mut zones, &mut count) == 0 && count > 0 {
            *zones
        } else {
            malloc_default_zone()
        }
    }
}

extern "C" fn size(_: *mut Zone, block: *const u8) -> usize {
    // SAFETY: the system asks for blocks that are in use, whoever has them.
    if raw::is_ours(block) { unsafe { raw::usable_size(block) } } else { 0 }
}

extern "C" fn malloc(_: *mut Zone, size: usize) -> *mut u8 {
    raw::malloc(size)
}

extern "C" fn calloc(_: *mut Zone, count: usize, size: usize) -> *mut u8 {
    raw::calloc(count, size)
}

/// The header promises zeroes.
extern "C" fn valloc(_: *mut Zone, size: usize) -> *mut u8 {
    raw::zeroed_aligned(size, os_page_bytes())
}

extern "C" fn memalign(_: *mut Zone, align: usize, size: usize) -> *mut u8 {
    if align.is_power_of_two() { at_least_16(size, align) } else { null_mut() }
}

/// # Safety
/// - As `free`: the system hands over a block that `size` said is ours.
unsafe extern "C" fn free(_: *mut Zone, block: *mut u8) {
    // SAFETY: the caller's duty.
    unsafe { raw::free(block) };
}

/// # Safety
/// - As [`free`].
unsafe extern "C" fn free_definite_size(_: *mut Zone, block: *mut u8, _size: usize) {
    // SAFETY: the caller's duty.
    unsafe { raw::free(block) };
}

/// # Safety
/// - As [`free`], if the result is not null.
unsafe extern "C" fn realloc(_: *mut Zone, block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { raw::realloc(block, size) }
}

extern "C" fn pressure_relief(_: *mut Zone, _goal: usize) -> usize {
    tessalloc::purge() as usize
}

extern "C" fn nothing(_: *mut Zone) {}

extern "C" fn enumerator(_: c_uint, _: *mut c_void, _: c_uint, _: usize, _: *const c_void, _: *const c_void) -> c_int {
    0
}

extern "C" fn good_size(_: *mut Zone, size: usize) -> usize {
    raw::good_size(size)
}

extern "C" fn check(_: *mut Zone) -> c_int {
    1
}

extern "C" fn print(_: *mut Zone, _verbose: c_int) {}

extern "C" fn log(_: *mut Zone, _block: *mut c_void) {}

extern "C" fn zone_locked(_: *mut Zone) -> c_int {
    0
}

/// # Safety
/// - `into` may be written.
unsafe extern "C" fn statistics(_: *mut Zone, into: *mut Statistics) {
    let stats = tessalloc::stats();
    let figures = Statistics {
        blocks_in_use: 0,
        size_in_use: stats.allocated_bytes as usize,
        max_size_in_use: stats.committed_peak_bytes as usize,
        size_allocated: stats.committed_bytes as usize,
    };
    // SAFETY: the caller's duty.
    unsafe { into.write(figures) };
}
