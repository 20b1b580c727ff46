//! An add-on that counts words: `new WordCounts(limitBytes)`, `add(text)`, `get(word)`, `dispose()`.
//!
//! | what | allocates from | ends |
//! |---|---|---|
//! | the table of a `WordCounts` | a heap of its own, with a hard limit | with `dispose()` or its collection, in one step |
//! | all else: arguments, napi-rs itself | [`GLOBAL`] | one by one |
//!
//! The guide is `docs/add-ons.md`.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Error, Result, Status, Task};
use napi_derive::napi;

use table::{Full, Table};

#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

/// JavaScript's.
const MAX_SAFE_INTEGER: f64 = ((1u64 << 53) - 1) as f64;

/// Shared with the tasks that are under way; empty once disposed.
type Shared = Arc<Mutex<Option<Table>>>;

/// Counts words, in memory of its own. Belongs to the thread that made it; `addAsync` counts on another.
#[napi]
pub struct WordCounts {
    table: Shared,
}

#[napi]
impl WordCounts {
    /// Counts words in at most `limit_bytes`, from 1. Fails when there is no memory for a heap.
    #[napi(constructor)]
    pub fn new(limit_bytes: f64) -> Result<Self> {
        if !(1.0..=MAX_SAFE_INTEGER).contains(&limit_bytes) {
            let text = format!("Cannot count words: limitBytes must be from 1, received {limit_bytes}");
            return Err(Error::new(Status::InvalidArg, text));
        }
        let table = Table::new(limit_bytes as u64).map_err(|error| Error::from_reason(error.to_string()))?;
        Ok(Self { table: Arc::new(Mutex::new(Some(table))) })
    }

    /// Counts the words of a text. Fails at the limit; what came before stays counted.
    #[napi]
    pub fn add(&self, text: String) -> Result<()> {
        add(&self.table, &text)
    }

    /// The same on a thread of Node's pool.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn add_async(&self, text: String) -> AsyncTask<Add> {
        AsyncTask::new(Add { table: Arc::clone(&self.table), text })
    }

    /// How often a word was counted.
    #[napi]
    pub fn get(&self, word: String) -> Result<u32> {
        with(&self.table, |table| table.get(&word))
    }

    /// Different words so far.
    #[napi(getter)]
    pub fn size(&self) -> Result<f64> {
        with(&self.table, |table| table.len() as f64)
    }

    /// Bytes of memory in use.
    #[napi(getter)]
    pub fn allocated_bytes(&self) -> Result<f64> {
        with(&self.table, |table| table.allocated_bytes() as f64)
    }

    /// Frees all memory at once. May be called again; tasks under way fail.
    #[napi]
    pub fn dispose(&self) {
        drop(lock(&self.table).take());
    }
}

/// Counts a text on a thread of Node's pool, which outlives the worker that asked.
pub struct Add {
    table: Shared,
    text: String,
}

impl Task for Add {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        add(&self.table, &self.text)
    }

    fn resolve(&mut self, _env: Env, (): ()) -> Result<()> {
        Ok(())
    }
}

/// What this add-on holds, all objects and threads together.
#[napi(object)]
pub struct Memory {
    /// Bytes of blocks in use.
    pub allocated_bytes: f64,
    /// Bytes of address space that may be in RAM.
    pub committed_bytes: f64,
    /// Threads that have allocated here and have not ended.
    pub threads: f64,
    /// Heaps of their own: one for each `WordCounts` in use.
    pub heaps: f64,
}

/// What this add-on holds.
#[napi]
pub fn memory() -> Memory {
    let stats = tessalloc::stats();
    Memory {
        allocated_bytes: stats.allocated_bytes as f64,
        committed_bytes: stats.committed_bytes as f64,
        threads: stats.threads as f64,
        heaps: tessalloc::heap_count() as f64,
    }
}

fn lock(table: &Shared) -> MutexGuard<'_, Option<Table>> {
    // A text that was counted in part is no fault of the table.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with<T>(table: &Shared, look: impl FnOnce(&mut Table) -> T) -> Result<T> {
    let disposed = || Error::new(Status::Closing, "Cannot use word counts: they were disposed");
    lock(table).as_mut().map(look).ok_or_else(disposed)
}

fn add(table: &Shared, text: &str) -> Result<()> {
    with(table, |table| table.add(text))?
        .map_err(|Full| Error::new(Status::GenericFailure, "Cannot count words: the limit is reached"))
}
