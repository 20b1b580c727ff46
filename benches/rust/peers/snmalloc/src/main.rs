//! snmalloc without checks, as the crate builds it by default.

#[global_allocator]
static GLOBAL: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "snmalloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        GLOBAL.usable_size(block).unwrap_or(0)
    }
}

fn main() {
    harness::main::<Peer>();
}
