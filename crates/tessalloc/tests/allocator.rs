//! Collections in a heap, by the trait of `allocator-api2` or, with the feature `nightly`, by the standard one.
#![cfg(any(feature = "allocator-api2", feature = "nightly"))]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

use std::thread;

use tessalloc::{Heap, HeapOptions, raw};

#[cfg(not(feature = "nightly"))]
use allocator_api2::{
    alloc::{Allocator, Layout},
    boxed::Box,
    vec::Vec,
};
#[cfg(feature = "nightly")]
use std::{
    alloc::{Allocator, Layout},
    boxed::Box,
    vec::Vec,
};

#[test]
fn vectors_grow_and_shrink_in_the_heap() {
    let heap = Heap::new().expect("a heap");
    let mut numbers = Vec::new_in(&heap);
    // Up to 4 MiB: through all classes, and as a large block.
    for i in 0..1_000_000u32 {
        numbers.push(i);
    }
    assert!(heap.contains(numbers.as_ptr().cast()) && heap.allocated_bytes() >= 4_000_000);
    for len in [700_000, 300_000, 16_385, 16_384, 16_383, 9_000, 100, 1, 0] {
        numbers.truncate(len);
        numbers.shrink_to_fit();
        assert!(numbers.iter().copied().eq(0..len as u32), "{len} numbers are kept");
        // A block of at most twice the size, in slices of 64 KiB; besides, what lies on this thread's stacks.
        let most = (2 * len as u64 * 4).next_multiple_of(64 << 10) + (512 << 10);
        assert!(heap.allocated_bytes() <= most, "{} bytes for {len} numbers", heap.allocated_bytes());
    }
    drop(numbers);
    heap.destroy();
}

/// A block of 128 KiB that shrinks to 64 KiB, the largest class: were it kept, it would be freed as one of the class.
#[test]
fn large_blocks_that_shrink_into_a_class_are_freed_as_what_they_are() {
    let mut heap = Heap::new().expect("a heap");
    let class = Layout::new::<[u8; 64 << 10]>();
    let large = Layout::new::<[u8; 128 << 10]>();
    // In use meanwhile, so that this thread's stack of the class has room.
    let other = heap.alloc(class).expect("memory");
    // SAFETY: each block is of the heap, with the layout it has, and freed once.
    unsafe {
        let block = heap.alloc(large).expect("memory");
        let block = heap.realloc(block, large, class.size()).expect("memory");
        heap.dealloc(block, class);
        let next = heap.alloc(class).expect("memory");
        assert_eq!(raw::usable_size(next.as_ptr()), class.size(), "a block of the class, not the large one");
        heap.dealloc(other, class);
    }
    heap.clear();
    assert!(heap.visit(|block| panic!("nothing is in use, but {block:?} is")));
}

#[test]
fn boxes_and_values_of_all_alignments_live_in_the_heap() {
    #[repr(align(4096))]
    struct OsPage([u8; 8192]);

    let heap = Heap::new().expect("a heap");
    let numbers: std::vec::Vec<_> = (0..1000u64).map(|i| Box::new_in(i, &heap)).collect();
    let page = Box::new_in(OsPage([7; 8192]), &heap);
    assert!((&raw const *page).is_aligned() && page.0.iter().all(|byte| *byte == 7));
    assert!(numbers.iter().zip(0..).all(|(number, i)| **number == i && heap.contains((&raw const **number).cast())));
    // A trait's object in a thread of its own, which frees it.
    let told: Box<dyn Fn() -> u64 + Send, &Heap> = {
        let (told, heap) = Box::into_raw_with_allocator(Box::new_in(|| 5, &heap));
        // SAFETY: the box's own address and allocator.
        unsafe { Box::from_raw_in(told, heap) }
    };
    let answer = thread::scope(|scope| {
        let tell_and_free = move || {
            let answer = told();
            drop(told);
            answer
        };
        scope.spawn(tell_and_free).join().expect("no panic")
    });
    assert_eq!(answer, 5);
}

#[test]
fn zero_sized_types_take_nothing() {
    let heap = Heap::new().expect("a heap");
    let mut units = Vec::new_in(&heap);
    units.resize(1000, ());
    let unit = Box::new_in((), &heap);
    assert_eq!((units.len(), *unit), (1000, ()));
    let nothing = Layout::from_size_align(0, 4096).expect("a layout");
    let block = (&heap).allocate(nothing).expect("no memory is needed");
    assert!(block.cast::<u8>().addr().get().is_multiple_of(4096));
    // SAFETY: of this heap, with this layout.
    unsafe { (&heap).deallocate(block.cast(), nothing) };
    assert_eq!(heap.allocated_bytes(), 0);
}

