//! The C library as a face: loaded beside the crate, a second allocator in the process.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::{size_of, transmute_copy};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::face::{Face, Flavour, Given, Known};
use crate::step::{Request, Zeroed};

/// What C's functions align to.
const C_ALIGN: usize = 16;

/// `tessalloc_heap_options_t`.
#[repr(C)]
#[expect(missing_docs, reason = "the header's names")]
pub struct HeapOptions {
    pub struct_bytes: u32,
    pub zeroed: u32,
    pub name: *const c_char,
    pub tag: u64,
    pub soft_limit_bytes: u64,
    pub hard_limit_bytes: u64,
    pub on_limit: *const c_void,
    pub on_limit_argument: *const c_void,
    pub arena: *mut c_void,
}

type Block = *mut c_void;

/// A heap of the library's.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap(pub *mut c_void);

type Visitor = unsafe extern "C" fn(page: *const c_void, block: Block, bytes: usize, argument: *mut c_void) -> c_int;

macro_rules! library {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of the library that programs use, by their names in C.
        #[derive(Clone, Copy)]
        #[expect(missing_docs, reason = "the header's names")]
        pub struct Library { $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Library {
            /// Loads a file; panics if it can't be loaded or lacks a function.
            pub fn open(path: &str) -> Library {
                let file = CString::new(path).expect("a path");
                // SAFETY: a library of this project, whose constructors may run at any time; never closed.
                let library = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                // SAFETY: what `dlerror` tells is a text.
                assert!(!library.is_null(), "cannot load {path}: {:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
                let find = |name: &str| {
                    let text = CString::new(name).expect("a name");
                    // SAFETY: the library was loaded above.
                    let symbol = unsafe { libc::dlsym(library, text.as_ptr()) };
                    assert!(!symbol.is_null(), "{path} has no {name}");
                    symbol
                };
                // SAFETY: the types are those of the header.
                unsafe { Library { $($name: transmute_copy(&find(stringify!($name))),)* } }
            }
        }
    };
}

library! {
    malloc(usize) -> Block;
    calloc(usize, usize) -> Block;
    realloc(Block, usize) -> Block;
    reallocarray(Block, usize, usize) -> Block;
    free(Block);
    free_sized(Block, usize);
    free_aligned_sized(Block, usize, usize);
    aligned_alloc(usize, usize) -> Block;
    memalign(usize, usize) -> Block;
    posix_memalign(*mut Block, usize, usize) -> c_int;
    valloc(usize) -> Block;
    pvalloc(usize) -> Block;
    malloc_usable_size(Block) -> usize;
    mallopt(c_int, c_int) -> c_int;
    malloc_trim(usize) -> c_int;
    tessalloc_malloc(usize) -> Block;
    tessalloc_calloc(usize, usize) -> Block;
    tessalloc_realloc(Block, usize) -> Block;
    tessalloc_free(Block);
    tessalloc_usable_size(Block) -> usize;
    tessalloc_good_size(usize) -> usize;
    tessalloc_is_ours(*const c_void) -> c_int;
    tessalloc_purge() -> usize;
    tessalloc_zalloc(usize) -> Block;
    tessalloc_mallocn(usize, usize) -> Block;
    tessalloc_zallocn(usize, usize) -> Block;
    tessalloc_malloc_aligned(usize, usize) -> Block;
    tessalloc_zalloc_aligned(usize, usize) -> Block;
    tessalloc_calloc_aligned(usize, usize, usize) -> Block;
    tessalloc_malloc_aligned_at(usize, usize, usize) -> Block;
    tessalloc_zalloc_aligned_at(usize, usize, usize) -> Block;
    tessalloc_calloc_aligned_at(usize, usize, usize, usize) -> Block;
    tessalloc_reallocn(Block, usize, usize) -> Block;
    tessalloc_reallocf(Block, usize) -> Block;
    tessalloc_reallocarr(*mut c_void, usize, usize) -> c_int;
    tessalloc_rezalloc(Block, usize) -> Block;
    tessalloc_recalloc(Block, usize, usize) -> Block;
    tessalloc_realloc_aligned(Block, usize, usize) -> Block;
    tessalloc_rezalloc_aligned(Block, usize, usize) -> Block;
    tessalloc_recalloc_aligned(Block, usize, usize, usize) -> Block;
    tessalloc_realloc_aligned_at(Block, usize, usize, usize) -> Block;
    tessalloc_rezalloc_aligned_at(Block, usize, usize, usize) -> Block;
    tessalloc_recalloc_aligned_at(Block, usize, usize, usize, usize) -> Block;
    tessalloc_expand(Block, usize) -> Block;
    tessalloc_malloc_sized(usize, *mut usize) -> Block;
    tessalloc_zalloc_aligned_sized(usize, usize, *mut usize) -> Block;
    tessalloc_free_size(Block, usize);
    tessalloc_free_aligned(Block, usize);
    tessalloc_free_size_aligned(Block, usize, usize);
    tessalloc_malloc_batch(usize, *mut Block, usize) -> usize;
    tessalloc_free_batch(*const Block, usize);
    tessalloc_strdup(*const c_char) -> *mut c_char;
    tessalloc_strndup(*const c_char, usize) -> *mut c_char;
    tessalloc_realpath(*const c_char, *mut c_char) -> *mut c_char;
    tessalloc_heap_main() -> Heap;
    tessalloc_heap_new_with(*const HeapOptions) -> Heap;
    tessalloc_heap_delete(Heap);
    tessalloc_heap_destroy(Heap);
    tessalloc_heap_clear(Heap);
    tessalloc_heap_purge(Heap) -> usize;
    tessalloc_heap_malloc(Heap, usize) -> Block;
    tessalloc_heap_mallocn(Heap, usize, usize) -> Block;
    tessalloc_heap_zalloc(Heap, usize) -> Block;
    tessalloc_heap_calloc(Heap, usize, usize) -> Block;
    tessalloc_heap_malloc_aligned_at(Heap, usize, usize, usize) -> Block;
    tessalloc_heap_zalloc_aligned_at(Heap, usize, usize, usize) -> Block;
    tessalloc_heap_realloc(Heap, Block, usize) -> Block;
    tessalloc_heap_reallocn(Heap, Block, usize, usize) -> Block;
    tessalloc_heap_rezalloc(Heap, Block, usize) -> Block;
    tessalloc_heap_realloc_aligned_at(Heap, Block, usize, usize, usize) -> Block;
    tessalloc_heap_rezalloc_aligned_at(Heap, Block, usize, usize, usize) -> Block;
    tessalloc_heap_malloc_batch(Heap, usize, *mut Block, usize) -> usize;
    tessalloc_heap_free(Heap, Block);
    tessalloc_heap_of(*const c_void) -> Heap;
    tessalloc_heap_contains(Heap, *const c_void) -> c_int;
    tessalloc_thread_idle();
    tessalloc_visit_blocks_exactly(c_int, u64, Visitor, *mut c_void, *mut usize) -> c_int;
    tessalloc_option_find(*const c_char) -> c_int;
    tessalloc_option_name(c_int) -> *const c_char;
    tessalloc_option_get(c_int) -> u64;
    tessalloc_option_set(c_int, u64) -> c_int;
    tessalloc_option_set_text(c_int, *const c_char) -> c_int;
    tessalloc_option_info(c_int, *mut c_void) -> c_int;
    tessalloc_ctl(*const c_char, *mut c_void, *mut usize, *const c_void, usize) -> c_int;
    tessalloc_profile_start(u64) -> c_int;
    tessalloc_profile_stop();
    tessalloc_buffer_over(*mut c_void, usize) -> *mut c_void;
    tessalloc_buffer_malloc(*mut c_void, usize) -> Block;
    tessalloc_buffer_calloc(*mut c_void, usize, usize) -> Block;
    tessalloc_buffer_aligned_alloc(*mut c_void, usize, usize) -> Block;
    tessalloc_buffer_realloc(*mut c_void, Block, usize) -> Block;
    tessalloc_buffer_free(*mut c_void, Block);
    tessalloc_buffer_usable_size(*mut c_void, *const c_void) -> usize;
    tessalloc_arena_reserve(usize, *const c_void) -> *mut c_void;
    tessalloc_arena_manage(*mut c_void, usize, *const c_void) -> *mut c_void;
    tessalloc_arena_release(*mut c_void) -> c_int;
    tessalloc_stats(*mut c_void);
}

impl Library {
    /// Loads what `TESSALLOC_TEST_LIBRARY` names, or what `npm run build` leaves.
    pub fn of_tests() -> Library {
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../npm/linux-x64-gnu/libtessalloc.so");
        Library::open(&std::env::var("TESSALLOC_TEST_LIBRARY").unwrap_or_else(|_| built.into()))
    }
}

/// The heap that a face's `None` means.
fn heap_or_main(library: &Library, heap: Option<&Heap>) -> Heap {
    // SAFETY: no duties.
    heap.copied().unwrap_or_else(|| unsafe { (library.tessalloc_heap_main)() })
}

// SAFETY: each function hands its duty on to the library's.
unsafe impl Face for Library {
    type Heap = Heap;

    fn new_heap(&self, flavour: Flavour) -> Option<Heap> {
        static ARENA: OnceLock<usize> = OnceLock::new();
        // SAFETY: null are the default options: an arena that everyone takes from.
        let arena =
            || ARENA.get_or_init(|| unsafe { (self.tessalloc_arena_reserve)(24 << 20, null()) }.expose_provenance());
        let options = HeapOptions {
            struct_bytes: size_of::<HeapOptions>() as u32,
            zeroed: u32::from(flavour == Flavour::Zeroed),
            name: null(),
            tag: 0,
            soft_limit_bytes: 0,
            hard_limit_bytes: if let Flavour::Limited(bytes) = flavour { bytes } else { 0 },
            on_limit: null(),
            on_limit_argument: null(),
            arena: match flavour {
                Flavour::InArena => std::ptr::with_exposed_provenance_mut(*arena()),
                _ => null_mut(),
            },
        };
        // SAFETY: the structure says how long it is.
        let heap = unsafe { (self.tessalloc_heap_new_with)(&options) };
        (!heap.0.is_null()).then_some(heap)
    }

    fn delete(&self, heap: Heap) {
        // SAFETY: a heap that stands, in this function and the others that take one.
        unsafe { (self.tessalloc_heap_delete)(heap) };
    }

    fn destroy(&self, heap: Heap) {
        // SAFETY: as above.
        unsafe { (self.tessalloc_heap_destroy)(heap) };
    }

    fn clear(&self, heap: &mut Heap) {
        // SAFETY: as above.
        unsafe { (self.tessalloc_heap_clear)(*heap) };
    }

    fn purge_heap(&self, heap: &Heap) {
        // SAFETY: as above.
        unsafe { (self.tessalloc_heap_purge)(*heap) };
    }

    fn purge(&self) {
        // SAFETY: no duties.
        unsafe { (self.tessalloc_purge)() };
    }

    fn idle(&self) {
        // SAFETY: no duties.
        unsafe { (self.tessalloc_thread_idle)() };
    }

    fn sample(&self, way: Option<u8>) {
        // SAFETY: no duties; null are the default options.
        unsafe {
            match way.map(|way| (way & 1, way)) {
                None | Some((0, _)) => (self.tessalloc_profile_stop)(),
                Some((_, way)) => drop((self.tessalloc_profile_start)(1 << (way >> 4))),
            }
        }
    }

    fn allocate(&self, heap: Option<&Heap>, way: u8, request: Request) -> Given {
        let Request { size, align, offset, zeroed } = request;
        let plain = offset & (align - 1) == 0;
        let is_c = plain && align <= C_ALIGN;
        let way = way & 15;
        let mut one = null_mut();
        // SAFETY: no duties but for heaps, which stand. The last of each row takes every request.
        let at = unsafe {
            match (heap, zeroed) {
                (None, Zeroed::No) if is_c && way == 0 => (self.malloc)(size),
                (None, Zeroed::No) if is_c && way == 1 => (self.tessalloc_malloc)(size),
                (None, Zeroed::No) if is_c && way == 2 => (self.tessalloc_mallocn)(size, 1),
                (None, Zeroed::No) if is_c && way == 3 => {
                    let mut usable = 0;
                    let block = (self.tessalloc_malloc_sized)(size, &mut usable);
                    assert_eq!(usable, (self.malloc_usable_size)(block), "tessalloc_malloc_sized({size})");
                    block
                }
                (None, Zeroed::No) if is_c && way == 4 => {
                    assert_eq!((self.tessalloc_malloc_batch)(size, &mut one, 1), 1, "a batch of {size}");
                    one
                }
                (None, Zeroed::No) if plain && way == 5 => (self.memalign)(align, size),
                (None, Zeroed::No) if plain && way == 6 && align >= 8 => {
                    assert_eq!((self.posix_memalign)(&mut one, align, size), 0, "posix_memalign({align}, {size})");
                    one
                }
                (None, Zeroed::No) if plain && way == 7 => (self.aligned_alloc)(align, size),
                (None, Zeroed::No) if plain && way == 8 && align <= 4096 => (self.valloc)(size),
                (None, Zeroed::No) if plain && way < 12 => (self.tessalloc_malloc_aligned)(size, align),
                (None, Zeroed::No) => (self.tessalloc_malloc_aligned_at)(size, align, offset),
                (None, Zeroed::Request) if is_c && way < 4 => (self.calloc)(1, size),
                (None, Zeroed::Request) if is_c && way < 8 => (self.tessalloc_calloc)(size, 1),
                (None, Zeroed::Request) if plain => (self.tessalloc_calloc_aligned)(size, 1, align),
                (None, Zeroed::Request) => (self.tessalloc_calloc_aligned_at)(1, size, align, offset),
                (None, Zeroed::Whole) if is_c && way < 4 => (self.tessalloc_zalloc)(size),
                (None, Zeroed::Whole) if is_c && way < 6 => (self.tessalloc_zallocn)(1, size),
                (None, Zeroed::Whole) if plain && way < 8 => {
                    let mut usable = 0;
                    (self.tessalloc_zalloc_aligned_sized)(size, align, &mut usable)
                }
                (None, Zeroed::Whole) if plain && way < 12 => (self.tessalloc_zalloc_aligned)(size, align),
                (None, Zeroed::Whole) => (self.tessalloc_zalloc_aligned_at)(size, align, offset),
                (Some(heap), Zeroed::No) if is_c && way < 4 => (self.tessalloc_heap_malloc)(*heap, size),
                (Some(heap), Zeroed::No) if is_c && way < 6 => (self.tessalloc_heap_mallocn)(*heap, size, 1),
                (Some(heap), Zeroed::No) if is_c && way < 8 => {
                    (self.tessalloc_heap_malloc_batch)(*heap, size, &mut one, 1);
                    one
                }
                (Some(heap), Zeroed::No) => (self.tessalloc_heap_malloc_aligned_at)(*heap, size, align, offset),
                (Some(heap), Zeroed::Request) if is_c => (self.tessalloc_heap_calloc)(*heap, 1, size),
                (Some(heap), _) if is_c && way < 8 => (self.tessalloc_heap_zalloc)(*heap, size),
                (Some(heap), _) => (self.tessalloc_heap_zalloc_aligned_at)(*heap, size, align, offset),
            }
        };
        if plain && !at.is_null() {
            assert!(at.addr().is_multiple_of(C_ALIGN), "{at:?} is not aligned as C has it, for {request:?}");
        }
        Given { at: at.cast(), by_layout: false, align, rezeroed: false }
    }

    unsafe fn reallocate(&self, heap: Option<&Heap>, _: bool, way: u8, block: Known, request: Request) -> Given {
        let Request { size, align, offset, zeroed } = request;
        let plain = offset & (align - 1) == 0;
        // Size 0 frees in C's own functions.
        let is_c = plain && align <= C_ALIGN && size > 0;
        let (whole, way, at) = (zeroed == Zeroed::Whole, way & 7, block.at.cast());
        // SAFETY: the caller's duty.
        let at = unsafe {
            match heap {
                None if whole && is_c && way < 3 => (self.tessalloc_rezalloc)(at, size),
                None if whole && is_c && way < 6 => (self.tessalloc_recalloc)(at, size, 1),
                None if whole && plain => (self.tessalloc_rezalloc_aligned)(at, size, align),
                None if whole => (self.tessalloc_recalloc_aligned_at)(at, 1, size, align, offset),
                None if is_c && way == 0 => (self.realloc)(at, size),
                None if is_c && way == 1 => (self.reallocarray)(at, size, 1),
                None if is_c && way == 2 => (self.tessalloc_realloc)(at, size),
                None if is_c && way == 3 => (self.tessalloc_reallocn)(at, 1, size),
                None if is_c && way == 4 => (self.tessalloc_reallocf)(at, size),
                None if is_c && way == 5 => {
                    let mut place = at;
                    let error = (self.tessalloc_reallocarr)((&raw mut place).cast(), size, 1);
                    assert_eq!(error, 0, "tessalloc_reallocarr to {size}");
                    place
                }
                None if plain => (self.tessalloc_realloc_aligned)(at, size, align),
                None => (self.tessalloc_realloc_aligned_at)(at, size, align, offset),
                Some(heap) if whole && is_c && way < 4 => (self.tessalloc_heap_rezalloc)(*heap, at, size),
                Some(heap) if whole => (self.tessalloc_heap_rezalloc_aligned_at)(*heap, at, size, align, offset),
                Some(heap) if is_c && way < 3 => (self.tessalloc_heap_realloc)(*heap, at, size),
                Some(heap) if is_c && way < 6 => (self.tessalloc_heap_reallocn)(*heap, at, size, 1),
                Some(heap) => (self.tessalloc_heap_realloc_aligned_at)(*heap, at, size, align, offset),
            }
        };
        Given { at: at.cast(), by_layout: false, align, rezeroed: whole }
    }

    unsafe fn expand(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: the caller's duty.
        unsafe { !(self.tessalloc_expand)(block.cast(), size).is_null() }
    }

    unsafe fn free(&self, heap: Option<&Heap>, way: u8, block: Known) {
        let (at, size) = (block.at.cast(), block.size);
        // SAFETY: the caller's duty.
        unsafe {
            match (way & 7, heap) {
                (0 | 1, Some(heap)) => (self.tessalloc_heap_free)(*heap, at),
                (0 | 2, _) => (self.free)(at),
                (1, None) => (self.tessalloc_heap_free)(heap_or_main(self, heap), at),
                (3, _) => (self.free_sized)(at, size),
                (4, _) => (self.tessalloc_free)(at),
                (5, _) => (self.tessalloc_free_size)(at, size),
                (6, _) => (self.tessalloc_free_size_aligned)(at, size, block.align),
                _ => (self.tessalloc_free_batch)([at, null_mut()].as_ptr(), 2),
            }
        }
    }

    unsafe fn usable(&self, block: *mut u8) -> usize {
        // SAFETY: the caller's duty.
        unsafe { (self.malloc_usable_size)(block.cast()) }
    }

    unsafe fn walk(&self, mut tell: &mut dyn FnMut(usize, usize)) -> bool {
        unsafe extern "C" fn visit(_: *const c_void, block: Block, bytes: usize, argument: *mut c_void) -> c_int {
            // SAFETY: the argument given below.
            unsafe { (*argument.cast::<&mut dyn FnMut(usize, usize)>())(block.addr(), bytes) };
            1
        }
        let mut skipped = 0;
        // SAFETY: the caller's duty; the argument lives until the call returns.
        let is_done =
            unsafe { (self.tessalloc_visit_blocks_exactly)(0, 0, visit, (&raw mut tell).cast(), &mut skipped) };
        assert_eq!(is_done, 1, "a walk goes to its end");
        skipped == 0
    }

    fn is_of(&self, heap: Option<&Heap>, block: *mut u8) -> bool {
        // SAFETY: heaps that stand, and a block in use.
        unsafe {
            let of = (self.tessalloc_heap_of)(block.cast());
            of == heap_or_main(self, heap) && (self.tessalloc_heap_contains)(of, block.cast()) == 1
        }
    }

    unsafe fn check(&self) -> bool {
        false
    }
}
