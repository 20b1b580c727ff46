//! Arenas of tessalloc.h, from a C program.
mod support;
use support::*;

#[test]
fn arena_functions_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("arena.c", mode, &[]), mode, &[]);
    }
}

#[test]
fn errors_are_said_in_words_to_who_wants_to_be_told() {
    let program = compile("arena.c", Mode::Shared, &[]);
    let mut command = command(&program, Mode::Shared, 60);
    let output = command.env("TESSALLOC_VERBOSE", "1").output().expect("run arena");
    assert!(output.status.success(), "{}", describe(&output));
    let errors = String::from_utf8_lossy(&output.stderr);
    for line in [
        "tessalloc: Cannot make an arena: expected at least 65536 bytes from a multiple of 65536 on, received 0",
        "tessalloc: Cannot make an arena: expected memory, received null",
        "tessalloc: Cannot make an arena: expected at most 128 at a time, received one more",
        "tessalloc: Cannot release an arena: expected nothing in it, received 1048576 bytes in use and 1 heaps bound",
    ] {
        assert_eq!(errors.lines().filter(|each| *each == line).count(), 1, "{line}\n{errors}");
    }
}
