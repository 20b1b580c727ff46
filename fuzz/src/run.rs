//! Runs programs on the allocator and, beside it, on the naive model: a list of blocks, with what was asked for and what was written.
//!
//! | after                 | must hold                                                                                 |
//! |-----------------------|-------------------------------------------------------------------------------------------|
//! | an allocation         | aligned; usable for what was asked; overlaps no block in use; zero as far as promised; of the heap asked |
//! | a reallocation        | the same, and the old contents as far as both sizes reach; where it was refused, the old block as it was |
//! | a free, a look        | the contents as they were written; the usable size as it was                              |
//! | clearing, destroying  | before it: all contents of the heap                                                       |
//! | a walk                | the blocks told are those of the model, each once                                         |

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::content;
use crate::crew::{CREW_SIZE, Crew};
use crate::face::{Face, Flavour, Known};
use crate::step::{Request, Step, Zeroed};

/// Heaps that a program has at a time.
const HEAP_COUNT: usize = 4;
/// Blocks in use, and what they take together: more is not asked for.
const BLOCKS_MAX: usize = 700;
const BYTES_MAX: usize = 512 << 20;
/// Blocks from this size on are allocated and freed, but not cleared or copied; so many are in use at a time.
const HUGE_BYTES: usize = 24 << 20;
const HUGE_MAX: usize = 2;
/// What is cleared or copied at most, but for one time of 16: the system's time to hand out memory is not what is tested.
const CLEARED_BYTES_MAX: usize = 128 << 10;
/// What a heap with a limit may hand out.
const HEAP_LIMIT: u64 = 2 << 20;

struct Block {
    at: *mut u8,
    size: usize,
    usable: usize,
    align: usize,
    by_layout: bool,
    /// Slot of its heap; `None`: the default heap.
    heap: Option<usize>,
    seed: u64,
    /// Bytes that hold what the seed says.
    written: usize,
    /// From here to the end of what is usable it reads zero.
    zero_from: usize,
}
// SAFETY: a block is whoever's has the value.
unsafe impl Send for Block {}

impl Block {
    fn known(&self) -> Known {
        Known { at: self.at, size: self.size, align: self.align, by_layout: self.by_layout }
    }
}

struct Slot<H> {
    heap: H,
    flavour: Flavour,
}

impl<H> Slot<H> {
    fn zeroes(&self) -> bool {
        self.flavour == Flavour::Zeroed
    }
}

/// Where programs that run at the same time hand blocks to one another.
#[derive(Default)]
pub struct Exchange(Mutex<Vec<Block>>);

/// Blocks that wait in an exchange at most.
const EXCHANGE_MAX: usize = 200;

/// What was done, to be told at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Programs.
    pub programs: u64,
    /// Calls of the allocator that allocate, resize or free, or do something to a heap or the process.
    pub operations: u64,
    /// Blocks that were compared with those that walks told.
    pub walked: u64,
    /// Walks of all invariants of the core.
    pub checks: u64,
}

impl Done {
    /// Both together.
    pub fn add(&mut self, other: Done) {
        self.programs += other.programs;
        self.operations += other.operations;
        self.walked += other.walked;
        self.checks += other.checks;
    }
}

/// A program on its way.
pub struct Run<'a, F: Face> {
    face: &'a F,
    exchange: &'a Exchange,
    /// Whether nothing else runs in the process.
    is_alone: bool,
    blocks: Vec<Block>,
    /// End of each block in use, by its first byte.
    ends: BTreeMap<usize, usize>,
    heaps: [Option<Slot<F::Heap>>; HEAP_COUNT],
    bytes: usize,
    seed: u64,
    thread: usize,
    end_next: Option<usize>,
    done: Done,
    step: Option<Step>,
}

/// Runs a program, frees all that it leaves, and returns what it did. Panics with what was wrong. `is_alone`: nothing else of the
/// process calls the allocator meanwhile.
pub fn run<F: Face>(
    face: &F,
    crew: &mut Crew,
    exchange: &Exchange,
    is_alone: bool,
    program: impl IntoIterator<Item = Step>,
) -> Done {
    let mut run = Run::new(face, exchange, is_alone);
    let mut steps = program.into_iter();
    let mut has_more = true;
    while has_more {
        let thread = run.thread;
        crew.run(thread, &mut || {
            has_more = false;
            for step in steps.by_ref() {
                run.perform(step);
                if run.thread != thread || run.end_next.is_some() {
                    has_more = true;
                    return;
                }
            }
        });
        if let Some(thread) = run.end_next.take() {
            crew.end(thread);
        }
    }
    run.finish();
    run.done
}

