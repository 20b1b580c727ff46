//! Heap profiles: which call stacks allocated what is in use, what was allocated since the start, and what was in use at the peak.
//!
//! One of so many bytes asked for makes its block a *sample*; each sample stands for as many allocations of its size as one would have
//! to make, on average, to get it. Sums over samples are therefore without bias, whatever the sizes.
//!
//! ```no_run
//! use tessalloc::profile;
//! profile::start(512 << 10)?;
//! // … work …
//! profile::dump(profile::Kind::InUse, c"heap.prof".into())?;
//! # Ok::<(), profile::ProfileError>(())
//! ```
//!
//! | field         | unit   | written by    | always true                                                              |
//! |---------------|--------|---------------|--------------------------------------------------------------------------|
//! | `index`       | –      | under [`LOCK`] | Q1 open addressing: 0, or one more than the number of an entry with that hash |
//! | `entries`     | –      | under [`LOCK`] | Q2 entry 0 takes what has no entry of its own; entries stay, and so do their frames |
//! | `in_use`      | see [`Sums`] | under [`LOCK`] | Q3 the sum over the records of the entry's samples                   |
//! | `peak`        | see [`Sums`] | under [`LOCK`] | Q4 of all entries of one moment: when all together were the most, within 1/64 |
//! | `spare`       | –      | under [`LOCK`] | Q5 records that no block has                                           |
//!
//! [`LOCK`] is a leaf: no other lock is taken under it.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_void};
use core::fmt;
use core::ptr::null_mut;

use super::numbers::{ONE, weighed_bytes, weight};
use super::stack::{self, DEPTH_MAX};
use super::text;
use crate::os;
use crate::report::Line;
use crate::sync::{AtomicU64, Lock, Ordering};
use crate::thread;

pub use super::stack::RawUnwinder;

/// Call stacks that are kept apart.
const ENTRY_COUNT_MAX: usize = 16 << 10;
const INDEX_COUNT: usize = 2 * ENTRY_COUNT_MAX;
/// Frames of all of them together.
const FRAME_COUNT_MAX: usize = 24 * ENTRY_COUNT_MAX;
/// The entry of samples whose stack has none.
const OTHER: u32 = 0;
/// Records that are made at a time.
const RECORDS_AT_A_TIME: usize = 64;
/// A new peak is noted when it is above the last one by this part.
const PEAK_STEP: u64 = 64;

/// What is known of a block that is a sample, or guarded.
pub(crate) struct Record {
    pub(crate) block: *mut u8,
    /// Bytes asked for.
    pub(crate) size: usize,
    /// What it stands for, in units of 1 / [`ONE`]; 0: it is no sample.
    weight: u64,
    began_us: u64,
    entry: u32,
    next: *mut Record,
}

