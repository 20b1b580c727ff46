//! Functions of the program for messages and errors. Each case that ends the process runs in one of its own.
//! The program's allocator is the one under test: the functions allocate by it.

mod support;

use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::alone;
use tessalloc::options::Opt;
use tessalloc::{ErrorKind, ErrorReport, Heap, HeapOptions, Tessalloc, raw};

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ERRORS: Mutex<Vec<(ErrorKind, usize, usize, String)>> = Mutex::new(Vec::new());

fn keep_message(text: &str) {
    // Far more than what lies ready: the function's allocations take slow paths.
    let noise: Vec<Vec<u8>> = (1..2000).map(|size| vec![1; size]).collect();
    std::hint::black_box(&noise);
    MESSAGES.lock().unwrap().push(text.to_owned());
}

fn keep_error(error: &ErrorReport<'_>) {
    let noise: Vec<Vec<u8>> = (1..2000).map(|size| vec![1; size]).collect();
    std::hint::black_box(&noise);
    ERRORS.lock().unwrap().push((error.kind, error.address, error.bytes, error.text.to_owned()));
}

const CHILD: &str = "TESSALLOC_TEST_CASE";

/// Runs the named test again in a process of its own, where it takes `case`.
fn child(test: &str, case: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, case).envs(env.iter().copied());
    command.output().unwrap()
}

fn case() -> Option<String> {
    std::env::var(CHILD).ok()
}

#[test]
fn refused_requests_are_told() {
    let _alone = alone();
    tessalloc::set_on_error(Some(keep_error));
    let too_much = std::hint::black_box(isize::MAX as usize) + 1;
    assert!(raw::malloc(too_much).is_null());
    assert!(raw::calloc(too_much, 2).is_null());
    assert!(raw::zalloc_aligned(10, 3).is_null());
    // Address space for half of all there is does not exist.
    assert!(raw::malloc(1 << 62).is_null());
    let heap = HeapOptions::new().hard_limit(1000).build().unwrap();
    assert!(heap.malloc(5000).is_null() && heap.aligned_at(10, 3, 0).is_null());
    tessalloc::set_on_error(None);
    assert!(raw::malloc(too_much).is_null(), "told to nobody");
    let errors = std::mem::take(&mut *ERRORS.lock().unwrap());
    let seen: Vec<_> = errors.iter().map(|(kind, _, bytes, _)| (*kind, *bytes)).collect();
    let expected = [
        (ErrorKind::Overflow, too_much),
        (ErrorKind::Overflow, usize::MAX),
        (ErrorKind::InvalidArgument, 10),
        (ErrorKind::OutOfMemory, 1 << 62),
        (ErrorKind::OutOfMemory, 5000),
        (ErrorKind::InvalidArgument, 10),
    ];
    assert_eq!(seen, expected, "{errors:?}");
    assert!(errors[3].3.contains("4611686018427387904 bytes") && errors[3].3.contains("out of memory"), "{errors:?}");
}

