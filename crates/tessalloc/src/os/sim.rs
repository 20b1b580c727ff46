//! The operating system for tests: real memory of the system under it, with every duty of the contract checked, any OS page
//! size, limits, and failures on demand.
//!
//! Set up before the first call, by the functions here or by the environment (numbers in decimal):
//!
//! | variable            | function              | unit  | meaning                                                              |
//! |---------------------|-----------------------|-------|----------------------------------------------------------------------|
//! | `SIM_PAGE_BYTES`    | [`set_page_bytes`]    | bytes | OS page: a power of two, at least the system's                       |
//! | `SIM_PHYSICAL`      | [`set_physical`]      | bytes | memory in the machine                                                |
//! | `SIM_ADDRESS_LIMIT` | [`set_address_limit`] | bytes | reservations beyond it are refused, as by `RLIMIT_AS`                |
//! | `SIM_COMMIT_BUDGET` | [`set_commit_budget`] | bytes | commits beyond it are refused, as by overcommit mode 2               |
//! | `SIM_NO_BARRIER`    | [`set_no_barrier`]    | 0, 1  | no barrier for all threads, as on macOS or behind a filter           |
//! | `SIM_FAIL_AT`       | [`fail_at`]           | calls | which call that can fail does fail: 1 is the first                   |
//! | `SIM_FAIL_RUN`      | [`fail_at`]           | calls | how many in a row do (1 if not set, 0: all from there on)            |
//! | `SIM_FAIL_LINE`     |                       | line  | the first call from each place at this line of its file fails        |
//!
//! | state          | unit  | written by                    | always true                                                         |
//! |----------------|-------|-------------------------------|---------------------------------------------------------------------|
//! | `reservations` | –     | `reserve`, `release`, locked  | S1 disjoint; `base` null marks a free entry                         |
//! | `committed`    | bits  | `commit`, locked              | S2 a bit for each OS page, set exactly where access is allowed      |
//! | [`Counters`]   | bytes | the same                      | S3 `committed_bytes` is the sum of the bits × the page size         |
//! | `sites`        | calls | every call that can fail      | S4 one entry for each place in the code that called                 |
//!
//! A broken duty ends the process with a text that names it. Nothing here allocates.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt::Write;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(shuttle)]
use super::scheduled as threads;
#[cfg(not(shuttle))]
use super::system as threads;
pub(crate) use super::system::{
    COMMITS_PREFIX, NewFile, at_exit, container_limit, env_each, is_readable, own_mappings, process_figures,
    process_id, shortage,
};
use super::{HUGE_BYTES, OsError, system};
pub(crate) use threads::{now_us, random, thread_id, wait, wake};

/// The code of a refused call: `ENOMEM` of Linux.
const NO_MEMORY: i32 = 12;
const RESERVATIONS_MAX: usize = 1024;
const SITES_MAX: usize = 256;
/// No limit is set.
const NONE: u64 = u64::MAX;

// ------------------------------------------------------------------------------------------------------------------- settings

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PHYSICAL: AtomicU64 = AtomicU64::new(NONE);
static ADDRESS_LIMIT: AtomicU64 = AtomicU64::new(NONE);
static COMMIT_BUDGET: AtomicU64 = AtomicU64::new(NONE);
static NO_BARRIER: AtomicBool = AtomicBool::new(false);
static FAIL_AT: AtomicU64 = AtomicU64::new(NONE);
static FAIL_RUN: AtomicU64 = AtomicU64::new(1);
static FAIL_LINE: AtomicU64 = AtomicU64::new(NONE);
/// Whether the settings of the environment have been taken over.
static READ_ENVIRONMENT: AtomicBool = AtomicBool::new(false);

/// The number that an environment variable holds; anything but a number ends the process.
fn env_number(name: &str) -> Option<u64> {
    let mut found = None;
    env_each(name, &mut |rest, text| {
        if rest.is_empty() {
            found = core::str::from_utf8(text).ok().and_then(|digits| digits.parse().ok());
            if found.is_none() {
                broken(format_args!("Cannot read {name}: expected a decimal number"));
            }
        }
    });
    found
}

