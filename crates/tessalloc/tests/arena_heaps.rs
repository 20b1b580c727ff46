//! Heaps that are bound to an arena: what lies there, what does not fit, and how both end.

mod support;

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use support::released;
use tessalloc::{Arena, ArenaError, ArenaFunctions, ArenaOptions, Heap, HeapOptions, heap_of, raw};

const MIB: usize = 1 << 20;
const SLICE: usize = Arena::ALIGN;
const EXCLUSIVE: ArenaOptions<'static> = ArenaOptions::new().exclusive(true);

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

fn lies_in(arena: &Arena, block: *const u8, size: usize) -> bool {
    arena.contains(block) && arena.contains(block.wrapping_add(size.max(1) - 1))
}

const BUFFER_BYTES: usize = 16 * MIB;

/// A buffer that the linker made.
struct Static(UnsafeCell<[u8; BUFFER_BYTES]>);

// SAFETY: used by one test, and by its arena.
unsafe impl Sync for Static {}

static BUFFER: Static = Static(UnsafeCell::new([0; BUFFER_BYTES]));

#[test]
fn heap_lives_in_a_static_buffer_and_leaves_it() {
    let memory: *mut u8 = BUFFER.0.get().cast();
    // SAFETY: the buffer is this test's, and reads zero.
    let arena = unsafe { Arena::manage(memory, BUFFER_BYTES, &EXCLUSIVE.committed(true).zeroed(true).name("buffer")) }
        .expect("room");
    let (start, bytes) = (arena.area().0.addr().get(), arena.area().1);
    assert_eq!(start, memory.addr().next_multiple_of(SLICE), "what lies between multiples is used");
    assert_eq!(bytes, (memory.addr() + BUFFER_BYTES) / SLICE * SLICE - start);
    let heap = HeapOptions::new().build_in(&arena).expect("a heap");
    for shift in 0..19 {
        for size in [1 << shift, (1 << shift) + 1, 3 << shift >> 1] {
            let block = heap.alloc(layout(size, 16)).expect("room").as_ptr();
            assert!(lies_in(&arena, block, size) && heap.contains(block), "{size} bytes at {block:?}");
            // SAFETY: a block of `size` bytes, freed once.
            unsafe {
                block.write_bytes(shift as u8, size);
                if shift % 2 == 0 {
                    raw::free(block)
                } else {
                    heap.dealloc(NonNull::new_unchecked(block), layout(size, 16))
                }
            }
        }
    }
    heap.destroy();
    assert_eq!(arena.used_bytes(), 0);
    let info = tessalloc::arenas().find(|info| info.id == arena.id()).expect("a live arena is listed");
    assert_eq!((info.name(), info.address, info.bytes), ("buffer", start, bytes));
    assert_eq!((info.used_bytes, info.heaps, info.is_exclusive, info.numa_node), (0, 0, true, None));
    let id = arena.id();
    released(arena);
    assert!(tessalloc::arenas().all(|info| info.id != id), "an arena that has ended is not listed");
    // The buffer is the program's again: nobody touches it, whatever is allocated and given back.
    // SAFETY: in no arena any more.
    unsafe { memory.write_bytes(0xa5, BUFFER_BYTES) };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let blocks: Vec<*mut u8> = (0..4000).map(|i| raw::malloc(i * 7)).collect();
                // SAFETY: blocks of ours, freed once.
                blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
                tessalloc::purge();
            });
        }
    });
    // SAFETY: as above.
    assert!(unsafe { std::slice::from_raw_parts(memory, BUFFER_BYTES) }.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn full_arena_is_an_error_for_its_heap_alone() {
    let arena = Arena::reserve(4 * MIB, &EXCLUSIVE).expect("address space");
    let heap = HeapOptions::new().build_in(&arena).expect("a heap");
    let blocks: Vec<NonNull<u8>> = std::iter::from_fn(|| heap.alloc(layout(100_000, 16))).collect();
    assert_eq!(blocks.len(), 32, "two slices for each, of 64");
    assert!(heap.alloc(layout(1, 1)).is_none() && heap.alloc(layout(5 * MIB, 16)).is_none());
    assert!(heap.aligned_at(100, 256, 8).is_null(), "at an offset neither");
    let other = raw::malloc(100_000);
    assert!(!other.is_null() && !arena.contains(other), "the default heap goes on");
    // SAFETY: blocks of ours, freed once.
    unsafe {
        raw::free(other);
        heap.dealloc(blocks[7], layout(100_000, 16));
    }
    let again = heap.alloc(layout(100_000, 16));
    assert_eq!(again, Some(blocks[7]), "what was freed serves again");
    let (arena, error) = arena.release().expect_err("a heap is bound");
    assert_eq!(error, ArenaError::InUse { bytes: 4 * MIB as u64, heaps: 1 });
    assert_eq!(
        error.to_string(),
        "Cannot release an arena: expected nothing in it, received 4194304 bytes in use and 1 heaps bound"
    );
    // Deleted, the heap leaves its blocks where they are.
    drop(heap);
    let (arena, error) = arena.release().expect_err("blocks are in use");
    assert_eq!(error, ArenaError::InUse { bytes: 4 * MIB as u64, heaps: 0 });
    // SAFETY: as above.
    blocks.into_iter().for_each(|block| unsafe { raw::free(block.as_ptr()) });
    released(arena);
}

/// Memory that starts at no boundary of its chunks: runs over several chunks, alignments, and blocks at an offset.
#[test]
fn blocks_lie_as_asked_wherever_the_arena_begins() {
    let whole = layout(104 * MIB, 4 * MIB);
    // SAFETY: a layout with a size; freed below.
    let memory = unsafe { std::alloc::alloc(whole) };
    assert!(!memory.is_null());
    for skew in [0, SLICE, 37 * SLICE, 63 * SLICE] {
        // SAFETY: the test's own memory.
        let arena = unsafe { Arena::manage(memory.add(skew), 96 * MIB, &EXCLUSIVE.committed(true)) }.expect("room");
        let heap = HeapOptions::new().build_in(&arena).expect("a heap");
        let mut blocks = Vec::new();
        for align in [16, 4096, SLICE, MIB, 4 * MIB] {
            for size in [24, 70_000, 3 * MIB, 5 * MIB] {
                let block = heap.alloc(layout(size, align)).expect("room").as_ptr();
                assert!(block.addr().is_multiple_of(align) && lies_in(&arena, block, size), "{size} at {block:?}");
                let offset = align - 8;
                let at = heap.aligned_at(size, align, offset);
                assert!((at.addr() + offset).is_multiple_of(align) && lies_in(&arena, at, size), "{size} at {at:?}");
                for block in [block, at] {
                    // SAFETY: blocks of `size` bytes.
                    unsafe {
                        assert!(raw::usable_size(block) >= size);
                        block.write(1);
                        block.add(size - 1).write(2);
                    }
                    for inside in [0, size / 2, size - 1] {
                        assert_eq!(heap_of(block.wrapping_add(inside)), Some(heap.id()), "{inside} of {size}");
                    }
                    blocks.push(block);
                }
                if blocks.len() > 3 {
                    // SAFETY: blocks of ours, freed once.
                    blocks.drain(..).for_each(|block| unsafe { raw::free(block) });
                }
            }
        }
        // SAFETY: as above.
        blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
        drop(heap);
        released(arena);
    }
    // SAFETY: in no arena any more.
    unsafe { std::alloc::dealloc(memory, whole) };
}

unsafe extern "C" fn commit_if(_memory: *mut c_void, _bytes: usize, user: *mut c_void) -> c_int {
    // SAFETY: the flag that the arena was given.
    let may = unsafe { &*user.cast::<AtomicBool>() };
    if may.load(Ordering::Relaxed) { ArenaFunctions::COMMITTED } else { ArenaFunctions::REFUSED }
}

#[test]
fn memory_that_is_not_committed_is_an_error_and_nothing_is_lost() {
    let whole = layout(2 * MIB, SLICE);
    // SAFETY: a layout with a size; freed below.
    let memory = unsafe { std::alloc::alloc(whole) };
    assert!(!memory.is_null());
    let may = AtomicBool::new(false);
    let user = std::ptr::from_ref(&may).cast_mut().cast();
    let functions = ArenaFunctions { commit: Some(commit_if), purge: None, user };
    // SAFETY: the test's own memory.
    let arena = unsafe { Arena::manage(memory, 2 * MIB, &EXCLUSIVE.functions(functions)) }.expect("room");
    let heap = HeapOptions::new().build_in(&arena).expect("a heap");
    for size in [8, 5000, MIB, 2 * MIB] {
        assert!(heap.alloc(layout(size, 8)).is_none(), "{size} bytes");
    }
    assert_eq!((arena.used_bytes(), heap.allocated_bytes()), (0, 0));
    may.store(true, Ordering::Relaxed);
    let all = heap.alloc(layout(2 * MIB, 8)).expect("all of it serves now");
    assert_eq!(all.as_ptr(), memory);
    heap.destroy();
    released(arena);
    // SAFETY: in no arena any more.
    unsafe { std::alloc::dealloc(memory, whole) };
}

/// Threads allocate from a heap in an arena and free each other's blocks; the arena ends when they have.
#[test]
fn heap_in_an_arena_serves_threads() {
    let arena = Arena::reserve(256 * MIB, &EXCLUSIVE).expect("address space");
    let mut left_bytes = 0;
    for round in 0..3 {
        let heap = HeapOptions::new().build_in(&arena).expect("a heap");
        let (to, from) = std::sync::mpsc::channel::<(usize, usize)>();
        std::thread::scope(|scope| {
            for seed in 0..2_usize {
                let (heap, arena, to): (&Heap, &Arena, _) = (&heap, &arena, to.clone());
                scope.spawn(move || {
                    for i in 0..4000_usize {
                        let size = 1 + (i * 2_654_435_761 + seed) % (1 << (4 + i % 13));
                        let block = heap.alloc(layout(size, 16)).expect("room").as_ptr();
                        assert!(lies_in(arena, block, size));
                        // SAFETY: a block of `size` bytes.
                        unsafe { block.write(size as u8) };
                        to.send((block.expose_provenance(), size)).expect("a reader");
                    }
                });
            }
            drop(to);
            for (block, size) in &from {
                let block: *mut u8 = std::ptr::with_exposed_provenance_mut(block);
                // SAFETY: a block of the heap that its maker has handed on.
                unsafe {
                    assert_eq!(block.read(), size as u8);
                    if size % 3 > 0 {
                        raw::free(block)
                    }
                }
            }
        });
        if round == 1 {
            drop(heap);
            left_bytes = least_used_bytes(&arena);
            assert!(left_bytes > 0, "a third of the blocks is in use");
        } else {
            heap.destroy();
            assert_eq!(least_used_bytes(&arena), left_bytes, "a destroyed heap leaves nothing");
        }
    }
    // What the deleted heap left is the default heap's and in use.
    let (arena, error) = arena.release().expect_err("blocks are in use");
    assert!(matches!(error, ArenaError::InUse { heaps: 0, .. }), "{error}");
    assert_eq!(least_used_bytes(&arena), left_bytes);
}

/// What is used of an arena that nobody takes from: slices that the background thread is giving back count as used for that moment.
fn least_used_bytes(arena: &Arena) -> usize {
    let look = |_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        arena.used_bytes()
    };
    (0..20).map(look).min().expect("some looks")
}
