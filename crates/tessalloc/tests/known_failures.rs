//! Failures that other allocators had in the field, one test each; `docs/known-failures.md` has the rows and the reports.
//!
//! One test at a time: most look at figures of the process. `TESSALLOC_LONG=1` runs the long forms.

mod support;

use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc;
use std::thread;

use support::{Random, alone, released};
use tessalloc::{Arena, ArenaOptions, Heap, raw};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// `short`, or `long` in the long form.
fn form<T>(short: T, long: T) -> T {
    if std::env::var_os("TESSALLOC_LONG").is_some() { long } else { short }
}

fn small(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

/// The first of `bytes` bytes of a block that isn't `value`.
///
/// # Safety
/// - The block is in use, and has so many bytes.
unsafe fn first_other(block: *const u8, bytes: usize, value: u8) -> Option<usize> {
    // SAFETY: the caller's duty.
    let found = unsafe { std::slice::from_raw_parts(block, bytes) };
    // Compared as a whole: a loop over megabytes would take seconds without optimisation.
    if found == vec![value; bytes] { None } else { found.iter().position(|byte| *byte != value) }
}

fn held_bytes() -> u64 {
    tessalloc::stats().committed_bytes
}

/// A07: thousands of heaps of one thread, one after the other, then the free of a block that is older than all of them.
#[test]
fn known_a07_thousands_of_heaps_then_a_large_free() {
    let _alone = alone();
    let old = raw::malloc(80 * MIB);
    assert!(!old.is_null());
    // SAFETY: a block of ours, of so many bytes.
    unsafe {
        old.write(7);
        old.add(80 * MIB - 1).write(7);
    }
    let heaps = form(9_000, 100_000);
    for round in 0..heaps {
        let heap = Heap::new().expect("a heap");
        let blocks = [8, 300, 5_000, 70 * KIB].map(|size| {
            let block = heap.alloc(small(size)).expect("memory");
            // SAFETY: a block of ours, of so many bytes.
            unsafe { block.write_bytes(round as u8, size) };
            block
        });
        if round % 2 == 0 {
            heap.destroy();
        } else {
            heap.delete();
            // SAFETY: of no heap any more, but in use.
            blocks.into_iter().for_each(|block| unsafe { raw::free(block.as_ptr()) });
        }
    }
    // SAFETY: in use, and not after.
    unsafe {
        assert_eq!([0, 80 * MIB - 1].map(|at| old.add(at).read()), [7, 7]);
        raw::free(old);
    }
    println!("{heaps} heaps of one thread");
}

#[cfg(unix)]
mod destructors {
    use std::ffi::c_void;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Rounds of destructors that the C library promises.
    const ROUNDS: u32 = 4;
    /// Keys, made before and after the allocator's own.
    static KEYS: [OnceLock<libc::pthread_key_t>; 2] = [const { OnceLock::new() }; 2];
    static HEAP: AtomicPtr<Heap> = AtomicPtr::new(null_mut());
    static DESTRUCTORS: AtomicUsize = AtomicUsize::new(0);

    fn heap_of_destructors() -> &'static Heap {
        // SAFETY: set before a thread of the test begins, and freed after the last has ended.
        unsafe { &*HEAP.load(Ordering::Acquire) }
    }

    /// Frees the block of the round before, which says which round that was and for which key, and leaves one for the next.
    unsafe extern "C" fn late(value: *mut c_void) {
        let heap = heap_of_destructors();
        let block: *mut u32 = value.cast();
        // SAFETY: a block of the round before, whose first words were written.
        let (round, key) = unsafe { (block.read(), block.add(1).read()) };
        assert!(heap.contains(value.cast()), "round {round}");
        for size in [16, 900, 40 * KIB] {
            let passing = heap.alloc(small(size)).expect("memory in a destructor");
            // SAFETY: a block of so many bytes, freed once, by the plain form or by the heap.
            unsafe {
                passing.write_bytes(round as u8, size);
                if size == 900 {
                    raw::free(passing.as_ptr())
                } else {
                    heap.dealloc(passing, small(size))
                };
            }
        }
        // SAFETY: in use, and not after.
        unsafe { raw::free(value.cast()) };
        DESTRUCTORS.fetch_add(1, Ordering::Relaxed);
        if round < ROUNDS {
            leave(round + 1, key);
        }
    }

    fn leave(round: u32, key: u32) {
        let block: *mut u32 = heap_of_destructors().alloc(small(64)).expect("memory").as_ptr().cast();
        // SAFETY: a block of 64 bytes; a key of this test.
        unsafe {
            block.write(round);
            block.add(1).write(key);
            let set = libc::pthread_setspecific(*KEYS[key as usize].get().expect("a key"), block.cast());
            assert_eq!(set, 0);
        }
    }

    /// A09: destructors of threads that use a heap which is not the default one, in all rounds, before and after the allocator's own.
    #[test]
    fn known_a09_heaps_in_destructors_of_rounds_1_to_4() {
        let _alone = alone();
        let make_key = |index: usize| {
            let mut key = 0;
            // SAFETY: `key` is ours to write.
            assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(late)) }, 0);
            KEYS[index].set(key).expect("made once");
        };
        make_key(0);
        // The allocator makes its key with its first thread.
        let heap = Box::into_raw(Box::new(Heap::new().expect("a heap")));
        HEAP.store(heap, Ordering::Release);
        make_key(1);
        let threads = form(200, 20_000);
        for batch in 0..threads / 4 {
            let spawn = |index: usize| {
                thread::spawn(move || {
                    // Of some threads the allocator hears in a destructor for the first time after their own blocks are gone.
                    let before = heap_of_destructors().alloc(small(24 + index)).expect("memory");
                    (0..2).for_each(|key| leave(1, key));
                    // SAFETY: in use, and not after.
                    unsafe { raw::free(before.as_ptr()) };
                })
            };
            (batch * 4..batch * 4 + 4)
                .map(spawn)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        }
        // SAFETY: a thread has ended when it is joined, destructors and all.
        let mut heap = unsafe { *Box::from_raw(heap) };
        assert_eq!(DESTRUCTORS.load(Ordering::Relaxed), threads * 2 * ROUNDS as usize);
        assert!(heap.visit(|block| panic!("nothing is in use, but {block:?} is")));
        heap.destroy();
        println!("{threads} threads, {} destructors", threads * 2 * ROUNDS as usize);
    }
}

