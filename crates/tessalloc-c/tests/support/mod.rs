//! Builds the C library once, compiles C and C++ programs against it, and runs them.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the built library and its header are.
pub(crate) struct Library {
    pub(crate) shared: PathBuf,
    pub(crate) archive: PathBuf,
    pub(crate) include: PathBuf,
    pub(crate) folder: PathBuf,
}

/// How a program comes to its malloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Preload,
    Shared,
    Static,
    StaticPie,
}

pub(crate) const MODES: [Mode; 4] = [Mode::Preload, Mode::Shared, Mode::Static, Mode::StaticPie];
pub(crate) const DYNAMIC: [Mode; 2] = [Mode::Preload, Mode::Shared];

/// The package's own folder.
pub(crate) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for what the tests of this file make, emptied when they start.
pub(crate) fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tessalloc-c").join(env!("CARGO_CRATE_NAME"));
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("empty the tests' folder");
        }
        fs::create_dir_all(&folder).expect("create the tests' folder");
        folder
    })
}

/// The target folder that cargo uses for these tests.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the tests' folder is in the target folder").to_path_buf()
}

/// Builds `libtessalloc.so` and `.a` as they are shipped.
pub(crate) fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let workspace = package().ancestors().nth(2).expect("the package is in the workspace, in crates/");
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "tessalloc-c", "--profile", "release-c"]);
        build.arg("--target-dir").arg(target()).current_dir(workspace);
        if let Ok(features) = env::var("TESSALLOC_TEST_FEATURES") {
            build.args(["--features", &features]);
        }
        must(&mut build);
        let built = target().join("release-c");
        let folder = scratch().join("lib");
        fs::create_dir_all(&folder).expect("create the library folder");
        let put = |from: &str, to: &str| {
            let place = folder.join(to);
            fs::copy(built.join(from), &place).unwrap_or_else(|error| panic!("copy {from}: {error}"));
            place
        };
        Library {
            shared: put("libtessalloc_c.so", "libtessalloc.so"),
            archive: put("libtessalloc_c.a", "libtessalloc.a"),
            include: package().join("include"),
            folder,
        }
    })
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", describe(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Status and both outputs, for messages.
pub(crate) fn describe(output: &Output) -> String {
    format!(
        "{}\n--- stdout ---\n{}\n--- stderr ---\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// True if the program can be started by name.
pub(crate) fn have(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A program that a test needs: installed with apt where that may be done, else the test is skipped, but never on CI.
/// `packages` are Debian's.
pub(crate) fn need(program: &str, packages: &[&str]) -> bool {
    if have(program) || (!packages.is_empty() && install(packages) && have(program)) {
        return true;
    }
    skip(&format!("{program} is not installed (Debian: apt-get install {})", packages.join(" ")));
    false
}

/// Whether everything has to be tested: on CI.
fn on_ci() -> bool {
    env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// Says why a test does not run; on CI that is a failure.
pub(crate) fn skip(reason: &str) {
    assert!(!on_ci(), "cannot test on CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// Installs Debian packages, as root and with `CI` or `TESSALLOC_TEST_INSTALL` set; false if that isn't so or fails.
pub(crate) fn install(packages: &[&str]) -> bool {
    static UPDATED: OnceLock<()> = OnceLock::new();
    let asked = on_ci() || env::var("TESSALLOC_TEST_INSTALL").is_ok();
    // SAFETY: no duties.
    if !asked || unsafe { libc::geteuid() } != 0 || !have("apt-get") {
        return false;
    }
    let run = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        apt.output().is_ok_and(|output| output.status.success())
    };
    UPDATED.get_or_init(|| {
        run(&["update"]);
    });
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    run(&arguments)
}

/// Compiles a source of `tests/c` for `mode`. C++ by its ending.
pub(crate) fn compile(source: &str, mode: Mode, extra: &[&str]) -> PathBuf {
    compile_with(if source.ends_with(".cpp") { "g++" } else { "gcc" }, source, mode, extra)
}

/// A new name for a file that a test makes.
pub(crate) fn unique(stem: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    scratch().join(format!("{stem}-{number}"))
}

/// [`compile`] with a compiler by name.
pub(crate) fn compile_with(compiler: &str, source: &str, mode: Mode, extra: &[&str]) -> PathBuf {
    let library = library();
    let stem = source.replace('.', "_");
    let program = unique(&format!("{stem}-{mode:?}"));
    let mut command = Command::new(compiler);
    command.args(["-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]);
    // What the compiler knows of malloc would be folded away.
    command.args(["-fno-builtin", "-Wno-unused-result", "-Wno-deprecated-declarations"]);
    if source.ends_with(".cpp") {
        command.args(["-std=c++17", "-Wno-sized-deallocation", "-fsized-deallocation"]);
    } else {
        command.args(["-std=gnu17", "-Wno-alloc-size-larger-than", "-Wno-free-nonheap-object", "-Wno-use-after-free"]);
    }
    match mode {
        Mode::Static => command.arg("-static"),
        Mode::StaticPie => command.arg("-static-pie"),
        Mode::Preload | Mode::Shared => &mut command,
    };
    command.arg("-I").arg(&library.include).arg(package().join("tests/c").join(source)).arg("-o").arg(&program);
    match mode {
        Mode::Preload => &mut command,
        Mode::Shared => {
            let mut path = std::ffi::OsString::from("-Wl,-rpath,");
            path.push(&library.folder);
            command.arg("-L").arg(&library.folder).args(["-Wl,--no-as-needed", "-ltessalloc"]).arg(path)
        }
        Mode::Static | Mode::StaticPie => command.arg(&library.archive),
    };
    command.args(extra);
    must(&mut command);
    program
}

/// Compiles a shared library of `tests/c`.
pub(crate) fn compile_library(source: &str, extra: &[&str]) -> PathBuf {
    let file = unique(&source.replace('.', "_")).with_extension("so");
    let mut command = Command::new(if source.ends_with(".cpp") { "g++" } else { "gcc" });
    command.args(["-O1", "-g", "-fPIC", "-shared", "-pthread", "-fno-builtin", "-Wall"]);
    command.arg("-I").arg(&library().include).arg(package().join("tests/c").join(source)).arg("-o").arg(&file);
    command.args(extra);
    must(&mut command);
    file
}

/// Words in front of the programs that are run, such as those of a tool that watches them: `TESSALLOC_TEST_RUNNER`.
fn runner() -> String {
    env::var("TESSALLOC_TEST_RUNNER").unwrap_or_default()
}

/// Whether a tool looks for bugs of the programs.
pub(crate) fn is_watched() -> bool {
    !runner().is_empty()
}

/// The command that runs `program` in `mode`, ended after `seconds`, or twenty times as long if it is watched.
pub(crate) fn command(program: &Path, mode: Mode, seconds: u32) -> Command {
    let mut command = Command::new("timeout");
    // The preload is for the program, not for `timeout`.
    let runner = runner();
    let seconds = if is_watched() { seconds * 20 } else { seconds };
    command.args(["--signal=KILL", &seconds.to_string(), "env"]);
    if mode == Mode::Preload {
        command.arg(format!("LD_PRELOAD={}", library().shared.display()));
    }
    command.args(runner.split_whitespace()).arg(program);
    command
}

/// Runs `program`, which has to exit with 0 and say `ok`. Tools that watch replace functions of the C library, which a static program has
/// inside: it is left out then.
pub(crate) fn passes(program: &Path, mode: Mode, arguments: &[&str]) -> String {
    if is_watched() && matches!(mode, Mode::Static | Mode::StaticPie) {
        return String::new();
    }
    let mut command = command(program, mode, 120);
    command.args(arguments);
    says_ok(&mut command)
}

/// Runs a command, which has to exit with 0 and end its output with `ok`.
pub(crate) fn says_ok(command: &mut Command) -> String {
    let text = must(command);
    assert!(text.trim_end().ends_with("ok"), "{command:?} did not come to its end: {text}");
    text
}

/// A shell's command line under the preload library: `before` (e.g. `ulimit -v 1000000`), then the program.
pub(crate) fn in_shell(before: &str, program: &Path, arguments: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120", "sh", "-c"]);
    let library = library().shared.display();
    command.arg(format!("{before} && LD_PRELOAD={library} exec {} {arguments}", program.display()));
    command
}
