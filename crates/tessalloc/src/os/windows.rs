//! Windows: `VirtualAlloc` by slice, fibre-local storage for the end of a thread, `WaitOnAddress`.

use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_SUPPORTED, GetLastError, SetLastError,
};
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::RaiseFailFastException;
use windows_sys::Win32::System::Environment::{FreeEnvironmentStringsW, GetEnvironmentStringsW};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW, GetModuleHandleW,
    GetProcAddress,
};
use windows_sys::Win32::System::Memory::{
    CreateMemoryResourceNotification, LowMemoryResourceNotification, MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE,
    MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, QueryMemoryResourceNotification, VirtualAlloc, VirtualFree,
    VirtualProtect,
};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, GlobalMemoryStatusEx, MEMORYSTATUSEX, SYSTEM_INFO};
use windows_sys::Win32::System::Threading::{
    CreateThread, FLS_OUT_OF_INDEXES, FlsAlloc, FlsFree, FlsGetValue, FlsSetValue, FlushProcessWriteBuffers,
    GetCurrentProcessId, GetCurrentThreadId, INFINITE, STACK_SIZE_PARAM_IS_A_RESERVATION, Sleep, WaitOnAddress,
    WakeByAddressAll, WakeByAddressSingle,
};

use super::OsError;
pub(crate) use super::no_fork::at_fork;

/// Whether [`commit`] changes protection and so is asked for in growing steps; here it is asked for by slice.
pub(crate) const COMMITS_PREFIX: bool = false;

/// Reservations start at multiples of this.
const GRANULARITY_BYTES: usize = 64 << 10;

/// Runs calls of the system and puts the thread's last error back; gives the call's own if it `failed`.
fn keep_error<T>(call: &'static str, run: impl FnOnce() -> T, failed: impl FnOnce(&T) -> bool) -> Result<T, OsError> {
    // SAFETY: reads and writes this thread's own word.
    unsafe {
        let before = GetLastError();
        let result = run();
        let code = GetLastError();
        SetLastError(before);
        if failed(&result) { Err(OsError { call, code: code as i32 }) } else { Ok(result) }
    }
}

fn unsupported(call: &'static str) -> OsError {
    OsError { call, code: ERROR_NOT_SUPPORTED as i32 }
}

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of an OS page: a power of two, at least 4 KiB.
#[inline]
pub(crate) fn page_bytes() -> usize {
    // ORDER: Relaxed: every thread computes the same number.
    let known = PAGE_BYTES.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let mut info = SYSTEM_INFO::default();
    // SAFETY: writes the structure given.
    unsafe { GetSystemInfo(&mut info) };
    // ORDER: Relaxed: as above.
    PAGE_BYTES.store(info.dwPageSize as usize, Ordering::Relaxed);
    info.dwPageSize as usize
}

fn reserve_at(at: usize, bytes: usize) -> Result<*mut u8, OsError> {
    let hint = core::ptr::without_provenance(at);
    // SAFETY: a new reservation touches nothing that exists.
    let call = || unsafe { VirtualAlloc(hint, bytes, MEM_RESERVE, PAGE_READWRITE) };
    keep_error("VirtualAlloc", call, |start| start.is_null()).map(|start| start.cast())
}

/// Takes address space at `hint` (0: anywhere), elsewhere if that is taken.
pub(crate) fn reserve(bytes: usize, align: usize, hint: usize) -> Result<*mut u8, OsError> {
    const TRIES: u32 = 32;
    let align = align.max(GRANULARITY_BYTES);
    if hint != 0
        && let Ok(start) = reserve_at(hint & !(align - 1), bytes)
    {
        return Ok(start);
    }
    let error = OsError { call: "VirtualAlloc", code: ERROR_NOT_ENOUGH_MEMORY as i32 };
    let with_room = bytes.checked_add(align).ok_or(error)?;
    let mut last = reserve_at(0, bytes);
    for _ in 0..TRIES {
        let start = last?;
        if start.addr() & (align - 1) == 0 {
            return Ok(start);
        }
        // A part of a reservation can't be given back: find room for the alignment, give it back, and take the aligned part.
        // SAFETY: both were reserved just now and handed to nobody.
        unsafe {
            release(start, bytes);
            let room = reserve_at(0, with_room)?;
            release(room, with_room);
            let aligned = room.addr().next_multiple_of(align);
            last = reserve_at(aligned, bytes);
        }
        if last.is_err() {
            // Another thread was faster.
            last = reserve_at(0, bytes);
        }
    }
    // SAFETY: reserved just now and handed to nobody.
    unsafe { release(last?, bytes) };
    Err(error)
}

