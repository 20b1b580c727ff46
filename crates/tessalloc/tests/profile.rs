//! Heap profiles: what they say against what was done. The test program itself allocates from the system's allocator.

mod support;

use std::alloc::Layout;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use support::alone;
use tessalloc::profile::{self, Amount, Figures, Kind, ProfileError};
use tessalloc::{Heap, raw};

thread_local! {
    /// What [`stack_of_test`] says.
    static STACK: Cell<usize> = const { Cell::new(0) };
}

fn stack_of_test(frames: &mut [usize]) -> usize {
    frames[0] = STACK.get();
    frames[1] = 0x7000;
    if STACK.get() == 0 { 0 } else { 2 }
}

/// A profile of all allocations, or of some, of the calling thread's "stack" with this number, until dropped.
struct Profile {
    stack: usize,
    before: Figures,
}

impl Profile {
    fn start(mean_bytes: u64, stack: usize) -> Self {
        profile::set_unwinder(Some(stack_of_test));
        STACK.set(stack);
        profile::start(mean_bytes).expect("memory for a table");
        assert!(profile::is_on());
        Self { stack, before: figures_of(stack) }
    }

    fn in_use(&self) -> Amount {
        figures_of(self.stack).in_use
    }

    /// What came in use since the start, of a profile of all allocations: exact.
    fn exact(&self) -> (u64, u64) {
        let now = self.in_use();
        assert_eq!((now.samples, now.sample_bytes), (now.count, now.bytes), "every allocation stands for itself");
        (now.count - self.before.in_use.count, now.bytes - self.before.in_use.bytes)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        profile::stop();
        profile::set_unwinder(None);
        STACK.set(0);
    }
}

fn figures_of(stack: usize) -> Figures {
    let mut found = Figures::default();
    profile::visit(|frames, figures| {
        if frames.first() == Some(&stack) {
            assert_eq!(frames, [stack, 0x7000]);
            found = *figures;
        }
        true
    });
    found
}

fn free(block: *mut u8) {
    // SAFETY: callers free blocks of ours once.
    unsafe { raw::free(block) };
}

fn usable(block: *mut u8) -> usize {
    // SAFETY: a block in use.
    unsafe { raw::usable_size(block) }
}

const SIZES: [usize; 14] = [0, 1, 8, 24, 100, 1000, 5000, 8192, 33_000, 65_000, 65_536, 70_000, 1 << 20, (4 << 20) + 1];

#[test]
fn every_allocation_is_counted_at_a_mean_of_one_byte() {
    let _alone = alone();
    let profile = Profile::start(1, 0x1001);
    let mut blocks = Vec::new();
    let mut bytes = 0;
    for align in [1, 16, 64, 4096, 65_536] {
        for size in SIZES {
            let block = raw::aligned(size, align);
            assert!(!block.is_null() && block.addr().is_multiple_of(align) && raw::is_ours(block));
            assert!(usable(block) >= size);
            // SAFETY: the block holds so much.
            unsafe { block.write_bytes(0xee, usable(block)) };
            let zeroed = raw::zalloc_aligned(size, align);
            // SAFETY: as above.
            let all = unsafe { std::slice::from_raw_parts(zeroed, usable(zeroed)) };
            assert!(all.iter().all(|byte| *byte == 0), "{size} {align}");
            blocks.extend([block, zeroed]);
            // What reads zero to its end was asked for to its end.
            bytes += size + raw::good_size_aligned(size, align);
        }
    }
    assert_eq!(profile.exact(), (blocks.len() as u64, bytes as u64));
    // Frees from elsewhere, and after the end of the profile, are seen all the same.
    let (here, there) = blocks.split_at(blocks.len() / 2);
    let there: Vec<usize> = there.iter().map(|block| block.expose_provenance()).collect();
    let free_there = move || there.into_iter().for_each(|at| free(std::ptr::with_exposed_provenance_mut(at)));
    std::thread::spawn(free_there).join().expect("a thread ends well");
    profile::stop();
    here.iter().for_each(|block| free(*block));
    assert_eq!(profile.exact(), (0, 0));
    let allocated = figures_of(0x1001).allocated;
    assert_eq!((allocated.count, allocated.bytes), (blocks.len() as u64, bytes as u64));
    let beside = raw::malloc(100);
    assert_eq!(figures_of(0x1001).allocated, allocated, "no sample after the end");
    free(beside);
}

