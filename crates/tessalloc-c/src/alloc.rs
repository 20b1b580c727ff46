//! The allocation functions of `include/tessalloc.h` beyond the malloc family.
//!
//! | question                                   | answer                                                                    |
//! |--------------------------------------------|---------------------------------------------------------------------------|
//! | out of memory, `count * size` overflows    | null and ENOMEM; a block that was given stays, except by `reallocf`         |
//! | size 0                                     | a block of its own, also from the realloc forms (`tessalloc_realloc` alone frees) |
//! | alignment that is no power of two          | null and EINVAL                                                           |
//! | alignment over 4 MiB, at an offset that is no multiple of it | null and EINVAL                                         |
use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{copy_nonoverlapping, null_mut};

use tessalloc::raw;

use crate::block::{fail, or_no_memory};

/// Alignment and offset as the core takes them: aligned to 16 too where the offset leaves the choice. `None` if they can't be had.
fn checked(align: usize, offset: usize) -> Option<(usize, usize)> {
    if !align.is_power_of_two() {
        return None;
    }
    if offset & (align - 1) == 0 {
        return Some((align.max(16), 0));
    }
    (align <= raw::OFFSET_ALIGN_MAX).then_some((align, offset))
}

/// Runs `act` with alignment and offset as the core takes them.
pub(crate) fn aligned(align: usize, offset: usize, act: impl FnOnce(usize, usize) -> *mut u8) -> *mut c_void {
    match checked(align, offset) {
        Some((align, offset)) => or_no_memory(act(align, offset)),
        None => fail(libc::EINVAL),
    }
}

/// `count * size`, then `act`.
pub(crate) fn times(count: usize, size: usize, act: impl FnOnce(usize) -> *mut c_void) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => act(bytes),
        None => fail(libc::ENOMEM),
    }
}

pub(crate) fn malloc_at(size: usize, align: usize, offset: usize) -> *mut c_void {
    aligned(align, offset, |align, offset| raw::aligned_at(size, align, offset))
}

pub(crate) fn zalloc_at(size: usize, align: usize, offset: usize) -> *mut c_void {
    aligned(align, offset, |align, offset| raw::zalloc_aligned_at(size, align, offset))
}

/// # Safety
/// - As for `realloc`.
pub(crate) unsafe fn realloc_at(block: *mut u8, size: usize, align: usize, offset: usize) -> *mut c_void {
    // SAFETY: the caller's duty is the core's.
    aligned(align, offset, |align, offset| unsafe { raw::realloc_aligned_at(block, size, align, offset) })
}

/// # Safety
/// - As for `realloc`.
pub(crate) unsafe fn rezalloc_at(block: *mut u8, size: usize, align: usize, offset: usize) -> *mut c_void {
    // SAFETY: the caller's duty is the core's.
    aligned(align, offset, |align, offset| unsafe { raw::rezalloc_aligned_at(block, size, align, offset) })
}

/// Makes exports without duties of the caller.
macro_rules! export {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $body:block)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($($argument: $type),*) -> *mut c_void $body
    )* };
}

