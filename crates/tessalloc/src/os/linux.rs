//! Linux: raw system calls, so that no `errno` is written, no cancellation point is met and no interposed `mmap` is called.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::OsError;
pub(crate) use super::unix::*;

/// Whether [`commit`] changes protection and so is asked for in growing steps; on Windows it is asked for by slice.
pub(crate) const COMMITS_PREFIX: bool = true;

#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel's calling convention; the caller vouches for what the call does to memory.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel's calling convention; the caller vouches for what the call does to memory.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") args[0] as isize => result, in("x1") args[1], in("x2") args[2],
            in("x3") args[3], in("x4") args[4], in("x5") args[5], options(nostack));
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    // SAFETY: `errno` is a valid thread-local word, restored below; the caller vouches for the rest.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let result = libc::syscall(number as _, args[0], args[1], args[2], args[3], args[4], args[5]);
        let code = *errno;
        *errno = before;
        if result == -1 { -(code as isize) } else { result as isize }
    }
}

fn check(call: &'static str, result: isize) -> Result<usize, OsError> {
    if (-4095..0).contains(&result) { Err(OsError { call, code: -result as i32 }) } else { Ok(result as usize) }
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
    // SAFETY: `getauxval` reads what the kernel left for the process. It answers 0 before the C library is up.
    let found = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    if found == 0 {
        // Not kept, since it may be a multiple of the truth; a multiple keeps every promise.
        return if cfg!(target_arch = "x86_64") { 4096 } else { 64 << 10 };
    }
    // ORDER: Relaxed: as above.
    PAGE_BYTES.store(found, Ordering::Relaxed);
    found
}

/// Takes address space near `hint` (0: anywhere).
pub(crate) fn reserve(bytes: usize, align: usize, hint: usize) -> Result<*mut u8, OsError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping without MAP_FIXED touches nothing that exists.
    let map = |at: usize, len: usize| unsafe {
        check("mmap", syscall(libc::SYS_mmap, [at, len, libc::PROT_NONE as usize, flags as usize, usize::MAX, 0]))
    };
    let first = map(hint, bytes)?;
    if first & (align - 1) == 0 {
        return Ok(first as *mut u8);
    }
    // SAFETY: `first` was mapped just now and handed to nobody.
    unsafe { release(first as *mut u8, bytes) };
    let start = map(hint, bytes.checked_add(align).ok_or(OsError { call: "mmap", code: libc::ENOMEM })?)?;
    let aligned = (start + align - 1) & !(align - 1);
    // SAFETY: what lies before and behind the aligned part was mapped just now and is used by nobody.
    unsafe {
        if aligned > start {
            release(start as *mut u8, aligned - start);
        }
        if start + align > aligned {
            release((aligned + bytes) as *mut u8, start + align - aligned);
        }
    }
    Ok(aligned as *mut u8)
}

/// Makes a range usable.
///
/// # Safety
/// - The range lies in a reservation of ours, OS page aligned.
pub(crate) unsafe fn commit(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    // SAFETY: the caller's duty; protection is only widened.
    check("mprotect", unsafe { syscall(libc::SYS_mprotect, [at.addr(), bytes, prot, 0, 0, 0]) }).map(|_| ())
}

fn set_access(at: *mut u8, bytes: usize, prot: i32) -> Result<(), OsError> {
    // SAFETY: `protect` and `unprotect` are called for ranges of ours only.
    check("mprotect", unsafe { syscall(libc::SYS_mprotect, [at.addr(), bytes, prot as usize, 0, 0, 0]) }).map(|_| ())
}

/// Takes all access to a range away.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody uses it.
pub(crate) unsafe fn protect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    set_access(at, bytes, libc::PROT_NONE)
}

/// Gives access to a range again.
///
/// # Safety
/// - The range is committed, and OS page aligned.
pub(crate) unsafe fn unprotect(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    set_access(at, bytes, libc::PROT_READ | libc::PROT_WRITE)
}

