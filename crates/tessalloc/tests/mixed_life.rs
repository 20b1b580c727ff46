//! A program's life on the allocator, checked block by block against what was written into it.

mod support;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::mpsc;
use std::thread;

use support::Random;
use tessalloc::Tessalloc;

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

/// A block that knows what is in it.
struct Owned {
    at: *mut u8,
    layout: Layout,
    fill: u8,
}

// SAFETY: a block belongs to who holds its `Owned`.
unsafe impl Send for Owned {}

impl Owned {
    fn new(random: &mut Random) -> Self {
        let size = match random.below(100) {
            0..=69 => random.below(1024),
            70..=89 => random.below(32 << 10),
            90..=97 => random.below(300 << 10),
            _ => random.below(6 << 20),
        };
        let align = 1
            << match random.below(20) {
                0..=14 => random.below(5),
                15..=18 => random.below(13),
                _ => random.below(20),
            };
        let layout = Layout::from_size_align(size.max(1), align).unwrap();
        let fill = random.below(256) as u8;
        let zeroed = random.below(4) == 0;
        // SAFETY: the layout has a size.
        let at = unsafe { if zeroed { GLOBAL.alloc_zeroed(layout) } else { GLOBAL.alloc(layout) } };
        assert!(!at.is_null());
        assert_eq!(at.addr() % align, 0, "{layout:?}");
        let mut block = Self { at, layout, fill };
        if zeroed {
            assert!(block.bytes().iter().all(|byte| *byte == 0), "{layout:?} is not zero");
        }
        block.write();
        block
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: this block's bytes.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.layout.size()) }
    }

    /// Both ends and some of the middle.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let size = self.layout.size();
        (0..size.min(64)).chain((0..size).step_by(997)).chain(size - size.min(64)..size)
    }

    fn write(&mut self) {
        let (fill, places) = (self.fill, self.places());
        let bytes = self.bytes();
        places.for_each(|i| bytes[i] = fill ^ i as u8);
    }

    fn check(&mut self, until: usize) {
        let (fill, layout, places) = (self.fill, self.layout, self.places());
        let bytes = self.bytes();
        for i in places.filter(|i| *i < until) {
            assert_eq!(bytes[i], fill ^ i as u8, "byte {i} of {layout:?}");
        }
    }

    fn resize(&mut self, random: &mut Random) {
        let old = self.layout;
        let size = match random.below(3) {
            0 => old.size() / 2 + 1,
            1 => old.size() + random.below(old.size() + 100) + 1,
            _ => old.size() * 2,
        }
        .min(20 << 20);
        // SAFETY: this block, its layout, a size above 0.
        let at = unsafe { GLOBAL.realloc(self.at, old, size) };
        assert!(!at.is_null());
        assert_eq!(at.addr() % old.align(), 0);
        self.at = at;
        // What was written at the places of the old size stands in the new block as far as both reach.
        let old_places: Vec<usize> = {
            let size = old.size();
            (0..size.min(64)).chain((0..size).step_by(997)).chain(size - size.min(64)..size).collect()
        };
        self.layout = Layout::from_size_align(size, old.align()).unwrap();
        let fill = self.fill;
        let bytes = self.bytes();
        for i in old_places.into_iter().filter(|i| *i < size) {
            assert_eq!(bytes[i], fill ^ i as u8, "byte {i} after {old:?} became {size}");
        }
        self.write();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.check(usize::MAX);
        // SAFETY: allocated with this layout.
        unsafe { GLOBAL.dealloc(self.at, self.layout) };
    }
}

fn live(seed: u64, steps: usize, send: &[mpsc::Sender<Owned>], receive: &mpsc::Receiver<Owned>) {
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut blocks: Vec<Owned> = Vec::new();
    for _ in 0..steps {
        match random.below(10) {
            0..=4 => blocks.push(Owned::new(&mut random)),
            5 if !blocks.is_empty() => {
                let i = random.below(blocks.len());
                blocks[i].resize(&mut random);
            }
            6 if !blocks.is_empty() && !send.is_empty() => {
                let i = random.below(blocks.len());
                let _ = send[random.below(send.len())].send(blocks.swap_remove(i));
            }
            7 => drop(receive.try_recv()),
            _ if !blocks.is_empty() => {
                let i = random.below(blocks.len());
                drop(blocks.swap_remove(i));
            }
            _ => {}
        }
        if blocks.len() > 400 {
            blocks.truncate(200);
        }
    }
}

#[test]
fn one_thread_finds_in_every_block_what_it_wrote() {
    let (_, receive) = mpsc::channel();
    live(0x9e37_79b9_7f4a_7c15, 40_000, &[], &receive);
}

#[test]
fn threads_that_hand_blocks_on_find_what_was_written() {
    for round in 0..4u64 {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..6).map(|_| mpsc::channel()).unzip();
        let threads: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(i, receive)| {
                let senders = senders.clone();
                thread::spawn(move || {
                    live(0x1234_5678 + round * 100 + i as u64, 8_000, &senders, &receive);
                    drop(senders);
                })
            })
            .collect();
        drop(senders);
        if round == 1 {
            tessalloc::purge();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    let stats = tessalloc::stats();
    assert!(
        stats.allocated_bytes <= stats.committed_bytes && stats.committed_bytes <= stats.committed_peak_bytes,
        "{stats:?}"
    );
}

#[test]
fn purging_while_others_work_loses_nothing() {
    let threads: Vec<_> = (0..3)
        .map(|i| {
            thread::spawn(move || {
                let (_, receive) = mpsc::channel();
                live(0xabcd_ef01 + i, 15_000, &[], &receive);
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        tessalloc::purge();
        thread::sleep(std::time::Duration::from_millis(2));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