impl<'a, F: Face> Run<'a, F> {
    /// Before the first step.
    pub(crate) fn new(face: &'a F, exchange: &'a Exchange, is_alone: bool) -> Self {
        Run {
            face,
            exchange,
            is_alone,
            blocks: Vec::new(),
            ends: BTreeMap::new(),
            heaps: [const { None }; HEAP_COUNT],
            bytes: 0,
            seed: 0,
            thread: 0,
            end_next: None,
            done: Done { programs: 1, ..Done::default() },
            step: None,
        }
    }

    /// Each block in use: where it begins and ends, and a number that no other block has.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.blocks.iter().map(|block| (block.at.addr(), block.at.addr() + block.usable, block.seed))
    }

    pub(crate) fn perform(&mut self, step: Step) {
        self.step = Some(step);
        match step {
            Step::Allocate { way, count, request } => (0..count).for_each(|_| self.allocate(None, way, request)),
            Step::AllocateIn { heap, way, count, request } => {
                let slot = usize::from(heap) % HEAP_COUNT;
                self.have_heap(slot, way);
                (0..count).for_each(|_| self.allocate(Some(slot), way, request));
            }
            Step::Reallocate { which, way, request } => self.reallocate(None, which, way, request),
            Step::ReallocateIn { heap, which, way, request } => {
                let slot = usize::from(heap) % HEAP_COUNT;
                self.have_heap(slot, way);
                self.reallocate(Some(slot), which, way, request);
            }
            Step::Free { which, way } => {
                if let Some(at) = self.pick(which) {
                    self.free(at, way);
                }
            }
            Step::FreeMany { from, stride, way } => {
                let Some(mut at) = self.pick(from) else { return };
                while at < self.blocks.len() {
                    self.free(at, way);
                    at += stride - 1;
                }
            }
            Step::Expand { which, size } => self.expand(which, size),
            Step::Look { which } => {
                if let Some(at) = self.pick(which) {
                    self.look(&self.blocks[at]);
                }
            }
            Step::Switch { thread } => self.thread = usize::from(thread) % CREW_SIZE,
            Step::EndThread { thread } => {
                self.end_next = Some(usize::from(thread) % CREW_SIZE).filter(|thread| *thread != self.thread);
            }
            Step::NewHeap { heap, flavour } => self.have_heap(usize::from(heap) % HEAP_COUNT, flavour),
            Step::DeleteHeap { heap } => {
                let slot = usize::from(heap) % HEAP_COUNT;
                if let Some(heap) = self.heaps[slot].take() {
                    self.done.operations += 1;
                    self.face.delete(heap.heap);
                    self.blocks.iter_mut().filter(|block| block.heap == Some(slot)).for_each(|block| block.heap = None);
                }
            }
            Step::DestroyHeap { heap } => {
                let slot = usize::from(heap) % HEAP_COUNT;
                if self.heaps[slot].is_some() {
                    self.forget(slot);
                }
                if let Some(heap) = self.heaps[slot].take() {
                    self.done.operations += 1;
                    self.face.destroy(heap.heap);
                }
            }
            Step::ClearHeap { heap } => {
                let slot = usize::from(heap) % HEAP_COUNT;
                if self.heaps[slot].is_some() {
                    self.forget(slot);
                }
                if let Some(heap) = &mut self.heaps[slot] {
                    self.done.operations += 1;
                    self.face.clear(&mut heap.heap);
                }
            }
            Step::PurgeHeap { heap } => {
                if let Some(heap) = &self.heaps[usize::from(heap) % HEAP_COUNT] {
                    self.done.operations += 1;
                    self.face.purge_heap(&heap.heap);
                }
            }
            Step::Purge => {
                self.done.operations += 1;
                self.face.purge();
            }
            Step::Idle => {
                self.done.operations += 1;
                self.face.idle();
            }
            Step::Sample { way } => {
                self.done.operations += 1;
                self.face.sample(Some(way));
            }
            Step::Give { which } => self.give(which),
            Step::Take => {
                let taken = self.lock().pop();
                if let Some(block) = taken {
                    self.keep(block);
                }
            }
            Step::Walk => self.walk(),
            Step::Check => self.check(),
        }
    }

    #[track_caller]
    fn fail(&self, text: std::fmt::Arguments<'_>) -> ! {
        panic!("{text}, on thread {} at {:?}", self.thread, self.step);
    }

    fn pick(&self, which: u8) -> Option<usize> {
        // So that each block has its turn, and the newest ones are simple to name.
        let count = self.blocks.len();
        let spread = if count > 256 { count / 256 + 1 } else { 1 };
        (count > 0).then(|| count - 1 - usize::from(which) * spread % count)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Block>> {
        self.exchange.0.lock().expect("nobody panics with it")
    }

    fn heap(&self, slot: Option<usize>) -> Option<&F::Heap> {
        slot.and_then(|slot| self.heaps[slot].as_ref()).map(|slot| &slot.heap)
    }

    fn have_heap(&mut self, slot: usize, flavour: u8) {
        if self.heaps[slot].is_none() {
            let flavours = [Flavour::Plain, Flavour::Zeroed, Flavour::Limited(HEAP_LIMIT), Flavour::InArena];
            let flavour = flavours[usize::from(flavour >> 2 & 3)];
            let Some(heap) = self.face.new_heap(flavour) else {
                self.fail(format_args!("no memory for a heap"));
            };
            self.done.operations += 1;
            self.heaps[slot] = Some(Slot { heap, flavour });
        }
    }

    /// A request that costs no gigabytes; `None` if there is enough in use already. `moved`: bytes that may have to be copied.
    fn affordable(&self, mut request: Request, moved: usize) -> Option<Request> {
        let bytes = request.size.max(moved);
        if bytes >= HUGE_BYTES {
            let huge = self.blocks.iter().filter(|block| block.size >= HUGE_BYTES).count();
            if huge >= HUGE_MAX || moved >= HUGE_BYTES && request.size >= HUGE_BYTES {
                return None;
            }
            request.zeroed = Zeroed::No;
        } else if self.bytes + bytes > BYTES_MAX {
            return None;
        }
        if !self.done.operations.is_multiple_of(16) {
            if request.size > CLEARED_BYTES_MAX {
                request.zeroed = Zeroed::No;
            }
            if moved.min(request.size) > CLEARED_BYTES_MAX {
                return None;
            }
        }
        (self.blocks.len() < BLOCKS_MAX).then_some(request)
    }

    fn allocate(&mut self, slot: Option<usize>, way: u8, request: Request) {
        let Some(request) = self.affordable(request, 0) else { return };
        let (heap_zeroes, may_refuse) = match slot.and_then(|slot| self.heaps[slot].as_ref()) {
            Some(heap) => (heap.zeroes(), heap.flavour.may_refuse()),
            None => (false, false),
        };
        if heap_zeroes && request.size >= HUGE_BYTES {
            return;
        }
        self.done.operations += 1;
        let given = self.face.allocate(self.heap(slot), way, request);
        if given.at.is_null() {
            if may_refuse {
                return;
            }
            self.fail(format_args!("{request:?} was refused"));
        }
        // SAFETY: the block of just now, here and below.
        let usable = unsafe { self.face.usable(given.at) };
        let zero_until = match request.zeroed {
            Zeroed::No if heap_zeroes => request.size,
            Zeroed::No => 0,
            Zeroed::Request => request.size,
            Zeroed::Whole => usable,
        };
        let block = Block {
            at: given.at,
            size: request.size,
            usable,
            align: given.align,
            by_layout: given.by_layout,
            heap: slot,
            seed: 0,
            written: 0,
            zero_from: if zero_until == usable { 0 } else { usable },
        };
        self.check_place(&block, request);
        // SAFETY: so much is usable.
        if let Some(byte) = unsafe { content::first_not_zero(block.at, 0, zero_until) } {
            self.fail(format_args!("byte {byte} of a block for {request:?} is not zero (to be {zero_until})"));
        }
        self.fill(block, way);
    }

    /// What holds of every block that was given.
    fn check_place(&self, block: &Block, request: Request) {
        let Block { at, usable, .. } = *block;
        if !at.addr().wrapping_add(request.offset).is_multiple_of(request.align) {
            self.fail(format_args!("{at:?} is not aligned for {request:?}"));
        }
        if usable < request.size {
            self.fail(format_args!("only {usable} bytes are usable of {request:?}"));
        }
        let end = at.addr() + usable.max(1);
        let before = self.ends.range(..end).next_back();
        if before.is_some_and(|(start, before_end)| *before_end > at.addr() && *start < end) {
            self.fail(format_args!("{:#x}..{end:#x} lies on {before:x?}, for {request:?}", at.addr()));
        }
        if !self.face.is_of(self.heap(block.heap), at) {
            self.fail(format_args!("{at:?} is not of heap {:?}", block.heap));
        }
    }

    /// Writes a block that is in no list, and takes it in.
    fn fill(&mut self, mut block: Block, way: u8) {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        block.seed = self.seed ^ block.at.addr() as u64;
        block.written = if way & 64 != 0 { block.usable } else { block.size };
        block.zero_from = block.zero_from.max(block.written);
        // SAFETY: so much is usable, and the block is ours.
        unsafe { content::write(block.at, block.written, block.seed) };
        self.keep(block);
    }

    fn keep(&mut self, block: Block) {
        self.bytes += block.size;
        self.ends.insert(block.at.addr(), block.at.addr() + block.usable.max(1));
        self.blocks.push(block);
    }

    fn take(&mut self, at: usize) -> Block {
        let block = self.blocks.swap_remove(at);
        self.bytes -= block.size;
        self.ends.remove(&block.at.addr());
        block
    }

    /// What holds of a block as long as nobody does anything to it.
    fn look(&self, block: &Block) {
        // SAFETY: a block in use.
        unsafe {
            let usable = self.face.usable(block.at);
            if usable != block.usable {
                self.fail(format_args!("{:?}: {usable} bytes are usable, they were {}", block.at, block.usable));
            }
            self.check_contents(block.at, block, block.written);
        }
    }

    /// # Safety
    /// - So many bytes from `at` on may be read.
    unsafe fn check_contents(&self, at: *const u8, block: &Block, until: usize) {
        // SAFETY: the caller's duty.
        if let Some(byte) = unsafe { content::first_wrong(at, block.written, until, block.seed) } {
            self.fail(format_args!(
                "byte {byte} of {at:?} ({} bytes, {} written, was at {:?}) is not what was written",
                block.size, block.written, block.at
            ));
        }
    }

    fn free(&mut self, at: usize, way: u8) {
        self.look(&self.blocks[at]);
        let block = self.take(at);
        self.done.operations += 1;
        // SAFETY: out of the list: nobody uses it any more.
        unsafe { self.face.free(self.heap(block.heap), way, block.known()) };
    }

    fn reallocate(&mut self, slot: Option<usize>, which: u8, way: u8, mut request: Request) {
        let Some(index) = self.pick(which) else { return };
        let moved = self.blocks[index].size;
        if way & 128 != 0 {
            // As most programs do: the alignment stays.
            (request.align, request.offset) = (self.blocks[index].align, 0);
        }
        let Some(request) = self.affordable(request, moved) else { return };
        let heap = slot.and_then(|slot| self.heaps[slot].as_ref());
        let (zeroes, may_refuse) = heap.map_or((false, false), |heap| (heap.zeroes(), heap.flavour.may_refuse()));
        if zeroes && request.size.max(moved) >= HUGE_BYTES {
            return;
        }
        self.look(&self.blocks[index]);
        let old = self.take(index);
        self.done.operations += 1;
        // SAFETY: a block in use, and ours.
        let given = unsafe { self.face.reallocate(self.heap(slot), old.heap == slot, way, old.known(), request) };
        if given.at.is_null() {
            if !may_refuse {
                self.fail(format_args!("{request:?} was refused to a block of {}", old.size));
            }
            self.look(&old);
            return self.keep(old);
        }
        // SAFETY: the block of just now.
        let usable = unsafe { self.face.usable(given.at) };
        let is_same = given.at == old.at;
        // Which bytes read zero, by what was promised; see the model's fields.
        let rezeroed = given.rezeroed || zeroes && !given.by_layout;
        let zero_from = match (rezeroed, is_same) {
            (true, true) => old.zero_from.min(usable),
            (true, false) => old.zero_from.min(old.usable.min(request.size)),
            (false, true) if usable <= old.usable => old.zero_from.min(usable),
            (false, _) => usable,
        };
        let block = Block {
            at: given.at,
            size: request.size,
            usable,
            align: given.align,
            by_layout: given.by_layout,
            heap: if is_same { old.heap } else { slot },
            seed: old.seed,
            written: old.written,
            zero_from,
        };
        self.check_place(&block, request);
        // SAFETY: so much is usable.
        unsafe {
            self.check_contents(block.at, &old, old.size.min(block.size));
            let from = if zeroes && given.by_layout { old.size.max(old.written.min(block.size)) } else { zero_from };
            let until = if zeroes && given.by_layout { block.size } else { usable };
            if let Some(byte) = content::first_not_zero(block.at, from, until) {
                self.fail(format_args!(
                    "byte {byte} of a block of {} ({} usable) that became {request:?} is not zero (from {from} to {until})",
                    old.size, old.usable
                ));
            }
        }
        self.fill(block, way);
    }

    fn expand(&mut self, which: u8, size: usize) {
        let Some(index) = self.pick(which) else { return };
        let no = Request { size, align: 1, offset: 0, zeroed: Zeroed::No };
        if self.affordable(no, self.blocks[index].size).is_none() {
            return;
        }
        self.look(&self.blocks[index]);
        let mut block = self.take(index);
        self.done.operations += 1;
        // SAFETY: a block in use, and ours.
        unsafe {
            let is_done = self.face.expand(block.at, size);
            let usable = self.face.usable(block.at);
            if is_done && usable < size || usable < block.usable || !is_done && size <= block.usable {
                self.fail(format_args!("expanded: {is_done}; {usable} bytes are usable, {} were", block.usable));
            }
            self.check_contents(block.at, &block, block.written);
            if is_done {
                if usable != block.usable {
                    block.zero_from = usable;
                }
                (block.size, block.usable, block.by_layout) = (size.max(block.size), usable, false);
                self.check_place(&block, Request { size, align: 1, offset: 0, zeroed: Zeroed::No });
            }
        }
        self.keep(block);
    }

    /// Checks and forgets all blocks of a heap.
    fn forget(&mut self, slot: usize) {
        for at in (0..self.blocks.len()).rev() {
            if self.blocks[at].heap == Some(slot) {
                self.look(&self.blocks[at]);
                self.take(at);
            }
        }
    }

    fn give(&mut self, which: u8) {
        let Some(at) = self.pick(which).filter(|at| self.blocks[*at].heap.is_none()) else { return };
        if self.lock().len() < EXCHANGE_MAX && self.blocks[at].size < HUGE_BYTES {
            let block = self.take(at);
            self.lock().push(block);
        }
    }

    fn walk(&mut self) {
        if !self.is_alone {
            return;
        }
        let mut told = Vec::new();
        // SAFETY: all threads of the crew wait, and nothing else runs.
        if !unsafe { self.face.walk(&mut |at, bytes| told.push((at, at + bytes))) } {
            return;
        }
        let given = self.lock();
        let all = self.blocks.iter().chain(given.iter());
        let mut known: Vec<_> = all.map(|block| (block.at.addr(), block.at.addr() + block.usable)).collect();
        drop(given);
        known.sort_unstable();
        told.sort_unstable();
        self.done.walked += known.len() as u64;
        // Blocks at an offset are told with all of their place.
        let differs = |(told, known): &(&(usize, usize), &(usize, usize))| told.0 > known.0 || told.1 < known.1;
        if let Some((told, known)) = told.iter().zip(&known).find(differs) {
            self.fail(format_args!("a walk told {told:x?} where there is {known:x?}"));
        }
        if told.len() != known.len() {
            self.fail(format_args!("a walk told {} blocks, there are {}", told.len(), known.len()));
        }
    }

    fn check(&mut self) {
        if self.is_alone {
            // SAFETY: all threads of the crew wait, and nothing else runs.
            self.done.checks += u64::from(unsafe { self.face.check() });
        }
    }

    /// Checks the contents of all that is left, and frees it.
    pub(crate) fn finish(&mut self) {
        self.step = None;
        self.face.sample(None);
        while !self.blocks.is_empty() {
            self.free(self.blocks.len() - 1, self.blocks.len() as u8);
        }
        for slot in &mut self.heaps {
            if let Some(heap) = slot.take() {
                self.face.destroy(heap.heap);
            }
        }
        if self.is_alone {
            let left = std::mem::take(&mut *self.lock());
            left.into_iter().for_each(|block| self.keep(block));
            while !self.blocks.is_empty() {
                self.free(0, 0);
            }
        }
    }
}

impl<F: Face> Drop for Run<'_, F> {
    /// After a failure: leaves no block behind, so that smaller programs are tried in a process as it was.
    fn drop(&mut self) {
        self.face.sample(None);
        for block in self.blocks.drain(..).filter(|block| block.heap.is_none()) {
            // SAFETY: a block in use, as far as can be told after a failure.
            unsafe { self.face.free(None, 4, Known { by_layout: false, ..block.known() }) };
        }
        for slot in &mut self.heaps {
            if let Some(heap) = slot.take() {
                self.face.destroy(heap.heap);
            }
        }
    }
}
