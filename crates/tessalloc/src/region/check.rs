//! The regions' invariants, checked.

use super::{CHUNK_SLICES, KEPT, all};
use crate::page::Kind;
use crate::sync::Ordering;

/// Checks the words of every chunk against one another (S2, S4); the process must be quiet. Returns the dirty free slices.
pub(crate) fn check_all() -> u64 {
    let mut dirty_free = 0;
    for region in all() {
        for index in 0..region.frontier() {
            let chunk = region.chunk(index);
            // ORDER: Relaxed: nobody writes.
            let taken = chunk.taken.load(Ordering::Relaxed);
            let starts = chunk.starts(Ordering::Relaxed);
            let dirty = chunk.dirty();
            assert_eq!(starts & !taken, 0, "a run starts on a free slice");
            // ORDER: Relaxed: nobody writes.
            assert!(taken == u64::MAX || region.summary(index).load() >> (index % 64) & 1 == 1);
            if !region.is(KEPT) {
                dirty_free += u64::from((dirty & !taken).count_ones());
            }
            for at in 0..CHUNK_SLICES {
                if taken >> at & 1 == 0 {
                    let slice = (index * CHUNK_SLICES + at) as usize;
                    assert_eq!(region.kind_byte(slice).load(Ordering::Relaxed), 0, "S4: a free slice has no class");
                    // SAFETY: a descriptor below the frontier (S3).
                    let kind = unsafe { (*region.page(slice)).kind() };
                    assert_eq!(kind, Kind::Free, "P8: a free slice is nobody's");
                }
            }
            let goes_on = taken & 1 == 1 && starts & 1 == 0;
            assert!(goes_on || chunk.head().is_none(), "S8: a run goes on where its slice is free or begins one");
        }
    }
    dirty_free
}

