//! Mappings by the C library, for systems whose system calls are not a stable interface. No call leaves a trace in `errno`.

use core::ffi::{c_int, c_void};

use super::OsError;
use super::system::{MAP_DESCRIPTOR, errno_at};

/// Runs calls of the C library and puts `errno` back; a result below zero becomes the call's error.
pub(super) fn keep_errno(call: &'static str, run: impl FnOnce() -> isize) -> Result<usize, OsError> {
    // SAFETY: the address of this thread's `errno`, which lives as long as the thread.
    unsafe {
        let errno = errno_at();
        let before = *errno;
        let result = run();
        let code = *errno;
        *errno = before;
        if result < 0 { Err(OsError { call, code }) } else { Ok(result as usize) }
    }
}

/// A call that the system does not have.
pub(super) fn unsupported(call: &'static str) -> OsError {
    OsError { call, code: libc::ENOTSUP }
}

/// Bytes of an OS page: a power of two, at least 4 KiB.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

fn map(at: usize, bytes: usize, prot: c_int, fixed: c_int) -> Result<usize, OsError> {
    let mut start = libc::MAP_FAILED;
    keep_errno("mmap", || {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | fixed;
        let hint = core::ptr::without_provenance_mut(at);
        // SAFETY: without MAP_FIXED nothing that exists is touched; with it, the caller vouches for the range.
        start = unsafe { libc::mmap(hint, bytes, prot, flags, MAP_DESCRIPTOR, 0) };
        if start == libc::MAP_FAILED { -1 } else { 0 }
    })?;
    Ok(start.expose_provenance())
}

/// Takes address space near `hint` (0: anywhere).
pub(crate) fn reserve(bytes: usize, align: usize, hint: usize) -> Result<*mut u8, OsError> {
    let first = map(hint, bytes, libc::PROT_NONE, 0)?;
    if first & (align - 1) == 0 {
        return Ok(core::ptr::with_exposed_provenance_mut(first));
    }
    let at = |address| core::ptr::with_exposed_provenance_mut(address);
    // SAFETY: `first` was mapped just now and handed to nobody.
    unsafe { release(at(first), bytes) };
    let with_room = bytes.checked_add(align).ok_or(OsError { call: "mmap", code: libc::ENOMEM })?;
    let start = map(hint, with_room, libc::PROT_NONE, 0)?;
    let aligned = (start + align - 1) & !(align - 1);
    // SAFETY: what lies before and behind the aligned part was mapped just now and is used by nobody.
    unsafe {
        if aligned > start {
            release(at(start), aligned - start);
        }
        release(at(aligned + bytes), start + align - aligned);
    }
    Ok(at(aligned))
}

/// Makes a range usable.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
pub(crate) unsafe fn commit(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty; protection is only widened.
    keep_errno("mprotect", || unsafe { libc::mprotect(at.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } as isize)
        .map(|_| ())
}

/// Takes all access to a range away.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody uses it.
pub(crate) unsafe fn protect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty.
    keep_errno("mprotect", || unsafe { libc::mprotect(at.cast(), bytes, libc::PROT_NONE) } as isize).map(|_| ())
}

/// Gives access to a range again: the same as [`commit`] here.
///
/// # Safety
/// - The range is committed, and OS page aligned.
pub(crate) unsafe fn unprotect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty.
    unsafe { commit(at, bytes) }
}

/// Gives a range's address space back.
///
/// # Safety
/// - The range is ours and nobody uses it any more.
pub(crate) unsafe fn release(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's duty. A refusal leaves address space behind, nothing worse.
    let _ = keep_errno("munmap", || unsafe { libc::munmap(at.cast(), bytes) } as isize);
}

/// Gives the memory of a range back; it reads zero at the next touch. Advice is not enough: what `madvise` frees here may keep
/// its contents until the system is short of memory. A fresh mapping takes the range's place in one step.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
pub(crate) unsafe fn purge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    map(at.addr(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_FIXED).map(|_| ())
}

