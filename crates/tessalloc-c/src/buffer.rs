//! The functions of `include/tessalloc.h` for an allocator in one given buffer. Its state lies at the buffer's start.
use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::{NonNull, copy_nonoverlapping, null_mut};

use tessalloc::Buffer;

use crate::block::{fail, or_no_memory};

/// `tessalloc_buffer_stats_t`. Later versions only append.
#[repr(C)]
pub struct BufferStats {
    version: u32,
    struct_bytes: u32,
    capacity_bytes: u64,
    allocated_bytes: u64,
    allocated_peak_bytes: u64,
    free_bytes: u64,
    largest_free_bytes: u64,
    blocks: u64,
}

/// The block or null with `errno` = ENOMEM.
fn answer(block: Option<NonNull<u8>>) -> *mut c_void {
    or_no_memory(block.map_or(null_mut(), NonNull::as_ptr))
}

fn take(buffer: &Buffer, size: usize, align: usize) -> *mut c_void {
    answer(Layout::from_size_align(size, align.max(16)).ok().and_then(|layout| buffer.alloc(layout)))
}

/// An allocator over memory of the caller's; null with `errno` = EINVAL if not a block fits.
///
/// # Safety
/// - `bytes` bytes from `start` on can be read and written, and nobody else uses them, as long as the buffer is in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_over(start: *mut c_void, bytes: usize) -> *mut Buffer {
    let skipped = start.addr().wrapping_neg() % align_of::<Buffer>();
    let state_bytes = skipped + size_of::<Buffer>();
    let Some(rest) = NonNull::new(start.cast::<u8>()).filter(|_| bytes > state_bytes) else {
        return fail(libc::EINVAL).cast();
    };
    // SAFETY: the caller's duty: the state and the rest lie in the memory, apart; the state is aligned.
    let buffer = unsafe {
        let place = rest.add(skipped).cast::<Buffer>();
        place.write(Buffer::over(rest.add(state_bytes), bytes - state_bytes));
        place.as_ref()
    };
    if buffer.stats().capacity_bytes == 0 {
        return fail(libc::EINVAL).cast();
    }
    NonNull::from(buffer).as_ptr()
}

/// As `malloc`.
///
/// # Safety
/// - `buffer` is from [`tessalloc_buffer_over`]; so in all functions here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_malloc(buffer: *const Buffer, size: usize) -> *mut c_void {
    // SAFETY: the caller's duty.
    take(unsafe { &*buffer }, size, 16)
}

/// As `calloc`.
///
/// # Safety
/// - As [`tessalloc_buffer_malloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_calloc(buffer: *const Buffer, count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else {
        return fail(libc::ENOMEM);
    };
    // SAFETY: the caller's duty.
    let block = take(unsafe { &*buffer }, bytes, 16);
    if !block.is_null() {
        // SAFETY: a block of at least so many bytes.
        unsafe { block.cast::<u8>().write_bytes(0, bytes) };
    }
    block
}

/// As `aligned_alloc`.
///
/// # Safety
/// - As [`tessalloc_buffer_malloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_aligned_alloc(
    buffer: *const Buffer,
    align: usize,
    size: usize,
) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    // SAFETY: the caller's duty.
    take(unsafe { &*buffer }, size, align)
}

/// As `realloc`.
///
/// # Safety
/// - As [`tessalloc_buffer_malloc`]; `block` is null or a block of the buffer in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_realloc(
    buffer: *const Buffer,
    block: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's duty.
    let buffer = unsafe { &*buffer };
    let Some(block) = NonNull::new(block.cast::<u8>()) else {
        return take(buffer, size, 16);
    };
    if size == 0 {
        // SAFETY: the caller hands the block over.
        unsafe { buffer.dealloc(block) };
        return null_mut();
    }
    // SAFETY: the caller's duty.
    answer(Layout::from_size_align(size, 16).ok().and_then(|layout| unsafe { buffer.realloc(block, layout) }))
}

/// As `free`.
///
/// # Safety
/// - As [`tessalloc_buffer_realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_free(buffer: *const Buffer, block: *mut c_void) {
    if let Some(block) = NonNull::new(block.cast::<u8>()) {
        // SAFETY: the caller's duty.
        unsafe { (*buffer).dealloc(block) };
    }
}

/// Bytes that may be written to a block; 0 for what is no block in use.
///
/// # Safety
/// - As [`tessalloc_buffer_malloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_usable_size(buffer: *const Buffer, block: *const c_void) -> usize {
    // SAFETY: the caller's duty.
    unsafe { (*buffer).usable_size(block.cast()) }.unwrap_or(0)
}

/// Fills `out`, whose `struct_bytes` the caller has set.
///
/// # Safety
/// - As [`tessalloc_buffer_malloc`]; `out` points to a `tessalloc_buffer_stats_t` of `out->struct_bytes` bytes, at least 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_buffer_stats(buffer: *const Buffer, out: *mut BufferStats) {
    // SAFETY: the caller's duty.
    let (now, room) = unsafe { ((*buffer).stats(), (*out).struct_bytes as usize) };
    let bytes = room.min(size_of::<BufferStats>());
    let stats = BufferStats {
        version: 1,
        struct_bytes: bytes as u32,
        capacity_bytes: now.capacity_bytes as u64,
        allocated_bytes: now.allocated_bytes as u64,
        allocated_peak_bytes: now.allocated_peak_bytes as u64,
        free_bytes: now.free_bytes as u64,
        largest_free_bytes: now.largest_free_bytes as u64,
        blocks: now.blocks as u64,
    };
    if bytes >= 2 * size_of::<u32>() {
        // SAFETY: within both structs, which don't overlap: `stats` is a local.
        unsafe { copy_nonoverlapping((&raw const stats).cast::<u8>(), out.cast::<u8>(), bytes) };
    }
}
