//! Options: one table drives the environment names, the values and the checks.
//!
//! | option | environment | unit | default | range |
//! |--------|-------------|------|---------|-------|
//! | [`Opt::ReserveBytes`] | `TESSALLOC_RESERVE` | bytes | 0: four times the memory | 0 to 1 TiB |
//! | [`Opt::PurgeDelayMs`] | `TESSALLOC_PURGE_DELAY` | ms | 10 s | 0 to 1 h |
//! | [`Opt::Scavenger`] | `TESSALLOC_SCAVENGER` | switch | on | |
//! | [`Opt::MoveLarge`] | `TESSALLOC_MOVE_LARGE` | switch | on | |
//! | [`Opt::Stats`] | `TESSALLOC_STATS` | switch | off | |
//! | [`Opt::Verbose`] | `TESSALLOC_VERBOSE` | switch | off | |
//!
//! The environment is read at the first allocation; what the program sets later holds from then on.
#![forbid(unsafe_code)]

use crate::os::{self, EnvValue};
use crate::report::Line;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// What a value counts, and so which suffixes it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// `0`/`1`, `off`/`on`, `false`/`true`, `no`/`yes`.
    Switch,
    /// `10`, `250ms`, `2s`, `1m`; a bare number is milliseconds.
    Milliseconds,
    /// `64`, `64K`, `64M`, `2GiB`; a bare number is bytes.
    Bytes,
}

struct Row {
    name: &'static str,
    unit: Unit,
    default: u64,
    range: (u64, u64),
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opt {
    /// Address space of a region; 0: four times the memory. Regions that are there already keep their size.
    ReserveBytes,
    /// How long unused memory is kept under steady load; 0: until the next look, a quarter of a second away.
    PurgeDelayMs,
    /// Whether a background thread gives memory back while nobody allocates.
    Scavenger,
    /// Whether large blocks may be moved by the page table.
    MoveLarge,
    /// Whether statistics are printed when the process ends.
    Stats,
    /// Whether the start of regions and of the background thread is reported.
    Verbose,
}

const ROWS: [Row; 6] = [
    Row { name: "TESSALLOC_RESERVE", unit: Unit::Bytes, default: 0, range: (0, 1 << 40) },
    Row { name: "TESSALLOC_PURGE_DELAY", unit: Unit::Milliseconds, default: 10_000, range: (0, 3_600_000) },
    Row { name: "TESSALLOC_SCAVENGER", unit: Unit::Switch, default: 1, range: (0, 1) },
    Row { name: "TESSALLOC_MOVE_LARGE", unit: Unit::Switch, default: 1, range: (0, 1) },
    Row { name: "TESSALLOC_STATS", unit: Unit::Switch, default: 0, range: (0, 1) },
    Row { name: "TESSALLOC_VERBOSE", unit: Unit::Switch, default: 0, range: (0, 1) },
];

static VALUES: [AtomicU64; ROWS.len()] = {
    let mut values = [const { AtomicU64::new(0) }; ROWS.len()];
    let mut i = 0;
    while i < ROWS.len() {
        values[i] = AtomicU64::new(ROWS[i].default);
        i += 1;
    }
    values
};
static LATCHED: AtomicBool = AtomicBool::new(false);

/// A value was refused: it lies outside the option's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The option's name in the environment.
    pub name: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least and the greatest value that it takes.
    pub range: (u64, u64),
}

impl core::fmt::Display for OutOfRange {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(to, "cannot set {}: expected {} to {}, received {}", self.name, self.range.0, self.range.1, self.value)
    }
}

impl core::error::Error for OutOfRange {}

impl Opt {
    /// All options, in the order of the table.
    pub const ALL: [Opt; ROWS.len()] =
        [Opt::ReserveBytes, Opt::PurgeDelayMs, Opt::Scavenger, Opt::MoveLarge, Opt::Stats, Opt::Verbose];

    /// The option's name in the environment.
    pub const fn name(self) -> &'static str {
        ROWS[self as usize].name
    }

    /// Sets the value for the whole process, from any thread; it counts from the next time that the option is looked at.
    ///
    /// # Errors
    /// [`OutOfRange`] if the option does not take the value; the old one stays.
    pub fn set(self, value: u64) -> Result<(), OutOfRange> {
        load();
        let row = &ROWS[self as usize];
        if !(row.range.0..=row.range.1).contains(&value) {
            return Err(OutOfRange { name: row.name, value, range: row.range });
        }
        // ORDER: Relaxed: each value stands alone.
        VALUES[self as usize].store(value, Ordering::Relaxed);
        Ok(())
    }

    /// The value in force.
    pub fn value(self) -> u64 {
        // ORDER: Relaxed: each value stands alone.
        VALUES[self as usize].load(Ordering::Relaxed)
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(self) -> bool {
        self.value() != 0
    }
}

