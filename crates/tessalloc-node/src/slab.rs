//! Slabs: memory that JavaScript divides by itself, seen as one external ArrayBuffer each.
//!
//! | who serves `malloc` | a slab's memory from | and back to |
//! |---|---|---|
//! | the preload library | `malloc`: its figures are the process's | `free` |
//! | another | the core of this add-on | the core of this add-on |
//!
//! A slab reads zero when it is opened, and takes RAM only where it is touched: the system clears it, whatever lay there. Closing
//! gives its pages back to the system at once.
//!
//! S1 one slab is one ArrayBuffer: two over one address abort some versions of Node. S2 [`OPEN`] holds every slab whose memory is
//! not given back, and whoever takes it out gives it back: [`close`], or the finaliser of a buffer that was collected. S3 a
//! finaliser may run long after its slab was closed, when the address is another slab's: the ticket tells them apart. S4 a length
//! above Node's limit (`buffer.constants.MAX_LENGTH`) fails and runs the finaliser all the same: `src/slab.ts` asks for none.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{ArrayBuffer, FromNapiValue};
use napi::{Env, Error, Result, Status, sys};

use crate::live;

/// Alignment of a slab's address; the core gives what is large at 64 KiB.
const ALIGN: usize = 4096;
/// Below this clearing by hand is cheaper than asking the system.
const DISCARD_BYTES_MIN: usize = 256 * 1024;

/// What S2 and S3 need to know.
struct Open {
    ticket: usize,
    bytes: usize,
}

#[derive(Default)]
struct Register {
    /// By address.
    slabs: BTreeMap<usize, Open>,
    tickets: usize,
}

static OPEN: Mutex<Register> = Mutex::new(Register { slabs: BTreeMap::new(), tickets: 0 });

fn open() -> MutexGuard<'static, Register> {
    // Nothing in between can panic halfway.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `bytes` of zeroed memory, or none.
fn take(bytes: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(bytes, ALIGN).ok().filter(|layout| layout.size() > 0)?;
    let data = NonNull::new(match live::preloaded() {
        // SAFETY: any size may be asked for.
        Some(_) => unsafe { libc::malloc(bytes) }.cast(),
        // SAFETY: the size is not 0.
        None => unsafe { alloc(layout) },
    })?;
    // SAFETY: the block holds `bytes` bytes, and nobody else knows it.
    let (cleared, first, last) = unsafe { discard_range(data.as_ptr(), bytes) };
    if cleared {
        // SAFETY: both ends lie in the block.
        unsafe {
            data.as_ptr().write_bytes(0, first);
            data.as_ptr().add(last).write_bytes(0, bytes - last);
        }
    } else {
        // SAFETY: as above.
        unsafe { data.as_ptr().write_bytes(0, bytes) };
    }
    Some(data)
}

/// Gives back what [`take`] gave.
///
/// # Safety
/// - `data` came from `take(bytes)`, and nobody uses it any more.
unsafe fn give(data: *mut u8, bytes: usize) {
    // SAFETY: the caller's duty. The pages go at once: a slab is memory that its owner said it is done with.
    unsafe { discard_range(data, bytes) };
    match live::preloaded() {
        // SAFETY: the caller's duty; the table is looked up once, so the block came from `malloc`.
        Some(_) => unsafe { libc::free(data.cast()) },
        // SAFETY: the caller's duty; `take` checked this layout.
        None => unsafe { dealloc(data, Layout::from_size_align_unchecked(bytes, ALIGN)) },
    }
}

unsafe extern "C" fn finalize(_: sys::napi_env, data: *mut c_void, ticket: *mut c_void) {
    let mut open = open();
    let Some(slab) = open.slabs.get(&data.addr()).filter(|slab| slab.ticket == ticket.addr()) else {
        return;
    };
    let bytes = slab.bytes;
    open.slabs.remove(&data.addr());
    drop(open);
    // SAFETY: S2, S3: the slab was open, and the buffer is gone.
    unsafe { give(data.cast(), bytes) }
}

