//! The Node-API binding: it converts between JavaScript and whichever allocator serves this process, and decides nothing.
//!
//! | who serves `malloc` | figures of the process | tessalloc's figures, options and limits | purge by | found by |
//! |---|---|---|---|---|
//! | the preload library | the next column | its own | its table | [`live::preloaded`] |
//! | glibc | `mallinfo2` | those of the copy in this add-on | `malloc_trim(0)`, and the add-on's table | image that defines `malloc` |
//! | another | NaN | the same | the add-on's table | image that defines `malloc` |
//!
//! `src/native.ts` is the only importer of what this exports; the public API lies in TypeScript.

mod exec;
mod live;
pub mod options;
mod pressure;
mod process;
mod resident;
mod slab;

/// What this add-on itself allocates; the process keeps the allocator it has.
#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

use std::ffi::{CStr, c_int, c_void};

use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Float64ArraySlice};
use napi_derive::napi;
use tessalloc::Stats;
use tessalloc::table::{Class, Pages, Table};

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
    let is_preloaded = live::preloaded().is_some();
    let allocator = if is_preloaded { "tessalloc" } else { process::allocator_name(path.as_deref()) };
    // SAFETY: L3: a static text that ends with a null.
    let version = unsafe { CStr::from_ptr((live::table().version_text)()) };
    AllocatorInfo {
        preload: is_preloaded,
        allocator: allocator.into(),
        version: version.to_string_lossy().into_owned(),
        path,
    }
}

/// Writes tessalloc's own figures: mapped, committed, allocated, retained, metadata, committed at its peak, purged and resident
/// bytes, threads, in this order. A shorter `out` is filled as far as it goes.
#[napi]
pub fn memory_figures(out: Float64ArraySlice<'_>) {
    write(out, &figures(live::table()));
}

/// Writes the figures of whoever serves `malloc` of the process beside tessalloc, in the order of `memoryFigures`. NaN is
/// written for what it does not tell; false: it tells nothing.
#[napi]
pub fn system_figures(out: Float64ArraySlice<'_>) -> bool {
    let told = if process::is_glibc() { process::glibc_figures() } else { None };
    write(out, &told.unwrap_or([f64::NAN; 9]));
    told.is_some()
}

/// Bytes of tessalloc's memory that are resident. Asks the system where that is a matter of some 20 µs; NaN where it does not tell,
/// or there is more: then the counters are exact enough.
#[napi]
pub fn resident_bytes() -> f64 {
    let table = live::table();
    match resident::bytes_of(table.ranges) {
        Some(bytes) => bytes as f64 + figures(table)[4],
        None => f64::NAN,
    }
}

fn write(mut out: Float64ArraySlice<'_>, figures: &[f64]) {
    // SAFETY: JavaScript of this thread waits for this call, and workers can only reach the numbers if the caller shared them.
    for (to, from) in unsafe { out.as_mut() }.iter_mut().zip(figures) {
        *to = *from;
    }
}

fn figures(table: &Table) -> [f64; 9] {
    let mut stats = Stats::default();
    stats.struct_bytes = size_of::<Stats>() as u32;
    // SAFETY: `stats` is writable for the `struct_bytes` that it states.
    unsafe { (table.stats)(&mut stats) };
    [
        stats.reserved_bytes,
        stats.committed_bytes,
        stats.allocated_bytes,
        stats.retained_bytes,
        stats.metadata_bytes,
        stats.committed_peak_bytes,
        stats.purged_bytes,
        stats.committed_bytes - stats.untouched_bytes + stats.metadata_bytes,
        stats.threads,
    ]
    .map(|figure| figure as f64)
}

/// Figures of one size class.
#[napi(object)]
pub struct ClassRow {
    /// Bytes of a block.
    pub block_bytes: f64,
    /// Pages of the class.
    pub pages: f64,
    /// Those of them that no thread owns.
    pub ownerless_pages: f64,
    /// Blocks that left the pages.
    pub blocks_used: f64,
    /// Blocks made so far.
    pub blocks_made: f64,
    /// Blocks that fit.
    pub blocks_fit: f64,
}

/// Figures of all pages.
#[napi(object)]
pub struct PageRows {
    /// Size classes that have pages, by rising block size.
    pub classes: Vec<ClassRow>,
    /// Pages that hold threads' first blocks, of all small classes.
    pub mixed_pages: f64,
    /// Their blocks.
    pub mixed_blocks_used: f64,
    /// Large blocks in use.
    pub large_blocks: f64,
    /// Their bytes.
    pub large_bytes: f64,
    /// Large blocks that threads keep ready.
    pub warm_blocks: f64,
    /// Their bytes.
    pub warm_bytes: f64,
}

/// What all pages hold, by size class.
#[napi]
pub fn page_rows() -> PageRows {
    unsafe extern "C" fn add(class: *const Class, rows: *mut c_void) -> c_int {
        // SAFETY: called below alone, with the list and a class that is there for the call.
        let (class, rows) = unsafe { (&(*class).figures, &mut *rows.cast::<Vec<ClassRow>>()) };
        rows.push(ClassRow {
            block_bytes: class.block_bytes as f64,
            pages: class.pages as f64,
            ownerless_pages: class.ownerless_pages as f64,
            blocks_used: class.blocks_used as f64,
            blocks_made: class.blocks_made as f64,
            blocks_fit: class.blocks_fit as f64,
        });
        1
    }
    let mut classes = Vec::<ClassRow>::new();
    let mut pages = Pages { struct_bytes: size_of::<Pages>() as u32, ..Pages::default() };
    // SAFETY: `pages` is writable for the bytes that it states; `add` is called with the list that it expects.
    unsafe { (live::table().page_stats)(&mut pages, Some(add), (&raw mut classes).cast()) };
    let other = pages.figures;
    PageRows {
        classes,
        mixed_pages: other.mixed_pages as f64,
        mixed_blocks_used: other.mixed_blocks_used as f64,
        large_blocks: other.large_blocks as f64,
        large_bytes: other.large_bytes as f64,
        warm_blocks: other.warm_blocks as f64,
        warm_bytes: other.warm_bytes as f64,
    }
}

/// Has a function of this thread called on pressure, in place of the one before; undefined: none. False if there can be no
/// background thread.
#[napi(ts_args_type = "listener?: (cause: number, isSevere: boolean, heldBytes: number, limitBytes: number) => void")]
pub fn listen_to_pressure(env: &Env, listener: Option<pressure::Listener>) -> napi::Result<bool> {
    pressure::listen(env, listener)
}

/// Gives unused memory of the whole process back to the system now.
#[napi]
pub fn purge() -> Purged {
    let returned = (live::table().purge)() as f64;
    if live::preloaded().is_some() {
        return Purged { via: "tessalloc".into(), returned_bytes: returned };
    }
    if process::is_glibc() {
        process::glibc_trim();
        return Purged { via: "glibc".into(), returned_bytes: f64::NAN };
    }
    Purged { via: "none".into(), returned_bytes: returned }
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
