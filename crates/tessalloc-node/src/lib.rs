//! The Node-API binding: it converts between JavaScript and whichever allocator serves this process, and decides nothing.
//!
//! | who serves `malloc` | statistics from | purge by | found by |
//! |---|---|---|---|
//! | the preload library | its table of functions | its table of functions | [`live::table`] |
//! | glibc | `mallinfo2` | `malloc_trim(0)` | image that defines `malloc` |
//! | another | nowhere: every figure is NaN | nothing | image that defines `malloc` |
//!
//! `src/native.ts` is the only importer of what this exports; the public API lies in TypeScript.

mod exec;
mod live;
mod process;
mod slab;

/// What this add-on itself allocates; the process keeps the allocator it has.
#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Float64ArraySlice};
use napi_derive::napi;

/// Which allocator serves this process.
#[napi(object)]
pub struct AllocatorInfo {
    /// Whether the preload library is in this process and serves its `malloc`.
    pub preload: bool,
    /// Name of the allocator that serves `malloc`.
    pub allocator: String,
    /// Version of tessalloc: of the preload library if it is live, else of this add-on.
    pub version: String,
    /// Image that defines `malloc`, if the system tells.
    pub path: Option<String>,
}

/// What a purge did.
#[napi(object)]
pub struct Purged {
    /// Who gave memory back: `tessalloc`, `glibc` or `none`.
    pub via: String,
    /// Bytes given back as the allocator counts them; NaN where it does not say.
    pub returned_bytes: f64,
}

/// An option as the core's table has it.
#[napi(object)]
pub struct OptionRow {
    /// Its name in the environment.
    pub name: String,
    /// What it does, in a sentence or two.
    pub doc: String,
    /// What its value counts: `switch`, `milliseconds`, `bytes` or `count`.
    pub unit: String,
    /// The value that the environment of this process gives, or the default.
    pub value: f64,
    /// The same as one writes it, such as `10s`.
    pub value_text: String,
    /// Whether the environment of this process gives the value.
    pub is_set: bool,
    /// The value where nobody gives another one.
    pub default_value: f64,
    /// The same as one writes it.
    pub default_text: String,
    /// The least and the greatest value that the option takes.
    pub range: Vec<f64>,
    /// The same as one writes them.
    pub range_text: Vec<String>,
}

/// All options, in the order of the core's table.
#[napi]
pub fn option_table() -> Vec<OptionRow> {
    tessalloc::Opt::ALL.into_iter().map(row).collect()
}

fn row(opt: tessalloc::Opt) -> OptionRow {
    use tessalloc::options::{Source, Unit};
    let (least, most) = opt.range();
    let text = |value| opt.unit().show(value).to_string();
    let unit = match opt.unit() {
        Unit::Switch => "switch",
        Unit::Milliseconds => "milliseconds",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
    };
    OptionRow {
        name: opt.name().into(),
        doc: opt.doc().into(),
        unit: unit.into(),
        value: opt.value() as f64,
        value_text: text(opt.value()),
        is_set: opt.source() == Source::Environment,
        default_value: opt.default_value() as f64,
        default_text: text(opt.default_value()),
        range: vec![least as f64, most as f64],
        range_text: vec![text(least), text(most)],
    }
}

/// Which allocator serves this process.
#[napi]
pub fn allocator_info() -> AllocatorInfo {
    let path = process::image_of_malloc();
    match live::table() {
        Some(table) => {
            AllocatorInfo { preload: true, allocator: "tessalloc".into(), version: table.version_text(), path }
        }
        None => AllocatorInfo {
            preload: false,
            allocator: process::allocator_name(path.as_deref()).into(),
            version: tessalloc::VERSION.into(),
            path,
        },
    }
}

/// Writes mapped, committed, allocated, retained, metadata, committed at its peak, and purged bytes, in this order.
/// NaN is written for what the allocator does not tell. `out` must hold seven numbers; a shorter one is filled as far as it goes.
#[napi]
pub fn memory_figures(mut out: Float64ArraySlice<'_>) {
    let figures = match live::table() {
        Some(table) => table.figures(),
        None if process::is_glibc() => process::glibc_figures(),
        None => [f64::NAN; 7],
    };
    // SAFETY: JavaScript of this thread waits for this call, and workers can only reach the numbers if the caller shared them.
    for (to, from) in unsafe { out.as_mut() }.iter_mut().zip(figures) {
        *to = from;
    }
}

/// Gives unused memory of the whole process back to the system now.
#[napi]
pub fn purge() -> Purged {
    match live::table() {
        Some(table) => Purged { via: "tessalloc".into(), returned_bytes: table.purge() as f64 },
        None if process::is_glibc() => {
            process::glibc_trim();
            Purged { via: "glibc".into(), returned_bytes: f64::NAN }
        }
        None => Purged { via: "none".into(), returned_bytes: 0.0 },
    }
}

/// Microseconds of CPU that ended child processes of this process have used, with their own children that they waited for.
#[napi]
pub fn child_cpu_micros() -> f64 {
    process::child_cpu_micros()
}

/// Puts a program in the place of this process: the first word is looked up on `PATH`, all are its arguments. The
/// first `descriptors` that there are stay open. Returns only when that failed: the system's number of the error, as `errno` has it.
#[napi]
pub fn exec(words: Vec<String>, descriptors: i32) -> i32 {
    exec::replace_by(words, descriptors)
}

/// A slab of zeroed memory, or undefined where the runtime takes no external buffers. Throws when memory is out.
#[napi]
pub fn new_slab(env: &Env, bytes: f64) -> napi::Result<Option<ArrayBuffer<'_>>> {
    slab::new_slab(env, bytes as usize)
}

/// Detaches an ArrayBuffer: every view of it has length 0 from now on, and its memory goes back.
#[napi]
pub fn detach(buffer: ArrayBuffer<'_>) -> napi::Result<()> {
    slab::detach(buffer)
}

/// Gives the whole OS pages of `memory` back to the system; they read zero afterwards. Answers how many bytes; 0 where the
/// system has no way that keeps the addresses.
#[napi]
pub fn discard(memory: &[u8]) -> f64 {
    slab::discard(memory) as f64
}
