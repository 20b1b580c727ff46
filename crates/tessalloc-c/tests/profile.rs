//! Heap profiles of programs in C, and of programs that people use.
mod support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::*;

/// A profile as its readers take it apart.
struct Profile {
    /// Mean bytes between samples.
    mean: f64,
    /// Each stack's samples and bytes in use, and frames.
    stacks: Vec<(u64, u64, usize)>,
    text: String,
}

impl Profile {
    /// Strict: every line is one of the format.
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix("heap profile: ")).expect("the first line");
        let (sums, format) = head.split_once(" @ ").expect("the format");
        let mean = format.strip_prefix("heap_v2/").and_then(|mean| mean.parse().ok()).expect("the mean");
        let stacks: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).map(Self::stack).collect();
        assert_eq!(lines.next(), Some("MAPPED_LIBRARIES:"));
        assert!(lines.clone().any(|line| line.contains(" r-xp ")) && lines.all(|line| line.contains('-')));
        let sum = |part: fn(&(u64, u64, usize)) -> u64| stacks.iter().map(part).sum::<u64>();
        assert!(sums.starts_with(&format!("{}: {} [", sum(|stack| stack.0), sum(|stack| stack.1))), "{sums}");
        Self { mean, stacks, text }
    }

    fn stack(line: &str) -> (u64, u64, usize) {
        let (amounts, frames) = line.split_once(" @").expect("a stack");
        let numbers: Vec<u64> = amounts
            .split([':', '[', ']'])
            .map(str::trim)
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().expect("a number"))
            .collect();
        let [count, bytes, count_total, bytes_total] = numbers[..] else { panic!("four numbers: {line}") };
        assert!(count <= count_total && bytes <= bytes_total);
        let depth = frames
            .split_whitespace()
            .map(|frame| u64::from_str_radix(frame.strip_prefix("0x").expect("hexadecimal"), 16).expect("an address"));
        (count, bytes, depth.count())
    }

    /// Bytes in use as readers estimate them.
    fn bytes(&self) -> f64 {
        let estimate = |&(count, bytes, _): &(u64, u64, usize)| {
            let average = bytes as f64 / count as f64;
            if count == 0 { 0.0 } else { bytes as f64 / -(-average / self.mean).exp_m1() }
        };
        if self.mean <= 1.0 {
            self.stacks.iter().map(|stack| stack.1 as f64).sum()
        } else {
            self.stacks.iter().map(estimate).sum()
        }
    }
}

/// A run of `program` with a profile at its end, of each process a file.
fn profiled(program: &Path, arguments: &[&str], mode: Mode, rate: &str) -> (Command, PathBuf) {
    let folder = unique("profile");
    fs::create_dir_all(&folder).expect("create a folder");
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120", "env"]);
    if mode == Mode::Preload {
        // The second one brings the unwinder to programs that have none.
        command.arg(format!("LD_PRELOAD={} libgcc_s.so.1", library().shared.display()));
    }
    command.args(["TESSALLOC_PROFILE=on", &format!("TESSALLOC_PROFILE_RATE={rate}")]);
    command.arg(format!("TESSALLOC_PROFILE_FILE={}/%p", folder.display())).arg(program).args(arguments);
    (command, folder)
}

/// The only profile, or the one of the process that had the most in use.
fn largest(folder: &Path) -> Profile {
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    files.map(|file| Profile::read(&file)).max_by(|a, b| a.bytes().total_cmp(&b.bytes())).expect("a profile")
}

#[test]
fn profile_in_all_modes() {
    for mode in MODES {
        passes(&compile("profile.c", mode, &[]), mode, &[]);
    }
}