/// The same as [`purge`] here.
///
/// # Safety
/// - As for [`purge`].
pub(crate) unsafe fn renew(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty.
    unsafe { purge(at, bytes) }
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

/// Always refused: huge pages are the system's own affair here.
///
/// # Safety
/// - The range is committed, aligned to 2 MiB, and nobody uses it.
pub(crate) unsafe fn populate_huge(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("madvise"))
}

/// Not asked here: only the making of huge pages would use it.
///
/// # Safety
/// - The range is a mapping of ours of at most 512 OS pages.
#[allow(dead_code, reason = "huge pages have no policy yet: the contract's suite alone calls it")]
pub(crate) unsafe fn resident_count(_at: *mut u8, _bytes: usize) -> Option<usize> {
    None
}

/// Always refused: pages don't move without leaving a hole here.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
pub(crate) unsafe fn move_pages(_from: *mut u8, _to: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("mremap"))
}

/// Mappings are named when they are made, if at all.
pub(crate) fn name(_at: *mut u8, _bytes: usize) {}

/// Memory is not accounted as it becomes writable here.
pub(crate) fn commit_is_dear() -> bool {
    false
}

/// There is no call that tells without harm: no word is known to be readable.
pub(crate) fn is_readable(_at: usize) -> bool {
    false
}

/// The system does not tell in a way that this knows: nothing is shown.
pub(crate) fn own_mappings(_visit: &mut dyn FnMut(&[u8])) {}

/// The number of the process.
pub(crate) fn process_id() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() as u64 }
}

/// A file that is made, or made empty.
pub(crate) struct NewFile(c_int);

impl NewFile {
    pub(crate) fn create(path: &core::ffi::CStr) -> Option<Self> {
        const MODE: libc::c_uint = 0o644;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        // SAFETY: opens a file; the path is a C string.
        let opened = keep_errno("open", || unsafe { libc::open(path.as_ptr(), flags, MODE) } as isize);
        opened.ok().map(|file| Self(file as c_int))
    }

    /// Writes all of it; false if the system refuses.
    pub(crate) fn write(&self, mut text: &[u8]) -> bool {
        // Bound: the text's length: each turn writes something.
        while !text.is_empty() {
            // SAFETY: reads `text` only.
            let call = || unsafe { libc::write(self.0, text.as_ptr().cast(), text.len()) };
            match keep_errno("write", call) {
                Ok(count) if count > 0 => text = &text[count..],
                Err(OsError { code: libc::EINTR, .. }) => {}
                _ => return false,
            }
        }
        true
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // SAFETY: opened by `create`, and used by nobody else.
        let _ = keep_errno("close", || unsafe { libc::close(self.0) } as isize);
    }
}

/// Times and faults by `getrusage`. What is resident it does not tell, and its most so far may be another program's, which the
/// process was before: unknown.
pub(crate) fn process_figures() -> super::ProcessFigures {
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes the structure given; zeroes are a valid one.
    let done = keep_errno("getrusage", || unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } as isize);
    if done.is_err() {
        return super::ProcessFigures::default();
    }
    // SAFETY: written just now.
    let usage = unsafe { usage.assume_init() };
    let time_us = |time: libc::timeval| Some(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64);
    super::ProcessFigures {
        user_us: time_us(usage.ru_utime),
        system_us: time_us(usage.ru_stime),
        minor_faults: Some(usage.ru_minflt as u64),
        major_faults: Some(usage.ru_majflt as u64),
        ..Default::default()
    }
}

/// Writes to standard error, as far as it goes.
pub(crate) fn write_error(text: &[u8]) {
    // SAFETY: reads `text` only.
    let _ = keep_errno("write", || unsafe { libc::write(2, text.as_ptr().cast::<c_void>(), text.len()) });
}

/// Ends the process by SIGABRT.
pub(crate) fn abort() -> ! {
    // SAFETY: never returns; takes no argument.
    unsafe { libc::abort() }
}

/// There is no barrier for all threads here.
pub(crate) fn barrier_register() -> bool {
    false
}

/// There is no barrier for all threads here.
pub(crate) fn barrier_all_threads() -> bool {
    false
}
