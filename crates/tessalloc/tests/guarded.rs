//! Guarded blocks: what is done wrong ends the process there and then. Each fault is in a child.
#![cfg(unix)]

mod support;

use std::alloc::Layout;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::alone;
use tessalloc::guarded::{self, GuardOptions};
use tessalloc::{Heap, Which, profile, raw, visit_blocks};

/// Which fault a child is to make.
const FAULT: &str = "TESSALLOC_TEST_FAULT";

fn usable(block: *mut u8) -> usize {
    // SAFETY: a block in use, or one that was freed: the fault under test.
    unsafe { raw::usable_size(block) }
}

fn free(block: *mut u8) {
    // SAFETY: as above.
    unsafe { raw::free(block) };
}

/// A size whose class has room behind it: a guarded block alone has no more than what was asked for.
const SIZE: usize = 1000;

fn is_guarded(block: *mut u8) -> bool {
    usable(block) == SIZE
}

/// Does what a child is asked to; returns only if nothing noticed.
#[test]
fn child() {
    let Ok(fault) = std::env::var(FAULT) else { return };
    guarded::start(&GuardOptions::new().rate(1).precise(fault == "past the end of malloc"));
    let exact = raw::aligned(SIZE, 8);
    let rough = raw::aligned(20, 16);
    let freed = raw::malloc(SIZE);
    free(freed);
    // SAFETY: up to the end it is all there.
    unsafe {
        exact.write_bytes(1, SIZE);
        rough.write_bytes(1, 20);
    }
    println!("ready");
    // SAFETY: none: the faults under test.
    unsafe {
        match fault.as_str() {
            "past the end" => exact.add(SIZE).write_volatile(1),
            "read past the end" => _ = exact.add(SIZE).read_volatile(),
            "past the end of malloc" => raw::malloc(24).add(24).write_volatile(1),
            "past the end of a heap's" => {
                let heap = Heap::new().expect("memory");
                heap.alloc(Layout::new::<[u64; 4]>()).expect("memory").add(32).write_volatile(1);
            }
            "into the slack" => {
                rough.add(20).write_volatile(1);
                free(rough);
            }
            "use after free" => freed.write_volatile(1),
            "free twice" => free(freed),
            "size after free" => _ = usable(freed),
            "free inside" => free(exact.add(8)),
            other => panic!("no such fault: {other}"),
        }
    }
    println!("survived");
}

fn output_of(fault: &str) -> Output {
    let output = Command::new(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(FAULT, fault)
        .output()
        .expect("the test program starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ready") && !text.contains("survived"), "{fault}: {text}");
    output
}

#[test]
fn touching_what_is_not_there_faults() {
    for fault in
        ["past the end", "read past the end", "past the end of malloc", "past the end of a heap's", "use after free"]
    {
        let signal = output_of(fault).status.signal();
        assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{fault}: {signal:?}");
    }
}

#[test]
fn what_a_free_can_tell_is_reported() {
    for (fault, said) in [
        ("into the slack", "corrupted memory: a guarded block was written past its end at 0x"),
        ("free twice", "cannot free: expected a block in use, received 0x"),
        ("size after free", "cannot tell the usable size: expected a block in use, received 0x"),
        ("free inside", "cannot free: expected a block of this allocator, received 0x"),
    ] {
        let output = output_of(fault);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{fault}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{fault}: {output:?}");
    }
}

/// A guard keeps what was written there before; memory that was one is no memory that reads zero.
#[test]
fn what_was_a_guard_is_cleared_for_who_wants_zeroes() {
    const COUNT: usize = 200;
    let _alone = alone();
    for _ in 0..3 {
        let dirty: Vec<_> = (0..COUNT).map(|_| raw::malloc(200 << 10)).collect();
        for block in dirty {
            // SAFETY: a block of this size, freed once.
            unsafe { block.write_bytes(0xAB, 200 << 10) };
            free(block);
        }
        guarded::start(&GuardOptions::new().rate(1));
        let guarded: Vec<_> = (0..COUNT).map(|_| raw::malloc(100 << 10)).collect();
        guarded.into_iter().for_each(free);
        guarded::stop();
        let zeroed: Vec<_> = (0..COUNT).map(|_| raw::calloc(200 << 10, 1)).collect();
        for block in zeroed {
            // SAFETY: a block of this size.
            let bytes = unsafe { std::slice::from_raw_parts(block, 200 << 10) };
            assert!(bytes.iter().all(|byte| *byte == 0), "a zeroed block reads zero");
            free(block);
        }
    }
}

#[test]
fn all_sizes_and_alignments_are_guarded_at_a_rate_of_one() {
    let _alone = alone();
    let before = tessalloc::page_stats().other().large_blocks;
    guarded::start(&GuardOptions::new().rate(1));
    let mut blocks = Vec::new();
    for size in [0, 1, 7, 16, 100, 4096, 61_440, 65_536, 200_000, 5 << 20] {
        for align in [1, 8, 16, 64, 4096, 65_536] {
            let block = if size % 3 == 0 { raw::zalloc_aligned(size, align) } else { raw::aligned(size, align) };
            assert!(block.addr().is_multiple_of(align) && raw::is_ours(block));
            assert!(usable(block) == size || size % 3 == 0 && usable(block) == raw::good_size_aligned(size, align));
            // SAFETY: the block holds so much.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(block, usable(block));
                assert!(size % 3 != 0 || bytes.iter().all(|byte| *byte == 0));
                bytes.fill(0xab);
            }
            blocks.push(block);
        }
    }
    // Growing takes a new one, and leaves the contents.
    // SAFETY: a block of ours.
    let grown = unsafe { raw::realloc(blocks[0], 3000) };
    assert_eq!(usable(grown), 3000);
    blocks[0] = grown;
    guarded::stop();
    assert_eq!(tessalloc::page_stats().other().large_blocks, before + blocks.len() as u64);
    blocks.into_iter().for_each(free);
    assert_eq!(tessalloc::page_stats().other().large_blocks, before);
}

