//! Arenas: memory that is reserved or handed in, who takes from it, what its own functions see, and how it ends.

mod support;

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use support::{alone, released};
use tessalloc::{Arena, ArenaError, ArenaFunctions, ArenaOptions, raw};

const MIB: usize = 1 << 20;
const SLICE: usize = Arena::ALIGN;

/// Memory of the test's own, from the system's allocator, filled with a byte.
struct Memory {
    at: *mut u8,
    layout: Layout,
}

impl Memory {
    fn new(bytes: usize, fill: u8) -> Self {
        let layout = Layout::from_size_align(bytes, 1 << 22).expect("a layout");
        // SAFETY: the layout has a size, and what is filled is the block.
        unsafe {
            let at = std::alloc::alloc(layout);
            assert!(!at.is_null());
            at.write_bytes(fill, bytes);
            Self { at, layout }
        }
    }

    /// # Safety
    /// - No arena has any of it.
    unsafe fn free(self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.at, self.layout) };
    }
}

#[test]
fn shared_arena_serves_everyone_first() {
    let _alone = alone();
    let arena = Arena::reserve(32 * MIB, &ArenaOptions::new().name("shared")).expect("address space");
    assert_eq!((arena.name(), arena.is_exclusive(), arena.area().1), ("shared", false, 32 * MIB));
    let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
    for size in [100 << 10, MIB, 5 * MIB] {
        let block = raw::malloc(size);
        assert!(arena.contains(block) && arena.contains(block.wrapping_add(size - 1)), "{size} bytes at {block:?}");
        // SAFETY: a block of `size` bytes.
        unsafe { block.write_bytes(1, size) };
        blocks.push((block, size));
    }
    // Small ones too, from this thread's and others', freed here, there and elsewhere.
    let small = |count: usize| -> Vec<usize> { (0..count).map(|i| raw::malloc(16 + i % 3000).addr()).collect() };
    let there = std::thread::scope(|scope| scope.spawn(|| small(3000)).join().expect("a thread ends well"));
    let here = small(3000);
    let inside =
        there.iter().chain(&here).filter(|block| arena.contains(std::ptr::without_provenance(**block))).count();
    assert!(inside > 3000, "{inside} of 6000 small blocks are in the arena");
    for block in there.into_iter().chain(here) {
        // SAFETY: a block of ours, freed once.
        unsafe { raw::free(std::ptr::with_exposed_provenance_mut(block)) };
    }
    // What does not fit goes elsewhere.
    let large = raw::malloc(40 * MIB);
    assert!(!large.is_null() && !arena.contains(large));
    // SAFETY: as above.
    unsafe { raw::free(large) };
    let (arena, error) = arena.release().expect_err("blocks are in use");
    assert!(matches!(error, ArenaError::InUse { bytes, heaps: 0 } if bytes >= 6 * MIB as u64), "{error}");
    for (block, size) in blocks {
        // SAFETY: as above; the block still holds what was written.
        unsafe {
            assert_eq!((block.read(), block.add(size - 1).read()), (1, 1));
            raw::free(block);
        }
    }
    released(arena);
}

#[test]
fn exclusive_arena_serves_nobody_unasked() {
    let _alone = alone();
    let arena = Arena::reserve(4 * MIB, &ArenaOptions::new().exclusive(true)).expect("address space");
    let blocks: Vec<*mut u8> = (0..2000).map(|i| raw::malloc(1 + i * 97)).collect();
    assert!(blocks.iter().all(|block| !block.is_null() && !arena.contains(*block)));
    // SAFETY: blocks of ours, freed once.
    blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
    assert_eq!(arena.used_bytes(), 0);
    released(arena);
}

