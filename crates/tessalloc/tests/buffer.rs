//! An allocator in a buffer: every class to the last block, out of memory, random lives beside a model, misuse, threads.
//!
//! The test program itself lives on one, too.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::process::Command;
use std::ptr::NonNull;
use std::thread;

use tessalloc::Buffer;

#[global_allocator]
static HEAP: Buffer<{ 64 << 20 }> = Buffer::new();

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const UNIT: usize = 512;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// The size classes of the crate: 8, steps of 16 to 128, then eight to a doubling up to 64 KiB.
fn classes() -> Vec<usize> {
    let mut sizes = vec![8];
    sizes.extend((16..=128).step_by(16));
    for doubling in (7..16).map(|shift| 1 << shift) {
        sizes.extend((1..=8).map(|step| doubling + doubling / 8 * step));
    }
    assert_eq!((sizes.len(), sizes.last()), (81, Some(&(64 * KIB))));
    sizes
}

/// A block and what was written to it.
struct Block {
    at: NonNull<u8>,
    layout: Layout,
    seed: u8,
}

// SAFETY: a block may be used and freed on any thread.
unsafe impl Send for Block {}

impl Block {
    fn new<const N: usize>(buffer: &Buffer<N>, layout: Layout, seed: u8) -> Option<Block> {
        let at = buffer.alloc(layout)?;
        assert!(at.addr().get().is_multiple_of(layout.align()), "{at:?} for {layout:?}");
        assert!(buffer.usable_size(at.as_ptr()) >= Some(layout.size()));
        let block = Block { at, layout, seed };
        block.write();
        Some(block)
    }

    fn byte(&self, offset: usize) -> u8 {
        self.seed ^ (offset as u8).wrapping_mul(29)
    }

    /// Distances of the bytes that are written and looked at: each of a small block.
    fn offsets(bytes: usize) -> impl Iterator<Item = usize> {
        (0..bytes).step_by(if bytes <= 64 { 1 } else { 13 })
    }

    fn write(&self) {
        for offset in Self::offsets(self.layout.size()) {
            // SAFETY: inside of the block.
            unsafe { self.at.add(offset).write(self.byte(offset)) };
        }
    }

    /// Expects the first `bytes` as they were written.
    fn check(&self, bytes: usize) {
        for offset in Self::offsets(self.layout.size()).take_while(|&offset| offset < bytes) {
            // SAFETY: inside of the block.
            let found = unsafe { self.at.add(offset).read() };
            assert_eq!(found, self.byte(offset), "byte {offset} of {:?} at {:?}", self.layout, self.at);
        }
    }

    fn resize<const N: usize>(&mut self, buffer: &Buffer<N>, layout: Layout) -> bool {
        // SAFETY: the block is in use, and its old address is forgotten unless it stays.
        let new = unsafe { buffer.realloc(self.at, layout) };
        let kept = self.layout.size().min(new.map_or(usize::MAX, |_| layout.size()));
        if let Some(new) = new {
            assert!(new.addr().get().is_multiple_of(layout.align()), "{new:?} for {layout:?}");
            self.at = new;
        }
        self.check(kept);
        if new.is_some() {
            self.layout = layout;
            self.write();
        }
        new.is_some()
    }

    fn free<const N: usize>(self, buffer: &Buffer<N>) {
        self.check(self.layout.size());
        // SAFETY: in use, and freed once, since `self` is taken.
        unsafe { buffer.dealloc(self.at) };
    }
}

fn is_one_free_run<const N: usize>(buffer: &Buffer<N>) -> bool {
    let stats = buffer.stats();
    stats.blocks == 0
        && stats.allocated_bytes == 0
        && stats.free_bytes == stats.capacity_bytes
        && stats.largest_free_bytes == stats.capacity_bytes
}

#[test]
fn all_classes_are_usable_at_once_in_one_mebibyte() {
    static BUFFER: Buffer<MIB> = Buffer::new();
    let blocks: Vec<Block> = classes()
        .into_iter()
        .enumerate()
        .map(|(index, size)| Block::new(&BUFFER, layout(size, 8), index as u8).expect("a block of each class"))
        .collect();
    assert_eq!(BUFFER.stats().blocks, 81);
    blocks.into_iter().for_each(|block| block.free(&BUFFER));
    assert!(is_one_free_run(&BUFFER));
}

