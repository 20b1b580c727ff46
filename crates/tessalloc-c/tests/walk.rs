//! Walking, threads and deferred frees of tessalloc.h, from a C program.
mod support;
use support::*;

#[test]
fn walks_by_shared_and_static_linking() {
    for mode in [Mode::Shared, Mode::Static] {
        passes(&compile("walk.c", mode, &[]), mode, &[]);
    }
}
