//! Values of options as text: units, reading, writing, and which name was meant.

use core::fmt;

/// What a value counts, and so which suffixes it takes. Letters count in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unit {
    /// `0`/`1`, `off`/`on`, `false`/`true`, `no`/`yes`.
    Switch = 0,
    /// `250ms`, `2s`, `1m`, `1h`; a bare number is milliseconds.
    Milliseconds = 1,
    /// `64K`, `64M`, `2GiB`, `1T`, all with `B` or `iB` if one likes; a bare number is bytes.
    Bytes = 2,
    /// A bare number.
    Count = 3,
}

impl Unit {
    /// Suffixes and what they stand for, the largest first.
    const fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Unit::Switch | Unit::Count => &[],
            Unit::Milliseconds => &[("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)],
            Unit::Bytes => &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)],
        }
    }

    /// Reads a value: digits, then at most one suffix, with space around. `None` if it is none, or needs more than 64 bits.
    pub(super) const fn parse(self, text: &[u8]) -> Option<u64> {
        const WORDS: [(&str, u64); 6] = [("off", 0), ("on", 1), ("false", 0), ("true", 1), ("no", 0), ("yes", 1)];
        let text = text.trim_ascii();
        let mut number = 0u64;
        let mut digits = 0;
        while digits < text.len() && text[digits].is_ascii_digit() {
            let Some(tens) = number.checked_mul(10) else { return None };
            let Some(sum) = tens.checked_add((text[digits] - b'0') as u64) else { return None };
            number = sum;
            digits += 1;
        }
        let (_, suffix) = text.split_at(digits);
        if digits == 0 {
            let words: &[(&str, u64)] = if matches!(self, Unit::Switch) { &WORDS } else { &[] };
            return find(words, suffix);
        }
        if suffix.is_empty() {
            return Some(number);
        }
        let suffix = match (self, suffix) {
            (Unit::Bytes, [letter @ .., b'i' | b'I', b'b' | b'B'] | [letter @ .., b'b' | b'B']) => letter,
            _ => suffix,
        };
        match find(self.suffixes(), suffix) {
            Some(factor) => number.checked_mul(factor),
            None => None,
        }
    }

    /// The value as one would write it: with the largest suffix that leaves a whole number.
    pub fn show(self, value: u64) -> Shown {
        Shown { unit: self, value }
    }
}

/// What stands beside `word`, in either case.
const fn find(words: &[(&str, u64)], word: &[u8]) -> Option<u64> {
    let mut index = 0;
    while index < words.len() {
        if words[index].0.as_bytes().eq_ignore_ascii_case(word) {
            return Some(words[index].1);
        }
        index += 1;
    }
    None
}

/// A value with its unit, as text: see [`Unit::show`].
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    unit: Unit,
    value: u64,
}

impl Shown {
    /// The number, if there is one, and what stands behind it.
    pub(crate) fn parts(self) -> (Option<u64>, &'static str) {
        let fits = |(_, factor): &&(&str, u64)| self.value != 0 && self.value.is_multiple_of(*factor);
        match (self.unit, self.value) {
            (Unit::Switch, 0) => (None, "off"),
            (Unit::Switch, _) => (None, "on"),
            (unit, value) => match unit.suffixes().iter().find(fits) {
                Some((suffix, factor)) => (Some(value / factor), suffix),
                None => (Some(value), ""),
            },
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, text) = self.parts();
        match number {
            Some(number) => write!(to, "{number}{text}"),
            None => to.write_str(text),
        }
    }
}