#[test]
fn resized_blocks_count_as_what_they_are() {
    let _alone = alone();
    let profile = Profile::start(1, 0x1002);
    let mut block = raw::malloc(10);
    // Steps that leave the block's place, in both directions, and large ones in place and moved.
    for size in [100, 3000, 40_000, 200_000, 2 << 20, 9 << 20, 20 << 20, 3 << 20, 100_000, 500] {
        // SAFETY: a block of ours, which the new one takes the place of.
        unsafe {
            let before = usable(block).min(size);
            block.write_bytes(size as u8, before);
            block = raw::realloc(block, size);
            assert!(!block.is_null() && usable(block) >= size);
            assert_eq!([block.read(), block.add(before - 1).read()], [size as u8; 2]);
        }
        assert_eq!(profile.exact(), (1, size as u64));
    }
    free(block);
    assert_eq!(profile.exact(), (0, 0));
}

/// The estimates of many allocations, of sizes far apart, lie within five standard deviations of the truth.
#[test]
fn estimates_are_near_the_truth() {
    const MEAN: u64 = 16 << 10;
    let _alone = alone();
    let profile = Profile::start(MEAN, 0x1003);
    let (mut count, mut bytes, mut variances) = (0.0, 0.0, [0.0; 2]);
    let mut blocks = Vec::new();
    for round in 0..60_000_usize {
        let size = [8, 40, 200, 1000, 6000][round % 5] + round % 7;
        blocks.push(raw::malloc(size));
        let chance = -(-(size as f64) / MEAN as f64).exp_m1();
        let spread = (1.0 - chance) / chance;
        (count, bytes) = (count + 1.0, bytes + size as f64);
        variances = [variances[0] + spread, variances[1] + spread * (size * size) as f64];
    }
    for (round, block) in blocks.iter().enumerate() {
        if round % 2 == 0 {
            free(*block);
        }
    }
    let deviations = variances.map(f64::sqrt);
    let figures = figures_of(0x1003);
    let near = |found: u64, expected: f64, deviation: f64| (found as f64 - expected).abs() <= 5.0 * deviation;
    assert!(figures.allocated.samples > 1000 && figures.allocated.samples < 60_000, "{figures:?}");
    assert!(near(figures.allocated.count, count, deviations[0]), "{figures:?} {count} {deviations:?}");
    assert!(near(figures.allocated.bytes, bytes, deviations[1]), "{figures:?} {bytes} {deviations:?}");
    // Every other one of each size is left.
    assert!(near(figures.in_use.bytes, bytes / 2.0, deviations[1]), "{figures:?} {bytes} {deviations:?}");
    assert!(figures.mean_lifetime_us.is_some());
    for (round, block) in blocks.iter().enumerate() {
        if round % 2 == 1 {
            free(*block);
        }
    }
    drop(profile);
    assert_eq!(figures_of(0x1003).in_use, Amount::default());
}

#[test]
fn heaps_take_their_samples_with_them() {
    let _alone = alone();
    let old = Heap::new().expect("memory");
    let profile = Profile::start(1, 0x1004);
    let mut heap = Heap::new().expect("memory");
    let layout = |size| Layout::from_size_align(size, 8).expect("a layout");
    let fill = |heap: &Heap| SIZES.map(|size| heap.alloc(layout(size.max(1))).expect("memory"));
    let bytes: usize = SIZES.iter().map(|size| *size.max(&1)).sum();
    let blocks = fill(&heap);
    assert_eq!(profile.exact(), (SIZES.len() as u64, bytes as u64));
    let mut seen = Vec::new();
    heap.visit(|block| {
        seen.push((block.address, block.bytes));
        true
    });
    seen.sort();
    let mut expected = blocks.map(|block| (block.as_ptr(), usable(block.as_ptr())));
    expected.sort();
    assert_eq!(seen, expected);
    assert!(blocks.iter().all(|block| heap.contains(block.as_ptr())));
    // By layout, also when nothing is sampled any more: what is freed never comes back as an ordinary block.
    profile::stop();
    for (block, size) in blocks.iter().zip(SIZES) {
        // SAFETY: of this heap, with this layout.
        unsafe { heap.dealloc(*block, layout(size.max(1))) };
    }
    assert_eq!(profile.exact(), (0, 0));
    profile::start(1).expect("a profile");

    fill(&heap);
    heap.clear();
    assert_eq!(profile.exact(), (0, 0));
    fill(&heap);
    heap.destroy();
    assert_eq!(profile.exact(), (0, 0));

    let deleted = Heap::new().expect("memory");
    let blocks = fill(&deleted);
    deleted.delete();
    assert_eq!(profile.exact(), (SIZES.len() as u64, bytes as u64));
    blocks.iter().for_each(|block| free(block.as_ptr()));
    assert_eq!(profile.exact(), (0, 0));

    // Of a heap that was there before, small blocks are none, and large ones are.
    fill(&old);
    let large = SIZES.iter().filter(|size| **size > 64 << 10);
    assert_eq!(profile.exact(), (large.clone().count() as u64, large.sum::<usize>() as u64));
    old.destroy();
    assert_eq!(profile.exact(), (0, 0));
}

