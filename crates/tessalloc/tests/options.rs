//! What each option does, and who is stronger: each case in a process of its own, since options are the process's.

use std::alloc::Layout;
use std::process::Command;
use std::time::{Duration, Instant};

use tessalloc::options::Source;
use tessalloc::{Configured, Opt, Options, Tessalloc, stats};

#[global_allocator]
static GLOBAL: Configured = Tessalloc::with(Options::new().reserve_bytes(256 << 20).max_warnings(100));

const CASE: &str = "TESSALLOC_TEST_OPTIONS_CASE";
const MIB: u64 = 1 << 20;

/// Runs `case` of a test in a process with further variables, and gives what it wrote to standard error. In that process: runs `act`
/// and ends; other cases are `None`.
fn case(test: &str, case: &str, variables: &[(&str, &str)], act: impl FnOnce()) -> Option<String> {
    if let Ok(now) = std::env::var(CASE) {
        if now == case {
            act();
            std::process::exit(0);
        }
        return None;
    }
    let program = std::env::current_exe().expect("the test program has a path");
    let runner = std::env::var("TESSALLOC_TEST_RUNNER").unwrap_or_default();
    let mut words: Vec<&str> = runner.split_whitespace().collect();
    words.push(program.to_str().expect("a path in UTF-8"));
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .env_remove("TESSALLOC_RESERVE")
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("Cannot start {words:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{test}, {case}: {}\n{errors}", output.status);
    Some(errors)
}

/// The lines that the allocator wrote, sorted.
fn lines(errors: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("tessalloc: ")).collect();
    lines.sort_unstable();
    lines
}

/// Waits until a fact holds, at most so long.
fn until(seconds: u64, fact: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        if fact() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    fact()
}

/// Memory held without use.
fn retained() -> u64 {
    stats().retained_bytes
}

/// Takes blocks of 64 MiB together and frees all but every `keep`-th.
fn free_64_mib(block_bytes: usize, keep: usize) -> Vec<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = (0..(64 << 20) / block_bytes).map(|_| vec![1; block_bytes]).collect();
    let mut index = 0;
    blocks.retain(|_| {
        index += 1;
        index % keep == 0
    });
    blocks
}

#[test]
fn what_the_program_is_built_with_holds_from_the_first_allocation() {
    let test = "what_the_program_is_built_with_holds_from_the_first_allocation";
    let errors = case(test, "built", &[], || {
        assert_eq!((Opt::ReserveBytes.value(), Opt::ReserveBytes.source()), (256 << 20, Source::Program));
        assert_eq!(stats().reserved_bytes, 256 << 20, "the first region was made with it");
        assert_eq!(Opt::Stats.source(), Source::Default);
    });
    assert_eq!(lines(&errors.expect("the only case")), [""; 0]);
}

#[test]
fn the_environment_is_stronger_than_the_program_and_a_call_stronger_than_both() {
    let test = "the_environment_is_stronger_than_the_program_and_a_call_stronger_than_both";
    case(test, "all", &[("TESSALLOC_RESERVE", "512M"), ("TESSALLOC_IDLE_DELAY", "1m")], || {
        assert_eq!((Opt::ReserveBytes.value(), Opt::ReserveBytes.source()), (512 << 20, Source::Environment));
        assert_eq!(stats().reserved_bytes, 512 << 20, "the first region was made with it");
        Options::new().reserve_bytes(1 << 30).idle_delay_ms(250).keep_bytes(7).install();
        assert_eq!((Opt::ReserveBytes.value(), Opt::IdleDelayMs.value()), (512 << 20, 60_000));
        assert_eq!((Opt::KeepBytes.value(), Opt::KeepBytes.source()), (7, Source::Program));
        Opt::IdleDelayMs.set(500).unwrap();
        Options::new().idle_delay_ms(250).install();
        assert_eq!((Opt::IdleDelayMs.value(), Opt::IdleDelayMs.source()), (500, Source::Set));
    });
}

