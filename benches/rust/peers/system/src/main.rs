//! The C library's malloc.

#[global_allocator]
static GLOBAL: std::alloc::System = std::alloc::System;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "system";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { libc::malloc_usable_size(block.cast()) }
    }
}

fn main() {
    harness::main::<Peer>();
}