#[test]
fn the_peak_stays() {
    let _alone = alone();
    let profile = Profile::start(1, 0x1005);
    // More than all tests before had in use.
    let blocks: Vec<_> = (0..40).map(|_| raw::malloc(4 << 20)).collect();
    blocks.into_iter().for_each(free);
    let (all, figures) = (profile::totals(), figures_of(0x1005));
    assert_eq!(profile.exact(), (0, 0));
    for peak in [all.peak, figures.peak] {
        assert!((39..=40).contains(&(peak.bytes >> 22)) && peak.count <= 41, "{peak:?}");
    }
}

/// The text as its readers take it apart, strictly, and its sums.
#[test]
fn the_text_is_what_readers_expect() {
    let _alone = alone();
    let profile = Profile::start(1, 0x1006);
    let blocks: Vec<_> = (0..10).map(|_| raw::malloc(1000)).collect();
    let mut text = String::new();
    profile::write(Kind::InUse, &mut text).expect("a string takes all");
    let mut lines = text.lines();
    let numbers = |line: &str| -> Vec<u64> {
        let (head, tail) = line.split_once(" @").expect("the separator");
        let (now, total) = head.split_once('[').expect("the bracket");
        let total = total.strip_suffix(']').expect("the bracket's end");
        assert!(!tail.contains('['));
        [now, total]
            .iter()
            .flat_map(|pair| pair.trim().split(':').map(|number| number.trim().parse().expect("a number")))
            .collect()
    };
    let head = lines.next().expect("a first line").strip_prefix("heap profile: ").expect("the name");
    let rate = head.rsplit_once(" @ heap_v2/").expect("the format").1;
    // Other tests of this program may have sampled with another mean: then there are estimates.
    assert_eq!(rate, "1");
    let mut sums = [0; 4];
    let mut own = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let found = numbers(line);
        sums.iter_mut().zip(&found).for_each(|(sum, number)| *sum += number);
        let frames: Vec<_> = line.split_once(" @").expect("the separator").1.split_whitespace().collect();
        if frames == ["0x1006", "0x7000"] {
            own = found;
        }
    }
    assert_eq!(own, [10, 10_000, 10, 10_000]);
    assert!(numbers(head).iter().zip(sums).all(|(all, sum)| sum.abs_diff(*all) <= 16), "{head} {sums:?}");
    assert_eq!(lines.next(), Some("MAPPED_LIBRARIES:"));
    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells");
        let code: Vec<_> = maps.lines().filter(|line| line.contains(" r-xp ")).collect();
        let shown: Vec<_> = lines.collect();
        assert!(!code.is_empty() && code.iter().all(|line| shown.contains(line)));
    }
    drop(profile);
    blocks.into_iter().for_each(free);
}

#[cfg(unix)]
#[test]
fn profiles_are_written_to_files() {
    use std::os::unix::ffi::OsStrExt;
    let _alone = alone();
    let profile = Profile::start(1, 0x1007);
    let block = raw::malloc(77);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let pattern = std::ffi::CString::new(folder.join("profile.%p.txt").as_os_str().as_bytes()).expect("no zero");
    let file = folder.join(format!("profile.{}.txt", std::process::id()));
    for _ in 0..2 {
        profile::dump(Kind::InUse, &pattern).expect("a file");
        let text = std::fs::read_to_string(&file).expect("the file");
        assert!(
            text.starts_with("heap profile: ") && text.contains("1:       77 [     1:       77] @ 0x1007 0x7000\n")
        );
        assert!(text.contains("\nMAPPED_LIBRARIES:\n"));
    }
    std::fs::remove_file(file).expect("the file");
    assert_eq!(profile::dump(Kind::Peak, c"/no/such/folder/profile"), Err(ProfileError::File));
    free(block);
    drop(profile);
}

