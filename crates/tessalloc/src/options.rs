//! Options: one table drives the names in the environment, the values and their checks, the builder, the C API and the docs page.
//!
//! | who gives a value | when | gives way to |
//! |-------------------|------|--------------|
//! | the table, or `TESSALLOC_DEFAULT_…` where the crate is compiled | before anything runs | all below |
//! | [`Options`] in the allocator's type ([`Tessalloc::with`](crate::Tessalloc::with)), or installed | at the first allocation | all below |
//! | `TESSALLOC_…` in the environment | at the first allocation, once it can be read | the one below |
//! | [`Opt::set`] | at the call | a later call |
//!
//! | word | always true |
//! |------|-------------|
//! | `VALUES` | O1 in `word`: a value is only replaced by one of the same source or of a stronger one |
//! | `LATCHED` | O2 set once the environment has been read; its faults are reported by who sets it, so once |
#![forbid(unsafe_code)]

mod value;
mod word;

use core::ffi::CStr;

use crate::os;
use crate::report::Line;
use crate::sync::{AtomicBool, Ordering};
pub use value::{Shown, Unit};
use word::{SOURCE_BITS, Word};

/// What the names of all options in the environment begin with.
pub const PREFIX: &str = "TESSALLOC_";
/// Names that go on so are no options of a run: those of this project's tests, and those that are read by a build.
const LEFT_ALONE: [&str; 2] = ["TEST_", "DEFAULT_"];
/// The one variable that holds a text: the file that a profile is written to when the process ends.
const PROFILE_FILE: &str = "PROFILE_FILE";

struct Row {
    name: &'static CStr,
    doc: &'static CStr,
    builder: &'static str,
    unit: Unit,
    default: u64,
    range: (u64, u64),
}

/// What a builder's function takes for each unit.
mod takes {
    pub(super) type Switch = bool;
    pub(super) type Milliseconds = u64;
    pub(super) type Bytes = u64;
    pub(super) type Count = u64;
}