#[test]
fn an_error_inside_the_function_is_not_told_to_it() {
    let _alone = alone();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn fails_too(_: &ErrorReport<'_>) {
        // ORDER: Relaxed: one thread.
        CALLS.fetch_add(1, Ordering::Relaxed);
        assert!(raw::malloc(usize::MAX).is_null());
    }
    tessalloc::set_on_error(Some(fails_too));
    assert!(raw::malloc(usize::MAX).is_null());
    tessalloc::set_on_error(None);
    // ORDER: Relaxed: as above.
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[test]
fn misuse_is_told_before_the_process_ends() {
    fn say(error: &ErrorReport<'_>) {
        keep_error(error);
        let errors = ERRORS.lock().unwrap();
        println!("told: {:?} at {:#x}: {}", errors[0].0, errors[0].1, errors[0].3);
    }
    let wild = 0x1234_5678;
    if let Some(case) = case() {
        tessalloc::set_on_error(Some(say));
        tessalloc::set_output(Some(|text| print!("message: {text}")));
        // SAFETY: none: it is the misuse that is tried.
        unsafe {
            match case.as_str() {
                "foreign" => raw::free(core::ptr::without_provenance_mut(wild)),
                "usable" => drop(raw::usable_size(core::ptr::without_provenance(wild))),
                "twice" => {
                    let block = raw::malloc(300_000);
                    raw::free(block);
                    raw::free(block);
                }
                "no heap" => assert!(Heap::from_raw_checked(core::ptr::null_mut(), "try it").tag() == 0),
                _ => unreachable!(),
            }
        }
        return;
    }
    for (case, kind, text) in [
        (
            "foreign",
            "ForeignPointer at 0x12345678",
            "cannot free: expected a block of this allocator, received 0x12345678",
        ),
        ("usable", "ForeignPointer at 0x12345678", "cannot tell the usable size"),
        ("twice", "DoubleFree at 0x", "cannot free: expected a block in use"),
        ("no heap", "Misuse at 0x0", "cannot try it: expected a heap, received 0x0"),
    ] {
        let output = child("misuse_is_told_before_the_process_ends", case, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{case}: the process went on");
        assert!(said.contains(&format!("told: {kind}")), "{case}: {said}");
        assert!(said.contains(&format!("message: tessalloc: {text}")), "{case}: {said}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("cannot"), "{case}: the message went to the function alone: {errors}");
    }
}

#[test]
fn early_messages_are_said_again() {
    if case().is_some() {
        // By now the options were read, and their complaints written to standard error.
        tessalloc::set_output(Some(keep_message));
        let early = std::mem::take(&mut *MESSAGES.lock().unwrap());
        assert!(early.iter().all(|line| line.starts_with("tessalloc: ") && line.ends_with('\n')), "{early:?}");
        let complaints = early.iter().filter(|line| line.contains("TESSALLOC_PURGE_DELAY") && line.contains("soon"));
        assert_eq!(complaints.count(), 1, "{early:?}");
        tessalloc::set_output(None);
        tessalloc::set_output(Some(keep_message));
        assert!(MESSAGES.lock().unwrap().is_empty(), "said again once");
        return;
    }
    let output = child("early_messages_are_said_again", "early", &[("TESSALLOC_PURGE_DELAY", "soon")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {errors}", String::from_utf8_lossy(&output.stdout));
    assert!(errors.contains("TESSALLOC_PURGE_DELAY"), "it also went to standard error: {errors}");
}

#[test]
fn messages_from_inside_come_later_and_whole() {
    if case().is_some() {
        Opt::Verbose.set(1).unwrap();
        tessalloc::set_output(Some(keep_message));
        MESSAGES.lock().unwrap().clear();
        // One region of 64 MiB is used up: the next is reported from inside a gate.
        let blocks: Vec<Vec<u8>> = (0..100_000).map(|_| Vec::with_capacity(1000)).collect();
        drop(blocks);
        tessalloc::set_output(None);
        let messages = std::mem::take(&mut *MESSAGES.lock().unwrap());
        let reserved = |line: &&String| line.as_str() == "tessalloc: reserved 64 MiB of address space\n";
        assert!(messages.iter().filter(reserved).count() >= 1, "{messages:?}");
        return;
    }
    let output = child("messages_from_inside_come_later_and_whole", "inside", &[("TESSALLOC_RESERVE", "64M")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {errors}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn statistics_go_where_messages_go() {
    let _alone = alone();
    static LINES: AtomicUsize = AtomicUsize::new(0);
    fn count(text: &str) {
        // ORDER: Relaxed: one thread writes statistics.
        LINES.fetch_add(usize::from(text.ends_with('\n')), Ordering::Relaxed);
    }
    tessalloc::set_output(Some(count));
    tessalloc::print_stats();
    tessalloc::set_output(None);
    // ORDER: Relaxed: as above.
    assert!(LINES.load(Ordering::Relaxed) > tessalloc::Figure::ALL.len(), "a line for each figure at least");
}

/// Windows has no such hook: there the program prints its statistics itself.
#[cfg(unix)]
#[test]
fn statistics_are_printed_at_exit_on_demand() {
    if case().is_some() {
        return;
    }
    let output = child("statistics_are_printed_at_exit_on_demand", "exit", &[("TESSALLOC_STATS", "1")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("committed_peak_bytes") && errors.contains("block_bytes"), "{errors}");
}
