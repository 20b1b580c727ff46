//! The invariants of a page, told by walking it. Naive on purpose: nothing here uses what the page itself uses.

use super::*;
use crate::holes::BLOCKS_MAX;
use crate::os;

impl Page {
    /// Checks P2–P4, P6, P7, P10 and P13. Returns the bytes of its blocks that are handed out.
    ///
    /// # Safety
    /// - The caller holds the page, a page of small blocks.
    pub(crate) unsafe fn check_all(&self) -> u64 {
        let bytes = self.block_bytes as usize;
        let page_bytes = self.slice_count() * SLICE_BYTES;
        assert!(matches!(self.kind(), Kind::Small | Kind::Offset | Kind::Sampled), "P8: a page of equal blocks");
        assert!(self.start.addr().is_multiple_of(SLICE_BYTES), "P2: the page starts on a slice");
        assert_eq!(bytes, self.class().block_bytes(), "P7: the block size is the class's");
        assert_eq!(self.reserved as usize, page_bytes / bytes, "P6: as many blocks as fit");
        assert!(self.used.get() <= self.carved.get() && self.carved <= self.reserved, "P6: used ≤ carved ≤ reserved");

        let touched = self.touched as usize;
        assert!(
            touched >= self.carved.get() as usize * bytes && touched <= page_bytes,
            "P13: carved blocks are touched"
        );
        assert!(touched.is_multiple_of(os::page_bytes()), "P13: what is touched are whole OS pages");

        let is_withdrawn = |index: usize| {
            (index * bytes / os::page_bytes()..=((index + 1) * bytes - 1) / os::page_bytes())
                .any(|unit| self.holes >> unit & 1 == 1)
        };
        let mut is_free = [0_u64; BLOCKS_MAX / 64];
        let (mut block, mut free) = (self.free, 0);
        while !block.is_null() {
            let at = block.addr().wrapping_sub(self.start.addr());
            let index = at / bytes;
            assert!(index < self.carved.get() as usize, "P3: a free block lies in what was carved");
            assert!(at.is_multiple_of(bytes), "P3: a free block is a block");
            assert!(is_free[index / 64] >> (index % 64) & 1 == 0, "P3: a block is free once");
            assert!(!is_withdrawn(index), "P3: a free block lies in no hole");
            is_free[index / 64] |= 1 << (index % 64);
            free += 1;
            // SAFETY: the block is one of the page, free as far as the list says, and the caller holds the page.
            block = unsafe { Block::next(block) };
        }
        let mut withdrawn = 0;
        if self.holes != 0 {
            let (carved, reserved) = (self.carved.get() as usize, self.reserved as usize);
            withdrawn = (0..carved).filter(|index| is_withdrawn(*index)).count() as u32;
            assert!(!(carved..reserved).any(is_withdrawn), "P10: holes are of carved blocks");
        }
        let known = self.used.get() + free + withdrawn;
        assert_eq!(known, self.carved.get(), "P4, P10: each carved block is used, free or in a hole");
        u64::from(self.used.get()) * bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holes;
    use crate::region::{self, Run};
    use crate::size_class::CLASS_COUNT;
    use std::sync::{MutexGuard, PoisonError};
    use std::vec::Vec;

    #[test]
    fn pages_begin_small_and_fit_their_blocks() {
        for class in (1..CLASS_COUNT).map(SizeClass::from_index) {
            let bytes = class.block_bytes();
            let counts: Vec<usize> = (0..=u8::MAX).map(|held| slice_count_for(class, held) as usize).collect();
            assert!(counts.is_sorted(), "a thread with more pages gets no smaller ones, {bytes} B");
            assert!(counts[255] <= PAGE_SLICES_MAX as usize && counts[255] * SLICE_BYTES <= 1 << 19);
            for (held, count) in counts.iter().enumerate() {
                assert!(
                    *count == counts[0] || *count <= counts[..held].iter().sum(),
                    "no more than is held, {bytes} B"
                );
                let left = count * SLICE_BYTES % bytes;
                assert!(left * 5 <= count * SLICE_BYTES, "a fifth is left over at most, {bytes} B in {count} slices");
            }
            let well = |count: usize| count * SLICE_BYTES % bytes * 8 <= count * SLICE_BYTES;
            let fewest = (1..=PAGE_SLICES_MAX as usize).find(|count| well(*count)).unwrap_or(1);
            assert_eq!(counts[0], fewest, "the fewest that fit well, {bytes} B");
        }
    }

    /// A page that no theap knows of.
    struct Lone {
        run: Run,
        page: *mut Page,
        _quiet: MutexGuard<'static, ()>,
    }

    impl Lone {
        fn new(bytes: usize) -> Lone {
            let quiet = region::QUIET.lock().unwrap_or_else(PoisonError::into_inner);
            let class = SizeClass::of_bytes(bytes);
            let run = region::take(slice_count_for(class, u8::MAX) as usize, 1).expect("address space is plenty");
            let fresh = run.touch(0, run.count);
            let page = run.page();
            // SAFETY: the run's descriptor, taken just now.
            unsafe {
                (*page).begin_small(&run, class, 0, fresh);
                (*page).set_kind(Kind::Small);
            }
            Lone { run, page, _quiet: quiet }
        }

        #[allow(clippy::mut_from_ref, reason = "one reference at a time, in these tests")]
        fn page(&self) -> &mut Page {
            // SAFETY: this page is the test's alone.
            unsafe { &mut *self.page }
        }

        /// Hands all blocks out.
        fn carve_all(&self) -> Vec<*mut Block> {
            let page = self.page();
            let mut blocks = Vec::new();
            while page.carved < page.reserved {
                let at = page.carved.get() as usize * page.block_bytes as usize;
                // SAFETY: this page is the test's, and has blocks to carve.
                let (first, count) = unsafe { page.carve(u32::MAX) };
                assert_eq!(first.addr(), page.start.addr() + at);
                blocks.extend((0..count as usize).map(|i| first.wrapping_byte_add(i * page.block_bytes as usize)));
            }
            blocks
        }

        fn check(&self) -> u64 {
            // SAFETY: this page is the test's.
            unsafe { self.page().check_all() }
        }
    }

    impl Drop for Lone {
        fn drop(&mut self) {
            let page = self.page();
            let holes = page.holes.count_ones();
            crate::stats::sub(crate::stats::Counter::HoleBytes, u64::from(holes) * os::page_bytes() as u64);
            page.set_kind(Kind::Free);
            self.run.give();
        }
    }

    #[test]
    fn pages_keep_their_count_through_holes_of_every_class() {
        for class in 2..crate::size_class::CLASS_COUNT {
            let lone = Lone::new(SizeClass::from_index(class).block_bytes());
            assert_eq!(lone.check(), 0);
            let blocks = lone.carve_all();
            lone.check();
            let page = lone.page();
            for (index, block) in blocks.iter().enumerate() {
                if index % 97 != 0 {
                    // SAFETY: handed out above, here and below.
                    unsafe { page.put(*block) };
                }
            }
            let used = lone.check();
            // SAFETY: the page is the test's.
            unsafe { holes::purge(page) };
            assert_eq!(lone.check(), used, "holes hand nothing out: {} bytes", page.block_bytes);
            let mut again: Vec<*mut Block> = Vec::new();
            while page.has_room() {
                // SAFETY: as above.
                unsafe {
                    if page.free.is_null() {
                        holes::refill_hole(page);
                        page.check_all();
                        assert!(!page.free.is_null(), "a hole brings at least a block");
                    }
                    let (mut block, count) = page.take_free(7);
                    for _ in 0..count {
                        again.push(block);
                        block = Block::next(block);
                    }
                }
            }
            lone.check();
            assert_eq!((page.used.get(), page.holes), (page.reserved, 0));
            let mut all: Vec<*mut Block> = blocks.iter().step_by(97).chain(&again).copied().collect();
            all.sort();
            assert_eq!(all, blocks, "every block is handed out once");
        }
    }

    /// Expects the check to tell what `spoil` did to a page of which some blocks are free and some make holes.
    fn tells(spoil: impl FnOnce(&mut Page, &[*mut Block])) {
        let lone = Lone::new(512);
        let blocks = lone.carve_all();
        let page = lone.page();
        let per_unit = os::page_bytes() / 512;
        // The first OS page keeps a block in use, the second one becomes a hole.
        for block in blocks[1..2 * per_unit].iter() {
            // SAFETY: handed out above.
            unsafe { page.put(*block) };
        }
        // SAFETY: the page is the test's.
        unsafe { holes::purge(page) };
        lone.check();
        spoil(page, &blocks);
        lone.check();
    }

    #[test]
    #[should_panic(expected = "P6: used")]
    fn pages_check_tells_more_used_than_carved() {
        tells(|page, _| page.used.set(page.carved.get() + 1));
    }

    #[test]
    #[should_panic(expected = "P4, P10")]
    fn pages_check_tells_a_lost_block() {
        // SAFETY: the list has blocks.
        tells(|page, _| page.free = unsafe { Block::next(page.free) });
    }

    #[test]
    #[should_panic(expected = "P4, P10")]
    fn pages_check_tells_a_block_that_came_home_uncounted() {
        tells(|page, _| page.used -= 1);
    }

    #[test]
    #[should_panic(expected = "P3: a block is free once")]
    fn pages_check_tells_a_block_freed_twice() {
        tells(|page, blocks| {
            // SAFETY: a free block of the page.
            unsafe { page.put(blocks[1]) };
        });
    }

    #[test]
    #[should_panic(expected = "P3: a free block is a block")]
    fn pages_check_tells_a_link_into_a_block() {
        tells(|page, _| page.free = page.free.wrapping_byte_add(8));
    }

    #[test]
    #[should_panic(expected = "P3: a free block lies in what was carved")]
    fn pages_check_tells_a_link_out_of_the_page() {
        tells(|page, _| page.free = page.start.wrapping_add(SLICE_BYTES).cast());
    }

    #[test]
    #[should_panic(expected = "P3: a free block lies in no hole")]
    fn pages_check_tells_a_hole_under_a_free_block() {
        tells(|page, _| page.holes |= 1);
    }

    #[test]
    #[should_panic(expected = "P4, P10")]
    fn pages_check_tells_a_hole_that_is_forgotten() {
        tells(|page, _| page.holes = 0);
    }

    #[test]
    #[should_panic(expected = "P10: holes are of carved blocks")]
    fn pages_check_tells_a_hole_behind_what_was_carved() {
        let lone = Lone::new(512);
        lone.page().holes |= 1;
        lone.check();
    }
}
