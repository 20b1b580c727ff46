//! Allocation from a heap as C has it: sizes and alignments instead of layouts, null instead of `None`. The answers are those of
//! [`crate::raw`]'s functions of the same names; blocks are freed as any other.

use super::Heap;
use crate::first_class;
use crate::raw::{self, C_ALIGN, Source};

impl Source for Heap {
    fn aligned(&self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        self.raw_alloc(size, align, zeroed || self.zeroes)
    }

    fn at_offset(&self, size: usize, align: usize, lead: usize) -> (*mut u8, bool) {
        // SAFETY: the heap stands while this value does.
        let (block, is_fresh) = unsafe { first_class::alloc_at_offset(self.core.as_ptr(), size, align, lead) };
        if self.zeroes && !block.is_null() && !is_fresh {
            // SAFETY: the block was allocated just now.
            unsafe { block.write_bytes(0, raw::usable_size(block)) };
        }
        (block, is_fresh || self.zeroes)
    }

    unsafe fn resized(&self, block: *mut u8, size: usize, align: usize) -> *mut u8 {
        // SAFETY: the caller's duty, for all of this function.
        unsafe {
            let usable = raw::usable_size(block);
            let is_aligned = block.addr() & (align - 1) == 0;
            // In place if it fits and at most half would be wasted, also in another heap.
            if is_aligned && size <= usable && (size >= usable / 2 || usable <= 64) {
                return block;
            }
            let new = self.raw_alloc(size, align, self.zeroes);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, usable.min(size));
                raw::free(block);
            }
            new
        }
    }
}

impl Heap {
    /// As [`raw::malloc`].
    pub fn malloc(&self, size: usize) -> *mut u8 {
        self.aligned_at(size, C_ALIGN, 0)
    }

    /// As [`raw::zalloc`].
    pub fn zalloc(&self, size: usize) -> *mut u8 {
        self.zalloc_aligned_at(size, C_ALIGN, 0)
    }

    /// As [`raw::aligned_at`]; offset 0 is plain alignment.
    pub fn aligned_at(&self, size: usize, align: usize, offset: usize) -> *mut u8 {
        raw::block_from(self, size, align, offset)
    }

    /// As [`raw::zalloc_aligned_at`].
    pub fn zalloc_aligned_at(&self, size: usize, align: usize, offset: usize) -> *mut u8 {
        raw::zeroed_from(self, size, align, offset)
    }

    /// As [`raw::realloc_aligned_at`]. The block may be of any heap; one that has to move becomes this heap's.
    ///
    /// # Safety
    /// - As for [`raw::realloc`].
    pub unsafe fn realloc_aligned_at(&self, block: *mut u8, size: usize, align: usize, offset: usize) -> *mut u8 {
        // SAFETY: the caller's duty.
        unsafe {
            if self.zeroes {
                raw::regrown_from(self, block, size, align, offset)
            } else {
                raw::resized_from(self, block, size, align, offset)
            }
        }
    }

    /// As [`raw::rezalloc_aligned_at`]. The block may be of any heap; one that has to move becomes this heap's.
    ///
    /// # Safety
    /// - As for [`raw::realloc`].
    pub unsafe fn rezalloc_aligned_at(&self, block: *mut u8, size: usize, align: usize, offset: usize) -> *mut u8 {
        // SAFETY: the caller's duty.
        unsafe { raw::regrown_from(self, block, size, align, offset) }
    }
}
