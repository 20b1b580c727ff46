//! Option values and names, names of figures, and the reading of environments, against readers of their own: naive ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tessalloc_fuzz::options::check;

fuzz_target!(|data: &[u8]| check(data));
