//! What goes beyond malloc, realloc and free: zeroing forms, alignment at an offset, growth in place, batches, checked frees.

mod support;

use std::collections::HashSet;
use std::sync::mpsc;
use std::thread;

use support::{Random, alone};
use tessalloc::raw;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Whether `[from, to)` of a block reads zero.
unsafe fn is_zero(block: *mut u8, from: usize, to: usize) -> bool {
    // SAFETY: the caller's block holds `to` bytes.
    (from..to).all(|at| unsafe { block.add(at).read() } == 0)
}

/// Leaves freed blocks with ones in them on the thread's stacks and in its warm runs.
fn leave_dirt(sizes: &[usize]) {
    for &size in sizes {
        let blocks: Vec<_> = (0..4).map(|_| raw::malloc(size)).collect();
        for block in blocks {
            // SAFETY: a block of ours, of at least `size` bytes.
            unsafe {
                block.write_bytes(0xff, raw::usable_size(block));
                raw::free(block);
            }
        }
    }
}

#[test]
fn zalloc_clears_all_that_is_usable() {
    let _alone = alone();
    for size in [0, 1, 8, 50, 100, 1000, 5000, 9000, 70 * KIB, 300 * KIB] {
        leave_dirt(&[size]);
        for block in [raw::zalloc(size), raw::zallocn(1, size), raw::zalloc_aligned(size, 64)] {
            // SAFETY: a block of ours.
            unsafe {
                assert!(is_zero(block, 0, raw::usable_size(block)), "{size}");
                raw::free(block);
            }
        }
    }
    assert!(raw::zalloc(usize::MAX).is_null());
    assert!(raw::zalloc_aligned(8, 24).is_null(), "24 is no power of two");
}

#[test]
fn rezalloc_shows_zero_wherever_nothing_was_written() {
    let _alone = alone();
    // Each step writes all that it asked for; what a later step asks for beyond the most ever asked for must read zero, and so
    // must all beyond the old usable size.
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let sizes: Vec<usize> = (0..4).map(|_| 1 + random.below([200, 3000, 200 * KIB][round % 3])).collect();
        leave_dirt(&sizes);
        let mut block = raw::zalloc(sizes[0]);
        let mut written = sizes[0];
        // SAFETY: `block` is ours; writes stay in what was asked for.
        unsafe {
            block.write_bytes(0xaa, written);
            for &size in &sizes[1..] {
                let before = raw::usable_size(block);
                let old = block;
                block = raw::rezalloc(block, size);
                let kept = if block == old { written.min(raw::usable_size(block)) } else { written.min(size) };
                assert!(block == old || raw::usable_size(block) < before || size > before || size * 2 < before);
                assert!((0..kept.min(size)).all(|at| block.add(at).read() == 0xaa), "{sizes:?}: contents at {size}");
                assert!(is_zero(block, kept, raw::usable_size(block)), "{sizes:?}: not zero from {kept} at {size}");
                block.write_bytes(0xaa, size);
                written = kept.max(size);
            }
            raw::free(block);
        }
    }
}

#[test]
fn count_times_size_that_overflows_is_null_and_leaves_the_block() {
    let _alone = alone();
    let half = usize::MAX / 2 + 1;
    assert!(raw::mallocn(half, 2).is_null());
    assert!(raw::zallocn(half, 2).is_null());
    let block = raw::mallocn(3, 5);
    // SAFETY: a block of ours, of 15 bytes.
    unsafe {
        block.write_bytes(5, 15);
        assert!(raw::reallocn(block, half, 2).is_null());
        assert!(raw::recalloc(block, half, 2).is_null());
        assert_eq!(block.add(14).read(), 5);
        let block = raw::recalloc(block, 10, 100);
        assert_eq!(block.add(14).read(), 5);
        assert!(is_zero(block, 16, 1000));
        // A size of 0 is a block, not a free.
        let block = raw::reallocn(block, 0, 8);
        assert!(!block.is_null());
        assert!(raw::reallocf(block, usize::MAX).is_null(), "and the block is freed");
    }
}

#[test]
fn sized_forms_tell_what_usable_size_tells() {
    let _alone = alone();
    for size in [0, 7, 100, 4000, 60 * KIB, 3 * MIB] {
        // SAFETY: blocks of ours.
        unsafe {
            for sized in [raw::malloc_sized(size), raw::aligned_sized(size, 128), raw::zalloc_sized(size, 32)] {
                assert!(sized.usable_bytes >= size);
                assert_eq!(sized.usable_bytes, raw::usable_size(sized.block));
                let (grown, before) = raw::realloc_sized(sized.block, 2 * size + 1);
                assert_eq!(before, sized.usable_bytes);
                assert!(grown.usable_bytes > 2 * size);
                raw::free(grown.block);
            }
        }
    }
    let none = raw::malloc_sized(usize::MAX);
    assert!(none.block.is_null() && none.usable_bytes == 0);
}

