//! What a program runs on: the Rust crate here, the C library in [`crate::library`].

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};
use std::sync::LazyLock;

use tessalloc::guarded::{self, GuardOptions};
use tessalloc::profile;
use tessalloc::raw::{self, SizedBlock};
use tessalloc::{Arena, ArenaOptions, Heap, HeapOptions, Tessalloc, Which};

use crate::step::{Request, Zeroed};

const C_ALIGN: usize = raw::C_ALIGN;

/// A block as far as a face needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its first byte.
    pub at: *mut u8,
    /// What was asked for last.
    pub size: usize,
    /// The alignment that was asked for first.
    pub align: usize,
    /// Whether the functions that want a layout take these two.
    pub by_layout: bool,
}

/// What an allocation or reallocation gave.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Null: refused.
    pub at: *mut u8,
    /// See [`Known::by_layout`].
    pub by_layout: bool,
    /// What was asked for: functions without an alignment ask for C's.
    pub align: usize,
    /// Whether all that is usable behind the old usable bytes reads zero (or, at an allocation, what was asked for does).
    pub rezeroed: bool,
}

/// What a heap is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Like the default one.
    Plain,
    /// Its blocks read zero.
    Zeroed,
    /// It hands out no more than so many bytes.
    Limited(u64),
    /// It has an arena to itself, and nothing beyond.
    InArena,
}

impl Flavour {
    /// Whether it may have no block though there is memory.
    pub fn may_refuse(self) -> bool {
        matches!(self, Flavour::Limited(_) | Flavour::InArena)
    }
}

/// The allocator's functions by what they do. `way` chooses among those that do the same; `heap` is `None` for the default heap.
///
/// # Safety
/// - Blocks are in use and of this face; heaps given with a block to be freed are the block's own.
pub unsafe trait Face {
    /// A first-class heap.
    type Heap;
    /// A heap.
    fn new_heap(&self, flavour: Flavour) -> Option<Self::Heap>;
    /// Its blocks become the default heap's.
    fn delete(&self, heap: Self::Heap);
    /// Its blocks are gone.
    fn destroy(&self, heap: Self::Heap);
    /// Its blocks are gone; it stays.
    fn clear(&self, heap: &mut Self::Heap);
    /// Gives memory back.
    fn purge_heap(&self, heap: &Self::Heap);
    /// Gives memory back, of the whole process.
    fn purge(&self);
    /// The calling thread has nothing to do for a while.
    fn idle(&self);
    /// Begins or ends a profile, or the guarding of blocks; both end for `None`.
    fn sample(&self, way: Option<u8>);
    /// A block.
    fn allocate(&self, heap: Option<&Self::Heap>, way: u8, request: Request) -> Given;
    /// The block with another size. `heap` is where it goes if it moves; `is_of_heap` says whether it is of that heap now.
    ///
    /// # Safety
    /// - As the trait's.
    unsafe fn reallocate(
        &self,
        heap: Option<&Self::Heap>,
        is_of_heap: bool,
        way: u8,
        block: Known,
        request: Request,
    ) -> Given;
    /// Makes it larger where it lies.
    ///
    /// # Safety
    /// - As the trait's.
    unsafe fn expand(&self, block: *mut u8, size: usize) -> bool;
    /// Frees it.
    ///
    /// # Safety
    /// - As the trait's.
    unsafe fn free(&self, heap: Option<&Self::Heap>, way: u8, block: Known);
    /// Bytes that may be used.
    ///
    /// # Safety
    /// - As the trait's.
    unsafe fn usable(&self, block: *mut u8) -> usize;
    /// Tells all blocks in use: address and bytes. False if some could not be looked at.
    ///
    /// # Safety
    /// - No other thread is inside the allocator.
    unsafe fn walk(&self, tell: &mut dyn FnMut(usize, usize)) -> bool;
    /// Whether the block is of the heap.
    fn is_of(&self, heap: Option<&Self::Heap>, block: *mut u8) -> bool;
    /// Walks all there is and panics where an invariant of the core does not hold. False where that is not compiled in.
    ///
    /// # Safety
    /// - No other thread is inside the allocator.
    unsafe fn check(&self) -> bool;
}

/// The Rust crate.
#[derive(Clone, Copy, Debug)]
pub struct Crate;