/// Takes the environment over, once. ORDER: everything here is Relaxed or locked: settings are made before threads start.
fn set_up() {
    if READ_ENVIRONMENT.load(Ordering::Acquire) {
        return;
    }
    let _locked = lock();
    if READ_ENVIRONMENT.load(Ordering::Relaxed) {
        return;
    }
    let set = |to: &AtomicU64, name| env_number(name).map_or((), |number| to.store(number, Ordering::Relaxed));
    set(&PHYSICAL, "SIM_PHYSICAL");
    set(&ADDRESS_LIMIT, "SIM_ADDRESS_LIMIT");
    set(&COMMIT_BUDGET, "SIM_COMMIT_BUDGET");
    set(&FAIL_AT, "SIM_FAIL_AT");
    set(&FAIL_RUN, "SIM_FAIL_RUN");
    set(&FAIL_LINE, "SIM_FAIL_LINE");
    NO_BARRIER.store(env_number("SIM_NO_BARRIER").is_some_and(|number| number != 0), Ordering::Relaxed);
    store_page_bytes(env_number("SIM_PAGE_BYTES").map_or_else(system::page_bytes, |bytes| bytes as usize));
    // ORDER: Release pairs with the Acquire above: who sees it set sees the settings.
    READ_ENVIRONMENT.store(true, Ordering::Release);
}

fn store_page_bytes(bytes: usize) {
    if !bytes.is_power_of_two() || bytes < system::page_bytes() {
        let least = system::page_bytes();
        broken(format_args!(
            "Cannot simulate OS pages: expected a power of two of at least {least} bytes, received {bytes}"
        ));
    }
    PAGE_BYTES.store(bytes, Ordering::Relaxed);
}

/// Bytes of a simulated OS page. Set it before anything is reserved.
pub fn set_page_bytes(bytes: usize) {
    set_up();
    if counters().reserved_bytes != 0 {
        broken(format_args!("Cannot change the OS page size: expected no reservation yet"));
    }
    store_page_bytes(bytes);
}

/// Bytes of memory in the machine.
pub fn set_physical(bytes: u64) {
    set_up();
    PHYSICAL.store(bytes, Ordering::Relaxed);
}

/// Bytes of address space that may be reserved; `None` for no limit.
pub fn set_address_limit(bytes: Option<u64>) {
    set_up();
    ADDRESS_LIMIT.store(bytes.unwrap_or(NONE), Ordering::Relaxed);
}

/// Bytes that may be committed; `None` for no limit.
pub fn set_commit_budget(bytes: Option<u64>) {
    set_up();
    COMMIT_BUDGET.store(bytes.unwrap_or(NONE), Ordering::Relaxed);
}

/// Whether the barrier for all threads is missing.
pub fn set_no_barrier(missing: bool) {
    set_up();
    NO_BARRIER.store(missing, Ordering::Relaxed);
}

/// Lets the `n`-th call from now (1 is the next) and the `run - 1` after it fail; a run of 0 never ends. `None` ends all failing.
pub fn fail_at(n: Option<u64>, run: u64) {
    set_up();
    let at = n.map_or(NONE, |n| CALLS.load(Ordering::Relaxed).saturating_add(n));
    FAIL_RUN.store(run, Ordering::Relaxed);
    FAIL_AT.store(at, Ordering::Relaxed);
}

// -------------------------------------------------------------------------------------------------------------- calls and sites

/// Calls so far that can fail.
static CALLS: AtomicU64 = AtomicU64::new(0);

struct SiteEntry {
    /// Null marks the end of the entries in use.
    place: AtomicPtr<Location<'static>>,
    calls: AtomicU64,
    failures: AtomicU64,
    name: UnsafeCell<&'static str>,
}

// SAFETY: `name` is written under the lock before `place` is published, and never again.
unsafe impl Sync for SiteEntry {}

static SITES: [SiteEntry; SITES_MAX] = [const {
    SiteEntry {
        place: AtomicPtr::new(core::ptr::null_mut()),
        calls: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        name: UnsafeCell::new(""),
    }
}; SITES_MAX];

/// A place in the code that makes a call that can fail.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The call of the contract.
    pub name: &'static str,
    /// The file of the caller.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// Calls made from here.
    pub calls: u64,
    /// Calls from here that were made to fail.
    pub failures: u64,
}

/// Every place that has made a call that can fail, in the order of first calls.
pub fn sites() -> impl Iterator<Item = Site> {
    SITES.iter().map_while(|entry| {
        // SAFETY: S4: a published place is a `Location` of static life. ORDER: Acquire pairs with the Release in `site_entry`.
        let place = unsafe { entry.place.load(Ordering::Acquire).as_ref() }?;
        Some(Site {
            // SAFETY: written before `place` was published, and never again.
            name: unsafe { *entry.name.get() },
            file: place.file(),
            line: place.line(),
            calls: entry.calls.load(Ordering::Relaxed),
            failures: entry.failures.load(Ordering::Relaxed),
        })
    })
}