/// A14: no huge page comes with a program's first touches: the memory of blocks is advised against them, and none is there.
#[cfg(target_os = "linux")]
#[test]
fn known_a14_first_touch_takes_no_huge_page() {
    let _alone = alone();
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return println!("the kernel makes no huge pages");
    }
    let blocks: Vec<*mut u8> = (0..24).map(|_| raw::malloc(3 * MIB)).collect();
    for block in &blocks {
        // SAFETY: a block of so many bytes.
        unsafe { block.write_bytes(1, 3 * MIB) };
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("the kernel shows mappings");
    let (mut range, mut huge_kib, mut ours) = (0..0, 0, 0);
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or("");
        let ends = first.split_once('-').map(|(start, end)| [start, end].map(|word| usize::from_str_radix(word, 16)));
        let holds = |range: &std::ops::Range<usize>| blocks.iter().any(|block| range.contains(&block.addr()));
        if let Some([Ok(start), Ok(end)]) = ends {
            range = start..end;
        } else if first == "AnonHugePages:" && holds(&range) {
            let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
            huge_kib += kib.expect("a number of KiB");
        } else if first == "VmFlags:" && holds(&range) {
            ours += 1;
            assert!(line.split(' ').any(|flag| flag == "nh"), "{range:x?} may be made huge: {line}");
        }
    }
    assert!(ours > 0, "the blocks are in no mapping: {smaps}");
    assert_eq!(huge_kib, 0, "KiB in huge pages");
    // SAFETY: blocks of ours, freed once.
    blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
}

/// A15: 64 threads that free each other's blocks: pages do not go from hand to hand, and the system is not asked all the time.
#[test]
fn known_a15_pages_of_64_threads_change_hands_seldom() {
    const THREADS: usize = 64;
    const SLOTS: usize = 4_096;
    let _alone = alone();
    let steps = form(5_000, 1_000_000);
    let slots: Vec<AtomicPtr<u8>> = (0..SLOTS).map(|_| AtomicPtr::new(null_mut())).collect();
    let work = |seed: usize, steps: usize| {
        let mut random = Random(seed as u64);
        for _ in 0..steps {
            let block = raw::malloc(16 + random.below(1_000));
            assert!(!block.is_null());
            // SAFETY: a block of at least 16 bytes; what the exchange gives is this thread's alone.
            unsafe {
                block.write(1);
                raw::free(slots[random.below(SLOTS)].swap(block, Ordering::AcqRel));
            }
        }
    };
    let before = tessalloc::stats();
    thread::scope(|scope| {
        (0..THREADS).for_each(|seed| drop(scope.spawn(move || work(seed, steps))));
    });
    let after = tessalloc::stats();
    let pairs = (THREADS * steps) as u64;
    let (reclaims, calls) = (after.reclaims - before.reclaims, after.os_calls - before.os_calls);
    println!("{pairs} pairs of {THREADS} threads: {reclaims} pages adopted, {calls} system calls for memory");
    // What threads leave at their ends is adopted: a page or two of each class, of each thread. Beyond that, one in a thousand.
    assert!(reclaims <= (THREADS * 64) as u64 + pairs / 1_000, "{reclaims} adoptions in {pairs} pairs");
    assert!(calls <= 500 + pairs / 5_000, "{calls} system calls in {pairs} pairs");
    // SAFETY: blocks of ours, or null; freed once.
    slots.into_iter().for_each(|slot| unsafe { raw::free(slot.into_inner()) });
}

