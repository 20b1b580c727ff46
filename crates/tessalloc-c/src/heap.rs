//! The functions of `include/tessalloc.h` for first-class heaps.
//!
//! A heap is the pointer that [`Heap::into_raw`] gives, or the address of [`MAIN`]: the default heap, by the plain functions.
//!
//! | question                             | answer                                                                          |
//! |--------------------------------------|---------------------------------------------------------------------------------|
//! | memory is out, the hard limit is reached, `count * size` overflows | null and ENOMEM; a block that was given stays, except by `reallocf` |
//! | size 0                               | a block of its own, also from the realloc forms (`tessalloc_heap_realloc` alone frees) |
//! | alignment and offset that can't be had | null and EINVAL                                                               |
//! | no heap, or one that has ended       | reported, and the process ends; null is nothing to end                          |
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::{copy_nonoverlapping, null_mut};

use tessalloc::{Heap, HeapId, HeapOptions, OutOfMemory, raw};

use crate::alloc::{aligned, malloc_at, path_in, realloc_at, rezalloc_at, text_in, times, zalloc_at};
use crate::arena::arena_of;
use crate::block::{fail, or_no_memory};

/// What stands for the default heap: its address. It may be read as a heap, one that no thread uses.
static MAIN: [u64; 32] = [0; 32];

fn main() -> *mut c_void {
    (&raw const MAIN).cast_mut().cast()
}

/// Where a call's blocks come from; `None` is the default heap.
pub(crate) type Source = Option<ManuallyDrop<Heap>>;

/// The heap behind a pointer. What can be told to be none is reported as "cannot `action`", and ends the process.
///
/// # Safety
/// - `heap` is the default heap's sign, or a heap that stands; or it is none, below 4096, or with 256 bytes that may be read.
pub(crate) unsafe fn source(heap: *const c_void, action: &str) -> Source {
    if core::ptr::eq(heap, main()) {
        return None;
    }
    // SAFETY: the caller's duty. Values made here are never dropped, and ended only as the last use.
    Some(unsafe { Heap::from_raw_checked(heap.cast_mut(), action) })
}

/// The heap to be ended or emptied; `None` for null, and for the default heap, which stays as it is.
///
/// # Safety
/// - As [`source`].
unsafe fn own(heap: *mut c_void, action: &str) -> Source {
    // SAFETY: the caller's duty.
    if heap.is_null() { None } else { unsafe { source(heap, action) } }
}

// ------------------------------------------------------------------------------------------------------ allocation

fn take(heap: &Source, size: usize, align: usize, offset: usize, zeroed: bool) -> *mut c_void {
    match heap {
        None if zeroed => zalloc_at(size, align, offset),
        None => malloc_at(size, align, offset),
        Some(heap) if zeroed => aligned(align, offset, |align, offset| heap.zalloc_aligned_at(size, align, offset)),
        Some(heap) => aligned(align, offset, |align, offset| heap.aligned_at(size, align, offset)),
    }
}

fn take_plain(heap: &Source, size: usize) -> *mut c_void {
    or_no_memory(match heap {
        None => raw::malloc(size),
        Some(heap) => heap.malloc(size),
    })
}

/// The block with `size` bytes: where it lies, whosever it is, or in this heap.
///
/// # Safety
/// - `block` as for `realloc`.
unsafe fn resize(heap: &Source, block: *mut u8, size: usize, align: usize, offset: usize, zeroed: bool) -> *mut c_void {
    // SAFETY: the caller's duty is the core's.
    unsafe {
        match heap {
            None if zeroed => rezalloc_at(block, size, align, offset),
            None => realloc_at(block, size, align, offset),
            Some(heap) if zeroed => {
                aligned(align, offset, |align, offset| heap.rezalloc_aligned_at(block, size, align, offset))
            }
            Some(heap) => aligned(align, offset, |align, offset| heap.realloc_aligned_at(block, size, align, offset)),
        }
    }
}

/// The source behind an exported function's first argument, reported under its name.
macro_rules! source {
    ($name:ident, $heap:ident) => {
        // SAFETY: the duty of the function's caller.
        unsafe { source($heap, concat!("run ", stringify!($name))) }
    };
}