#[test]
fn each_class_fills_the_buffer_to_the_last_block_again_and_again() {
    static BUFFER: Buffer<MIB> = Buffer::new();
    let capacity = BUFFER.stats().capacity_bytes;
    // 9 bytes and an eighth for each 512, and no more than a unit at the end.
    assert!(((MIB - UNIT) * 512 / 522..=MIB * 512 / 521).contains(&capacity), "{capacity}");
    for size in classes() {
        let mut counts = Vec::new();
        for round in 0..3 {
            let mut blocks: Vec<Block> = std::iter::from_fn(|| Block::new(&BUFFER, layout(size, 8), round)).collect();
            counts.push(blocks.len());
            let stats = BUFFER.stats();
            assert_eq!(stats.blocks, blocks.len());
            // Above 2 KiB blocks are whole units; below, a page loses at most an eighth, and at the end less than a block's units.
            let units = size.div_ceil(UNIT) * UNIT;
            let most = capacity / if size > 2 * KIB { units } else { size };
            let least = if size > 2 * KIB { most } else { (capacity - 8 * KIB) / 8 * 7 / size };
            assert!((least..=most).contains(&blocks.len()), "{} blocks of {size}: {least}..={most}", blocks.len());
            assert!(stats.largest_free_bytes < units, "a block of {size} would fit: {stats:?}");
            if round == 1 {
                blocks.reverse();
            }
            // Every other one first.
            let (odd, even): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
            odd.into_iter().chain(even).for_each(|(_, block)| block.free(&BUFFER));
            assert!(is_one_free_run(&BUFFER), "{size}: {:?}", BUFFER.stats());
        }
        assert!(counts.iter().all(|&count| count == counts[0]), "{size}: {counts:?}");
    }
}

#[test]
fn a_full_buffer_gives_what_came_back_and_nothing_else() {
    static BUFFER: Buffer<{ 64 * KIB }> = Buffer::new();
    for size in [8, 100, 1000, 2048, 5000] {
        let mut blocks: Vec<Block> = std::iter::from_fn(|| Block::new(&BUFFER, layout(size, 8), 1)).collect();
        // Whatever else is free is too small for this.
        while let Some(block) = Block::new(&BUFFER, layout(1, 1), 2) {
            blocks.push(block);
        }
        for index in (0..blocks.len()).step_by(5) {
            let old = blocks.swap_remove(index);
            let (address, layout) = (old.at, old.layout);
            old.free(&BUFFER);
            let new = Block::new(&BUFFER, layout, 3).expect("the place that came back");
            assert_eq!(new.at, address);
            assert!(BUFFER.alloc(layout).is_none());
            blocks.push(new);
        }
        blocks.into_iter().for_each(|block| block.free(&BUFFER));
        assert!(is_one_free_run(&BUFFER));
    }
}

#[test]
fn small_requests_take_blocks_of_larger_classes_before_they_fail() {
    static BUFFER: Buffer<{ 16 * KIB }> = Buffer::new();
    let large: Vec<Block> = std::iter::from_fn(|| Block::new(&BUFFER, layout(1024, 8), 1)).collect();
    let mut large = large.into_iter();
    large.next().expect("a block").free(&BUFFER);
    large.next().expect("a second one, of the same page").free(&BUFFER);
    let rest: Vec<Block> = std::iter::from_fn(|| Block::new(&BUFFER, layout(200, 256), 1)).collect();
    assert!(rest.len() >= 4, "two kibibytes are at least four blocks of 256, wherever they lie: {}", rest.len());
    large.chain(rest).for_each(|block| block.free(&BUFFER));
    assert!(is_one_free_run(&BUFFER));
}

#[test]
fn every_alignment_up_to_half_the_buffer() {
    static BUFFER: Buffer<MIB> = Buffer::new();
    for shift in 0..19 {
        for size in [0, 1, 8, 100, 511, 512, 513, 3000, 100_000] {
            let block = Block::new(&BUFFER, layout(size, 1 << shift), 5).expect("a block at this alignment");
            block.free(&BUFFER);
        }
    }
    for (size, align) in [(isize::MAX as usize, 1), (1, 1 << (usize::BITS - 2)), (MIB, 1), (2 * MIB, MIB)] {
        assert!(BUFFER.alloc(layout(size, align)).is_none(), "{size} at {align}");
    }
    assert!(is_one_free_run(&BUFFER));
}

