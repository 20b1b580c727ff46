//! The model itself is tried: an allocator with a planted fault runs random programs until the model tells what is wrong.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use tessalloc::Heap;
use tessalloc_fuzz::crew::{Crew, alone};
use tessalloc_fuzz::face::{Crate, Face, Flavour, Given, Known};
use tessalloc_fuzz::run::{Exchange, run};
use tessalloc_fuzz::step::{Request, Step, Zeroed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    IgnoresAlignment,
    ForgetsToClear,
    ForgetsToClearWhatGrew,
    GivesABlockTwice,
    TellsTooMuchUsable,
    LosesWhatWasWritten,
    WritesIntoAnother,
    TakesFromTheWrongHeap,
    ForgetsAFree,
    LiesOfGrowth,
}

struct Faulty {
    fault: Fault,
    last: Cell<*mut u8>,
}

// SAFETY: what is faulty is undone before a block is freed, or leaks.
unsafe impl Face for Faulty {
    type Heap = Heap;

    fn new_heap(&self, flavour: Flavour) -> Option<Heap> {
        Crate.new_heap(flavour)
    }

    fn delete(&self, heap: Heap) {
        Crate.delete(heap);
    }

    fn destroy(&self, heap: Heap) {
        Crate.destroy(heap);
    }

    fn clear(&self, heap: &mut Heap) {
        Crate.clear(heap);
    }

    fn purge_heap(&self, heap: &Heap) {
        Crate.purge_heap(heap);
    }

    fn purge(&self) {
        Crate.purge();
    }

    fn idle(&self) {
        Crate.idle();
    }

    fn sample(&self, _: Option<u8>) {}

    fn allocate(&self, heap: Option<&Heap>, way: u8, request: Request) -> Given {
        let asked = match self.fault {
            Fault::IgnoresAlignment => Request { align: 1, offset: 0, ..request },
            Fault::ForgetsToClear => Request { zeroed: Zeroed::No, ..request },
            _ => request,
        };
        let heap = heap.filter(|_| self.fault != Fault::TakesFromTheWrongHeap);
        let mut given = Crate.allocate(heap, way, asked);
        let last = self.last.replace(given.at);
        // SAFETY: blocks in use, of a program that has one thread and frees none.
        unsafe {
            match self.fault {
                Fault::ForgetsToClear if request.size > 0 && request.zeroed != Zeroed::No => given.at.write(1),
                Fault::GivesABlockTwice if !last.is_null() && Crate.usable(last) >= request.size => given.at = last,
                Fault::WritesIntoAnother if !last.is_null() => last.write(!last.read()),
                _ => {}
            }
        }
        given
    }

    unsafe fn reallocate(&self, heap: Option<&Heap>, is_of: bool, way: u8, block: Known, request: Request) -> Given {
        // SAFETY: the caller's duty; the block of just now.
        unsafe {
            let given = Crate.reallocate(heap, is_of, way, block, request);
            if self.fault == Fault::LosesWhatWasWritten && block.size > 0 && request.size > 0 {
                given.at.write(!given.at.read());
            }
            let usable = Crate.usable(given.at);
            if self.fault == Fault::ForgetsToClearWhatGrew && request.zeroed == Zeroed::Whole && usable > block.size {
                given.at.add(usable - 1).write(1);
            }
            given
        }
    }

    unsafe fn expand(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: the caller's duty.
        unsafe { Crate.expand(block, size) || self.fault == Fault::LiesOfGrowth }
    }

    unsafe fn free(&self, heap: Option<&Heap>, way: u8, block: Known) {
        if self.fault != Fault::ForgetsAFree {
            // SAFETY: the caller's duty.
            unsafe { Crate.free(heap, way, block) };
        }
    }

    unsafe fn usable(&self, block: *mut u8) -> usize {
        // SAFETY: the caller's duty.
        unsafe { Crate.usable(block) + if self.fault == Fault::TellsTooMuchUsable { 64 } else { 0 } }
    }

    unsafe fn walk(&self, tell: &mut dyn FnMut(usize, usize)) -> bool {
        // SAFETY: the caller's duty.
        unsafe { Crate.walk(tell) }
    }

    fn is_of(&self, heap: Option<&Heap>, block: *mut u8) -> bool {
        Crate.is_of(heap, block)
    }

    unsafe fn check(&self) -> bool {
        false
    }
}

/// Two blocks of a heap, one of them resized and grown, and a walk: what every fault shows in.
fn program(fault: Fault) -> Vec<Step> {
    let request = Request { size: 100, align: 4096, offset: 0, zeroed: Zeroed::Whole };
    let larger = Request { size: 5000, ..request };
    let mut steps = vec![
        Step::AllocateIn { heap: 0, way: 0, count: 2, request },
        Step::Look { which: 0 },
        Step::Look { which: 1 },
        Step::Reallocate { which: 0, way: 1, request: larger },
        Step::Expand { which: 0, size: 100_000 },
        Step::Free { which: 0, way: 7 },
        Step::Walk,
    ];
    if fault == Fault::TellsTooMuchUsable {
        steps.insert(0, Step::Allocate { way: 0, count: 20, request: Request { align: 1, ..request } });
    }
    steps
}

#[test]
fn the_model_tells_planted_faults() {
    use Fault::*;
    let told = [
        (IgnoresAlignment, "is not aligned"),
        (ForgetsToClear, "is not zero"),
        (ForgetsToClearWhatGrew, "is not zero"),
        (GivesABlockTwice, "lies on"),
        (TellsTooMuchUsable, "lies on"),
        (LosesWhatWasWritten, "is not what was written"),
        (WritesIntoAnother, "is not what was written"),
        (TakesFromTheWrongHeap, "is not of heap"),
        (ForgetsAFree, "a walk told"),
        (LiesOfGrowth, "expanded: true"),
    ];
    alone(|| {
        for (fault, text) in told {
            let face = Faulty { fault, last: Cell::new(null_mut()) };
            let act = || run(&face, &mut Crew::default(), &Exchange::default(), true, program(fault));
            let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("the fault is told");
            let message = panic.downcast_ref::<String>().expect("a message");
            assert!(message.contains(text), "{fault:?} is told as {message:?}");
        }
        // And nothing else is.
        let steps = program(Fault::TellsTooMuchUsable).into_iter().filter(|step| *step != Step::Walk);
        run(&Crate, &mut Crew::default(), &Exchange::default(), true, steps);
    });
}