/// Gives a range's address space back.
///
/// # Safety
/// - The range is ours and nobody uses it any more.
pub(crate) unsafe fn release(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's duty. A refusal (too many mappings when a hole is cut) leaves address space behind, nothing worse.
    unsafe { syscall(libc::SYS_munmap, [at.addr(), bytes, 0, 0, 0, 0]) };
}

unsafe fn madvise(at: *mut u8, bytes: usize, advice: i32) -> Result<(), OsError> {
    // SAFETY: the caller's duty.
    check("madvise", unsafe { syscall(libc::SYS_madvise, [at.addr(), bytes, advice as usize, 0, 0, 0]) }).map(|_| ())
}

/// Whether an emulator answers for the kernel. qemu (7.2, a user's program for another processor) agrees to advice that does not
/// exist, does nothing with most that does, and takes the source of a moved mapping for unmapped, so that it can't be purged.
fn is_emulated() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    const NO_SUCH_ADVICE: i32 = -1;
    // ORDER: Relaxed: every thread finds the same answer.
    let mut answer = ANSWER.load(Ordering::Relaxed);
    if answer == UNKNOWN {
        // SAFETY: an empty range.
        let agreed = unsafe { madvise(core::ptr::null_mut(), 0, NO_SUCH_ADVICE) }.is_ok();
        answer = if agreed { YES } else { NO };
        // ORDER: Relaxed: as above.
        ANSWER.store(answer, Ordering::Relaxed);
    }
    answer == YES
}

/// Gives the memory of a range back; it reads zero at the next touch.
///
/// # Safety
/// - The range is committed, OS page aligned, and nobody else uses it.
pub(crate) unsafe fn purge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    /// Since Linux 5.18: also for pages that are locked in memory.
    const MADV_DONTNEED_LOCKED: i32 = 24;
    // SAFETY: the caller's duty.
    unsafe {
        match madvise(at, bytes, libc::MADV_DONTNEED) {
            Err(OsError { code: libc::EINVAL, .. }) => madvise(at, bytes, MADV_DONTNEED_LOCKED),
            other => other,
        }
    }
}

/// Says that a range must not be backed by huge pages on the kernel's own account. Advice: a refusal is of no consequence.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_small_pages(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's duty.
    let _ = unsafe { madvise(at, bytes, libc::MADV_NOHUGEPAGE) };
}

/// Says from which NUMA node a range's memory should come, if there is some. Advice: a refusal is of no consequence.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn advise_node(at: *mut u8, bytes: usize, node: u32) {
    const MPOL_PREFERRED: usize = 1;
    const NODES_MAX: usize = 1024;
    let mut nodes = [0usize; NODES_MAX / usize::BITS as usize];
    if let Some(word) = nodes.get_mut((node / usize::BITS) as usize) {
        *word = 1 << (node % usize::BITS);
        // The kernel takes the number of bits for one too many.
        let args = [at.addr(), bytes, MPOL_PREFERRED, nodes.as_ptr().addr(), NODES_MAX + 1, 0];
        // SAFETY: sets a policy for the caller's range; reads `nodes`.
        unsafe { syscall(libc::SYS_mbind, args) };
    }
}

/// Makes a range resident in huge pages, and leaves it without the flag: flags that alternate would cost mappings.
///
/// # Safety
/// - The range is committed, aligned to 2 MiB, and nobody uses it.
pub(crate) unsafe fn populate_huge(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    /// Since Linux 5.14.
    const MADV_POPULATE_WRITE: i32 = 23;
    if is_emulated() {
        return Err(OsError { call: "madvise", code: libc::ENOSYS });
    }
    // SAFETY: the caller's duty.
    unsafe {
        madvise(at, bytes, libc::MADV_HUGEPAGE)?;
        let populated = madvise(at, bytes, MADV_POPULATE_WRITE);
        advise_small_pages(at, bytes);
        populated
    }
}