/// Makes exports that allocate.
macro_rules! export {
    ($($(#[$doc:meta])* $name:ident($heap:ident, $($argument:ident),*) $body:block)*) => { $(
        $(#[$doc])*
        ///
        /// # Safety
        /// - As [`source`].
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($heap: *mut c_void, $($argument: usize),*) -> *mut c_void {
            let $heap = &source!($name, $heap);
            $body
        }
    )* };
}

/// Makes exports that take a block, with `realloc`'s duties.
macro_rules! export_realloc {
    ($($(#[$doc:meta])* $name:ident($heap:ident, $block:ident, $($argument:ident),*) $body:block)*) => { $(
        $(#[$doc])*
        ///
        /// # Safety
        /// - As [`source`]; `block` as for `realloc`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($heap: *mut c_void, $block: *mut c_void, $($argument: usize),*) -> *mut c_void {
            let $heap = &source!($name, $heap);
            let $block: *mut u8 = $block.cast();
            // SAFETY: the caller's duty.
            unsafe { $body }
        }
    )* };
}

/// A block of this heap.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_malloc(heap: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's duty.
    unsafe {
        let block = Heap::malloc_ready(heap, size);
        if block.is_null() { malloc_slow(heap, size) } else { block.cast() }
    }
}

/// As [`tessalloc_heap_malloc`], where no block lies ready: also for the default heap, and for what is no heap.
///
/// # Safety
/// - As [`source`].
#[cold]
#[inline(never)]
unsafe fn malloc_slow(heap: *mut c_void, size: usize) -> *mut c_void {
    take_plain(&source!(tessalloc_heap_malloc, heap), size)
}

/// Frees a block of the heap; null is nothing. A block of another heap is reported and ends the process.
///
/// # Safety
/// - As [`source`]; `block` as for `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_free(heap: *mut c_void, block: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe {
        if !Heap::free_ready(heap, block.cast()) {
            free_slow(heap, block);
        }
    }
}

/// As [`tessalloc_heap_free`], where the stack has no room: also for the default heap, and for what is no heap.
///
/// # Safety
/// - As [`tessalloc_heap_free`].
#[cold]
#[inline(never)]
unsafe fn free_slow(heap: *mut c_void, block: *mut c_void) {
    let heap = source!(tessalloc_heap_free, heap);
    // SAFETY: the caller's duty.
    unsafe {
        match heap {
            None => raw::free(block.cast()),
            Some(heap) => heap.free(block.cast()),
        }
    }
}

export! {
    /// A block whose usable bytes all read zero.
    tessalloc_heap_zalloc(heap, size) { take(heap, size, raw::C_ALIGN, 0, true) }
    /// As [`tessalloc_heap_zalloc`], for `count * size` bytes.
    tessalloc_heap_calloc(heap, count, size) {
        times(count, size, |bytes| take(heap, bytes, raw::C_ALIGN, 0, true))
    }
    /// A block of `count * size` bytes.
    tessalloc_heap_mallocn(heap, count, size) {
        times(count, size, |bytes| take_plain(heap, bytes))
    }
    /// A block at a multiple of `align`.
    tessalloc_heap_malloc_aligned(heap, size, align) { take(heap, size, align, 0, false) }
    /// A block at a multiple of `align` whose usable bytes all read zero.
    tessalloc_heap_zalloc_aligned(heap, size, align) { take(heap, size, align, 0, true) }
    /// As [`tessalloc_heap_zalloc_aligned`], for `count * size` bytes.
    tessalloc_heap_calloc_aligned(heap, count, size, align) {
        times(count, size, |bytes| take(heap, bytes, align, 0, true))
    }
    /// A block so that `block + offset` is a multiple of `align`.
    tessalloc_heap_malloc_aligned_at(heap, size, align, offset) { take(heap, size, align, offset, false) }
    /// As [`tessalloc_heap_malloc_aligned_at`]; its usable bytes all read zero.
    tessalloc_heap_zalloc_aligned_at(heap, size, align, offset) { take(heap, size, align, offset, true) }
    /// As [`tessalloc_heap_zalloc_aligned_at`], for `count * size` bytes.
    tessalloc_heap_calloc_aligned_at(heap, count, size, align, offset) {
        times(count, size, |bytes| take(heap, bytes, align, offset, true))
    }
}