/// A small generator: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn layout(&mut self, bytes: usize) -> Layout {
        let size = match self.below(20) {
            0 => self.below(bytes),
            1..=4 => self.below(bytes / 16),
            _ => self.below(600),
        };
        layout(size, 1 << if self.below(5) > 0 { 3 } else { self.below(13) })
    }
}

/// A random life beside a model: no two blocks overlap, contents stay, and the figures add up.
fn random_life<const N: usize>(buffer: &Buffer<N>, seed: u64, steps: usize) {
    let mut numbers = Numbers(seed);
    let capacity = buffer.stats().capacity_bytes;
    let mut blocks: BTreeMap<usize, Block> = BTreeMap::new();
    for step in 0..steps {
        let any = |numbers: &mut Numbers, blocks: &mut BTreeMap<usize, Block>| {
            let key = *blocks.keys().nth(numbers.below(blocks.len())).unwrap();
            blocks.remove(&key).unwrap()
        };
        let layout = numbers.layout(capacity);
        let before = buffer.stats();
        let touched = match numbers.below(if step / 300 % 2 == 0 { 8 } else { 16 }) {
            0..=3 => {
                let block = Block::new(buffer, layout, step as u8);
                let units = layout.size().max(1).div_ceil(UNIT) * UNIT;
                if layout.align() <= UNIT {
                    assert!(
                        block.is_some() || before.largest_free_bytes < units,
                        "seed {seed}, step {step}: {before:?}"
                    );
                }
                assert!(block.is_none() || before.allocated_bytes + layout.size() <= capacity);
                block
            }
            4..=6 if !blocks.is_empty() => {
                let mut block = any(&mut numbers, &mut blocks);
                let is_smaller = layout.size() <= block.layout.size() && layout.align() <= block.layout.align();
                assert!(block.resize(buffer, layout) || !is_smaller, "seed {seed}, step {step}: shrinking never fails");
                Some(block)
            }
            _ if !blocks.is_empty() => {
                any(&mut numbers, &mut blocks).free(buffer);
                None
            }
            _ => None,
        };
        if let Some(block) = touched {
            let (start, end) = (block.at.addr().get(), block.at.addr().get() + block.layout.size().max(1));
            let below = blocks.range(..end).next_back().map(|(at, block)| at + block.layout.size().max(1));
            assert!(below.is_none_or(|below| below <= start), "seed {seed}, step {step}: blocks overlap");
            blocks.insert(start, block);
        }
        let stats = buffer.stats();
        let requested: usize = blocks.values().map(|block| block.layout.size()).sum();
        assert_eq!(stats.blocks, blocks.len());
        assert!(requested <= stats.allocated_bytes && stats.allocated_bytes <= stats.allocated_peak_bytes);
        assert!(stats.largest_free_bytes <= stats.free_bytes && stats.free_bytes + stats.allocated_bytes <= capacity);
    }
    blocks.into_values().for_each(|block| block.free(buffer));
    assert!(is_one_free_run(buffer), "seed {seed}: {:?}", buffer.stats());
}

#[test]
fn random_lives_agree_with_the_model() {
    static SMALL: Buffer<{ 4 * KIB }> = Buffer::new();
    static MIDDLE: Buffer<{ 100 * KIB + 123 }> = Buffer::new();
    static LARGE: Buffer<MIB> = Buffer::new();
    for seed in 1..=4 {
        random_life(&SMALL, seed, 4000);
        random_life(&MIDDLE, seed, 4000);
        random_life(&LARGE, seed, 1500);
    }
}

#[test]
fn memory_given_at_run_time_serves_at_any_start_and_length() {
    for (start, bytes) in [(0, 8 * KIB), (1, 20_001), (511, 40_000), (8, 64 * KIB), (0, 1100)] {
        let mut memory = vec![0xa5u8; start + bytes + 64];
        // SAFETY: the vector is not touched until the buffer is gone.
        let buffer = unsafe { Buffer::over(NonNull::from(&mut memory[start]), bytes) };
        assert!(buffer.stats().capacity_bytes > 0, "{bytes} bytes");
        random_life(&buffer, 7, 1000);
        assert!(memory[..start].iter().chain(&memory[start + bytes..]).all(|&byte| byte == 0xa5), "{start}, {bytes}");
    }
    for bytes in 0..UNIT {
        let mut memory = [0u8; UNIT];
        // SAFETY: as above.
        let buffer = unsafe { Buffer::over(NonNull::from(&mut memory).cast(), bytes) };
        assert!(buffer.alloc(layout(1, 1)).is_none() && buffer.stats().capacity_bytes == 0);
    }
}

