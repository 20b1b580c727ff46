//! Allocation from a heap as C has it: sizes and alignments instead of layouts, null instead of `None`. The answers are those of
//! [`crate::raw`]'s functions of the same names; blocks are freed as any other.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{NonNull, null_mut};

use super::Heap;
use crate::first_class::{self, ADDRESS_MIN, Core};
use crate::page::Kind;
use crate::raw::{self, C_ALIGN, Source};
use crate::region;
use crate::report;
use crate::size_class::{SizeClass, TABLE_BYTES_MAX};
use crate::sync::tls;

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
        if self.zeroes {
            return raw::zeroed_from(self, size, align, offset);
        }
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

    /// As [`raw::malloc_batch`].
    pub fn malloc_batch(&self, size: usize, blocks: &mut [*mut u8]) -> usize {
        for (count, place) in blocks.iter_mut().enumerate() {
            let block = self.malloc(size);
            if block.is_null() {
                return count;
            }
            *place = block;
        }
        blocks.len()
    }

    /// Frees a block of this heap, as [`Heap::dealloc`], for who does not know its layout. Null is nothing; a block of another heap is
    /// reported and ends the process.
    ///
    /// # Safety
    /// - As for [`raw::free`].
    pub unsafe fn free(&self, block: *mut u8) {
        if block.is_null() {
            return;
        }
        // SAFETY: the caller's duty: the block's page stands, and is of this heap.
        unsafe {
            let page = match first_class::page_at(block) {
                Some(page) if (*page).heap() == self.core.as_ptr() => page,
                _ => report::foreign_to_heap(block.addr()),
            };
            if (*page).kind() != Kind::Small {
                return raw::free(block);
            }
            let class = (*page).class();
            if !Heap::free_ready(self.core.as_ptr().cast(), block) {
                first_class::free_slow(self.core.as_ptr(), block, Some(class));
            }
        }
    }
}

/// By a heap's pointer, which may be wrong: for C.
impl Heap {
    /// As [`Heap::from_raw`]; what can be told to be no heap, or one that has ended, is reported as "cannot `action`" and ends the
    /// process.
    ///
    /// # Safety
    /// - As for [`Heap::from_raw`], or the pointer is none: below 4096, not aligned to 128, or 256 bytes may be read there.
    pub unsafe fn from_raw_checked(heap: *mut c_void, action: &str) -> ManuallyDrop<Heap> {
        // SAFETY: the caller's duty.
        unsafe {
            match NonNull::new(heap) {
                Some(pointer) if first_class::is_heap(heap.cast()) => Heap::from_raw(pointer),
                _ => report::no_heap(action, heap.addr()),
            }
        }
    }

    /// As [`Heap::malloc`], if this thread's stack of the heap has a block; else null, whatever the pointer is.
    ///
    /// # Safety
    /// - The pointer is below 4096, or 256 bytes may be read there.
    #[inline(always)]
    pub unsafe fn malloc_ready(heap: *mut c_void, size: usize) -> *mut u8 {
        let core: *const Core = heap.cast();
        if size > TABLE_BYTES_MAX || core.addr() < ADDRESS_MIN {
            return null_mut();
        }
        // SAFETY: the caller's duty; the record is this thread's, and of a heap that stands: ids of others have no handle.
        unsafe {
            match first_class::handle(tls::get(), (*core).id.get()) {
                Some(record) if !(*core).settings.zeroes => {
                    raw::pop_or_take(record.as_ptr().cast(), SizeClass::of_c_bytes(size))
                }
                _ => null_mut(),
            }
        }
    }

    /// As [`Heap::free`], if this thread's stack of the heap has room; else false, and nothing happened, whatever the pointers are.
    ///
    /// # Safety
    /// - The block is as for [`Heap::free`] if it is one of this heap.
    #[inline(always)]
    pub unsafe fn free_ready(heap: *mut c_void, block: *mut u8) -> bool {
        let core: *mut Core = heap.cast();
        let Some(slice) = region::first().slice_of(block.addr()) else { return false };
        // What lies behind its page's first slice is left to `free`.
        let page = region::first().page(slice);
        // SAFETY: a descriptor of the table. Small pages that say this heap are its own: those given back say that they are free.
        unsafe {
            if core.is_null() || (*page).heap() != core || (*page).kind() != Kind::Small {
                return false;
            }
            match first_class::handle(tls::get(), (*core).id.get()) {
                Some(record) => raw::push(record.as_ptr().cast(), usize::from((*page).class), block),
                None => false,
            }
        }
    }
}
