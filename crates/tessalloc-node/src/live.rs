//! Finds a live preload library in this process and speaks to it.
//!
//! The library exports one function that returns a static table; everything else of it is hidden, and nothing here links
//! against it. The layout below mirrors version 1 of `tessalloc_table_t` in `tessalloc.h`; a later version keeps these fields
//! where they are, and `bytes` tells how much of the table is there.
//!
//! | field | unit | meaning |
//! |---|---|---|
//! | `version` | – | L1 never 0 |
//! | `bytes` | bytes | L2 size of the library's table, at least [`Table`] as of version 1 |
//! | the rest | – | L3 callable from any thread for as long as the process lives: a preloaded image is never unloaded |

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// `tessalloc_stats_t`, version 1. The caller sets `struct_bytes`, the library fills what fits.
#[repr(C)]
#[derive(Default)]
struct Stats {
    version: u32,
    struct_bytes: u32,
    reserved_bytes: u64,
    committed_bytes: u64,
    committed_peak_bytes: u64,
    allocated_bytes: u64,
    retained_bytes: u64,
    metadata_bytes: u64,
    purged_bytes: u64,
    threads: u64,
    threads_total: u64,
    pages: u64,
    large_blocks: u64,
    os_calls: u64,
    purge_calls: u64,
    malloc_slow_count: u64,
    remote_batches: u64,
}

const _: () = assert!(size_of::<Stats>() == 8 + 15 * 8);

/// `tessalloc_table_t`, version 1.
#[repr(C)]
pub(crate) struct Table {
    version: u32,
    bytes: u32,
    version_text: extern "C" fn() -> *const c_char,
    stats: unsafe extern "C" fn(*mut Stats),
    purge: extern "C" fn() -> usize,
    malloc: extern "C" fn(usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    usable_size: unsafe extern "C" fn(*const c_void) -> usize,
    is_ours: extern "C" fn(*const c_void) -> c_int,
}

impl Table {
    /// Version of the library.
    pub(crate) fn version_text(&self) -> String {
        // SAFETY: L3: a static text that ends with a null.
        unsafe { CStr::from_ptr((self.version_text)()) }.to_string_lossy().into_owned()
    }

    /// Gives back what is unused; bytes.
    pub(crate) fn purge(&self) -> usize {
        (self.purge)()
    }

    /// The seven figures in the order of `memory_figures`.
    pub(crate) fn figures(&self) -> [f64; 7] {
        let mut stats = Stats { struct_bytes: size_of::<Stats>() as u32, ..Stats::default() };
        // SAFETY: `stats` is writable for the `struct_bytes` that it states.
        unsafe { (self.stats)(&mut stats) };
        [
            stats.reserved_bytes,
            stats.committed_bytes,
            stats.allocated_bytes,
            stats.retained_bytes,
            stats.metadata_bytes,
            stats.committed_peak_bytes,
            stats.purged_bytes,
        ]
        .map(|bytes| bytes as f64)
    }

    /// Whether the process's `malloc` is this library's: it may be loaded without being the one that is called.
    fn serves_malloc(&self) -> bool {
        // SAFETY: any size may be asked for; null is handled by `is_ours` and `free`.
        let block = unsafe { libc::malloc(64) };
        // The compiler may not drop the pair: whose block it is, is the question.
        let ours = (self.is_ours)(std::hint::black_box(block)) != 0;
        // SAFETY: `block` came from `malloc` above and is freed once.
        unsafe { libc::free(block) };
        ours
    }
}

/// The table of the preload library, if it is in this process and serves `malloc`. Looked up once: it cannot arrive later.
pub(crate) fn table() -> Option<&'static Table> {
    static TABLE: OnceLock<Option<&'static Table>> = OnceLock::new();
    *TABLE.get_or_init(find)
}

#[cfg(unix)]
fn find() -> Option<&'static Table> {
    // SAFETY: the name ends with a null; RTLD_DEFAULT searches the images that are loaded.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"tessalloc_table_v1".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the name is versioned: whoever exports it has this signature.
    let table_of = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> *const Table>(symbol) };
    // SAFETY: L3: null or a static table.
    let table = unsafe { table_of().as_ref() }?;
    // L1, L2: an unfinished or shorter table is none.
    let complete = table.version >= 1 && table.bytes as usize >= size_of::<Table>();
    (complete && table.serves_malloc()).then_some(table)
}

#[cfg(not(unix))]
fn find() -> Option<&'static Table> {
    None
}