#[test]
fn faults_of_the_environment_are_reported_once_and_ignored() {
    let test = "faults_of_the_environment_are_reported_once_and_ignored";
    let variables = [
        ("TESSALLOC_PURGE_DELAY", "2 weeks"),
        ("TESSALLOC_IDLE_DELAY", "100ms"),
        ("TESSALLOC_KEEP", "1.5G"),
        ("TESSALLOC_THREAD_CACHE", "65M"),
        ("TESSALLOC_SCAVENGER", "maybe"),
        ("TESSALLOC_RESERVE", "512 MiB"),
        ("TESSALLOC_PURGE_HOLE", "0"),
        ("TESSALLOC_THREADCACHE", "0"),
        ("TESSALLOC_STAT", "1"),
        ("TESSALLOC_", "1"),
        ("TESSALLOC_DEFAULT_KEEP", "what a build reads is no fault"),
        ("TESSALLOC_VERBOSE", "off"),
    ];
    let errors = case(test, "faults", &variables, || {
        for opt in [Opt::PurgeDelayMs, Opt::IdleDelayMs, Opt::KeepBytes, Opt::ThreadCacheBytes, Opt::Scavenger] {
            assert_eq!((opt.value(), opt.source()), (opt.default_value(), Source::Default), "{opt:?}");
        }
        assert_eq!((Opt::ReserveBytes.value(), Opt::ReserveBytes.source()), (256 << 20, Source::Program));
        // Threads look at the options as they start.
        (0..4).for_each(|_| std::thread::spawn(|| drop(vec![0u8; 100])).join().expect("a thread of a test"));
    });
    let expected = [
        "ignored TESSALLOC_: there is no such option; the nearest is TESSALLOC_KEEP",
        "ignored TESSALLOC_IDLE_DELAY: expected a time such as 250ms or 10s, 250ms to 1h, received 100ms",
        "ignored TESSALLOC_KEEP: expected a size such as 64K or 2G, 0 to 1T, received 1.5G",
        "ignored TESSALLOC_PURGE_DELAY: expected a time such as 250ms or 10s, 0 to 1h, received 2 weeks",
        "ignored TESSALLOC_PURGE_HOLE: there is no such option; the nearest is TESSALLOC_PURGE_HOLES",
        "ignored TESSALLOC_RESERVE: expected a size such as 64K or 2G, 0 to 1T, received 512 MiB",
        "ignored TESSALLOC_SCAVENGER: expected off or on, received maybe",
        "ignored TESSALLOC_STAT: there is no such option; the nearest is TESSALLOC_STATS",
        "ignored TESSALLOC_THREADCACHE: there is no such option; the nearest is TESSALLOC_THREAD_CACHE",
        "ignored TESSALLOC_THREAD_CACHE: expected a size such as 64K or 2G, 0 to 64M, received 65M",
    ];
    assert_eq!(lines(&errors.expect("the only case")), expected);
}

#[test]
fn no_more_warnings_are_written_than_asked_for() {
    let test = "no_more_warnings_are_written_than_asked_for";
    let faults = ["A", "B", "C"].map(|letter| (format!("TESSALLOC_NO_SUCH_{letter}"), "1"));
    let faults = faults.each_ref().map(|(name, value)| (name.as_str(), *value));
    for (most, written) in [("0", 0), ("2", 2), ("3", 3), ("4", 3)] {
        let mut variables = faults.to_vec();
        variables.push(("TESSALLOC_MAX_WARNINGS", most));
        if let Some(errors) = case(test, most, &variables, || {}) {
            assert_eq!(lines(&errors).len(), written, "at most {most}: {errors}");
        }
    }
}

#[test]
fn verbose_and_stats_print() {
    let test = "verbose_and_stats_print";
    if let Some(errors) = case(test, "verbose", &[("TESSALLOC_VERBOSE", "on")], || {}) {
        assert_eq!(lines(&errors), ["reserved 256 MiB of address space"]);
    }
    if let Some(errors) = case(test, "stats", &[("TESSALLOC_STATS", "yes")], || {}) {
        // Windows has no such hook: there the program prints its statistics itself.
        assert_eq!(errors.lines().any(|line| line.starts_with("committed_bytes ")), cfg!(unix), "{errors}");
    }
}

#[test]
fn idle_delay_is_how_long_idle_threads_keep_their_memory() {
    let test = "idle_delay_is_how_long_idle_threads_keep_their_memory";
    case(test, "short", &[("TESSALLOC_IDLE_DELAY", "250ms"), ("TESSALLOC_PURGE_DELAY", "1h")], || {
        drop(free_64_mib(4096, usize::MAX));
        assert!(until(20, || retained() < 4 * MIB), "{} held", retained());
    });
    case(test, "long", &[("TESSALLOC_IDLE_DELAY", "1h"), ("TESSALLOC_PURGE_DELAY", "1h")], || {
        drop(free_64_mib(4096, usize::MAX));
        assert!(!until(3, || retained() < 48 * MIB), "{} held", retained());
    });
}

#[test]
fn purge_delay_is_how_long_memory_is_kept_under_load() {
    let test = "purge_delay_is_how_long_memory_is_kept_under_load";
    // The other thread is never idle: only the curve gives memory back.
    let under_load = |seconds, fact: &dyn Fn() -> bool| {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(vec![vec![1u8; 60 << 10]; 200]);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            drop(vec![vec![1u8; 16 << 20]; 4]);
            let holds = until(seconds, fact);
            stop.store(true, Ordering::Relaxed);
            holds
        })
    };
    case(test, "none", &[("TESSALLOC_PURGE_DELAY", "0"), ("TESSALLOC_IDLE_DELAY", "1h")], || {
        assert!(under_load(20, &|| retained() < 32 * MIB), "{} held", retained());
    });
    case(test, "long", &[("TESSALLOC_PURGE_DELAY", "1h"), ("TESSALLOC_IDLE_DELAY", "1h")], || {
        assert!(!under_load(3, &|| retained() < 48 * MIB), "{} held", retained());
    });
}