/// Where heaps of [`Flavour::InArena`] lie, all of them.
static ARENA: LazyLock<Arena> = LazyLock::new(|| {
    Arena::reserve(ARENA_BYTES, &ArenaOptions::new().name("programs").exclusive(true)).expect("address space")
});
const ARENA_BYTES: usize = 24 << 20;

/// A layout where there can be one: `GlobalAlloc` takes none of size 0.
fn layout(size: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(size, align).ok().filter(|layout| layout.size() > 0)
}

// SAFETY: each function hands its duty on to the crate's.
unsafe impl Face for Crate {
    type Heap = Heap;

    fn new_heap(&self, flavour: Flavour) -> Option<Heap> {
        let options = HeapOptions::new();
        match flavour {
            Flavour::Plain => options.build(),
            Flavour::Zeroed => options.zeroed(true).build(),
            Flavour::Limited(bytes) => options.hard_limit(bytes).build(),
            Flavour::InArena => options.build_in(&ARENA),
        }
        .ok()
    }

    fn delete(&self, heap: Heap) {
        heap.delete();
    }

    fn destroy(&self, heap: Heap) {
        heap.destroy();
    }

    fn clear(&self, heap: &mut Heap) {
        heap.clear();
    }

    fn purge_heap(&self, heap: &Heap) {
        heap.purge();
    }

    fn purge(&self) {
        tessalloc::purge();
    }

    fn idle(&self) {
        tessalloc::thread_idle();
    }

    fn sample(&self, way: Option<u8>) {
        match way.map(|way| (way & 3, way)) {
            None => {
                profile::stop();
                guarded::stop();
            }
            Some((0, _)) => profile::stop(),
            Some((1, _)) => guarded::stop(),
            Some((2, way)) => {
                profile::start(1 << (way >> 4)).expect("memory for a profile");
            }
            Some((_, way)) => {
                // Not to the byte: blocks would be less aligned than C has it.
                guarded::start(&GuardOptions::new().rate(1 << (way >> 6)).sizes(0, 1 << 20).seed(way.into()));
            }
        }
    }

    fn allocate(&self, heap: Option<&Heap>, way: u8, request: Request) -> Given {
        let Request { size, align, offset, zeroed } = request;
        let layout = layout(size, align);
        let is_c = align <= C_ALIGN && way & 1 == 1;
        let plain = offset & (align - 1) == 0;
        // C's functions ask for its alignment, whatever the request says. The last of each row takes every request.
        let mut asked = align;
        let mut c = |block| {
            asked = C_ALIGN;
            block
        };
        let at = match (heap, zeroed, layout) {
            (None, Zeroed::No, _) if plain && is_c && way & 6 == 0 => c(raw::malloc(size)),
            (None, Zeroed::No, _) if plain && is_c && way & 6 == 2 => c(raw::mallocn(size, 1)),
            (None, Zeroed::No, _) if plain && is_c && way & 6 == 4 => {
                let mut block = [null_mut()];
                raw::malloc_batch(size, &mut block);
                c(block[0])
            }
            // SAFETY: a layout with a size.
            (None, Zeroed::No, Some(layout)) if plain && way & 1 == 0 => unsafe { Tessalloc.alloc(layout) },
            (None, Zeroed::No, _) if plain && way & 6 == 0 => {
                let SizedBlock { block, usable_bytes } = raw::aligned_sized(size, align);
                // SAFETY: null, or the block.
                let usable = unsafe { raw::usable_size(block) };
                assert_eq!(usable_bytes, usable, "aligned_sized({size}, {align})");
                block
            }
            (None, Zeroed::No, _) => raw::aligned_at(size, align, offset),
            (None, Zeroed::Request, _) if plain && is_c => c(raw::calloc(size, 1)),
            // SAFETY: a layout with a size.
            (None, Zeroed::Request, Some(layout)) if plain => unsafe { Tessalloc.alloc_zeroed(layout) },
            (None, Zeroed::Request, _) if plain => raw::zeroed_aligned(size, align),
            (None, Zeroed::Whole, _) if plain && is_c => c(raw::zalloc(size)),
            (None, Zeroed::Whole, _) if plain && way & 2 == 0 => raw::zalloc_sized(size, align).block,
            (None, _, _) => raw::zalloc_aligned_at(size, align, offset),
            (Some(heap), Zeroed::No, _) if plain && is_c => c(heap.malloc(size)),
            (Some(heap), Zeroed::No, Some(layout)) if plain && way & 2 == 0 => {
                heap.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
            }
            (Some(heap), Zeroed::No, _) => heap.aligned_at(size, align, offset),
            (Some(heap), Zeroed::Request, Some(layout)) if plain => {
                heap.alloc_zeroed(layout).map_or(null_mut(), NonNull::as_ptr)
            }
            (Some(heap), _, _) if plain && is_c => c(heap.zalloc(size)),
            (Some(heap), _, _) => heap.zalloc_aligned_at(size, align, offset),
        };
        Given { at, by_layout: plain && layout.is_some(), align: asked, rezeroed: false }
    }

