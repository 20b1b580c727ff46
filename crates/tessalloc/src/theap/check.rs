//! The invariants of a theap and its stacks, told by walking them.

use super::*;
use crate::sync::Ordering;

impl Thread {
    /// Checks T1–T5, T7, T8, and each page of a queue or of the list of full ones by its own check. Returns how many pages there are.
    ///
    /// # Safety
    /// - The caller is this thread, or nobody else can be in its gate or its stacks.
    pub(crate) unsafe fn check_all(&self) -> usize {
        let mut granted = 0;
        for class in 1..CLASS_COUNT {
            let (limit, room) = (self.theap.limits[class], self.stacks.room[class]);
            let (mut block, mut length) = (self.stacks.top[class], 0);
            while !block.is_null() {
                length += 1;
                assert!(length <= STACK_BLOCKS_MAX, "T1, T3: a stack holds a block once");
                assert_eq!(class_of(block), class, "T1: a stack holds blocks of its class");
                // SAFETY: a block of the stack, which the caller holds.
                block = unsafe { Block::next(block) };
            }
            assert_eq!(limit - room, length, "T2: room is the limit less the length, class {class}");
            let bytes = SizeClass::from_index(class).block_bytes() as i32;
            assert!(
                limit <= STACK_BLOCKS_MAX && (limit <= 1 || limit * bytes <= STACK_BYTES_MAX),
                "T3: limits are bounded"
            );
            granted += limit * bytes;
        }
        assert_eq!(
            granted + self.theap.budget,
            Opt::ThreadCacheBytes.value() as i32,
            "T3: limits are taken from the budget"
        );

        let line = &self.stacks.line;
        if line.next != line.end {
            assert!(!self.heap.is_null(), "T7: only heaps' records have lines");
            // SAFETY: the line's blocks count as handed out.
            let page = unsafe { &*crate::thread::page_of(line.next) };
            assert_eq!(u32::from(page.class), line.class, "T7: a line is of one class");
            let carved_end = page.start.addr() + (page.carved.get() * page.block_bytes) as usize;
            assert_eq!(line.end.addr(), carved_end, "T7: a line ends where its page is carved to");
            assert_eq!((line.end.addr() - line.next.addr()) % page.block_bytes as usize, 0, "T7: whole blocks");
        }

        let mut pages = 0;
        let mut held = [0usize; CLASS_COUNT];
        // SAFETY: the caller holds the pages of this thread.
        unsafe {
            for class in 1..CLASS_COUNT {
                let mut previous = null_mut();
                let mut page = self.theap.queues[class].first;
                while !page.is_null() {
                    assert_eq!((*page).flags & (IN_QUEUE | FULL), IN_QUEUE, "T4: a page in a queue says so");
                    assert_eq!(usize::from((*page).class), class, "T4: a queue is of one class");
                    assert_eq!((*page).wake, 0, "P5: a page in a queue is looked at when it is empty");
                    self.check_owned(page, previous);
                    pages += 1;
                    held[usize::from((*page).class)] += 1;
                    previous = page;
                    page = (*page).next;
                }
                assert_eq!(self.theap.queues[class].last, previous, "T4: a queue knows its last page");
            }
            let mut previous = null_mut();
            let mut page = self.theap.full;
            while !page.is_null() {
                assert_eq!((*page).flags & (IN_QUEUE | FULL), FULL, "T4: a full page is in no queue");
                assert!((*page).used > (*page).wake, "P5: a full page that has room again is in a queue");
                self.check_owned(page, previous);
                pages += 1;
                held[usize::from((*page).class)] += 1;
                previous = page;
                page = (*page).next;
            }
            let starter = self.theap.starter;
            if !starter.is_null() {
                assert_eq!((*starter).kind(), Kind::Starter, "T5: the starter slice is one");
                assert!(
                    (*starter).carved.get() as usize * 16 <= STARTER_TABLE_AT,
                    "T5: its blocks end before its table"
                );
                pages += 1;
            }
        }
        let held = held.map(|count| count.min(255) as u8);
        assert_eq!(self.theap.held, held, "T8: the owner's pages are counted");
        pages
    }

