//! Ceilings of the process: each case in a process of its own, since they are the process's.
#![cfg(not(tessalloc_sim))]

use std::alloc::Layout;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tessalloc::{Cause, Heap, Opt, Pressure, Tessalloc, on_pressure, raw};

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

const CASE: &str = "TESSALLOC_TEST_LIMITS_CASE";
const MIB: usize = 1 << 20;

/// Runs the rest of a test in a process with further variables, in a folder of the system's control groups if one is given. True
/// in that process.
fn apart(test: &str, variables: &[(&str, &str)], group: Option<&Path>) -> bool {
    if std::env::var(CASE).is_ok_and(|now| now == test) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("the test program has a path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CASE, test).envs(variables.iter().copied());
    if let Some(group) = group {
        put_into(&mut command, group);
    }
    let output = command.output().expect("the test program starts again");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{}\n{errors}", output.status, String::from_utf8_lossy(&output.stdout));
    false
}

#[cfg(unix)]
fn put_into(command: &mut Command, group: &Path) {
    use std::os::unix::process::CommandExt;
    let tasks = group.join("cgroup.procs");
    // SAFETY: writes a file, between fork and exec.
    unsafe { command.pre_exec(move || std::fs::write(&tasks, "0")) };
}

/// There are no control groups.
#[cfg(not(unix))]
fn put_into(_command: &mut Command, _group: &Path) {}

/// Blocks of one size until none is left or there are enough, each with its number and the block before.
struct Filled {
    last: *mut (usize, *mut u8),
    count: usize,
}

impl Filled {
    fn new(bytes: usize, most: usize) -> Filled {
        let mut filled = Filled { last: std::ptr::null_mut(), count: 0 };
        while filled.count < most {
            let block: *mut (usize, *mut u8) = raw::malloc(bytes).cast();
            if block.is_null() {
                break;
            }
            // SAFETY: the block holds so much.
            unsafe { block.write((filled.count, filled.last.cast())) };
            filled = Filled { last: block, count: filled.count + 1 };
        }
        filled
    }

    fn check_and_free(mut self) {
        while !self.last.is_null() {
            // SAFETY: a block of ours, freed once.
            let (number, before) = unsafe {
                let held = self.last.read();
                raw::free(self.last.cast());
                held
            };
            self.count -= 1;
            assert_eq!(number, self.count, "what was written stays");
            self.last = before.cast();
        }
        assert_eq!(self.count, 0);
    }
}

fn until(seconds: u64, fact: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) && !fact() {
        thread::sleep(Duration::from_millis(20));
    }
    fact()
}

#[test]
fn hard_limit_holds_for_every_kind_of_block() {
    if !apart("hard_limit_holds_for_every_kind_of_block", &[("TESSALLOC_HARD_LIMIT", "64M")], None) {
        return;
    }
    for bytes in [16, 1000, 40 << 10, 300 << 10, 5 * MIB] {
        let blocks = Filled::new(bytes, usize::MAX);
        let held = blocks.count * bytes;
        assert!(held <= 64 * MIB, "{bytes}: {held} bytes are above the limit");
        assert!(held >= 40 * MIB, "{bytes}: {held} bytes of 64 MiB could be had");
        let committed = tessalloc::stats().committed_bytes;
        assert!(committed <= 65 << 20, "{bytes}: {committed} bytes are held");
        // What does not fit leaves all as it was.
        // SAFETY: a block in use, which stays so when it can't grow.
        assert!(unsafe { raw::realloc(blocks.last.cast(), 60 * MIB) }.is_null());
        assert!(raw::zalloc(30 * MIB).is_null() && raw::aligned(30 * MIB, 4096).is_null());
        blocks.check_and_free();
        // All is there again, for any other kind.
        let whole = raw::malloc(50 * MIB);
        assert!(!whole.is_null(), "{bytes}: after all is freed");
        // SAFETY: in use, freed once.
        unsafe { raw::free(whole) };
    }
}

#[test]
fn hard_limit_may_come_and_go_while_the_program_runs() {
    if !apart("hard_limit_may_come_and_go_while_the_program_runs", &[], None) {
        return;
    }
    let before: Vec<_> = (0..32).map(|_| raw::malloc(MIB)).collect();
    // Below what is in use already: nothing more, and nothing lost.
    Opt::HardLimitBytes.set(16 << 20).expect("in range");
    assert!(raw::malloc(MIB).is_null());
    let heap = Heap::new().expect("a heap takes no run yet");
    assert!(heap.alloc(Layout::from_size_align(MIB, 16).expect("a layout")).is_none());
    // SAFETY: in use, freed once.
    before.iter().skip(8).for_each(|block| unsafe { raw::free(*block) });
    assert!(heap.alloc(Layout::from_size_align(MIB, 16).expect("a layout")).is_some());
    let more: Vec<_> = (0..32).map(|_| raw::malloc(MIB)).take_while(|block| !block.is_null()).collect();
    assert!((2..8).contains(&more.len()), "{} MiB of the 16 beside 9 others and what the threads hold", more.len());
    Opt::HardLimitBytes.set(0).expect("in range");
    assert!(!raw::malloc(100 * MIB).is_null());
}