fn site_entry(name: &'static str, place: &'static Location<'static>) -> &'static SiteEntry {
    let same = |known: *mut Location<'static>| {
        // SAFETY: S4: a published place is a `Location` of static life.
        unsafe { known.as_ref() }.is_some_and(|known| {
            (known.line(), known.column(), known.file()) == (place.line(), place.column(), place.file())
        })
    };
    let _locked = lock();
    for entry in &SITES {
        let known = entry.place.load(Ordering::Relaxed);
        if same(known) {
            return entry;
        }
        if known.is_null() {
            // SAFETY: nobody reads the name before `place` is published, and the lock keeps other writers away.
            unsafe { *entry.name.get() = name };
            // ORDER: Release pairs with the Acquire in `sites`.
            entry.place.store(core::ptr::from_ref(place).cast_mut(), Ordering::Release);
            return entry;
        }
    }
    broken(format_args!("Cannot record a call of {name}: expected at most {SITES_MAX} places, see SITES_MAX"))
}

/// Counts a call that can fail and tells whether it is to fail.
fn must_fail(name: &'static str, place: &'static Location<'static>) -> bool {
    set_up();
    let entry = site_entry(name, place);
    let is_first = entry.calls.fetch_add(1, Ordering::Relaxed) == 0;
    let number = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let first = FAIL_AT.load(Ordering::Relaxed);
    let run = FAIL_RUN.load(Ordering::Relaxed);
    let is_due = number >= first && first != NONE && (run == 0 || number - first < run);
    let fails = is_due || is_first && u64::from(place.line()) == FAIL_LINE.load(Ordering::Relaxed);
    if fails {
        entry.failures.fetch_add(1, Ordering::Relaxed);
    }
    fails
}

#[track_caller]
fn refuse(name: &'static str) -> Result<(), OsError> {
    if must_fail(name, Location::caller()) { Err(OsError { call: name, code: NO_MEMORY }) } else { Ok(()) }
}

// --------------------------------------------------------------------------------------------------------------- reservations

#[derive(Clone, Copy)]
struct Reservation {
    base: *mut u8,
    bytes: usize,
    /// A bit for each simulated OS page.
    committed: *mut u64,
    /// Bytes of the OS pages whose bits are set.
    committed_bytes: usize,
}

/// What the process has of memory now, and how often it asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Calls so far that can fail.
    pub calls: u64,
    /// Reservations alive.
    pub reservations: usize,
    /// Bytes of address space reserved.
    pub reserved_bytes: u64,
    /// Bytes accessible; a purge doesn't change it.
    pub committed_bytes: u64,
    /// The most that `committed_bytes` has been.
    pub committed_peak_bytes: u64,
    /// Bytes that were purged or renewed, all purges added up.
    pub purged_bytes: u64,
}

struct State {
    reservations: [Reservation; RESERVATIONS_MAX],
    counters: Counters,
}

struct Shared(UnsafeCell<State>);

// SAFETY: reached only through `Locked`.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    reservations: [Reservation {
        base: core::ptr::null_mut(),
        bytes: 0,
        committed: core::ptr::null_mut(),
        committed_bytes: 0,
    }; RESERVATIONS_MAX],
    counters: Counters {
        calls: 0,
        reservations: 0,
        reserved_bytes: 0,
        committed_bytes: 0,
        committed_peak_bytes: 0,
        purged_bytes: 0,
    },
}));

/// 0 free, 1 held, 2 held and somebody waits.
static LOCK: AtomicU32 = AtomicU32::new(0);
/// The thread that holds the lock because it forks; 0: none. The handlers of others may allocate then.
static FORKING_THREAD: AtomicUsize = AtomicUsize::new(0);

fn forks() -> bool {
    // ORDER: Relaxed: only this thread's own number matters to it.
    FORKING_THREAD.load(Ordering::Relaxed) == thread_id()
}

struct Locked;

fn lock() -> Locked {
    if forks() {
        return Locked;
    }
    // ORDER: Acquire, here and below, pairs with the Release in `unlock`.
    if LOCK.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        while LOCK.swap(2, Ordering::Acquire) != 0 {
            wait(&LOCK, 2, 1);
        }
    }
    Locked
}

