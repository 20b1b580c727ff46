//! Guarded blocks of programs in C, and of programs that people use.
mod support;
use std::process::Command;

use support::*;

#[test]
fn guarded_in_all_modes() {
    for mode in MODES {
        passes(&compile("guarded.c", mode, &[]), mode, &[]);
    }
}

/// A program without faults does what it does, with every tenth of its blocks guarded.
#[test]
fn programs_without_faults_pass() {
    if !need("python3", &["python3"]) {
        return;
    }
    let script = "import json, random; random.seed(1); \
                  text = json.dumps([{str(i): random.random()} for i in range(20000)]); \
                  print(len(json.loads(text)), hash(text.count('0.')) > 0)";
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120", "env", &format!("LD_PRELOAD={}", library().shared.display())]);
    command.args(["TESSALLOC_GUARDED_SAMPLE_RATE=10", "TESSALLOC_GUARDED_MAX=64K", "PYTHONMALLOC=malloc"]);
    assert_eq!(must(command.args(["python3", "-c", script])), "20000 True\n");
}