/// A literal as C has it; the space that a doc comment begins with is left out.
const fn c_text(text: &'static str) -> &'static CStr {
    let bytes = match text.as_bytes() {
        [b' ', rest @ ..] => rest,
        all => all,
    };
    match CStr::from_bytes_with_nul(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a text of the table holds a zero"),
    }
}

/// The default of a row: the table's, unless whoever compiled this gave another one.
const fn compiled_in(unit: Unit, default: u64, range: (u64, u64), given: Option<&str>, refusal: &str) -> u64 {
    let value = match given {
        None => Some(default),
        Some(text) => unit.parse(text.as_bytes()),
    };
    match value {
        Some(value) if range.0 <= value && value <= range.1 => value,
        _ => panic!("{}", refusal),
    }
}

macro_rules! options {
    ($($(#[doc = $doc:literal])+ $opt:ident, $method:ident, $name:literal, $unit:ident, $default:expr, $least:literal ..= $most:expr;)+) => {
        /// An option. Numbers stay as they are: later versions append.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum Opt { $($(#[doc = $doc])+ $opt,)+ }

        impl Opt {
            /// All options, in the order of the table.
            pub const ALL: [Opt; [$($least),+].len()] = [$(Opt::$opt),+];
        }

        const ROWS: [Row; Opt::ALL.len()] = [$(Row {
            name: c_text(concat!("TESSALLOC_", $name, "\0")),
            doc: c_text(concat!($($doc),+, "\0")),
            builder: stringify!($method),
            unit: Unit::$unit,
            default: compiled_in(
                Unit::$unit,
                $default,
                ($least, $most),
                option_env!(concat!("TESSALLOC_DEFAULT_", $name)),
                concat!("cannot build with TESSALLOC_DEFAULT_", $name, ": expected a value that the option takes"),
            ),
            range: ($least, $most),
        }),+];

        impl Options {
            $($(#[doc = $doc])+
            ///
            /// # Panics
            /// The option doesn't take the value. In the initialiser of a static that is an error of the compiler.
            #[must_use]
            pub const fn $method(self, value: takes::$unit) -> Self {
                self.with(Opt::$opt, value as u64)
            })+
        }
    };
}

options! {
    /// Address space of a region; 0: four times the memory. Regions that are there already keep their size.
    ReserveBytes, reserve_bytes, "RESERVE", Bytes, 0, 0..=1 << 40;
    /// How long unused memory is kept under steady load; 0: until the next look, a quarter of a second away. Of pages in use it is half of
    /// that at least, and [`Opt::IdleDelayMs`].
    PurgeDelayMs, purge_delay_ms, "PURGE_DELAY", Milliseconds, 10_000, 0..=3_600_000;
    /// Whether a background thread gives memory back while nobody allocates. One that runs already goes on.
    Scavenger, scavenger, "SCAVENGER", Switch, 1, 0..=1;
    /// Whether large blocks that grow may be moved by the page table; else they are copied.
    MoveLarge, move_large, "MOVE_LARGE", Switch, 1, 0..=1;
    /// Whether statistics are printed when the process ends. Looked at once, at the first allocation.
    Stats, stats, "STATS", Switch, 0, 0..=1;
    /// Whether the start of regions and of the background thread is reported.
    Verbose, verbose, "VERBOSE", Switch, 0, 0..=1;
    /// How long a thread has been idle when all that it holds unused goes back, in steps of a quarter of a second. Counts for
    /// threads that become idle later.
    IdleDelayMs, idle_delay_ms, "IDLE_DELAY", Milliseconds, 1000, 250..=3_600_000;
    /// Free memory, in slices of 64 KiB, that the process keeps whatever the delays say; a purge that is asked for gives it back.
    KeepBytes, keep_bytes, "KEEP", Bytes, 1 << 20, 0..=1 << 40;
    /// Whether memory is given back inside pages of small blocks that are still in use, by the OS page.
    PurgeHoles, purge_holes, "PURGE_HOLES", Switch, 1, 0..=1;
    /// Free small blocks that a thread keeps at hand for each heap, all sizes together; up to 8 of each size are kept even so.
    /// Counts for threads that start later.
    ThreadCacheBytes, thread_cache_bytes, "THREAD_CACHE", Bytes, 512 << 10, 0..=64 << 20;
    /// How many warnings are written to standard error; 0: none.
    MaxWarnings, max_warnings, "MAX_WARNINGS", Count, 32, 0..=1_000_000;
    /// Memory that may be resident, of all blocks together, above which unused memory goes back at once and the program is told; 0:
    /// none. Nine tenths of a container's limit always count so, for the whole process.
    SoftLimitBytes, soft_limit_bytes, "SOFT_LIMIT", Bytes, 0, 0..=1 << 46;
    /// Memory that may be resident, of all blocks together, beyond which allocations fail, in steps of 64 KiB; 0: none.
    HardLimitBytes, hard_limit_bytes, "HARD_LIMIT", Bytes, 0, 0..=1 << 46;
    /// Whether a heap profile is taken from the start: see `docs/profiles.md`. Looked at once, at the first allocation.
    Profile, profile, "PROFILE", Switch, 0, 0..=1;
    /// Mean bytes between two samples of the profile that is taken from the start; 1: every allocation is one.
    ProfileRate, profile_rate, "PROFILE_RATE", Bytes, 512 << 10, 1..=1 << 40;
    /// Whether the profile that goes to `TESSALLOC_PROFILE_FILE` when the process ends is that of the peak, not what is in use then.
    ProfilePeak, profile_peak, "PROFILE_PEAK", Switch, 0, 0..=1;
    /// One of so many allocations is guarded, from the start: see `docs/guarded.md`; 0: none. Looked at once, at the first allocation, as
    /// the four below.
    GuardedSampleRate, guarded_sample_rate, "GUARDED_SAMPLE_RATE", Count, 0, 0..=1 << 32;
    /// The least size that is guarded.
    GuardedMin, guarded_min, "GUARDED_MIN", Bytes, 0, 0..=1 << 40;
    /// The largest size that is guarded.
    GuardedMax, guarded_max, "GUARDED_MAX", Bytes, 1 << 30, 0..=1 << 40;
    /// Whether guarded blocks of C's `malloc` end at their guard whatever their size, and are aligned only as that is.
    GuardedPrecise, guarded_precise, "GUARDED_PRECISE", Switch, 0, 0..=1;
    /// Has each run guard the same allocations of each thread; 0: chosen anew each time.
    GuardedSampleSeed, guarded_sample_seed, "GUARDED_SAMPLE_SEED", Count, 0, 0..=1 << 52;
}

/// Who gave the value in force, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Source {
    /// The table, or `TESSALLOC_DEFAULT_…` where the crate was compiled.
    Default = 0,
    /// [`Options`] that the program is built with.
    Program = 1,
    /// `TESSALLOC_…` in the environment.
    Environment = 2,
    /// [`Opt::set`] while the program runs.
    Set = 3,
}

const SOURCES: [Source; 1 << SOURCE_BITS] = [Source::Default, Source::Program, Source::Environment, Source::Set];

static VALUES: [Word; ROWS.len()] = {
    let mut values = [const { Word::new(0, 0) }; ROWS.len()];
    let mut i = 0;
    while i < ROWS.len() {
        assert!(ROWS[i].range.1 < 1 << (64 - SOURCE_BITS), "O1: the source needs its bits");
        values[i] = Word::new(ROWS[i].default, Source::Default as u32);
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
    const fn row(self) -> &'static Row {
        const TABLE: &[Row; ROWS.len()] = &ROWS;
        &TABLE[self as usize]
    }

    /// The option of a name, with or without `TESSALLOC_`, in either case.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        let rest = match name.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX.as_bytes()) => rest,
            _ => name,
        };
        Self::ALL.into_iter().find(|opt| opt.short_name().eq_ignore_ascii_case(rest))
    }

    /// The option's name in the environment.
    pub const fn name(self) -> &'static str {
        text_of(self.row().name)
    }

    /// The same for C.
    pub const fn c_name(self) -> &'static CStr {
        self.row().name
    }

    /// The name behind [`PREFIX`].
    const fn short_name(self) -> &'static [u8] {
        self.name().as_bytes().split_at(PREFIX.len()).1
    }

    /// What the option does, in a sentence or two.
    pub const fn doc(self) -> &'static str {
        text_of(self.row().doc)
    }

    /// The same for C.
    pub const fn c_doc(self) -> &'static CStr {
        self.row().doc
    }

    /// The function of [`Options`] that gives it a value.
    pub const fn builder(self) -> &'static str {
        self.row().builder
    }

    /// What its value counts. Switches are 0 and 1.
    pub const fn unit(self) -> Unit {
        self.row().unit
    }

    /// The value where nobody gave another one.
    pub const fn default_value(self) -> u64 {
        self.row().default
    }

    /// The least and the greatest value that the option takes.
    pub const fn range(self) -> (u64, u64) {
        self.row().range
    }

    const fn takes(self, value: u64) -> bool {
        let (least, most) = self.range();
        least <= value && value <= most
    }

    /// Reads a value as the environment gives it: `250ms`, `64M`, `off`. `None` if it is none, or lies outside the range.
    pub fn parse(self, text: &str) -> Option<u64> {
        self.parse_bytes(text.as_bytes())
    }

    fn parse_bytes(self, text: &[u8]) -> Option<u64> {
        self.unit().parse(text).filter(|value| self.takes(*value))
    }

    /// Sets the value for the whole process, from any thread; it counts from the next time that the option is looked at. It is
    /// stronger than the environment, whether that was read before or is read later.
    ///
    /// # Errors
    /// [`OutOfRange`] if the option does not take the value; the old one stays.
    pub fn set(self, value: u64) -> Result<(), OutOfRange> {
        if !self.takes(value) {
            return Err(OutOfRange { name: self.name(), value, range: self.range() });
        }
        self.put(value, Source::Set);
        Ok(())
    }

    /// The value in force, from any thread.
    pub fn value(self) -> u64 {
        self.word().0
    }

    /// Who gave the value in force.
    pub fn source(self) -> Source {
        SOURCES[self.word().1 as usize]
    }

    fn word(self) -> (u64, u32) {
        load();
        VALUES[self as usize].get()
    }

    fn put(self, value: u64, source: Source) {
        VALUES[self as usize].put(value, source as u32);
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(self) -> bool {
        self.value() != 0
    }
}

