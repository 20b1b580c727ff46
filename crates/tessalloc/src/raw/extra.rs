//! What goes beyond malloc, realloc and free.
//!
//! | question                                | answer                                                                            |
//! |-----------------------------------------|-----------------------------------------------------------------------------------|
//! | `count × size` overflows                | null; a block that was given stays as it is                                         |
//! | size 0                                  | a block of its own, also from the realloc forms: they never free                    |
//! | what [`zalloc`] and its kin clear       | the whole of the usable size, so that [`rezalloc`] may later show it                |
//! | what [`rezalloc`] and its kin clear     | all from the old *usable* size on; what lies between the old request and that is as it was: zero if the block came from here and nobody wrote there |
//! | alignment at an offset                  | up to [`OFFSET_ALIGN_MAX`]; [`free`] and [`usable_size`] take such blocks as any    |

use core::ptr::null_mut;

use super::{
    BYTES_MAX, C_ALIGN, aligned, free, large_page, malloc, malloc_slow, realloc, realloc_aligned, refuse, usable_size,
};
use super::{is_ours, zeroed_aligned};
use crate::block::Block;
use crate::region::{self, SLICE_BYTES};
use crate::report::{self, ErrorKind};
use crate::sample;
use crate::scavenger;
use crate::size_class::{SizeClass, TABLE_BYTES_MAX};
use crate::sync::tls;
use crate::theap::Stacks;
use crate::track;
use crate::{large, offset};

/// The largest alignment at an offset: 4 MiB.
pub const OFFSET_ALIGN_MAX: usize = offset::ALIGN_MAX;

/// A block and how much of it may be used; both zero if memory is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizedBlock {
    /// The block, or null.
    pub block: *mut u8,
    /// Unit: bytes, never below the request.
    pub usable_bytes: usize,
}

impl SizedBlock {
    fn of(block: *mut u8) -> Self {
        // SAFETY: null, or a block allocated just now.
        Self { block, usable_bytes: unsafe { usable_size(block) } }
    }
}

/// As [`malloc`]; all of the block's usable bytes read zero, where those of [`calloc`](super::calloc) beyond the request need not.
#[inline]
pub fn zalloc(size: usize) -> *mut u8 {
    zalloc_aligned(size, C_ALIGN)
}

/// As [`zalloc`], for `count` × `size` bytes.
#[inline]
pub fn zallocn(count: usize, size: usize) -> *mut u8 {
    count.checked_mul(size).map_or_else(no_number, zalloc)
}

/// As [`malloc`], for `count` × `size` bytes.
#[inline]
pub fn mallocn(count: usize, size: usize) -> *mut u8 {
    count.checked_mul(size).map_or_else(no_number, malloc)
}

/// As [`zalloc`], at any power of two.
pub fn zalloc_aligned(size: usize, align: usize) -> *mut u8 {
    zeroed_from(&DefaultHeap, size, align, 0)
}

/// Null for `count` × `size` bytes that no number holds.
#[cold]
fn no_number() -> *mut u8 {
    report::refused(ErrorKind::Overflow, usize::MAX)
}

/// Usable bytes of a block that would be allocated for `size` bytes, at most [`BYTES_MAX`], at a power of two.
pub fn good_size_aligned(size: usize, align: usize) -> usize {
    match SizeClass::of_layout(size, align) {
        Some(class) => class.block_bytes(),
        None => size.max(1).next_multiple_of(SLICE_BYTES),
    }
}

/// A block of at least `size` bytes so that `block + offset` is a multiple of `align`; null if memory is out, if `align` is no
/// power of two, or if it is above [`OFFSET_ALIGN_MAX`] and `offset` no multiple of it. Cost: that of [`aligned`] where `offset`
/// is a multiple of `align`; else a lock, and up to `align` bytes.
pub fn aligned_at(size: usize, align: usize, offset: usize) -> *mut u8 {
    block_from(&DefaultHeap, size, align, offset)
}

/// As [`aligned_at`]; all of the block's usable bytes read zero.
pub fn zalloc_aligned_at(size: usize, align: usize, offset: usize) -> *mut u8 {
    zeroed_from(&DefaultHeap, size, align, offset)
}

/// As [`realloc_aligned`], for [`aligned_at`]: the block is, or stays, so that `block + offset` is a multiple of `align`.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn realloc_aligned_at(block: *mut u8, size: usize, align: usize, offset: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { resized_from(&DefaultHeap, block, size, align, offset) }
}

/// As [`realloc`]; what the block grew by, counted from its old *usable* size, reads zero. Clears, so touches, all of that.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn rezalloc(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { rezalloc_aligned_at(block, size, C_ALIGN, 0) }
}

/// As [`rezalloc`], at any power of two.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn rezalloc_aligned(block: *mut u8, size: usize, align: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { rezalloc_aligned_at(block, size, align, 0) }
}

