//! An allocator in one given buffer, from a C program.
mod support;
use std::process::Command;
use support::*;

#[test]
fn buffer_functions_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("buffer.c", mode, &[]), mode, &[]);
    }
}

#[test]
fn buffer_makes_no_system_call() {
    if !need("strace", &["strace"]) {
        return;
    }
    let program = compile("buffer.c", Mode::Static, &[]);
    let calls = unique("calls");
    must(Command::new("strace").arg("-f").arg("-o").arg(&calls).arg(program));
    let calls = std::fs::read_to_string(calls).expect("strace's file");
    let marks: Vec<usize> =
        calls.lines().enumerate().filter_map(|(at, line)| line.contains("mark").then_some(at)).collect();
    assert_eq!(marks.len(), 2, "{calls}");
    assert_eq!(marks[1], marks[0] + 1, "calls between the marks: {calls}");
}

#[test]
fn a_block_freed_twice_ends_the_process() {
    let program = compile("buffer.c", Mode::Shared, &[]);
    let output = command(&program, Mode::Shared, 20).arg("twice").output().expect("run buffer");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("tessalloc: cannot free: expected a block"), "{text}");
}