/// Counts the resident OS pages of a range; `None` where the system doesn't tell, or the range is too long.
///
/// # Safety
/// - The range is a mapping of ours of at most 512 OS pages.
#[allow(dead_code, reason = "huge pages have no policy yet: the contract's suite alone calls it")]
pub(crate) unsafe fn resident_count(at: *mut u8, bytes: usize) -> Option<usize> {
    let mut flags = [0u8; 512];
    let count = bytes / page_bytes();
    if count > flags.len() {
        return None;
    }
    // SAFETY: `flags` has a byte for each OS page, by the check above.
    check("mincore", unsafe { syscall(libc::SYS_mincore, [at.addr(), bytes, flags.as_mut_ptr().addr(), 0, 0, 0]) })
        .ok()?;
    Some(flags[..count].iter().filter(|flag| **flag & 1 == 1).count())
}

/// Moves the contents of `from` to `to` by the page table alone. The source stays mapped and reads zero, so no foreign mapping
/// can take its place.
///
/// # Safety
/// - Both ranges are committed, of equal length, disjoint; nobody uses `to`.
pub(crate) unsafe fn move_pages(from: *mut u8, to: *mut u8, bytes: usize) -> Result<(), OsError> {
    const MREMAP_DONTUNMAP: i32 = 4;
    if is_emulated() {
        return Err(OsError { call: "mremap", code: libc::ENOSYS });
    }
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | MREMAP_DONTUNMAP) as usize;
    // SAFETY: the caller's duty.
    let moved = check("mremap", unsafe { syscall(libc::SYS_mremap, [from.addr(), bytes, bytes, flags, to.addr(), 0]) });
    if moved.is_err() {
        // SAFETY: the caller's duty: `to` is ours, and nobody uses it.
        unsafe { fill_hole(to, bytes) };
    }
    moved.map(|_| ())
}

/// Maps a range again if it is a hole. The kernel unmaps the target of a call with a fixed address before it can find that it
/// lacks the memory for the rest; a foreign mapping that took the hole would pass for ours.
///
/// # Safety
/// - The range belongs to a reservation of ours, and nobody uses it.
unsafe fn fill_hole(at: *mut u8, bytes: usize) {
    const TRIES: u32 = 100;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    for _ in 0..TRIES {
        // SAFETY: replaces nothing that is mapped.
        let found = unsafe { syscall(libc::SYS_mmap, [at.addr(), bytes, prot, flags as usize, usize::MAX, 0]) };
        match check("mmap", found) {
            Ok(start) if start == at.addr() => return name(at, bytes),
            // A kernel before 4.17 takes the address for a hint: it gives another one if something is mapped there.
            Ok(start) => {
                // SAFETY: mapped just now and handed to nobody.
                return unsafe { release(core::ptr::with_exposed_provenance_mut(start), bytes) };
            }
            Err(OsError { code: libc::EEXIST, .. }) => return,
            // What was given back a moment ago is asked for again: only another thread that took it meanwhile is in the way.
            Err(_) => wait(&AtomicU32::new(0), 0, 1),
        }
    }
    write_error(b"tessalloc: cannot map a range of its own again: the system has no memory for it\n");
    abort()
}

/// Purges a range by mapping it anew, so that the kernel can merge it with its neighbours.
///
/// # Safety
/// - As for [`purge`].
pub(crate) unsafe fn renew(at: *mut u8, bytes: usize) -> Result<(), OsError> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED) as usize;
    // SAFETY: the range is ours by the caller's duty; MAP_FIXED replaces it in one step, so that nobody can take it in between.
    let renewed = check("mmap", unsafe { syscall(libc::SYS_mmap, [at.addr(), bytes, prot, flags, usize::MAX, 0]) });
    if let Err(error) = renewed {
        // SAFETY: the caller's duty.
        unsafe { fill_hole(at, bytes) };
        return Err(error);
    }
    // SAFETY: as above.
    unsafe { advise_small_pages(at, bytes) };
    name(at, bytes);
    Ok(())
}

/// Names a mapping in the process's list of mappings. A kernel without it refuses, which is of no consequence.
pub(crate) fn name(at: *mut u8, bytes: usize) {
    const PR_SET_VMA: usize = 0x5356_4d41;
    const PR_SET_VMA_ANON_NAME: usize = 0;
    let text = c"tessalloc";
    // SAFETY: names only; the text is a C string that outlives the call.
    unsafe { syscall(libc::SYS_prctl, [PR_SET_VMA, PR_SET_VMA_ANON_NAME, at.addr(), bytes, text.as_ptr().addr(), 0]) };
}