/// The sum is exact where all allocations are samples, and near the truth where some are. The call stacks are those of the program, also
/// where it is compiled without frame pointers.
#[test]
fn a_profile_at_exit_shows_what_was_not_freed() {
    const LEFT: f64 = 500.0 * 20_000.0;
    let program = compile("profile.c", Mode::Preload, &["-fomit-frame-pointer", "-rdynamic"]);
    for (rate, spread) in [("1", 0.02), ("64K", 0.25)] {
        let (mut command, folder) = profiled(&program, &["20000"], Mode::Preload, rate);
        says_ok(&mut command);
        let profile = largest(&folder);
        assert!((profile.bytes() / LEFT - 1.0).abs() < spread, "{rate}: {} of {LEFT}", profile.bytes());
        let deepest = profile.stacks.iter().max_by_key(|stack| stack.1).expect("a stack").2;
        // malloc, six calls of `deep`, and main at least.
        assert!(deepest >= 8, "{rate}: {deepest} frames: {}", profile.text);
        if have("google-pprof") {
            let file = fs::read_dir(&folder).expect("the folder").next().expect("a file").expect("an entry").path();
            let table = must(Command::new("google-pprof").args(["--text", "--cum"]).arg(&program).arg(&file));
            assert!(table.lines().any(|line| line.ends_with(" main")), "{table}");
        }
    }
    // Beside C++'s runtime nothing is to be brought along; in a static program neither.
    let program = compile("profile.c", Mode::Static, &[]);
    let (mut command, folder) = profiled(&program, &["20000"], Mode::Static, "1");
    says_ok(&mut command);
    assert!((largest(&folder).bytes() / LEFT - 1.0).abs() < 0.02);
}

/// What a program's profile says is in use is near what the statistics say at the same moment.
#[test]
fn profiles_of_real_programs_are_near_their_statistics() {
    if !need("python3", &["python3"]) {
        return;
    }
    let file = unique("python").with_extension("prof");
    let script = format!(
        "import ctypes, random\n\
         kept = [bytes(random.randrange(1, 60000)) for _ in range(3000)]\n\
         kept += [{{str(i): i}} for i in range(100000)]\n\
         t = ctypes.CDLL(None)\n\
         assert t.tessalloc_profile_dump(0, b'{}') == 0\n\
         value, size = ctypes.c_uint64(), ctypes.c_size_t(8)\n\
         assert t.tessalloc_ctl(b'allocated_bytes', ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)) == 0\n\
         print(value.value)",
        file.display()
    );
    let (mut command, _) = profiled(Path::new("python3"), &["-c", &script], Mode::Preload, "64K");
    // Python takes small objects from arenas of its own unless it is told not to.
    let output = command.env("PYTHONMALLOC", "malloc").output().expect("run python3");
    assert!(output.status.success(), "{}", describe(&output));
    let allocated: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of bytes");
    let profile = Profile::read(&file);
    let part = profile.bytes() / allocated;
    // Blocks are larger than what is asked for by an eighth at most, and by what large ones leave of their last 64 KiB.
    assert!(allocated > 90e6 && (0.8..1.05).contains(&part), "{} of {allocated} bytes", profile.bytes());
    assert!(profile.stacks.len() > 10, "{}", profile.text);

    if !need("node", &[]) {
        return;
    }
    let script = "const kept = Array.from({length: 800}, (_, i) => Buffer.allocUnsafeSlow(100000 + i).fill(1)); \
                  process.on('exit', () => console.log(kept.length))";
    let (mut command, folder) = profiled(Path::new("node"), &["-e", script], Mode::Preload, "64K");
    command.env("TESSALLOC_PROFILE_PEAK", "on").env("TESSALLOC_STATS", "on");
    let output = command.output().expect("run node");
    assert!(output.status.success(), "{}", describe(&output));
    let errors = String::from_utf8_lossy(&output.stderr);
    let row = errors.lines().find_map(|line| line.strip_prefix("allocated_peak_bytes")).expect("the statistics");
    let peak: f64 = row.split_whitespace().next().expect("a figure").parse().expect("a number of bytes");
    let bytes = largest(&folder).bytes();
    assert!(peak > 80e6 && (0.7..1.05).contains(&(bytes / peak)), "{bytes} of {peak} bytes");
}
