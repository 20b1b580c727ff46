//! Programs of operations of several threads on the Rust crate, against the model: see `tessalloc_fuzz::run`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tessalloc_fuzz::crew::Crew;
use tessalloc_fuzz::face::Crate;
use tessalloc_fuzz::run::{Exchange, run};
use tessalloc_fuzz::step::Program;

thread_local! {
    /// Threads live on from one program to the next, until a step ends them.
    static CREW: RefCell<Crew> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    CREW.with_borrow_mut(|crew| run(&Crate, crew, &Exchange::default(), true, Program::of_bytes(data).steps()));
});
