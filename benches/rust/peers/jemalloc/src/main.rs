//! jemalloc, as the crate builds it by default.

#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "jemalloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { tikv_jemallocator::usable_size(block) }
    }
}

fn main() {
    harness::main::<Peer>();
}
