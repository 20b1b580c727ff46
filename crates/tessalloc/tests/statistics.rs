//! Figures against what a program knows itself: by class, in sum, as JSON, by name, by thread. The tests' own allocator is another
//! one, so that every block of ours is counted here too.

mod support;

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tessalloc::{ClassFigure, Figure, Heap, HeapFigure, HeapOptions, Query, QueryError, raw};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The figures are the process's: one test at a time, when the threads of the one before have ended.
fn alone() -> MutexGuard<'static, ()> {
    let guard = support::alone();
    drop(Blocks::new([1]));
    wait_for_others();
    guard
}

/// A thread that was joined may be giving up its record still: until this is the only one.
fn wait_for_others() {
    let start = Instant::now();
    while tessalloc::stats().threads > 1 {
        assert!(start.elapsed() < Duration::from_secs(30), "a thread does not end: {:?}", tessalloc::stats());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Blocks of ours, freed with it.
struct Blocks(Vec<*mut u8>);

impl Blocks {
    fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let blocks: Vec<_> = sizes.into_iter().map(raw::malloc).collect();
        assert!(blocks.iter().all(|block| !block.is_null()));
        Self(blocks)
    }

    /// How many there are of each usable size.
    fn by_usable_size(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for block in &self.0 {
            // SAFETY: a block in use.
            *counts.entry(unsafe { raw::usable_size(*block) } as u64).or_default() += 1;
        }
        counts
    }

    fn bytes(&self) -> u64 {
        self.by_usable_size().iter().map(|(size, count)| size * count).sum()
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: blocks of ours, freed once.
        self.0.drain(..).for_each(|block| unsafe { raw::free(block) });
    }
}

/// Past a thread's first refills, which come from the slice that all classes share; and nothing on its stacks.
fn warm_up() {
    let classes: std::collections::BTreeSet<usize> = (1..=64 * KIB).map(raw::good_size).collect();
    drop(Blocks::new(classes.into_iter().flat_map(|size| [size; 40])));
    tessalloc::purge();
}

fn used_by_class() -> BTreeMap<u64, u64> {
    tessalloc::page_stats().classes().map(|class| (class.block_bytes, class.blocks_used)).collect()
}

#[test]
fn blocks_by_class_are_those_of_the_program() {
    let _alone = alone();
    warm_up();
    let before = used_by_class();
    let blocks = Blocks::new((1..=64 * KIB).step_by(331).flat_map(|size| vec![size; 1 + size % 13]));
    // What lies on this thread's stacks counts as used; a purge sends it home.
    tessalloc::purge();
    let after = tessalloc::page_stats();
    for (size, count) in blocks.by_usable_size() {
        let class = after.of_block_bytes(size).expect("usable sizes of small blocks are classes");
        let used = class.blocks_used - before.get(&size).copied().unwrap_or(0);
        assert_eq!(used, count, "blocks of {size} bytes: {class:?}");
        assert!(class.blocks_used <= class.blocks_made && class.blocks_made <= class.blocks_fit, "{class:?}");
        assert!(class.ownerless_pages <= class.pages && class.pages > 0, "{class:?}");
    }
    let stats = tessalloc::stats();
    let pages: u64 = after.classes().map(|class| class.pages).sum();
    assert_eq!(pages + after.other().mixed_pages, stats.pages);
    assert!(after.of_block_bytes(17).is_none(), "no class of 17 bytes");
    drop(blocks);
    tessalloc::purge();
    assert_eq!(used_by_class().values().sum::<u64>(), before.values().sum::<u64>(), "all came home");
}

#[test]
fn large_blocks_and_their_bytes_are_those_of_the_program() {
    let _alone = alone();
    tessalloc::purge();
    let before = tessalloc::page_stats().other();
    let blocks = Blocks::new([65 * KIB, MIB, 3 * MIB, 5 * MIB, 70 * MIB]);
    let after = tessalloc::page_stats().other();
    assert_eq!(after.large_blocks - before.large_blocks, 5);
    assert_eq!(after.large_bytes - before.large_bytes, blocks.bytes());
    drop(blocks);
    let freed = tessalloc::page_stats().other();
    assert_eq!(freed.large_blocks, before.large_blocks);
    assert!(freed.warm_blocks > 0 && freed.warm_bytes >= 65 * KIB as u64, "the thread keeps some warm: {freed:?}");
    tessalloc::purge();
    assert_eq!(tessalloc::page_stats().other(), before);
}

#[test]
fn totals_less_what_was_freed_are_what_is_allocated() {
    let _alone = alone();
    // What others own is freed here, what is freed here others own.
    let (to, from) = std::sync::mpsc::channel::<usize>();
    let consumer = thread::spawn(move || {
        for block in from {
            // SAFETY: handed over by the thread that made it.
            unsafe { raw::free(core::ptr::with_exposed_provenance_mut(block)) };
        }
    });
    for size in (1..100_000).step_by(7) {
        to.send(raw::malloc(size % 9000 + 1).expose_provenance()).unwrap();
    }
    drop(to);
    consumer.join().unwrap();
    wait_for_others();
    tessalloc::purge();
    let stats = tessalloc::stats();
    assert_eq!(stats.allocated_total_bytes - stats.freed_total_bytes, stats.allocated_bytes, "{stats:?}");
    assert!(stats.allocated_peak_bytes >= stats.allocated_bytes && stats.remote_batches > 0, "{stats:?}");
}

#[test]
fn a_thread_knows_what_it_allocated_and_freed() {
    let _alone = alone();
    /// What stacks, warm runs and a ring may hide, and the slice of the first blocks.
    const SLACK: i64 = (512 * KIB + 64 * KIB + 256 * KIB) as i64;
    let net = || {
        let totals = tessalloc::thread_totals();
        totals.allocated_bytes as i64 - totals.freed_bytes as i64
    };
    thread::spawn(move || {
        assert_eq!(tessalloc::thread_totals().allocated_bytes, 0, "a thread begins at 0");
        let blocks = Blocks::new((0..4000).map(|i| i % 3000 + 1));
        let bytes = blocks.bytes() as i64;
        assert!((net() - bytes).abs() <= SLACK, "{} of {bytes}", net());
        let given = Blocks::new((0..4000).map(|i| i % 3000 + 1));
        let given: Vec<usize> =
            std::mem::ManuallyDrop::new(given).0.iter().map(|block| block.expose_provenance()).collect();
        thread::spawn(move || {
            let free = |block: usize| {
                // SAFETY: given by the thread that made it.
                unsafe { raw::free(core::ptr::with_exposed_provenance_mut(block)) };
            };
            given.into_iter().for_each(free);
            let totals = tessalloc::thread_totals();
            let freed = totals.freed_bytes as i64 - totals.allocated_bytes as i64;
            assert!((freed - bytes).abs() <= SLACK, "freed {freed} of {bytes}");
        })
        .join()
        .unwrap();
        assert!((net() - 2 * bytes).abs() <= SLACK, "what others free is not this thread's: {}", net());
        drop(blocks);
        assert!((net() - bytes).abs() <= SLACK, "{} of {bytes}", net());
    })
    .join()
    .unwrap();
}

/// Blocks of a heap at the given sizes, which are freed with it.
fn fill(heap: &Heap, sizes: impl IntoIterator<Item = usize>) -> Blocks {
    let blocks: Vec<_> = sizes.into_iter().map(|size| heap.malloc(size)).collect();
    assert!(blocks.iter().all(|block| !block.is_null()));
    Blocks(blocks)
}

#[test]
fn figures_of_a_heap_are_of_its_blocks_alone() {
    let _alone = alone();
    let (heap, other) = (Heap::new().unwrap(), Heap::new().unwrap());
    let others = fill(&other, [100; 1000]);
    let blocks = fill(&heap, (1..=64 * KIB).step_by(997).flat_map(|size| vec![size; 1 + size % 11]));
    let large = fill(&heap, [100 * KIB, 3 * MIB]);
    // This thread's stacks of the heap go home.
    heap.purge();
    let (stats, pages) = (heap.stats(), heap.page_stats());
    assert_eq!(stats.allocated_bytes, blocks.bytes() + large.bytes());
    assert_eq!(stats.allocated_total_bytes - stats.freed_total_bytes, stats.allocated_bytes);
    assert!(stats.allocated_peak_bytes >= stats.allocated_bytes && stats.threads == 1, "{stats:?}");
    assert!(stats.malloc_slow_count > 0, "{stats:?}");
    let used: BTreeMap<u64, u64> = pages.classes().map(|class| (class.block_bytes, class.blocks_used)).collect();
    assert_eq!(used, blocks.by_usable_size());
    assert_eq!((pages.other().large_blocks, pages.other().large_bytes), (2, large.bytes()));

    thread::scope(|scope| {
        scope.spawn(|| drop(fill(&heap, [200; 10])));
    });
    wait_for_others();
    assert!(heap.stats().malloc_slow_count > stats.malloc_slow_count);
    let peak = heap.stats().allocated_peak_bytes;
    drop((blocks, large, others));
    heap.purge();
    other.purge();
    let after = heap.stats();
    assert_eq!(after.allocated_peak_bytes, peak, "the peak stays");
    assert_eq!((other.stats().allocated_bytes, other.stats().freed_total_bytes >= 100_000), (0, true));
}

#[test]
fn totals_stay_right_when_heaps_go() {
    let _alone = alone();
    tessalloc::purge();
    let start = tessalloc::stats();
    let heaps = [Heap::new().unwrap(), Heap::new().unwrap()];
    let two = tessalloc::stats();
    assert_eq!((two.heaps - start.heaps, two.heaps_total - start.heaps_total), (2, 2));
    drop(heaps);
    let after = tessalloc::stats();
    assert_eq!((after.heaps, after.heaps_peak >= 2), (start.heaps, true));
    for round in 0..4 {
        let mut heap = Heap::new().unwrap();
        let blocks = fill(&heap, (1..200_000).step_by(3001));
        match round {
            0 => drop((blocks, heap)),
            // Blocks outlive the heap.
            1 => drop((heap, blocks)),
            2 => {
                std::mem::forget(blocks);
                heap.destroy();
            }
            _ => {
                std::mem::forget(blocks);
                heap.clear();
                assert_eq!(heap.stats().allocated_bytes, 0);
                drop(fill(&heap, [5000; 50]));
                assert_eq!(
                    heap.stats().freed_total_bytes + heap.stats().allocated_bytes,
                    heap.stats().allocated_total_bytes
                );
                drop(heap);
            }
        }
        tessalloc::purge();
        let stats = tessalloc::stats();
        assert_eq!(stats.allocated_total_bytes - stats.freed_total_bytes, stats.allocated_bytes, "{round}: {stats:?}");
        assert_eq!(stats.allocated_bytes, start.allocated_bytes, "{round}");
    }
}

#[test]
fn a_heap_writes_its_figures() {
    let _alone = alone();
    let name = "\"odd\" \\ \n\u{1f}ä";
    let heap = HeapOptions::new().name(name).tag(77).build().unwrap();
    let blocks = fill(&heap, [24, 24, 200 * KIB]);
    let mut text = String::new();
    heap.write_json(&mut text).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((&json["name"], &json["tag"], &json["id"]), (&name.into(), &77.into(), &heap.id().get().into()));
    assert_eq!(json["stats"].as_object().unwrap().len(), HeapFigure::ALL.len() + 1);
    assert_eq!(json["stats"]["allocated_bytes"], heap.stats().allocated_bytes);
    assert_eq!((&json["pages"]["large_blocks"], json["classes"].as_array().unwrap().len()), (&1.into(), 1));
    let mut lines = String::new();
    heap.print_to(&mut lines).unwrap();
    for figure in HeapFigure::ALL {
        assert!(lines.lines().any(|line| line.split(' ').next() == Some(figure.name())), "{figure:?} in {lines}");
    }
    drop(blocks);
}

#[test]
fn counts_go_with_what_happens() {
    let _alone = alone();
    warm_up();
    let before = tessalloc::stats();
    drop(Blocks::new([5 * MIB, 6 * MIB]));
    let used = tessalloc::stats();
    assert_eq!(used.large_blocks_total - before.large_blocks_total, 2);
    assert!(used.large_blocks_peak >= before.large_blocks + 2);
    thread::spawn(|| drop(Blocks::new([100]))).join().unwrap();
    wait_for_others();
    tessalloc::purge();
    let after = tessalloc::stats();
    assert_eq!(after.threads_total - before.threads_total, 1);
    assert!(after.threads_peak > before.threads && after.pages_total > before.pages_total);
    assert!(after.purge_calls > before.purge_calls && after.purged_bytes - before.purged_bytes >= 11 * MIB as u64);
    assert!(after.pages_peak >= after.pages && after.pages_total >= after.pages_peak);
    assert!(
        after.reserve_calls >= 2 && after.commit_calls >= 4 && after.regions == 1 && after.chunks >= 3,
        "{after:?}"
    );
    let sum = after.reserve_calls + after.commit_calls + after.release_calls + after.remap_calls + after.renew_calls;
    assert_eq!(sum + after.advise_calls + after.purge_calls, after.os_calls);
}

#[test]
fn growth_by_the_page_table_is_counted() {
    let _alone = alone();
    let mut blocks = Blocks::new([9 * MIB; 6]);
    // One with another not far behind it can't grow in place.
    let places: Vec<usize> = blocks.0.iter().map(|block| block.addr()).collect();
    let has_behind = |at: &usize| places.iter().any(|other| (at + 1..at + 40 * MIB).contains(other));
    let at = places.iter().position(has_behind).expect("two of so many lie close together");
    let before = tessalloc::stats();
    // SAFETY: a block of ours; `Blocks` frees what it became.
    blocks.0[at] = unsafe { raw::realloc(blocks.0[at], 40 * MIB) };
    let after = tessalloc::stats();
    // A refusal counts too; then the block was copied.
    assert_eq!(after.remap_calls - before.remap_calls, 1, "{before:?} {after:?}");
    drop(blocks);
}

fn json() -> Value {
    let mut text = String::new();
    tessalloc::write_json(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn json_holds_every_figure() {
    let _alone = alone();
    let blocks = Blocks::new([24, 1000, 200 * KIB]);
    let json = json();
    assert_eq!(json["version"], tessalloc::VERSION);
    assert_eq!(json["stats"]["version"], tessalloc::STATS_VERSION);
    let stats = tessalloc::stats();
    for figure in Figure::ALL {
        assert!(json["stats"][figure.name()].is_u64(), "{figure:?}");
    }
    assert_eq!(json["stats"].as_object().unwrap().len(), Figure::ALL.len() + 1);
    assert_eq!(json["stats"]["reserved_bytes"], stats.reserved_bytes);
    assert_eq!(json["stats"]["large_blocks"], stats.large_blocks);
    for option in tessalloc::options::Opt::ALL {
        assert_eq!(json["options"][option.name()], option.value());
    }
    let classes = json["classes"].as_array().unwrap();
    assert!(classes.windows(2).all(|pair| pair[0]["block_bytes"].as_u64() < pair[1]["block_bytes"].as_u64()));
    for class in classes {
        assert!(ClassFigure::ALL.iter().all(|figure| class[figure.name()].is_u64()), "{class}");
    }
    assert!(json["pages"]["large_bytes"].as_u64().unwrap() >= 200 * KIB as u64);
    let process = json["process"].as_object().unwrap();
    assert_eq!(process.len(), tessalloc::ProcessFigure::ALL.len());
    drop(blocks);
}

#[test]
fn lines_name_every_figure_once() {
    let _alone = alone();
    let mut text = String::new();
    tessalloc::print_to(&mut text).unwrap();
    for figure in Figure::ALL {
        let rows = text.lines().filter(|line| line.split(' ').next() == Some(figure.name()));
        assert!(rows.count() >= 1, "{figure:?} in {text}");
    }
    let purged = text.lines().find_map(|line| line.strip_prefix("purged_bytes ")).expect("a row");
    assert!(purged.trim().parse::<u64>().is_ok(), "{purged}");
    let mut process = String::new();
    tessalloc::print_process_to(&mut process).unwrap();
    assert_eq!(process.lines().count(), tessalloc::ProcessFigure::ALL.len());
}

#[test]
fn queries_by_name_read_what_the_structures_hold() {
    let _alone = alone();
    let blocks = Blocks::new([60 * KIB, 60 * KIB, 300 * KIB]);
    let stats = tessalloc::stats();
    for figure in [Figure::ReservedBytes, Figure::Threads, Figure::Pages, Figure::LargeBlocks, Figure::PurgedBytes] {
        assert_eq!(tessalloc::query(figure.name()), Ok(figure.of(&stats).unwrap()), "{figure:?}");
    }
    assert!(Figure::ALL.iter().all(|figure| figure.name().parse() == Ok(Query::Stats(*figure))));
    assert!(tessalloc::query("class.61440.blocks_used").unwrap() >= 2);
    assert_eq!(tessalloc::query("class.61440.block_bytes"), Ok(61440));
    assert!(tessalloc::query("pages.large_bytes").unwrap() >= 300 * KIB as u64);
    assert!(tessalloc::query("thread.allocated_bytes").unwrap() >= 300 * KIB as u64);
    for unknown in
        ["", "purged", "class", "class.61440", "class.61441.pages", "class.x.pages", "process.", "option.X", "a.b"]
    {
        assert_eq!(tessalloc::query(unknown), Err(QueryError::UnknownName), "{unknown}");
    }
    drop(blocks);
    assert!(tessalloc::query("purge").unwrap() >= 300 * KIB as u64);
}

#[test]
fn queries_set_options_and_nothing_else() {
    let _alone = alone();
    let option: Query = "option.TESSALLOC_PURGE_DELAY".parse().unwrap();
    let before = option.read().unwrap();
    assert_eq!(option.write(1234), Ok(()));
    assert_eq!(tessalloc::query("option.TESSALLOC_PURGE_DELAY"), Ok(1234));
    assert_eq!(option.write(u64::MAX), Err(QueryError::OutOfRange));
    assert_eq!(option.read(), Ok(1234), "the old value stays");
    option.write(before).unwrap();
    assert_eq!("purged_bytes".parse::<Query>().unwrap().write(0), Err(QueryError::ReadOnly));
    assert_eq!("purge".parse::<Query>().unwrap().write(0), Err(QueryError::ReadOnly));
}

/// A row of `/proc/self/status` in bytes.
#[cfg(target_os = "linux")]
fn status_bytes(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let row = text.lines().find_map(|line| line.strip_prefix(name)).expect("a row of the file");
    row.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn process_info_is_what_the_kernel_says() {
    let _alone = alone();
    let start = Instant::now();
    let before = tessalloc::process_info();
    let block = Blocks::new([64 * MIB]);
    // SAFETY: within the block.
    unsafe { block.0[0].write_bytes(1, 64 * MIB) };
    // However little of a processor this test gets, its time shows.
    let busy_us = |info: &tessalloc::ProcessInfo| info.user_us.unwrap() + info.system_us.unwrap();
    let mut spin = 0u64;
    while start.elapsed() < Duration::from_millis(60) || busy_us(&tessalloc::process_info()) < busy_us(&before) + 20_000
    {
        (0..10_000).for_each(|step| spin = spin.wrapping_mul(31).wrapping_add(step));
        std::hint::black_box(spin);
        assert!(start.elapsed() < Duration::from_secs(30), "the time of the processor stands still: {before:?}");
    }
    let after = tessalloc::process_info();
    let took = start.elapsed().as_micros() as u64;
    let grown = |figure: fn(&tessalloc::ProcessInfo) -> Option<u64>| {
        figure(&after).unwrap() as i64 - figure(&before).unwrap() as i64
    };
    // The kernel sums resident memory up in steps, and tells times in ticks of 10 ms.
    assert!((grown(|info| info.rss_bytes) - 64 * MIB as i64).abs() < 4 * MIB as i64, "{before:?} {after:?}");
    assert!((after.rss_bytes.unwrap() as i64 - status_bytes("VmRSS:") as i64).abs() < 4 * MIB as i64, "{after:?}");
    assert!(after.rss_peak_bytes >= after.rss_bytes);
    assert!((after.rss_peak_bytes.unwrap() as i64 - status_bytes("VmHWM:") as i64).abs() < 4 * MIB as i64, "{after:?}");
    assert!(grown(|info| info.minor_faults) >= 1, "{before:?} {after:?}");
    assert!(after.commit_bytes >= Some(64 * MIB as u64));
    let elapsed = grown(|info| info.elapsed_us) as u64;
    assert!(elapsed <= took + 10_000 && elapsed + 10_000 >= 60_000, "{elapsed} of {took} µs");
    let busy = busy_us(&after) - busy_us(&before);
    assert!(busy <= 4 * took + 20_000, "{busy} of {took} µs: {before:?} {after:?}");
    drop(block);
    tessalloc::purge();
    let freed = tessalloc::process_info();
    assert!(freed.rss_bytes.unwrap() + 60 * MIB as u64 <= after.rss_bytes.unwrap(), "{after:?} {freed:?}");
    let peak = |info: &tessalloc::ProcessInfo| info.rss_peak_bytes.unwrap() as i64;
    assert!(peak(&freed) >= peak(&after) - 4 * MIB as i64, "the peak stays: {after:?} {freed:?}");
}

/// A program that was large before `exec` does not lend its peak to the next one.
#[cfg(target_os = "linux")]
#[test]
fn process_peak_is_of_this_program_alone() {
    let _alone = alone();
    const CHILD: &str = "TESSALLOC_TEST_PEAK_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let peak = tessalloc::process_info().rss_peak_bytes.unwrap();
        assert!(peak < 100 * MIB as u64, "the peak is the parent's: {peak}");
        return;
    }
    let large = vec![1u8; 200 * MIB];
    std::hint::black_box(&large);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "process_peak_is_of_this_program_alone"]).env(CHILD, "1");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn figures_are_read_while_others_write() {
    let _alone = alone();
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // ORDER: Relaxed: ends the loop some time.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(Blocks::new((1..20_000).step_by(37)));
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            let pages = tessalloc::page_stats();
            for class in pages.classes() {
                assert!(class.blocks_used <= class.blocks_made && class.blocks_made <= class.blocks_fit, "{class:?}");
            }
            let stats = tessalloc::stats();
            assert_eq!(stats.allocated_bytes + stats.retained_bytes, stats.committed_bytes);
        }
        // ORDER: Relaxed: as above.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// What no block was ever made of, in all pages: of fresh ones and of those that were used before.
/// With what is left over behind the last block of a page, a fifth at most, and threads' first pages.
fn not_made_bytes() -> u64 {
    let pages = tessalloc::page_stats();
    let of_class = |fit: u64, made: u64, bytes: u64| (fit - made) * bytes + fit * bytes / 4;
    let of_classes: u64 =
        pages.classes().map(|class| of_class(class.blocks_fit, class.blocks_made, class.block_bytes)).sum();
    of_classes + pages.other().mixed_pages * 64 * KIB as u64
}

#[test]
fn untouched_bytes_are_what_is_left_of_pages() {
    let _alone = alone();
    tessalloc::purge();
    let before = tessalloc::stats().untouched_bytes;
    // A size that nobody had before: its pages are new.
    let blocks = Blocks::new((0..200).map(|_| 7 * KIB));
    let class = tessalloc::page_stats().of_block_bytes(7 * KIB as u64).expect("7 KiB is a class");
    let left = class.pages * 64 * KIB as u64 - class.blocks_made * class.block_bytes;
    let untouched = tessalloc::stats().untouched_bytes;
    assert!(untouched <= before + left, "{before} and {left} make {untouched}");
    assert!(untouched <= not_made_bytes());
    drop(blocks);

    // Whatever happens, it is never more than what no block was made of.
    let mut random = 0x5eed_u64;
    let mut kept: Vec<Blocks> = Vec::new();
    for _ in 0..3000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let size = 16 << ((random >> 40) % 12);
        match (random >> 33) % 4 {
            0 if !kept.is_empty() => drop(kept.swap_remove(random as usize % kept.len())),
            1 if random >> 36 & 0xff == 0 => drop(tessalloc::purge()),
            2 if random >> 36 & 7 == 0 => {
                let heap = Heap::new().expect("memory for a heap");
                let layout = std::alloc::Layout::from_size_align(size as usize, 16).expect("a layout");
                let blocks = (0..random >> 50 & 63).map(|_| heap.alloc(layout).expect("memory").as_ptr().cast());
                drop(Blocks(blocks.collect()));
            }
            _ => kept.push(Blocks::new((0..(random >> 50) % 40).map(|_| size as usize))),
        }
        let untouched = tessalloc::stats().untouched_bytes;
        assert!(untouched <= not_made_bytes(), "{untouched} of {}", not_made_bytes());
    }
    drop(kept);
    tessalloc::purge();
    assert!(tessalloc::stats().untouched_bytes <= not_made_bytes());
}
