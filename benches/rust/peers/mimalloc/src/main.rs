//! mimalloc v3, as the crate builds it by default (`extended` only adds functions such as `usable_size`).

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "mimalloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { GLOBAL.usable_size(block) }
    }
}

fn main() {
    harness::main::<Peer>();
}
