//! Giving back OS pages inside a page that is still used, and taking them into use again (P10).
//!
//! ```text
//! OS pages   |    0    |    1    |    2    |    3    |
//! blocks     | a | B | c | d | e | F | g | h | i |      capitals are in use; carved so far: a … i
//! purged     |         |  hole   |         |  rest   |   1: c, d and e are withdrawn from the free list
//! ```

use crate::block::Block;
use crate::options::Opt;
use crate::os;
use crate::page::Page;
use crate::region::{self, SLICE_BYTES};
use crate::stats::{self, Counter};

/// Blocks of the smallest class in a page: 64 KiB of 8 bytes.
pub(crate) const BLOCKS_MAX: usize = SLICE_BYTES / 8;

/// The OS pages of a page, as bits: at most 64.
#[derive(Clone, Copy)]
struct Units {
    os_page: usize,
    count: usize,
    block_bytes: usize,
}

impl Units {
    unsafe fn of(page: *mut Page) -> Self {
        // SAFETY: set-once fields of a page that the caller holds.
        let (slices, block_bytes) = unsafe { ((*page).slice_count(), (*page).block_bytes as usize) };
        Self { os_page: os::page_bytes(), count: slices * SLICE_BYTES / os::page_bytes(), block_bytes }
    }

    /// First and last block that overlap an OS page.
    fn blocks(&self, unit: usize) -> (usize, usize) {
        (unit * self.os_page / self.block_bytes, ((unit + 1) * self.os_page - 1) / self.block_bytes)
    }

    /// The OS pages that a block overlaps, as a mask.
    fn mask_of(&self, block: usize) -> u64 {
        let first = block * self.block_bytes / self.os_page;
        let last = ((block + 1) * self.block_bytes - 1) / self.os_page;
        (u64::MAX >> (63 - (last - first))) << first
    }
}

/// The free ones of the carved blocks: those in the list and those that overlap a hole.
unsafe fn free_bits(page: *mut Page, units: Units) -> [u64; BLOCKS_MAX / 64] {
    let mut free = [0u64; BLOCKS_MAX / 64];
    // SAFETY: P3, P10: the caller holds the page.
    unsafe {
        let carved = (*page).carved.get();
        if (carved - (*page).used.get()) * 8 > carved {
            // A list in any order, of memory that is not at hand, costs a miss a block; in order it comes by itself.
            for at in (0..carved as usize * units.block_bytes).step_by(64) {
                crate::sync::prefetch((*page).start.add(at));
            }
        }
        let mut block = (*page).free;
        // Bound: the page's capacity.
        while !block.is_null() {
            let index = (block.addr() - (*page).start.addr()) / units.block_bytes;
            free[index / 64] |= 1 << (index % 64);
            block = Block::next(block);
        }
        let holes = (*page).holes;
        for unit in (0..units.count).filter(|unit| holes >> unit & 1 == 1) {
            let (first, last) = units.blocks(unit);
            for index in first..=last {
                free[index / 64] |= 1 << (index % 64);
            }
        }
    }
    free
}

/// The blocks of a page that are handed out, as ones.
///
/// # Safety
/// - The caller holds the page, a page of small blocks.
pub(crate) unsafe fn used_bits(page: *mut Page) -> [u64; BLOCKS_MAX / 64] {
    // SAFETY: the caller's duty.
    let (mut bits, carved) = unsafe { (free_bits(page, Units::of(page)), (*page).carved.get() as usize) };
    let words = carved.div_ceil(64);
    for (word, bits) in bits.iter_mut().enumerate().take(words) {
        let count = (carved - word * 64).min(64);
        *bits = !*bits & (u64::MAX >> (64 - count));
    }
    // Holes may reach past the last block.
    bits[words..].fill(0);
    bits
}

/// Visits the blocks of a page that are handed out, lowest address first; false from `visit` ends it and is returned.
///
/// # Safety
/// - The caller holds the page, a page of small blocks.
pub(crate) unsafe fn visit_used(page: *mut Page, visit: &mut dyn FnMut(*mut u8, usize) -> bool) -> bool {
    // SAFETY: the caller's duty.
    let (bits, start, bytes) = unsafe { (used_bits(page), (*page).start, (*page).block_bytes as usize) };
    for_each_one(&bits, |index| visit(start.wrapping_add(index * bytes), bytes))
}

/// Calls `act` with the positions of ones, lowest first; false from it ends it and is returned.
#[inline]
pub(crate) fn for_each_one(bits: &[u64], mut act: impl FnMut(usize) -> bool) -> bool {
    for (word, bits) in bits.iter().enumerate() {
        let mut left = *bits;
        while left != 0 {
            let index = word * 64 + left.trailing_zeros() as usize;
            left &= left - 1;
            if !act(index) {
                return false;
            }
        }
    }
    true
}

