//! Taking and giving slices: the words of the chunks.

use super::arenas::SHARED_COUNT;
use super::growth::grow;
use super::{
    CANDIDATES_MAX, CHUNK_SLICES, EXCLUSIVE, KEPT, ORDINARY, OWN, Region, Run, SHARED, SLICE_BYTES, TICK, all,
};
use crate::bitmap::{Runs, find_run, mask};
use crate::chunk::Chunk;
use crate::os;
use crate::pressure;
use crate::report::check;
use crate::stats::{self, Counter};
use crate::sync::Ordering;

/// Part of a run that lies in one chunk.
pub(super) struct Part {
    pub(super) chunk: u32,
    pub(super) at: u32,
    pub(super) count: u32,
}

/// Cuts slices `[slice, slice + count)` at chunk borders.
pub(super) fn parts(slice: usize, count: usize) -> impl Iterator<Item = Part> {
    let end = slice + count;
    let mut from = slice;
    core::iter::from_fn(move || {
        if from == end {
            return None;
        }
        let at = (from % CHUNK_SLICES as usize) as u32;
        let count = (end - from).min((CHUNK_SLICES - at) as usize) as u32;
        let part = Part { chunk: (from / CHUNK_SLICES as usize) as u32, at, count };
        from += count as usize;
        Some(part)
    })
}

/// Takes a run of slices, aligned to `align` slices: from shared arenas first, then from ordinary regions.
pub(crate) fn take(count: usize, align: usize) -> Option<Run> {
    if !pressure::admits(count) {
        return None;
    }
    // ORDER: Relaxed: a hint.
    if SHARED_COUNT.load(Ordering::Relaxed) > 0
        && let Some(run) = take_from(all(), SHARED, count, align)
    {
        return Some(run);
    }
    take_ordinary(count, align)
}

/// Takes a run that lies in no arena; a new region is made when the others are used up.
pub(crate) fn take_ordinary(count: usize, align: usize) -> Option<Run> {
    let mut known = 0;
    // Bound: each turn but the first adds a region, or finds one that another thread added; as many at most as there may be.
    loop {
        let regions = all();
        if let Some(run) = take_from(&regions[known..], ORDINARY, count, align) {
            return Some(run);
        }
        // Those that were looked at: one that comes in between is looked at next.
        known = regions.len();
        if !grow(known, count, align) {
            return None;
        }
    }
}

fn take_from(regions: &'static [Region], role: u32, count: usize, align: usize) -> Option<Run> {
    regions.iter().filter(|region| region.is(role)).find_map(|region| region.take(role, count, align))
}

/// Takes a run of slices from an arena, which does not end meanwhile.
pub(crate) fn take_in(region: &'static Region, count: usize, align: usize) -> Option<Run> {
    if !pressure::admits(count) {
        return None;
    }
    region.take(SHARED | EXCLUSIVE, count, align)
}

impl Region {
    /// Takes a run; `None` if the region has none, or has another role by then (S6).
    fn take(&'static self, role: u32, count: usize, align: usize) -> Option<Run> {
        let fits_chunk = align <= CHUNK_SLICES as usize && count <= CHUNK_SLICES as usize - self.lead(align);
        let slice =
            if fits_chunk { self.take_short(count as u32, align as u32)? } else { self.take_long(count, align)? };
        let run = Run { region: self, slice, count };
        // Only now the arena stays what it is: the alignment may have been an earlier one's.
        let is_as_wanted = self.is(role) && run.start().addr().is_multiple_of(align * SLICE_BYTES);
        if !is_as_wanted || self.commits_by_slice() && !run.commit() {
            run.give();
            return None;
        }
        run.mark_start();
        crate::track::open(run.start(), count * SLICE_BYTES);
        Some(run)
    }

    /// Slices to leave out in a chunk, so that a run is aligned where the base is not; below `align`.
    fn lead(&self, align: usize) -> usize {
        self.skew().wrapping_neg() as usize % align.min(CHUNK_SLICES as usize)
    }

