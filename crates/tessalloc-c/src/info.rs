//! What glibc offers to look at the heap and to tune it.
//!
//! | glibc's figure       | ours                                                  |
//! |----------------------|-------------------------------------------------------|
//! | `arena`              | bytes committed                                       |
//! | `uordblks`           | bytes in blocks handed out, with those threads keep ready |
//! | `fordblks`, `keepcost` | bytes held without use; `malloc_trim` may give them back |
//! | `hblks`              | large blocks; their bytes are in `arena`, so `hblkhd` is 0 |
//! | the fastbin figures  | 0: there are none                                     |
use core::ffi::{c_char, c_int};

use crate::block::fail;

/// glibc's `struct mallinfo2`; libc has it for some systems only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mallinfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

/// glibc's `struct mallinfo`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mallinfo {
    arena: c_int,
    ordblks: c_int,
    smblks: c_int,
    hblks: c_int,
    hblkhd: c_int,
    usmblks: c_int,
    fsmblks: c_int,
    uordblks: c_int,
    fordblks: c_int,
    keepcost: c_int,
}

unsafe extern "C" {
    /// POSIX; the libc crate lacks it.
    fn dprintf(descriptor: c_int, format: *const c_char, ...) -> c_int;
}

fn figures() -> Mallinfo2 {
    let stats = tessalloc::stats();
    let held = stats.retained_bytes as usize;
    Mallinfo2 {
        arena: stats.committed_bytes as usize,
        ordblks: stats.pages as usize,
        smblks: 0,
        hblks: stats.large_blocks as usize,
        hblkhd: 0,
        usmblks: 0,
        fsmblks: 0,
        uordblks: stats.allocated_bytes as usize,
        fordblks: held,
        keepcost: held,
    }
}

/// The heap in figures.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> Mallinfo2 {
    figures()
}

/// The heap in figures of 31 bits; one that is larger is given as `INT_MAX`.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> Mallinfo {
    let clamp = |figure: usize| c_int::try_from(figure).unwrap_or(c_int::MAX);
    let wide = figures();
    Mallinfo {
        arena: clamp(wide.arena),
        ordblks: clamp(wide.ordblks),
        smblks: clamp(wide.smblks),
        hblks: clamp(wide.hblks),
        hblkhd: clamp(wide.hblkhd),
        usmblks: clamp(wide.usmblks),
        fsmblks: clamp(wide.fsmblks),
        uordblks: clamp(wide.uordblks),
        fordblks: clamp(wide.fordblks),
        keepcost: clamp(wide.keepcost),
    }
}

/// Accepts glibc's parameters, which steer nothing here: 1 for one that glibc knows (with a value it takes), else 0.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    accepts(parameter, value)
}

fn accepts(parameter: c_int, value: c_int) -> c_int {
    /// The largest fast bin that glibc accepts: 80 words of a quarter.
    const FAST_BYTES_MAX: c_int = (80 * size_of::<usize>() / 4) as c_int;
    match parameter {
        // M_MXFAST
        1 => c_int::from((0..=FAST_BYTES_MAX).contains(&value)),
        // M_ARENA_MAX … M_TRIM_THRESHOLD
        -8..=-1 => 1,
        _ => 0,
    }
}

/// Gives everything unused back to the system; 1 if that was anything. How much to keep (`_keep`) is for the core to know.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_keep: usize) -> c_int {
    c_int::from(tessalloc::purge() > 0)
}

/// Writes the figures as XML in glibc's outline; `options` must be 0.
///
/// # Safety
/// - `stream` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        // glibc returns the number and sets it.
        fail(libc::EINVAL);
        return libc::EINVAL;
    }
    let stats = tessalloc::stats();
    let format = c"<malloc version=\"1\">
<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>
<total type=\"mmap\" count=\"%zu\" size=\"0\"/>
<system type=\"current\" size=\"%zu\"/>
<system type=\"max\" size=\"%zu\"/>
<aspace type=\"total\" size=\"%zu\"/>
<tessalloc allocated=\"%zu\" retained=\"%zu\" metadata=\"%zu\" purged=\"%zu\" threads=\"%zu\"/>
</malloc>
";
    // SAFETY: the format asks for eleven `size_t`, which follow; the stream is the caller's duty.
    unsafe {
        libc::fprintf(
            stream,
            format.as_ptr().cast::<c_char>(),
            stats.pages as usize,
            stats.retained_bytes as usize,
            stats.large_blocks as usize,
            stats.committed_bytes as usize,
            stats.committed_peak_bytes as usize,
            stats.reserved_bytes as usize,
            stats.allocated_bytes as usize,
            stats.retained_bytes as usize,
            stats.metadata_bytes as usize,
            stats.purged_bytes as usize,
            stats.threads as usize,
        )
    };
    0
}

/// Writes the figures to standard error.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    let stats = tessalloc::stats();
    let format = c"tessalloc %s
committed bytes  = %12zu
in use bytes     = %12zu
held bytes       = %12zu
given back bytes = %12zu
metadata bytes   = %12zu
threads          = %12zu
";
    // SAFETY: the format asks for a C string and six `size_t`, which follow.
    unsafe {
        dprintf(
            2,
            format.as_ptr().cast::<c_char>(),
            tessalloc::table::VERSION_TEXT.as_ptr(),
            stats.committed_bytes as usize,
            stats.allocated_bytes as usize,
            stats.retained_bytes as usize,
            stats.purged_bytes as usize,
            stats.metadata_bytes as usize,
            stats.threads as usize,
        )
    };
}

/// glibc's own names.
#[cfg(target_os = "linux")]
mod glibc_names {
    use super::{Mallinfo2, c_int, figures};

    /// [`super::mallinfo2`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_mallinfo2() -> Mallinfo2 {
        figures()
    }

    /// [`super::mallopt`].
    #[unsafe(no_mangle)]
    pub extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
        super::accepts(parameter, value)
    }
}