#[test]
fn a_buffer_without_blocks_can_be_moved() {
    let buffer = Buffer::<{ 8 * KIB }>::new();
    Block::new(&buffer, layout(3000, 8), 1).expect("a block").free(&buffer);
    let moved = Box::new(buffer);
    random_life(&*moved, 9, 500);
}

#[test]
fn threads_share_a_buffer() {
    static BUFFER: Buffer<MIB> = Buffer::new();
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            scope.spawn(move || {
                let mut numbers = Numbers(worker + 1);
                let mut blocks = Vec::new();
                for step in 0..5000 {
                    if numbers.below(3) > 0 {
                        blocks.extend(Block::new(&BUFFER, layout(numbers.below(700), 16), step as u8));
                    } else if !blocks.is_empty() {
                        blocks.swap_remove(numbers.below(blocks.len())).free(&BUFFER);
                    }
                    if blocks.len() > 200 {
                        blocks.drain(..).for_each(|block| block.free(&BUFFER));
                    }
                }
                blocks.into_iter().for_each(|block| block.free(&BUFFER));
            });
        }
    });
    assert!(is_one_free_run(&BUFFER));
}

#[test]
fn the_test_program_lives_on_a_buffer() {
    let before = HEAP.stats();
    let mut text = String::new();
    for number in 0..10_000 {
        text.push_str(&number.to_string());
    }
    assert!(HEAP.usable_size(text.as_ptr()) >= Some(text.len()));
    assert!(HEAP.stats().allocated_peak_bytes >= before.allocated_bytes.min(text.len()));
    assert!(Vec::<u8>::new().try_reserve(64 << 20).is_err());
}

/// Set in the child of a misuse test; the value says what it does wrong.
const MISUSE: &str = "TESSALLOC_TEST_MISUSE";

#[test]
fn misuse_is_reported_and_ends_the_process() {
    for what in
        ["small-twice", "run-twice", "inside-small", "inside-run", "foreign", "before", "past", "tables", "resize"]
    {
        let child = Command::new(std::env::current_exe().expect("the test program has a path"))
            .args(["--exact", "misuse_in_a_child", "--nocapture", "--test-threads=1"])
            .env(MISUSE, what)
            .output()
            .expect("the test program starts again");
        let text = String::from_utf8_lossy(&child.stderr);
        let action = if what == "resize" { "resize" } else { "free" };
        assert!(!child.status.success(), "{what}: it went on");
        assert!(text.contains(&format!("tessalloc: cannot {action}: expected a block")), "{what}: {text}");
    }
}

#[test]
fn misuse_in_a_child() {
    static BUFFER: Buffer<{ 64 * KIB }> = Buffer::new();
    let Ok(what) = std::env::var(MISUSE) else { return };
    let [small, other, run] = [100, 100, 5000].map(|size| BUFFER.alloc(layout(size, 8)).expect("a block"));
    let _ = other;
    let mut local = 0_u64;
    // SAFETY: what is wrong here is what is tested.
    unsafe {
        match what.as_str() {
            "small-twice" => {
                BUFFER.dealloc(small);
                BUFFER.dealloc(small);
            }
            "run-twice" => {
                BUFFER.dealloc(run);
                BUFFER.dealloc(run);
            }
            "inside-small" => BUFFER.dealloc(small.add(8)),
            "inside-run" => BUFFER.dealloc(run.add(UNIT)),
            "foreign" => BUFFER.dealloc(NonNull::from(&mut local).cast()),
            "before" => BUFFER.dealloc(NonNull::from(&BUFFER).cast()),
            "past" => BUFFER.dealloc(run.add(63 * KIB)),
            "tables" => BUFFER.dealloc(small.sub(UNIT)),
            _ => drop(BUFFER.realloc(small.add(1), layout(10, 8))),
        }
    }
}
