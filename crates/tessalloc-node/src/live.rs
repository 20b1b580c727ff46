//! Finds a live preload library in this process and speaks to it; without one, to the copy in this add-on.
//!
//! The library exports one function that returns a static table; everything else of it is hidden, and nothing here links
//! against it. Its layout is [`Table`]; a later version keeps these fields where they are, and `bytes` tells how much of the table
//! is there.
//!
//! L1 the version is never 0. L2 a table that is shorter than ours is none: the library is older than this package. L3 its
//! functions may be called from any thread for as long as the process lives: a preloaded image is never unloaded.

use std::sync::OnceLock;

use tessalloc::table::{OWN, Table};

/// The table of the preload library, if it is in this process and serves `malloc`. Looked up once: it cannot arrive later.
pub(crate) fn preloaded() -> Option<&'static Table> {
    static TABLE: OnceLock<Option<&'static Table>> = OnceLock::new();
    *TABLE.get_or_init(find)
}

/// The preload library's table, else that of the copy in this add-on.
pub(crate) fn table() -> &'static Table {
    preloaded().unwrap_or(&OWN)
}

/// Whether the process's `malloc` is this library's: it may be loaded without being the one that is called.
#[cfg(unix)]
fn serves_malloc(table: &Table) -> bool {
    // SAFETY: any size may be asked for; null is handled by `is_ours` and `free`.
    let block = unsafe { libc::malloc(64) };
    // The compiler may not drop the pair: whose block it is, is the question.
    let ours = (table.is_ours)(std::hint::black_box(block)) != 0;
    // SAFETY: `block` came from `malloc` above and is freed once.
    unsafe { libc::free(block) };
    ours
}

#[cfg(unix)]
fn find() -> Option<&'static Table> {
    // SAFETY: the name ends with a null; RTLD_DEFAULT searches the images that are loaded.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"tessalloc_table_v1".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the name is versioned: whoever exports it has this signature.
    let table_of = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> *const Table>(symbol) };
    // SAFETY: L3: null or a static table.
    let table = unsafe { table_of().as_ref() }?;
    let is_complete = table.version >= 1 && table.bytes as usize >= size_of::<Table>();
    (is_complete && serves_malloc(table)).then_some(table)
}

#[cfg(not(unix))]
fn find() -> Option<&'static Table> {
    None
}
