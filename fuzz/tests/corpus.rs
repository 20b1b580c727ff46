//! What fuzzing found worth keeping, run once: without an engine, with every check.

use std::fs;

use tessalloc_fuzz::crew::{Crew, alone};
use tessalloc_fuzz::face::Crate;
use tessalloc_fuzz::library::Library;
use tessalloc_fuzz::run::{Exchange, run};
use tessalloc_fuzz::step::{Program, Step};
use tessalloc_fuzz::{hostile, options, walking};

fn each(target: &str, mut act: impl FnMut(&[u8]) + Send) {
    alone(|| run_each(target, &mut act));
}

fn run_each(target: &str, act: &mut dyn FnMut(&[u8])) {
    let folder = format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry of the corpus").path();
        println!("{}", path.display());
        act(&fs::read(&path).expect("an input can be read"));
        count += 1;
    }
    assert!(count > 0, "{folder} has inputs");
}

#[test]
fn programs_of_one_thread_run_as_before() {
    each("operations", program);
}

#[test]
fn programs_of_several_threads_run_as_before() {
    each("threads", program);
}

fn program(data: &[u8]) {
    let steps = Program::of_bytes(data).steps().chain([Step::Check, Step::Walk]).collect::<Vec<_>>();
    run(&Crate, &mut Crew::default(), &Exchange::default(), true, steps);
}

#[test]
fn options_are_read_as_before() {
    each("options", options::check);
}

#[test]
fn walks_under_mutation_run_as_before() {
    each("walking", |data| walking::walk_while(&mut Crew::default(), data));
}

#[test]
fn hostile_calls_in_c_are_refused_as_before() {
    let library = Library::of_tests();
    each("c_api", |data| hostile::call(&library, data));
}
