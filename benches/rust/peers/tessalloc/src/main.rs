//! Ours.

#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "tessalloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { tessalloc::raw::usable_size(block) }
    }
}

fn main() {
    harness::main::<Peer>();
}
