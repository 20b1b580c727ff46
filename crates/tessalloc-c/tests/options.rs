//! Options from C: the table, units and ranges, what the environment gives, and what is said of its faults.
mod support;
use support::*;

#[test]
fn limits_in_all_modes() {
    for mode in MODES {
        passes(&compile("limits.c", mode, &[]), mode, &[]);
    }
}

#[test]
fn options_in_all_modes() {
    for mode in MODES {
        let program = compile("options.c", mode, &[]);
        let mut command = command(&program, mode, 120);
        command.env("TESSALLOC_PURGE_DELAY", "3s").env("TESSALLOC_MAX_WARNINGS", "30");
        command.env("TESSALLOC_KEEP", "many").env("TESSALLOC_PURGE_DELY", "1s");
        let output = command.output().expect("run options");
        assert!(output.status.success(), "{mode:?}: {}", describe(&output));
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"), "{mode:?}: {}", describe(&output));
        let errors = String::from_utf8_lossy(&output.stderr);
        for line in [
            "tessalloc: ignored TESSALLOC_KEEP: expected a size such as 64K or 2G, 0 to 1T, received many",
            "tessalloc: ignored TESSALLOC_PURGE_DELY: there is no such option; the nearest is TESSALLOC_PURGE_DELAY",
            "tessalloc: TESSALLOC_PURGE_DELAY=4s (set while running)",
            "tessalloc: TESSALLOC_KEEP=2G (set while running)",
            "tessalloc: TESSALLOC_SCAVENGER=on (default)",
        ] {
            assert_eq!(errors.lines().filter(|each| *each == line).count(), 1, "{mode:?}: {line}\n{errors}");
        }
        assert_eq!(errors.lines().filter(|line| line.contains("ignored")).count(), 2, "{mode:?}: {errors}");
    }
}