#[test]
fn memory_handed_in_is_used_between_whole_slices() {
    let _alone = alone();
    let memory = Memory::new(8 * MIB, 0xee);
    let options = ArenaOptions::new().committed(true);
    // SAFETY: the test's own memory, until released.
    let arena = unsafe { Arena::manage(memory.at.add(100), 5 * MIB, &options) }.expect("room");
    let (start, bytes) = arena.area();
    assert_eq!(start.addr().get(), memory.at.addr() + SLICE);
    assert_eq!(bytes, 5 * MIB - SLICE);
    for outside in [memory.at, start.as_ptr().wrapping_sub(1), start.as_ptr().wrapping_add(bytes)] {
        assert!(!arena.contains(outside) && !raw::is_ours(outside));
    }
    // It was not said to be zero: zeroed blocks are cleared.
    let block = raw::calloc(3 * MIB, 1);
    assert!(arena.contains(block));
    // SAFETY: a block of 3 MiB.
    let text = unsafe { std::slice::from_raw_parts(block, 3 * MIB) };
    assert!(text.iter().all(|byte| *byte == 0));
    // Grown, it leaves the arena by copying.
    // SAFETY: a block of ours; the last byte is written and found again.
    unsafe {
        block.add(3 * MIB - 1).write(9);
        let grown = raw::realloc(block, 30 * MIB);
        assert!(!arena.contains(grown));
        assert_eq!(grown.add(3 * MIB - 1).read(), 9);
        raw::free(grown);
    }
    // Neighbours: another arena in the same 4 MiB, found each by its own.
    // SAFETY: as above: what the first one does not have.
    let next = unsafe { Arena::manage(memory.at.add(6 * MIB), 2 * MIB, &options.exclusive(true)) }.expect("room");
    assert_eq!(next.area().0.addr().get(), memory.at.addr() + 6 * MIB);
    // SAFETY: never used, since it is refused.
    let twice = unsafe { Arena::manage(memory.at.add(4 * MIB), 4 * MIB, &options) };
    assert!(matches!(twice, Err(ArenaError::Overlap { .. })), "{twice:?}");
    released(next);
    released(arena);
    // Never purged, and never touched outside.
    // SAFETY: the test's memory, in no arena any more.
    unsafe {
        assert!((0..SLICE).all(|at| memory.at.add(at).read() == 0xee));
        memory.free();
    }
}

#[test]
fn memory_that_reads_zero_is_not_cleared() {
    let _alone = alone();
    let memory = Memory::new(4 * MIB, 0);
    // The mark stands for what a clearing would wipe out. The allocator is told otherwise, and believes it.
    // SAFETY: the test's own memory.
    let arena = unsafe {
        memory.at.add(2 * MIB).write(0x5a);
        Arena::manage(memory.at, 4 * MIB, &ArenaOptions::new().committed(true).zeroed(true)).expect("room")
    };
    let block = raw::calloc(4 * MIB, 1);
    assert_eq!(block, memory.at);
    // SAFETY: a block of 4 MiB.
    unsafe {
        assert_eq!(block.add(2 * MIB).read(), 0x5a);
        raw::free(block);
    }
    tessalloc::purge();
    let again = raw::calloc(4 * MIB, 1);
    assert_eq!(again, memory.at);
    // SAFETY: as above: used memory is cleared, since nobody purged it.
    unsafe {
        assert_eq!(again.add(2 * MIB).read(), 0);
        raw::free(again);
    }
    released(arena);
    // SAFETY: in no arena any more.
    unsafe { memory.free() };
}

/// What an arena's own functions were asked for: a byte a slice, and the sums.
struct Asked {
    start: usize,
    committed: [AtomicU8; 64],
    commits: AtomicUsize,
    purges: AtomicUsize,
    /// The bytes that may still be committed.
    budget: AtomicUsize,
}

impl Asked {
    unsafe fn of<'a>(user: *mut c_void) -> &'a Asked {
        // SAFETY: the arena was given a pointer to one.
        unsafe { &*user.cast::<Asked>() }
    }

    fn turn(&self, memory: *mut c_void, bytes: usize, from: u8, to: u8) {
        assert!(memory.addr().is_multiple_of(SLICE) && bytes.is_multiple_of(SLICE) && bytes > 0);
        let first = (memory.addr() - self.start) / SLICE;
        for slice in &self.committed[first..first + bytes / SLICE] {
            assert_eq!(slice.swap(to, Ordering::SeqCst), from, "asked twice");
        }
    }
}

unsafe extern "C" fn commit(memory: *mut c_void, bytes: usize, user: *mut c_void) -> c_int {
    // SAFETY: the pointer that the arena was given.
    let asked = unsafe { Asked::of(user) };
    if asked.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes)).is_err() {
        return ArenaFunctions::REFUSED;
    }
    asked.turn(memory, bytes, 0, 1);
    asked.commits.fetch_add(bytes, Ordering::SeqCst);
    // SAFETY: slices that nobody uses.
    unsafe { memory.cast::<u8>().write_bytes(0, bytes) };
    ArenaFunctions::ZEROED
}

unsafe extern "C" fn purge(memory: *mut c_void, bytes: usize, user: *mut c_void) -> c_int {
    // SAFETY: as in `commit`.
    let asked = unsafe { Asked::of(user) };
    asked.turn(memory, bytes, 1, 0);
    asked.purges.fetch_add(bytes, Ordering::SeqCst);
    asked.budget.fetch_add(bytes, Ordering::SeqCst);
    // SAFETY: slices that nobody uses.
    unsafe { memory.cast::<u8>().write_bytes(0xdd, bytes) };
    1
}