/// Makes a range usable.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
pub(crate) unsafe fn commit(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty; what is committed already keeps its contents.
    let call = || unsafe { VirtualAlloc(at.cast(), bytes, MEM_COMMIT, PAGE_READWRITE) };
    keep_error("VirtualAlloc", call, |start| start.is_null()).map(|_| ())
}

fn set_access(at: *mut u8, bytes: usize, to: u32) -> Result<(), OsError> {
    let mut before = 0;
    // SAFETY: `protect` and `unprotect` are called for ranges of ours only.
    let call = || unsafe { VirtualProtect(at.cast(), bytes, to, &mut before) };
    keep_error("VirtualProtect", call, |done| *done == 0).map(|_| ())
}

/// Takes all access to a range away.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody uses it.
pub(crate) unsafe fn protect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    set_access(at, bytes, PAGE_NOACCESS)
}

/// Gives access to a range again.
///
/// # Safety
/// - The range is committed, and OS page aligned.
pub(crate) unsafe fn unprotect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    set_access(at, bytes, PAGE_READWRITE)
}

/// Gives a range's address space back.
///
/// # Safety
/// - The range is a whole reservation of ours and nobody uses it any more.
pub(crate) unsafe fn release(at: *mut u8, _bytes: usize) {
    // SAFETY: the caller's duty.
    let _ = keep_error("VirtualFree", || unsafe { VirtualFree(at.cast(), 0, MEM_RELEASE) }, |done| *done == 0);
}

/// Gives the memory of a range back; it reads zero at the next touch. `MEM_RESET` would not do: it may leave the contents.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
pub(crate) unsafe fn purge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    /// Milliseconds, one a try. The memory was this process's a moment ago; only a machine that is out of it takes longer.
    const TRIES: u32 = 1000;
    // SAFETY: the caller's duty.
    keep_error("VirtualFree", || unsafe { VirtualFree(at.cast(), bytes, MEM_DECOMMIT) }, |done| *done == 0)?;
    for _ in 0..TRIES {
        // SAFETY: the caller's duty.
        if unsafe { commit(at, bytes) }.is_ok() {
            return Ok(());
        }
        // SAFETY: has no effect on memory.
        unsafe { Sleep(1) };
    }
    write_error(b"tessalloc: cannot commit a range of its own again: the system has no memory for it\n");
    abort()
}

/// The same as [`purge`] here.
///
/// # Safety
/// - As for [`purge`].
pub(crate) unsafe fn renew(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    // SAFETY: the caller's duty.
    unsafe { purge(at, bytes) }
}

/// No such advice here: pages are small unless asked for.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_small_pages(_at: *mut u8, _bytes: usize) {}

/// No such advice here.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_node(_at: *mut u8, _bytes: usize, _node: u32) {}

/// Always refused: large pages need a privilege that programs don't have.
///
/// # Safety
/// - The range is committed, aligned to 2 MiB, and nobody uses it.
pub(crate) unsafe fn populate_huge(_at: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("VirtualAlloc"))
}

/// Not asked here: only the making of huge pages would use it.
///
/// # Safety
/// - The range is a mapping of ours of at most 512 OS pages.
#[allow(dead_code, reason = "huge pages have no policy yet: the contract's suite alone calls it")]
pub(crate) unsafe fn resident_count(_at: *mut u8, _bytes: usize) -> Option<usize> {
    None
}

/// Always refused: pages don't move.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
pub(crate) unsafe fn move_pages(_from: *mut u8, _to: *mut u8, _bytes: usize) -> Result<(), OsError> {
    Err(unsupported("MapViewOfFile"))
}

/// Memory has no names here.
pub(crate) fn name(_at: *mut u8, _bytes: usize) {}

/// There is no fork.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn wipe_on_fork(_at: *mut u8, _bytes: usize) -> bool {
    false
}