const fn text_of(text: &'static CStr) -> &'static str {
    match text.to_str() {
        Ok(text) => text,
        Err(_) => panic!("a text of the table is no UTF-8"),
    }
}

/// Values that a program is built with: a constant, made before anything runs.
///
/// ```
/// use tessalloc::{Configured, Options, Tessalloc};
///
/// #[global_allocator]
/// static GLOBAL: Configured = Tessalloc::with(Options::new().purge_delay_ms(2000).scavenger(false));
///
/// assert_eq!(tessalloc::Opt::PurgeDelayMs.value(), 2000);
/// ```
///
/// The environment is stronger: who runs the program can still change what it was built with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    values: [Option<u64>; ROWS.len()],
}

impl Options {
    /// Leaves every option as it is.
    pub const fn new() -> Self {
        Self { values: [None; ROWS.len()] }
    }

    /// An option by its row, for those who have it as a value; else the function of its name.
    ///
    /// # Panics
    /// The option doesn't take the value. In the initialiser of a static that is an error of the compiler.
    #[must_use]
    pub const fn with(mut self, opt: Opt, value: u64) -> Self {
        assert!(opt.takes(value), "cannot build options: expected a value in the option's range");
        self.values[opt as usize] = Some(value);
        self
    }

    /// Gives the values to the process, from any thread: they hold where neither the environment nor [`Opt::set`] gave another
    /// one. For a library, or an allocator without [`Tessalloc::with`](crate::Tessalloc::with); regions and threads that are
    /// there already have been made without them.
    pub fn install(&self) {
        for (opt, value) in Opt::ALL.into_iter().zip(self.values) {
            if let Some(value) = value {
                opt.put(value, Source::Program);
            }
        }
    }
}