/// Reads the environment once it can be read; before that the defaults hold and it is tried again at the next thread's start.
pub(crate) fn load() {
    // ORDER: Relaxed: two threads that both read the environment store the same values.
    if LATCHED.load(Ordering::Relaxed) {
        return;
    }
    for (row, value) in ROWS.iter().zip(&VALUES) {
        let mut text = [0u8; 64];
        match os::env(row.name, &mut text) {
            EnvValue::NotYet => return,
            EnvValue::Unset => {}
            EnvValue::Set(len) => {
                match parse(row.unit, &text[..len]).filter(|v| (row.range.0..=row.range.1).contains(v)) {
                    // ORDER: Relaxed: as in `value`.
                    Some(parsed) => value.store(parsed, Ordering::Relaxed),
                    None => report_bad(row, &text[..len]),
                }
            }
        }
    }
    // ORDER: Relaxed: as above.
    LATCHED.store(true, Ordering::Relaxed);
}

fn report_bad(row: &Row, text: &[u8]) {
    let expected = match row.unit {
        Unit::Switch => "0 or 1",
        Unit::Milliseconds => "a time from 0 to 1h such as 250ms, 10s",
        Unit::Bytes => "a size from 0 to 1T such as 64M, 2G",
    };
    let shown = core::str::from_utf8(text).unwrap_or("bytes that are no text");
    Line::new()
        .text("ignored ")
        .text(row.name)
        .text(": expected ")
        .text(expected)
        .text(", received ")
        .text(shown)
        .write();
}

/// A value with its suffix; `None` if it is none.
fn parse(unit: Unit, text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, suffix) = text.split_at(digits);
    if unit == Unit::Switch && digits == 0 {
        let is = |word: &str| suffix.eq_ignore_ascii_case(word.as_bytes());
        return match () {
            () if is("on") || is("true") || is("yes") => Some(1),
            () if is("off") || is("false") || is("no") => Some(0),
            () => None,
        };
    }
    if digits == 0 {
        return None;
    }
    let mut value = 0u64;
    for digit in number {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    let is = |word: &str| suffix.eq_ignore_ascii_case(word.as_bytes());
    let factor = match unit {
        _ if suffix.is_empty() => 1,
        Unit::Milliseconds if is("ms") => 1,
        Unit::Milliseconds if is("s") => 1000,
        Unit::Milliseconds if is("m") => 60_000,
        Unit::Milliseconds if is("h") => 3_600_000,
        Unit::Bytes if is("k") || is("kb") || is("kib") => 1 << 10,
        Unit::Bytes if is("m") || is("mb") || is("mib") => 1 << 20,
        Unit::Bytes if is("g") || is("gb") || is("gib") => 1 << 30,
        Unit::Bytes if is("t") || is("tb") || is("tib") => 1 << 40,
        _ => return None,
    };
    value.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_parse_units_and_refuse_the_rest() {
        assert_eq!(parse(Unit::Bytes, b"64M"), Some(64 << 20));
        assert_eq!(parse(Unit::Bytes, b" 2GiB "), Some(2 << 30));
        assert_eq!(parse(Unit::Bytes, b"12"), Some(12));
        assert_eq!(parse(Unit::Milliseconds, b"2s"), Some(2000));
        assert_eq!(parse(Unit::Milliseconds, b"250ms"), Some(250));
        assert_eq!(parse(Unit::Switch, b"on"), Some(1));
        assert_eq!(parse(Unit::Switch, b"NO"), Some(0));
        for bad in [&b"x"[..], b"", b"1s", b"-1", b"99999999999999999999", b"1.5G", b"99999999999T"] {
            assert_eq!(parse(Unit::Bytes, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn options_set_in_code_hold_and_refuse_what_is_out_of_range() {
        let before = Opt::PurgeDelayMs.value();
        assert_eq!(Opt::PurgeDelayMs.set(1500), Ok(()));
        assert_eq!(Opt::PurgeDelayMs.value(), 1500);
        let refused = Opt::PurgeDelayMs.set(3_600_001).unwrap_err();
        assert_eq!((refused.name, refused.value), ("TESSALLOC_PURGE_DELAY", 3_600_001));
        assert_eq!(Opt::PurgeDelayMs.value(), 1500, "the old value stays");
        Opt::PurgeDelayMs.set(before).unwrap();
    }

    #[test]
    fn options_rows_stand_in_the_order_of_the_names() {
        assert_eq!(Opt::Verbose.name(), "TESSALLOC_VERBOSE");
        assert_eq!(Opt::PurgeDelayMs.name(), "TESSALLOC_PURGE_DELAY");
        assert!(Opt::ALL.iter().enumerate().all(|(place, opt)| *opt as usize == place));
        assert!(ROWS.iter().all(|row| (row.range.0..=row.range.1).contains(&row.default)));
    }
}
