//! `TESSALLOC_DEFAULT_…` where the crate is compiled: the values become the defaults, and one that an option does not take stops the
//! build. Builds the example anew, for this machine.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;
use std::process::{Command, Output};

fn example(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "tessalloc", "--example", "words"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-in"));
    command.env_remove("TESSALLOC_RESERVE").envs(variables.iter().copied());
    command.output().unwrap_or_else(|error| panic!("Cannot start {command:?}: {error}"))
}

#[test]
fn values_of_the_build_are_the_defaults_and_bad_ones_stop_it() {
    let given = [("TESSALLOC_DEFAULT_VERBOSE", "on"), ("TESSALLOC_DEFAULT_RESERVE", "128MiB")];
    let output = example(&given);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.contains("tessalloc: reserved 128 MiB of address space\n"), "{errors}");

    let output = example(&[given[0], given[1], ("TESSALLOC_RESERVE", "64M")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("tessalloc: reserved 64 MiB of address space\n"), "the environment is stronger: {errors}");

    for bad in ["2T", "10s", ""] {
        let output = example(&[("TESSALLOC_DEFAULT_RESERVE", bad)]);
        let errors = String::from_utf8_lossy(&output.stderr);
        let reason = "cannot build with TESSALLOC_DEFAULT_RESERVE: expected a value that the option takes";
        assert!(!output.status.success() && errors.contains(reason), "{bad:?}: {errors}");
    }
}