#[test]
fn keep_is_what_an_idle_process_still_holds() {
    let test = "keep_is_what_an_idle_process_still_holds";
    case(test, "32 MiB", &[("TESSALLOC_IDLE_DELAY", "250ms"), ("TESSALLOC_KEEP", "32M")], || {
        drop(free_64_mib(4096, usize::MAX));
        assert!(until(20, || retained() < 36 * MIB), "{} held", retained());
        assert!(!until(2, || retained() < 31 * MIB), "{} held", retained());
        tessalloc::purge();
        assert!(retained() < 4 * MIB, "{} held after a purge", retained());
    });
}

#[test]
fn purge_holes_is_whether_pages_in_use_give_memory_back() {
    let test = "purge_holes_is_whether_pages_in_use_give_memory_back";
    // One block of 1 KiB in 64 stays: no page of 64 KiB comes free.
    let variables = [("TESSALLOC_IDLE_DELAY", "250ms"), ("TESSALLOC_PURGE_HOLES", "off")];
    case(test, "on", &variables[..1], || {
        let _kept = free_64_mib(1024, 64);
        assert!(until(20, || retained() < 16 * MIB), "{} held", retained());
    });
    case(test, "off", &variables, || {
        let _kept = free_64_mib(1024, 64);
        assert!(!until(3, || retained() < 48 * MIB), "{} held", retained());
        tessalloc::purge();
        assert!(retained() > 48 * MIB, "{} held after a purge", retained());
    });
}

#[test]
fn scavenger_is_whether_memory_goes_back_while_nobody_calls() {
    let test = "scavenger_is_whether_memory_goes_back_while_nobody_calls";
    case(test, "off", &[("TESSALLOC_SCAVENGER", "off"), ("TESSALLOC_IDLE_DELAY", "250ms")], || {
        drop(free_64_mib(4096, usize::MAX));
        assert!(!until(3, || retained() < 48 * MIB), "{} held", retained());
        tessalloc::purge();
        assert!(retained() < 4 * MIB, "{} held after a purge", retained());
    });
}

#[test]
fn thread_cache_is_what_a_thread_keeps_at_hand() {
    /// Bytes that count as used after a thread has freed all of so many blocks.
    fn kept_by_a_thread() -> i64 {
        const BLOCK_BYTES: usize = 1024;
        let work = || {
            let layout = Layout::from_size_align(BLOCK_BYTES, 8).expect("a layout");
            // SAFETY: the layout has a size; each block is freed once, with it.
            unsafe {
                // The first few of a size come from a slice that all sizes share, and that counts as a whole.
                let first: [*mut u8; 4] = std::array::from_fn(|_| std::alloc::alloc(layout));
                let before = stats().allocated_bytes as i64;
                let blocks: [*mut u8; 4096] = std::array::from_fn(|_| std::alloc::alloc(layout));
                assert!(blocks.iter().all(|block| !block.is_null()));
                blocks.iter().for_each(|block| std::alloc::dealloc(*block, layout));
                let kept = stats().allocated_bytes as i64 - before;
                first.iter().for_each(|block| std::alloc::dealloc(*block, layout));
                kept
            }
        };
        std::thread::spawn(work).join().expect("a thread of a test")
    }
    let test = "thread_cache_is_what_a_thread_keeps_at_hand";
    case(test, "default", &[], || {
        // A stack of one size has at most 32 KiB.
        let kept = kept_by_a_thread();
        assert!((20 << 10..=34 << 10).contains(&kept), "{kept}");
    });
    case(test, "none", &[("TESSALLOC_THREAD_CACHE", "0")], || {
        let kept = kept_by_a_thread();
        assert!((0..=9 << 10).contains(&kept), "8 blocks at most: {kept}");
        Opt::ThreadCacheBytes.set(64 << 20).unwrap();
        let kept = kept_by_a_thread();
        assert!(kept >= 20 << 10, "a thread that starts later: {kept}");
    });
}

/// The page table moves blocks on Linux only.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(tessalloc_sim)))]
fn move_large_is_whether_the_page_table_moves_blocks() {
    fn moves_for_growth() -> u64 {
        let mut block = vec![1u8; 24 << 20];
        // Behind it, so that it can't grow in place.
        let behind = vec![1u8; 24 << 20];
        let before = stats().remap_calls;
        block.reserve_exact(72 << 20);
        assert!(block.iter().all(|byte| *byte == 1) && behind.iter().all(|byte| *byte == 1));
        stats().remap_calls - before
    }
    let test = "move_large_is_whether_the_page_table_moves_blocks";
    let moves = |which, variables: &[(&str, &str)]| {
        let errors = case(test, which, variables, || eprintln!("moves {}", moves_for_growth()))?;
        let number = errors.lines().find_map(|line| line.strip_prefix("moves "));
        number.map(|number| number.parse::<u64>().expect("a number"))
    };
    let on = moves("on", &[("TESSALLOC_RESERVE", "1G")]);
    let off = moves("off", &[("TESSALLOC_RESERVE", "1G"), ("TESSALLOC_MOVE_LARGE", "0")]);
    assert_eq!(on, off.map(|moves| moves + 1));
}
