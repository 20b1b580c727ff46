//! The functions of `include/tessalloc.h` that walk pages and blocks, and those about threads.
//!
//! | question                          | answer                                    |
//! |-----------------------------------|-------------------------------------------|
//! | null visitor, unknown `which`     | 0 and EINVAL                               |
//! | the visitor returned 0            | 0, and `errno` is as it was                |
//! | pages were left out               | 1; `*skipped_pages`, if not null, says how many |
use core::ffi::{c_int, c_void};

use tessalloc::{HeapId, PageInfo, PageOwner, RawDeferredFree, ThreadId, Walked, Which};

use crate::block::fail;

/// `tessalloc_page_info_t`. Later versions only append fields.
#[repr(C)]
pub struct CPageInfo {
    struct_bytes: u32,
    owner: c_int,
    start: *mut c_void,
    bytes: usize,
    block_bytes: usize,
    used: usize,
    capacity: usize,
    reserved: usize,
    heap_id: u64,
    thread_id: u64,
}

impl CPageInfo {
    fn new(page: &PageInfo) -> Self {
        let (owner, thread_id) = match page.owner {
            PageOwner::Thread(id) => (0, id.get()),
            PageOwner::Abandoned => (1, 0),
            PageOwner::Ownerless => (2, 0),
        };
        Self {
            struct_bytes: size_of::<Self>() as u32,
            owner,
            start: page.address.cast(),
            bytes: page.bytes,
            block_bytes: page.block_bytes,
            used: page.used,
            capacity: page.capacity,
            reserved: page.reserved,
            heap_id: page.heap.get(),
            thread_id,
        }
    }
}

/// `tessalloc_page_visitor_t`; null visits nothing.
type PageVisitor = Option<unsafe extern "C" fn(*const CPageInfo, *mut c_void) -> c_int>;
/// `tessalloc_page_block_visitor_t`; null visits nothing.
type BlockVisitor = Option<unsafe extern "C" fn(*const CPageInfo, *mut c_void, usize, *mut c_void) -> c_int>;

fn which_of(which: c_int, id: u64) -> Option<Which> {
    match which {
        0 => Some(Which::All),
        1 => Some(Which::Heap(HeapId::from_number(id))),
        2 => Some(Which::Thread(ThreadId::from_number(id))),
        3 => Some(Which::WithoutThread),
        _ => None,
    }
}

/// Walks what is asked for, if all of it is known, and answers as the table says.
///
/// # Safety
/// - `skipped_pages` is null or may be written.
unsafe fn walk<V>(
    which: c_int,
    id: u64,
    visitor: Option<V>,
    skipped_pages: *mut usize,
    visit: impl FnOnce(Which, V) -> Walked,
) -> c_int {
    let (Some(visitor), Some(which)) = (visitor, which_of(which, id)) else {
        fail(libc::EINVAL);
        return 0;
    };
    let walked = visit(which, visitor);
    if !skipped_pages.is_null() {
        // SAFETY: the caller's duty.
        unsafe { skipped_pages.write(walked.skipped_pages) };
    }
    c_int::from(walked.to_the_end)
}

/// Visits pages while others allocate.
///
/// # Safety
/// - The visitor may be called with pages and `argument`; `skipped_pages` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_visit_pages(
    which: c_int,
    id: u64,
    visitor: PageVisitor,
    argument: *mut c_void,
    skipped_pages: *mut usize,
) -> c_int {
    // SAFETY: the caller's duty.
    unsafe {
        walk(which, id, visitor, skipped_pages, |which, visitor| {
            tessalloc::visit_pages(which, |page| visitor(&CPageInfo::new(page), argument) != 0)
        })
    }
}

/// Visits blocks while others allocate.
///
/// # Safety
/// - As for [`tessalloc_visit_pages`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_visit_blocks(
    which: c_int,
    id: u64,
    visitor: BlockVisitor,
    argument: *mut c_void,
    skipped_pages: *mut usize,
) -> c_int {
    // SAFETY: the caller's duty.
    unsafe {
        walk(which, id, visitor, skipped_pages, |which, visitor| {
            tessalloc::visit_blocks(which, |page, block| {
                visitor(&CPageInfo::new(page), block.address.cast(), block.bytes, argument) != 0
            })
        })
    }
}

/// Visits exactly the blocks in use of a process that stands still.
///
/// # Safety
/// - As for [`tessalloc_visit_pages`] and [`tessalloc::visit_blocks_exactly`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_visit_blocks_exactly(
    which: c_int,
    id: u64,
    visitor: BlockVisitor,
    argument: *mut c_void,
    skipped_pages: *mut usize,
) -> c_int {
    // SAFETY: the caller's duty.
    unsafe {
        walk(which, id, visitor, skipped_pages, |which, visitor| {
            tessalloc::visit_blocks_exactly(which, |page, block| {
                visitor(&CPageInfo::new(page), block.address.cast(), block.bytes, argument) != 0
            })
        })
    }
}

/// The calling thread's id; 0 at its end, or if memory is out.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_thread_id() -> u64 {
    ThreadId::current().map_or(0, ThreadId::get)
}

/// Whether a thread has not ended.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_thread_is_alive(id: u64) -> c_int {
    c_int::from(ThreadId::from_number(id).is_alive())
}

/// The calling thread will wait.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_thread_idle() {
    tessalloc::thread_idle();
}

/// Gives back what a thread holds and nobody uses: the bytes, or -1 if it has ended or is busy.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_thread_purge(id: u64) -> i64 {
    ThreadId::from_number(id).purge().map_or(-1, |bytes| bytes as i64)
}

/// Registers the function for deferred frees.
///
/// # Safety
/// - `free` may be called with `argument` from any thread, at any time from now on, also after another one was set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_set_deferred_free(free: Option<RawDeferredFree>, argument: *mut c_void) {
    // SAFETY: the caller's duty.
    unsafe { tessalloc::set_raw_deferred_free(free, argument) };
}
