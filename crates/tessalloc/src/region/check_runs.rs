//! What [`crate::check`] looks at, found by the chunks' words.

use super::{CHUNK_SLICES, Region, Run, all};
use crate::page::{Kind, Page};
use crate::sync::Ordering;

/// Visits all runs, each with its descriptor and as many slices as lie before the next one; the process must be quiet.
pub(crate) fn for_each_run(mut visit: impl FnMut(Run, *mut Page)) {
    for region in all() {
        for chunk in 0..region.frontier() {
            // ORDER: Relaxed: nobody writes.
            let taken = region.chunk(chunk).taken.load(Ordering::Relaxed);
            let mut starts = region.starts_of(chunk);
            while starts != 0 {
                let at = starts.trailing_zeros();
                starts &= starts - 1;
                // To where the next run begins, or a slice is free or not there.
                let ends = (!taken | region.absent(chunk) | starts) & u64::MAX << at;
                let slice = (chunk * CHUNK_SLICES + at) as usize;
                let count = (ends.trailing_zeros() - at) as usize;
                visit(Run { region, slice, count }, region.page(slice));
            }
            if let Some(head) = region.chunk(chunk).head() {
                // SAFETY: a descriptor below the frontier (S3).
                let kind = unsafe { (*region.page(head)).kind() };
                let goes_on = matches!(kind, Kind::Large | Kind::Warm | Kind::Offset | Kind::Sampled | Kind::Guarded);
                assert!(goes_on, "S8: a run that goes on is one block, not {kind:?}");
            }
        }
    }
}

/// Slices that may be resident.
pub(crate) fn dirty_slices() -> u64 {
    let of_chunk = |region: &Region, chunk| {
        // ORDER: Relaxed: nobody writes.
        u64::from(region.chunk(chunk).dirty().count_ones())
    };
    all().iter().map(|region| (0..region.frontier()).map(|chunk| of_chunk(region, chunk)).sum::<u64>()).sum()
}
