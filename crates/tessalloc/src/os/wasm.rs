//! WebAssembly: one thread, and a memory that only grows. Reserved memory is accessible and zero from the start, and nothing
//! can be given back.

use core::ffi::c_void;
use core::sync::atomic::AtomicU32;

use super::OsError;
pub(crate) use super::no_fork::at_fork;
pub(crate) use host::{now_us, random, write_error};

/// Whether [`commit`] changes protection and so is asked for in growing steps; on Windows it is asked for by slice.
pub(crate) const COMMITS_PREFIX: bool = true;

const PAGE_BYTES: usize = 64 << 10;

fn unsupported(call: &'static str) -> OsError {
    /// `ENOTSUP` of WASI.
    const CODE: i32 = 58;
    OsError { call, code: CODE }
}

/// Bytes of a page of the memory.
pub(crate) fn page_bytes() -> usize {
    PAGE_BYTES
}

/// Grows the memory; what lies between its end and the aligned start is lost.
pub(crate) fn reserve(bytes: usize, align: usize, _hint: usize) -> Result<*mut u8, OsError> {
    /// `ENOMEM` of WASI.
    const CODE: i32 = 48;
    let error = OsError { call: "memory.grow", code: CODE };
    let end = core::arch::wasm32::memory_size::<0>().checked_mul(PAGE_BYTES).ok_or(error)?;
    let start = end.checked_next_multiple_of(align.max(PAGE_BYTES)).ok_or(error)?;
    let pages = (start - end).checked_add(bytes).ok_or(error)?.div_ceil(PAGE_BYTES);
    if core::arch::wasm32::memory_grow::<0>(pages) == usize::MAX {
        return Err(error);
    }
    Ok(core::ptr::with_exposed_provenance_mut(start))
}

/// Nothing to do: what is reserved is accessible.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
pub(crate) unsafe fn commit(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Ok(())
}

/// Always refused: there is no protection.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody uses it.
pub(crate) unsafe fn protect(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("protect"))
}

/// Nothing to do: nothing was protected.
///
/// # Safety
/// - The range is committed, and OS page aligned.
pub(crate) unsafe fn unprotect(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Ok(())
}

/// The memory never shrinks: the range is lost.
///
/// # Safety
/// - The range is ours and nobody uses it any more.
pub(crate) unsafe fn release(_at: *mut u8, _bytes: usize) {}

/// Always refused: the memory never shrinks.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
pub(crate) unsafe fn purge(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("purge"))
}

/// Always refused: the memory never shrinks.
///
/// # Safety
/// - As for [`purge`].
pub(crate) unsafe fn renew(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("renew"))
}

/// No such advice here.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_small_pages(_at: *mut u8, _bytes: usize) {}

/// No such advice here.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_node(_at: *mut u8, _bytes: usize, _node: u32) {}

/// Always refused.
///
/// # Safety
/// - The range is committed, aligned to 2 MiB, and nobody uses it.
pub(crate) unsafe fn populate_huge(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("populate"))
}

/// The host doesn't tell.
///
/// # Safety
/// - The range is a mapping of ours of at most 512 OS pages.
#[allow(dead_code, reason = "huge pages have no policy yet: the contract's suite alone calls it")]
pub(crate) unsafe fn resident_count(_at: *mut u8, _bytes: usize) -> Option<usize> {
    None
}

/// Always refused.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
pub(crate) unsafe fn move_pages(_from: *mut u8, _to: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("move"))
}

/// There are no names.
pub(crate) fn name(_at: *mut u8, _bytes: usize) {}

/// There is no fork.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn wipe_on_fork(_at: *mut u8, _bytes: usize) -> bool {
    false
}

/// Unknown.
pub(crate) fn physical_bytes() -> u64 {
    0
}

/// There are no containers.
pub(crate) fn container_limit() -> Option<u64> {
    None
}

/// The system does not tell.
pub(crate) fn shortage() -> super::Shortage {
    super::Shortage::None
}

