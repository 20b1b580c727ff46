//! Operators new and delete: forms, handlers, exceptions, replacement, and processes without a C++ runtime.
mod support;
use std::os::unix::process::ExitStatusExt;
use support::*;

#[test]
fn operators_in_all_modes() {
    for mode in MODES {
        passes(&compile("operators.cpp", mode, &[]), mode, &[]);
    }
}

#[test]
fn operators_compiled_with_optimisation_and_without() {
    for level in ["-O0", "-O3"] {
        passes(&compile("operators.cpp", Mode::Preload, &[level]), Mode::Preload, &[]);
    }
}

#[test]
fn operators_compiled_by_clang() {
    // A second compiler where there is one.
    if have("clang++") {
        passes(&compile_with("clang++", "operators.cpp", Mode::Preload, &[]), Mode::Preload, &[]);
    }
}

#[test]
fn handler_that_frees_lets_new_succeed() {
    let program = compile("handler_frees.cpp", Mode::Preload, &[]);
    says_ok(&mut in_shell("ulimit -v 1000000", &program, ""));
}

#[test]
fn replaced_operators_are_reached_by_all_forms() {
    for mode in [Mode::Preload, Mode::Shared] {
        passes(&compile("replaced_operators.cpp", mode, &[]), mode, &[]);
    }
}

#[test]
fn bad_alloc_is_thrown_where_libstdcxx_brings_no_thrower() {
    for mode in MODES {
        passes(&compile("bad_alloc_only.cpp", mode, &[]), mode, &[]);
    }
}

#[test]
fn runtime_of_a_plugin_is_found() {
    let plugin = compile_library("plugin.cpp", &[]);
    for mode in DYNAMIC {
        passes(&compile("plugin_host.c", mode, &["-ldl"]), mode, &[&plugin.display().to_string()]);
    }
}

#[test]
fn without_a_runtime_nothrow_is_null_and_new_says_why_it_aborts() {
    for mode in MODES {
        let output = command(&compile("no_runtime.c", mode, &[]), mode, 60).output().expect("run no_runtime");
        // `timeout` passes the signal of its child on by dying of it, or as 128 + signal.
        let aborted = output.status.signal() == Some(6) || output.status.code() == Some(134);
        assert!(aborted, "{}", describe(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "still here\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("tessalloc: operator new: out of memory"), "{said}");
    }
}