    fn take_short(&self, count: u32, align: u32) -> Option<usize> {
        let frontier = self.frontier();
        let mut candidates = 0;
        for word in 0..frontier.div_ceil(64) {
            let mut free = self.summary(word * 64).load();
            while free != 0 {
                let chunk = word * 64 + free.trailing_zeros();
                free &= free - 1;
                if chunk >= frontier {
                    break;
                }
                if let Some(at) = self.take_in(chunk, count, align) {
                    return Some((chunk * CHUNK_SLICES + at) as usize);
                }
                candidates += 1;
                // Where the system refuses more memory, the further candidates are looked at after all.
                if candidates == CANDIDATES_MAX
                    && frontier < self.chunk_count()
                    && let Some(slice) = self.take_fresh(count, align)
                {
                    return Some(slice);
                }
            }
        }
        // Where all chunks are in use, all were looked at.
        if frontier == self.chunk_count() { None } else { self.take_fresh(count, align) }
    }

    /// Takes a run in a chunk that was never used.
    #[cold]
    fn take_fresh(&self, count: u32, align: u32) -> Option<usize> {
        let _guard = self.lock.lock();
        // Bound: a chunk is opened at each turn; a further turn only when other threads took of it before this one could.
        loop {
            let frontier = self.frontier.under_lock();
            // Another thread may have opened a chunk while this one waited.
            if let Some(last) = frontier.checked_sub(1)
                && let Some(at) = self.take_in(last, count, align)
            {
                return Some((last * CHUNK_SLICES + at) as usize);
            }
            if !self.open_until(frontier + 1) {
                return None;
            }
        }
    }

    /// Takes a run inside one chunk.
    fn take_in(&self, index: u32, count: u32, align: u32) -> Option<u32> {
        let chunk = self.chunk(index);
        let find = |taken: u64| Some(mask(find_run(!taken, count, align, self.skew())?, count));
        let (bits, taken) = chunk.taken.take(find)?;
        if taken == u64::MAX {
            self.note_used_up(index);
        }
        self.count_taken(chunk, bits);
        Some(bits.trailing_zeros())
    }

    /// Takes exactly these slices of a chunk, if they are free.
    pub(super) fn take_exactly(&self, part: &Part) -> bool {
        let chunk = self.chunk(part.chunk);
        let bits = mask(part.at, part.count);
        let Some(taken) = chunk.taken.take_exactly(bits) else {
            self.note_given(part.chunk);
            return false;
        };
        if taken == u64::MAX {
            self.note_used_up(part.chunk);
        }
        self.count_taken(chunk, bits);
        true
    }

    pub(super) fn count_taken(&self, chunk: &Chunk, bits: u64) {
        let dirty = (chunk.dirty() & bits).count_ones();
        if dirty > 0 {
            if self.is(KEPT) {
                stats::add(Counter::DirtySlices, u64::from(dirty));
            } else {
                stats::sub(Counter::DirtyFreeSlices, u64::from(dirty));
            }
        }
    }

    fn note_used_up(&self, chunk: u32) {
        self.summary(chunk).note_used_up(1 << (chunk % 64), &self.chunk(chunk).taken);
    }

    pub(super) fn note_room(&self, chunk: u32) {
        self.summary(chunk).note_room(1 << (chunk % 64));
    }

    fn note_given(&self, chunk: u32) {
        self.note_room(chunk);
        self.empty_from.note_given(chunk, &self.chunk(chunk).taken, self.absent(chunk));
    }