/// A16: one thread's heaps grow past each power of two; at each, every heap still has what is its own, and a new one reads as new.
#[test]
fn known_a16_heaps_of_a_thread_grow_past_each_power_of_two() {
    let _alone = alone();
    let count = form(2_100, 20_000);
    let (mut heaps, mut blocks) = (Vec::new(), Vec::new());
    let check = |heaps: &[Heap], blocks: &[*mut usize]| {
        for (number, (heap, block)) in heaps.iter().zip(blocks).enumerate() {
            assert!(heap.contains(block.cast()), "heap {number} of {}", heaps.len());
            // SAFETY: in use; its first word was written.
            assert_eq!(unsafe { block.read() }, number, "of {}", heaps.len());
        }
    };
    for number in 0..count {
        let mut heap = Heap::new().expect("a heap");
        assert_eq!(heap.allocated_bytes(), 0, "heap {number} is new");
        assert!(heap.visit(|block| panic!("nothing is in use in heap {number}, but {block:?} is")));
        let block: *mut usize = heap.alloc(small(40)).expect("memory").as_ptr().cast();
        // SAFETY: a block of 40 bytes.
        unsafe { block.write(number) };
        heaps.push(heap);
        blocks.push(block);
        if heaps.len().is_power_of_two() {
            check(&heaps, &blocks);
        }
    }
    check(&heaps, &blocks);
    // Another thread uses them all, the last first.
    thread::scope(|scope| {
        scope.spawn(|| {
            for heap in heaps.iter().rev() {
                let block = heap.alloc(small(40)).expect("memory");
                assert!(heap.contains(block.as_ptr()));
                // SAFETY: in use, and not after.
                unsafe { raw::free(block.as_ptr()) };
            }
        });
    });
    check(&heaps, &blocks);
    for (number, (heap, block)) in heaps.into_iter().zip(blocks).enumerate() {
        if number % 2 == 0 {
            heap.destroy();
        } else {
            heap.delete();
            // SAFETY: of no heap any more, but in use.
            unsafe { raw::free(block.cast()) };
        }
    }
    println!("{count} heaps of one thread at once");
}

/// A18: a heap that is destroyed with pages full to the last block, of every class, and its figures looked at before and after.
#[test]
fn known_a18_heap_destroyed_with_full_pages() {
    let _alone = alone();
    let before = tessalloc::stats();
    for size in (0..17).flat_map(|shift| [1_usize << shift, (1 << shift) + 1]) {
        let heap = Heap::new().expect("a heap");
        let page_bytes = if size <= 8 * KIB { 64 * KIB } else { 512 * KIB };
        let count = 2 * page_bytes / raw::good_size(size.max(8)) + 1;
        for _ in 0..count {
            assert!(heap.alloc(small(size)).is_some());
        }
        let figures = heap.stats();
        assert!(figures.allocated_bytes >= (count * size) as u64, "{count} blocks of {size}: {figures:?}");
        let used: u64 = heap.page_stats().classes().map(|class| class.blocks_used).sum();
        let other = heap.page_stats().other();
        assert!(used + other.mixed_blocks_used + other.large_blocks >= count as u64, "{count} blocks of {size}");
        heap.destroy();
        let after = tessalloc::stats();
        assert_eq!(after.allocated_bytes + after.retained_bytes, after.committed_bytes);
        assert_eq!((after.heaps, after.large_blocks), (before.heaps, before.large_blocks), "after {count} of {size}");
    }
}