    unsafe fn reallocate(
        &self,
        heap: Option<&Heap>,
        is_of_heap: bool,
        way: u8,
        block: Known,
        request: Request,
    ) -> Given {
        let Request { size, align, offset, zeroed } = request;
        let (plain, is_c) = (offset & (align - 1) == 0, align <= C_ALIGN);
        let whole = zeroed == Zeroed::Whole;
        // SAFETY: the caller's duty.
        unsafe {
            if block.by_layout && is_of_heap && plain && !whole && align == block.align && size > 0 && way & 1 == 0 {
                let old = Layout::from_size_align_unchecked(block.size, block.align);
                let at = match heap {
                    None => Tessalloc.realloc(block.at, old, size),
                    Some(heap) => {
                        heap.realloc(NonNull::new_unchecked(block.at), old, size).map_or(null_mut(), NonNull::as_ptr)
                    }
                };
                return Given { at, by_layout: true, align, rezeroed: false };
            }
            let at = match heap {
                None if whole && plain && is_c && way & 2 == 0 => raw::rezalloc(block.at, size),
                None if whole && plain && is_c => raw::recalloc(block.at, size, 1),
                None if whole => raw::rezalloc_aligned_at(block.at, size, align, offset),
                None if plain && is_c && way & 6 == 0 => raw::realloc(block.at, size),
                None if plain && is_c && way & 6 == 2 => raw::realloc_sized(block.at, size).0.block,
                None if plain && is_c && way & 6 == 4 => raw::reallocn(block.at, 1, size),
                None => raw::realloc_aligned_at(block.at, size, align, offset),
                Some(heap) if whole => heap.rezalloc_aligned_at(block.at, size, align, offset),
                Some(heap) => heap.realloc_aligned_at(block.at, size, align, offset),
            };
            Given { at, by_layout: false, align, rezeroed: whole }
        }
    }

    unsafe fn expand(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: the caller's duty.
        unsafe { raw::expand(block, size) }
    }

    unsafe fn free(&self, heap: Option<&Heap>, way: u8, block: Known) {
        // SAFETY: the caller's duty.
        unsafe {
            match (heap, block.by_layout) {
                (None, true) if way & 1 == 0 => {
                    Tessalloc.dealloc(block.at, Layout::from_size_align_unchecked(block.size, block.align));
                }
                (Some(heap), true) if way & 1 == 0 => {
                    let layout = Layout::from_size_align_unchecked(block.size, block.align);
                    heap.dealloc(NonNull::new_unchecked(block.at), layout);
                }
                (Some(heap), _) if way & 3 == 1 => heap.free(block.at),
                _ if way & 7 == 3 => assert!(raw::free_if_ours(block.at), "a block in use is ours"),
                _ if way & 7 == 7 => raw::free_batch(&[block.at, null_mut()]),
                _ => raw::free(block.at),
            }
        }
    }

    unsafe fn usable(&self, block: *mut u8) -> usize {
        // SAFETY: the caller's duty.
        unsafe { raw::usable_size(block) }
    }

    unsafe fn walk(&self, tell: &mut dyn FnMut(usize, usize)) -> bool {
        // SAFETY: the caller's duty.
        let walked = unsafe {
            tessalloc::visit_blocks_exactly(Which::All, |_, block| {
                tell(block.address.addr(), block.bytes);
                true
            })
        };
        walked.skipped_pages == 0
    }

    fn is_of(&self, heap: Option<&Heap>, block: *mut u8) -> bool {
        tessalloc::heap_of(block) == Some(heap.map_or(tessalloc::HeapId::DEFAULT, Heap::id)) && raw::is_ours(block)
    }

    unsafe fn check(&self) -> bool {
        #[cfg(tessalloc_check)]
        // SAFETY: the caller's duty.
        unsafe {
            tessalloc::check_all();
        }
        cfg!(tessalloc_check)
    }
}