fn unlock() {
    if LOCK.swap(0, Ordering::Release) == 2 {
        wake(&LOCK, 1);
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if !forks() {
            unlock();
        }
    }
}

impl Locked {
    fn state(&mut self) -> &mut State {
        // SAFETY: the lock is held, and the borrow ends with it.
        unsafe { &mut *STATE.0.get() }
    }
}

/// What the process has of memory now, and how often it asked.
pub fn counters() -> Counters {
    Counters { calls: CALLS.load(Ordering::Relaxed), ..lock().state().counters }
}

impl Reservation {
    fn holds(&self, at: usize, bytes: usize) -> bool {
        !self.base.is_null()
            && at >= self.base.addr()
            && bytes <= self.bytes
            && at - self.base.addr() <= self.bytes - bytes
    }

    fn overlaps(&self, at: usize, bytes: usize) -> bool {
        !self.base.is_null() && at < self.base.addr() + self.bytes && self.base.addr() < at + bytes
    }

    /// The word and bit of the OS page `offset` bytes from the base.
    fn bit(&self, offset: usize) -> (*mut u64, u64) {
        let index = offset / page_bytes();
        // SAFETY: S2: the bits reach to the reservation's end, and callers stay inside.
        (unsafe { self.committed.add(index / 64) }, 1 << (index % 64))
    }

    /// Sets the bits of a range. The lock is held.
    fn mark_committed(&mut self, at: usize, bytes: usize) {
        self.committed_bytes += bytes - self.committed_in(at, bytes);
        let start = at - self.base.addr();
        for offset in (start..start + bytes).step_by(page_bytes()) {
            let (word, bit) = self.bit(offset);
            // SAFETY: S2, and the lock is held.
            unsafe { *word |= bit };
        }
    }

    /// Bytes of a range that are committed. The lock is held.
    fn committed_in(&self, at: usize, bytes: usize) -> usize {
        let start = at - self.base.addr();
        let pages = (start..start + bytes).step_by(page_bytes()).filter(|offset| {
            let (word, bit) = self.bit(*offset);
            // SAFETY: S2, and the lock is held.
            unsafe { *word & bit != 0 }
        });
        pages.count() * page_bytes()
    }
}

/// Ends the process with a text.
#[track_caller]
fn broken(what: core::fmt::Arguments<'_>) -> ! {
    struct Line {
        text: [u8; 400],
        len: usize,
    }
    impl Write for Line {
        fn write_str(&mut self, part: &str) -> core::fmt::Result {
            let room = self.text.len() - self.len;
            let taken = part.len().min(room);
            self.text[self.len..self.len + taken].copy_from_slice(&part.as_bytes()[..taken]);
            self.len += taken;
            Ok(())
        }
    }
    let mut line = Line { text: [0; 400], len: 0 };
    let _ = writeln!(line, "os::sim: {what} (at {})", Location::caller());
    system::write_error(&line.text[..line.len]);
    system::abort()
}

/// Checks that a range is OS page aligned, and gives its reservation.
#[track_caller]
fn check_range<'a>(state: &'a mut State, call: &str, at: usize, bytes: usize) -> &'a mut Reservation {
    let page = page_bytes();
    if bytes == 0 || !at.is_multiple_of(page) || !bytes.is_multiple_of(page) {
        broken(format_args!(
            "Cannot {call}: expected a range of OS pages of {page} bytes, received {at:#x} + {bytes:#x}"
        ));
    }
    match state.reservations.iter_mut().find(|reservation| reservation.holds(at, bytes)) {
        Some(reservation) => reservation,
        None => {
            broken(format_args!("Cannot {call}: expected a range inside a reservation, received {at:#x} + {bytes:#x}"))
        }
    }
}

/// Checks that a range is OS page aligned and committed.
#[track_caller]
fn check_committed(call: &str, at: *mut u8, bytes: usize) {
    let mut locked = lock();
    let reservation = check_range(locked.state(), call, at.addr(), bytes);
    let committed = reservation.committed_in(at.addr(), bytes);
    if committed != bytes {
        let at = at.addr();
        broken(format_args!(
            "Cannot {call}: expected a committed range, received {at:#x} + {bytes:#x} with {committed:#x} committed"
        ));
    }
}

