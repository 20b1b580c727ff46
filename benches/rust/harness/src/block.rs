//! Raw blocks from the global allocator, taken the way `Box` and `Vec` take them: the layout is known where the
//! compiler can know it, null goes to `handle_alloc_error`. The first byte is written, so that no pair is optimised
//! away and no block is handed out that nobody looks at.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

#[inline(always)]
pub(crate) fn take_layout(layout: Layout) -> *mut u8 {
    // SAFETY: no workload asks for zero bytes; the block is at least a byte long.
    unsafe {
        let block = alloc(layout);
        if block.is_null() {
            handle_alloc_error(layout);
        }
        block.write(1);
        opaque(block)
    }
}

/// The same pointer, of which the compiler knows nothing any more. `black_box` would send it through memory, which on a
/// pair of a few instructions is most of the time.
#[inline(always)]
pub(crate) fn opaque(mut block: *mut u8) -> *mut u8 {
    // SAFETY: no instruction; as far as the compiler knows, it may read and write all memory.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) block, options(nostack, preserves_flags)) };
    block
}

/// # Safety
/// `block` is live and was taken with `layout`.
#[inline(always)]
pub(crate) unsafe fn give_layout(block: *mut u8, layout: Layout) {
    unsafe { dealloc(block, layout) }
}

/// Aligned to 8, as a struct of words is.
#[inline(always)]
pub(crate) const fn fixed<const BYTES: usize>() -> Layout {
    match Layout::from_size_align(BYTES, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("no such layout"),
    }
}

/// `bytes`, aligned to 8, as a vector of words would ask for it.
#[inline(always)]
pub(crate) fn sized(bytes: usize) -> Layout {
    debug_assert!(bytes <= isize::MAX as usize - 8);
    // SAFETY: 8 is a power of two, and no workload comes near the largest size.
    unsafe { Layout::from_size_align_unchecked(bytes, 8) }
}

#[inline(always)]
pub(crate) fn take<const BYTES: usize>() -> *mut u8 {
    take_layout(fixed::<BYTES>())
}

/// # Safety
/// `block` is live and from `take::<BYTES>`.
#[inline(always)]
pub(crate) unsafe fn give<const BYTES: usize>(block: *mut u8) {
    unsafe { give_layout(block, fixed::<BYTES>()) }
}

/// A block with the size it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Sized8 {
    pub(crate) block: *mut u8,
    pub(crate) bytes: usize,
}

// SAFETY: a block may be used and freed on any thread; whoever holds the value owns the block.
unsafe impl Send for Sized8 {}

impl Sized8 {
    #[inline(always)]
    pub(crate) fn take(bytes: usize) -> Self {
        Self { block: take_layout(sized(bytes)), bytes }
    }

    /// # Safety
    /// Not given before.
    #[inline(always)]
    pub(crate) unsafe fn give(self) {
        unsafe { give_layout(self.block, sized(self.bytes)) }
    }

    /// Writes all of it, so that every OS page under it is resident.
    pub(crate) fn fill(self) {
        // SAFETY: the block is live and `bytes` long.
        unsafe { self.block.write_bytes(1, self.bytes) }
    }
}
