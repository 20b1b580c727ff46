//! Profiles as text: the format of old that `pprof` and its kin read.
//!
//! ```text
//! heap profile: 3: 4096 [17: 90000] @ heap_v2/524288
//!      2:     4000 [     9:    60000] @ 0x55d0c0a1 0x55d0c0b2
//!
//! MAPPED_LIBRARIES:
//! 55d0c000-55d0d000 r-xp 00001000 08:01 42 /usr/bin/program
//! ```
//!
//! Counts and bytes in use, then in brackets those since the start. They are those of the samples; the reader knows from the mean
//! behind `heap_v2/` what they stand for.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::fmt::{self, Write as _};

use super::profile::{self, Amount, Figures, Kind, ProfileError};
use crate::options::{self, Opt};
use crate::os;
use crate::report::Sink;

/// A name of a file, with its end.
const NAME_BYTES: usize = 1024;

pub(super) fn write(kind: Kind, mean_bytes: u64, as_estimates: bool, to: &mut dyn fmt::Write) -> fmt::Result {
    let shown = |amount: Amount| {
        if as_estimates { (amount.count, amount.bytes) } else { (amount.samples, amount.sample_bytes) }
    };
    let pair = |figures: &Figures| {
        let now = if kind == Kind::InUse { figures.in_use } else { figures.peak };
        (shown(now), shown(figures.allocated))
    };
    let ((count, bytes), (count_total, bytes_total)) = pair(&profile::totals());
    writeln!(to, "heap profile: {count}: {bytes} [{count_total}: {bytes_total}] @ heap_v2/{mean_bytes}")?;
    let mut result = Ok(());
    profile::visit(|frames, figures| {
        result = write_stack(pair(figures), frames, to);
        result.is_ok()
    });
    result?;
    to.write_str("\nMAPPED_LIBRARIES:\n")?;
    os::own_mappings(&mut |part| {
        if result.is_ok() {
            result = part.utf8_chunks().try_for_each(|chunk| to.write_str(chunk.valid()));
        }
    });
    result
}

type Pair = (u64, u64);

fn write_stack(
    ((count, bytes), (count_total, bytes_total)): (Pair, Pair),
    frames: &[usize],
    to: &mut dyn fmt::Write,
) -> fmt::Result {
    write!(to, "{count:6}: {bytes:8} [{count_total:6}: {bytes_total:8}] @")?;
    frames.iter().try_for_each(|frame| write!(to, " {frame:#x}"))?;
    to.write_str("\n")
}

/// A file that is being written, in parts.
struct Dump {
    file: os::NewFile,
    part: [u8; 512],
    len: usize,
    is_whole: bool,
}

impl Dump {
    fn flush(&mut self) {
        self.is_whole = self.is_whole && self.file.write(&self.part[..self.len]);
        self.len = 0;
    }
}

impl fmt::Write for Dump {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len == self.part.len() {
                self.flush();
            }
            self.part[self.len] = byte;
            self.len += 1;
        }
        if self.is_whole { Ok(()) } else { Err(fmt::Error) }
    }
}

pub(super) fn dump(kind: Kind, pattern: &CStr) -> Result<(), ProfileError> {
    let mut name = [0; NAME_BYTES];
    let name = with_number(pattern, &mut name).ok_or(ProfileError::File)?;
    let file = os::NewFile::create(name).ok_or(ProfileError::File)?;
    let mut dump = Dump { file, part: [0; 512], len: 0, is_whole: true };
    let written = profile::write(kind, &mut dump);
    dump.flush();
    if written.is_ok() && dump.is_whole { Ok(()) } else { Err(ProfileError::File) }
}

/// The pattern that was given for the end of the process: it may be gone from the environment by then.
static AT_EXIT: FileCell = FileCell(UnsafeCell::new([0; NAME_BYTES]));

struct FileCell(UnsafeCell<[u8; NAME_BYTES]>);
// SAFETY: written once, before `at_exit` is told of its reader.
unsafe impl Sync for FileCell {}

/// Has a profile written when the process ends, if the environment names a file. Once, as the process starts.
pub(super) fn dump_at_exit() {
    // SAFETY: nobody reads it yet.
    if options::profile_file(unsafe { &mut *AT_EXIT.0.get() }) {
        os::at_exit(dump_now);
    }
}

extern "C" fn dump_now() {
    let kind = if Opt::ProfilePeak.is_on() { Kind::Peak } else { Kind::InUse };
    // SAFETY: written before.
    let file = CStr::from_bytes_until_nul(unsafe { &*AT_EXIT.0.get() }).unwrap_or_default();
    if let Err(error) = dump(kind, file) {
        // Where messages go takes every text.
        let _ = writeln!(Sink::to_messages(), "tessalloc: {error}");
    }
}

/// The name with the process's number in place of `%p`; `None` if it is too long.
fn with_number<'a>(pattern: &CStr, into: &'a mut [u8; NAME_BYTES]) -> Option<&'a CStr> {
    let mut len = 0;
    let mut put = |text: &[u8]| {
        // A zero stays behind it.
        let place = into[..NAME_BYTES - 1].get_mut(len..len + text.len())?;
        place.copy_from_slice(text);
        len += text.len();
        Some(())
    };
    let mut rest = pattern.to_bytes();
    while let Some(at) = rest.windows(2).position(|pair| pair == b"%p") {
        put(&rest[..at])?;
        put(crate::report::Digits::of(os::process_id()).text().as_bytes())?;
        rest = &rest[at + 2..];
    }
    put(rest)?;
    CStr::from_bytes_until_nul(&into[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn names_get_the_number_of_the_process() {
        let number = std::process::id().to_string();
        let mut into = [0; NAME_BYTES];
        let mut shown = |pattern: &CStr| {
            into = [0; NAME_BYTES];
            with_number(pattern, &mut into).map(|name| String::from(name.to_str().unwrap()))
        };
        assert_eq!(shown(c"a.prof").unwrap(), "a.prof");
        assert_eq!(shown(c"%p.%p%").unwrap(), [&number, ".", &number, "%"].concat());
        let long = std::ffi::CString::new("x".repeat(NAME_BYTES)).unwrap();
        assert_eq!(shown(&long), None);
        let fits = std::ffi::CString::new("x".repeat(NAME_BYTES - 1)).unwrap();
        assert_eq!(shown(&fits).unwrap().len(), NAME_BYTES - 1);
    }

    #[test]
    fn a_stack_is_one_line() {
        let mut line = String::new();
        write_stack(((2, 4000), (9, 60_000)), &[0x55d0, 0x10], &mut line).unwrap();
        assert_eq!(line, "     2:     4000 [     9:    60000] @ 0x55d0 0x10\n");
    }
}
