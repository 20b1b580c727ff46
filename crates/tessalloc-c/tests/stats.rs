//! Statistics, queries, messages and errors from a C program.
mod support;
use std::process::Command;
use support::*;

#[test]
fn stats_in_all_modes() {
    for mode in MODES {
        passes(&compile("stats.c", mode, &[]), mode, &[]);
    }
}

#[test]
fn stats_json_is_json() {
    let program = compile("stats.c", Mode::Shared, &[]);
    let output = command(&program, Mode::Shared, 120).arg("json").output().expect("run stats");
    assert!(output.status.success(), "{}", describe(&output));
    if !need("python3", &["python3"]) {
        return;
    }
    let file = unique("stats").with_extension("json");
    std::fs::write(&file, &output.stdout).expect("write what was printed");
    let check = "import json, sys; it = json.load(open(sys.argv[1])); assert it['stats']['version'] == 2, it; \
                 assert it['process']['rss_bytes'] > 0 and it['classes'] and it['pages'], it";
    must(Command::new("python3").args(["-c", check]).arg(&file));
}

/// Errors that end the process are told first, and the function may leave in its own way.
#[test]
fn errors_are_told_before_the_end() {
    let program = compile("stats.c", Mode::Shared, &[]);
    for (case, said) in [
        ("foreign", "told: 3 tessalloc: cannot free: expected a block of this allocator"),
        ("twice", "told: 1 tessalloc: cannot free: expected a block in use"),
    ] {
        let output = command(&program, Mode::Shared, 120).arg(case).output().expect("run stats");
        assert_eq!(output.status.code(), Some(7), "{case}: {}", describe(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains(said), "{case}: {}", describe(&output));
    }
}