export_realloc! {
    /// As `realloc`: (heap, block, 0) frees and returns null.
    tessalloc_heap_realloc(heap, block, size) {
        if size == 0 && !block.is_null() {
            raw::free(block);
            return null_mut();
        }
        resize(heap, block, size, raw::C_ALIGN, 0, false)
    }
    /// As `realloc`, but gives a block for size 0, to `count * size` bytes.
    tessalloc_heap_reallocn(heap, block, count, size) {
        times(count, size, |bytes| resize(heap, block, bytes, raw::C_ALIGN, 0, false))
    }
    /// As `realloc`, but gives a block for size 0, and frees the old one if it fails.
    tessalloc_heap_reallocf(heap, block, size) {
        let new = resize(heap, block, size, raw::C_ALIGN, 0, false);
        if new.is_null() {
            raw::free(block);
        }
        new
    }
    /// `realloc`; what the block grew by reads zero.
    tessalloc_heap_rezalloc(heap, block, size) { resize(heap, block, size, raw::C_ALIGN, 0, true) }
    /// As [`tessalloc_heap_rezalloc`], to `count * size` bytes.
    tessalloc_heap_recalloc(heap, block, count, size) {
        times(count, size, |bytes| resize(heap, block, bytes, raw::C_ALIGN, 0, true))
    }
    /// `realloc` at a multiple of `align`.
    tessalloc_heap_realloc_aligned(heap, block, size, align) { resize(heap, block, size, align, 0, false) }
    /// [`tessalloc_heap_rezalloc`] at a multiple of `align`.
    tessalloc_heap_rezalloc_aligned(heap, block, size, align) { resize(heap, block, size, align, 0, true) }
    /// [`tessalloc_heap_recalloc`] at a multiple of `align`.
    tessalloc_heap_recalloc_aligned(heap, block, count, size, align) {
        times(count, size, |bytes| resize(heap, block, bytes, align, 0, true))
    }
    /// `realloc` so that `block + offset` is a multiple of `align`.
    tessalloc_heap_realloc_aligned_at(heap, block, size, align, offset) {
        resize(heap, block, size, align, offset, false)
    }
    /// [`tessalloc_heap_rezalloc`] so that `block + offset` is a multiple of `align`.
    tessalloc_heap_rezalloc_aligned_at(heap, block, size, align, offset) {
        resize(heap, block, size, align, offset, true)
    }
    /// [`tessalloc_heap_recalloc`] so that `block + offset` is a multiple of `align`.
    tessalloc_heap_recalloc_aligned_at(heap, block, count, size, align, offset) {
        times(count, size, |bytes| resize(heap, block, bytes, align, offset, true))
    }
}

/// Fills `blocks` with up to `count` blocks of `size` bytes; returns how many. Fewer only if memory is out: then `errno` says so.
///
/// # Safety
/// - As [`source`]; `blocks` has room for `count` pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_malloc_batch(
    heap: *mut c_void,
    size: usize,
    blocks: *mut *mut c_void,
    count: usize,
) -> usize {
    let heap = source!(tessalloc_heap_malloc_batch, heap);
    if count == 0 {
        return 0;
    }
    // SAFETY: the caller's duty.
    let places = unsafe { core::slice::from_raw_parts_mut(blocks.cast::<*mut u8>(), count) };
    let filled = match heap {
        None => raw::malloc_batch(size, places),
        Some(heap) => heap.malloc_batch(size, places),
    };
    if filled < count {
        fail(libc::ENOMEM);
    }
    filled
}

/// As `strdup`.
///
/// # Safety
/// - As [`source`]; `text` is null or ends in a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_strdup(heap: *mut c_void, text: *const c_char) -> *mut c_char {
    let heap = source!(tessalloc_heap_strdup, heap);
    // SAFETY: the caller's duty.
    unsafe { text_in(text, usize::MAX, |bytes| take_plain(&heap, bytes)) }
}

/// As `strndup`.
///
/// # Safety
/// - As [`tessalloc_heap_strdup`], or `text` has `bytes_max` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_strndup(
    heap: *mut c_void,
    text: *const c_char,
    bytes_max: usize,
) -> *mut c_char {
    let heap = source!(tessalloc_heap_strndup, heap);
    // SAFETY: the caller's duty.
    unsafe { text_in(text, bytes_max, |bytes| take_plain(&heap, bytes)) }
}