#[test]
fn expand_keeps_the_block_where_it_is() {
    let _alone = alone();
    // SAFETY: blocks of ours.
    unsafe {
        assert!(!raw::expand(std::ptr::null_mut(), 1));
        let small = raw::malloc(100);
        let usable = raw::usable_size(small);
        assert!(raw::expand(small, usable) && raw::expand(small, 1));
        assert!(!raw::expand(small, usable + 1));
        assert_eq!(raw::usable_size(small), usable, "it never shrinks");
        raw::free(small);
        // Two runs side by side: the first is in the way of the second, not the other way round.
        let run = raw::malloc(3 * MIB);
        run.write_bytes(9, 3 * MIB);
        if raw::expand(run, 3 * MIB + 1) {
            assert!(raw::usable_size(run) > 3 * MIB);
            run.add(3 * MIB).write(9);
        }
        assert!(!raw::expand(run, usize::MAX));
        assert_eq!(run.add(3 * MIB - 1).read(), 9);
        raw::free(run);
    }
}

#[test]
fn aligned_at_puts_the_offset_on_the_alignment() {
    let _alone = alone();
    for size in [0, 1, 8, 50, 1000, 9000, 63 * KIB, 64 * KIB, 200 * KIB, 5 * MIB] {
        for shift in 0..=22 {
            let align = 1usize << shift;
            for offset in [0, 1, 8, 16, 24, 100, 4096, align / 2, align, size, usize::MAX - 7] {
                let block = raw::aligned_at(size, align, offset);
                assert!(!block.is_null(), "{size} at {align} + {offset}");
                assert_eq!(block.addr().wrapping_add(offset) % align, 0, "{size} at {align} + {offset}");
                // SAFETY: a block of ours.
                unsafe {
                    let usable = raw::usable_size(block);
                    assert!(usable >= size, "{size} at {align} + {offset}: {usable} usable");
                    block.write_bytes(1, usable.min(size + 64));
                    raw::free(block);
                }
            }
        }
    }
    assert!(raw::aligned_at(1, 2 * raw::OFFSET_ALIGN_MAX, 8).is_null());
    let beyond = raw::aligned_at(1, 2 * raw::OFFSET_ALIGN_MAX, 0);
    assert!(beyond.addr().is_multiple_of(2 * raw::OFFSET_ALIGN_MAX) && !beyond.is_null());
    // SAFETY: a block of ours.
    unsafe { raw::free(beyond) };
    for align in [0, 3, 24] {
        assert!(raw::aligned_at(8, align, 8).is_null(), "{align} is no power of two");
    }
    for size in [isize::MAX as usize, isize::MAX as usize - 8, usize::MAX] {
        assert!(raw::aligned_at(size, 64, 8).is_null());
    }
}

/// A block with what it should hold.
struct Held {
    block: usize,
    size: usize,
    align: usize,
    offset: usize,
    seed: u8,
}

impl Held {
    fn at(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.block)
    }

    fn write(&self) {
        // SAFETY: a block of ours, of `size` bytes.
        (0..self.size).for_each(|at| unsafe { self.at().add(at).write(self.seed.wrapping_add(at as u8)) });
    }

    fn check(&self, size: usize) {
        assert_eq!(self.block.wrapping_add(self.offset) % self.align, 0);
        for at in 0..size {
            // SAFETY: as above.
            let found = unsafe { self.at().add(at).read() };
            assert_eq!(found, self.seed.wrapping_add(at as u8), "byte {at} of {}", self.size);
        }
    }
}

