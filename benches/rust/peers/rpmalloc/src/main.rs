//! rpmalloc, as the crate builds it by default.

#[global_allocator]
static GLOBAL: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

struct Peer;

impl harness::Peer for Peer {
    const NAME: &str = "rpmalloc";
    unsafe fn usable_bytes(block: *mut u8) -> usize {
        unsafe { rpmalloc_sys::rpmalloc_usable_size(block.cast()) }
    }
}

fn main() {
    harness::main::<Peer>();
}
