//! Programs written for mimalloc, against the header that maps its API onto ours.
mod support;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use support::*;

const SOURCE: &str = "mimalloc_api.c";

/// Compiles the program as a language and standard, with warnings as errors and nothing that quiets them.
fn compile_as(compiler: &str, language: &str, standard: &str) -> PathBuf {
    let library = library();
    let program = unique(&format!("mimalloc_api-{standard}"));
    let mut command = Command::new(compiler);
    command.args([
        "-x",
        language,
        &format!("-std={standard}"),
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-pthread",
    ]);
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

/// The names of mimalloc's API in a text that `follows` comes right behind.
fn names<'a>(text: &'a str, follows: &str) -> BTreeSet<&'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("mi_").map(|(at, _)| at).filter(|at| !text[..*at].ends_with(is_word));
    let ends = starts.map(|at| (at, at + text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at)));
    ends.filter(|(_, end)| text[*end..].starts_with(follows)).map(|(at, end)| &text[at..end]).collect()
}

#[test]
fn mimalloc_api_test_calls_every_function_that_is_mapped_at_least_100() {
    let read =
        |path: &str| std::fs::read_to_string(package().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let header = read("include/tessalloc/mimalloc.h") + &read("include/tessalloc/mimalloc-stats.h");
    let mapped: BTreeSet<&str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("TESSALLOC_MI "))
        .filter_map(|line| names(line.split_inclusive('(').next().unwrap_or(""), "(").into_iter().next())
        .collect();
    let program = read("tests/c/mimalloc_api.c");
    let called = names(&program, "(");
    let untested: Vec<_> = mapped.difference(&called).filter(|name| !program.contains(&format!("{name};"))).collect();
    assert!(untested.is_empty(), "no call of {untested:?}");
    let count = called.intersection(&mapped).count();
    assert!(count >= 100, "{count} functions are called");
}

#[test]
fn mimalloc_json_is_json() {
    let output = command(&compile_as("gcc", "c", "c17"), Mode::Shared, 120).arg("json").output().expect("run it");
    assert!(output.status.success(), "{}", describe(&output));
    if !need("python3", &["python3"]) {
        return;
    }
    let file = unique("mimalloc").with_extension("json");
    std::fs::write(&file, &output.stdout).expect("write what was printed");
    let check = "import json, sys; it = json.load(open(sys.argv[1])); assert it['stat_version'] == 5, it; \
                 assert it['process']['rss_current'] > 0 and len(it['malloc_bins']) == 74, it; \
                 assert it['reserved']['current'] > 0 and it['mmap_calls'] > 0, it";
    must(Command::new("python3").args(["-c", check]).arg(&file));
}

#[test]
fn stl_allocators_hold_containers() {
    let include = format!("-I{}", library().include.join("tessalloc").display());
    for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
        passes(&compile("stl.cpp", Mode::Shared, &[&include, standard]), Mode::Shared, &[]);
    }
}
