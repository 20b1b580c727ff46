//! What first-class heaps cost, against the default heap and bumpalo in the same run: minima of 15 rounds in turn, and the bars.

use std::alloc::{GlobalAlloc, Layout};
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use bumpalo::Bump;
use tessalloc::{Heap, Tessalloc};

#[global_allocator]
static GLOBAL: Tessalloc = Tessalloc;

const ROUNDS: usize = 15;
const LAYOUT: Layout = Layout::new::<[u8; 64]>();

/// Nanoseconds of one turn.
fn time(turns: u32, mut turn: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..turns).for_each(|_| turn());
    start.elapsed().as_nanos() as f64 / f64::from(turns)
}

/// Minima of what each of the measures says, in turn.
fn minima<const N: usize>(mut measures: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut least = [f64::MAX; N];
    for _ in 0..ROUNDS {
        for (least, measure) in least.iter_mut().zip(&mut measures) {
            *least = least.min(measure());
        }
    }
    least
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4
}

/// The table, row by row.
struct Table(String);

impl Table {
    fn row(&mut self, what: &str, figure: String, bar: &str, is_met: bool) {
        let verdict = if is_met { "met" } else { "NOT met" };
        writeln!(self.0, "| {what} | {figure} | {bar}: {verdict} |").expect("a string takes text");
    }
}

fn heap() -> Heap {
    Heap::new().expect("memory for a heap")
}

fn main() {
    let mut table = Table("| what | measured | bar |\n|---|---|---|\n".into());
    let hundred = |heap: &Heap| {
        (0..100).for_each(|_| {
            black_box(heap.alloc(LAYOUT)).expect("memory");
        })
    };
    let hundred_bumps = |bump: &Bump| {
        (0..100).for_each(|_| {
            black_box(bump.alloc_layout(LAYOUT));
        })
    };

    let (mut cleared, mut reset) = (heap(), Bump::new());
    let pairs = heap();
    let pair = || black_box(pairs.alloc(LAYOUT).expect("memory"));
    let default_pair = || {
        time(500_000, || {
            // SAFETY: allocated and freed once, with the same layout.
            unsafe {
                let block = black_box(GLOBAL.alloc(LAYOUT));
                GLOBAL.dealloc(block, LAYOUT);
            }
        })
    };
    let [once, with_100, bumps, clear, resets, by_heap, plain, default] = minima([
        &mut || {
            time(5_000, || {
                let heap = heap();
                black_box(heap.alloc(LAYOUT)).expect("memory");
                heap.destroy();
            })
        },
        &mut || {
            time(5_000, || {
                let heap = heap();
                hundred(&heap);
                heap.destroy();
            })
        },
        &mut || time(5_000, || hundred_bumps(&Bump::new())),
        &mut || {
            time(5_000, || {
                cleared.clear();
                hundred(&cleared);
            })
        },
        &mut || {
            time(5_000, || {
                reset.reset();
                hundred_bumps(&reset);
            })
        },
        // SAFETY: blocks of the heap, freed once.
        &mut || time(500_000, || unsafe { pairs.dealloc(pair(), LAYOUT) }),
        // SAFETY: as above.
        &mut || time(500_000, || unsafe { GLOBAL.dealloc(pair().as_ptr(), LAYOUT) }),
        &mut { default_pair },
    ]);
    table.row("made, one block, destroyed", format!("{once:.0} ns"), "≤ 1 µs", once <= 1000.0);
    let ratio = with_100 / bumps;
    table.row("made, 100 × 64 B, destroyed", format!("{with_100:.0} ns, {ratio:.2} × bumpalo"), "≤ 3 ×", ratio <= 3.0);
    let ratio = clear / resets;
    table.row("cleared, 100 × 64 B", format!("{clear:.0} ns, {ratio:.2} × bumpalo"), "≤ 1.5 ×", ratio <= 1.5);
    let ratio = by_heap / default;
    table.row("pair by the heap", format!("{by_heap:.2} ns, {ratio:.2} × default heap"), "≤ 1.25 ×", ratio <= 1.25);
    let ratio = plain / default;
    table.row("pair, plain free", format!("{plain:.2} ns, {ratio:.2} × default heap"), "≤ 3 ×", ratio <= 3.0);

    const MANY: usize = 100_000;
    let before = resident_kib();
    let heaps: Vec<Heap> = (0..MANY)
        .map(|_| {
            let heap = heap();
            let block = heap.alloc(LAYOUT).expect("memory");
            // SAFETY: the block holds so much.
            unsafe { block.as_ptr().write_bytes(1, LAYOUT.size()) };
            heap
        })
        .collect();
    let kib = resident_kib() - before;
    table.row("100,000 heaps, a block each", format!("{} MiB", kib >> 10), "≤ 1 GiB", kib <= 1 << 20);
    table.row("one of them", format!("{:.1} KiB", kib as f64 / MANY as f64), "≤ 8 KiB", kib <= 8 * MANY);
    let [beside] = minima([&mut { default_pair }]);
    let ratio = beside / default;
    table.row("default heap's pair beside them", format!("{ratio:.2} × alone"), "≤ 1.05 ×", ratio <= 1.05);
    heaps.into_iter().for_each(Heap::destroy);

    let mut walked = heap();
    const BLOCKS: usize = 10_000_000;
    let layout = |i: usize| Layout::from_size_align(16 + i % 3 * 16, 8).expect("a layout");
    let mut blocks: Vec<_> = (0..BLOCKS).map(|i| (walked.alloc(layout(i)).expect("memory"), layout(i))).collect();
    let mut seed = 1u64;
    for i in (1..BLOCKS).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        blocks.swap(i, (seed >> 33) as usize % (i + 1));
    }
    for (block, layout) in blocks.drain(..BLOCKS / 2) {
        // SAFETY: in use, freed once.
        unsafe { walked.dealloc(block, layout) };
    }
    let mut seconds = f64::MAX;
    for _ in 0..3 {
        let mut count = 0;
        let start = Instant::now();
        walked.visit(|_| {
            count += 1;
            true
        });
        seconds = seconds.min(start.elapsed().as_secs_f64());
        assert_eq!(count, BLOCKS / 2, "the blocks in use");
    }
    table.row("10 million blocks walked, half of them free", format!("{seconds:.2} s"), "≤ 0.3 s", seconds <= 0.3);
    print!("{}", table.0);
}