#[test]
fn one_of_so_many_is_guarded_and_of_these_sizes_alone() {
    const COUNT: usize = 20_000;
    const RATE: u64 = 50;
    let _alone = alone();
    let count_of = |options: &GuardOptions| -> Vec<bool> {
        guarded::start(options);
        let found = (0..COUNT).map(|_| {
            let block = raw::aligned(SIZE, 8);
            let found = is_guarded(block);
            free(block);
            found
        });
        let found = found.collect();
        guarded::stop();
        found
    };
    let number = |found: &[bool]| found.iter().filter(|found| **found).count() as f64;
    let options = GuardOptions::new().rate(RATE);
    let (first, second) = (count_of(&options.seed(7)), count_of(&options.seed(7)));
    assert_eq!(first, second, "the seed makes the choice");
    assert_ne!(first, count_of(&options.seed(8)));
    let expected = COUNT as f64 / RATE as f64;
    for found in [&first, &count_of(&options), &count_of(&options)] {
        // Distances are even from 1 to 99: five standard deviations.
        assert!((number(found) - expected).abs() < 5.0 * (expected / 3.0).sqrt(), "{}", number(found));
    }
    assert_eq!(number(&count_of(&options.sizes(SIZE as u64 + 1, 1 << 20))), 0.0);
    assert_eq!(number(&count_of(&options.sizes(0, SIZE as u64 - 1))), 0.0);
    assert_eq!(number(&count_of(&GuardOptions::new().rate(1).sizes(SIZE as u64, SIZE as u64))), COUNT as f64);
    assert!(!guarded::is_on() && !is_guarded(raw::aligned(SIZE, 8)));
}

/// There are never more than 4,096, for two mappings each; what lies beyond is served as usual.
#[test]
fn mappings_stay_few() {
    let _alone = alone();
    guarded::start(&GuardOptions::new().rate(1));
    let blocks: Vec<_> = (0..6000).map(|_| raw::aligned(SIZE, 8)).collect();
    assert!(blocks.iter().all(|block| !block.is_null()));
    let guarded = blocks.iter().filter(|block| is_guarded(**block)).count();
    guarded::stop();
    assert!((3500..=4096).contains(&guarded), "{guarded}");
    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells").lines().count();
        assert!(maps < 2 * 4096 + 500, "{maps}");
    }
    blocks.into_iter().for_each(free);
    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells").lines().count();
        assert!(maps < 2 * 256 + 500, "{maps}");
    }
}

#[test]
fn heaps_take_their_guarded_blocks_with_them() {
    let _alone = alone();
    let before = tessalloc::page_stats().other().large_blocks;
    profile::start(1).expect("a profile");
    guarded::start(&GuardOptions::new().rate(1));
    let in_use = || profile::totals().in_use.samples;
    let samples = in_use();
    for ends in 0..3 {
        let mut heap = Heap::new().expect("memory");
        let layout = Layout::from_size_align(SIZE, 8).expect("a layout");
        let blocks: Vec<_> = (0..20).map(|_| heap.alloc(layout).expect("memory")).collect();
        assert!(blocks.iter().all(|block| is_guarded(block.as_ptr()) && heap.contains(block.as_ptr())));
        assert_eq!(in_use(), samples + 20, "a guarded block may be a sample too");
        let mut seen = Vec::new();
        heap.visit(|block| {
            seen.push(block.address);
            assert_eq!(block.bytes, SIZE);
            true
        });
        seen.sort();
        let mut expected: Vec<_> = blocks.iter().map(|block| block.as_ptr()).collect();
        expected.sort();
        assert_eq!(seen, expected);
        match ends {
            0 => {
                // SAFETY: of this heap, with this layout.
                blocks.iter().for_each(|block| unsafe { heap.dealloc(*block, layout) });
                assert_eq!(heap.allocated_bytes(), 0);
            }
            1 => {
                heap.clear();
                assert_eq!(heap.allocated_bytes(), 0);
                heap.destroy();
            }
            _ => {
                heap.delete();
                blocks.iter().for_each(|block| free(block.as_ptr()));
            }
        }
        assert_eq!(in_use(), samples);
    }
    guarded::stop();
    profile::stop();
    assert_eq!(tessalloc::page_stats().other().large_blocks, before);
}

/// A walk that comes while a guarded block begins, here by the function that takes its call stack: what is told is the block, and not
/// what had its record before.
#[test]
fn walks_tell_guarded_blocks_that_begin() {
    let _alone = alone();
    const SIZE: usize = 1357;
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    fn walk(_: &mut [usize]) -> usize {
        let _ = visit_blocks(Which::All, |_, block| {
            TOLD.fetch_add(usize::from(block.bytes == SIZE), Ordering::Relaxed);
            true
        });
        0
    }
    profile::set_unwinder(Some(walk));
    guarded::start(&GuardOptions::new().rate(1).sizes(SIZE as u64, SIZE as u64));
    profile::start(1).expect("in range");
    let block = raw::malloc(SIZE);
    profile::stop();
    guarded::stop();
    profile::set_unwinder(None);
    free(block);
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
}