/// Samples, and what they stand for.
#[derive(Clone, Copy, Default)]
struct Sums {
    samples: u64,
    sample_bytes: u64,
    weight: u64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, size: usize, weight: u64) {
        self.samples += 1;
        self.sample_bytes += size as u64;
        self.weight += weight;
        self.bytes += weighed_bytes(size as u64, weight);
    }

    fn sub(&mut self, size: usize, weight: u64) {
        self.samples -= 1;
        self.sample_bytes -= size as u64;
        self.weight -= weight;
        self.bytes -= weighed_bytes(size as u64, weight);
    }

    fn amount(&self) -> Amount {
        Amount {
            samples: self.samples,
            sample_bytes: self.sample_bytes,
            count: self.weight.div_ceil(ONE),
            bytes: self.bytes,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Entry {
    hash: u64,
    frames_at: u32,
    depth: u32,
    in_use: Sums,
    total: Sums,
    peak: Sums,
    /// Of samples that were freed, all together.
    lifetimes_us: u64,
}

impl Entry {
    fn figures(&self) -> Figures {
        let freed = self.total.samples - self.in_use.samples;
        Figures {
            in_use: self.in_use.amount(),
            allocated: self.total.amount(),
            peak: self.peak.amount(),
            mean_lifetime_us: self.lifetimes_us.checked_div(freed),
        }
    }
}

struct Table {
    index: *mut u32,
    entries: *mut Entry,
    frames: *mut usize,
    entry_count: usize,
    frame_count: usize,
    /// All entries together.
    all: Entry,
    spare: *mut Record,
    /// Samples were taken with more than one mean.
    is_mixed: bool,
}

struct TableCell(UnsafeCell<Table>);
// SAFETY: touched under `LOCK` only.
unsafe impl Sync for TableCell {}

static LOCK: Lock = Lock::new();
static TABLE: TableCell = TableCell(UnsafeCell::new(Table {
    index: null_mut(),
    entries: null_mut(),
    frames: null_mut(),
    entry_count: 0,
    frame_count: 0,
    all: Entry { hash: 0, frames_at: 0, depth: 0, in_use: NOTHING, total: NOTHING, peak: NOTHING, lifetimes_us: 0 },
    spare: null_mut(),
    is_mixed: false,
}));
const NOTHING: Sums = Sums { samples: 0, sample_bytes: 0, weight: 0, bytes: 0 };
/// Mean bytes between samples; 0: there was no start yet.
static MEAN_BYTES: AtomicU64 = AtomicU64::new(0);

/// The lock of this file, for a fork.
pub(crate) fn lock() -> &'static Lock {
    &LOCK
}

/// Runs `act` on the table.
fn with_table<T>(act: impl FnOnce(&mut Table) -> T) -> T {
    let _guard = LOCK.lock();
    // SAFETY: under the lock.
    act(unsafe { &mut *TABLE.0.get() })
}

impl Table {
    fn entry(&mut self, number: u32) -> &mut Entry {
        // SAFETY: Q2: callers pass numbers of entries.
        unsafe { &mut *self.entries.add(number as usize) }
    }

    fn frames_of(&self, entry: &Entry) -> &[usize] {
        // SAFETY: Q2: so many frames of the entry stand there.
        unsafe { core::slice::from_raw_parts(self.frames.add(entry.frames_at as usize), entry.depth as usize) }
    }

    /// The entry of a call stack, made if need be; [`OTHER`] if there is no room for it.
    fn entry_of(&mut self, frames: &[usize]) -> u32 {
        let mut hash = frames.len() as u64;
        for frame in frames {
            hash = (hash ^ *frame as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        let mut at = hash as usize % INDEX_COUNT;
        // Bound: half of the places are free (Q1).
        loop {
            // SAFETY: the index has so many words.
            let place = unsafe { self.index.add(at) };
            // SAFETY: as above.
            let number = unsafe { *place };
            if number == 0 {
                let new = self.add_entry(hash, frames);
                if new != OTHER {
                    // SAFETY: as above.
                    unsafe { *place = new + 1 };
                }
                return new;
            }
            let entry = *self.entry(number - 1);
            if entry.hash == hash && self.frames_of(&entry) == frames {
                return number - 1;
            }
            at = (at + 1) % INDEX_COUNT;
        }
    }

    fn add_entry(&mut self, hash: u64, frames: &[usize]) -> u32 {
        if self.entry_count == ENTRY_COUNT_MAX || self.frame_count + frames.len() > FRAME_COUNT_MAX {
            return OTHER;
        }
        let number = self.entry_count;
        // SAFETY: there is room, and nobody has it (Q2).
        unsafe {
            self.frames.add(self.frame_count).copy_from_nonoverlapping(frames.as_ptr(), frames.len());
            let (frames_at, depth) = (self.frame_count as u32, frames.len() as u32);
            self.entries.add(number).write(Entry { hash, frames_at, depth, ..Entry::default() });
        }
        self.entry_count += 1;
        self.frame_count += frames.len();
        number as u32
    }

    /// Notes the peak, if this is one (Q4).
    fn look_at_peak(&mut self) {
        let (now, peak) = (self.all.in_use.bytes, self.all.peak.bytes);
        if now <= peak + peak / PEAK_STEP {
            return;
        }
        self.all.peak = self.all.in_use;
        for number in 0..self.entry_count as u32 {
            let entry = self.entry(number);
            entry.peak = entry.in_use;
        }
    }

    fn keep_spare(&mut self, record: *mut Record) {
        // SAFETY: no block has the record any more.
        unsafe { (*record).next = self.spare };
        self.spare = record;
    }

    fn take_spare(&mut self) -> *mut Record {
        let record = self.spare;
        if !record.is_null() {
            // SAFETY: Q5.
            self.spare = unsafe { (*record).next };
        }
        record
    }
}

/// Has the table mapped, if it is not.
fn map_table() -> Result<(), ProfileError> {
    if with_table(|table| !table.entries.is_null()) {
        return Ok(());
    }
    let index_bytes = INDEX_COUNT * size_of::<u32>();
    let entry_bytes = ENTRY_COUNT_MAX * size_of::<Entry>();
    let bytes = index_bytes + entry_bytes + FRAME_COUNT_MAX * size_of::<usize>();
    let bytes = bytes.next_multiple_of(os::page_bytes());
    let at = os::reserve(bytes, os::page_bytes(), 0).map_err(|_| ProfileError::OutOfMemory)?;
    // SAFETY: reserved just now; released again if it can't be used.
    unsafe {
        if os::commit(at, bytes).is_err() {
            os::release(at, bytes);
            return Err(ProfileError::OutOfMemory);
        }
        os::advise_small_pages(at, bytes);
    }
    os::name(at, bytes);
    let is_used = with_table(|table| {
        if !table.entries.is_null() {
            return false;
        }
        table.index = at.cast();
        table.entries = at.wrapping_add(index_bytes).cast();
        table.frames = at.wrapping_add(index_bytes + entry_bytes).cast();
        // Entry 0, of fresh memory, is that of no stack.
        table.entry_count = 1;
        true
    });
    if !is_used {
        // SAFETY: another thread was faster: nobody knows this one.
        unsafe { os::release(at, bytes) };
    }
    Ok(())
}

// ----------------------------------------------------------------------------------------------------------- what samples do

/// Mean bytes between samples.
pub(crate) fn mean_bytes() -> u64 {
    // ORDER: Relaxed: a number that stands alone.
    MEAN_BYTES.load(Ordering::Relaxed)
}

/// A record that no block has; null if memory is out.
pub(crate) fn take_record() -> *mut Record {
    let record = with_table(Table::take_spare);
    if !record.is_null() {
        return record;
    }
    let Some(space) = thread::record_space(RECORDS_AT_A_TIME * size_of::<Record>()) else { return null_mut() };
    let first: *mut Record = space.cast();
    with_table(|table| {
        for index in 1..RECORDS_AT_A_TIME {
            table.keep_spare(first.wrapping_add(index));
        }
    });
    first
}

/// Gives back a record that no block has.
pub(crate) fn drop_record(record: *mut Record) {
    with_table(|table| table.keep_spare(record));
}

/// Says whose the record is, before others can find it there: of a guarded block, walks do.
///
/// # Safety
/// - The record is the caller's alone.
pub(crate) unsafe fn name(record: *mut Record, block: *mut u8, size: usize) {
    // SAFETY: the caller's duty.
    unsafe { record.write(Record { block, size, weight: 0, began_us: 0, entry: OTHER, next: null_mut() }) };
}

/// The block that the record is named for begins as a sample. Outside all locks and gates: a function of the program may take the call
/// stack.
///
/// # Safety
/// - The record is named, and its block not handed out yet: but for the name the record is the caller's alone.
pub(crate) unsafe fn begin(record: *mut Record) {
    // SAFETY: the caller's duty, here and below.
    let size = unsafe { (*record).size };
    let mut frames = [0; DEPTH_MAX];
    let depth = stack::take(&mut frames);
    let weight = weight(size as u64, mean_bytes());
    let (entry, is_lost) = with_table(|table| {
        let number = table.entry_of(&frames[..depth]);
        for entry in [number, u32::MAX] {
            let sums = if entry == u32::MAX { &mut table.all } else { table.entry(entry) };
            sums.in_use.add(size, weight);
            sums.total.add(size, weight);
        }
        table.look_at_peak();
        (number, number == OTHER && depth > 0)
    });
    // SAFETY: as above.
    unsafe {
        (*record).weight = weight;
        (*record).began_us = os::now_us();
        (*record).entry = entry;
    }
    if is_lost {
        say_lost();
    }
}

#[cold]
fn say_lost() {
    static SAID: AtomicU64 = AtomicU64::new(0);
    // ORDER: Relaxed: one of them says it.
    if SAID.swap(1, Ordering::Relaxed) == 0 {
        Line::new().text("profile: no room for more call stacks: further ones count as one").warn();
    }
}

/// The block that had the record is freed.
///
/// # Safety
/// - The record is a block's, and nobody uses it any more.
pub(crate) unsafe fn end(record: *mut Record) {
    // SAFETY: the caller's duty.
    let (size, weight, began_us, number) =
        unsafe { ((*record).size, (*record).weight, (*record).began_us, (*record).entry) };
    let lifetime_us = if weight == 0 { 0 } else { os::now_us().saturating_sub(began_us) };
    with_table(|table| {
        if weight != 0 {
            for entry in [number, u32::MAX] {
                let sums = if entry == u32::MAX { &mut table.all } else { table.entry(entry) };
                sums.in_use.sub(size, weight);
                sums.lifetimes_us += lifetime_us;
            }
        }
        table.keep_spare(record);
    });
}

/// Gets ready for samples with this mean.
pub(crate) fn prepare(mean_bytes: u64) -> Result<(), ProfileError> {
    if !MEAN_RANGE.contains(&mean_bytes) {
        return Err(ProfileError::OutOfRange { mean_bytes });
    }
    map_table()?;
    with_table(|table| {
        // ORDER: Relaxed: under the lock; for samples from now on.
        let before = MEAN_BYTES.swap(mean_bytes, Ordering::Relaxed);
        table.is_mixed |= before != mean_bytes && table.all.total.samples > 0;
    });
    Ok(())
}

// ------------------------------------------------------------------------------------------------------- what programs call

/// What [`start`] takes: 1 byte, every allocation, to 1 TiB.
pub const MEAN_RANGE: core::ops::RangeInclusive<u64> = 1..=1 << 40;

/// Samples, and an estimate of what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Amount {
    /// Samples.
    pub samples: u64,
    /// Bytes asked for by them.
    pub sample_bytes: u64,
    /// Allocations, estimated.
    pub count: u64,
    /// Bytes asked for, estimated.
    pub bytes: u64,
}

/// What is known of a call stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// In use now.
    pub in_use: Amount,
    /// Allocated since the first start.
    pub allocated: Amount,
    /// In use when all call stacks together had the most in use, to within 1/64.
    pub peak: Amount,
    /// How long the samples that were freed had been in use, on average; `None`: none was freed. Unit: microseconds.
    pub mean_lifetime_us: Option<u64>,
}

/// Which amounts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Figures::in_use`].
    InUse,
    /// [`Figures::peak`].
    Peak,
}