/// Reads the environment once it can be read; until then it is tried again whenever an option is looked at.
#[inline]
pub(crate) fn load() {
    // ORDER: Relaxed: two threads that both read the environment store the same values.
    if !LATCHED.load(Ordering::Relaxed) {
        load_slow();
    }
}

/// The first of two variables of one name counts, as for `getenv`.
#[cold]
#[inline(never)]
fn load_slow() {
    const _: () = assert!(ROWS.len() <= 64, "a bit for each option");
    let mut seen = 0u64;
    let is_read = os::env_each(PREFIX, &mut |name, text| {
        if let Some(opt) = Opt::ALL.into_iter().find(|opt| opt.short_name() == name)
            && seen >> opt as u32 & 1 == 0
        {
            seen |= 1 << opt as u32;
            if let Some(value) = opt.parse_bytes(text) {
                opt.put(value, Source::Environment);
            }
        }
    });
    // ORDER: Relaxed: as in `load`; the exchange itself lets one thread report (O2).
    if !is_read || LATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    // After all values are in force: one of them says how many warnings are written.
    os::env_each(PREFIX, &mut warn_of);
}

/// Tells of a variable, behind its prefix, whose value or name is not understood.
pub(crate) fn warn_of(name: &[u8], text: &[u8]) {
    match Opt::ALL.into_iter().find(|opt| opt.short_name() == name) {
        Some(opt) if opt.parse_bytes(text).is_none() => warn_of_value(opt, text),
        None if name == PROFILE_FILE.as_bytes() => {}
        None if !LEFT_ALONE.iter().any(|start| name.starts_with(start.as_bytes())) => warn_of_name(name),
        _ => {}
    }
}

/// Copies the name of the profile's file, with a zero behind it; false if the environment gives none, or one that is too long.
pub(crate) fn profile_file(into: &mut [u8]) -> bool {
    let mut is_found = false;
    os::env_each(PREFIX, &mut |name, text| {
        if name == PROFILE_FILE.as_bytes() && !is_found && !text.is_empty() && text.len() < into.len() {
            into[..text.len()].copy_from_slice(text);
            into[text.len()] = 0;
            is_found = true;
        }
    });
    is_found
}

/// Text of the environment for a message.
fn shown(text: &[u8]) -> &str {
    core::str::from_utf8(text).unwrap_or("bytes that are no text")
}

fn warn_of_value(opt: Opt, text: &[u8]) {
    let (least, most) = opt.range();
    let (kind, between) = match opt.unit() {
        Unit::Switch => ("", " or "),
        Unit::Milliseconds => ("a time such as 250ms or 10s, ", " to "),
        Unit::Bytes => ("a size such as 64K or 2G, ", " to "),
        Unit::Count => ("a number, ", " to "),
    };
    let show = |value| opt.unit().show(value).parts();
    let line = Line::new().text("ignored ").text(opt.name()).text(": expected ").text(kind);
    line.parts(show(least)).text(between).parts(show(most)).text(", received ").text(shown(text)).warn();
}

fn warn_of_name(name: &[u8]) {
    let nearest = Opt::ALL.into_iter().min_by_key(|opt| value::distance(opt.short_name(), name));
    let line = Line::new().text("ignored ").text(PREFIX).text(shown(name)).text(": there is no such option");
    match nearest {
        Some(opt) => line.text("; the nearest is ").text(opt.name()).warn(),
        None => line.warn(),
    }
}