/// Bytes of memory in the machine; 0 if unknown.
pub(crate) fn physical_bytes() -> u64 {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: writes the structure given, whose length is set.
    if unsafe { GlobalMemoryStatusEx(&mut status) } != 0 { status.ullTotalPhys } else { 0 }
}

/// Job objects are not asked.
pub(crate) fn container_limit() -> Option<u64> {
    None
}

/// What the system's own notification object says, which is made at the first question and kept.
pub(crate) fn shortage() -> super::Shortage {
    static NOTIFICATION: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    // ORDER: Relaxed: one thread asks, the background thread.
    let mut notification = NOTIFICATION.load(Ordering::Relaxed);
    // SAFETY: makes an object of the system, and reads its state into `is_low`.
    unsafe {
        if notification.is_null() {
            notification = CreateMemoryResourceNotification(LowMemoryResourceNotification);
            NOTIFICATION.store(notification, Ordering::Relaxed);
        }
        let mut is_low = 0;
        if !notification.is_null() && QueryMemoryResourceNotification(notification, &mut is_low) != 0 && is_low != 0 {
            return super::Shortage::Severe;
        }
    }
    super::Shortage::None
}

/// There is no ceiling of address space below the processor's.
pub(crate) fn address_limit() -> Option<u64> {
    None
}

/// Memory is accounted as it is committed.
pub(crate) fn commit_is_dear() -> bool {
    true
}

/// A number that an attacker can't guess, where the system's library for it is loaded; it is not loaded here, since that may
/// deadlock while another library is. Without it, a mix of clock, thread and the addresses that the system chose.
pub(crate) fn random() -> u64 {
    const LIBRARY: [u16; 21] = utf16("bcryptprimitives.dll");
    let mut word = 0u64;
    // SAFETY: looks only; the names end with a zero.
    let found = unsafe {
        let library = GetModuleHandleW(LIBRARY.as_ptr());
        if library.is_null() { None } else { GetProcAddress(library, c"ProcessPrng".as_ptr().cast()) }
    };
    if let Some(function) = found {
        // SAFETY: the signature that the system documents; writes `word` only, and always succeeds.
        unsafe {
            core::mem::transmute::<
                unsafe extern "system" fn() -> isize,
                unsafe extern "system" fn(*mut u8, usize) -> i32,
            >(function)((&raw mut word).cast(), size_of::<u64>());
        }
    }
    if word != 0 {
        return word;
    }
    let mut ticks = 0;
    // SAFETY: writes `ticks` only.
    let thread = unsafe {
        QueryPerformanceCounter(&mut ticks);
        GetCurrentThreadId()
    };
    let mut mixed = ticks as u64
        ^ (u64::from(thread) << 40)
        ^ (&raw const word).addr() as u64
        ^ (utf16::<1> as *const () as u64).rotate_left(20);
    for _ in 0..3 {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    mixed
}

/// ASCII text as the system wants it, ended by a zero; `N` is its length plus one.
const fn utf16<const N: usize>(text: &str) -> [u16; N] {
    let mut wide = [0; N];
    let mut index = 0;
    while index < text.len() {
        wide[index] = text.as_bytes()[index] as u16;
        index += 1;
    }
    wide
}

/// Writes to standard error, as far as it goes.
pub(crate) fn write_error(text: &[u8]) {
    let mut written = 0;
    let call = || {
        // SAFETY: reads `text`, writes `written`; a missing handle makes the call fail.
        unsafe { WriteFile(GetStdHandle(STD_ERROR_HANDLE), text.as_ptr(), text.len() as u32, &mut written, null_mut()) }
    };
    let _ = keep_error("WriteFile", call, |done| *done == 0);
}

/// No word is known to be readable.
pub(crate) fn is_readable(_at: usize) -> bool {
    false
}

/// Not asked for here: nothing is shown.
pub(crate) fn own_mappings(_visit: &mut dyn FnMut(&[u8])) {}

/// The number of the process.
pub(crate) fn process_id() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    u64::from(unsafe { GetCurrentProcessId() })
}

/// No files are written here.
pub(crate) enum NewFile {}

impl NewFile {
    pub(crate) fn create(_path: &core::ffi::CStr) -> Option<Self> {
        None
    }

    /// There is none.
    pub(crate) fn write(&self, _text: &[u8]) -> bool {
        match *self {}
    }
}