/// As [`rezalloc`], for [`aligned_at`].
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn rezalloc_aligned_at(block: *mut u8, size: usize, align: usize, offset: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe { regrown_from(&DefaultHeap, block, size, align, offset) }
}

/// Where blocks come from. The sizes and alignments that it is asked for were checked.
pub(crate) trait Source {
    /// A block, which reads zero if so asked.
    fn aligned(&self, size: usize, align: usize, zeroed: bool) -> *mut u8;
    /// A block that starts `lead` (> 0) bytes behind a multiple of `align`, and whether it reads zero.
    fn at_offset(&self, size: usize, align: usize, lead: usize) -> (*mut u8, bool);
    /// A block of another size, as [`realloc_aligned`].
    ///
    /// # Safety
    /// - As for [`realloc`]; the block is not null.
    unsafe fn resized(&self, block: *mut u8, size: usize, align: usize) -> *mut u8;
}

struct DefaultHeap;

impl Source for DefaultHeap {
    fn aligned(&self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        if zeroed { zeroed_aligned(size, align) } else { aligned(size, align) }
    }

    fn at_offset(&self, size: usize, align: usize, lead: usize) -> (*mut u8, bool) {
        // SAFETY: null is the default heap.
        let once = || unsafe { offset::alloc(null_mut(), tls::get(), size, align, lead) };
        let mut found = once();
        if found.0.is_null() && !region::is_beyond_all(size, align) {
            // As in `alloc_slow`: what is held but not used goes back, and it is tried once more.
            scavenger::purge_all(scavenger::HASTY_TRIES);
            found = once();
        }
        if found.0.is_null() {
            report::refused(ErrorKind::OutOfMemory, size);
        }
        found
    }

    unsafe fn resized(&self, block: *mut u8, size: usize, align: usize) -> *mut u8 {
        // SAFETY: the caller's duty.
        unsafe { realloc_aligned(block, size, align) }
    }
}

/// Bytes from the last multiple of `align` to the block; `None`, and the program is told, if the request can't be served.
fn checked_lead(size: usize, align: usize, offset: usize) -> Option<usize> {
    if size > BYTES_MAX || !align.is_power_of_two() {
        refuse(size, align);
        return None;
    }
    let lead = offset::lead_of(align, offset);
    if lead != 0 && align > OFFSET_ALIGN_MAX {
        report::refused(ErrorKind::InvalidArgument, size);
        return None;
    }
    Some(lead)
}

/// [`aligned_at`] from any source.
#[inline]
pub(crate) fn block_from(source: &impl Source, size: usize, align: usize, offset: usize) -> *mut u8 {
    match checked_lead(size, align, offset) {
        None => null_mut(),
        Some(0) => source.aligned(size, align, false),
        Some(lead) => source.at_offset(size, align, lead).0,
    }
}

/// [`zalloc_aligned_at`] from any source.
#[inline]
pub(crate) fn zeroed_from(source: &impl Source, size: usize, align: usize, offset: usize) -> *mut u8 {
    match checked_lead(size, align, offset) {
        None => null_mut(),
        Some(0) => {
            // To the end of what is usable.
            source.aligned(good_size_aligned(size, align), align, true)
        }
        Some(lead) => {
            let (block, is_fresh) = source.at_offset(size, align, lead);
            if !block.is_null() && !is_fresh {
                // SAFETY: the block was allocated just now.
                unsafe { block.write_bytes(0, usable_size(block)) };
            }
            block
        }
    }
}

/// [`realloc_aligned_at`] from any source.
///
/// # Safety
/// - As for [`realloc`].
pub(crate) unsafe fn resized_from(
    source: &impl Source,
    block: *mut u8,
    size: usize,
    align: usize,
    offset: usize,
) -> *mut u8 {
    if block.is_null() {
        return block_from(source, size, align, offset);
    }
    let Some(lead) = checked_lead(size, align, offset) else { return null_mut() };
    // SAFETY: the caller's duty, for all of this function.
    unsafe {
        if lead == 0 {
            return source.resized(block, size, align);
        }
        let usable = usable_size(block);
        let is_aligned = block.addr().wrapping_add(offset) & (align - 1) == 0;
        // In place if it fits and at most half would be wasted.
        if is_aligned && size <= usable && size >= usable / 2 {
            return block;
        }
        let (new, _) = source.at_offset(size, align, lead);
        if !new.is_null() {
            new.copy_from_nonoverlapping(block, usable.min(size));
            free(block);
        }
        new
    }
}

/// [`rezalloc_aligned_at`] from any source.
///
/// # Safety
/// - As for [`realloc`].
pub(crate) unsafe fn regrown_from(
    source: &impl Source,
    block: *mut u8,
    size: usize,
    align: usize,
    offset: usize,
) -> *mut u8 {
    if block.is_null() {
        return zeroed_from(source, size, align, offset);
    }
    // SAFETY: the caller's duty, for all of this function.
    unsafe {
        let before = usable_size(block);
        let new = resized_from(source, block, size, align, offset);
        if !new.is_null() {
            // A block that moved holds no more of the old one than was asked for.
            let kept = if new == block { before } else { before.min(size) };
            let usable = usable_size(new);
            if usable > kept {
                new.add(kept).write_bytes(0, usable - kept);
            }
        }
        new
    }
}

