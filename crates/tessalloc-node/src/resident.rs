//! What of tessalloc's memory is resident, as the system counts it: exact, and worth it where there is little to count.

use tessalloc::table::VisitRange;

/// Bytes of the ranges that `ranges` shows; `None` where the system does not tell, or there is too much to ask for.
#[cfg(target_os = "linux")]
pub(crate) fn bytes_of(ranges: unsafe extern "C" fn(VisitRange, *mut std::ffi::c_void)) -> Option<u64> {
    let mut counted = linux::Counted::new()?;
    // SAFETY: the function is called with the argument that it expects.
    unsafe { ranges(linux::count, (&raw mut counted).cast()) };
    counted.bytes
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bytes_of(_: unsafe extern "C" fn(VisitRange, *mut std::ffi::c_void)) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};

    /// How long asking may take.
    /// Source: `mincore` of 4 to 64 MiB, half of them resident, 2026-11: 1.1 µs a MiB.
    const BUDGET_NS: u64 = 25_000;
    const RANGE_NS: u64 = 200;
    const NS_PER_KIB: u64 = 1;
    /// Of one range: a chunk of 4 MiB in OS pages of 4 KiB.
    const PAGES_MAX: usize = 1024;

    pub(super) struct Counted {
        /// `None` once it is given up.
        pub(super) bytes: Option<u64>,
        left_ns: u64,
        page_bytes: usize,
    }

    impl Counted {
        pub(super) fn new() -> Option<Self> {
            // SAFETY: no memory is touched.
            let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
            Some(Self { bytes: Some(0), left_ns: BUDGET_NS, page_bytes })
        }

        fn add(&mut self, at: *mut c_void, bytes: usize) -> Option<u64> {
            let mut pages = [0u8; PAGES_MAX];
            self.left_ns = self.left_ns.checked_sub(RANGE_NS + (bytes as u64 >> 10) * NS_PER_KIB)?;
            let pages = pages.get_mut(..bytes / self.page_bytes)?;
            // SAFETY: there is a byte for each OS page. Any range may be asked for: what is not mapped is refused.
            if unsafe { libc::mincore(at, bytes, pages.as_mut_ptr()) } != 0 {
                return None;
            }
            let resident = pages.iter().filter(|page| **page & 1 == 1).count() * self.page_bytes;
            Some(self.bytes? + resident as u64)
        }
    }

    /// Adds a range; 0 once it is given up.
    pub(super) unsafe extern "C" fn count(at: *mut c_void, bytes: usize, counted: *mut c_void) -> c_int {
        // SAFETY: called by `bytes_of` alone, with what is its own for the call.
        let counted = unsafe { &mut *counted.cast::<Counted>() };
        counted.bytes = counted.add(at, bytes);
        c_int::from(counted.bytes.is_some())
    }
}
