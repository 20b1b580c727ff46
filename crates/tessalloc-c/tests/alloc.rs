//! The allocation functions of tessalloc.h beyond the malloc family, from a C program.
mod support;
use support::*;

#[test]
fn alloc_functions_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("alloc.c", mode, &[]), mode, &[]);
    }
}

/// What watches the programs of these tests, if anything does, sees bugs in blocks of the library.
#[test]
fn bugs_are_seen_by_who_watches() {
    let program = compile("planted.c", Mode::Shared, &[]);
    passes(&program, Mode::Shared, &[]);
    for bug in ["use-after-free", "use-after-destroy", "use-of-uninitialised-memory"] {
        let output = command(&program, Mode::Shared, 60).arg(bug).output().expect("timeout starts");
        assert_eq!(output.status.success(), !is_watched(), "{bug}: {}", describe(&output));
    }
}