/// Whether a range lies in a reservation. For tests that look at addresses.
pub fn is_reserved(at: *const u8, bytes: usize) -> bool {
    lock().state().reservations.iter().any(|reservation| reservation.holds(at.addr(), bytes))
}

// ------------------------------------------------------------------------------------------------------------------- the calls

/// Bytes of an OS page: a power of two, at least 4 KiB.
pub(crate) fn page_bytes() -> usize {
    let bytes = PAGE_BYTES.load(Ordering::Relaxed);
    if bytes == 0 {
        set_up();
        return PAGE_BYTES.load(Ordering::Relaxed);
    }
    bytes
}

/// See the module: checks, then the system's call.
#[track_caller]
pub(crate) fn reserve(bytes: usize, align: usize, hint: usize) -> Result<*mut u8, OsError> {
    refuse("reserve")?;
    let page = page_bytes();
    if bytes == 0 || !bytes.is_multiple_of(page) || !align.is_power_of_two() || align < page {
        broken(format_args!(
            "Cannot reserve: expected multiples of {page}, received {bytes:#x} bytes aligned to {align:#x}"
        ));
    }
    let mut locked = lock();
    let state = locked.state();
    let limit = ADDRESS_LIMIT.load(Ordering::Relaxed);
    if state.counters.reserved_bytes.saturating_add(bytes as u64) > limit {
        return Err(OsError { call: "reserve", code: NO_MEMORY });
    }
    let Some(free) = state.reservations.iter().position(|reservation| reservation.base.is_null()) else {
        broken(format_args!("Cannot reserve: expected at most {RESERVATIONS_MAX} reservations, see RESERVATIONS_MAX"))
    };
    let base = system::reserve(bytes, align, hint)?;
    let bits_bytes = bits_bytes(bytes);
    let bits = match system::reserve(bits_bytes, system::page_bytes(), 0) {
        Ok(bits) => bits,
        Err(error) => {
            // SAFETY: reserved just now and handed to nobody.
            unsafe { system::release(base, bytes) };
            return Err(error);
        }
    };
    // SAFETY: reserved just now.
    if let Err(error) = unsafe { system::commit(bits, bits_bytes) } {
        // SAFETY: both were reserved just now and handed to nobody.
        unsafe {
            system::release(bits, bits_bytes);
            system::release(base, bytes);
        }
        return Err(error);
    }
    if state.reservations.iter().any(|reservation| reservation.overlaps(base.addr(), bytes)) {
        broken(format_args!("Cannot reserve: the system gave a range twice: {base:p} + {bytes:#x}"));
    }
    state.reservations[free] = Reservation { base, bytes, committed: bits.cast(), committed_bytes: 0 };
    state.counters.reservations += 1;
    state.counters.reserved_bytes += bytes as u64;
    Ok(base)
}

