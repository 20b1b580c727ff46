//! One suite for every back end: what `os/mod.rs` promises, tried out.
//!
//! Tests that end the process, fault, or make things that a process has once (the exit hook, fork handlers) run in a child: the
//! test program starts itself again with the test's name. Where it can't be started directly (under an emulator), the variable
//! `TESSALLOC_TEST_RUNNER` holds the command that starts it.

extern crate std;

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use std::process::{Command, Output};
use std::string::String;
use std::vec::Vec;

const CHILD: &str = "TESSALLOC_TEST_CONTRACT_CHILD";
/// What a child prints when it gets past the point where it had to end.
const SURVIVED: &str = "the child survived";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this program in a process of its own, with further variables set.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("the test program has a path");
    let runner = std::env::var("TESSALLOC_TEST_RUNNER").unwrap_or_default();
    let mut words: Vec<String> = runner.split_whitespace().map(String::from).collect();
    words.push(program.to_str().expect("a path in UTF-8").into());
    Command::new(&words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("Cannot start {words:?}: {error}"))
}

/// Expects that a test passes in a child, and that it was found there at all.
fn assert_child_passes(test: &str, variables: &[(&str, &str)]) {
    let output = child(test, variables);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} in a child: {}\n{text}\n{error}",
        output.status
    );
}

/// Expects that a child ends before it prints [`SURVIVED`], with `message` on standard error.
fn assert_child_ends(test: &str, message: &str) {
    let output = child(test, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("running 1 test"), "{test} in a child did not start: {text}\n{error}");
    let ended = !output.status.success() && !text.contains(SURVIVED) && error.contains(message);
    assert!(ended, "{test} in a child: expected an end with {message:?}, received {}\n{text}\n{error}", output.status);
}

/// What is set by the functions that the system calls; a child uses them once.
static HOOK_RUNS: AtomicU32 = AtomicU32::new(0);
static THREAD_RUNS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn count_hook(value: *mut c_void) {
    HOOK_RUNS.fetch_add(value.addr() as u32, Ordering::SeqCst);
}

/// How often a hook may put itself off: POSIX promises four rounds.
const ROUNDS: usize = 4;

