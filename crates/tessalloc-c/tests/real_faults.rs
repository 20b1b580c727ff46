//! The n-th call of the system fails, for every n, in a real process on the C library: a life that calls every function of
//! `tessalloc.h` (`c/real_faults.c`). Null or an error, no crash, and nothing is lost: blocks from before are whole and usable after.
//!
//! The library makes its calls itself, so nothing can be put before them but the kernel: a filter of the process sends each call of some
//! kinds here (`SECCOMP_RET_USER_NOTIF`), where it is let through or answered by an error. Counted are the library's own calls from
//! the program's first instruction on, and, while it lives, those for memory and threads of the C library, which starts threads.
//!
//! In tests the first of each kind and a few more; `TESSALLOC_LONG=1` takes every n, runs of failures, and failure from some n on:
//!
//!     TESSALLOC_LONG=1 cargo test -p tessalloc-c --test real_faults -- --nocapture
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::io::{Error, Result as IoResult};
use std::mem::{offset_of, zeroed};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use libc::{c_long, seccomp_data, seccomp_notif, seccomp_notif_resp};
use support::{Mode, compile, describe, package, skip};

/// Calls that may fail, by name and with the error that the kernel would give.
const CALLS: [(&str, c_long, i32); 16] = [
    ("mmap", libc::SYS_mmap, libc::ENOMEM),
    ("munmap", libc::SYS_munmap, libc::ENOMEM),
    ("mprotect", libc::SYS_mprotect, libc::ENOMEM),
    ("madvise", libc::SYS_madvise, libc::ENOMEM),
    ("mremap", libc::SYS_mremap, libc::ENOMEM),
    ("mincore", libc::SYS_mincore, libc::EAGAIN),
    ("mbind", libc::SYS_mbind, libc::EIO),
    ("membarrier", libc::SYS_membarrier, libc::EPERM),
    ("clone", libc::SYS_clone, libc::EAGAIN),
    ("clone3", libc::SYS_clone3, libc::EAGAIN),
    ("prctl", libc::SYS_prctl, libc::EINVAL),
    ("openat", libc::SYS_openat, libc::EMFILE),
    ("read", libc::SYS_read, libc::EIO),
    ("getrandom", libc::SYS_getrandom, libc::ENOSYS),
    ("sysinfo", libc::SYS_sysinfo, libc::ENOSYS),
    ("prlimit64", libc::SYS_prlimit64, libc::EPERM),
];
/// Those of them that count when the C library makes them.
const OF_LIBC: [&str; 6] = ["mmap", "munmap", "mprotect", "mremap", "clone", "clone3"];
/// Calls for a thread's stack that glibc takes for granted.
const TAKEN_FOR_GRANTED: [&str; 2] = ["munmap", "mprotect"];

/// As in `c/real_faults.c`.
const MARK: u64 = 0x7e55_a110;
const BEGIN: u64 = 1;

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
enum Plan {
    None,
    /// So many in a row from the n-th on.
    Run(u64, u64),
    /// The n-th of one kind.
    Kind(&'static str, u64),
}

/// What one life's calls were: how many of each kind, and how many of them failed.
#[derive(Clone, Debug, Default)]
struct Seen {
    calls: u64,
    kinds: BTreeMap<&'static str, (u64, u64)>,
}

/// Sends the calls of the process that installs it, and of its children, to the descriptor that is returned.
fn install_filter() -> IoResult<RawFd> {
    const RETURN_USER_NOTIF: u32 = 0x7fc0_0000;
    const RETURN_ALLOW: u32 = 0x7fff_0000;
    let statement = |code: u32, value: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value };
    let mut code = [statement(libc::BPF_RET | libc::BPF_K, RETURN_ALLOW); 2 * CALLS.len() + 2];
    code[0] = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset_of!(seccomp_data, nr) as u32);
    for (at, (_, number, _)) in CALLS.iter().enumerate() {
        let test = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        code[1 + 2 * at] = libc::sock_filter { code: test, jt: 0, jf: 1, k: *number as u32 };
        code[2 + 2 * at] = statement(libc::BPF_RET | libc::BPF_K, RETURN_USER_NOTIF);
    }
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    // SAFETY: the filter is copied by the kernel; nothing else is read or written.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if listener < 0 { Err(Error::last_os_error()) } else { Ok(listener as RawFd) }
}

/// Bytes of the control message that carries one descriptor.
const CONTROL_BYTES: usize = 64;