/// A24: row groups of a table, as a reader or writer of columns has them: buffers that grow, are packed into others, and go all at once.
/// What is held does not go on growing.
#[test]
fn known_a24_groups_of_columns_hold_no_more_and_more() {
    const COLUMNS: usize = 24;
    let _alone = alone();
    tessalloc::purge();
    let base = held_bytes();
    let mut random = Random(3);
    let (mut held_most, mut held_early, mut live_most) = (0, 0, 0);
    let groups = form(24, 200);
    for group in 0..groups {
        let mut live = 0;
        let mut look = |live: usize| {
            live_most = live_most.max(live);
            held_most = held_most.max(held_bytes().saturating_sub(base));
        };
        let mut columns: Vec<(*mut u8, usize)> = vec![(null_mut(), 0); COLUMNS];
        // All columns grow together, page by page, each to a length of its own.
        let lengths: Vec<usize> = (0..COLUMNS).map(|_| 300 * KIB + random.below(MIB)).collect();
        for step in 1..=12 {
            for (column, length) in columns.iter_mut().zip(&lengths) {
                let bytes = length * step / 12;
                // SAFETY: null or a block of ours; the new part is written.
                unsafe {
                    column.0 = raw::realloc(column.0, bytes);
                    assert!(!column.0.is_null());
                    column.0.add(column.1).write_bytes(step as u8, bytes - column.1);
                }
                live += bytes - column.1;
                column.1 = bytes;
            }
            look(live);
        }
        let mut packed = Vec::new();
        for (column, bytes) in columns {
            let block = raw::malloc(bytes / 2);
            assert!(!block.is_null());
            // SAFETY: a block of so many bytes; the column is in use, and not after.
            unsafe {
                block.copy_from_nonoverlapping(column, bytes / 2);
                raw::free(column);
            }
            live -= bytes - bytes / 2;
            packed.push(block);
        }
        look(live);
        // SAFETY: in use, and not after.
        packed.into_iter().for_each(|block| unsafe { raw::free(block) });
        if group < groups / 2 {
            held_early = held_most;
        }
    }
    println!(
        "most in use {} KiB, most held {} KiB with half of {groups} groups, {} KiB with all",
        live_most >> 10,
        held_early >> 10,
        held_most >> 10
    );
    // The report had 27 % more. Some MiB waver by what was given back meanwhile.
    assert!(
        held_most <= held_early * 5 / 4 + (8 << 20),
        "{held_most} bytes held, {held_early} with half of the groups"
    );
    assert!(held_most as usize <= live_most * 4, "{held_most} bytes held for {live_most}");
}

/// E04: one thread makes a heap, another that knew its predecessor uses it, the first destroys it. The next lies where it lay.
#[test]
fn known_e04_heaps_at_places_that_others_remember() {
    let _alone = alone();
    let (give, take) = mpsc::sync_channel::<&'static Heap>(0);
    let (done, is_done) = mpsc::sync_channel::<usize>(0);
    let user = thread::spawn(move || {
        for heap in take {
            let blocks: Vec<_> = (0..200).map(|at| heap.alloc(small(8 + at % 900)).expect("memory")).collect();
            assert!(blocks.iter().all(|block| heap.contains(block.as_ptr())), "blocks are of the heap that was asked");
            for block in &blocks[..100] {
                // SAFETY: in use, and not after.
                unsafe { raw::free(block.as_ptr()) };
            }
            done.send(blocks.len() - 100).expect("the maker listens");
        }
    });
    let rounds = form(1_000, 50_000);
    for round in 0..rounds {
        let heap = Box::into_raw(Box::new(Heap::new().expect("a heap")));
        // SAFETY: freed below, after the user's answer, with which it has done with the heap.
        give.send(unsafe { &*heap }).expect("the user listens");
        let left = is_done.recv().expect("an answer");
        // SAFETY: as above.
        let mut heap = unsafe { *Box::from_raw(heap) };
        let mut blocks = Vec::new();
        assert!(heap.visit(|block| {
            blocks.push(block.address);
            true
        }));
        assert_eq!(blocks.len(), left, "round {round}");
        if round % 3 == 0 {
            heap.delete();
            // SAFETY: of no heap any more, but in use.
            blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
        } else {
            heap.destroy();
        }
    }
    drop(give);
    user.join().expect("all blocks were where they should be");
    println!("{rounds} heaps, one after the other, of two threads");
}