/// Keeps a range out of a forked child's memory: it reads zero there. Tells forks that ran no handler. False if unsupported.
///
/// # Safety
/// - The range is a mapping of ours.
pub(crate) unsafe fn wipe_on_fork(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's duty.
    !is_emulated() && unsafe { madvise(at, bytes, libc::MADV_WIPEONFORK) }.is_ok()
}

/// Bytes of memory in the machine; 0 if unknown.
pub(crate) fn physical_bytes() -> u64 {
    // SAFETY: `sysinfo` writes the structure given; all zeroes is a valid one.
    unsafe {
        let mut info: libc::sysinfo = core::mem::zeroed();
        let result = syscall(libc::SYS_sysinfo, [(&raw mut info).addr(), 0, 0, 0, 0, 0]);
        if result == 0 { info.totalram as u64 * u64::from(info.mem_unit.max(1)) } else { 0 }
    }
}

#[path = "container.rs"]
mod container;
pub(crate) use container::{container_limit, shortage};

/// The process's ceiling of address space in bytes, if it has one.
pub(crate) fn address_limit() -> Option<u64> {
    let mut limit = [0u64; 2];
    // SAFETY: `prlimit64` writes two words; it reads no new limit since that pointer is null.
    let result =
        unsafe { syscall(libc::SYS_prlimit64, [0, libc::RLIMIT_AS as usize, 0, limit.as_mut_ptr().addr(), 0, 0]) };
    if result == 0 && limit[0] != u64::MAX { Some(limit[0]) } else { None }
}

/// Whether fresh mappings are locked into memory as they become accessible (`mlockall(MCL_FUTURE)`), or memory is accounted as
/// it becomes writable (overcommit mode 2): then little is made accessible at a time.
pub(crate) fn commit_is_dear() -> bool {
    overcommits_never() || locks_new_mappings()
}

fn overcommits_never() -> bool {
    File::open(c"/proc/sys/vm/overcommit_memory").is_some_and(|file| file.read(&mut [0]) == b"2")
}

/// A mapping that is locked from birth refuses MADV_DONTNEED; one that nobody can touch shows it without costing memory.
fn locks_new_mappings() -> bool {
    let bytes = page_bytes();
    let Ok(at) = reserve(bytes, bytes, 0) else { return false };
    // SAFETY: mapped just now and used by nobody.
    unsafe {
        let locked = madvise(at, bytes, libc::MADV_DONTNEED).is_err();
        release(at, bytes);
        locked
    }
}

/// Whether a word of memory can be read, whoever has it. Asks the kernel for a change of signals that does not exist: it reads the new
/// set of signals before it finds that out.
pub(crate) fn is_readable(at: usize) -> bool {
    const NO_SUCH_CHANGE: usize = 99;
    const SET_BYTES: usize = 8;
    // SAFETY: the kernel reads the set, or refuses; nothing is changed.
    let result = unsafe { syscall(libc::SYS_rt_sigprocmask, [NO_SUCH_CHANGE, at, 0, SET_BYTES, 0, 0]) };
    result != -(libc::EFAULT as isize) && at != 0 && !is_emulated()
}

/// Shows what is mapped into the process, as text, part by part.
pub(crate) fn own_mappings(visit: &mut dyn FnMut(&[u8])) {
    let Some(file) = File::open(c"/proc/self/maps") else { return };
    let mut part = [0; 1024];
    // Bound: the file's length.
    loop {
        let got = file.read(&mut part);
        if got.is_empty() {
            return;
        }
        visit(got);
    }
}

/// The number of the process.
pub(crate) fn process_id() -> u64 {
    // SAFETY: takes nothing, changes nothing.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) as u64 }
}

/// A file that is made, or made empty.
pub(crate) struct NewFile(File);