macro_rules! suite {
    ($name:ident, $back_end:path) => {
        mod $name {
            use std::time::{Duration, Instant};

            use $back_end as os;

            use super::*;

            const MIB: usize = 1 << 20;

            /// A committed reservation, given back at the end.
            struct Range {
                at: *mut u8,
                bytes: usize,
            }

            impl Range {
                fn new(bytes: usize) -> Range {
                    let at = os::reserve(bytes, 2 * MIB, 0).expect("address space for a test");
                    // SAFETY: reserved just now.
                    unsafe { os::commit(at, bytes) }.expect("memory for a test");
                    Range { at, bytes }
                }

                fn bytes(&mut self) -> &mut [u8] {
                    // SAFETY: committed, and nobody else's.
                    unsafe { core::slice::from_raw_parts_mut(self.at, self.bytes) }
                }
            }

            impl Drop for Range {
                fn drop(&mut self) {
                    // SAFETY: a whole reservation, used no more.
                    unsafe { os::release(self.at, self.bytes) };
                }
            }

            fn name_of(test: &str) -> String {
                std::format!("{}::{test}", module_path!().split_once("::").expect("a module in a crate").1)
            }

            #[test]
            fn page_bytes_is_a_power_of_two() {
                assert!(os::page_bytes().is_power_of_two() && (4096..=64 << 10).contains(&os::page_bytes()));
            }

            #[test]
            fn reserve_gives_aligned_ranges_that_do_not_overlap() {
                let mut taken: Vec<(usize, usize)> = Vec::new();
                for align in [64 << 10, MIB, 4 * MIB, 32 * MIB] {
                    for hint in [0, 0x1234_5678_0000 & (usize::MAX >> 4)] {
                        let bytes = 3 * MIB;
                        let at = os::reserve(bytes, align, hint).expect("address space for a test");
                        assert_eq!(at.addr() % align, 0);
                        assert!(
                            taken
                                .iter()
                                .all(|(start, other)| at.addr() + bytes <= *start || start + other <= at.addr())
                        );
                        taken.push((at.expose_provenance(), bytes));
                    }
                }
                for (start, bytes) in taken {
                    // SAFETY: a whole reservation, used no more.
                    unsafe { os::release(core::ptr::with_exposed_provenance_mut(start), bytes) };
                }
            }

            #[test]
            fn reserve_of_too_much_is_refused_with_a_code() {
                for bytes in [usize::MAX / 2 + 1, usize::MAX - 4 * MIB + 1] {
                    let error = os::reserve(bytes, 4 * MIB, 0).expect_err("no system has so much");
                    assert!(!error.call.is_empty() && error.code != 0);
                }
            }

            #[test]
            fn commit_gives_zeroes_and_keeps_what_is_there() {
                let mut range = Range::new(4 * MIB);
                assert!(range.bytes().iter().all(|byte| *byte == 0));
                range.bytes().fill(7);
                // SAFETY: in the reservation.
                unsafe { os::commit(range.at, range.bytes) }.expect("what is committed can be committed");
                assert!(range.bytes().iter().all(|byte| *byte == 7));
            }

            #[test]
            fn commit_of_a_part_leaves_the_rest_alone() {
                if is_child() {
                    let page = os::page_bytes();
                    let at = os::reserve(4 * page, page.max(64 << 10), 0).expect("address space for a test");
                    // SAFETY: the second read is the fault under test.
                    unsafe {
                        os::commit(at.add(page), page).expect("memory for a test");
                        at.add(page).write_volatile(1);
                        os::write_error(b"committed\n");
                        at.add(2 * page).read_volatile();
                    }
                    std::println!("{SURVIVED}");
                    return;
                }
                assert_child_ends(&name_of("commit_of_a_part_leaves_the_rest_alone"), "committed");
            }

            #[test]
            fn release_takes_access_away() {
                if is_child() {
                    let range = Range::new(4 * MIB);
                    let at = range.at;
                    drop(range);
                    os::write_error(b"released\n");
                    // SAFETY: none: the fault under test.
                    unsafe { at.read_volatile() };
                    std::println!("{SURVIVED}");
                    return;
                }
                assert_child_ends(&name_of("release_takes_access_away"), "released");
            }

            #[test]
            fn purge_and_renew_give_zeroes_and_spare_the_neighbours() {
                type Call = unsafe fn(*mut u8, usize) -> Result<(), crate::os::OsError>;
                let page = os::page_bytes();
                for call in [os::purge as Call, os::renew as Call] {
                    let mut range = Range::new(4 * MIB);
                    range.bytes().fill(7);
                    let (start, end) = (MIB, MIB + 3 * page);
                    // SAFETY: committed, and nobody else's.
                    unsafe { call(range.at.add(start), end - start) }.expect("memory of ours can be given back");
                    let bytes = range.bytes();
                    assert!(bytes[..start].iter().chain(&bytes[end..]).all(|byte| *byte == 7));
                    assert!(bytes[start..end].iter().all(|byte| *byte == 0));
                    bytes[start..end].fill(9);
                    assert!(bytes[start..end].iter().all(|byte| *byte == 9));
                }
            }

            #[test]
            fn purge_lowers_the_resident_count() {
                let mut range = Range::new(2 * MIB);
                let page = os::page_bytes();
                let bytes = 16 * page;
                // SAFETY: ours; 16 OS pages.
                let (at, count) = (range.at, || unsafe { os::resident_count(range.at, bytes) });
                // SAFETY: ours.
                unsafe { os::advise_small_pages(at, bytes) };
                let Some(before) = count() else { return };
                assert_eq!(before, 0);
                for index in 0..5 {
                    range.bytes()[index * 3 * page] = 1;
                }
                // SAFETY: as above.
                assert_eq!(unsafe { os::resident_count(at, bytes) }, Some(5));
                // SAFETY: ours.
                unsafe { os::purge(at, bytes) }.expect("memory of ours can be given back");
                // SAFETY: as above.
                assert_eq!(unsafe { os::resident_count(at, bytes) }, Some(0));
            }

            #[test]
            fn move_pages_moves_or_leaves_all_as_it_was() {
                let (mut from, mut to) = (Range::new(4 * MIB), Range::new(4 * MIB));
                from.bytes().fill(7);
                to.bytes().fill(9);
                // SAFETY: both are ours, committed, and apart.
                let moved = unsafe { os::move_pages(from.at.add(MIB), to.at.add(2 * MIB), MIB) };
                let (old, new) = if moved.is_ok() { (0, 7) } else { (7, 9) };
                assert!(from.bytes()[MIB..2 * MIB].iter().all(|byte| *byte == old));
                assert!(to.bytes()[2 * MIB..3 * MIB].iter().all(|byte| *byte == new));
                let (from_rest, to_rest) = (&from.bytes()[2 * MIB..].to_vec(), &to.bytes()[3 * MIB..].to_vec());
                assert!(from.bytes()[..MIB].iter().chain(from_rest).all(|byte| *byte == 7));
                assert!(to.bytes()[..2 * MIB].iter().chain(to_rest).all(|byte| *byte == 9));
                // Both can be used on, given back, and mapped anew.
                type Call = unsafe fn(*mut u8, usize) -> Result<(), crate::os::OsError>;
                for call in [os::purge as Call, os::renew as Call] {
                    for (range, start) in [(&mut from, MIB), (&mut to, 2 * MIB)] {
                        range.bytes().fill(1);
                        // SAFETY: ours, and nobody else's.
                        unsafe { call(range.at.add(start), MIB) }.expect("memory of ours can be given back");
                        assert!(range.bytes()[start..start + MIB].iter().all(|byte| *byte == 0));
                    }
                }
            }

            #[test]
            fn move_pages_leaves_no_hole_for_other_mappings() {
                let bytes = 16 * MIB;
                let (from, mut to) = (Range::new(bytes), Range::new(bytes));
                // SAFETY: both are ours, committed, and apart.
                let _ = unsafe { os::move_pages(from.at, to.at, bytes) };
                // Mappings of the system's choice and some that ask for the place.
                let others: Vec<*mut u8> = (0..32)
                    .map(|index| if index % 2 == 0 { 0 } else { from.at.addr() })
                    .map(|hint| os::reserve(MIB, 64 << 10, hint).expect("address space for a test"))
                    .collect();
                for other in &others {
                    let apart = |range: &Range| {
                        other.addr() + MIB <= range.at.addr() || range.at.addr() + bytes <= other.addr()
                    };
                    assert!(apart(&from) && apart(&to), "{other:p} lies in {:p} or {:p}", from.at, to.at);
                }
                for other in others {
                    // SAFETY: a whole reservation, used no more.
                    unsafe { os::release(other, MIB) };
                }
                to.bytes().fill(7);
            }

            #[test]
            fn populate_huge_leaves_zeroes_that_can_be_written() {
                let mut range = Range::new(4 * MIB);
                // SAFETY: ours, unused, aligned.
                let populated = unsafe { os::populate_huge(range.at, range.bytes) };
                if let Err(error) = populated {
                    assert!(!error.call.is_empty() && error.code != 0);
                } else {
                    let bytes = range.bytes.min(512 * os::page_bytes());
                    // SAFETY: ours; at most 512 OS pages.
                    let resident = unsafe { os::resident_count(range.at, bytes) };
                    assert!(resident.is_none_or(|count| count == bytes / os::page_bytes()));
                }
                assert!(range.bytes().iter().all(|byte| *byte == 0));
                range.bytes().fill(7);
            }

            #[test]
            fn name_does_no_harm() {
                let mut range = Range::new(4 * MIB);
                range.bytes().fill(7);
                os::name(range.at, range.bytes);
                assert!(range.bytes().iter().all(|byte| *byte == 7));
            }

            #[test]
            fn wait_returns_for_another_value_and_at_the_timeout() {
                let word = AtomicU32::new(5);
                let start = Instant::now();
                os::wait(&word, 6, 60_000);
                assert!(start.elapsed() < Duration::from_secs(30), "the word held another value");
                os::wait(&word, 5, 30);
                assert!(start.elapsed() < Duration::from_secs(30), "the timeout was 30 ms");
            }

            #[test]
            fn wake_ends_a_wait() {
                for count in [1, u32::MAX] {
                    let word = AtomicU32::new(0);
                    std::thread::scope(|scope| {
                        let waiter = scope.spawn(|| {
                            // Spurious returns are allowed: look again, as every caller must.
                            while word.load(Ordering::SeqCst) == 0 {
                                os::wait(&word, 0, 0);
                            }
                        });
                        std::thread::sleep(Duration::from_millis(20));
                        word.store(1, Ordering::SeqCst);
                        os::wake(&word, count);
                        waiter.join().expect("the waiter ends");
                    });
                }
            }

            #[test]
            fn now_goes_on_at_the_pace_of_time() {
                let (start, clock) = (os::now_us(), Instant::now());
                std::thread::sleep(Duration::from_millis(50));
                let took = os::now_us() - start;
                let real = clock.elapsed().as_micros() as u64;
                assert!((40_000..=real + 20_000).contains(&took), "50 ms took {took} us of {real} us");
            }

            #[test]
            fn env_each_shows_every_name_with_the_prefix_and_no_other() {
                const PREFIX: &str = "TESSALLOC_TEST_CONTRACT_EACH";
                if is_child() {
                    let mut shown: Vec<(String, String)> = Vec::new();
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII was set");
                    assert!(os::env_each(PREFIX, &mut |rest, value| shown.push((text(rest), text(value)))));
                    shown.sort();
                    let expected = [("", "a=b c"), ("_LONG", &*"x".repeat(300)), ("_NONE", "")];
                    assert_eq!(shown, expected.map(|(rest, value)| (rest.into(), value.into())));
                    let mut others = 0;
                    assert!(os::env_each("TESSALLOC_TEST_CONTRACT_EACH_NO_SUCH", &mut |_, _| others += 1));
                    assert!(os::env_each("ESSALLOC_TEST_CONTRACT_EACH", &mut |_, _| others += 1));
                    assert_eq!(others, 0);
                    return;
                }
                let long = "x".repeat(300);
                let variables = [
                    (PREFIX, "a=b c"),
                    ("TESSALLOC_TEST_CONTRACT_EACH_NONE", ""),
                    ("TESSALLOC_TEST_CONTRACT_EACH_LONG", &*long),
                    ("TESSALLOC_TEST_CONTRACT_EAC", "not this one"),
                    ("X_TESSALLOC_TEST_CONTRACT_EACH", "nor this one"),
                ];
                assert_child_passes(&name_of("env_each_shows_every_name_with_the_prefix_and_no_other"), &variables);
            }

            #[test]
            fn random_differs_from_call_to_call() {
                let words = [os::random(), os::random(), os::random()];
                assert!(words[0] != words[1] && words[1] != words[2], "{words:x?}");
            }

            #[test]
            fn physical_memory_is_unknown_or_plausible() {
                let bytes = os::physical_bytes();
                assert!(bytes == 0 || (16 << 20..1 << 50).contains(&bytes), "{bytes}");
                assert!(os::address_limit().is_none_or(|limit| limit > 0));
                os::commit_is_dear();
            }

            #[test]
            fn barrier_works_once_it_is_registered() {
                assert!(!os::barrier_register() || os::barrier_all_threads());
            }

            extern "C" fn run_thread(value: *mut c_void) -> *mut c_void {
                THREAD_RUNS.store(1, Ordering::SeqCst);
                os::wake(&THREAD_RUNS, 1);
                value
            }

            #[test]
            fn spawn_runs_the_thread() {
                if is_child() {
                    assert!(os::spawn(run_thread));
                    let start = Instant::now();
                    while THREAD_RUNS.load(Ordering::SeqCst) == 0 {
                        assert!(start.elapsed() < Duration::from_secs(30), "the thread runs");
                        os::wait(&THREAD_RUNS, 0, 100);
                    }
                    return;
                }
                assert_child_passes(&name_of("spawn_runs_the_thread"), &[]);
            }

            #[test]
            fn exit_hook_runs_once_on_each_thread_that_armed_it() {
                if is_child() {
                    let value = core::ptr::without_provenance_mut;
                    assert!(os::exit_hook_create(count_hook));
                    for (arms, runs) in [(0, 0), (1, 1), (100, 101)] {
                        let thread = move || arms == 0 || os::exit_hook_arm(value(arms));
                        assert!(std::thread::spawn(thread).join().expect("the thread ends"));
                        assert_eq!(HOOK_RUNS.load(Ordering::SeqCst), runs);
                    }
                    return;
                }
                assert_child_passes(&name_of("exit_hook_runs_once_on_each_thread_that_armed_it"), &[]);
            }

            unsafe extern "C" fn put_off(value: *mut c_void) {
                HOOK_RUNS.fetch_add(1, Ordering::SeqCst);
                if value.addr() < ROUNDS {
                    assert!(os::exit_hook_arm(core::ptr::without_provenance_mut(value.addr() + 1)));
                }
            }

            #[test]
            fn exit_hook_that_arms_itself_again_runs_again() {
                if is_child() {
                    assert!(os::exit_hook_create(put_off));
                    let thread = || os::exit_hook_arm(core::ptr::without_provenance_mut(1));
                    assert!(std::thread::spawn(thread).join().expect("the thread ends"));
                    assert_eq!(HOOK_RUNS.load(Ordering::SeqCst), ROUNDS as u32);
                    return;
                }
                assert_child_passes(&name_of("exit_hook_that_arms_itself_again_runs_again"), &[]);
            }

            #[test]
            fn abort_ends_the_process_after_its_message() {
                if is_child() {
                    os::write_error(b"the last words\n");
                    if !SURVIVED.is_empty() {
                        os::abort();
                    }
                }
                assert_child_ends(&name_of("abort_ends_the_process_after_its_message"), "the last words");
            }

            #[cfg(unix)]
            mod on_unix {
                use super::*;

                #[test]
                fn a_failed_call_leaves_errno_alone() {
                    for before in [0, 77] {
                        errno::set(before);
                        assert!(os::reserve(usize::MAX / 2 + 1, 4 * MIB, 0).is_err());
                        os::wait(&AtomicU32::new(1), 0, 1);
                        os::barrier_all_threads();
                        assert_eq!(errno::now(), before);
                    }
                }

                static FORKS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

                unsafe extern "C" fn prepare() {
                    FORKS[0].fetch_add(1, Ordering::SeqCst);
                }
                unsafe extern "C" fn parent() {
                    FORKS[1].fetch_add(1, Ordering::SeqCst);
                }
                unsafe extern "C" fn child() {
                    FORKS[2].fetch_add(1, Ordering::SeqCst);
                }

                /// Forks; the child ends with what `inside` says, and the parent gets it.
                fn fork(inside: impl FnOnce() -> bool) -> bool {
                    // SAFETY: the child makes system calls and ends at once.
                    unsafe {
                        let process = libc::fork();
                        assert!(process >= 0, "a process for a test");
                        if process == 0 {
                            libc::_exit(i32::from(!inside()));
                        }
                        let mut status = 0;
                        assert_eq!(libc::waitpid(process, &mut status, 0), process);
                        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
                    }
                }

                #[test]
                fn fork_runs_the_handlers_on_their_sides() {
                    if is_child() {
                        let counts = || FORKS.each_ref().map(|count| count.load(Ordering::SeqCst));
                        assert!(os::at_fork(prepare, parent, self::child));
                        assert!(fork(|| counts() == [1, 0, 1] && os::reserve(MIB, MIB, 0).is_ok()));
                        assert_eq!(counts(), [1, 1, 0]);
                        return;
                    }
                    assert_child_passes(&name_of("on_unix::fork_runs_the_handlers_on_their_sides"), &[]);
                }

                #[test]
                fn wipe_on_fork_gives_zeroes_to_the_child_only() {
                    let mut range = Range::new(2 * MIB);
                    let page = os::page_bytes();
                    range.bytes().fill(7);
                    // SAFETY: ours.
                    if unsafe { os::wipe_on_fork(range.at, page) } {
                        let bytes = range.bytes();
                        assert!(fork(|| bytes[0] == 0 && bytes[page - 1] == 0 && bytes[page] == 7));
                    }
                    assert!(range.bytes().iter().all(|byte| *byte == 7));
                }
            }
        }
    };
}

