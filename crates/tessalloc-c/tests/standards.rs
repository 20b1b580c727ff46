//! The malloc family to the letter: one C program in all four ways to come to a malloc.
mod support;
use support::*;

#[test]
fn standards_by_preload() {
    passes(&compile("standards.c", Mode::Preload, &[]), Mode::Preload, &[]);
}

#[test]
fn standards_by_shared_linking() {
    passes(&compile("standards.c", Mode::Shared, &[]), Mode::Shared, &[]);
}

#[test]
fn standards_static() {
    passes(&compile("standards.c", Mode::Static, &[]), Mode::Static, &[]);
}

#[test]
fn standards_static_pie() {
    passes(&compile("standards.c", Mode::StaticPie, &[]), Mode::StaticPie, &[]);
}

#[test]
fn standards_compiled_by_clang() {
    // A second compiler where there is one.
    if have("clang") {
        passes(
            &compile_with("clang", "standards.c", Mode::Preload, &["-Wno-unknown-warning-option"]),
            Mode::Preload,
            &[],
        );
    }
}

#[test]
fn header_is_valid_in_c_and_cpp() {
    for (compiler, language, standard) in
        [("gcc", "c", "c99"), ("gcc", "c", "c2x"), ("g++", "c++", "c++11"), ("g++", "c++", "c++20")]
    {
        let mut command = std::process::Command::new(compiler);
        command.args(["-x", language, &format!("-std={standard}"), "-pedantic-errors", "-Wall", "-Wextra", "-Werror"]);
        command.arg("-fsyntax-only").arg(package().join("include/tessalloc.h"));
        must(&mut command);
    }
}
