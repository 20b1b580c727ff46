//! Where in a region's tables a reader outside of the process finds what it looks for: see [`crate::view`].

use core::mem::offset_of;

use super::{CHUNK_SLICES, REGION_COUNT, REGION_COUNT_MAX, REGIONS, Region, SLICE_BYTES};
use crate::chunk::Chunk;
use crate::page::Page;
use crate::sync::AtomicUsize;

/// Addresses and distances in bytes. All words are read without stopping anybody.
#[repr(C)]
pub(crate) struct Places {
    regions: &'static [Region; REGION_COUNT_MAX],
    region_count: &'static AtomicUsize,
    slice_bytes: u32,
    chunk_slices: u32,
    region_bytes: u32,
    region_base_at: u32,
    region_frontier_at: u32,
    region_chunks_at: u32,
    region_pages_at: u32,
    chunk_bytes: u32,
    chunk_starts_at: u32,
    page_bytes: u32,
    page_kind_at: u32,
    page_class_at: u32,
    page_used_at: u32,
    page_carved_at: u32,
}

impl Places {
    /// Those of this build.
    pub(crate) const HERE: Self = Self {
        regions: &REGIONS,
        region_count: &REGION_COUNT,
        slice_bytes: SLICE_BYTES as u32,
        chunk_slices: CHUNK_SLICES,
        region_bytes: size_of::<Region>() as u32,
        region_base_at: offset_of!(Region, base) as u32,
        region_frontier_at: offset_of!(Region, frontier) as u32,
        region_chunks_at: offset_of!(Region, chunks) as u32,
        region_pages_at: offset_of!(Region, pages) as u32,
        chunk_bytes: size_of::<Chunk>() as u32,
        chunk_starts_at: Chunk::STARTS_AT as u32,
        page_bytes: size_of::<Page>() as u32,
        page_kind_at: offset_of!(Page, kind) as u32,
        page_class_at: offset_of!(Page, class_seen) as u32,
        page_used_at: offset_of!(Page, used) as u32,
        page_carved_at: offset_of!(Page, carved) as u32,
    };
}
