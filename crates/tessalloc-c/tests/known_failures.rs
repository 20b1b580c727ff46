//! Failures that other allocators had in the field, one test each; the numbers are those of `docs/known-failures.md`.
mod support;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use support::*;

/// The programs and the library of `tests/copies`, built once.
fn copies() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = target().join("copies");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--release", "--target-dir"]).arg(&folder);
        must(build.current_dir(package().join("tests/copies")));
        folder.join("release")
    })
}

/// `count` libraries with a copy of tessalloc each: files of their own, or the loader would take them for one.
fn copied_libraries(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let file = unique(&format!("copy{number}")).with_extension("so");
            std::fs::copy(copies().join("libcopies.so"), &file).expect("copy the library");
            file.display().to_string()
        })
        .collect()
}

/// A01: the allocator's first call is `free(NULL)`, `malloc_usable_size(NULL)` or `malloc`, before anything was initialised.
#[test]
fn known_a01_calls_before_initialisation() {
    for first in 0..3 {
        let define = format!("-DFIRST={first}");
        for mode in MODES {
            passes(&compile("known_a01.c", mode, &[&define]), mode, &[]);
        }
        for mode in DYNAMIC {
            for binding in ["-Wl,-z,now", "-Wl,-z,lazy"] {
                passes(&compile("known_a01.c", mode, &[&define, "-DWITH_IFUNC", binding]), mode, &[]);
            }
        }
    }
}

/// A01: a library preloaded beside ours, whose constructors run first.
#[test]
fn known_a01_constructor_of_another_preloaded_library() {
    let program = compile("known_a01.c", Mode::Preload, &["-DFIRST=0"]);
    for first in 0..3 {
        let early = compile_library("known_a01_library.c", &[&format!("-DFIRST={first}")]);
        for order in [[&library().shared, &early], [&early, &library().shared]] {
            let mut command = Command::new("env");
            command.arg(format!("LD_PRELOAD={} {}", order[0].display(), order[1].display()));
            says_ok(command.arg(&program));
        }
    }
}

/// A03: several copies in one process, with eight threads each.
#[test]
fn known_a03_copies_in_one_process() {
    let libraries = copied_libraries(4);
    let arguments: Vec<&str> = libraries.iter().map(String::as_str).collect();
    for mode in DYNAMIC {
        passes(&compile("known_a03.c", mode, &["-ldl"]), mode, &arguments);
        passes(&compile("known_a03.c", mode, &["-ldl"]), mode, &arguments[..2]);
    }
}

/// A05: growth to 128 GiB without a mapping for every block.
#[test]
fn known_a05_mappings_stay_few_at_128_gib() {
    for mode in [Mode::Preload, Mode::Static] {
        eprint!("{}", passes(&compile("known_a05.c", mode, &[]), mode, &[]));
    }
}

/// A09: destructors of thread keys that free and allocate after the allocator's own thread exit.
#[test]
fn known_a09_key_destructors_in_rounds_1_to_4() {
    for mode in MODES {
        passes(&compile("known_a09.c", mode, &[]), mode, &[]);
    }
}

/// A10: threads that free each other's blocks, while libraries come and go, some with a copy of tessalloc.
#[test]
fn known_a10_threads_and_dlopen() {
    let plugin = compile_library("plugin.cpp", &[]).display().to_string();
    let copy = copied_libraries(1).remove(0);
    for mode in DYNAMIC {
        passes(&compile("known_a10.c", mode, &["-ldl"]), mode, &[&plugin, &copy]);
    }
}

/// A11: tessalloc as Rust's allocator and glibc's malloc side by side at thread exit.
#[test]
fn known_a11_rust_allocator_beside_glibc_at_thread_exit() {
    says_ok(&mut command(&copies().join("thread_exit"), Mode::Shared, 120));
}

/// A12: what an idle service of eight threads keeps.
#[test]
fn known_a12_idle_service_gives_memory_back() {
    eprint!("{}", passes(&compile("known_a12.c", Mode::Preload, &[]), Mode::Preload, &[]));
}

/// E03: a thread that only frees.
#[test]
fn known_e03_consumer_that_only_frees() {
    let program = compile("known_e03.c", Mode::Preload, &[]);
    // The project's own bar, and the shape of the report: 16 threads and 370 MiB.
    for [producers, live] in [["4", "90"], ["16", "370"]] {
        eprint!("{}", passes(&program, Mode::Preload, &[producers, live]));
    }
}

/// E05: over-aligned small blocks through the sized free.
#[test]
fn known_e05_sized_free_of_every_size_and_alignment() {
    says_ok(&mut command(&copies().join("sized_free"), Mode::Shared, 120));
}

/// E11: libraries loaded and unloaded 5,000 times, whose threads outlive them; alone, and in a process on tessalloc.
#[test]
fn known_e11_load_and_unload() {
    let program = compile("known_e11.c", Mode::Preload, &["-ldl"]);
    let stripped = unique("stripped").with_extension("so");
    must(Command::new("objcopy").arg("--strip-debug").arg(copies().join("libcopies.so")).arg(&stripped));
    for mode in [Mode::Shared, Mode::Preload] {
        let libraries: Vec<PathBuf> = (0..45).map(|_| unique("loaded").with_extension("so")).collect();
        for library in &libraries {
            std::fs::copy(&stripped, library).expect("copy the library");
        }
        let mut command = command(&program, mode, 120);
        let output =
            command.env("TESSALLOC_STATS", "on").arg("5000").args(&libraries).output().expect("start the program");
        let text = describe(&output);
        assert!(output.status.success() && output.stdout.ends_with(b"ok\n"), "{text}");
        // The copies' figures are not the process's: they say nothing as it ends.
        assert_eq!(output.stderr.is_empty(), mode == Mode::Shared, "{text}");
        for library in libraries {
            // One was moved in the place of another.
            let _ = std::fs::remove_file(library);
        }
    }
}

/// The copies' thread-local words need no room that the C library would have to keep for them.
#[test]
fn libraries_use_no_static_thread_locals() {
    let library = copied_libraries(1).remove(0);
    let dynamic = must(Command::new("readelf").args(["--wide", "--dynamic", "--relocs", &library]));
    assert!(!dynamic.contains("STATIC_TLS") && !dynamic.contains("TPOFF"), "{dynamic}");
    assert!(dynamic.contains("DTPMOD64") || dynamic.contains("TLSDESC"), "{dynamic}");
}

/// A pointer of somebody else in `free` is reported and ends the process by SIGABRT.
#[test]
fn foreign_pointers_are_reported() {
    let program = compile("foreign.c", Mode::Preload, &[]);
    for kind in ["stack", "global", "mapped", "low", "high", "code", "unused", "realloc", "large twice"] {
        // Without `timeout`, which would hide the signal.
        let mut command = Command::new(&program);
        let output = command.env("LD_PRELOAD", &library().shared).arg(kind).output().expect("run foreign");
        assert_eq!(output.status.signal(), Some(6), "{kind}: {}", describe(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("tessalloc"), "{kind}: the report does not name its author: {}", describe(&output));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("after"), "{kind}: free returned");
    }
}

/// Fork from a threaded program.
#[test]
fn fork_from_threads() {
    for mode in [Mode::Preload, Mode::Static] {
        passes(&compile("fork.c", mode, &[]), mode, &[]);
    }
}

/// Threads that come and go leave nothing behind.
#[test]
fn thread_churn_keeps_memory_flat() {
    eprint!("{}", passes(&compile("thread_churn.c", Mode::Preload, &[]), Mode::Preload, &[]));
}