/// Makes exports that take a block, with `realloc`'s duties.
macro_rules! export_realloc {
    ($($(#[$doc:meta])* $name:ident($block:ident, $($argument:ident),*) $body:block)*) => { $(
        $(#[$doc])*
        ///
        /// # Safety
        /// - As for `realloc`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($block: *mut c_void, $($argument: usize),*) -> *mut c_void {
            let $block: *mut u8 = $block.cast();
            $body
        }
    )* };
}

export! {
    /// A block whose usable bytes all read zero.
    tessalloc_zalloc(size: usize) { or_no_memory(raw::zalloc(size)) }
    /// A block of `count * size` bytes.
    tessalloc_mallocn(count: usize, size: usize) { or_no_memory(raw::mallocn(count, size)) }
    /// A block of `count * size` bytes whose usable bytes all read zero.
    tessalloc_zallocn(count: usize, size: usize) { or_no_memory(raw::zallocn(count, size)) }
    /// A block at a multiple of `align`.
    tessalloc_malloc_aligned(size: usize, align: usize) { malloc_at(size, align, 0) }
    /// A block at a multiple of `align` whose usable bytes all read zero.
    tessalloc_zalloc_aligned(size: usize, align: usize) { zalloc_at(size, align, 0) }
    /// As [`tessalloc_zalloc_aligned`], for `count * size` bytes.
    tessalloc_calloc_aligned(count: usize, size: usize, align: usize) {
        times(count, size, |bytes| zalloc_at(bytes, align, 0))
    }
    /// A block so that `block + offset` is a multiple of `align`.
    tessalloc_malloc_aligned_at(size: usize, align: usize, offset: usize) {
        malloc_at(size, align, offset)
    }
    /// As [`tessalloc_malloc_aligned_at`]; its usable bytes all read zero.
    tessalloc_zalloc_aligned_at(size: usize, align: usize, offset: usize) {
        zalloc_at(size, align, offset)
    }
    /// As [`tessalloc_zalloc_aligned_at`], for `count * size` bytes.
    tessalloc_calloc_aligned_at(count: usize, size: usize, align: usize, offset: usize) {
        times(count, size, |bytes| zalloc_at(bytes, align, offset))
    }
}

export_realloc! {
    /// `realloc` that gives a block for size 0, to `count * size` bytes.
    tessalloc_reallocn(block, count, size) {
        // SAFETY: the caller's duty is the core's.
        or_no_memory(unsafe { raw::reallocn(block, count, size) })
    }
    /// `realloc` that frees the block if memory is out.
    tessalloc_reallocf(block, size) {
        // SAFETY: the caller's duty is the core's.
        or_no_memory(unsafe { raw::reallocf(block, size) })
    }
    /// `realloc`; what the block grew by reads zero.
    tessalloc_rezalloc(block, size) {
        // SAFETY: the caller's duty is the core's.
        or_no_memory(unsafe { raw::rezalloc(block, size) })
    }
    /// As [`tessalloc_rezalloc`], to `count * size` bytes.
    tessalloc_recalloc(block, count, size) {
        // SAFETY: the caller's duty is the core's.
        or_no_memory(unsafe { raw::recalloc(block, count, size) })
    }
    /// `realloc` at a multiple of `align`.
    tessalloc_realloc_aligned(block, size, align) {
        // SAFETY: the caller's duty.
        unsafe { realloc_at(block, size, align, 0) }
    }
    /// [`tessalloc_rezalloc`] at a multiple of `align`.
    tessalloc_rezalloc_aligned(block, size, align) {
        // SAFETY: the caller's duty.
        unsafe { rezalloc_at(block, size, align, 0) }
    }
    /// [`tessalloc_recalloc`] at a multiple of `align`.
    tessalloc_recalloc_aligned(block, count, size, align) {
        // SAFETY: the caller's duty.
        times(count, size, |bytes| unsafe { rezalloc_at(block, bytes, align, 0) })
    }
    /// `realloc` so that `block + offset` is a multiple of `align`.
    tessalloc_realloc_aligned_at(block, size, align, offset) {
        // SAFETY: the caller's duty.
        unsafe { realloc_at(block, size, align, offset) }
    }
    /// [`tessalloc_rezalloc`] so that `block + offset` is a multiple of `align`.
    tessalloc_rezalloc_aligned_at(block, size, align, offset) {
        // SAFETY: the caller's duty.
        unsafe { rezalloc_at(block, size, align, offset) }
    }
    /// [`tessalloc_recalloc`] so that `block + offset` is a multiple of `align`.
    tessalloc_recalloc_aligned_at(block, count, size, align, offset) {
        // SAFETY: the caller's duty.
        times(count, size, |bytes| unsafe { rezalloc_at(block, bytes, align, offset) })
    }
    /// The block itself if it holds `size` bytes where it lies, or can be made to; else null, and nothing happens.
    tessalloc_expand(block, size) {
        // SAFETY: the caller's duty is the core's.
        if unsafe { raw::expand(block, size) } { block.cast() } else { fail(libc::ENOMEM) }
    }
}

/// Sets the block behind `place` to `count * size` bytes; returns 0, EOVERFLOW or ENOMEM, and leaves `errno` alone. Size 0 frees.
///
/// # Safety
/// - `place` points to a block pointer of the caller's, with the duties of `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_reallocarr(place: *mut c_void, count: usize, size: usize) -> c_int {
    let place = place.cast::<*mut u8>();
    let Some(bytes) = count.checked_mul(size) else { return libc::EOVERFLOW };
    // SAFETY: the caller's duty.
    unsafe {
        let block = place.read();
        if bytes == 0 {
            raw::free(block);
            place.write(null_mut());
            return 0;
        }
        let new = raw::realloc(block, bytes);
        if new.is_null() {
            return libc::ENOMEM;
        }
        place.write(new);
    }
    0
}

