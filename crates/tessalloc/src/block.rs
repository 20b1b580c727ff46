//! A free block: its first word links to the next one. The only place where such links are read and written.

use crate::track;

/// The head of a free block.
#[repr(C)]
pub(crate) struct Block {
    next: *mut Block,
}

impl Block {
    /// The block that this free block links to.
    ///
    /// # Safety
    /// - `block` is a free block that the caller holds.
    #[inline(always)]
    pub(crate) unsafe fn next(block: *mut Block) -> *mut Block {
        // SAFETY: the caller's duty; blocks are at least 8 bytes and 8-aligned.
        track::link(block.cast(), || unsafe { (*block).next })
    }

    /// Links a free block to another.
    ///
    /// # Safety
    /// - `block` is a free block that the caller holds.
    #[inline(always)]
    pub(crate) unsafe fn set_next(block: *mut Block, next: *mut Block) {
        // SAFETY: the caller's duty; blocks are at least 8 bytes and 8-aligned.
        track::link(block.cast(), || unsafe { (*block).next = next });
    }
}