/// Why a profile is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// The system has no memory for the table of call stacks: 5 MiB of address space.
    OutOfMemory,
    /// Means lie in [`MEAN_RANGE`].
    OutOfRange {
        /// What was asked for.
        mean_bytes: u64,
    },
    /// The file can't be made or written.
    File,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => to.write_str("cannot start a profile: the system has no memory for its table"),
            Self::OutOfRange { mean_bytes } => {
                let (least, most) = (MEAN_RANGE.start(), MEAN_RANGE.end());
                write!(to, "cannot start a profile: expected a mean of {least} to {most} bytes, received {mean_bytes}")
            }
            Self::File => to.write_str("cannot write a profile: the file can't be made or written"),
        }
    }
}

impl core::error::Error for ProfileError {}

/// Samples allocations from now on, on all threads, `mean_bytes` apart on average: of 1, all of them. Another thread takes part from its
/// next slow path on, when a stack of its own is empty; first-class heaps take part with their small blocks if they are made while it is on, and with their large ones
/// always. From any thread. While it is on, each allocation and each free costs tens of nanoseconds more.
///
/// # Errors
/// [`ProfileError::OutOfRange`], [`ProfileError::OutOfMemory`].
pub fn start(mean_bytes: u64) -> Result<(), ProfileError> {
    prepare(mean_bytes)?;
    super::switch(super::PROFILE, true);
    Ok(())
}