#[test]
fn means_out_of_range_are_refused() {
    let _alone = alone();
    for mean_bytes in [0, (1 << 40) + 1] {
        assert_eq!(profile::start(mean_bytes), Err(ProfileError::OutOfRange { mean_bytes }));
    }
    assert!(!profile::is_on());
}

/// While all allocations come to the slow path, a thread's totals are exact, each as it happens.
#[test]
fn totals_of_a_thread_are_exact_while_it_is_on() {
    let _alone = alone();
    let profile = Profile::start(1 << 40, 0x1008);
    free(raw::malloc(1));
    for size in [16, 1000, 100_000] {
        let before = tessalloc::thread_totals();
        let block = raw::malloc(size);
        let bytes = usable(block) as u64;
        assert_eq!(tessalloc::thread_totals().allocated_bytes, before.allocated_bytes + bytes);
        free(block);
        assert_eq!(tessalloc::thread_totals().freed_bytes, before.freed_bytes + bytes);
    }
    drop(profile);
}

/// Threads allocate and free, also each other's blocks, while it is switched on and off with all kinds of means.
#[test]
fn switching_while_threads_run_loses_nothing() {
    let _alone = alone();
    profile::set_unwinder(Some(stack_of_test));
    let before = profile::totals().in_use;
    let ends = AtomicBool::new(false);
    let shelf: [Mutex<Vec<usize>>; 8] = Default::default();
    std::thread::scope(|scope| {
        for worker in 0..3_usize {
            let (ends, shelf) = (&ends, &shelf);
            scope.spawn(move || {
                STACK.set(0x2000 + worker);
                let heap = Heap::new().expect("memory");
                let mut round = worker;
                while !ends.load(Ordering::Relaxed) {
                    round = round.wrapping_mul(747_796_405).wrapping_add(12345);
                    let size = if round.is_multiple_of(97) { 150_000 } else { round / 97 % 3000 };
                    let block = if round.is_multiple_of(5) { heap.malloc(size) } else { raw::malloc(size) };
                    // SAFETY: the block holds so much.
                    unsafe { block.write_bytes(round as u8, size) };
                    let mut place = shelf[round % 8].lock().expect("nobody panics");
                    place.push(block.expose_provenance());
                    if place.len() > 200 {
                        let old = place.swap_remove(round % 200);
                        drop(place);
                        free(std::ptr::with_exposed_provenance_mut(old));
                    }
                }
                heap.delete();
            });
        }
        for round in 0..60 {
            profile::start([1, 1000, 100_000][round % 3]).expect("a profile");
            std::thread::sleep(std::time::Duration::from_millis(5));
            profile::stop();
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        ends.store(true, Ordering::Relaxed);
    });
    for place in shelf {
        for block in place.into_inner().expect("nobody panicked") {
            free(std::ptr::with_exposed_provenance_mut(block));
        }
    }
    profile::set_unwinder(None);
    assert!(profile::totals().allocated.samples > 1000);
    assert_eq!(profile::totals().in_use, before, "each sample ended with its block");
}

/// What the program's own function allocates is no sample, and does not hang.
#[test]
fn an_unwinder_may_allocate() {
    fn allocates(frames: &mut [usize]) -> usize {
        let block = raw::malloc(4000);
        frames[0] = 0x3000;
        free(block);
        1
    }
    let _alone = alone();
    profile::set_unwinder(Some(allocates));
    profile::start(1).expect("a profile");
    let block = raw::malloc(10);
    profile::stop();
    profile::set_unwinder(None);
    let mut allocated = Amount::default();
    profile::visit(|frames, figures| {
        if frames == [0x3000] {
            allocated = figures.allocated;
        }
        true
    });
    assert_eq!((allocated.count, allocated.bytes), (1, 10));
    free(block);
}
