//! One thread against the clock. An operation is an allocation and a free unless said.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::Instant;

use crate::block::{Sized8, give, give_layout, take, take_layout};
use crate::measure::{Random, Run};

/// A block taken and given back at once.
pub(crate) fn pair<const BYTES: usize>(run: &mut Run) {
    run.time(if BYTES < 1_048_576 { 40_000_000 } else { 800_000 }, |ops| {
        for _ in 0..ops {
            let block = take::<BYTES>();
            // SAFETY: taken just now.
            unsafe { give::<BYTES>(block) }
        }
    });
}

/// 256 blocks of 64 B are taken, then given back in the same order.
pub(crate) fn fifo(run: &mut Run) {
    let mut blocks = [std::ptr::null_mut(); 256];
    run.time(40_000_000, |ops| {
        for _ in 0..ops.div_ceil(256) {
            for block in &mut blocks {
                *block = take::<64>();
            }
            for block in blocks {
                // SAFETY: each was taken above.
                unsafe { give::<64>(block) }
            }
        }
    });
}

/// 10,000 blocks of 64 B; a random one goes.
pub(crate) fn random(run: &mut Run) {
    let mut random = Random::new(1);
    let mut slots: Vec<*mut u8> = (0..10_000).map(|_| take::<64>()).collect();
    random.shuffle(&mut slots);
    run.time(20_000_000, |ops| {
        for _ in 0..ops {
            let slot = &mut slots[random.below(10_000)];
            // The new block comes first: the old one would only be handed out again.
            let block = take::<64>();
            // SAFETY: every slot holds a live block.
            unsafe { give::<64>(std::mem::replace(slot, block)) }
        }
    });
}

/// 10,000 blocks of 8 to 1,024 B; a random one goes.
pub(crate) fn mixed(run: &mut Run) {
    replace_sized(run, 10_000, 12_000_000, |random| 8 + random.below(1_017));
}

/// 1,000 blocks of 1 to 128 KiB, each doubling as likely as the others; a random one goes.
pub(crate) fn large(run: &mut Run) {
    replace_sized(run, 1_000, 3_000_000, |random| random.log_uniform(1_024, 7));
}

fn replace_sized(run: &mut Run, live: usize, ops: u64, bytes: impl Fn(&mut Random) -> usize) {
    let mut random = Random::new(2);
    let mut slots: Vec<Sized8> = (0..live).map(|_| Sized8::take(bytes(&mut random))).collect();
    run.time(ops, |ops| {
        for _ in 0..ops {
            let slot = &mut slots[random.below(live)];
            let new = Sized8::take(bytes(&mut random));
            // SAFETY: every slot holds a live block.
            unsafe { std::mem::replace(slot, new).give() }
        }
    });
}

/// Four vectors growing in turn to 8 MB by `resize`, 4,096 B a step. An operation is one vector grown and dropped.
pub(crate) fn vectors(run: &mut Run) {
    run.time(160, |ops| {
        for _ in 0..ops.div_ceil(4) {
            let mut vectors: [Vec<u8>; 4] = Default::default();
            for step in 1..=8_000_000 / 4_096 {
                for vector in &mut vectors {
                    vector.resize(step * 4_096, step as u8);
                }
            }
            black_box(&mut vectors);
        }
    });
}

/// Multiplies and folds: std's default hasher would cost more than the allocator.
#[derive(Default)]
struct FoldHasher(u64);

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A hash map of boxes and a b-tree of strings over 8,192 keys: a random key comes if it is missing, and goes if it is
/// there. Both maps are dropped and begun anew every 32,768 operations. An operation touches both maps once.
pub(crate) fn maps(run: &mut Run) {
    let mut random = Random::new(3);
    run.time(3_000_000, |ops| {
        let mut left = ops;
        while left > 0 {
            let mut boxes: hashbrown::HashMap<u64, Box<[u64; 6]>, BuildHasherDefault<FoldHasher>> = Default::default();
            let mut strings: BTreeMap<u64, String> = BTreeMap::new();
            for _ in 0..left.min(32_768) {
                let key = random.below(8_192) as u64;
                if boxes.remove(&key).is_none() {
                    boxes.insert(key, Box::new([key; 6]));
                }
                if strings.remove(&key).is_none() {
                    strings.insert(key, "a value of some length"[..5 + (key & 15) as usize].to_owned());
                }
            }
            left -= left.min(32_768);
        }
    });
}

