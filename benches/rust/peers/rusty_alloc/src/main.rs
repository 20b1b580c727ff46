//! rusty_alloc, a rewrite of mimalloc in Rust.

#[global_allocator]
static GLOBAL: rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "rusty_alloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { rusty_alloc::alloc::usable_size(block) }
    }
}

fn main() {
    harness::main::<Peer>();
}
