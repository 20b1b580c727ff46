//! A program whose global allocator is a buffer makes no system call for memory, from its first block on: strace looks.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::process::Command;

use tessalloc::Buffer;

#[path = "../../tessalloc-c/tests/support/mod.rs"]
mod support;

#[global_allocator]
static HEAP: Buffer<{ 1 << 20 }> = Buffer::new();

/// Set in the child.
const CHILD: &str = "TESSALLOC_TEST_CALLS";
const BEGIN: &str = "buffer: begin\n";
const END: &str = "buffer: end\n";

#[test]
fn no_system_call_after_the_start() {
    if !support::need("strace", &["strace"]) {
        return;
    }
    let calls = support::unique("calls");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&calls).arg(std::env::current_exe().expect("the test program has a path"));
    support::must(strace.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(CHILD, "1"));
    let calls = std::fs::read_to_string(calls).expect("strace's file");
    let is_mark = |line: &&str, mark: &str| line.contains("write(2") && line.contains(mark.trim_end());
    let between = calls.lines().skip_while(|line| !is_mark(line, BEGIN)).skip(1);
    let between: Vec<&str> = between.take_while(|line| !is_mark(line, END)).collect();
    assert!(
        calls.lines().any(|line| is_mark(&line, BEGIN)) && calls.lines().any(|line| is_mark(&line, END)),
        "{calls}"
    );
    assert!(between.is_empty(), "calls between the marks: {between:#?}");
}

/// Writes in one system call, without a lock and without a block.
fn say(text: &str) {
    // SAFETY: the pointer and the length of one live text.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    say(BEGIN);
    let mut words = BTreeMap::new();
    for number in 0..2000_u32 {
        words.insert(number.to_string(), vec![number; number as usize % 50]);
    }
    words.retain(|_, numbers| numbers.len() % 3 == 0);
    let mut grown = Vec::new();
    while grown.len() < 1 << 20 && grown.try_reserve(grown.len() + 1000).is_ok() {
        grown.resize(grown.capacity(), 1_u8);
    }
    let (count, bytes) = (words.len(), grown.len());
    drop((words, grown));
    say(END);
    // Each number below 50 that is a multiple of three, 40 times over.
    assert_eq!(count, 17 * 40);
    assert!(bytes >= 100_000, "{bytes} bytes until the buffer was full");
}