/// Takes no more samples. Those in use stay in the profile until they are freed. From any thread.
pub fn stop() {
    super::switch(super::PROFILE, false);
}

/// Whether allocations are sampled.
pub fn is_on() -> bool {
    super::is(super::PROFILE)
}

/// Shows each call stack that has had samples, its frames as return addresses, the innermost first; ends when `visit` returns false.
/// What has no call stack of its own, for there was no room or none could be taken, is shown without frames. From any thread; `visit`
/// may allocate.
pub fn visit(mut visit: impl FnMut(&[usize], &Figures) -> bool) {
    let mut frames = [0; DEPTH_MAX];
    // Bound: the entries there are, at most as many as there is room for.
    for number in 0..ENTRY_COUNT_MAX {
        let found = with_table(|table| {
            if number >= table.entry_count {
                return None;
            }
            let entry = *table.entry(number as u32);
            let all = table.frames_of(&entry);
            frames[..all.len()].copy_from_slice(all);
            Some((all.len(), entry.total.samples, entry.figures()))
        });
        match found {
            None => return,
            Some((_, 0, _)) => {}
            Some((depth, _, figures)) if !visit(&frames[..depth], &figures) => return,
            Some(_) => {}
        }
    }
}

/// All call stacks together.
pub fn totals() -> Figures {
    with_table(|table| table.all.figures())
}