/// Sends or receives a byte and, with it, a descriptor.
fn with_message<T>(then: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0_u64; CONTROL_BYTES / 8];
    // SAFETY: zeroes are a valid message header.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
    then(&mut message)
}

fn send(socket: RawFd, descriptor: RawFd) -> IoResult<()> {
    with_message(|message| {
        // SAFETY: the control buffer has room for the one header and the descriptor.
        let sent = unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
            libc::sendmsg(socket, message, 0)
        };
        if sent == 1 { Ok(()) } else { Err(Error::last_os_error()) }
    })
}

fn receive(socket: RawFd) -> Option<OwnedFd> {
    with_message(|message| {
        // SAFETY: the kernel fills the control buffer; a descriptor that came is this process's alone.
        unsafe {
            if libc::recvmsg(socket, message, 0) != 1 {
                return None;
            }
            let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
            (header.cmsg_type == libc::SCM_RIGHTS)
                .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
        }
    })
}

/// Where the library lies in the process.
fn library_range(process: u32) -> Option<Range<u64>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let address = |text: &str| u64::from_str_radix(text, 16).ok();
    let ranges = maps.lines().filter(|line| line.contains("libtessalloc.so")).filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some(address(start)?..address(end)?)
    });
    ranges.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end))
}

struct Watch {
    plan: Plan,
    library: Option<Range<u64>>,
    lives: bool,
    is_over: bool,
    seen: Seen,
}

impl Watch {
    /// The error with which a call fails, if it does.
    fn answer(&mut self, call: &seccomp_notif) -> Option<i32> {
        let (name, number, error) = CALLS.into_iter().find(|(_, number, _)| *number == c_long::from(call.data.nr))?;
        if number == libc::SYS_prctl && call.data.args[0] == MARK {
            self.lives = call.data.args[1] == BEGIN;
            self.is_over = !self.lives;
            return Some(libc::EINVAL);
        }
        if self.library.is_none() {
            self.library = library_range(call.pid);
        }
        let is_ours = self.library.as_ref()?.contains(&call.data.instruction_pointer);
        let is_of_libc = self.lives && OF_LIBC.contains(&name) && !TAKEN_FOR_GRANTED.contains(&name);
        // To make sure that a range is mapped, it is asked for until it is: where the kernel says that it is there already.
        let is_sure = number == libc::SYS_mmap && call.data.args[3] & libc::MAP_FIXED_NOREPLACE as u64 != 0;
        if self.is_over || is_sure || !(is_ours || is_of_libc) {
            return None;
        }
        self.seen.calls += 1;
        let kind = self.seen.kinds.entry(name).or_default();
        kind.0 += 1;
        let fails = match self.plan {
            Plan::None => false,
            Plan::Run(from, count) => self.seen.calls >= from && self.seen.calls - from < count,
            Plan::Kind(which, n) => which == name && kind.0 == n,
        };
        kind.1 += u64::from(fails);
        fails.then_some(error)
    }

    /// Answers until no process has the filter any more.
    fn run(mut self, listener: &OwnedFd) -> Seen {
        loop {
            let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor, of which `poll` is told.
            if unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
                continue;
            }
            if poll.revents & libc::POLLIN == 0 {
                return self.seen;
            }
            // SAFETY: both are the structures that the calls read and write; zeroes are valid ones. A call whose thread was
            // killed meanwhile is answered in vain.
            unsafe {
                let mut call: seccomp_notif = zeroed();
                if libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) != 0 {
                    continue;
                }
                let mut answer: seccomp_notif_resp = zeroed();
                answer.id = call.id;
                match self.answer(&call) {
                    Some(error) => answer.error = -error,
                    None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
                }
                libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer);
            }
        }
    }
}