#[cfg(unix)]
mod errno {
    extern crate std;

    pub(super) fn now() -> i32 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    }

    #[cfg(any(target_os = "linux", target_os = "dragonfly"))]
    pub(super) fn set(code: i32) {
        // SAFETY: this thread's own word.
        unsafe { *libc::__errno_location() = code };
    }

    #[cfg(any(target_os = "macos", target_os = "freebsd"))]
    pub(super) fn set(code: i32) {
        // SAFETY: this thread's own word.
        unsafe { *libc::__error() = code };
    }

    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    pub(super) fn set(code: i32) {
        // SAFETY: this thread's own word.
        unsafe { *libc::__errno() = code };
    }
}

suite!(system, crate::os::system);

#[cfg(tessalloc_sim)]
suite!(sim, crate::os::sim);

/// What the simulation has beyond the contract.
#[cfg(tessalloc_sim)]
mod simulation {
    use super::*;
    use crate::os::sim;

    fn name_of(test: &str) -> String {
        std::format!("{}::{test}", module_path!().split_once("::").expect("a module in a crate").1)
    }

    #[test]
    #[allow(
        clippy::undocumented_unsafe_blocks,
        reason = "the misdeeds under test: each ends its process before harm is done"
    )]
    fn duties_that_are_broken_end_the_process() {
        type Misdeed = (&'static str, &'static str, fn());
        let misdeeds: &[Misdeed] = &[
            ("unaligned", "expected a range of OS pages", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                let _ = sim::commit(at.add(4096), 4096);
            }),
            ("outside", "expected a range inside a reservation", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                let _ = sim::commit(at.wrapping_add(2 << 20), 4 << 20);
            }),
            ("uncommitted", "expected a committed range", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                sim::commit(at, 1 << 20).expect("memory");
                let _ = sim::purge(at, 2 << 20);
            }),
            ("move to uncommitted", "expected a committed range", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                sim::commit(at, 1 << 20).expect("memory");
                let _ = sim::move_pages(at, at.add(2 << 20), 1 << 20);
            }),
            ("move onto itself", "expected disjoint ranges", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                sim::commit(at, 4 << 20).expect("memory");
                let _ = sim::move_pages(at, at.add(1 << 20), 2 << 20);
            }),
            ("part", "expected a whole reservation", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                sim::release(at, 1 << 20);
            }),
            ("twice", "expected a whole reservation", || unsafe {
                let at = sim::reserve(4 << 20, 4 << 20, 0).expect("address space");
                sim::release(at, 4 << 20);
                sim::release(at, 4 << 20);
            }),
            ("odd reservation", "expected multiples of 65536", || {
                let _ = sim::reserve(4096, 1 << 20, 0);
            }),
        ];
        const WHICH: &str = "TESSALLOC_TEST_CONTRACT_MISDEED";
        if let Ok(which) = std::env::var(WHICH) {
            let (_, _, run) = misdeeds.iter().find(|(name, ..)| *name == which).expect("a misdeed of this name");
            run();
            std::println!("{SURVIVED}");
            return;
        }
        for (name, message, _) in misdeeds {
            let test = name_of("duties_that_are_broken_end_the_process");
            let output = child(&test, &[(WHICH, *name), ("SIM_PAGE_BYTES", "65536")]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success() && error.contains(message),
                "{name}: expected {message:?}, received {error}"
            );
            assert!(!String::from_utf8_lossy(&output.stdout).contains(SURVIVED), "{name}: the child survived");
        }
    }

    #[test]
    fn limits_and_sizes_of_the_environment_are_kept() {
        if is_child() {
            assert_eq!(sim::page_bytes(), 16 << 10);
            assert_eq!(sim::physical_bytes(), 3 << 30);
            assert_eq!(sim::address_limit(), Some(64 << 20));
            assert!(sim::commit_is_dear() && !sim::barrier_register() && !sim::barrier_all_threads());
            let at = sim::reserve(48 << 20, 4 << 20, 0).expect("below the limit");
            assert_eq!(sim::reserve(32 << 20, 4 << 20, 0).expect_err("above the limit").code, 12);
            // SAFETY: ours.
            unsafe {
                sim::commit(at, 8 << 20).expect("within the budget");
                sim::commit(at, 8 << 20).expect("committed already: costs nothing");
                assert_eq!(sim::commit(at.add(8 << 20), 16 << 10).expect_err("beyond the budget").code, 12);
                sim::purge(at, 8 << 20).expect("memory of ours can be given back");
                assert!(sim::commit(at.add(8 << 20), 16 << 10).is_err(), "a purge doesn't give the budget back");
            }
            let before = sim::counters();
            assert_eq!((before.reservations, before.reserved_bytes), (1, 48 << 20));
            assert_eq!((before.committed_bytes, before.purged_bytes), (8 << 20, 8 << 20));
            // SAFETY: ours, used no more.
            unsafe { sim::release(at, 48 << 20) };
            let after = sim::counters();
            assert_eq!((after.reservations, after.reserved_bytes, after.committed_bytes), (0, 0, 0));
            assert_eq!(after.committed_peak_bytes, 8 << 20);
            assert!(!sim::is_reserved(at, 1));
            return;
        }
        let variables = [
            ("SIM_PAGE_BYTES", "16384"),
            ("SIM_PHYSICAL", "3221225472"),
            ("SIM_ADDRESS_LIMIT", "67108864"),
            ("SIM_COMMIT_BUDGET", "8388608"),
            ("SIM_NO_BARRIER", "1"),
        ];
        assert_child_passes(&name_of("limits_and_sizes_of_the_environment_are_kept"), &variables);
    }

    #[test]
    fn failures_come_when_asked_for_and_are_recorded_by_place() {
        if is_child() {
            let reserve = || sim::reserve(4 << 20, 4 << 20, 0);
            // The second and third call fail, by the environment.
            let results = [reserve(), reserve(), reserve(), reserve()].map(|result| result.is_ok());
            assert_eq!(results, [true, false, false, true]);
            sim::fail_at(Some(2), 0);
            assert_eq!([reserve(), reserve(), reserve()].map(|result| result.is_ok()), [true, false, false]);
            assert!(!sim::barrier_register() && sim::physical_bytes() == 0);
            sim::fail_at(None, 0);
            assert!(reserve().is_ok());
            let here: Vec<sim::Site> = sim::sites().filter(|site| site.name == "reserve").collect();
            assert_eq!(here.len(), 1, "one place in the code: {here:?}");
            assert_eq!((here[0].calls, here[0].failures), (8, 4));
            assert!(here[0].file.ends_with("contract.rs"));
            assert_eq!(sim::sites().map(|site| site.failures).sum::<u64>(), 6);
            assert_eq!(sim::counters().calls, 10);
            return;
        }
        let variables = [("SIM_FAIL_AT", "2"), ("SIM_FAIL_RUN", "2")];
        assert_child_passes(&name_of("failures_come_when_asked_for_and_are_recorded_by_place"), &variables);
    }
}