#[test]
fn own_functions_commit_what_is_used_and_purge_what_is_free() {
    let _alone = alone();
    let memory = Memory::new(4 * MIB, 0xcc);
    let asked = Asked {
        start: memory.at.addr(),
        committed: [const { AtomicU8::new(0) }; 64],
        commits: AtomicUsize::new(0),
        purges: AtomicUsize::new(0),
        budget: AtomicUsize::new(2 * MIB),
    };
    let user: *mut c_void = std::ptr::from_ref(&asked).cast_mut().cast();
    let functions = ArenaFunctions { commit: Some(commit), purge: Some(purge), user };
    // SAFETY: the test's own memory, and functions that do as they should.
    let arena = unsafe { Arena::manage(memory.at, 4 * MIB, &ArenaOptions::new().functions(functions)) }.expect("room");
    assert_eq!(asked.commits.load(Ordering::SeqCst), 0, "nothing is committed before it is used");
    let block = raw::calloc(MIB, 1);
    assert!(arena.contains(block));
    assert_eq!(asked.commits.load(Ordering::SeqCst), MIB);
    // SAFETY: a block of 1 MiB.
    unsafe {
        assert!((0..MIB).all(|at| block.add(at).read() == 0));
        block.write_bytes(3, MIB);
    }
    // What the function refuses is found elsewhere.
    let refused = raw::malloc(MIB + SLICE);
    assert!(!refused.is_null() && !arena.contains(refused));
    // SAFETY: blocks of ours, freed once.
    unsafe {
        raw::free(refused);
        raw::free(block);
    }
    tessalloc::purge();
    assert_eq!(asked.purges.load(Ordering::SeqCst), MIB, "a purge gives back what is free");
    let again = raw::calloc(2 * MIB, 1);
    assert!(arena.contains(again));
    // SAFETY: a block of 2 MiB, freed once.
    unsafe {
        assert!((0..2 * MIB).all(|at| again.add(at).read() == 0));
        raw::free(again);
    }
    tessalloc::purge();
    assert_eq!(asked.commits.load(Ordering::SeqCst), asked.purges.load(Ordering::SeqCst));
    released(arena);

    // Pinned, it is never asked to give back.
    let options = ArenaOptions::new().functions(functions).pinned(true);
    // SAFETY: as above.
    let arena = unsafe { Arena::manage(memory.at, 4 * MIB, &options) }.expect("room");
    let before = asked.purges.load(Ordering::SeqCst);
    let block = raw::malloc(MIB);
    assert!(arena.contains(block));
    // SAFETY: a block of ours, freed once.
    unsafe { raw::free(block) };
    tessalloc::purge();
    assert_eq!(asked.purges.load(Ordering::SeqCst), before);
    released(arena);
    // SAFETY: in no arena any more.
    unsafe { memory.free() };
}

#[test]
fn pinned_memory_counts_only_while_it_is_used() {
    let _alone = alone();
    tessalloc::purge();
    let arena = Arena::reserve(16 * MIB, &ArenaOptions::new().pinned(true).committed(true)).expect("address space");
    let before = tessalloc::stats();
    let block = raw::malloc(8 * MIB);
    assert!(arena.contains(block));
    // SAFETY: a block of 8 MiB.
    unsafe { block.write_bytes(1, 8 * MIB) };
    let during = tessalloc::stats();
    assert!(during.committed_bytes >= before.committed_bytes + 8 * MIB as u64);
    // SAFETY: freed once.
    unsafe { raw::free(block) };
    tessalloc::purge();
    let after = tessalloc::stats();
    assert!(after.committed_bytes <= before.committed_bytes + MIB as u64, "{before:?} {after:?}");
    assert_eq!(after.purged_bytes, during.purged_bytes, "what is pinned is not purged");
    released(arena);
}

