//! Figures by size class, counted in the page descriptors when somebody asks.
//!
//! The walk reads words that are atomic, of descriptors that are never unmapped, and holds nothing: a page that is begun or given
//! back meanwhile may be counted, or not, or with a block count of a moment later.

use crate::page::{Kind, Page};
use crate::region::{self, SLICE_BYTES};
use crate::size_class::{CLASS_COUNT, SizeClass};
use crate::sync::Ordering;

#[derive(Clone, Copy)]
struct Row {
    pages: u32,
    ownerless: u32,
    used: u64,
    made: u64,
    fit: u64,
}

/// Figures by size class and by kind of page, of one moment. Taken by [`page_stats`](crate::page_stats).
#[derive(Clone)]
pub struct PageStats {
    rows: [Row; CLASS_COUNT],
    mixed_pages: u64,
    mixed_blocks_used: u64,
    large_blocks: u64,
    large_bytes: u64,
    warm_blocks: u64,
    warm_bytes: u64,
}

/// Figures of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block: the class's name.
    pub block_bytes: u64,
    /// Pages of the class, with those of blocks that are aligned at an offset.
    pub pages: u64,
    /// Those of them without an owner: nearly all of their blocks are in use, or they wait for a thread that wants them.
    pub ownerless_pages: u64,
    /// Blocks in use as their pages know it: blocks on threads' stacks and on their way home count as used.
    pub blocks_used: u64,
    /// Blocks made so far: the pages' capacity. The rest was never touched as blocks.
    pub blocks_made: u64,
    /// Blocks that fit into the pages.
    pub blocks_fit: u64,
}

super::figures! {
    /// A figure of [`ClassStats`].
    ClassFigure of ClassStats {
        BlockBytes = block_bytes,
        Pages = pages,
        OwnerlessPages = ownerless_pages,
        BlocksUsed = blocks_used,
        BlocksMade = blocks_made,
        BlocksFit = blocks_fit,
    }
}

/// Figures of pages that have no one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct OtherPages {
    /// Pages of 64 KiB that hold a thread's first blocks, of all small classes.
    pub mixed_pages: u64,
    /// Blocks of them in use, as for [`ClassStats::blocks_used`].
    pub mixed_blocks_used: u64,
    /// Large blocks in use.
    pub large_blocks: u64,
    /// Their usable bytes.
    pub large_bytes: u64,
    /// Large blocks that threads keep for their next request.
    pub warm_blocks: u64,
    /// Their bytes.
    pub warm_bytes: u64,
}

super::figures! {
    /// A figure of [`OtherPages`].
    OtherFigure of OtherPages {
        MixedPages = mixed_pages,
        MixedBlocksUsed = mixed_blocks_used,
        LargeBlocks = large_blocks,
        LargeBytes = large_bytes,
        WarmBlocks = warm_blocks,
        WarmBytes = warm_bytes,
    }
}

impl PageStats {
    /// The size classes that have a page, by rising block size.
    pub fn classes(&self) -> impl Iterator<Item = ClassStats> + '_ {
        (1..CLASS_COUNT).map(|class| self.class(class)).filter(|class| class.pages > 0)
    }

    /// The size class whose blocks have exactly so many bytes; `None` if there is no such class. A class without pages is all 0.
    pub fn of_block_bytes(&self, block_bytes: u64) -> Option<ClassStats> {
        let class = (1..CLASS_COUNT).find(|class| SizeClass::from_index(*class).block_bytes() as u64 == block_bytes)?;
        Some(self.class(class))
    }

    /// What lies in pages without one class.
    pub fn other(&self) -> OtherPages {
        OtherPages {
            mixed_pages: self.mixed_pages,
            mixed_blocks_used: self.mixed_blocks_used,
            large_blocks: self.large_blocks,
            large_bytes: self.large_bytes,
            warm_blocks: self.warm_blocks,
            warm_bytes: self.warm_bytes,
        }
    }

    fn class(&self, index: usize) -> ClassStats {
        let (row, class) = (&self.rows[index], SizeClass::from_index(index));
        ClassStats {
            block_bytes: class.block_bytes() as u64,
            pages: u64::from(row.pages),
            ownerless_pages: u64::from(row.ownerless),
            blocks_used: row.used,
            blocks_made: row.made,
            blocks_fit: row.fit,
        }
    }

    /// Adds a page as it is now.
    fn add(&mut self, page: &Seen) {
        let is_guarded = page.kind == Kind::Guarded as u8 && page.used > 0;
        let is_in_place = page.kind == Kind::Offset as u8 || page.kind == Kind::Sampled as u8 || is_guarded;
        let is_of_class = page.kind == Kind::Small as u8 || is_in_place && page.class != 0;
        if is_of_class {
            let made = page.carved.min(page.fit);
            let row = &mut self.rows[page.class];
            row.pages += 1;
            row.ownerless += u32::from(page.is_ownerless && page.kind == Kind::Small as u8);
            row.fit += page.fit;
            row.made += made;
            row.used += page.used.min(made);
        } else if page.kind == Kind::Starter as u8 {
            self.mixed_pages += 1;
            self.mixed_blocks_used += page.used;
        } else if page.kind == Kind::Large as u8 || is_in_place {
            self.large_blocks += 1;
            self.large_bytes += page.carved * SLICE_BYTES as u64;
        } else if page.kind == Kind::Warm as u8 {
            self.warm_blocks += 1;
            self.warm_bytes += page.carved * SLICE_BYTES as u64;
        }
    }
}

/// The words of a descriptor that may be read without holding it.
struct Seen {
    kind: u8,
    class: usize,
    is_ownerless: bool,
    used: u64,
    carved: u64,
    fit: u64,
}

impl Seen {
    /// # Safety
    /// - `page` is a descriptor of a chunk in use.
    unsafe fn of(page: *const Page) -> Self {
        // SAFETY: S3, S5: accessible for good. Each word is atomic, and taken by itself: its holder may be writing the others.
        // ORDER: Relaxed: a picture.
        unsafe {
            Self {
                kind: (*page).kind.load(Ordering::Relaxed),
                class: usize::from((*page).class_seen.load(Ordering::Relaxed)).min(CLASS_COUNT - 1),
                is_ownerless: (*page).owner.load(Ordering::Relaxed) == 0,
                used: u64::from((*page).used.get()),
                carved: u64::from((*page).carved.get()),
                fit: u64::from((*page).fit_seen.load(Ordering::Relaxed)),
            }
        }
    }
}

/// Counts the pages that `is_counted` chooses: all, or those of a heap. It gets descriptors of which nothing is held. Bound: the chunks ever used, and 64 descriptors in each.
pub(crate) fn count(is_counted: impl Fn(*const Page) -> bool) -> PageStats {
    const NONE: Row = Row { pages: 0, ownerless: 0, used: 0, made: 0, fit: 0 };
    let mut found = PageStats {
        rows: [NONE; CLASS_COUNT],
        mixed_pages: 0,
        mixed_blocks_used: 0,
        large_blocks: 0,
        large_bytes: 0,
        warm_blocks: 0,
        warm_bytes: 0,
    };
    region::for_each_start(|page| {
        if is_counted(page) {
            // SAFETY: S3: a descriptor of a chunk below the frontier.
            found.add(&unsafe { Seen::of(page) });
        }
    });
    found
}
