//! The allocation functions of tessalloc.h beyond the malloc family, from a C program.
mod support;
use support::*;

#[test]
fn alloc_functions_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("alloc.c", mode, &[]), mode, &[]);
    }
}
