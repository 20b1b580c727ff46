//! The regions' invariants, checked.

use super::{CHUNK_SLICES, all};
use crate::sync::Ordering;

/// Checks the words of every chunk against one another (S2, S4); the process must be quiet. Returns the dirty free slices.
#[cfg(any(test, tessalloc_check))]
pub(crate) fn check_all() -> u64 {
    let mut dirty_free = 0;
    for region in all() {
        for index in 0..region.frontier() {
            let chunk = region.chunk(index);
            // ORDER: Relaxed: nobody writes.
            let taken = chunk.taken.load(Ordering::Relaxed);
            let starts = chunk.starts.load(Ordering::Relaxed);
            let dirty = chunk.dirty.load(Ordering::Relaxed);
            assert_eq!(starts & !taken, 0, "a run starts on a free slice");
            // ORDER: Relaxed: nobody writes.
            assert!(taken == u64::MAX || region.summary(index).load(Ordering::Relaxed) >> (index % 64) & 1 == 1);
            dirty_free += u64::from((dirty & !taken).count_ones());
            for at in 0..CHUNK_SLICES {
                if taken >> at & 1 == 0 {
                    let slice = (index * CHUNK_SLICES + at) as usize;
                    assert_eq!(region.kind_byte(slice).load(Ordering::Relaxed), 0, "S4: a free slice has no class");
                }
            }
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
    use crate::region::{Run, SLICE_BYTES, take};
    use std::sync::PoisonError;
    use std::vec::Vec;

    /// Random runs of all lengths, extended, shortened and given back, against a list of what is taken.
    #[test]
    fn regions_never_hand_out_a_slice_twice() {
        let _quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
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
        for _ in 0..4000 {
            match below(4) {
                0 | 1 => {
                    let count = if below(8) == 0 { 1 + below(300) } else { 1 + below(40) };
                    let align = 1 << below(9);
                    let run = take(count, align).expect("address space is plenty");
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