/// Writes a profile as text that `pprof` reads, and the process's mappings behind it. Without allocating. From any thread.
///
/// # Errors
/// Those of `to`.
pub fn write(kind: Kind, to: &mut dyn fmt::Write) -> fmt::Result {
    // Samples of several means can't be put right by one number: then the estimates are written, which need none.
    let is_mixed = with_table(|table| table.is_mixed);
    text::write(kind, if is_mixed { 1 } else { mean_bytes().max(1) }, is_mixed, to)
}

/// Writes a profile to a new file, or in place of an old one. `%p` in the name stands for the number of the process. Without
/// allocating. From any thread. On Unix.
///
/// # Errors
/// [`ProfileError::File`].
pub fn dump(kind: Kind, file: &CStr) -> Result<(), ProfileError> {
    text::dump(kind, file)
}

/// Has call stacks taken by a function, from the next sample on; `None`: as before. It fills its argument with return addresses, the
/// innermost first, and returns how many there are. It runs on the allocating thread, outside all locks; what it allocates itself is
/// no sample. It must not panic.
///
/// Without one, call stacks are followed by frame pointers, on x86-64 and AArch64 under Linux, for code that is compiled with them; with
/// the feature `unwind` by the unwinder that programs of `std` hold anyway.
pub fn set_unwinder(unwinder: Option<fn(&mut [usize]) -> usize>) {
    unsafe extern "C" fn relay(frames: *mut usize, max: usize, unwinder: *mut c_void) -> usize {
        // SAFETY: the argument is the function below; there are so many places, all written before.
        unsafe {
            core::mem::transmute::<*mut c_void, fn(&mut [usize]) -> usize>(unwinder)(core::slice::from_raw_parts_mut(
                frames, max,
            ))
        }
    }
    let relayed = unwinder.map(|_| relay as RawUnwinder);
    // SAFETY: the relay may be called with this function at any time.
    unsafe { set_raw_unwinder(relayed, unwinder.map_or(null_mut(), |unwinder| unwinder as *mut c_void)) };
}

/// [`set_unwinder`] for C.
///
/// # Safety
/// - `unwinder` may be called with `arg` from any thread, at any time from now on, also after another one was set, and does what
///   [`RawUnwinder`] says.
pub unsafe fn set_raw_unwinder(unwinder: Option<RawUnwinder>, arg: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { stack::set(unwinder, arg) };
}
