//! Walks whose visitors run programs: see `tessalloc_fuzz::walking`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tessalloc_fuzz::crew::Crew;
use tessalloc_fuzz::walking::walk_while;

thread_local! {
    static CREW: RefCell<Crew> = RefCell::default();
}

fuzz_target!(|data: &[u8]| CREW.with_borrow_mut(|crew| walk_while(crew, data)));