    unsafe fn check_owned(&self, page: *mut Page, previous: *mut Page) {
        // SAFETY: the caller holds the page.
        unsafe {
            // ORDER: Relaxed: this thread wrote it.
            assert_eq!((*page).owner.load(Ordering::Relaxed), self.token(), "P1, T4: the owner's pages are its own");
            assert_eq!((*page).previous, previous, "T4: links lead both ways");
            assert_eq!((*page).heap(), self.heap, "P12: a record's pages are of its heap");
            (*page).check_all();
        }
    }
}

/// The class of a block, by its page.
fn class_of(block: *mut Block) -> usize {
    let (region, slice) = region::find(block.addr()).expect("T1: a block lies in a region");
    let page = region.page(region.start_of(slice).expect("T1: a block lies in a run"));
    // SAFETY: the page stands while one of its blocks is handed out.
    unsafe {
        match (*page).kind() {
            Kind::Small => {
                assert!(
                    (block.addr() - (*page).start.addr()).is_multiple_of((*page).block_bytes as usize),
                    "T1: a block is a block"
                );
                usize::from((*page).class)
            }
            Kind::Starter => {
                let at = (block.addr() - (*page).start.addr()) / 16;
                usize::from(*(*page).start.add(STARTER_TABLE_AT + at))
            }
            other => panic!("T1: a block lies in a page of blocks, not in {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;
    use crate::region::QUIET;
    use crate::thread;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::PoisonError;
    use std::vec::Vec;

    /// This thread's record.
    fn own() -> &'static mut Thread {
        // SAFETY: a record is never unmapped, and this thread's own; one reference at a time, in these tests.
        unsafe { &mut *thread::current_if_started().expect("this thread has allocated") }
    }

    fn check() -> usize {
        // SAFETY: this thread's record, outside of its slow paths.
        unsafe { own().check_all() }
    }

    #[test]
    fn theaps_add_up_through_a_life_with_purges() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seed = 0x7eab_u64;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % end
        };
        let mut blocks: Vec<*mut u8> = Vec::new();
        let mut pages_most = 0;
        for step in 0..60_000 {
            // Phases that grow and phases that shrink; sizes of all classes, small ones more often.
            let grows = step / 5000 % 2 == 0;
            if blocks.is_empty() || below(100) < if grows { 70 } else { 30 } {
                let shift = 3 + below(14);
                let bytes = below(1 << shift);
                blocks.push(raw::malloc(bytes));
            } else {
                let at = below(blocks.len());
                // SAFETY: a block in use.
                unsafe { raw::free(blocks.swap_remove(at)) };
            }
            if step % 2500 == 0 {
                pages_most = pages_most.max(check());
            }
            if step % 10_000 == 9_999 {
                crate::purge();
                check();
            }
        }
        assert!(pages_most > 50, "a life of {pages_most} pages shows little");
        // SAFETY: blocks in use.
        blocks.drain(..).for_each(|block| unsafe { raw::free(block) });
        check();
        crate::purge();
        assert_eq!(check(), 0, "nothing is in use, so nothing is held");
    }

    /// This thread's record of a heap that it has used.
    fn record_of(heap: &crate::Heap) -> &'static mut Thread {
        let record = first_class::handle(crate::sync::tls::get(), heap.id().get()).expect("this thread used the heap");
        // SAFETY: as in `own`.
        unsafe { &mut *record.as_ptr() }
    }

    #[test]
    fn theaps_of_heaps_add_up_with_their_lines() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heap = crate::Heap::new().expect("memory");
        let layout = |i: usize| std::alloc::Layout::from_size_align(16 << (i % 9), 8).expect("a layout");
        let mut lined_up = 0;
        for round in 1..40 {
            let blocks: Vec<_> = (0..round * 7).map(|i| (heap.alloc(layout(i / round)).expect("memory"), i)).collect();
            let record = record_of(&heap);
            lined_up += usize::from(record.stacks.line.next != record.stacks.line.end);
            // SAFETY: this thread's record, outside of its slow paths.
            unsafe { record.check_all() };
            for (block, i) in blocks.into_iter().filter(|(_, i)| i % 3 > 0) {
                // SAFETY: a block in use.
                unsafe { heap.dealloc(block, layout(i / round)) };
            }
            match round % 5 {
                0 => heap.clear(),
                1 => drop(heap.purge()),
                _ => {}
            }
            // SAFETY: as above.
            unsafe { record_of(&heap).check_all() };
        }
        assert!(lined_up > 10, "most rounds leave a line behind, {lined_up} did");
        heap.clear();
        heap.purge();
        // SAFETY: as above.
        assert_eq!(unsafe { record_of(&heap).check_all() }, 0, "nothing is in use, so nothing is held");
        heap.destroy();
    }

    #[test]
    #[should_panic(expected = "T7: a line ends where its page is carved to")]
    fn theaps_check_tells_a_line_that_is_not_the_last_of_its_page() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let heap = crate::Heap::new().expect("memory");
        heap.alloc(std::alloc::Layout::new::<[u64; 4]>()).expect("memory");
        let line = &mut record_of(&heap).stacks.line;
        line.end = line.end.wrapping_sub(32);
        // SAFETY: as above.
        let found = catch_unwind(AssertUnwindSafe(|| unsafe { record_of(&heap).check_all() }));
        line.end = line.end.wrapping_add(32);
        heap.destroy();
        resume_unwind(found.expect_err("the broken line is found"));
    }

    /// Expects the check to tell what `spoil` did to this thread's record; `mend` undoes it.
    fn tells<T>(spoil: impl FnOnce(&mut Thread) -> T, mend: impl FnOnce(&mut Thread, T)) {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = [(); 100].map(|()| raw::malloc(3000));
        // SAFETY: blocks in use.
        blocks[..10].iter().for_each(|block| unsafe { raw::free(*block) });
        check();
        let spoilt = spoil(own());
        let found = catch_unwind(AssertUnwindSafe(check));
        mend(own(), spoilt);
        // SAFETY: blocks in use.
        blocks[10..].iter().for_each(|block| unsafe { raw::free(*block) });
        check();
        resume_unwind(found.expect_err("the broken theap is found"));
    }

    /// The class of the blocks of [`tells`].
    fn class() -> usize {
        SizeClass::of_bytes(3000).index()
    }

    #[test]
    #[should_panic(expected = "T2: room is the limit less the length")]
    fn theaps_check_tells_room_that_is_not_there() {
        tells(|own| own.stacks.room[class()] += 1, |own, ()| own.stacks.room[class()] -= 1);
    }

    #[test]
    #[should_panic(expected = "T2: room is the limit less the length")]
    fn theaps_check_tells_a_stack_that_lost_its_blocks() {
        tells(
            |own| core::mem::replace(&mut own.stacks.top[class()], null_mut()),
            |own, top| own.stacks.top[class()] = top,
        );
    }

    #[test]
    #[should_panic(expected = "T1: a stack holds blocks of its class")]
    fn theaps_check_tells_a_block_on_a_stack_of_another_class() {
        tells(|own| own.stacks.top.swap(class(), class() - 1), |own, ()| own.stacks.top.swap(class(), class() - 1));
    }

    #[test]
    #[should_panic(expected = "T3: limits are taken from the budget")]
    fn theaps_check_tells_a_budget_that_leaks() {
        tells(|own| own.theap.budget -= 1, |own, ()| own.theap.budget += 1);
    }

    #[test]
    #[should_panic(expected = "T4: a page in a queue says so")]
    fn theaps_check_tells_a_page_that_denies_its_queue() {
        let page = |own: &mut Thread| own.theap.queues[class()].first;
        // SAFETY: a page of this thread.
        tells(|own| unsafe { (*page(own)).flags &= !IN_QUEUE }, |own, ()| unsafe { (*page(own)).flags |= IN_QUEUE });
    }

    #[test]
    #[should_panic(expected = "T8: the owner's pages are counted")]
    fn theaps_check_tells_a_page_that_was_not_counted() {
        tells(|own| own.theap.held[class()] -= 1, |own, ()| own.theap.held[class()] += 1);
    }

    #[test]
    #[should_panic(expected = "P1, T4: the owner's pages are its own")]
    fn theaps_check_tells_a_page_of_nobody() {
        let owner = |own: &mut Thread| {
            // SAFETY: a page of this thread.
            unsafe { &(*own.theap.queues[class()].first).owner }
        };
        // ORDER: Relaxed: this thread only.
        tells(|own| owner(own).swap(0, Ordering::Relaxed), |own, was| owner(own).store(was, Ordering::Relaxed));
    }
}
