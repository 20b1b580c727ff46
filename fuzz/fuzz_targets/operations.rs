//! Programs of operations of one thread on the Rust crate, against the model: see `tessalloc_fuzz::run`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tessalloc_fuzz::crew::Crew;
use tessalloc_fuzz::face::Crate;
use tessalloc_fuzz::run::{Exchange, run};
use tessalloc_fuzz::step::{Program, Step};

/// Executions between two that check all invariants, and may walk and purge, which cost more than all others.
const SLOW_EVERY: u32 = 256;

thread_local! {
    static COUNT: RefCell<u32> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let is_slow = COUNT.with_borrow_mut(|count| {
        *count = count.wrapping_add(1);
        count.is_multiple_of(SLOW_EVERY) || *count == 1
    });
    let program = Program::of_bytes(data);
    let steps = program.steps().filter(|step| match step {
        Step::Switch { .. } | Step::EndThread { .. } => false,
        Step::Purge | Step::Walk | Step::Check | Step::Sample { .. } => is_slow,
        _ => true,
    });
    let last = is_slow.then_some(Step::Check);
    run(&Crate, &mut Crew::default(), &Exchange::default(), true, steps.chain(last));
});
