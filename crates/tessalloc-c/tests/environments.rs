//! Processes with limits, without address randomisation, with locked memory, under valgrind, and behind a seccomp filter.
mod support;
use std::process::Command;
use support::*;

#[test]
fn workload_in_all_modes() {
    for mode in MODES {
        passes(&compile("workload.c", mode, &[]), mode, &["8", "8000"]);
    }
}

#[test]
fn address_space_limited_to_1_gb() {
    says_ok(&mut in_shell("ulimit -v 1000000", &compile("workload.c", Mode::Preload, &[]), "4 8000"));
}

#[test]
fn address_space_limited_to_6_gb() {
    says_ok(&mut in_shell("ulimit -v 6000000", &compile("workload.c", Mode::Preload, &[]), "4 8000"));
}

#[test]
fn data_segment_limited_to_64_mb() {
    // Threads' stacks count too; with the usual 8 MB each, two of them would take a quarter.
    says_ok(&mut in_shell("ulimit -s 1024 && ulimit -d 65536", &compile("workload.c", Mode::Preload, &[]), "2 4000"));
}

#[test]
fn threads_with_small_stacks() {
    says_ok(&mut in_shell("ulimit -s 128", &compile("workload.c", Mode::Preload, &[]), "4 4000"));
}

#[test]
fn locked_memory() {
    let program = compile("locked.c", Mode::Preload, &[]);
    for when in ["early", "late"] {
        let mut command = command(&program, Mode::Preload, 120);
        let output = command.arg(when).output().expect("run locked");
        if output.status.code() == Some(77) {
            return skip(String::from_utf8_lossy(&output.stdout).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.ends_with("ok\n"), "{when}: {}", describe(&output));
    }
}

#[test]
fn without_address_randomisation() {
    if !need("setarch", &["util-linux"]) {
        return;
    }
    let program = compile("workload.c", Mode::Preload, &[]);
    let mut command = Command::new("setarch");
    command.args([std::env::consts::ARCH, "-R", "env"]).arg(format!("LD_PRELOAD={}", library().shared.display()));
    says_ok(command.arg(program).args(["4", "8000"]));
}

#[test]
fn behind_a_filter_without_membarrier() {
    let program = compile("no_membarrier.c", Mode::Preload, &[]);
    for what in ["errno", "more"] {
        passes(&program, Mode::Preload, &[what]);
    }
}

#[test]
fn under_valgrind() {
    if !need("valgrind", &["valgrind", "libc6-dbg"]) {
        return;
    }
    let program = compile("workload.c", Mode::Preload, &[]);
    // Only as a machine: our malloc itself runs, valgrind's own does not stand in.
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=none", "--error-exitcode=99"]).env("LD_PRELOAD", &library().shared);
    says_ok(command.arg(program).args(["2", "1000"]));
}

#[test]
fn under_memcheck_with_our_malloc() {
    if !need("valgrind", &["valgrind", "libc6-dbg"]) {
        return;
    }
    let program = compile("workload.c", Mode::Preload, &[]);
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=memcheck", "--soname-synonyms=somalloc=nouserintercepts", "--error-exitcode=99"]);
    says_ok(command.env("LD_PRELOAD", &library().shared).arg(program).args(["2", "1000"]));
}