#[test]
fn what_can_not_be_an_arena_is_refused_with_the_reason() {
    let _alone = alone();
    let memory = Memory::new(4 * MIB, 0);
    let (plain, committed) = (ArenaOptions::new(), ArenaOptions::new().committed(true));
    let only_purge = ArenaFunctions { purge: Some(purge), ..ArenaFunctions::NONE };
    let both = ArenaFunctions { commit: Some(commit), ..only_purge };
    // SAFETY: every call is refused.
    let cases = unsafe {
        [
            (Arena::reserve(0, &plain), "Cannot make an arena: expected at least 65536 bytes"),
            (Arena::reserve(Arena::BYTES_MAX + 1, &plain), "Cannot make an arena: expected at most"),
            (Arena::reserve(usize::MAX, &plain), "Cannot make an arena: expected at most"),
            (
                Arena::reserve(MIB, &plain.functions(both)),
                "Cannot make an arena: expected functions for memory that is handed",
            ),
            (
                Arena::manage(std::ptr::null_mut(), MIB, &committed),
                "Cannot make an arena: expected memory, received null",
            ),
            (Arena::manage(memory.at, MIB, &plain), "Cannot make an arena: expected memory that is committed"),
            (
                Arena::manage(memory.at.add(1), 2 * SLICE - 2, &committed),
                "Cannot make an arena: expected at least 65536 bytes",
            ),
            (Arena::manage(memory.at, usize::MAX, &committed), "Cannot make an arena: expected at most"),
            (
                Arena::manage(memory.at, MIB, &committed.functions(only_purge)),
                "Cannot make an arena: expected a commit function",
            ),
        ]
    };
    for (result, expected) in cases {
        let text = result.expect_err(expected).to_string();
        assert!(text.starts_with(expected), "{text}");
    }
    // The smallest that is none too small.
    // SAFETY: the test's own memory.
    let least =
        unsafe { Arena::manage(memory.at.add(1), 2 * SLICE - 1, &committed.exclusive(true)) }.expect("one slice");
    assert_eq!(least.area().1, SLICE);
    released(least);
    // SAFETY: in no arena any more.
    unsafe { memory.free() };
}

#[test]
fn arenas_have_a_limit_and_a_place_again() {
    let _alone = alone();
    let options = ArenaOptions::new().exclusive(true);
    let mut arenas: Vec<Arena> = Vec::new();
    let error = loop {
        match Arena::reserve(MIB, &options) {
            Ok(arena) => arenas.push(arena),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ArenaError::TooMany);
    assert!(arenas.len() <= Arena::COUNT_MAX && arenas.len() > Arena::COUNT_MAX / 2, "{}", arenas.len());
    let mut ids: Vec<u64> = arenas.iter().map(Arena::id).collect();
    ids.dedup();
    assert_eq!(ids.len(), arenas.len(), "no two have one number");
    // Ordinary memory does not care.
    let block = raw::malloc(64 * MIB);
    assert!(!block.is_null());
    // SAFETY: freed once.
    unsafe { raw::free(block) };
    let (last, room) = (ids[ids.len() - 1], arenas.len());
    arenas.drain(..).for_each(released);
    for _ in 0..room {
        arenas.push(Arena::reserve(MIB, &options).expect("the places serve again"));
    }
    assert!(arenas.iter().all(|arena| arena.id() > last), "a number is never used again");
    arenas.drain(..).for_each(released);
}

/// Arenas begin and end while other threads allocate from whatever is there, and look addresses up.
#[test]
fn arenas_come_and_go_under_load() {
    let _alone = alone();
    let done = AtomicU8::new(0);
    let mut left: Vec<Arena> = Vec::new();
    std::thread::scope(|scope| {
        for seed in 0..2_usize {
            let done = &done;
            scope.spawn(move || {
                let mut random = seed + 1;
                let mut kept: Vec<(*mut u8, usize)> = Vec::new();
                while done.load(Ordering::Relaxed) == 0 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let size = 1 + (random >> 33) % (300 << 10);
                    let block = raw::malloc(size);
                    assert!(!block.is_null());
                    // SAFETY: a block of `size` bytes.
                    unsafe { block.write(size as u8) };
                    kept.push((block, size));
                    if kept.len() > 20 {
                        let (block, size) = kept.swap_remove((random >> 20) % 20);
                        // SAFETY: a block of ours, freed once.
                        unsafe {
                            assert_eq!(block.read(), size as u8);
                            assert!(raw::usable_size(block) >= size);
                            raw::free(block);
                        }
                    }
                }
                // SAFETY: as above.
                kept.into_iter().for_each(|(block, _)| unsafe { raw::free(block) });
            });
        }
        let mut ended = 0;
        for round in 0..300 {
            let options = ArenaOptions::new().exclusive(round % 2 == 0).pinned(round % 3 == 0);
            match Arena::reserve((1 + round % 5) * 2 * MIB, &options) {
                Ok(arena) => left.push(arena),
                Err(error) => assert_eq!(error, ArenaError::TooMany),
            }
            for arena in std::mem::take(&mut left) {
                match arena.release() {
                    Ok(()) => ended += 1,
                    Err((arena, _)) => left.push(arena),
                }
            }
        }
        done.store(1, Ordering::Relaxed);
        assert!(ended >= 150, "the exclusive ones at least have ended: {ended}");
    });
    left.into_iter().for_each(released);
}