/// As `realpath`; the result is a block of the heap if `resolved` is null.
///
/// # Safety
/// - As [`tessalloc_heap_strdup`]; `resolved` is null or has room for `PATH_MAX` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_realpath(
    heap: *mut c_void,
    path: *const c_char,
    resolved: *mut c_char,
) -> *mut c_char {
    let heap = source!(tessalloc_heap_realpath, heap);
    // SAFETY: the caller's duty.
    unsafe { path_in(path, resolved, |bytes| take_plain(&heap, bytes)) }
}

// ------------------------------------------------------------------------------------------------------ making and ending

/// `tessalloc_heap_options_t`. Later versions only append; what is zero there is as if it were not there.
#[repr(C)]
pub struct Options {
    struct_bytes: u32,
    zeroed: u32,
    name: *const c_char,
    tag: u64,
    soft_limit_bytes: u64,
    hard_limit_bytes: u64,
    on_limit: Option<unsafe extern "C" fn(*mut c_void, u32, u64, *mut c_void)>,
    on_limit_argument: *mut c_void,
    arena: *mut c_void,
}

/// What the caller's struct says, in full; `None` if it is none, or asks for what is not known here.
///
/// # Safety
/// - `options` points to a struct of `options->struct_bytes` bytes, at least 4.
unsafe fn read(options: *const Options) -> Option<Options> {
    // SAFETY: the caller's duty: `given` bytes can be read. All zero is a value of the struct.
    unsafe {
        let given = (&raw const (*options).struct_bytes).read() as usize;
        let known = given.min(size_of::<Options>());
        let bytes: *const u8 = options.cast();
        if given < size_of::<u32>() || (known..given).any(|at| *bytes.add(at) != 0) {
            return None;
        }
        let mut read = MaybeUninit::<Options>::zeroed();
        copy_nonoverlapping(bytes, read.as_mut_ptr().cast(), known);
        Some(read.assume_init())
    }
}

/// The sign of the default heap.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_heap_main() -> *mut c_void {
    main()
}

fn answer_heap(heap: Result<Heap, OutOfMemory>) -> *mut c_void {
    match heap {
        Ok(heap) => heap.into_raw().as_ptr(),
        Err(_) => fail(libc::ENOMEM),
    }
}

/// A heap without name and limits.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_heap_new() -> *mut c_void {
    answer_heap(Heap::new())
}

/// A heap; null and EINVAL for options that can't be had.
///
/// # Safety
/// - `options` is null or points to a struct of `options->struct_bytes` bytes, at least 4; its name is null or a text; its function
///   may be called with its argument on any thread as long as the heap stands; its arena is null, or one that was not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_new_with(options: *const Options) -> *mut c_void {
    if options.is_null() {
        return answer_heap(Heap::new());
    }
    // SAFETY: the caller's duty.
    let Some(given) = (unsafe { read(options) }) else { return fail(libc::EINVAL) };
    let limit = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
    let mut options = HeapOptions::new()
        .tag(given.tag)
        .zeroed(given.zeroed != 0)
        .soft_limit(limit(given.soft_limit_bytes))
        .hard_limit(limit(given.hard_limit_bytes));
    if !given.name.is_null() {
        // SAFETY: the caller's duty.
        let Ok(name) = unsafe { CStr::from_ptr(given.name) }.to_str() else { return fail(libc::EINVAL) };
        options = options.name(name);
    }
    if let Some(call) = given.on_limit {
        // SAFETY: the caller's duty.
        options = unsafe { options.on_limit_raw(call, given.on_limit_argument) };
    }
    if given.arena.is_null() {
        return answer_heap(options.build());
    }
    // SAFETY: the caller's duty.
    let arena = unsafe { arena_of(given.arena) };
    answer_heap(options.build_in(&arena))
}

/// Ends a heap; its blocks in use become the default heap's.
///
/// # Safety
/// - As [`source`]; nobody uses the heap any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_delete(heap: *mut c_void) {
    // SAFETY: the caller's duty.
    if let Some(heap) = unsafe { own(heap, "run tessalloc_heap_delete") } {
        ManuallyDrop::into_inner(heap).delete();
    }
}

/// Ends a heap with all its blocks.
///
/// # Safety
/// - As [`tessalloc_heap_delete`], and nobody uses or frees its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_destroy(heap: *mut c_void) {
    // SAFETY: the caller's duty.
    if let Some(heap) = unsafe { own(heap, "run tessalloc_heap_destroy") } {
        ManuallyDrop::into_inner(heap).destroy();
    }
}

