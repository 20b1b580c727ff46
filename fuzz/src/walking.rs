//! Walks during which the program goes on: the visitor runs its next steps.

use std::collections::HashSet;

use tessalloc::{HeapId, ThreadId, Which};

use crate::crew::Crew;
use crate::face::Crate;
use crate::run::{Exchange, Run};
use crate::step::{Program, Step};

/// Steps that a visitor runs for each page or block that it is told of.
const STEPS_A_VISIT: usize = 2;

/// Runs the first part of a program, then walks while the visitor runs the second. The first byte says how much the first part is, the
/// second one what is walked, and whether another thread runs the first half of the first part; each eight bytes from the eighth on
/// are a step. Steps that are slow are left out.
///
/// Blocks that were in use all the time and were not touched are told exactly once, with all their bytes. (A walk of the process
/// may tell blocks that lie free, too.)
pub fn walk_while(crew: &mut Crew, data: &[u8]) {
    let Some((&[part, kind, ..], rest)) = data.split_first_chunk::<8>() else { return };
    let program = Program::of_bytes(rest);
    let steps: Vec<Step> = program
        .steps()
        .filter(|step| !matches!(step, Step::Purge | Step::EndThread { .. } | Step::Sample { .. }))
        .collect();
    let first = steps.len() * usize::from(part) / 256;
    let exchange = Exchange::default();
    let mut run = Run::new(&Crate, &exchange, false);
    let of_other = if kind >= 240 { first / 2 } else { 0 };
    if of_other > 0 {
        crew.run(1, &mut || steps[..of_other].iter().for_each(|step| run.perform(*step)));
    }
    steps[of_other..first].iter().for_each(|step| run.perform(*step));
    let before: Vec<_> = run.in_use().collect();
    let mut during = steps[first..].iter();
    let mut told: Vec<(usize, usize)> = Vec::new();
    let mut perform = || {
        for step in during.by_ref().take(STEPS_A_VISIT) {
            run.perform(*step);
        }
    };
    let which = match kind >> 2 & 3 {
        0 | 1 => Which::All,
        2 => Which::Heap(HeapId::DEFAULT),
        _ => ThreadId::current().map_or(Which::WithoutThread, Which::Thread),
    };
    let walked = if kind & 3 == 0 {
        tessalloc::visit_pages(which, |page| {
            assert!(page.used <= page.capacity && page.capacity <= page.reserved, "{page:?}");
            perform();
            true
        })
    } else {
        tessalloc::visit_blocks(which, |page, block| {
            let (from, to) = (page.address.addr(), page.address.addr() + page.bytes);
            let (at, end) = (block.address.addr(), block.address.addr() + block.bytes);
            assert!(from <= at && end <= to, "{block:?} does not lie in {page:?}");
            told.push((at, end));
            perform();
            true
        })
    };
    assert!(walked.to_the_end, "the visitor never has enough");
    if kind & 3 != 0 && which == Which::All && walked.skipped_pages == 0 {
        let still: HashSet<_> = run.in_use().collect();
        told.sort_unstable();
        for block in before.into_iter().filter(|block| still.contains(block)) {
            let (at, end, _) = block;
            let first = told.partition_point(|told| told.1 <= at);
            let count = told[first..].iter().take_while(|told| told.0 < end).count();
            let is_whole = told.get(first).is_some_and(|told| told.0 <= at && end <= told.1);
            assert!(count == 1 && is_whole, "{at:#x}..{end:#x} was told {count} times: {:x?}", told.get(first));
        }
    }
    run.finish();
    drop(run);
    // What was handed away.
    crate::run::run(&Crate, crew, &exchange, true, [Step::Look { which: 0 }]);
}