/// A slab of `bytes` zeroed bytes, or none where the runtime takes no external buffers. An error when memory is out.
pub(crate) fn new_slab(env: &Env, bytes: usize) -> Result<Option<ArrayBuffer<'_>>> {
    let Some(data) = take(bytes) else {
        return Err(Error::new(Status::GenericFailure, format!("the allocator has no {bytes} bytes")));
    };
    let address = data.as_ptr().addr();
    let ticket = {
        let mut open = open();
        open.tickets += 1;
        let ticket = open.tickets;
        open.slabs.insert(address, Open { ticket, bytes });
        ticket
    };
    let mut value = std::ptr::null_mut();
    // SAFETY: `data` holds `bytes` bytes until the slab is closed. The ticket travels as the hint: a number, never followed.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(
            env.raw(),
            data.as_ptr().cast(),
            bytes,
            Some(finalize),
            std::ptr::without_provenance_mut(ticket),
            &mut value,
        )
    };
    if status == sys::Status::napi_ok {
        // SAFETY: `value` is the ArrayBuffer that was just made, in this scope.
        return unsafe { ArrayBuffer::from_napi_value(env.raw(), value) }.map(Some);
    }
    // SAFETY: the call failed, so no buffer knows of the memory; a finaliser that runs all the same finds it closed.
    unsafe { finalize(std::ptr::null_mut(), data.as_ptr().cast(), std::ptr::without_provenance_mut(ticket)) };
    if status == sys::Status::napi_no_external_buffers_allowed {
        return Ok(None);
    }
    Err(Error::new(Status::from(status), "the runtime refused an external ArrayBuffer"))
}

/// Detaches a buffer; if it is a slab, its memory goes back at once.
pub(crate) fn detach(buffer: ArrayBuffer<'_>) -> Result<()> {
    let data = buffer.as_ptr().cast_mut();
    buffer.detach()?;
    let closed = open().slabs.remove(&data.addr());
    if let Some(Open { bytes, .. }) = closed {
        // SAFETY: S2: the slab was open, and no view reaches it any more.
        unsafe { give(data, bytes) };
    }
    Ok(())
}

/// Gives the whole OS pages of `memory` back to the system; they read zero afterwards. Bytes; 0 where that cannot be had.
pub(crate) fn discard(memory: &[u8]) -> usize {
    match whole_pages(memory.as_ptr().addr(), memory.len()) {
        // SAFETY: a buffer of JavaScript's: private anonymous memory that holds nothing but its bytes.
        Some((first, last)) if unsafe { discard_pages(memory.as_ptr().add(first).cast_mut(), last - first) } => {
            last - first
        }
        _ => 0,
    }
}

/// Discards the whole pages of a large block: whether it did, and where they start and end in the block.
///
/// # Safety
/// - The block holds `bytes` bytes of anonymous memory that nobody needs.
unsafe fn discard_range(data: *mut u8, bytes: usize) -> (bool, usize, usize) {
    match whole_pages(data.addr(), bytes) {
        Some((first, last)) if bytes >= DISCARD_BYTES_MIN => {
            // SAFETY: the caller's duty; the pages lie in the block.
            (unsafe { discard_pages(data.add(first), last - first) }, first, last)
        }
        _ => (false, 0, 0),
    }
}

/// Where the whole pages of a block start and end, from its start. None: there is none.
fn whole_pages(address: usize, bytes: usize) -> Option<(usize, usize)> {
    let page = os_page_bytes();
    let first = address.next_multiple_of(page) - address;
    let last = ((address + bytes) & !(page - 1)).checked_sub(address)?;
    (first < last).then_some((first, last))
}

#[cfg(target_os = "linux")]
use linux::{discard_pages, os_page_bytes};
#[cfg(not(target_os = "linux"))]
use no_linux::{discard_pages, os_page_bytes};

#[cfg(target_os = "linux")]
mod linux {
    pub(super) fn os_page_bytes() -> usize {
        // SAFETY: has no duties.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    /// Whether the pages went back and read zero. Memory that is locked stays.
    ///
    /// # Safety
    /// - They are whole pages of private anonymous memory, whose contents nobody needs.
    pub(super) unsafe fn discard_pages(first: *mut u8, bytes: usize) -> bool {
        // SAFETY: the caller's duty.
        unsafe { libc::madvise(first.cast(), bytes, libc::MADV_DONTNEED) == 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod no_linux {
    pub(super) fn os_page_bytes() -> usize {
        4096
    }

    /// Elsewhere the advice leaves the contents undefined, or the pages where they are.
    ///
    /// # Safety
    /// - None.
    pub(super) unsafe fn discard_pages(_: *mut u8, _: usize) -> bool {
        false
    }
}