/// Writes the usable size to where the caller wants it, if anywhere.
///
/// # Safety
/// - `block` is null or a block of ours in use; `usable_bytes` is null or may be written.
unsafe fn with_usable(block: *mut c_void, usable_bytes: *mut usize) -> *mut c_void {
    if !usable_bytes.is_null() {
        // SAFETY: the caller's duty.
        unsafe { *usable_bytes = raw::usable_size(block.cast()) };
    }
    block
}

/// As `malloc`, with the usable size.
///
/// # Safety
/// - `usable_bytes` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_malloc_sized(size: usize, usable_bytes: *mut usize) -> *mut c_void {
    // SAFETY: a new block; the caller's duty.
    unsafe { with_usable(or_no_memory(raw::malloc(size)), usable_bytes) }
}

/// As [`tessalloc_zalloc`], with the usable size.
///
/// # Safety
/// - `usable_bytes` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_zalloc_sized(size: usize, usable_bytes: *mut usize) -> *mut c_void {
    // SAFETY: a new block; the caller's duty.
    unsafe { with_usable(or_no_memory(raw::zalloc(size)), usable_bytes) }
}

/// As [`tessalloc_malloc_aligned`], with the usable size.
///
/// # Safety
/// - `usable_bytes` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_malloc_aligned_sized(
    size: usize,
    align: usize,
    usable_bytes: *mut usize,
) -> *mut c_void {
    // SAFETY: a new block; the caller's duty.
    unsafe { with_usable(malloc_at(size, align, 0), usable_bytes) }
}

/// As [`tessalloc_zalloc_aligned`], with the usable size.
///
/// # Safety
/// - `usable_bytes` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_zalloc_aligned_sized(
    size: usize,
    align: usize,
    usable_bytes: *mut usize,
) -> *mut c_void {
    // SAFETY: a new block; the caller's duty.
    unsafe { with_usable(zalloc_at(size, align, 0), usable_bytes) }
}

/// `realloc` that gives a block for size 0, with the usable sizes of the old and the new block.
///
/// # Safety
/// - As for `realloc`; both pointers are null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_realloc_sized(
    block: *mut c_void,
    size: usize,
    usable_bytes_before: *mut usize,
    usable_bytes: *mut usize,
) -> *mut c_void {
    // SAFETY: the caller's duty.
    unsafe {
        with_usable(block, usable_bytes_before);
        with_usable(or_no_memory(raw::realloc(block.cast(), size)), usable_bytes)
    }
}

/// As `free`, for a block that was asked for with this size.
///
/// # Safety
/// - As for `free`. A wrong size does no harm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_free_size(block: *mut c_void, size: usize) {
    // SAFETY: the caller's duty; the core compares the size with the block's class before it believes it.
    unsafe { raw::free_layout(block.cast(), size, 16) };
}

/// As `free`, for a block that was asked for with this alignment.
///
/// # Safety
/// - As for `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_free_aligned(block: *mut c_void, _align: usize) {
    // SAFETY: the caller's duty.
    unsafe { raw::free(block.cast()) };
}

/// As `free`, for a block that was asked for with this size and alignment.
///
/// # Safety
/// - As for `free`. A wrong size or alignment does no harm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_free_size_aligned(block: *mut c_void, size: usize, align: usize) {
    // SAFETY: the caller's duty; see `tessalloc_free_size`.
    unsafe {
        if align.is_power_of_two() {
            raw::free_layout(block.cast(), size, align.max(16));
        } else {
            raw::free(block.cast());
        }
    }
}

/// Frees the block and returns 1 if the address lies in our memory; else does nothing and returns 0.
///
/// # Safety
/// - If the address is ours, as for `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_cfree(block: *mut c_void) -> c_int {
    // SAFETY: the caller's duty.
    c_int::from(unsafe { raw::free_if_ours(block.cast()) })
}

