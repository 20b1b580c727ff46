//! Texts that stand for options, held against a reader that was written without a look at the core's.

use std::fmt::Write;

use tessalloc::Opt;
use tessalloc::options::Unit;

/// What a text means for a unit: digits, an optional suffix, space around.
fn naive(unit: Unit, text: &str) -> Option<u64> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']).to_ascii_lowercase();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    if digits.is_empty() {
        return match (unit, suffix) {
            (Unit::Switch, "off" | "false" | "no") => Some(0),
            (Unit::Switch, "on" | "true" | "yes") => Some(1),
            _ => None,
        };
    }
    let factor: u128 = match (unit, suffix) {
        (_, "") => 1,
        (Unit::Milliseconds, "ms") => 1,
        (Unit::Milliseconds, "s") => 1000,
        (Unit::Milliseconds, "m") => 60_000,
        (Unit::Milliseconds, "h") => 3_600_000,
        (Unit::Bytes, "k" | "kb" | "kib") => 1 << 10,
        (Unit::Bytes, "m" | "mb" | "mib") => 1 << 20,
        (Unit::Bytes, "g" | "gb" | "gib") => 1 << 30,
        (Unit::Bytes, "t" | "tb" | "tib") => 1 << 40,
        _ => return None,
    };
    // More digits than any number of 64 bits has, but for zeros in front.
    let digits = digits.trim_start_matches('0');
    let number: u128 = if digits.len() > 25 { return None } else { format!("0{digits}").parse().ok()? };
    // A number that needs more than 64 bits is none, whatever comes of it.
    let number = u64::try_from(number).ok()?;
    u64::try_from(u128::from(number) * factor).ok()
}

/// Reads `data` as a value of every option, as names, and as a variable of the environment; panics where that is not what it should be.
pub fn check(data: &[u8]) {
    let (name, value) = match data.iter().position(|byte| *byte == b'=') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&b""[..], data),
    };
    if let Ok(text) = std::str::from_utf8(value) {
        for opt in Opt::ALL {
            let (least, most) = opt.range();
            let expected = naive(opt.unit(), text).filter(|value| least <= *value && *value <= most);
            assert_eq!(opt.parse(text), expected, "{text:?} as a value of {}", opt.name());
            if let Some(value) = expected {
                let shown = opt.unit().show(value).to_string();
                assert_eq!(opt.parse(&shown), Some(value), "{value} of {} is shown as {shown:?}", opt.name());
            }
        }
    }
    if let Ok(name) = std::str::from_utf8(name) {
        let upper = name.to_ascii_uppercase();
        let is_name = |opt: &Opt| opt.name() == upper || opt.name().strip_prefix("TESSALLOC_") == Some(&upper);
        assert_eq!(Opt::of_name(name), Opt::ALL.into_iter().find(is_name), "the option {name:?}");
        // Anything may be asked for but what purges, which is slow.
        if name != "purge" {
            let _ = tessalloc::query(name);
        }
        let mut told = String::new();
        let _ = write!(told, "{:?}", name.parse::<tessalloc::Query>());
    }
    #[cfg(tessalloc_check)]
    {
        // What is told of it is read, and goes nowhere.
        static QUIET: std::sync::Once = std::sync::Once::new();
        QUIET.call_once(|| {
            tessalloc::set_output(Some(|text| assert!(text.ends_with('\n') && !text.trim().is_empty(), "{text:?}")));
        });
        tessalloc::check_variable(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_mean_what_a_naive_reader_reads() {
        let texts =
            ["", " ", "1", "0", "18446744073709551615", "18446744073709551616", "16777216T", "1x", "k", "1 k", "+1"];
        let more = [
            "00000000000000000000000000007",
            "64KiB",
            "64kb",
            "64kI",
            "250ms",
            "2 s",
            "on",
            "Off ",
            "yes\n",
            "é",
            "1ß",
        ];
        for value in texts.into_iter().chain(more) {
            for name in
                ["", "TESSALLOC_KEEP", "keep", "TESSALLOC_KEPP", "process.rss_bytes", "class.64.blocks_used", "class.9"]
            {
                check(format!("{name}={value}").as_bytes());
            }
        }
        check(b"\xff\xfe=\xff");
    }
}