    /// Takes a run that fits no chunk, or with an alignment of over a chunk: whole chunks, the first and last perhaps in part.
    #[cold]
    fn take_long(&self, count: usize, align: usize) -> Option<usize> {
        let align_bytes = align.checked_mul(SLICE_BYTES)?;
        let lead = self.lead(align);
        let chunks = lead.checked_add(count)?.div_ceil(CHUNK_SLICES as usize);
        let _guard = self.lock.lock();
        let total = self.chunk_count() as usize;
        // ORDER: SeqCst: the look's duty.
        let is_empty = |chunk| self.chunk(chunk).taken.load(Ordering::SeqCst) == self.absent(chunk);
        let mut from = self.empty_from.look(self.frontier.under_lock(), is_empty) as usize;
        // Bound: `from` rises at each turn, to `total` at most.
        'next: while from + chunks <= total {
            let slice = from * CHUNK_SLICES as usize + lead;
            if !self.slice_start(slice).addr().is_multiple_of(align_bytes) {
                from += 1;
                continue;
            }
            let frontier = self.frontier.under_lock() as usize;
            for chunk in (from..(from + chunks).min(frontier)).rev() {
                // ORDER: Relaxed: a hint; `take_exactly` decides.
                if self.chunk(chunk as u32).taken.load(Ordering::Relaxed) != self.absent(chunk as u32) {
                    from = chunk + 1;
                    continue 'next;
                }
            }
            if !self.open_until((from + chunks) as u32) {
                return None;
            }
            match self.take_parts(slice, count) {
                Ok(()) => return Some(slice),
                Err(conflict) => from = conflict as usize + 1,
            }
        }
        None
    }

    /// Takes exactly these slices, ascending, or none of them; the error names the chunk where one was taken.
    pub(super) fn take_parts(&self, slice: usize, count: usize) -> Result<(), u32> {
        for part in parts(slice, count) {
            if !self.take_exactly(&part) {
                let got = part.chunk as usize * CHUNK_SLICES as usize + part.at as usize - slice;
                for back in parts(slice, got) {
                    self.give_part(&back);
                }
                return Err(part.chunk);
            }
        }
        Ok(())
    }

    /// Gives slices of one chunk back. The caller holds them (S1).
    pub(super) fn give_part(&self, part: &Part) {
        let chunk = self.chunk(part.chunk);
        let bits = mask(part.at, part.count);
        let dirty = (chunk.dirty() & bits).count_ones();
        // ORDER: Relaxed: a clock.
        chunk.end_runs(bits, TICK.load(Ordering::Relaxed));
        if dirty > 0 {
            if self.is(KEPT) {
                stats::sub(Counter::DirtySlices, u64::from(dirty));
            } else {
                stats::add(Counter::DirtyFreeSlices, u64::from(dirty));
            }
        }
        let before = chunk.taken.give(bits);
        check!(before & bits == bits, "slices were given back that were free");
        self.note_given(part.chunk);
    }

    /// Gives back dirty free memory of one chunk, up to `most` slices; returns how many.
    pub(crate) fn purge_chunk(&self, index: u32, most: u64) -> u64 {
        if self.is(KEPT) {
            return 0;
        }
        let chunk = self.chunk(index);
        // ORDER: Relaxed: a hint; the exchange below takes the slices.
        let candidates = chunk.dirty() & !chunk.taken.load(Ordering::Relaxed);
        let mut purged = 0;
        for (at, count) in Runs(candidates) {
            if purged >= most {
                break;
            }
            let part = Part { chunk: index, at, count };
            if !self.take_exactly(&part) {
                continue;
            }
            let bits = mask(at, count);
            let start = self.slice_start((index * CHUNK_SLICES + at) as usize);
            let done = if self.is(OWN) {
                self.purge_by_own(start, count as usize * SLICE_BYTES)
            } else {
                // SAFETY: S1: the slices are ours; they are accessible (S3).
                unsafe { os::purge(start, count as usize * SLICE_BYTES) }.is_ok()
            };
            if done {
                if self.is(OWN) {
                    chunk.decommit(bits);
                }
                let was = chunk.forget(bits).count_ones();
                stats::sub(Counter::DirtySlices, u64::from(was));
                stats::add(Counter::PurgedBytes, u64::from(was) * SLICE_BYTES as u64);
                purged += u64::from(was);
            }
            let given_at = chunk.given_at();
            self.give_part(&part);
            // A purge is no use: the clock of the last give stays.
            chunk.set_given_at(given_at);
            if !done {
                break;
            }
        }
        purged
    }

    /// Ticks since slices of this chunk were last given back.
    pub(crate) fn rest_ticks(&self, index: u32) -> u32 {
        // ORDER: Relaxed: a hint.
        TICK.load(Ordering::Relaxed).wrapping_sub(self.chunk(index).given_at())
    }
}