/// As [`rezalloc`], to `count` × `size` bytes.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn recalloc(block: *mut u8, count: usize, size: usize) -> *mut u8 {
    match count.checked_mul(size) {
        // SAFETY: the caller's duty.
        Some(bytes) => unsafe { rezalloc(block, bytes) },
        None => no_number(),
    }
}

/// As [`realloc`], to `count` × `size` bytes.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn reallocn(block: *mut u8, count: usize, size: usize) -> *mut u8 {
    match count.checked_mul(size) {
        // SAFETY: the caller's duty.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => no_number(),
    }
}

/// As [`realloc`]; if memory is out, the block is freed.
///
/// # Safety
/// - As for [`realloc`], and the block is the caller's no more whatever is returned.
pub unsafe fn reallocf(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's duty.
    unsafe {
        let new = realloc(block, size);
        if new.is_null() {
            free(block);
        }
        new
    }
}

/// Makes a block hold `size` bytes where it lies; false if it can't. It never shrinks. Cost: for a small block that of
/// [`usable_size`]; a large one takes the slices behind it if they are free.
///
/// # Safety
/// - `block` is null, or a block of this allocator in use.
pub unsafe fn expand(block: *mut u8, size: usize) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        if block.is_null() || size > BYTES_MAX {
            return false;
        }
        size <= usable_size(block)
            || large_page(block).is_some_and(|page| {
                let is_done = large::resize_in_place(tls::get(), page, size);
                if is_done {
                    sample::resized(block, size);
                }
                is_done
            })
    }
}

/// As [`malloc`], with the usable size.
pub fn malloc_sized(size: usize) -> SizedBlock {
    SizedBlock::of(malloc(size))
}

/// As [`aligned`], with the usable size.
pub fn aligned_sized(size: usize, align: usize) -> SizedBlock {
    SizedBlock::of(aligned(size, align))
}

/// As [`zalloc_aligned`], with the usable size.
pub fn zalloc_sized(size: usize, align: usize) -> SizedBlock {
    SizedBlock::of(zalloc_aligned(size, align))
}

/// As [`realloc`], with the usable size; the second value is the old block's.
///
/// # Safety
/// - As for [`realloc`].
pub unsafe fn realloc_sized(block: *mut u8, size: usize) -> (SizedBlock, usize) {
    // SAFETY: the caller's duty.
    unsafe {
        let before = usable_size(block);
        (SizedBlock::of(realloc(block, size)), before)
    }
}

/// Fills `blocks` with blocks of at least `size` bytes each, aligned to 16, and returns how many there are: fewer only if memory
/// is out; the rest of `blocks` stays as it is. They are freed each by itself, or by [`free_batch`]. Cost: those that lie ready
/// on the thread's stack are taken together.
pub fn malloc_batch(size: usize, blocks: &mut [*mut u8]) -> usize {
    let mut count = 0;
    while count < blocks.len() {
        if size <= TABLE_BYTES_MAX {
            count += pop_many(tls::get(), SizeClass::of_c_bytes(size), &mut blocks[count..]);
        }
        if let Some(place) = blocks.get_mut(count) {
            let block = if size <= TABLE_BYTES_MAX { malloc_slow(size) } else { malloc(size) };
            if block.is_null() {
                break;
            }
            *place = block;
            count += 1;
        }
    }
    count
}

/// Takes blocks from a stack: as many as are there and wanted.
fn pop_many(stacks: *mut Stacks, class: SizeClass, blocks: &mut [*mut u8]) -> usize {
    // SAFETY: classes are below the tables' length. T1: the stack is this thread's; it is written only if it had a block, which
    // the read-only stacks have not.
    unsafe {
        let top = &raw mut (*stacks).top[class.index()];
        let mut block = *top;
        let mut count = 0;
        for place in blocks {
            if block.is_null() {
                break;
            }
            *place = block.cast();
            block = Block::next(block);
            track::out_of(class, *place);
            count += 1;
        }
        if count > 0 {
            *top = block;
            (*stacks).room[class.index()] += count as i32;
        }
        count
    }
}

/// Frees all of `blocks`; null among them is nothing.
///
/// # Safety
/// - As for [`free`], for each of them.
pub unsafe fn free_batch(blocks: &[*mut u8]) {
    for &block in blocks {
        // SAFETY: the caller's duty.
        unsafe { free(block) };
    }
}

/// Frees a block if it lies in this allocator's memory; else nothing happens, and false is returned.
///
/// # Safety
/// - If the address is ours, as for [`free`].
pub unsafe fn free_if_ours(block: *mut u8) -> bool {
    let found = is_ours(block);
    if found {
        // SAFETY: the caller's duty.
        unsafe { free(block) };
    }
    found
}