/// Fills `blocks` with up to `count` blocks of `size` bytes; returns how many. Fewer only if memory is out: then `errno` says so.
///
/// # Safety
/// - `blocks` has room for `count` pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_malloc_batch(size: usize, blocks: *mut *mut c_void, count: usize) -> usize {
    if count == 0 {
        return 0;
    }
    // SAFETY: the caller's duty.
    let places = unsafe { core::slice::from_raw_parts_mut(blocks.cast::<*mut u8>(), count) };
    let filled = raw::malloc_batch(size, places);
    if filled < count {
        fail(libc::ENOMEM);
    }
    filled
}

/// Frees `count` blocks.
///
/// # Safety
/// - `blocks` holds `count` pointers, each with the duties of `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_free_batch(blocks: *const *mut c_void, count: usize) {
    if count > 0 {
        // SAFETY: the caller's duty.
        unsafe { raw::free_batch(core::slice::from_raw_parts(blocks.cast::<*mut u8>(), count)) };
    }
}

/// A copy of `bytes` bytes at `text`, with a zero behind them, in a block of `take`.
///
/// # Safety
/// - So many bytes may be read; `take` gives null or a block of its size.
unsafe fn copy_of(text: *const c_char, bytes: usize, take: impl FnOnce(usize) -> *mut c_void) -> *mut c_char {
    let copy: *mut c_char = take(bytes + 1).cast();
    if !copy.is_null() {
        // SAFETY: the caller's duty; the copy is new and holds one byte more.
        unsafe {
            copy_nonoverlapping(text, copy, bytes);
            *copy.add(bytes) = 0;
        }
    }
    copy
}

/// `strndup` in a block of `take`; null for null.
///
/// # Safety
/// - `text` is null, ends in a zero byte, or has `bytes_max` bytes; `take` as for [`copy_of`].
pub(crate) unsafe fn text_in(
    text: *const c_char,
    bytes_max: usize,
    take: impl FnOnce(usize) -> *mut c_void,
) -> *mut c_char {
    if text.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's duty. `strnlen` stops at the zero byte, however large the most is.
    unsafe { copy_of(text, libc::strnlen(text, bytes_max), take) }
}

/// `realpath`, in a block of `take` if `resolved` is null.
///
/// # Safety
/// - `path` is a text; `resolved` is null or has room for `PATH_MAX` bytes; `take` as for [`copy_of`].
pub(crate) unsafe fn path_in(
    path: *const c_char,
    resolved: *mut c_char,
    take: impl FnOnce(usize) -> *mut c_void,
) -> *mut c_char {
    if !resolved.is_null() {
        // SAFETY: the caller's duty.
        return unsafe { libc::realpath(path, resolved) };
    }
    let mut buffer = [const { MaybeUninit::<c_char>::uninit() }; libc::PATH_MAX as usize];
    // SAFETY: the caller's duty; the buffer has the size that the call asks for, and holds a text if it succeeds.
    unsafe {
        let found = libc::realpath(path, buffer.as_mut_ptr().cast());
        if found.is_null() { null_mut() } else { copy_of(found, libc::strlen(found), take) }
    }
}

fn take_plain(size: usize) -> *mut c_void {
    or_no_memory(raw::malloc(size))
}

/// A copy of a text; null for null.
///
/// # Safety
/// - `text` is null or ends in a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_strdup(text: *const c_char) -> *mut c_char {
    // SAFETY: the caller's duty.
    unsafe { text_in(text, usize::MAX, take_plain) }
}

/// A copy of at most `bytes_max` bytes of a text; null for null.
///
/// # Safety
/// - `text` is null, ends in a zero byte, or has `bytes_max` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_strndup(text: *const c_char, bytes_max: usize) -> *mut c_char {
    // SAFETY: the caller's duty.
    unsafe { text_in(text, bytes_max, take_plain) }
}

/// As `realpath`; the result is a block of ours if `resolved` is null.
///
/// # Safety
/// - `path` is a text; `resolved` is null or has room for `PATH_MAX` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    // SAFETY: the caller's duty.
    unsafe { path_in(path, resolved, take_plain) }
}
