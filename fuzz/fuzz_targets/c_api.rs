//! The C library's functions with arguments that nobody should give: see `tessalloc_fuzz::hostile`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tessalloc_fuzz::hostile::call;
use tessalloc_fuzz::library::Library;

static LIBRARY: LazyLock<Library> = LazyLock::new(Library::of_tests);

fuzz_target!(|data: &[u8]| call(&LIBRARY, data));