#[test]
fn blocks_change_size_and_alignment_and_keep_what_they_hold() {
    let heap = &Heap::new().expect("a heap");
    let sizes = [0, 1, 8, 9, 100, 5000, 64 << 10, (64 << 10) + 1, 128 << 10, 1 << 20];
    let aligns = [1, 8, 64, 4096, 128 << 10];
    for (from, to) in sizes.iter().flat_map(|from| sizes.iter().map(move |to| (*from, *to))) {
        for (old, new) in aligns.iter().flat_map(|old| aligns.iter().map(move |new| (*old, *new))) {
            let [old, new] =
                [(from, old), (to, new)].map(|(size, align)| Layout::from_size_align(size, align).expect("a layout"));
            // SAFETY: each block is of the heap, with the layout it has, and holds so much.
            unsafe {
                let block = heap.allocate(old).expect("memory").cast::<u8>();
                block.write_bytes(0xa5, from);
                let moved = match from <= to {
                    true => heap.grow_zeroed(block, old, new),
                    false => heap.shrink(block, old, new),
                };
                let mut moved = moved.expect("memory");
                let bytes = moved.as_mut();
                assert!(bytes.len() == to && bytes.as_ptr().addr().is_multiple_of(new.align()), "{old:?} to {new:?}");
                let (kept, fresh) = bytes.split_at(from.min(to));
                assert!(kept.iter().all(|byte| *byte == 0xa5), "{old:?} to {new:?} keeps");
                assert!(fresh.iter().all(|byte| *byte == 0), "{old:?} to {new:?} zeroes");
                heap.deallocate(moved.cast(), new);
            }
        }
    }
}

#[test]
fn heaps_at_their_limit_give_errors_and_keep_what_is_there() {
    const LIMIT: u64 = 1 << 20;
    let heap = HeapOptions::new().hard_limit(LIMIT).build().expect("a heap");
    let mut bytes = Vec::new_in(&heap);
    assert!(bytes.try_reserve_exact(2 << 20).is_err(), "more than the limit");
    bytes.try_reserve_exact(600 << 10).expect("below the limit");
    bytes.resize(600 << 10, 0x5a_u8);
    // A place beside the old one does not fit.
    assert!(bytes.try_reserve_exact(600 << 10).is_err());
    assert!(bytes.len() == 600 << 10 && bytes.iter().all(|byte| *byte == 0x5a));
    drop(bytes);
    let mut kept = std::vec::Vec::new();
    loop {
        let mut small = Vec::<u8, _>::new_in(&heap);
        if small.try_reserve_exact(112).is_err() {
            break;
        }
        kept.push(small);
    }
    let used = kept.len() as u64 * 112;
    assert!(used <= LIMIT && used > LIMIT * 9 / 10, "{} blocks of 112 bytes", kept.len());
    drop(kept);
    heap.purge();
    Vec::<u8, _>::new_in(&heap).try_reserve_exact(600 << 10).expect("room again");
}

/// Maps of `hashbrown`, which knows the trait of `allocator-api2`.
#[cfg(feature = "allocator-api2")]
mod maps {
    use super::*;
    use hashbrown::{DefaultHashBuilder, HashMap, HashSet};

    #[test]
    fn maps_and_sets_of_several_threads_live_in_one_heap() {
        let heap = Heap::new().expect("a heap");
        let maps = thread::scope(|scope| {
            let workers = [1u64, 2, 3].map(|worker| {
                let heap = &heap;
                scope.spawn(move || {
                    let mut squares = HashMap::with_hasher_in(DefaultHashBuilder::default(), heap);
                    squares.extend((0..20_000u64).map(|i| (i, Box::new_in(i * i * worker, heap))));
                    squares.retain(|i, _| i % 3 == 0);
                    squares.shrink_to_fit();
                    (worker, squares)
                })
            });
            workers.map(|worker| worker.join().expect("no panic"))
        });
        for (worker, squares) in maps {
            assert_eq!(squares.len(), 6_667);
            assert!((0..20_000).step_by(3).all(|i| *squares[&i] == i * i * worker));
            assert!(heap.contains((&raw const *squares[&3]).cast()));
        }
        let words: HashSet<&str, _, _> = {
            let mut words = HashSet::with_hasher_in(DefaultHashBuilder::default(), &heap);
            words.extend(["a", "b", "a"]);
            words
        };
        assert_eq!(words.len(), 2);
        drop(words);
        heap.destroy();
    }

    #[test]
    fn a_map_at_the_limit_says_so_and_stays_whole() {
        let heap = HeapOptions::new().hard_limit(256 << 10).build().expect("a heap");
        let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), &heap);
        let mut next = 0u64;
        while map.try_reserve(1).is_ok() {
            map.insert(next, !next);
            next += 1;
        }
        assert!(next > 1_000 && (0..next).all(|i| map[&i] == !i), "{next} entries fit");
    }
}