/// Bytes of the mapping that holds a reservation's bits, rounded up to the system's pages.
fn bits_bytes(bytes: usize) -> usize {
    (bytes / page_bytes()).div_ceil(64).next_multiple_of(system::page_bytes() / 8) * 8
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
#[track_caller]
pub(crate) unsafe fn commit(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("commit");
    let mut locked = lock();
    let state = locked.state();
    let missing = |reservation: &Reservation| bytes - reservation.committed_in(at.addr(), bytes);
    let fresh = missing(check_range(state, "commit", at.addr(), bytes)) as u64;
    refused?;
    if state.counters.committed_bytes + fresh > COMMIT_BUDGET.load(Ordering::Relaxed) {
        return Err(OsError { call: "commit", code: NO_MEMORY });
    }
    // SAFETY: the caller's duty, checked above.
    unsafe { system::commit(at, bytes) }?;
    check_range(state, "commit", at.addr(), bytes).mark_committed(at.addr(), bytes);
    state.counters.committed_bytes += fresh;
    state.counters.committed_peak_bytes = state.counters.committed_peak_bytes.max(state.counters.committed_bytes);
    Ok(())
}

/// See the module: checks, then the system's call. The range stays committed.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody uses it.
#[track_caller]
pub(crate) unsafe fn protect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("protect");
    check_committed("protect", at, bytes);
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::protect(at, bytes) }
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is committed, and OS page aligned.
#[track_caller]
pub(crate) unsafe fn unprotect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("unprotect");
    check_committed("unprotect", at, bytes);
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::unprotect(at, bytes) }
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is a whole reservation, and nobody uses it any more.
#[track_caller]
pub(crate) unsafe fn release(at: *mut u8, bytes: usize) {
    set_up();
    let mut locked = lock();
    let state = locked.state();
    let Some(entry) =
        state.reservations.iter_mut().find(|entry| entry.base == at && entry.bytes == bytes && !at.is_null())
    else {
        broken(format_args!(
            "Cannot release: expected a whole reservation that was not released yet, received {at:p} + {bytes:#x}"
        ))
    };
    let reservation = *entry;
    entry.base = core::ptr::null_mut();
    state.counters.reservations -= 1;
    state.counters.reserved_bytes -= bytes as u64;
    state.counters.committed_bytes -= reservation.committed_bytes as u64;
    // SAFETY: the caller's duty, checked above; the bits were this reservation's alone.
    unsafe {
        system::release(reservation.committed.cast(), bits_bytes(bytes));
        system::release(at, bytes);
    }
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
#[track_caller]
pub(crate) unsafe fn purge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("purge");
    check_committed("purge", at, bytes);
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::purge(at, bytes) }?;
    lock().state().counters.purged_bytes += bytes as u64;
    Ok(())
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is a mapping of ours.
#[track_caller]
pub(crate) unsafe fn advise_small_pages(at: *mut u8, bytes: usize) {
    set_up();
    check_range(lock().state(), "advise small pages", at.addr(), bytes);
    // SAFETY: the caller's duty, checked above.
    unsafe { system::advise_small_pages(at, bytes) };
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is a mapping of ours.
#[track_caller]
pub(crate) unsafe fn advise_node(at: *mut u8, bytes: usize, node: u32) {
    set_up();
    check_range(lock().state(), "advise a node", at.addr(), bytes);
    // SAFETY: the caller's duty, checked above.
    unsafe { system::advise_node(at, bytes, node) };
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is committed, aligned to 2 MiB, and nobody uses it.
#[track_caller]
pub(crate) unsafe fn populate_huge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("populate_huge");
    check_committed("populate with huge pages", at, bytes);
    if !at.addr().is_multiple_of(HUGE_BYTES) || !bytes.is_multiple_of(HUGE_BYTES) {
        broken(format_args!(
            "Cannot populate with huge pages: expected multiples of {HUGE_BYTES}, received {at:p} + {bytes:#x}"
        ));
    }
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::populate_huge(at, bytes) }
}

