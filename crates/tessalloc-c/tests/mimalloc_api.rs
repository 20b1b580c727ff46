//! Programs written for mimalloc, against the header that maps its API onto ours.
mod support;
use std::path::PathBuf;
use std::process::Command;
use support::*;

const SOURCE: &str = "mimalloc_api.c";

/// Compiles the program as a language and standard, with warnings as errors and nothing that quiets them.
fn compile_as(compiler: &str, language: &str, standard: &str) -> PathBuf {
    let library = library();
    let program = unique(&format!("mimalloc_api-{standard}"));
    let mut command = Command::new(compiler);
    command.args(["-x", language, &format!("-std={standard}"), "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    // What the compiler knows of malloc would be folded away.
    command.arg("-fno-builtin");
    command.arg("-I").arg(&library.include).arg("-I").arg(library.include.join("tessalloc"));
    command.arg(package().join("tests/c").join(SOURCE)).arg("-o").arg(&program);
    let mut path = std::ffi::OsString::from("-Wl,-rpath,");
    path.push(&library.folder);
    command.arg("-L").arg(&library.folder).args(["-x", "none", "-ltessalloc"]).arg(path);
    must(&mut command);
    program
}

#[test]
fn mimalloc_api_in_c11_c17_and_cpp17() {
    for (compiler, language, standard) in [("gcc", "c", "c11"), ("gcc", "c", "c17"), ("g++", "c++", "c++17")] {
        passes(&compile_as(compiler, language, standard), Mode::Shared, &[]);
    }
}

#[test]
fn mimalloc_api_compiled_by_clang() {
    if have("clang") {
        passes(&compile_as("clang", "c", "c17"), Mode::Shared, &[]);
    }
}

#[test]
fn stl_allocators_hold_containers() {
    let include = format!("-I{}", library().include.join("tessalloc").display());
    for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
        passes(&compile("stl.cpp", Mode::Shared, &[&include, standard]), Mode::Shared, &[]);
    }
}
