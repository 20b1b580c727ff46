//! A program that lives in one mebibyte of its own: its global allocator is a buffer and asks no system for memory.
//!
//!     cargo run --release -p tessalloc --example embedded

use std::collections::VecDeque;

use tessalloc::Buffer;

#[global_allocator]
static HEAP: Buffer<{ 1 << 20 }> = Buffer::new();

/// A measurement that a device keeps until it is sent.
struct Reading {
    sensor: String,
    values: Vec<u16>,
}

/// What a reading and the rest of the program may need at once.
const SPARE_BYTES: usize = 4 << 10;

fn main() {
    // Keeps as many readings as fit: the oldest go when memory is short.
    let mut kept = VecDeque::with_capacity(4096);
    let mut dropped = 0;
    for number in 0..20_000_usize {
        while kept.len() == kept.capacity() || HEAP.stats().largest_free_bytes < SPARE_BYTES {
            drop(kept.pop_front());
            dropped += 1;
        }
        kept.push_back(Reading { sensor: format!("sensor {}", number % 7), values: vec![number as u16; number % 300] });
    }
    assert_eq!(kept.len() + dropped, 20_000);
    for (number, reading) in (dropped..).zip(&kept) {
        assert_eq!(reading.sensor, format!("sensor {}", number % 7));
        assert!(reading.values.iter().all(|&value| value == number as u16));
    }
    let stats = HEAP.stats();
    println!("{} readings kept, {dropped} dropped", kept.len());
    println!(
        "{} of {} KiB in use, at most {}",
        stats.allocated_bytes >> 10,
        stats.capacity_bytes >> 10,
        stats.allocated_peak_bytes >> 10
    );
    println!("{} KiB free, {} of them in one piece", stats.free_bytes >> 10, stats.largest_free_bytes >> 10);
}