/// Not asked for here: all unknown.
pub(crate) fn process_figures() -> super::ProcessFigures {
    super::ProcessFigures::default()
}

/// Ends the process at once, as for a failed assertion.
pub(crate) fn abort() -> ! {
    loop {
        // SAFETY: never returns.
        unsafe { RaiseFailFastException(null(), null(), 0) };
    }
}

/// The barrier needs no preparation.
pub(crate) fn barrier_register() -> bool {
    true
}

/// After it, every other thread of the process has passed a full barrier since the call began.
pub(crate) fn barrier_all_threads() -> bool {
    // SAFETY: has no effect on memory beyond ordering.
    unsafe { FlushProcessWriteBuffers() };
    true
}

/// Sleeps while `word` holds `expected`, until woken or `timeout_ms` (0: without limit).
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
    let timeout = if timeout_ms == 0 { INFINITE } else { timeout_ms.min(u64::from(INFINITE - 1)) as u32 };
    let call = || {
        // SAFETY: both words are alive for the call.
        unsafe { WaitOnAddress(word.as_ptr().cast(), (&raw const expected).cast(), size_of::<u32>(), timeout) }
    };
    let _ = keep_error("WaitOnAddress", call, |done| *done == 0);
}

/// Wakes at most `count` threads that wait on `word`; for more than one, all.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    // SAFETY: only the word's address is used.
    unsafe {
        match count {
            0 => {}
            1 => WakeByAddressSingle(word.as_ptr().cast()),
            _ => WakeByAddressAll(word.as_ptr().cast()),
        }
    }
}

/// The index whose callback runs at thread exit; `FLS_OUT_OF_INDEXES` until made.
static EXIT_INDEX: AtomicU32 = AtomicU32::new(FLS_OUT_OF_INDEXES);
/// What the callback calls.
static EXIT_HOOK: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// The system calls this once; a hook that armed itself again is called again at once, as other systems do in further rounds.
unsafe extern "system" fn run_exit_hook(value: *const c_void) {
    const ROUNDS: u32 = 8;
    // ORDER: Acquire pairs with the Release in `exit_hook_create`.
    let hook = EXIT_HOOK.load(Ordering::Acquire);
    // ORDER: Acquire, as above.
    let index = EXIT_INDEX.load(Ordering::Acquire);
    let mut value = value.cast_mut();
    for _ in 0..ROUNDS {
        // SAFETY: `exit_hook_create` stored a function of this type before it made the index, which is never freed.
        unsafe {
            FlsSetValue(index, null());
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(hook)(value);
            value = FlsGetValue(index);
        }
        if value.is_null() {
            return;
        }
    }
}

/// Keeps the image that holds this code in memory for good: threads that end later run the exit hook, and the scavenger sleeps in it.
fn pin_image() {
    let mut image = null_mut();
    let call = || {
        // SAFETY: an address in this image; `image` is ours to write.
        unsafe {
            GetModuleHandleExW(
                GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                pin_image as fn() as *const u16,
                &mut image,
            )
        }
    };
    // Refused only where no image holds the address.
    let _ = keep_error("GetModuleHandleExW", call, |done| *done == 0);
}

/// Makes the index, unless there is one. `hook`, the same in each call, runs on each thread that armed it with the pointer it armed; in a
/// program with fibres, when the fibre that armed it is deleted. From any thread. Pins the image. False if there is no index to be had.
pub(crate) fn exit_hook_create(hook: unsafe extern "C" fn(*mut c_void)) -> bool {
    // ORDER: Relaxed: the exchange below decides.
    if EXIT_INDEX.load(Ordering::Relaxed) != FLS_OUT_OF_INDEXES {
        return true;
    }
    // ORDER: Release pairs with the Acquire in `run_exit_hook`.
    EXIT_HOOK.store(hook as *mut c_void, Ordering::Release);
    // SAFETY: the callback has the signature that the system calls.
    let index = unsafe { FlsAlloc(Some(run_exit_hook)) };
    if index == FLS_OUT_OF_INDEXES {
        return false;
    }
    // ORDER: Release pairs with the Acquire in `exit_hook_arm`.
    match EXIT_INDEX.compare_exchange(FLS_OUT_OF_INDEXES, index, Ordering::Release, Ordering::Relaxed) {
        Ok(_) => pin_image(),
        // Another thread was faster. SAFETY: made just now, and no thread has a value for it.
        Err(_) => _ = unsafe { FlsFree(index) },
    }
    true
}