/// Forgets all holes of a page: its blocks are about to be made anew.
///
/// # Safety
/// - The caller holds the page, and no block of it is used.
pub(crate) unsafe fn forget(page: *mut Page) {
    // SAFETY: the caller's duty.
    unsafe {
        let holes = u64::from((*page).holes.count_ones());
        stats::sub(Counter::HoleBytes, holes * os::page_bytes() as u64);
        (*page).holes = 0;
    }
}

/// Gives back the OS pages of a page that hold nothing, unless [`Opt::PurgeHoles`] is off; returns their bytes.
///
/// # Safety
/// - The caller holds the page, a page of small blocks.
pub(crate) unsafe fn purge(page: *mut Page) -> u64 {
    if !Opt::PurgeHoles.is_on() {
        return 0;
    }
    // SAFETY: the caller's duty, for all of this function: P3, P6 and P10 hold and are kept.
    unsafe {
        if !region::find((*page).start.addr()).is_some_and(|(region, _)| region.purges_parts()) {
            return 0;
        }
        let units = Units::of(page);
        let old = (*page).holes;
        let carved = (*page).carved.get() as usize;
        let idle_bytes = (carved - (*page).used.get() as usize) * units.block_bytes;
        let mut bytes = 0;
        let carved_units = (carved * units.block_bytes).div_ceil(units.os_page);
        let rest = purge_units(page, units, carved_units, (*page).touched as usize / units.os_page) * units.os_page;
        (*page).touched -= rest as u32;
        stats::add(Counter::UntouchedBytes, rest as u64);
        bytes += rest as u64;
        if idle_bytes < units.os_page + old.count_ones() as usize * units.os_page {
            return bytes;
        }

        let free = free_bits(page, units);
        let is_free = |index: usize| free[index / 64] >> (index % 64) & 1 == 1;

        let mut wanted = 0u64;
        for unit in (0..units.count).filter(|unit| old >> unit & 1 == 0) {
            let (first, last) = units.blocks(unit);
            if last < carved && (first..=last).all(is_free) {
                wanted |= 1 << unit;
            }
        }
        if wanted == 0 {
            return bytes;
        }
        let mut holes = old;
        let mut unit = 0;
        while unit < units.count {
            let run = (wanted >> unit).trailing_ones() as usize;
            if run == 0 {
                unit += 1;
                continue;
            }
            if purge_units(page, units, unit, unit + run) == run {
                holes |= (u64::MAX >> (64 - run)) << unit;
            }
            unit += run;
        }
        let new_bytes = (holes ^ old).count_ones() as u64 * units.os_page as u64;
        stats::add(Counter::HoleBytes, new_bytes);
        (*page).holes = holes;

        // What stays free, lowest address first.
        (*page).free = core::ptr::null_mut();
        for index in (0..carved).rev() {
            if is_free(index) && units.mask_of(index) & holes == 0 {
                let block = (*page).start.add(index * units.block_bytes).cast();
                Block::set_next(block, (*page).free);
                (*page).free = block;
            }
        }
        bytes + new_bytes
    }
}

/// Purges OS pages `[from, to)` of a page; returns how many went back.
unsafe fn purge_units(page: *mut Page, units: Units, from: usize, to: usize) -> usize {
    if from >= to {
        return 0;
    }
    // SAFETY: the range lies in the page, whose slices are committed; no block in use overlaps it, by the callers.
    let done = unsafe { os::purge((*page).start.add(from * units.os_page), (to - from) * units.os_page) }.is_ok();
    if !done {
        return 0;
    }
    stats::add(Counter::PurgedBytes, ((to - from) * units.os_page) as u64);
    to - from
}

/// Takes the lowest holes of a page into use again, as many as one block overlaps: at least that block comes back to the free
/// list.
///
/// # Safety
/// - The caller holds the page, and it has holes.
#[cold]
pub(crate) unsafe fn refill_hole(page: *mut Page) {
    // SAFETY: the caller's duty: P10 says that every block that overlaps a hole is free and not in the list.
    unsafe {
        let units = Units::of(page);
        let old = (*page).holes;
        let (block, _) = units.blocks(old.trailing_zeros() as usize);
        let filled = old & units.mask_of(block);
        let holes = old & !filled;
        (*page).holes = holes;
        stats::sub(Counter::HoleBytes, u64::from(filled.count_ones()) * units.os_page as u64);
        let (_, last) = units.blocks(63 - filled.leading_zeros() as usize);
        for index in (block..=last).rev() {
            if units.mask_of(index) & holes == 0 && units.mask_of(index) & filled != 0 {
                let block = (*page).start.add(index * units.block_bytes).cast();
                Block::set_next(block, (*page).free);
                (*page).free = block;
            }
        }
    }
}