impl NewFile {
    pub(crate) fn create(path: &core::ffi::CStr) -> Option<Self> {
        const MODE: u32 = 0o644;
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC) as usize;
        File::open_with(path, flags, MODE as usize).map(Self)
    }

    /// Writes all of it; false if the kernel refuses.
    pub(crate) fn write(&self, mut text: &[u8]) -> bool {
        // Bound: the text's length: each turn writes something.
        while !text.is_empty() {
            // SAFETY: reads `text` only.
            let wrote = unsafe { syscall(libc::SYS_write, [self.0.0, text.as_ptr().addr(), text.len(), 0, 0, 0]) };
            match usize::try_from(wrote) {
                Ok(count) if count > 0 => text = &text[count..],
                Err(_) if wrote == -(libc::EINTR as isize) => {}
                _ => return false,
            }
        }
        true
    }
}

/// A file; those of the kernel are read once from their start.
struct File(usize);

impl File {
    fn open(path: &core::ffi::CStr) -> Option<Self> {
        Self::open_with(path, (libc::O_RDONLY | libc::O_CLOEXEC) as usize, 0)
    }

    fn open_with(path: &core::ffi::CStr, flags: usize, mode: usize) -> Option<Self> {
        let at = libc::AT_FDCWD as isize as usize;
        let path = path.to_bytes_with_nul().as_ptr().addr();
        // SAFETY: opens a file; the path is a C string.
        let opened = unsafe { syscall(libc::SYS_openat, [at, path, flags, mode, 0, 0]) };
        usize::try_from(opened).ok().map(Self)
    }

    /// The next part; empty at the end, or when the kernel refuses.
    fn read<'a>(&self, into: &'a mut [u8]) -> &'a [u8] {
        // SAFETY: writes at most the length of `into`, into it.
        let got = unsafe { syscall(libc::SYS_read, [self.0, into.as_mut_ptr().addr(), into.len(), 0, 0, 0]) };
        &into[..usize::try_from(got).unwrap_or(0)]
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, and used by nobody else.
        unsafe { syscall(libc::SYS_close, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// The number that starts a text, after blanks.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut any) = (0u64, false);
    for digit in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        any = true;
    }
    any.then_some(value)
}

/// Rows of `/proc/self/status` in KiB, by the start of their lines.
fn status_kib<const N: usize>(rows: [&[u8]; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    let Some(file) = File::open(c"/proc/self/status") else { return found };
    // A line is cut at the buffer's end: those of long lists, which are none of ours.
    let (mut line, mut len) = ([0u8; 64], 0);
    let mut part = [0u8; 512];
    // Bound: the file's length.
    loop {
        let got = file.read(&mut part);
        if got.is_empty() {
            return found;
        }
        for byte in got {
            if *byte == b'\n' {
                for (row, value) in rows.iter().zip(&mut found) {
                    if let Some(rest) = line[..len].strip_prefix(*row) {
                        *value = number(rest);
                    }
                }
                len = 0;
            } else if len < line.len() {
                line[len] = *byte;
                len += 1;
            }
        }
    }
}

/// Microseconds since the process began, in steps of the kernel's ticks (10 ms).
fn elapsed_us() -> Option<u64> {
    /// Fields of `/proc/self/stat` between the program's name, which ends with the last parenthesis, and the start in ticks.
    const FIELDS_BEFORE: usize = 19;
    let mut text = [0u8; 1024];
    let text = File::open(c"/proc/self/stat")?.read(&mut text);
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let ticks = number(text.get(name_end + 2..)?.split(|byte| *byte == b' ').nth(FIELDS_BEFORE)?)?;
    // SAFETY: `getauxval` reads what the kernel left for the process.
    let hz = unsafe { libc::getauxval(libc::AT_CLKTCK) } as u64;
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut at) };
    let now = at.tv_sec as u64 * 1_000_000 + at.tv_nsec as u64 / 1_000;
    Some(now.saturating_sub(ticks.checked_mul(1_000_000)?.checked_div(hz)?))
}