/// Asks for the hook to run with `value` when this thread ends. False if there is no index, or no memory for it.
pub(crate) fn exit_hook_arm(value: *mut c_void) -> bool {
    // ORDER: Acquire pairs with the Release in `exit_hook_create`.
    let index = EXIT_INDEX.load(Ordering::Acquire);
    // SAFETY: the index is never freed.
    index != FLS_OUT_OF_INDEXES
        && keep_error("FlsSetValue", || unsafe { FlsSetValue(index, value) }, |done| *done == 0).is_ok()
}

/// Asked for by forks only, which there are none of here.
pub(crate) fn thread_id() -> usize {
    1
}

/// Not served here: the program prints its statistics itself.
pub(crate) fn at_exit(_run: extern "C" fn()) -> bool {
    false
}

unsafe extern "system" fn run_thread(run: *mut c_void) -> u32 {
    // SAFETY: `spawn` passes a function of this type.
    unsafe { core::mem::transmute::<*mut c_void, extern "C" fn(*mut c_void) -> *mut c_void>(run)(null_mut()) };
    0
}

/// Starts a thread with a small stack. It begins to run when no library is being loaded.
pub(crate) fn spawn(run: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    const STACK_BYTES: usize = 128 << 10;
    let call = || {
        // SAFETY: `run_thread` takes what is passed for what it is.
        unsafe {
            CreateThread(
                null(),
                STACK_BYTES,
                Some(run_thread),
                run as *mut c_void,
                STACK_SIZE_PARAM_IS_A_RESERVATION,
                null_mut(),
            )
        }
    };
    match keep_error("CreateThread", call, |thread| thread.is_null()) {
        Ok(thread) => {
            // SAFETY: the handle is ours; the thread runs on without it.
            unsafe { CloseHandle(thread) };
            true
        }
        Err(_) => false,
    }
}

/// Shows each variable whose name begins with `prefix`, in capitals: the rest of its name, and its value. What is not ASCII becomes
/// `?`; names are cut at 64 characters, values at 512.
pub(crate) fn env_each(prefix: &str, visit: &mut dyn FnMut(&[u8], &[u8])) -> bool {
    let call = || {
        // SAFETY: gives a copy of the environment, which is freed below.
        unsafe { GetEnvironmentStringsW() }
    };
    let Ok(block) = keep_error("GetEnvironmentStringsW", call, |block| block.is_null()) else { return false };
    let (mut name, mut value) = ([0u8; 64], [0u8; 512]);
    let mut at: *const u16 = block;
    // Bound: the block's end, an empty entry.
    // SAFETY: entries that each end with a zero, as the system documents.
    unsafe {
        while *at != 0 {
            let (mut name_len, mut value_len, mut in_name) = (0, 0, true);
            // An entry for a drive's folder begins with `=`; it belongs to the name.
            let mut is_first = true;
            while *at != 0 {
                let byte = if *at < 128 { *at as u8 } else { b'?' };
                at = at.add(1);
                if in_name && byte == b'=' && !is_first {
                    in_name = false;
                } else if in_name && name_len < name.len() {
                    name[name_len] = byte.to_ascii_uppercase();
                    name_len += 1;
                } else if !in_name && value_len < value.len() {
                    value[value_len] = byte;
                    value_len += 1;
                }
                is_first = false;
            }
            at = at.add(1);
            if let Some(rest) = name[..name_len].strip_prefix(prefix.as_bytes()) {
                visit(rest, &value[..value_len]);
            }
        }
        FreeEnvironmentStringsW(block);
    }
    true
}

/// Microseconds of a clock that never goes back.
pub(crate) fn now_us() -> u64 {
    let (mut ticks, mut frequency) = (0, 0);
    // SAFETY: write their arguments; both always succeed.
    unsafe {
        QueryPerformanceCounter(&mut ticks);
        QueryPerformanceFrequency(&mut frequency);
    }
    let (ticks, frequency) = (ticks as u64, (frequency as u64).max(1));
    ticks / frequency * 1_000_000 + ticks % frequency * 1_000_000 / frequency
}