/// E06: a zeroed block that shrinks and grows again: what it grew by reads zero.
#[test]
fn known_e06_zeroed_blocks_shrink_and_grow() {
    let _alone = alone();
    let sizes = [1, 8, 100, 1_000, 5_000, 9_000, 60 * KIB, 70 * KIB, 300 * KIB, 5 * MIB];
    for &large in &sizes {
        for &less in sizes.iter().filter(|less| **less < large) {
            for align in [16, 64, 4096] {
                // SAFETY: a block of ours; writes stay in what is usable.
                unsafe {
                    let block = raw::zalloc_aligned(large, align);
                    block.write_bytes(0xff, raw::usable_size(block));
                    let block = raw::rezalloc_aligned(block, less, align);
                    let kept = raw::usable_size(block);
                    let block = raw::rezalloc_aligned(block, large, align);
                    assert!(block.addr().is_multiple_of(align));
                    assert_eq!(first_other(block, less, 0xff), None, "{large} to {less} and back");
                    // Where nothing was taken away, what was usable before counts as kept.
                    let grown = raw::usable_size(block) - kept;
                    let stale = first_other(block.add(kept), grown, 0);
                    assert_eq!(stale, None, "{large} to {less} and back at {align}: a byte of the last {grown}");
                    raw::free(block);
                }
            }
        }
    }
}

/// E07: a block that was not aligned, resized with an alignment, is aligned: where it lay before is no offset to keep.
#[test]
fn known_e07_realloc_aligned_aligns_what_was_not() {
    let _alone = alone();
    let mut misaligned = 0;
    for size in [8, 24, 40, 100, 1_000, 9_000, 70 * KIB, MIB] {
        for align in [16, 32, 64, 256, 4096, 64 * KIB, MIB] {
            for new in [size, size / 2 + 1, size * 2, size * 9] {
                // Two at once: of neighbours one lies off the alignment.
                // SAFETY: blocks of ours, of so many bytes.
                unsafe {
                    let blocks = [raw::malloc(size), raw::malloc(size)];
                    for block in blocks {
                        misaligned += usize::from(!block.addr().is_multiple_of(align));
                        block.write_bytes(5, size);
                        let block = raw::realloc_aligned(block, new, align);
                        assert!(block.addr().is_multiple_of(align), "{size} to {new} at {align}: {block:?}");
                        assert_eq!(first_other(block, size.min(new), 5), None);
                        raw::free(block);
                    }
                }
            }
        }
    }
    assert!(misaligned > 100, "{misaligned} blocks were not aligned before");
}

/// E08: blocks of tens of MiB come from the arena that was reserved for them, again and again, without a system call.
#[test]
fn known_e08_large_blocks_of_an_arena_ask_nothing_of_the_system() {
    let _alone = alone();
    let options = ArenaOptions::new().committed(true).pinned(true);
    let arena = Arena::reserve(256 * MIB, &options).expect("an arena");
    let before = tessalloc::stats().os_calls;
    let rounds = form(200, 20_000);
    for round in 0..rounds {
        let size = (32 + round % 60) * MIB;
        let block = raw::malloc(size);
        assert!(arena.contains(block) && arena.contains(block.wrapping_add(size - 1)), "{size} bytes at {block:?}");
        // SAFETY: a block of so many bytes, freed once.
        unsafe {
            block.write(1);
            block.add(size - 1).write(1);
            raw::free(block);
        }
    }
    let calls = tessalloc::stats().os_calls - before;
    println!("{rounds} blocks of 32 MiB and more: {calls} system calls for memory");
    // The background thread may purge what other tests left. With a mapping for each block there would be hundreds.
    assert!(calls <= rounds as u64 / 4, "{calls} system calls");
    released(arena);
}

/// E18: a thread that allocates and then sleeps, while another frees what it made: thirty rounds hold what the third one held.
#[test]
fn known_e18_blocks_of_a_sleeping_owner_are_used_again() {
    const BLOCKS: usize = 20_000;
    let _alone = alone();
    let (ask, asked) = mpsc::sync_channel::<()>(0);
    let (give, take) = mpsc::sync_channel::<Vec<usize>>(0);
    let owner = thread::spawn(move || {
        let mut random = Random(18);
        for () in asked {
            let blocks = (0..BLOCKS).map(|_| raw::malloc(16 + random.below(900)).expose_provenance());
            give.send(blocks.collect()).expect("the other one listens");
        }
    });
    let mut held = Vec::new();
    for _round in 0..form(30, 300) {
        ask.send(()).expect("the owner listens");
        for block in take.recv().expect("blocks") {
            let block: *mut u8 = std::ptr::with_exposed_provenance_mut(block);
            assert!(!block.is_null());
            // SAFETY: a block of at least 16 bytes, freed once.
            unsafe {
                block.write_bytes(9, 16);
                raw::free(block);
            }
        }
        held.push(held_bytes());
    }
    drop(ask);
    owner.join().expect("the owner had memory");
    let (early, most) = (held[..3].iter().max().unwrap(), held.iter().max().unwrap());
    println!("{} KiB held in the first rounds, {} KiB at most in {}", early >> 10, most >> 10, held.len());
    assert!(*most <= early * 3 / 2, "bytes held after each round: {held:?}");
}