/// Writes every option with its value, and who gave it, to standard error, without allocating.
pub(crate) fn print() {
    for opt in Opt::ALL {
        let source = match opt.source() {
            Source::Default => " (default)",
            Source::Program => " (by the program)",
            Source::Environment => " (by the environment)",
            Source::Set => " (set while running)",
        };
        let value = opt.unit().show(opt.value()).parts();
        Line::new().text(opt.name()).text("=").parts(value).text(source).write();
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_row_is_whole() {
        for (place, opt) in Opt::ALL.into_iter().enumerate() {
            assert_eq!(opt as usize, place, "numbers are places in the table");
            let (least, most) = opt.range();
            assert!(opt.takes(opt.default_value()), "{opt:?}");
            assert!(opt.unit() != Unit::Switch || (least, most) == (0, 1), "{opt:?}");
            assert!(opt.doc().ends_with('.') && !opt.doc().starts_with(' '), "{:?}", opt.doc());
            assert_eq!(opt.name(), opt.c_name().to_str().unwrap());
            assert!(opt.name().bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()), "{}", opt.name());
            assert!(!LEFT_ALONE.iter().any(|start| opt.name()[PREFIX.len()..].starts_with(start)));
            let same = |other: &&Opt| other.name() == opt.name();
            assert_eq!(Opt::ALL.iter().filter(same).count(), 1, "{}", opt.name());
        }
        assert_eq!((Opt::Verbose.name(), Opt::PurgeDelayMs.name()), ("TESSALLOC_VERBOSE", "TESSALLOC_PURGE_DELAY"));
    }

    #[test]
    fn names_are_found_with_and_without_the_prefix() {
        for opt in Opt::ALL {
            assert_eq!(Opt::of_name(opt.name()), Some(opt));
            assert_eq!(Opt::of_name(&opt.name().to_lowercase()), Some(opt));
            assert_eq!(Opt::of_name(&opt.name()[PREFIX.len()..]), Some(opt));
        }
        for name in ["", "TESSALLOC_", "TESSALLOC", "STAT", "STATSS", "TESSALLOC_TESSALLOC_STATS"] {
            assert_eq!(Opt::of_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn both_ends_of_a_range_are_taken_and_what_lies_beyond_is_refused() {
        for opt in Opt::ALL {
            let (least, most) = opt.range();
            assert_eq!(opt.parse(&least.to_string()), Some(least));
            assert_eq!(opt.parse(&opt.unit().show(most).to_string()), Some(most));
            assert_eq!(opt.parse(&(most + 1).to_string()), None);
            if let Some(below) = least.checked_sub(1) {
                assert_eq!(opt.parse(&below.to_string()), None);
            }
        }
        assert_eq!(Opt::IdleDelayMs.range(), (250, 3_600_000), "an option whose least value is not 0 is among them");
    }

    #[test]
    fn a_refused_value_leaves_the_old_one() {
        let before = Opt::PurgeDelayMs.value();
        let refused = Opt::PurgeDelayMs.set(3_600_001).unwrap_err();
        assert_eq!(refused.to_string(), "cannot set TESSALLOC_PURGE_DELAY: expected 0 to 3600000, received 3600001");
        assert_eq!(Opt::PurgeDelayMs.value(), before);
    }

    /// On an option that nothing else of these tests looks at.
    #[test]
    fn a_stronger_source_is_never_replaced_by_a_weaker_one() {
        let opt = Opt::MoveLarge;
        assert_eq!((opt.value(), opt.source()), (1, Source::Default));
        Options::new().move_large(false).install();
        assert_eq!((opt.value(), opt.source()), (0, Source::Program));
        opt.put(1, Source::Environment);
        Options::new().move_large(false).install();
        assert_eq!((opt.value(), opt.source()), (1, Source::Environment));
        opt.set(0).unwrap();
        opt.put(1, Source::Environment);
        assert_eq!((opt.value(), opt.source()), (0, Source::Set));
        opt.set(1).unwrap();
        assert_eq!((opt.value(), opt.source()), (1, Source::Set));
    }

    #[test]
    fn builders_are_constants_that_name_only_what_they_were_given() {
        const OPTIONS: Options = Options::new().keep_bytes(3 << 20).scavenger(false).with(Opt::IdleDelayMs, 250);
        let named = Opt::ALL.map(|opt| OPTIONS.values[opt as usize]);
        for (opt, value) in Opt::ALL.into_iter().zip(named) {
            let expected = match opt {
                Opt::KeepBytes => Some(3 << 20),
                Opt::Scavenger => Some(0),
                Opt::IdleDelayMs => Some(250),
                _ => None,
            };
            assert_eq!(value, expected, "{opt:?}");
        }
    }

    #[test]
    #[should_panic = "in the option's range"]
    fn builders_refuse_what_is_out_of_range() {
        let _ = Options::new().idle_delay_ms(249);
    }
}
