//! FreeBSD first, and its relatives: mappings by the C library; waiting by `_umtx_op`, elsewhere by short sleeps.

use core::ffi::c_int;
use core::sync::atomic::AtomicU32;

pub(crate) use super::posix::*;
pub(crate) use super::unix::*;

/// Whether [`commit`] changes protection and so is asked for in growing steps; on Windows it is asked for by slice.
pub(crate) const COMMITS_PREFIX: bool = true;

/// Anonymous mappings have no descriptor.
pub(super) const MAP_DESCRIPTOR: c_int = -1;

pub(super) use flavour::errno_at;
pub(crate) use flavour::{address_limit, wait, wake, wipe_on_fork};

#[cfg(target_os = "freebsd")]
mod flavour {
    use super::*;

    /// Where this thread keeps `errno`.
    ///
    /// # Safety
    /// Only this thread may use the address.
    pub(crate) unsafe fn errno_at() -> *mut c_int {
        // SAFETY: the address of this thread's word.
        unsafe { libc::__error() }
    }

    /// Keeps a range out of a forked child's memory: it reads zero there. Tells forks that ran no handler. False if refused.
    ///
    /// # Safety
    /// - The range is a mapping of ours.
    pub(crate) unsafe fn wipe_on_fork(at: *mut u8, bytes: usize) -> bool {
        const INHERIT_ZERO: c_int = 3;
        // SAFETY: the caller's duty.
        keep_errno("minherit", || unsafe { libc::minherit(at.cast(), bytes, INHERIT_ZERO) } as isize).is_ok()
    }

    /// The process's ceiling of address space in bytes, if it has one.
    pub(crate) fn address_limit() -> Option<u64> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: writes the structure given.
        let done = keep_errno("getrlimit", || unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } as isize);
        (done.is_ok() && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as u64)
    }

    /// Sleeps while `word` holds `expected`, until woken or `timeout_ms` (0: without limit).
    pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
        let mut timeout =
            libc::timespec { tv_sec: (timeout_ms / 1000) as _, tv_nsec: (timeout_ms % 1000 * 1_000_000) as _ };
        let timeout_at = if timeout_ms == 0 { core::ptr::null_mut() } else { (&raw mut timeout).cast() };
        // The fourth argument is the size of the timeout: up to a `timespec`'s it is one, counted from now.
        let size = core::ptr::without_provenance_mut(size_of::<libc::timespec>());
        let _ = keep_errno("_umtx_op", || {
            let operation = libc::UMTX_OP_WAIT_UINT_PRIVATE;
            // SAFETY: the kernel reads the word and the timeout, both alive for the call.
            unsafe { libc::_umtx_op(word.as_ptr().cast(), operation, expected.into(), size, timeout_at) as isize }
        });
    }

    /// Wakes at most `count` threads that wait on `word`.
    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        let (operation, null) = (libc::UMTX_OP_WAKE_PRIVATE, core::ptr::null_mut());
        let count = count.min(i32::MAX as u32);
        // SAFETY: only the word's address is used.
        let _ = keep_errno("_umtx_op", || unsafe {
            libc::_umtx_op(word.as_ptr().cast(), operation, count.into(), null, null) as isize
        });
    }
}

#[cfg(not(target_os = "freebsd"))]
mod flavour {
    use core::sync::atomic::Ordering;

    use super::*;

    #[cfg(target_os = "dragonfly")]
    /// Where this thread keeps `errno`.
    ///
    /// # Safety
    /// Only this thread may use the address.
    pub(crate) unsafe fn errno_at() -> *mut c_int {
        // SAFETY: the address of this thread's word.
        unsafe { libc::__errno_location() }
    }

    #[cfg(not(target_os = "dragonfly"))]
    /// Where this thread keeps `errno`.
    ///
    /// # Safety
    /// Only this thread may use the address.
    pub(crate) unsafe fn errno_at() -> *mut c_int {
        // SAFETY: the address of this thread's word.
        unsafe { libc::__errno() }
    }

    /// Not asked for here: false.
    ///
    /// # Safety
    /// - The range is a mapping of ours.
    pub(crate) unsafe fn wipe_on_fork(_at: *mut u8, _bytes: usize) -> bool {
        false
    }

    /// Not asked for here: a refused reservation tells as much.
    pub(crate) fn address_limit() -> Option<u64> {
        None
    }

    /// Sleeps while `word` holds `expected`, at most so many milliseconds (0: without limit); looks again each millisecond.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
        const NAP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let last = if timeout_ms == 0 { u64::MAX } else { now_us().saturating_add(timeout_ms.saturating_mul(1000)) };
        // ORDER: Relaxed: the caller loads the word again with the order that it needs.
        while word.load(Ordering::Relaxed) == expected && now_us() < last {
            // SAFETY: reads `NAP` only.
            let _ = keep_errno("nanosleep", || unsafe { libc::nanosleep(&NAP, core::ptr::null_mut()) } as isize);
        }
    }

    /// Sleepers look for themselves. A thread that is woken without a change of the word keeps sleeping until its timeout.
    pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}
}

/// There are no containers.
pub(crate) fn container_limit() -> Option<u64> {
    None
}

/// The system does not tell.
pub(crate) fn shortage() -> super::Shortage {
    super::Shortage::None
}

/// Bytes of memory in the machine; 0 if unknown.
pub(crate) fn physical_bytes() -> u64 {
    // SAFETY: reads a number of the system.
    let pages = keep_errno("sysconf", || unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) } as isize);
    pages.map_or(0, |pages| pages as u64 * page_bytes() as u64)
}

/// A number that an attacker can't guess.
pub(crate) fn random() -> u64 {
    let mut word = 0u64;
    // SAFETY: writes 8 bytes into `word`.
    unsafe { libc::arc4random_buf((&raw mut word).cast(), 8) };
    word
}