/// What 32 bits address.
pub(crate) fn address_limit() -> Option<u64> {
    Some(1 << 32)
}

/// Nothing is accounted.
pub(crate) fn commit_is_dear() -> bool {
    false
}

/// No word is known to be readable.
pub(crate) fn is_readable(_at: usize) -> bool {
    false
}

/// Not asked for here: nothing is shown.
pub(crate) fn own_mappings(_visit: &mut dyn FnMut(&[u8])) {}

/// There is one process.
pub(crate) fn process_id() -> u64 {
    1
}

/// No files are written here.
pub(crate) enum NewFile {}

impl NewFile {
    pub(crate) fn create(_path: &core::ffi::CStr) -> Option<Self> {
        None
    }

    /// There is none.
    pub(crate) fn write(&self, _text: &[u8]) -> bool {
        match *self {}
    }
}

/// Not asked for here: all unknown.
pub(crate) fn process_figures() -> super::ProcessFigures {
    super::ProcessFigures::default()
}

/// Ends the instance by a trap.
pub(crate) fn abort() -> ! {
    core::arch::wasm32::unreachable()
}

/// True: there is no other thread.
pub(crate) fn barrier_register() -> bool {
    true
}

/// True: there is no other thread.
pub(crate) fn barrier_all_threads() -> bool {
    true
}

/// Returns at once: nobody could wake the only thread.
pub(crate) fn wait(_word: &AtomicU32, _expected: u32, _timeout_ms: u64) {}

/// Nobody waits.
pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}

/// The only thread ends with the program, and nothing runs after it.
pub(crate) fn exit_hook_create(_hook: unsafe extern "C" fn(*mut c_void)) -> bool {
    true
}

/// As above.
pub(crate) fn exit_hook_arm(_value: *mut c_void) -> bool {
    true
}

/// Asked for by forks only, which there are none of here.
pub(crate) fn thread_id() -> usize {
    1
}

/// Not served here: the program prints its statistics itself.
pub(crate) fn at_exit(_run: extern "C" fn()) -> bool {
    false
}

/// There are no threads.
pub(crate) fn spawn(_run: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    false
}

/// Shows nothing: options keep their defaults.
pub(crate) fn env_each(_prefix: &str, _visit: &mut dyn FnMut(&[u8], &[u8])) -> bool {
    true
}

#[cfg(target_os = "wasi")]
mod host {
    #[repr(C)]
    struct Text {
        at: *const u8,
        len: usize,
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn clock_time_get(clock: u32, precision_ns: u64, into: *mut u64) -> u16;
        fn random_get(into: *mut u8, len: usize) -> u16;
        fn fd_write(descriptor: u32, texts: *const Text, count: usize, written: *mut usize) -> u16;
    }

    /// Microseconds of a clock that never goes back.
    pub(crate) fn now_us() -> u64 {
        const MONOTONIC: u32 = 1;
        let mut ns = 0;
        // SAFETY: writes `ns` only.
        unsafe { clock_time_get(MONOTONIC, 1000, &mut ns) };
        ns / 1000
    }

    /// A number that an attacker can't guess, if the host has one.
    pub(crate) fn random() -> u64 {
        let mut word = [0u8; 8];
        // SAFETY: writes `word` only.
        unsafe { random_get(word.as_mut_ptr(), word.len()) };
        u64::from_le_bytes(word)
    }

    /// Writes to standard error, as far as it goes.
    pub(crate) fn write_error(text: &[u8]) {
        let text = Text { at: text.as_ptr(), len: text.len() };
        let mut written = 0;
        // SAFETY: reads the text, writes `written`.
        unsafe { fd_write(2, &text, 1, &mut written) };
    }
}

#[cfg(not(target_os = "wasi"))]
mod host {
    /// There is no clock.
    pub(crate) fn now_us() -> u64 {
        0
    }

    /// There is no source of random numbers.
    pub(crate) fn random() -> u64 {
        0
    }

    /// There is nothing to write to.
    pub(crate) fn write_error(_text: &[u8]) {}
}
