//! What the system says of the process.
#![forbid(unsafe_code)]

use crate::os;

/// What the system says of the process; `None` where it does not tell. Linux tells all; other Unix systems the times of the
/// processor and the faults; elsewhere nothing is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Time since the process began. Unit: microseconds, in steps of 10 ms on Linux.
    pub elapsed_us: Option<u64>,
    /// Processor time of all threads in the program. Unit: microseconds.
    pub user_us: Option<u64>,
    /// Processor time of all threads in the system. Unit: microseconds.
    pub system_us: Option<u64>,
    /// Resident memory of the whole process. Unit: bytes. Linux sums it up in steps of some pages a processor.
    pub rss_bytes: Option<u64>,
    /// The most that was ever resident, of this program: what ran in the process before `exec` does not count. Unit: bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Private writable memory that is mapped, touched or not: what the system accounts for the process. Unit: bytes.
    pub commit_bytes: Option<u64>,
    /// Page faults that needed no disk.
    pub minor_faults: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
}

super::figures! {
    /// A figure of [`ProcessInfo`].
    ProcessFigure of ProcessInfo {
        ElapsedUs = elapsed_us,
        UserUs = user_us,
        SystemUs = system_us,
        RssBytes = rss_bytes,
        RssPeakBytes = rss_peak_bytes,
        CommitBytes = commit_bytes,
        MinorFaults = minor_faults,
        MajorFaults = major_faults,
    }
}

/// Asks the system.
pub(crate) fn info() -> ProcessInfo {
    let os::ProcessFigures {
        elapsed_us,
        user_us,
        system_us,
        rss_bytes,
        rss_peak_bytes,
        commit_bytes,
        minor_faults,
        major_faults,
    } = os::process_figures();
    ProcessInfo { elapsed_us, user_us, system_us, rss_bytes, rss_peak_bytes, commit_bytes, minor_faults, major_faults }
}