/// Frees all blocks of a heap.
///
/// # Safety
/// - As [`source`]; nobody uses the heap meanwhile, nor its blocks then or after.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_clear(heap: *mut c_void) {
    // SAFETY: the caller's duty.
    if let Some(mut heap) = unsafe { own(heap, "run tessalloc_heap_clear") } {
        heap.clear();
    }
}

/// Gives back to the system what the heap holds and nobody uses; returns bytes.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_purge(heap: *mut c_void) -> usize {
    match source!(tessalloc_heap_purge, heap) {
        Some(heap) => heap.purge() as usize,
        None => tessalloc::purge(),
    }
}

// ------------------------------------------------------------------------------------------------------ questions

/// The heap that the block at an address is of; null for addresses in no block of ours.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_heap_of(address: *const c_void) -> *mut c_void {
    heap_of(address)
}

fn heap_of(address: *const c_void) -> *mut c_void {
    match tessalloc::heap_at(address.cast()) {
        Some(heap) => heap.as_ptr(),
        None if tessalloc::heap_of(address.cast()) == Some(HeapId::DEFAULT) => main(),
        None => null_mut(),
    }
}

/// 1 if the block at an address is of the heap, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_heap_contains(heap: *const c_void, address: *const c_void) -> c_int {
    c_int::from(!heap.is_null() && core::ptr::eq(heap_of(address), heap))
}

/// Bytes handed out.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_allocated_bytes(heap: *const c_void) -> u64 {
    if let Some(heap) = source!(tessalloc_heap_allocated_bytes, heap) {
        return heap.allocated_bytes();
    }
    let mut bytes = tessalloc::stats().allocated_bytes;
    tessalloc::visit_heaps(|heap| {
        bytes = bytes.saturating_sub(heap.allocated_bytes);
        true
    });
    bytes
}

/// The heap's name; empty if it has none.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_name(heap: *const c_void) -> *const c_char {
    // The text lies in the heap.
    source!(tessalloc_heap_name, heap).map_or(c"default".as_ptr(), |heap| heap.c_name().as_ptr())
}

/// The number that the heap was made with; 0 if with none.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_tag(heap: *const c_void) -> u64 {
    source!(tessalloc_heap_tag, heap).map_or(0, |heap| heap.tag())
}

/// The heap's number, never used twice in a process; 0 for the default heap.
///
/// # Safety
/// - As [`source`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_id(heap: *const c_void) -> u64 {
    source!(tessalloc_heap_id, heap).map_or(HeapId::DEFAULT, |heap| heap.id()).get()
}

/// How many heaps there are besides the default one.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_heap_count() -> u64 {
    tessalloc::heap_count()
}

// ------------------------------------------------------------------------------------------------------ walking

/// `tessalloc_block_visitor_t`; null visits nothing.
type BlockVisitor = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut c_void) -> c_int>;
/// `tessalloc_heap_visitor_t`; null visits nothing.
type HeapVisitor = Option<unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int>;

/// Visits all blocks in use of a heap: 1 if all were visited, else 0; EINVAL for the default heap.
///
/// # Safety
/// - As [`source`]; nobody allocates from the heap or frees a block of it meanwhile. The visitor may be called with its blocks and
///   `argument`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_heap_visit_blocks(
    heap: *mut c_void,
    visitor: BlockVisitor,
    argument: *mut c_void,
) -> c_int {
    let (Some(visitor), Some(mut blocks)) = (visitor, source!(tessalloc_heap_visit_blocks, heap)) else {
        fail(libc::EINVAL);
        return 0;
    };
    // SAFETY: the caller's duty.
    c_int::from(blocks.visit(|block| unsafe { visitor(heap, block.address.cast(), block.bytes, argument) } != 0))
}

/// Visits all heaps but the default one: 1 if all were visited, else 0.
///
/// # Safety
/// - The visitor may be called with heaps and `argument`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_visit_heaps(visitor: HeapVisitor, argument: *mut c_void) -> c_int {
    let Some(visitor) = visitor else {
        fail(libc::EINVAL);
        return 0;
    };
    let mut goes_on = true;
    tessalloc::visit_raw_heaps(|heap| {
        // SAFETY: the caller's duty.
        goes_on = unsafe { visitor(heap.as_ptr(), argument) } != 0;
        goes_on
    });
    c_int::from(goes_on)
}
