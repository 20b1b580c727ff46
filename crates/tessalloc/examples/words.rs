//! A small program on tessalloc: counts the words it is given, or those of a sentence of its own, and shows what that took.
//!
//!     cargo run --release -p tessalloc --example words -- some words and some more

use std::collections::BTreeMap;

use tessalloc::Tessalloc;

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() {
        words = "the quick brown fox jumps over the lazy dog".split(' ').map(String::from).collect();
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for word in &words {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), words.len());
    for (word, count) in &counts {
        println!("{count:>4} {word}");
    }
    let stats = tessalloc::stats();
    assert!(stats.allocated_bytes > 0 && stats.allocated_bytes <= stats.committed_bytes);
    println!("{} KiB in use, {} KiB committed", stats.allocated_bytes >> 10, stats.committed_bytes >> 10);
}