/// How many letters one has to add, drop or change to get from one name to the other, up to their 32nd; case does not count.
pub(super) fn distance(from: &[u8], to: &[u8]) -> usize {
    const LETTERS_MAX: usize = 32;
    let (from, to) = (&from[..from.len().min(LETTERS_MAX)], &to[..to.len().min(LETTERS_MAX)]);
    // Row `i` of the usual table: from the first `i` letters of one to the first `j` of the other.
    let mut row: [usize; LETTERS_MAX + 1] = core::array::from_fn(|j| j);
    for (i, letter) in from.iter().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(!letter.eq_ignore_ascii_case(other));
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn bytes_are_read_in_every_form() {
        let forms: [(&[&str], u64); 6] = [
            (&["0"], 0),
            (&["12", " 12\t"], 12),
            (&["3k", "3K", "3kb", "3KiB", "3kib", "3KB"], 3 << 10),
            (&["64m", "64M", "64MB", "64MiB", "64mib", " 64M "], 64 << 20),
            (&["2g", "2G", "2GB", "2GiB"], 2 << 30),
            (&["1t", "1T", "1TB", "1TiB", "1tIb"], 1 << 40),
        ];
        for (texts, value) in forms {
            for text in texts {
                assert_eq!(Unit::Bytes.parse(text.as_bytes()), Some(value), "{text:?}");
            }
        }
    }

    #[test]
    fn times_switches_and_counts_are_read_in_every_form() {
        for (text, value) in
            [("7", 7), ("250ms", 250), ("250MS", 250), ("2s", 2000), ("3m", 180_000), ("1h", 3_600_000)]
        {
            assert_eq!(Unit::Milliseconds.parse(text.as_bytes()), Some(value), "{text:?}");
        }
        for (text, value) in
            [("0", 0), ("off", 0), ("FALSE", 0), ("No", 0), ("1", 1), ("on", 1), ("true", 1), ("YES", 1)]
        {
            assert_eq!(Unit::Switch.parse(text.as_bytes()), Some(value), "{text:?}");
        }
        assert_eq!(Unit::Count.parse(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_value_is_none() {
        let bad: [(Unit, &[&str]); 4] = [
            (
                Unit::Bytes,
                &[
                    "",
                    " ",
                    "x",
                    "-1",
                    "+1",
                    "1.5G",
                    "1s",
                    "1 M",
                    "M",
                    "1iB",
                    "1B",
                    "1MM",
                    "1MiBB",
                    "99999999999T",
                    "on",
                ],
            ),
            (
                Unit::Milliseconds,
                &["", "ms", "1.5s", "1k", "1d", "-1s", "1s1ms", "99999999999999999999", "9999999999999999h"],
            ),
            (Unit::Switch, &["", "2x", "maybe", "onn", "1ms", "o n"]),
            (Unit::Count, &["", "many", "1k", "1s", "on", "18446744073709551616"]),
        ];
        for (unit, texts) in bad {
            for text in texts {
                assert_eq!(unit.parse(text.as_bytes()), None, "{unit:?} {text:?}");
            }
        }
        assert_eq!(Unit::Bytes.parse(b"\xff\xfe"), None);
    }

    #[test]
    fn values_are_shown_as_they_are_read() {
        let shown = |unit: Unit, value| unit.show(value).to_string();
        assert_eq!(shown(Unit::Bytes, 0), "0");
        assert_eq!(shown(Unit::Bytes, 1 << 40), "1T");
        assert_eq!(shown(Unit::Bytes, 1536 << 20), "1536M");
        assert_eq!(shown(Unit::Bytes, 1001), "1001");
        assert_eq!(shown(Unit::Milliseconds, 3_600_000), "1h");
        assert_eq!(shown(Unit::Milliseconds, 90_000), "90s");
        assert_eq!(shown(Unit::Milliseconds, 250), "250ms");
        assert_eq!((shown(Unit::Switch, 0), shown(Unit::Switch, 1)), ("off".into(), "on".into()));
        assert_eq!(shown(Unit::Count, 3_600_000), "3600000");
        for unit in [Unit::Bytes, Unit::Milliseconds, Unit::Count] {
            for value in (0..64).map(|bit| 1u64 << bit).chain([0, 999, 60_000, 123_456_789]) {
                assert_eq!(unit.parse(shown(unit, value).as_bytes()), Some(value));
            }
        }
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance(b"purge_delay", b"PURGE_DELAY"), 0);
        assert_eq!(distance(b"PURGE_DELY", b"PURGE_DELAY"), 1, "one dropped");
        assert_eq!(distance(b"PURGEE_DELAY", b"PURGE_DELAY"), 1, "one added");
        assert_eq!(distance(b"PURGE-DELAY", b"PURGE_DELAY"), 1, "one changed");
        assert_eq!(distance(b"KITTEN", b"SITTING"), 3);
        assert_eq!(distance(b"", b"STATS"), 5);
        assert_eq!(distance(b"STATS", b""), 5);
        assert_eq!(distance(&[b'A'; 100], &[b'A'; 40]), 0, "beyond the 32nd letter nothing counts");
    }
}
