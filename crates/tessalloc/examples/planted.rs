//! Bugs of a program, one by its name: what a tool that looks for such bugs has to find in blocks of this allocator.
//!
//!     planted use-after-free
//!
//! Exits with 0 if nobody stopped it.
use std::hint::black_box;
use std::thread;

use tessalloc::{Heap, Tessalloc, raw};

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

fn use_after_free(size: usize) {
    let block = black_box(raw::malloc(size));
    // SAFETY: the first two lines are in order; the third is the bug.
    unsafe {
        block.write_bytes(1, size);
        raw::free(block);
        black_box(block.add(size / 2).read_volatile());
    }
}

fn overflow(size: usize) {
    let block = black_box(raw::malloc(size));
    // SAFETY: none: the bug.
    unsafe { block.add(size).write_volatile(1) };
}

fn use_after_destroy() {
    let heap = Heap::new().expect("memory");
    let block = heap.malloc(200);
    heap.destroy();
    // SAFETY: none: the bug.
    unsafe { block.add(100).write_volatile(1) };
}

fn use_of_uninitialised() {
    let block = black_box(raw::malloc(100));
    // SAFETY: none: the bug.
    if unsafe { block.add(50).read_volatile() } == 7 {
        println!("seven");
    }
}

fn race() {
    let mut number = Box::new(0_u64);
    let at = (&raw mut *number).expose_provenance();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                for _ in 0..1000 {
                    let number: *mut u64 = std::ptr::with_exposed_provenance_mut(at);
                    // SAFETY: none: the bug.
                    unsafe { *number += 1 };
                    thread::yield_now();
                }
            });
        }
    });
    println!("{number}");
}

/// No bug: blocks come and go between threads and heaps.
fn nothing() {
    let heap = Heap::new().expect("memory");
    thread::scope(|scope| {
        for seed in 1..4_usize {
            let heap = &heap;
            scope.spawn(move || {
                let mut blocks: Vec<Vec<u8>> = Vec::new();
                for turn in 0..20_000_usize {
                    blocks.push(vec![1; turn * seed % 3000]);
                    if blocks.len() > 100 {
                        blocks.swap_remove(turn % 100);
                    }
                    let block = heap.malloc(1 + turn % 500);
                    // SAFETY: a block of so much, freed once.
                    unsafe {
                        block.write_bytes(2, 1 + turn % 500);
                        heap.free(block);
                    }
                }
            });
        }
    });
    heap.destroy();
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("nothing") => nothing(),
        Some("use-after-free") => use_after_free(100),
        Some("use-after-free-of-a-large-block") => use_after_free(1 << 20),
        Some("overflow") => overflow(100),
        Some("use-after-destroy") => use_after_destroy(),
        Some("use-of-uninitialised-memory") => use_of_uninitialised(),
        Some("race") => race(),
        other => panic!("Cannot plant a bug: expected the name of one, received {other:?}"),
    }
}
