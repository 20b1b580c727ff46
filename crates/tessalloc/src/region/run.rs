//! Slices that one owner took together.

use super::arenas::Commit;
use super::taking::{Part, parts};
use super::{CHUNK_SLICES, NUMBER_SLICE_BITS, OWN, Region, SLICE_BYTES};
use crate::bitmap::{Runs, mask};
use crate::os;
use crate::page::Page;
use crate::pressure;
use crate::report::check;
use crate::stats::{self, Counter};
use crate::sync::Ordering;

/// Slices that one owner took together.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) region: &'static Region,
    pub(crate) slice: usize,
    pub(crate) count: usize,
}

impl Region {
    /// The slices of a chunk in which runs begin, as ones: what was so at some moment.
    pub(crate) fn starts_in(&self, chunk: u32) -> u64 {
        let chunk = self.chunk(chunk);
        // ORDER: Acquire: a run that was taken before has its descriptor set up as far as who gave word of it knows.
        chunk.starts(Ordering::Acquire) & chunk.taken.load(Ordering::Acquire)
    }
}

impl Run {
    /// The run's first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.region.slice_start(self.slice)
    }

    /// The run's descriptor: that of its first slice. Its number is filled in here, for good.
    pub(crate) fn page(&self) -> *mut Page {
        let page = self.region.page(self.slice);
        // SAFETY: S1: the descriptor of a slice that this thread took; `number` never changes once set.
        unsafe {
            (*page).number = (self.region.index() as u32) << NUMBER_SLICE_BITS | self.slice as u32;
        }
        page
    }

    /// Notes where the run begins, in all chunks that it reaches into.
    pub(super) fn mark_start(&self) {
        let (chunk, at) = (self.slice / CHUNK_SLICES as usize, self.slice % CHUNK_SLICES as usize);
        self.region.chunk(chunk as u32).begin_run(at as u32);
        self.mark_further(1);
    }

    /// Notes where the run begins, in the chunks that begin with one of its slices from `from` (≥ 1) on.
    fn mark_further(&self, from: usize) {
        for part in parts(self.slice + from, self.count - from).filter(|part| part.at == 0) {
            self.region.chunk(part.chunk).go_on(self.slice);
        }
    }

    /// Makes the run's slices usable where commit goes by slice.
    pub(super) fn commit(&self) -> bool {
        parts(self.slice, self.count).all(|part| {
            let chunk = self.region.chunk(part.chunk);
            let bits = mask(part.at, part.count);
            let missing = bits & !chunk.committed();
            Runs(missing).all(|(at, count)| {
                let start = self.region.slice_start((part.chunk * CHUNK_SLICES + at) as usize);
                let done = if self.region.is(OWN) {
                    self.region.commit_by_own(start, count as usize * SLICE_BYTES)
                } else {
                    // SAFETY: part of the region's reservation, ours by S1.
                    unsafe { os::commit(start, count as usize * SLICE_BYTES) }
                        .map_or(Commit::Refused, |()| Commit::Zero)
                };
                if done == Commit::Unknown {
                    self.touch((part.chunk * CHUNK_SLICES + at) as usize - self.slice, count as usize);
                }
                if done != Commit::Refused {
                    chunk.commit(mask(at, count));
                }
                done != Commit::Refused
            })
        })
    }

    /// Says that slices `[from, from + count)` of the run may be written from now on. True if they all read zero.
    pub(crate) fn touch(&self, from: usize, count: usize) -> bool {
        let mut fresh = true;
        for part in parts(self.slice + from, count) {
            let chunk = self.region.chunk(part.chunk);
            let bits = mask(part.at, part.count);
            let before = chunk.touch(bits);
            fresh &= before == 0;
            let new = (bits & !before).count_ones();
            if new > 0 {
                stats::add(Counter::DirtySlices, u64::from(new));
            }
        }
        fresh
    }

    /// Says that slices `[from, from + count)` of the run hold nothing any more and read zero.
    pub(crate) fn forget(&self, from: usize, count: usize) {
        for part in parts(self.slice + from, count) {
            let bits = mask(part.at, part.count);
            let before = self.region.chunk(part.chunk).forget(bits);
            stats::sub(Counter::DirtySlices, u64::from(before.count_ones()));
        }
    }

    /// Gives the run back.
    pub(crate) fn give(&self) {
        self.give_from(0);
    }

    fn give_from(&self, count: usize) {
        for part in parts(self.slice + count, self.count - count) {
            self.region.give_part(&part);
        }
    }

    /// Lengthens the run in place to `count` slices, if those behind it are free.
    pub(crate) fn extend(&self, count: usize) -> Option<Run> {
        check!(count > self.count, "a run is extended to more slices");
        let end = (self.slice + count).div_ceil(CHUNK_SLICES as usize);
        if end > self.region.chunk_count() as usize || !pressure::admits(count - self.count) {
            return None;
        }
        let (end, frontier) = (end as u32, self.region.frontier());
        // Nothing is made accessible for a run that stops at a neighbour anyway. ORDER: Relaxed: a hint.
        let is_free =
            |part: Part| self.region.chunk(part.chunk).taken.load(Ordering::Relaxed) & mask(part.at, part.count) == 0;
        if !parts(self.slice + self.count, count - self.count).take_while(|part| part.chunk < frontier).all(is_free) {
            return None;
        }
        if end > frontier {
            let _guard = self.region.lock.lock();
            if !self.region.open_until(end) {
                return None;
            }
        }
        self.region.take_parts(self.slice + self.count, count - self.count).ok()?;
        let longer = Run { count, ..*self };
        if self.region.commits_by_slice() && !longer.commit() {
            longer.shrink(self.count);
            return None;
        }
        longer.mark_further(self.count);
        Some(longer)
    }

    /// Gives the slices from `count` on back.
    pub(crate) fn shrink(&self, count: usize) {
        self.give_from(count);
    }
}
