//! Every figure by its name, typed.
//!
//! | name | reads | writes |
//! |------|-------|--------|
//! | `purged_bytes`, … | a figure of [`Stats`](crate::Stats), by its field's name | – |
//! | `process.rss_bytes`, … | a figure of [`ProcessInfo`](crate::ProcessInfo) | – |
//! | `thread.allocated_bytes`, … | a figure of the calling thread's [`ThreadTotals`](crate::ThreadTotals) | – |
//! | `class.64.blocks_used`, … | a figure of the size class of 64-byte blocks, [`ClassStats`](crate::ClassStats) | – |
//! | `pages.large_bytes`, … | a figure of [`OtherPages`](crate::OtherPages) | – |
//! | `option.TESSALLOC_PURGE_DELAY`, … | the option's value; the prefix may be left out | sets it |
//! | `purge` | gives back all unused memory; the bytes that went | – |
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

use super::pages::{self, ClassFigure, OtherFigure};
use super::process::{self, ProcessFigure};
use super::{Figure, ThreadFigure};
use crate::options::Opt;
use crate::size_class::{CLASS_COUNT, SizeClass};

/// Something that can be asked for. Made from its name once, it can be read many times.
///
/// ```
/// use tessalloc::{Figure, Query, QueryError};
///
/// let query: Query = "purged_bytes".parse()?;
/// assert_eq!(query, Query::Stats(Figure::PurgedBytes));
/// assert!(query.read()? >= 0);
/// assert_eq!(tessalloc::query("purged"), Err(QueryError::UnknownName));
/// # Ok::<(), QueryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// A figure of the whole process. Cost: a microsecond and some for each thread.
    Stats(Figure),
    /// What the system says of the process. Cost: some system calls.
    Process(ProcessFigure),
    /// A figure of the calling thread.
    Thread(ThreadFigure),
    /// A figure of one size class. Cost: a look at every page, as for all of them.
    Class {
        /// Bytes of a block of the class.
        block_bytes: u32,
        /// Which figure.
        figure: ClassFigure,
    },
    /// A figure of pages without one class. Cost: as for a class.
    Pages(OtherFigure),
    /// The value of an option.
    Option(Opt),
    /// An action: [`purge`](crate::purge); the answer is the bytes that went.
    Purge,
}

/// Why a query was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// Nothing has this name.
    UnknownName,
    /// The system does not tell this figure.
    NotTold,
    /// It can be read only.
    ReadOnly,
    /// The option does not take the value.
    OutOfRange,
}

impl fmt::Display for QueryError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::UnknownName => "cannot answer the query: expected the name of a figure, an option or an action",
            Self::NotTold => "cannot answer the query: this system does not tell the figure",
            Self::ReadOnly => "cannot set the value: only options can be set",
            Self::OutOfRange => "cannot set the value: the option does not take it",
        })
    }
}

impl core::error::Error for QueryError {}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(name: &str) -> Result<Self, QueryError> {
        fn find<T: Copy>(all: &[T], is: impl Fn(T) -> bool) -> Result<T, QueryError> {
            all.iter().copied().find(|each| is(*each)).ok_or(QueryError::UnknownName)
        }
        match name.split_once('.') {
            None if name == "purge" => Ok(Self::Purge),
            None => find(Figure::ALL, |figure| figure.name() == name).map(Self::Stats),
            Some(("process", name)) => find(ProcessFigure::ALL, |figure| figure.name() == name).map(Self::Process),
            Some(("thread", name)) => find(ThreadFigure::ALL, |figure| figure.name() == name).map(Self::Thread),
            Some(("pages", name)) => find(OtherFigure::ALL, |figure| figure.name() == name).map(Self::Pages),
            Some(("option", name)) => Opt::of_name(name).map(Self::Option).ok_or(QueryError::UnknownName),
            Some(("class", rest)) => {
                let (bytes, name) = rest.split_once('.').ok_or(QueryError::UnknownName)?;
                let block_bytes = bytes.parse::<u32>().map_err(|_| QueryError::UnknownName)?;
                let is_class = |class| SizeClass::from_index(class).block_bytes() == block_bytes as usize;
                if !(1..CLASS_COUNT).any(is_class) {
                    return Err(QueryError::UnknownName);
                }
                let figure = find(ClassFigure::ALL, |figure| figure.name() == name)?;
                Ok(Self::Class { block_bytes, figure })
            }
            Some(_) => Err(QueryError::UnknownName),
        }
    }
}

impl Query {
    /// The figure now, from any thread; [`Query::Purge`] acts.
    ///
    /// # Errors
    /// [`QueryError::NotTold`] if the system does not tell it.
    pub fn read(self) -> Result<u64, QueryError> {
        let figure = match self {
            Self::Stats(figure) => figure.of(&super::now()),
            Self::Process(figure) => figure.of(&process::info()),
            Self::Thread(figure) => figure.of(&crate::thread::totals()),
            Self::Class { block_bytes, figure } => {
                pages::count(|_| true).of_block_bytes(u64::from(block_bytes)).and_then(|class| figure.of(&class))
            }
            Self::Pages(figure) => figure.of(&pages::count(|_| true).other()),
            Self::Option(opt) => Some(opt.value()),
            Self::Purge => Some(crate::global::purge() as u64),
        };
        figure.ok_or(QueryError::NotTold)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// [`QueryError::ReadOnly`] for all but options; [`QueryError::OutOfRange`] if the option does not take the value.
    pub fn write(self, value: u64) -> Result<(), QueryError> {
        match self {
            Self::Option(opt) => opt.set(value).map_err(|_| QueryError::OutOfRange),
            _ => Err(QueryError::ReadOnly),
        }
    }
}