/// Held by tests that need the regions quiet.
#[cfg(test)]
pub(crate) static QUIET: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Arena, ArenaError, ArenaOptions};
    use crate::region::{Region, Run, SLICE_BYTES, find, page_by_number, take, take_in};
    use std::sync::PoisonError;
    use std::vec::Vec;

    /// Random runs of all lengths, extended, shortened and given back, against a list of what is taken.
    fn churn(rounds: u32, take: impl Fn(usize, usize) -> Option<Run>) {
        let mut seed = 0x5eed_u64;
        let mut below = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % end) as usize
        };
        let mut runs: Vec<Run> = Vec::new();
        let overlaps = |runs: &[Run], run: &Run, but: usize| {
            runs.iter().enumerate().any(|(i, other)| {
                i != but
                    && core::ptr::eq(other.region, run.region)
                    && other.slice < run.slice + run.count
                    && run.slice < other.slice + other.count
            })
        };
        for _ in 0..rounds {
            match below(4) {
                0 | 1 => {
                    let count = if below(8) == 0 { 1 + below(300) } else { 1 + below(40) };
                    let align = 1 << below(9);
                    let Some(run) = take(count, align) else { continue };
                    assert_eq!(run.start().addr() % (align * SLICE_BYTES), 0);
                    assert!(!overlaps(&runs, &run, usize::MAX), "a new run lies on another");
                    assert_eq!(run.region.start_of(run.slice), Some(run.slice));
                    run.touch(0, count);
                    runs.push(run);
                }
                2 if !runs.is_empty() => {
                    let at = below(runs.len() as u64);
                    let run = runs[at];
                    if below(2) == 0 {
                        if let Some(longer) = run.extend(run.count + 1 + below(70)) {
                            assert!(!overlaps(&runs, &longer, at), "a longer run lies on another");
                            runs[at] = longer;
                        }
                    } else if run.count > 1 {
                        let count = 1 + below(run.count as u64 - 1);
                        run.shrink(count);
                        runs[at].count = count;
                    }
                }
                _ if !runs.is_empty() => runs.swap_remove(below(runs.len() as u64)).give(),
                _ => {}
            }
            if runs.len() > 200 {
                runs.drain(50..).for_each(|run| run.give());
            }
        }
        check_all();
        runs.drain(..).for_each(|run| run.give());
        check_all();
        for region in all() {
            for chunk in 0..region.frontier() {
                region.purge_chunk(chunk, u64::MAX);
            }
        }
        assert_eq!(check_all(), 0, "a purge leaves no dirty free slice");
    }

    #[test]
    fn regions_never_hand_out_a_slice_twice() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        churn(4000, |count, align| Some(take(count, align).expect("address space is plenty")));
    }

    /// Memory that starts and ends anywhere: within it, runs are as aligned as asked, and its last slice is used too.
    #[test]
    fn arenas_never_hand_out_what_is_not_theirs() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        const WHOLE: usize = 40 << 20;
        let layout = std::alloc::Layout::from_size_align(WHOLE, 8 << 20).expect("a layout");
        // SAFETY: the layout has a size; freed below.
        let memory = unsafe { std::alloc::alloc(layout) };
        assert!(!memory.is_null());
        for (from, bytes) in
            [(1, WHOLE - 1), (5 * SLICE_BYTES, WHOLE / 2), (63 * SLICE_BYTES + 9, 3 << 20), (0, SLICE_BYTES)]
        {
            let options = ArenaOptions::new().exclusive(true).committed(true);
            // SAFETY: memory of this test's, released before it is freed.
            let arena = unsafe { Arena::manage(memory.add(from), bytes, &options) }.expect("room for an arena");
            let slices = ((from + bytes) / SLICE_BYTES) - from.div_ceil(SLICE_BYTES);
            assert_eq!(arena.area().1, slices * SLICE_BYTES);
            churn(2000, |count, align| {
                let run = take_in(arena.region(), count, align)?;
                let end = run.start().addr() + count * SLICE_BYTES;
                assert!(run.start().addr() >= memory.addr() + from && end <= memory.addr() + from + bytes);
                Some(run)
            });
            let all: Vec<Run> =
                (0..slices).map(|_| take_in(arena.region(), 1, 1).expect("every slice serves")).collect();
            assert!(take_in(arena.region(), 1, 1).is_none());
            let (arena, error) = arena.release().expect_err("all of it is in use");
            assert_eq!(error, ArenaError::InUse { bytes: (slices * SLICE_BYTES) as u64, heaps: 0 });
            all.iter().for_each(Run::give);
            let longest = take_in(arena.region(), slices, 1).expect("one run of all");
            longest.give();
            assert!(find(arena.area().0.addr().get()).is_some());
            let start = arena.area().0.addr().get();
            assert!(arena.release().is_ok());
            assert!(find(start).is_none(), "what has ended is found no more");
        }
        // SAFETY: allocated above; no arena has it any more.
        unsafe { std::alloc::dealloc(memory, layout) };
    }

    /// An ended arena's place and tables serve the next one of its role; a heap keeps it alive.
    #[test]
    fn arenas_follow_one_another_in_one_place() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let options = ArenaOptions::new().exclusive(true);
        let mut places = Vec::new();
        for round in 0..300 {
            let arena = Arena::reserve((1 + round % 7) << 22, &options).expect("address space is plenty");
            let run = take_in(arena.region(), 3, 2).expect("room");
            assert!(run.touch(0, 3), "what was reserved reads zero");
            // SAFETY: S1.
            unsafe { run.start().write_bytes(7, 3 * SLICE_BYTES) };
            let place: *const Region = arena.region();
            if !places.contains(&place) {
                places.push(place);
            }
            let number = run.page();
            // SAFETY: S1.
            assert_eq!(page_by_number(unsafe { (*number).number }), number);
            arena.region().bind();
            run.give();
            let (arena, error) = arena.release().expect_err("a heap is bound");
            assert_eq!(error, ArenaError::InUse { bytes: 0, heaps: 1 });
            arena.region().unbind();
            assert!(arena.release().is_ok());
        }
        assert!(places.len() <= 4, "{} places for one arena at a time", places.len());
        check_all();
    }

    /// A run of several chunks is not looked for among those in use: that would take longer the more there are.
    #[test]
    fn long_runs_are_looked_for_from_the_first_empty_chunk_on() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        const SLICES: usize = CHUNK_SLICES as usize + 1;
        let arena = Arena::reserve(160 << 20, &ArenaOptions::new().exclusive(true)).expect("address space is plenty");
        let take = || take_in(arena.region(), SLICES, 1).expect("room");
        let mut runs: Vec<Run> = (0..18).map(|_| take()).collect();
        runs.push(take());
        assert!(arena.region().empty_from.now() >= 36, "chunks in use are looked at again");
        // Where one comes free a run is found again, also by who looked beyond.
        for at in [11, 3, 7] {
            let given = runs[at];
            given.give();
            assert!(arena.region().empty_from.now() <= given.slice as u32 / CHUNK_SLICES);
            runs[at] = take();
            assert_eq!(runs[at].slice, given.slice);
        }
        take().give();
        assert!(arena.region().empty_from.now() >= 36, "chunks in use are looked at again");
        runs.iter().for_each(Run::give);
        assert!(arena.release().is_ok());
    }

    #[test]
    #[should_panic(expected = "a run starts on a free slice")]
    fn regions_check_tells_a_start_without_a_run() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        let run = take(1, 1).expect("address space is plenty");
        run.give();
        let chunk = run.region.chunk((run.slice / CHUNK_SLICES as usize) as u32);
        let bit = 1 << (run.slice % CHUNK_SLICES as usize);
        // ORDER: Relaxed: this test only.
        chunk.starts.fetch_or(bit, Ordering::Relaxed);
        let found = std::panic::catch_unwind(check_all);
        chunk.starts.fetch_and(!bit, Ordering::Relaxed);
        std::panic::resume_unwind(found.expect_err("the broken word is found"));
    }
}