/// What the kernel says of the process. Memory is of one moment: resident now is never above the most so far, which is that of
/// this program alone (`getrusage` carries over what the process was before it became this one).
pub(crate) fn process_figures() -> super::ProcessFigures {
    /// The kernel's own `struct rusage`: times in seconds and microseconds, then counts.
    #[repr(C)]
    struct Usage {
        user: [libc::c_long; 2],
        system: [libc::c_long; 2],
        memory: [libc::c_long; 4],
        minor_faults: libc::c_long,
        major_faults: libc::c_long,
        rest: [libc::c_long; 8],
    }
    let time_us = |time: [libc::c_long; 2]| time[0] as u64 * 1_000_000 + time[1] as u64;
    let mut usage = core::mem::MaybeUninit::<Usage>::zeroed();
    let who = libc::RUSAGE_SELF as usize;
    // SAFETY: the kernel writes the structure given; zeroes are a valid one.
    let usage = unsafe {
        let result = syscall(libc::SYS_getrusage, [who, usage.as_mut_ptr().addr(), 0, 0, 0, 0]);
        (result == 0).then(|| usage.assume_init())
    };
    let [rss, rss_peak, data, stack] =
        status_kib([b"VmRSS:", b"VmHWM:", b"VmData:", b"VmStk:"]).map(|kib| kib.map(|kib| kib << 10));
    super::ProcessFigures {
        elapsed_us: elapsed_us(),
        user_us: usage.as_ref().map(|usage| time_us(usage.user)),
        system_us: usage.as_ref().map(|usage| time_us(usage.system)),
        rss_bytes: rss,
        rss_peak_bytes: rss_peak,
        commit_bytes: data.zip(stack).map(|(data, stack)| data + stack),
        minor_faults: usage.as_ref().map(|usage| usage.minor_faults as u64),
        major_faults: usage.as_ref().map(|usage| usage.major_faults as u64),
    }
}

/// A number that an attacker can't guess; the address of a local when the kernel has none.
pub(crate) fn random() -> u64 {
    const GRND_NONBLOCK: usize = 1;
    let mut word = 0u64;
    // SAFETY: writes 8 bytes into `word`.
    let got = unsafe { syscall(libc::SYS_getrandom, [(&raw mut word).addr(), 8, GRND_NONBLOCK, 0, 0, 0]) };
    if got == 8 { word } else { (&raw const word).addr() as u64 ^ now_us().wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// Writes to standard error, as far as it goes.
pub(crate) fn write_error(text: &[u8]) {
    // SAFETY: reads `text` only.
    unsafe { syscall(libc::SYS_write, [2, text.as_ptr().addr(), text.len(), 0, 0, 0]) };
}

/// Ends the process by SIGABRT.
pub(crate) fn abort() -> ! {
    // SAFETY: never returns; takes no argument.
    unsafe { libc::abort() }
}

/// Gets ready for [`barrier_all_threads`]; false if the kernel, or a filter on system calls, refuses.
pub(crate) fn barrier_register() -> bool {
    const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;
    // SAFETY: has no effect on memory.
    unsafe { syscall(libc::SYS_membarrier, [REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0]) == 0 }
}

/// After it, every other thread of the process has passed a full barrier since the call began. False if refused.
pub(crate) fn barrier_all_threads() -> bool {
    const PRIVATE_EXPEDITED: usize = 1 << 3;
    // SAFETY: has no effect on memory beyond ordering.
    unsafe { syscall(libc::SYS_membarrier, [PRIVATE_EXPEDITED, 0, 0, 0, 0, 0]) == 0 }
}

/// Sleeps while `word` holds `expected`, until woken or `timeout_ms` (0: without limit).
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ms: u64) {
    let timeout = libc::timespec { tv_sec: (timeout_ms / 1000) as _, tv_nsec: (timeout_ms % 1000 * 1_000_000) as _ };
    let timeout_at = if timeout_ms == 0 { 0 } else { (&raw const timeout).addr() };
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel reads the word and the timeout, both alive for the call.
    unsafe { syscall(libc::SYS_futex, [word.as_ptr().addr(), op, expected as usize, timeout_at, 0, 0]) };
}

/// Wakes at most `count` threads that wait on `word`.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: only the word's address is used.
    unsafe { syscall(libc::SYS_futex, [word.as_ptr().addr(), op, count as usize, 0, 0, 0]) };
}