/// Counts the simulated OS pages of which any part is resident.
///
/// # Safety
/// - The range is a mapping of ours of at most 512 OS pages.
#[track_caller]
#[allow(dead_code, reason = "huge pages have no policy yet: the contract's suite alone calls it")]
pub(crate) unsafe fn resident_count(at: *mut u8, bytes: usize) -> Option<usize> {
    const PAGES_MAX: usize = 512;
    let refused = refuse("resident_count");
    check_range(lock().state(), "count resident pages", at.addr(), bytes);
    let page = page_bytes();
    if bytes / page > PAGES_MAX {
        broken(format_args!(
            "Cannot count resident pages: expected at most {PAGES_MAX} OS pages, received {at:p} + {bytes:#x}"
        ));
    }
    refused.ok()?;
    let mut count = 0;
    for offset in (0..bytes).step_by(page) {
        // SAFETY: the caller's duty, checked above.
        count += usize::from(unsafe { system::resident_count(at.add(offset), page) }? > 0);
    }
    Some(count)
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
#[track_caller]
pub(crate) unsafe fn move_pages(from: *mut u8, to: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("move_pages");
    check_committed("move pages from", from, bytes);
    check_committed("move pages to", to, bytes);
    if from.addr().abs_diff(to.addr()) < bytes {
        broken(format_args!("Cannot move pages: expected disjoint ranges, received {from:p} and {to:p} of {bytes:#x}"));
    }
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::move_pages(from, to, bytes) }
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - As for [`purge`].
#[track_caller]
pub(crate) unsafe fn renew(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let refused = refuse("renew");
    check_committed("renew", at, bytes);
    refused?;
    // SAFETY: the caller's duty, checked above.
    unsafe { system::renew(at, bytes) }?;
    lock().state().counters.purged_bytes += bytes as u64;
    Ok(())
}

/// See the module: checks, then the system's call.
#[track_caller]
pub(crate) fn name(at: *mut u8, bytes: usize) {
    set_up();
    check_range(lock().state(), "name", at.addr(), bytes);
    system::name(at, bytes);
}

/// See the module: checks, then the system's call.
///
/// # Safety
/// - The range is a mapping of ours.
#[track_caller]
pub(crate) unsafe fn wipe_on_fork(at: *mut u8, bytes: usize) -> bool {
    let refused = refuse("wipe_on_fork");
    check_range(lock().state(), "wipe on fork", at.addr(), bytes);
    // SAFETY: the caller's duty, checked above.
    refused.is_ok() && unsafe { system::wipe_on_fork(at, bytes) }
}

/// Bytes of memory in the machine; 0 if unknown, as when made to fail.
#[track_caller]
pub(crate) fn physical_bytes() -> u64 {
    if refuse("physical_bytes").is_err() {
        return 0;
    }
    match PHYSICAL.load(Ordering::Relaxed) {
        NONE => system::physical_bytes(),
        bytes => bytes,
    }
}

/// The ceiling of address space that was set, or the system's.
pub(crate) fn address_limit() -> Option<u64> {
    set_up();
    match ADDRESS_LIMIT.load(Ordering::Relaxed) {
        NONE => system::address_limit(),
        bytes => Some(bytes),
    }
}

/// Whether a budget was set, or commits are dear on the system.
pub(crate) fn commit_is_dear() -> bool {
    set_up();
    COMMIT_BUDGET.load(Ordering::Relaxed) != NONE || system::commit_is_dear()
}

/// Writes to standard error, as far as it goes.
pub(crate) fn write_error(text: &[u8]) {
    system::write_error(text);
}

/// Ends the process at once.
pub(crate) fn abort() -> ! {
    system::abort()
}

/// Gets ready for [`barrier_all_threads`]; false if switched off or made to fail.
#[track_caller]
pub(crate) fn barrier_register() -> bool {
    refuse("barrier_register").is_ok() && !NO_BARRIER.load(Ordering::Relaxed) && system::barrier_register()
}

/// As the system's; false if switched off or made to fail.
#[track_caller]
pub(crate) fn barrier_all_threads() -> bool {
    refuse("barrier_all_threads").is_ok() && !NO_BARRIER.load(Ordering::Relaxed) && system::barrier_all_threads()
}

/// As the system's; false if made to fail.
#[track_caller]
pub(crate) fn exit_hook_create(hook: unsafe extern "C" fn(*mut c_void)) -> bool {
    refuse("exit_hook_create").is_ok() && threads::exit_hook_create(hook)
}

/// As the system's; false if made to fail.
#[track_caller]
pub(crate) fn exit_hook_arm(value: *mut c_void) -> bool {
    refuse("exit_hook_arm").is_ok() && threads::exit_hook_arm(value)
}

/// As the system's; false if made to fail.
#[track_caller]
pub(crate) fn spawn(run: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    refuse("spawn").is_ok() && threads::spawn(run)
}

/// The handlers that were registered: they run outside the lock here, so that they may make any call.
static FORK_HANDLERS: [AtomicPtr<c_void>; 3] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 3];

fn run_fork_handler(index: usize) {
    // ORDER: Acquire pairs with the Release in `at_fork`.
    let handler = FORK_HANDLERS[index].load(Ordering::Acquire);
    // SAFETY: `at_fork` stored a function of this type before it registered ours.
    unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(handler)() }
}

extern "C" fn before_fork() {
    run_fork_handler(0);
    core::mem::forget(lock());
    // ORDER: Relaxed, here and below: as in `forks`.
    FORKING_THREAD.store(thread_id(), Ordering::Relaxed);
}

extern "C" fn after_fork_in_parent() {
    FORKING_THREAD.store(0, Ordering::Relaxed);
    unlock();
    run_fork_handler(1);
}

extern "C" fn after_fork_in_child() {
    FORKING_THREAD.store(0, Ordering::Relaxed);
    unlock();
    run_fork_handler(2);
}

/// As the system's; false if made to fail. Call once.
#[track_caller]
pub(crate) fn at_fork(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> bool {
    if refuse("at_fork").is_err() {
        return false;
    }
    for (slot, handler) in FORK_HANDLERS.iter().zip([prepare, parent, child]) {
        // ORDER: Release pairs with the Acquire in `run_fork_handler`.
        slot.store(handler as *mut c_void, Ordering::Release);
    }
    threads::at_fork(before_fork, after_fork_in_parent, after_fork_in_child)
}
