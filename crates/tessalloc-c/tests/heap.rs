//! First-class heaps of tessalloc.h, from a C program.
mod support;
use support::*;

#[test]
fn heap_functions_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("heap.c", mode, &[]), mode, &[]);
    }
}
