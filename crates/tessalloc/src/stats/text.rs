//! The statistics as text: JSON, or lines to be read by people. Nothing is allocated; the text goes out piece by piece.
#![forbid(unsafe_code)]

use core::fmt::{Result, Write};

use super::of_heap::{HEAP_STATS_VERSION, HeapFigure, HeapStats};
use super::pages::{self, ClassFigure, OtherFigure, PageStats};
use super::process::{self, ProcessFigure, ProcessInfo};
use super::{Figure, STATS_VERSION, Stats};
use crate::options::Opt;
use crate::report::Digits;

/// All figures of about one moment.
pub(crate) struct Snapshot {
    stats: Stats,
    process: ProcessInfo,
    pages: PageStats,
}

impl Snapshot {
    pub(crate) fn take() -> Self {
        Self { stats: super::now(), process: process::info(), pages: pages::count(|_| true) }
    }

    /// One JSON object without line breaks. Figures that the system does not tell are `null`.
    pub(crate) fn write_json(&self, to: &mut dyn Write) -> Result {
        to.write_str("{\"name\":\"tessalloc\",\"version\":\"")?;
        to.write_str(crate::global::VERSION)?;
        to.write_str("\",\"stats\":{\"version\":")?;
        to.write_str(Digits::of(u64::from(STATS_VERSION)).text())?;
        for figure in Figure::ALL {
            member(to, ",", figure.name(), figure.of(&self.stats))?;
        }
        to.write_str("},\"process\":")?;
        object(to, ProcessFigure::ALL, |figure| (figure.name(), figure.of(&self.process)))?;
        to.write_str(",\"options\":")?;
        object(to, &Opt::ALL, |opt| (opt.name(), Some(opt.value())))?;
        page_members(to, &self.pages)
    }

    /// Lines of a name and a figure each, then a table of the size classes in use.
    pub(crate) fn write_lines(&self, to: &mut dyn Write) -> Result {
        to.write_str("tessalloc ")?;
        to.write_str(crate::global::VERSION)?;
        to.write_str("\n")?;
        for figure in Figure::ALL {
            line(to, figure.name(), figure.of(&self.stats))?;
        }
        write_process(&self.process, to)?;
        page_lines(to, &self.pages)
    }
}

/// All figures of a heap, of about one moment.
pub(crate) struct HeapSnapshot<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: u64,
    pub(crate) tag: u64,
    pub(crate) stats: HeapStats,
    pub(crate) pages: PageStats,
}

impl HeapSnapshot<'_> {
    /// As [`Snapshot::write_json`].
    pub(crate) fn write_json(&self, to: &mut dyn Write) -> Result {
        to.write_str("{\"name\":")?;
        string(to, self.name)?;
        member(to, ",", "id", Some(self.id))?;
        member(to, ",", "tag", Some(self.tag))?;
        to.write_str(",\"stats\":{")?;
        member(to, "", "version", Some(u64::from(HEAP_STATS_VERSION)))?;
        for figure in HeapFigure::ALL {
            member(to, ",", figure.name(), figure.of(&self.stats))?;
        }
        to.write_str("}")?;
        page_members(to, &self.pages)
    }

    /// As [`Snapshot::write_lines`].
    pub(crate) fn write_lines(&self, to: &mut dyn Write) -> Result {
        to.write_str("heap ")?;
        to.write_str(Digits::of(self.id).text())?;
        to.write_str(" ")?;
        to.write_str(self.name)?;
        to.write_str("\n")?;
        for figure in HeapFigure::ALL {
            line(to, figure.name(), figure.of(&self.stats))?;
        }
        page_lines(to, &self.pages)
    }
}

/// The last members of an object, and its end.
fn page_members(to: &mut dyn Write, pages: &PageStats) -> Result {
    to.write_str(",\"pages\":")?;
    let other = pages.other();
    object(to, OtherFigure::ALL, |figure| (figure.name(), figure.of(&other)))?;
    to.write_str(",\"classes\":[")?;
    for (i, class) in pages.classes().enumerate() {
        to.write_str(if i > 0 { "," } else { "" })?;
        object(to, ClassFigure::ALL, |figure| (figure.name(), figure.of(&class)))?;
    }
    to.write_str("]}")
}

fn page_lines(to: &mut dyn Write, pages: &PageStats) -> Result {
    let other = pages.other();
    for figure in OtherFigure::ALL {
        line(to, figure.name(), figure.of(&other))?;
    }
    for figure in ClassFigure::ALL {
        right(to, figure.name())?;
    }
    to.write_str("\n")?;
    for class in pages.classes() {
        for figure in ClassFigure::ALL {
            right(to, Digits::of(figure.of(&class).unwrap_or(0)).text())?;
        }
        to.write_str("\n")?;
    }
    Ok(())
}

/// A line for each figure of the process.
pub(crate) fn write_process(info: &ProcessInfo, to: &mut dyn Write) -> Result {
    ProcessFigure::ALL.iter().try_for_each(|figure| line(to, figure.name(), figure.of(info)))
}

fn object<T: Copy>(to: &mut dyn Write, all: &[T], of: impl Fn(T) -> (&'static str, Option<u64>)) -> Result {
    to.write_str("{")?;
    for (i, each) in all.iter().enumerate() {
        let (name, figure) = of(*each);
        member(to, if i > 0 { "," } else { "" }, name, figure)?;
    }
    to.write_str("}")
}

/// A text of the program's in quotes.
fn string(to: &mut dyn Write, text: &str) -> Result {
    to.write_str("\"")?;
    for each in text.chars() {
        match each {
            '"' | '\\' => {
                to.write_str("\\")?;
                to.write_char(each)?;
            }
            '\0'..'\x20' => {
                to.write_str("\\u00")?;
                to.write_str(if each < '\x10' { "0" } else { "1" })?;
                to.write_char(char::from_digit(u32::from(each) % 16, 16).unwrap_or('0'))?;
            }
            _ => to.write_char(each)?,
        }
    }
    to.write_str("\"")
}

/// Names are of letters, digits, dots and underscores: nothing to be escaped.
fn member(to: &mut dyn Write, before: &str, name: &str, figure: Option<u64>) -> Result {
    to.write_str(before)?;
    to.write_str("\"")?;
    to.write_str(name)?;
    to.write_str("\":")?;
    to.write_str(figure.map(Digits::of).as_ref().map_or("null", Digits::text))
}

/// Blanks up to a column.
fn blanks(to: &mut dyn Write, width: usize, used: usize) -> Result {
    const BLANKS: &str = "                                ";
    to.write_str(&BLANKS[..width.saturating_sub(used).clamp(1, BLANKS.len())])
}

fn line(to: &mut dyn Write, name: &str, figure: Option<u64>) -> Result {
    let digits = figure.map(Digits::of);
    let text = digits.as_ref().map_or("unknown", Digits::text);
    to.write_str(name)?;
    blanks(to, 32, name.len())?;
    to.write_str(text)?;
    to.write_str("\n")
}

fn right(to: &mut dyn Write, text: &str) -> Result {
    blanks(to, 16, text.len())?;
    to.write_str(text)
}