/// A text of 500 records parsed and dropped. An operation is a record.
pub(crate) fn json(run: &mut Run) {
    const RECORDS: u64 = 500;
    let mut text = String::from("[");
    for id in 0..RECORDS {
        let comma = if id == 0 { "" } else { "," };
        let tag = id * 7 % 13;
        let _ = write!(
            text,
            r#"{comma}{{"id":{id},"name":"user number {id}","tags":["t{tag}","common","x"],"score":{tag}.5,"at":{{"x":{id},"y":{tag}}}}}"#
        );
    }
    text.push(']');
    run.time(400_000, |ops| {
        for _ in 0..ops.div_ceil(RECORDS) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(black_box(value).is_array());
        }
    });
}

/// 400,000 blocks of 64 B, so that every page is full; then one in each 64 KiB or so is freed, and as many are taken.
pub(crate) fn full_pages(run: &mut Run) {
    const LIVE: usize = 400_000;
    const STRIDE: usize = 1_021;
    let mut slots: Vec<*mut u8> = (0..LIVE).map(|_| take::<64>()).collect();
    let mut at = 0;
    run.time(2_000_000, |ops| {
        for _ in 0..ops.div_ceil((LIVE / STRIDE) as u64) {
            for slot in slots.iter().skip(at).step_by(STRIDE) {
                // SAFETY: every slot holds a live block, and each is visited once before it is filled again.
                unsafe { give::<64>(*slot) }
            }
            for slot in slots.iter_mut().skip(at).step_by(STRIDE) {
                *slot = take::<64>();
            }
            at = (at + 97) % STRIDE;
        }
    });
}

/// 1,000 blocks of 64 to 256 B aligned to 64 or more; a random one goes.
pub(crate) fn aligned(run: &mut Run) {
    const fn layout(bytes: usize, align: usize) -> Layout {
        match Layout::from_size_align(bytes, align) {
            Ok(layout) => layout,
            Err(_) => panic!("no such layout"),
        }
    }
    const LAYOUTS: [Layout; 8] = [
        layout(64, 64),
        layout(100, 64),
        layout(128, 64),
        layout(128, 128),
        layout(192, 64),
        layout(200, 128),
        layout(256, 128),
        layout(256, 256),
    ];
    let mut random = Random::new(4);
    let mut slots: Vec<(*mut u8, u8)> =
        (0..1_000).map(|slot| (take_layout(LAYOUTS[slot % 8]), (slot % 8) as u8)).collect();
    run.time(12_000_000, |ops| {
        for _ in 0..ops {
            let word = random.next();
            let slot = &mut slots[(((word >> 32) * 1_000) >> 32) as usize];
            let kind = (word >> 8) as u8 % 8;
            let new = (take_layout(LAYOUTS[kind as usize]), kind);
            let (block, kind) = std::mem::replace(slot, new);
            // SAFETY: every slot holds a live block and the number of its layout.
            unsafe { give_layout(block, LAYOUTS[kind as usize]) }
        }
    });
}

/// Every single allocation (with the first byte written) and every single free against the clock, in waves of 4,000
/// blocks of 16 B to 32 KiB that come and go in random order. The result is the time that 999 of 1,000 stay below.
pub(crate) fn latency(run: &mut Run) {
    const WAVE: usize = 4_000;
    let waves = (run.ops(150) as usize).max(8);
    let mut random = Random::new(5);
    let mut samples = vec![1_u32; waves * WAVE * 2];
    samples.clear();
    let mut slots: Vec<Sized8> = Vec::with_capacity(WAVE);
    let (start, clock_start) = (Instant::now(), clock());
    for wave in 0..waves + waves / 8 {
        // The first eighth warms up.
        if wave == waves / 8 {
            samples.clear();
        }
        for _ in 0..WAVE {
            let bytes = random.log_uniform(16, 11);
            let before = clock();
            let block = Sized8::take(bytes);
            samples.push((clock() - before).min(u64::from(u32::MAX)) as u32);
            slots.push(block);
        }
        random.shuffle(&mut slots);
        for block in slots.drain(..) {
            let before = clock();
            // SAFETY: each block is drained once.
            unsafe { block.give() }
            samples.push((clock() - before).min(u64::from(u32::MAX)) as u32);
        }
    }
    let ns_per_tick = start.elapsed().as_nanos() as f64 / (clock() - clock_start) as f64;
    samples.sort_unstable();
    let at = |share: f64| f64::from(samples[((samples.len() - 1) as f64 * share) as usize]) * ns_per_tick;
    run.note("p50_ns", at(0.5));
    run.note("p99_ns", at(0.99));
    run.note("p999_ns", at(0.999));
    run.note("max_ns", at(1.0));
}

/// Ticks of a steady clock, the cheapest there is.
#[inline(always)]
fn clock() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}
