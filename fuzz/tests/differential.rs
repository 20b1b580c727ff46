//! Random programs on the allocator and on a naive model beside it. Each test prints its seed; a failing program is made as small as
//! it can be and printed as its steps.
//!
//! | variable                    | does                                                                           |
//! |-----------------------------|--------------------------------------------------------------------------------|
//! | `TESSALLOC_TEST_OPERATIONS` | how many operations the tests do together; default 300,000                     |
//! | `TESSALLOC_TEST_SEED`       | the seed of all of them; default: chosen anew                                   |
//! | `TESSALLOC_TEST_PROGRAM`    | runs this program alone, as a failure printed it                                |
//! | `TESSALLOC_TEST_LIBRARY`    | the C library that programs run on too; default: as `npm run build` leaves it   |

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use tessalloc::raw;
use tessalloc_fuzz::crew::{Crew, alone};
use tessalloc_fuzz::face::{Crate, Face};
use tessalloc_fuzz::library::Library;
use tessalloc_fuzz::run::{Done, Exchange, run};
use tessalloc_fuzz::step::{POWER_MAX, Program, Request, Step, Zeroed, class_sizes};

/// Steps of a program.
const STEPS_MAX: usize = 400;
/// Programs that run at the same time.
const TOGETHER: u64 = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let (digits, radix) = text.strip_prefix("0x").map_or((text.as_str(), 10), |digits| (digits, 16));
    Some(u64::from_str_radix(digits, radix).unwrap_or_else(|_| panic!("{name}: expected a number, received {text}")))
}

fn seed() -> u64 {
    number("TESSALLOC_TEST_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// A test's share, in tenths, of the operations that were asked for.
fn operations(tenths: u64) -> u64 {
    number("TESSALLOC_TEST_OPERATIONS").unwrap_or(300_000) / 10 * tenths
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// One line for each test, which `npm run verify` adds up.
fn tell(what: &str, seed: Option<u64>, done: Done, start: Instant) {
    let Done { programs, operations, walked, checks } = done;
    let (seconds, seed) = (start.elapsed().as_secs_f64(), seed.map_or("none".into(), |seed| format!("{seed:#x}")));
    println!(
        "differential {what}: {operations} operations, {programs} programs, {walked} blocks walked, {checks} checks of all \
         invariants, seed {seed}, {seconds:.1} s"
    );
}

/// Programs one after the other, until so many operations are done.
fn one_at_a_time<F: Face>(what: &str, face: &F, operations: u64) {
    let (seed, start) = (seed(), Instant::now());
    println!("differential {what}: seed {seed:#x}");
    let state = Mutex::new((Done::default(), Crew::default()));
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = vec(any::<u64>(), 1..STEPS_MAX).prop_map(Program);
    let mut runner = runner(seed);
    while lock().0.operations < operations {
        let program = programs.new_tree(&mut runner).expect("every program is one");
        let outcome = runner.run_one(program, |program| {
            let mut state = lock();
            let done = run(face, &mut state.1, &Exchange::default(), true, program.steps().chain([Step::Check]));
            state.0.add(done);
            Ok(())
        });
        match outcome {
            Ok(_) => {}
            Err(TestError::Fail(reason, program)) => {
                panic!("{reason}\nseed {seed:#x}, the smallest program that fails:\n{program:?}")
            }
            Err(TestError::Abort(reason)) => panic!("seed {seed:#x}: {reason}"),
        }
    }
    tell(what, Some(seed), lock().0, start);
}

#[test]
fn programs_do_what_the_model_does() {
    if let Ok(text) = std::env::var("TESSALLOC_TEST_PROGRAM") {
        let program = Program::of_text(&text).expect("a program as it was printed");
        println!("{program:?}");
        alone(|| run(&Crate, &mut Crew::default(), &Exchange::default(), true, program.steps()));
        return;
    }
    alone(|| one_at_a_time("one program at a time", &Crate, operations(5)));
}

#[test]
fn programs_in_c_do_what_the_model_does() {
    alone(|| one_at_a_time("programs in C", &Library::of_tests(), operations(2)));
}

/// Several programs at once, each with threads of its own, which hand blocks to one another; then nothing is left.
#[test]
fn programs_at_the_same_time_do_what_the_model_does() {
    alone(at_the_same_time);
}

fn at_the_same_time() {
    let (seed, start, operations) = (seed(), Instant::now(), operations(3) / TOGETHER);
    println!("differential programs at the same time: seed {seed:#x}");
    let exchange = Exchange::default();
    let done = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..TOGETHER)
            .map(|number| {
                let exchange = &exchange;
                scope.spawn(move || {
                    let (mut crew, mut done) = (Crew::default(), Done::default());
                    let mut state = seed ^ number << 56;
                    let mut next = move || {
                        // SplitMix64.
                        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                        mixed ^ mixed >> 31
                    };
                    while done.operations < operations {
                        let count = 1 + next() as usize % STEPS_MAX;
                        let program = Program((0..count).map(|_| next()).collect());
                        done.add(run(&Crate, &mut crew, exchange, false, program.steps()));
                    }
                    done
                })
            })
            .collect();
        let mut done = Done::default();
        runs.into_iter().for_each(|run| done.add(run.join().expect("a run ends well")));
        done
    });
    // What waits in the exchange is freed by a program of nothing, which is alone.
    let mut all = run(&Crate, &mut Crew::default(), &exchange, true, [Step::Check, Step::Walk]);
    all.add(done);
    run(&Crate, &mut Crew::default(), &Exchange::default(), true, [Step::Walk, Step::Check, Step::Purge, Step::Check]);
    tell("programs at the same time", Some(seed), all, start);
}

/// Every boundary of a class, and every power of two to 4 GiB, one less and one more, at every alignment to 4 GiB.
#[test]
fn sizes_and_alignments_at_every_boundary_do_what_the_model_does() {
    alone(boundaries);
}

fn boundaries() {
    let start = Instant::now();
    let powers = (0..=POWER_MAX).map(|power| 1_usize << power);
    let mut sizes: Vec<usize> =
        class_sizes().chain(powers.clone()).flat_map(|size| [size - 1, size, size + 1]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let (mut crew, mut done) = (Crew::default(), Done::default());
    for (at, &size) in sizes.iter().enumerate() {
        // What has to be cleared or copied is left to small sizes.
        let all = [Zeroed::No, Zeroed::Request, Zeroed::Whole];
        let kinds = if size <= 64 << 10 { &all[..] } else { &all[..1] };
        let requests = powers.clone().flat_map(|align| {
            let of_kind = move |zeroed: &Zeroed| Request { size, align, offset: 0, zeroed: *zeroed };
            kinds.iter().map(of_kind)
        });
        let steps = requests.enumerate().flat_map(|(number, request)| {
            let has_offset = request.align > 8 && request.align <= raw::OFFSET_ALIGN_MAX && number % 3 == 0;
            let at_offset = Request { offset: if has_offset { 8 } else { 0 }, ..request };
            let way = (number + at) as u8 & 31;
            let next = Request { size: sizes[(at + 1) % sizes.len()], ..request };
            [
                Step::Allocate { way, count: 1, request },
                Step::AllocateIn { heap: 0, way: way & 3, count: 1, request: at_offset },
                Step::Reallocate { which: 1, way, request: next },
                Step::Free { which: 0, way },
                Step::Free { which: 0, way: way / 2 },
            ]
        });
        done.add(run(&Crate, &mut crew, &Exchange::default(), true, steps.chain([Step::Check])));
    }
    tell("boundaries", None, done, start);
    assert!(done.operations > 30_000, "every pair is tried");
}