#[test]
fn aligned_at_blocks_are_distinct_resized_and_freed_anywhere() {
    let _alone = alone();
    let before = tessalloc::stats();
    let (send, receive) = mpsc::channel::<Held>();
    let other = thread::spawn(move || {
        for held in receive {
            held.check(held.size);
            // SAFETY: a block of ours, handed over.
            unsafe { raw::free(held.at()) };
        }
    });
    let mut random = Random(42);
    let mut all: Vec<Held> = Vec::new();
    for step in 0..20_000 {
        // Mostly small ones.
        let most = [100, 100, 100, 2000, 2000, 2000, 2000, 100 * KIB][random.below(8)];
        let size = random.below(most);
        if all.len() < 200 {
            let (align, offset) = (1 << random.below(9), random.below(300));
            let zeroed = random.below(2) == 0;
            let block =
                if zeroed { raw::zalloc_aligned_at(size, align, offset) } else { raw::aligned_at(size, align, offset) };
            // SAFETY: a block of ours.
            assert!(!zeroed || unsafe { is_zero(block, 0, raw::usable_size(block)) });
            all.push(Held { block: block.expose_provenance(), size, align, offset, seed: step as u8 });
            all[all.len() - 1].write();
            continue;
        }
        let index = random.below(all.len());
        match random.below(4) {
            0 => {
                let held = all.swap_remove(index);
                held.check(held.size);
                // SAFETY: a block of ours; the sized forms take it too.
                unsafe { raw::free_layout(held.at(), held.size, held.align) };
            }
            1 => send.send(all.swap_remove(index)).expect("the other thread lives"),
            2 => {
                let held = &mut all[index];
                // SAFETY: a block of ours.
                let moved = unsafe { raw::realloc_aligned_at(held.at(), size, held.align, held.offset) };
                held.block = moved.expose_provenance();
                held.check(held.size.min(size));
                held.size = size;
                held.write();
            }
            _ => {
                // Plain realloc keeps the contents; the alignment at the offset is gone.
                let held = &mut all[index];
                // SAFETY: a block of ours.
                let moved = unsafe { raw::realloc(held.at(), size) };
                (held.block, held.align) = (moved.expose_provenance(), 1);
                held.check(held.size.min(size));
                held.size = size;
                held.write();
            }
        }
    }
    for held in all {
        held.check(held.size);
        // SAFETY: a block of ours.
        unsafe { raw::free(held.at()) };
    }
    drop(send);
    other.join().expect("the other thread found nothing amiss");
    tessalloc::purge();
    let after = tessalloc::stats();
    // All that is left is what plain reallocations left to this thread's pages: one a class at most.
    assert!(after.large_blocks <= before.large_blocks, "{} runs are left", after.large_blocks);
    assert!(after.pages <= before.pages + 82, "{} pages before, {} after", before.pages, after.pages);
}

#[test]
fn batches_hold_distinct_blocks() {
    let _alone = alone();
    for (size, count) in [(0, 10), (16, 1000), (48, 3), (1000, 300), (9000, 20), (100 * KIB, 5)] {
        for _ in 0..3 {
            let mut blocks = vec![std::ptr::null_mut(); count];
            assert_eq!(raw::malloc_batch(size, &mut blocks), count);
            let distinct: HashSet<usize> = blocks.iter().map(|block| block.addr()).collect();
            assert_eq!(distinct.len(), count);
            // SAFETY: blocks of ours.
            unsafe {
                for (index, &block) in blocks.iter().enumerate() {
                    assert!(block.addr() % 16 == 0 && raw::usable_size(block) >= size);
                    block.write_bytes(index as u8, size);
                }
                for (index, &block) in blocks.iter().enumerate() {
                    assert!((0..size).all(|at| block.add(at).read() == index as u8));
                }
                blocks.push(std::ptr::null_mut());
                raw::free_batch(&blocks);
            }
        }
    }
    assert_eq!(raw::malloc_batch(8, &mut []), 0);
    assert_eq!(raw::malloc_batch(usize::MAX, &mut [std::ptr::null_mut(); 2]), 0);
}

#[test]
fn batch_is_a_threads_first_act() {
    let _alone = alone();
    thread::spawn(|| {
        let mut blocks = [std::ptr::null_mut(); 100];
        assert_eq!(raw::malloc_batch(32, &mut blocks), 100);
        // SAFETY: blocks of ours.
        unsafe { raw::free_batch(&blocks) };
    })
    .join()
    .expect("the thread ended well");
    thread::spawn(|| {
        let block = raw::aligned_at(100, 64, 8);
        assert_eq!(block.addr() % 64, 56);
        // SAFETY: a block of ours.
        unsafe { raw::free(block) };
    })
    .join()
    .expect("the thread ended well");
}

#[test]
fn free_if_ours_leaves_others_alone() {
    let _alone = alone();
    let mut other = 7u64;
    // SAFETY: one address is not ours, the other a block of ours.
    unsafe {
        assert!(!raw::free_if_ours((&raw mut other).cast()));
        assert!(!raw::free_if_ours(std::ptr::null_mut()));
        assert!(raw::free_if_ours(raw::malloc(10)));
        assert!(raw::free_if_ours(raw::aligned_at(10, 32, 8)));
    }
    assert_eq!(other, 7);
}
