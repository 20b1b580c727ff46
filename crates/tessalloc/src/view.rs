//! For readers outside of the process, such as `tessalloc top`: where its memory holds the figures. Costs the process nothing.
//!
//! The C library exports the structure as `tessalloc_view_v1`. A reader finds it by name in the library's file, and reads it, and
//! what it points at, from the process's memory as a debugger does. `src/cli/view.ts` is that reader.
//!
//! | field     | holds                                                                                       |
//! |-----------|---------------------------------------------------------------------------------------------|
//! | `version` | V1 1; a later layout has another name                                                        |
//! | `bytes`   | V2 of this structure: later fields are appended                                              |
//! | `at`      | V3 places in `counters`, in the order of the names below                                     |
//! | the rest  | V4 addresses that stay for as long as the process lives                                      |
#![forbid(unsafe_code)]

use crate::region::Places;
use crate::size_class::{BLOCK_BYTES, CLASS_COUNT};
use crate::stats::{self, COUNT, Counter};
use crate::sync::AtomicU64;

/// See the module.
#[repr(C)]
pub struct View {
    version: u32,
    bytes: u32,
    counters: &'static [AtomicU64; COUNT],
    block_bytes: &'static [u32; CLASS_COUNT],
    class_count: u32,
    counter_count: u32,
    at: [u32; 8],
    places: Places,
}

// A reader in another language counts on the layout.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<View>() == 136 && core::mem::offset_of!(View, places) == 64);

impl View {
    /// That of this copy of the allocator.
    #[allow(clippy::new_without_default, reason = "for one static of the C library")]
    pub const fn new() -> Self {
        Self {
            version: 1,
            bytes: size_of::<Self>() as u32,
            counters: &stats::COUNTERS,
            block_bytes: &BLOCK_BYTES,
            class_count: CLASS_COUNT as u32,
            counter_count: COUNT as u32,
            at: [
                Counter::ReservedBytes as u32,
                Counter::RecordBytes as u32,
                Counter::DirtySlices as u32,
                Counter::DirtySlicesPeak as u32,
                Counter::HoleBytes as u32,
                Counter::AllocatedBytes as u32,
                Counter::PurgedBytes as u32,
                Counter::Threads as u32,
            ],
            places: Places::HERE,
        }
    }
}
