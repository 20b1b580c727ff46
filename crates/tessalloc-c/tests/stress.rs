//! Stress of the C library, scenario by scenario (`c/stress.c`): threads by hundreds, forks, signals, ends of stacks, cancellation, and
//! exit while others allocate. Each line says what was done and how long it took.
//!
//! `TESSALLOC_LONG=1` repeats everything twenty times, in all four ways to come to a malloc:
//!
//!     TESSALLOC_LONG=1 cargo test -p tessalloc-c --test stress -- --nocapture --test-threads=1
#![cfg(target_os = "linux")]

mod support;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use support::{MODES, Mode, command, compile, says_ok};

/// What a scenario may take in the long form, in seconds; ten times what it takes.
const SECONDS_MAX: u32 = 1200;

fn program(mode: Mode) -> PathBuf {
    static BUILT: Mutex<Vec<(Mode, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().expect("it compiles");
    if let Some((_, program)) = built.iter().find(|(of, _)| *of == mode) {
        return program.clone();
    }
    let program = compile("stress.c", mode, &[]);
    built.push((mode, program.clone()));
    program
}

fn stress(scenario: &str, short: u32) {
    static IS_LONG: OnceLock<bool> = OnceLock::new();
    let is_long = *IS_LONG.get_or_init(|| std::env::var_os("TESSALLOC_LONG").is_some());
    let mut last = String::new();
    let (modes, repeats) = if is_long { (&MODES[..], short * 20) } else { (&[Mode::Preload][..], short) };
    for mode in modes {
        let program = program(*mode);
        let start = Instant::now();
        let mut run = command(&program, *mode, SECONDS_MAX);
        let text = says_ok(run.env_remove("TESSALLOC_LONG").args([scenario, &repeats.to_string()]));
        let done = text.lines().next().unwrap_or("");
        println!("stress: {scenario} ({mode:?}): {done}, {:.1} s", start.elapsed().as_secs_f64());
        last = done.to_owned();
    }
    println!("covered: {scenario}, each of {} ways to come to a malloc: {last}", modes.len());
}

#[test]
fn threads_by_hundreds_hand_blocks_over() {
    stress("hand-over", 2);
}

#[test]
fn threads_come_and_go() {
    stress("churn", 1000);
}

#[test]
fn threads_fork_while_others_allocate() {
    stress("forks", 4);
}

#[test]
fn signals_interrupt_the_allocator() {
    stress("signals", 40);
}

#[test]
fn calls_at_the_end_of_a_stack() {
    stress("stacks", 40);
}

#[test]
fn threads_are_cancelled_while_they_allocate() {
    stress("cancel", 40);
}

/// A19 of `docs/known-failures.md`.
#[test]
fn known_a19_exit_while_others_allocate() {
    stress("exit", 40);
}