/// Lives once: what was seen, or what went wrong.
fn live(program: &Path, plan: Plan, idles: bool) -> Result<Seen, String> {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut command = Command::new(program);
    // It is none of the allocator's own, which would say so.
    command.env_remove("TESSALLOC_LONG");
    command.args(idles.then_some("idle")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let socket = theirs.as_raw_fd();
    // SAFETY: makes system calls only.
    unsafe {
        command.pre_exec(move || {
            let listener = install_filter()?;
            send(socket, listener)?;
            libc::close(listener);
            Ok(())
        });
    }
    let watch = Watch { plan, library: None, lives: false, is_over: false, seen: Seen::default() };
    let watcher = std::thread::spawn(move || receive(ours.as_raw_fd()).map(|listener| watch.run(&listener)));
    let child = command.spawn();
    drop(theirs);
    let output: Output = child.and_then(|child| child.wait_with_output()).map_err(|error| format!("{error}"))?;
    let seen = watcher.join().expect("the watch goes well").ok_or("no descriptor came")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.ends_with("ok\n") { Ok(seen) } else { Err(describe(&output)) }
}

/// A20.
#[test]
fn known_a20_real_calls_fail_and_nothing_is_lost() {
    let is_long = std::env::var_os("TESSALLOC_LONG").is_some();
    let program = compile("real_faults.c", Mode::Shared, &[]);
    let start = Instant::now();
    let whole = match live(&program, Plan::None, false) {
        Ok(seen) => seen,
        Err(error) if error.contains("Operation not permitted") || error.contains("Invalid argument") => {
            return skip(&format!("calls can't be watched here: {error}"));
        }
        Err(error) => panic!("without failures: {error}"),
    };
    for must in ["mmap", "mprotect", "madvise", "mremap", "munmap", "membarrier", "openat"] {
        assert!(whole.kinds.contains_key(must), "a life makes no {must}: {whole:?}");
    }
    let mut plans = Vec::new();
    // Of each kind the first, and in the long form one from the middle: whatever order threads put them in.
    for (kind, (calls, _)) in &whole.kinds {
        plans.push(Plan::Kind(kind, 1));
        plans.extend(is_long.then_some(Plan::Kind(kind, calls / 2 + 1)));
    }
    if is_long {
        plans.extend((1..=whole.calls + 5).map(|n| Plan::Run(n, 1)));
        plans.extend((1..=whole.calls).step_by(3).map(|n| Plan::Run(n, 3)));
        plans.extend((1..=whole.calls).step_by(9).map(|n| Plan::Run(n, u64::MAX)));
    } else {
        plans.extend([1, 3, u64::MAX].map(|count| Plan::Run(whole.calls / 2, count)));
    }
    let (next, faults, sum) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Seen::default()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match live(&program, *plan, is_long && matches!(plan, Plan::Kind(..))) {
                        Ok(seen) => {
                            let mut sum = sum.lock().expect("no watch panicked");
                            sum.calls += seen.calls;
                            for (kind, (calls, failed)) in seen.kinds {
                                let of_kind = sum.kinds.entry(kind).or_default();
                                *of_kind = (of_kind.0 + calls, of_kind.1 + failed);
                            }
                        }
                        Err(error) => faults.lock().expect("no watch panicked").push(format!("{plan:?}: {error}")),
                    }
                }
            });
        }
    });
    let (faults, sum) = (faults.into_inner().unwrap(), sum.into_inner().unwrap());
    for (kind, (calls, failed)) in &sum.kinds {
        println!(
            "{kind:<12} {:>5} calls a life, {calls:>8} in all, {failed:>6} failed",
            whole.kinds.get(kind).map_or(0, |kind| kind.0)
        );
    }
    let failed: u64 = sum.kinds.values().map(|(_, failed)| failed).sum();
    println!(
        "covered: {} lives of {} calls each, {failed} calls failed, {:.1} s",
        plans.len(),
        whole.calls,
        start.elapsed().as_secs_f64()
    );
    faults.iter().take(3).for_each(|fault| println!("{fault}"));
    assert!(faults.is_empty(), "{} of {} lives went wrong; the first are above", faults.len(), plans.len());
    for kind in whole.kinds.keys() {
        assert!(sum.kinds.get(kind).is_some_and(|(_, failed)| *failed > 0), "no {kind} failed");
    }
}

/// The life above calls whatever the header declares.
#[test]
fn life_calls_every_function_of_the_header() {
    let read = |path: &str| std::fs::read_to_string(package().join(path)).expect("a file of the package");
    let (header, life) = (read("include/tessalloc.h"), read("tests/c/real_faults.c"));
    let mut count = 0;
    for line in header.lines().filter(|line| !line.starts_with([' ', '/', '#']) && !line.starts_with("typedef")) {
        let Some(at) = line.find('(') else { continue };
        let name = line[..at].rsplit([' ', '*']).next().unwrap_or("");
        if name.starts_with("tessalloc_") {
            count += 1;
            assert!(life.contains(&format!("{name}(")), "{name} is not called");
        }
    }
    assert!(count > 100, "the header was not understood: {count} functions found");
}
