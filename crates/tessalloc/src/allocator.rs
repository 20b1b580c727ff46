//! `&Heap` as the allocator of a collection, by the trait of the crate `allocator-api2` and by the standard one, which are alike.
//!
//! A1 A block is in use while its collection is; the collection borrows the heap, which can neither end nor be cleared meanwhile.
//! A2 Size 0 has no block: its address is the alignment, and nothing is freed.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::heaps::Heap;

/// A block as the traits give it; what does not fit is `None`.
fn allocate(heap: &Heap, layout: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
    let block = match layout.size() {
        0 => dangling(layout),
        _ if zeroed => heap.alloc_zeroed(layout)?,
        _ => heap.alloc(layout)?,
    };
    Some(NonNull::slice_from_raw_parts(block, layout.size()))
}

/// A2.
fn dangling(layout: Layout) -> NonNull<u8> {
    // An alignment is never 0.
    NonNull::new(core::ptr::without_provenance_mut(layout.align())).unwrap_or(NonNull::dangling())
}

/// # Safety
/// - The block is of this heap, allocated with this layout, and nobody uses it any more.
unsafe fn deallocate(heap: &Heap, block: NonNull<u8>, layout: Layout) {
    if layout.size() > 0 {
        // SAFETY: the caller's duty; a block, since it has a size (A2).
        unsafe { heap.dealloc(block, layout) };
    }
}

/// The block with another layout, in place if it can. If it fails, the block stays as it is.
///
/// # Safety
/// - As for [`deallocate`], if it succeeds.
unsafe fn resize(heap: &Heap, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<[u8]>> {
    // SAFETY: the caller's duty; a block, where it has a size (A2).
    unsafe {
        if old.size() > 0 && new.size() > 0 && old.align() == new.align() {
            return Some(NonNull::slice_from_raw_parts(heap.realloc(block, old, new.size())?, new.size()));
        }
        let moved = allocate(heap, new, false)?;
        moved.cast::<u8>().copy_from_nonoverlapping(block, old.size().min(new.size()));
        deallocate(heap, block, old);
        Some(moved)
    }
}

/// Implements the trait of a module that has `Allocator` and `AllocError`.
macro_rules! implement {
    ($(#[$doc:meta])* $api:path) => {
        const _: () = {
            use $api as api;

            $(#[$doc])*
            // SAFETY: A1: blocks stay valid while the heap is borrowed, by this reference or a copy of it; copies free each
            // other's blocks, since they are the same heap's.
            unsafe impl api::Allocator for &Heap {
                #[inline]
                fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, api::AllocError> {
                    allocate(self, layout, false).ok_or(api::AllocError)
                }

                #[inline]
                fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, api::AllocError> {
                    allocate(self, layout, true).ok_or(api::AllocError)
                }

                #[inline]
                unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                    // SAFETY: the caller's duty.
                    unsafe { deallocate(self, block, layout) }
                }

                #[inline]
                unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, api::AllocError> {
                    // SAFETY: the caller's duty.
                    unsafe { resize(self, block, old, new) }.ok_or(api::AllocError)
                }

                #[inline]
                unsafe fn grow_zeroed(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, api::AllocError> {
                    // SAFETY: the caller's duty; the new block holds so much.
                    unsafe {
                        let grown = resize(self, block, old, new).ok_or(api::AllocError)?;
                        grown.cast::<u8>().add(old.size()).write_bytes(0, new.size() - old.size());
                        Ok(grown)
                    }
                }

                #[inline]
                unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, api::AllocError> {
                    // SAFETY: the caller's duty.
                    unsafe { resize(self, block, old, new) }.ok_or(api::AllocError)
                }
            }
        };
    };
}

#[cfg(feature = "allocator-api2")]
implement! {
    /// A heap for the collections of `allocator-api2`, `hashbrown` and others. Feature `allocator-api2`.
    ///
    /// ```
    /// use tessalloc::Heap;
    /// let heap = Heap::new()?;
    /// let numbers = allocator_api2::vec![in &heap; 2; 3];
    /// assert!(heap.contains(numbers.as_ptr().cast()));
    /// drop(numbers);
    /// heap.destroy();
    /// # Ok::<(), tessalloc::OutOfMemory>(())
    /// ```
    ///
    /// The heap does not end, by `destroy`, `delete` or a drop, while a collection is in it:
    ///
    /// ```compile_fail,E0505
    /// # use tessalloc::Heap;
    /// let heap = Heap::new()?;
    /// let numbers = allocator_api2::vec![in &heap; 2; 3];
    /// heap.destroy();
    /// drop(numbers);
    /// # Ok::<(), tessalloc::OutOfMemory>(())
    /// ```
    ///
    /// Neither is it cleared:
    ///
    /// ```compile_fail,E0502
    /// # use tessalloc::Heap;
    /// let mut heap = Heap::new()?;
    /// let numbers = allocator_api2::vec![in &heap; 2; 3];
    /// heap.clear();
    /// drop(numbers);
    /// # Ok::<(), tessalloc::OutOfMemory>(())
    /// ```
    ///
    /// What lies in the heap of a [`Heap::scope`] stays in the scope. Its sum may leave, a reference may not:
    ///
    /// ```
    /// # use tessalloc::Heap;
    /// let sum: i32 = Heap::scope(|heap| allocator_api2::vec![in heap; 2; 3].leak().iter().sum())?;
    /// assert_eq!(sum, 6);
    /// # Ok::<(), tessalloc::OutOfMemory>(())
    /// ```
    ///
    /// ```compile_fail
    /// # use tessalloc::Heap;
    /// let numbers = Heap::scope(|heap| allocator_api2::vec![in heap; 2; 3].leak())?;
    /// assert_eq!(numbers.len(), 3);
    /// # Ok::<(), tessalloc::OutOfMemory>(())
    /// ```
    allocator_api2::alloc
}

#[cfg(feature = "nightly")]
implement! {
    /// A heap for the standard library's collections. Feature `nightly`: the trait is not stable yet.
    core::alloc
}