#[test]
fn hard_limit_is_kept_by_threads_together() {
    if !apart("hard_limit_is_kept_by_threads_together", &[("TESSALLOC_HARD_LIMIT", "64M")], None) {
        return;
    }
    static HELD: AtomicU64 = AtomicU64::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..30 {
                    let bytes = [700, 20 << 10, 200 << 10][(worker + round) % 3];
                    let blocks = Filled::new(bytes, 24 * MIB / bytes);
                    HELD.fetch_max(tessalloc::stats().committed_bytes, Ordering::Relaxed);
                    blocks.check_and_free();
                }
            });
        }
    });
    // Threads that take runs at the same moment may each pass by theirs.
    let held = HELD.load(Ordering::Relaxed);
    assert!((48 << 20..=68 << 20).contains(&held), "{held} bytes were held");
}

static TOLD: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static LAST_LIMIT: AtomicU64 = AtomicU64::new(0);

fn told(pressure: &Pressure) {
    // It may allocate.
    let text = format!("{pressure:?}");
    assert!(text.contains("held_bytes"));
    match pressure.cause {
        Cause::SoftLimit => {
            assert!(pressure.held_bytes > pressure.limit_bytes);
            TOLD[0].fetch_add(1, Ordering::Relaxed);
        }
        Cause::Container => {
            LAST_LIMIT.store(pressure.limit_bytes, Ordering::Relaxed);
            TOLD[1].fetch_add(1, Ordering::Relaxed);
        }
        // The machine's own, whatever it is.
        _ => {}
    }
}

#[test]
fn soft_limit_is_told_once_each_time_and_nothing_unused_is_kept() {
    let name = "soft_limit_is_told_once_each_time_and_nothing_unused_is_kept";
    // Without pressure free memory would be kept for minutes.
    let slow = [("TESSALLOC_SOFT_LIMIT", "32M"), ("TESSALLOC_PURGE_DELAY", "1h"), ("TESSALLOC_IDLE_DELAY", "1h")];
    if !apart(name, &slow, None) {
        return;
    }
    assert!(on_pressure(Some(told)), "there is a background thread");
    for round in 1..=2 {
        let blocks: Vec<_> = (0..48).map(|_| vec![1u8; MIB]).collect();
        assert!(until(10, || TOLD[0].load(Ordering::Relaxed) == round), "round {round}: it is told");
        let half: Vec<_> = blocks.into_iter().take(40).collect();
        assert!(until(10, || tessalloc::stats().retained_bytes < 3 << 20), "what is free goes back while it lasts");
        thread::sleep(Duration::from_millis(2500));
        assert_eq!(TOLD[0].load(Ordering::Relaxed), round, "it is told once");
        drop(half);
        tessalloc::purge();
        // Two looks later it has ended.
        thread::sleep(Duration::from_millis(2500));
    }
    assert!(on_pressure(None));
    let _blocks: Vec<_> = (0..48).map(|_| vec![1u8; MIB]).collect();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(TOLD[0].load(Ordering::Relaxed), 2, "nobody is told any more");
}

#[test]
fn soft_limit_without_a_background_thread_says_so() {
    if apart("soft_limit_without_a_background_thread_says_so", &[("TESSALLOC_SCAVENGER", "off")], None) {
        assert!(!on_pressure(Some(told)));
    }
}

/// A real group where this may make one: root on a machine with version 1 or 2 of control groups.
#[cfg(target_os = "linux")]
fn group_of(limit: usize) -> Option<std::path::PathBuf> {
    let mounts = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    let mut groups = mounts
        .map(|mount| std::path::Path::new(mount).join(format!("tessalloc-test-{}", std::process::id())))
        .into_iter();
    groups.find(|group| {
        let _ = std::fs::create_dir(group);
        // The files are the system's: they are there, or there is no group.
        let files = ["memory.limit_in_bytes", "memory.max"].map(|file| group.join(file));
        let is_limited = files.iter().any(|file| file.exists() && std::fs::write(file, limit.to_string()).is_ok());
        if !is_limited {
            let _ = std::fs::remove_dir(group);
        }
        is_limited
    })
}

#[cfg(target_os = "linux")]
#[test]
fn container_limit_is_followed() {
    let name = "container_limit_is_followed";
    if cfg!(feature = "asan") {
        println!("left out: what AddressSanitizer notes of memory would count in the group too");
        return;
    }
    if std::env::var(CASE).is_err() {
        let Some(group) = group_of(200 * MIB) else {
            println!("left out: no control group can be made here");
            return;
        };
        apart(name, &[], Some(&group));
        return std::fs::remove_dir(group).expect("the group is empty");
    }
    assert!(on_pressure(Some(told)), "there is a background thread");
    let mut blocks: Vec<_> = (0..100).map(|_| vec![1u8; MIB]).collect();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(TOLD[1].load(Ordering::Relaxed), 0, "half of the limit is no pressure");
    blocks.extend((0..84).map(|_| vec![1u8; MIB]));
    assert!(until(10, || TOLD[1].load(Ordering::Relaxed) > 0), "it is told before the limit is reached");
    assert_eq!(LAST_LIMIT.load(Ordering::Relaxed), 200 * MIB as u64 / 10 * 9);
}
