//! First-class heaps, as Rust programs use them.

use core::alloc::Layout;
use core::ffi::{CStr, c_void};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::arena::Arena;
use crate::first_class::{self, Core, End, LIMIT_SOFT, Limit, NAME_BYTES, Settings};
use crate::raw;
use crate::size_class::SizeClass;
use crate::stats::of_heap::HeapStats;
use crate::stats::pages::PageStats;
use crate::stats::text::HeapSnapshot;
use crate::sync::tls;
use crate::thread;

mod extra;

pub use crate::first_class::BlockInfo;

/// Memory is out, or the heap's hard limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("cannot allocate: memory is out, or the heap's limit is reached")
    }
}

impl core::error::Error for OutOfMemory {}

/// Which limit a heap has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// The heap has passed its soft limit; allocation goes on. Told again only after it has fallen below.
    Soft,
    /// The request does not fit below the hard limit. It is tried once more after the call, and then fails.
    Hard,
}

/// What a heap was when it reached a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// The heap's tag.
    pub tag: u64,
    /// Which one.
    pub kind: LimitKind,
    /// Bytes that the heap has handed out.
    pub allocated_bytes: u64,
    /// Bytes of the request.
    pub wanted_bytes: u64,
}

/// What a heap is made with. All is optional.
///
/// ```
/// use tessalloc::{Heap, HeapOptions};
/// let heap: Heap = HeapOptions::new().name("sessions").hard_limit(64 << 20).build()?;
/// assert_eq!(heap.name(), "sessions");
/// # Ok::<(), tessalloc::OutOfMemory>(())
/// ```
#[derive(Clone, Copy)]
pub struct HeapOptions(Settings);

impl Default for HeapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapOptions {
    /// No name, no limits, any memory.
    pub const fn new() -> Self {
        Self(Settings {
            name: [0; NAME_BYTES + 1],
            tag: 0,
            soft: u64::MAX,
            hard: u64::MAX,
            on_limit: None,
            zeroes: false,
            region: core::ptr::null(),
        })
    }

    /// A name for reports; its first 32 bytes are kept, up to a whole character.
    #[must_use]
    pub const fn name(mut self, name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut len = if bytes.len() < NAME_BYTES { bytes.len() } else { NAME_BYTES };
        // A character is kept whole or not at all.
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        self.0.name = [0; NAME_BYTES + 1];
        let mut i = 0;
        while i < len {
            self.0.name[i] = bytes[i];
            i += 1;
        }
        self
    }

    /// A number of the caller's choice, to find the heap again in reports.
    #[must_use]
    pub const fn tag(mut self, tag: u64) -> Self {
        self.0.tag = tag;
        self
    }

    /// Above so many bytes handed out, [`HeapOptions::on_limit`] is told.
    #[must_use]
    pub const fn soft_limit(mut self, bytes: u64) -> Self {
        self.0.soft = bytes;
        self
    }

    /// Allocations fail that would take the heap above so many bytes handed out. Blocks on threads' stacks count as handed out (at
    /// most 512 KiB a thread); several threads that allocate at the same moment may pass it by a refill (8 KiB) each.
    #[must_use]
    pub const fn hard_limit(mut self, bytes: u64) -> Self {
        self.0.hard = bytes;
        self
    }

    /// What is called at a limit, on the thread that allocates, outside all locks: it may allocate and free, from this heap too.
    #[must_use]
    pub fn on_limit(mut self, call: fn(LimitReached)) -> Self {
        self.0.on_limit = Some(Limit { call: call_rust, argument: call as *mut c_void });
        self
    }

    /// As [`HeapOptions::on_limit`], as C has it. `call` gets the heap as [`Heap::into_raw`] gives it, 1 for the soft limit and 2
    /// for the hard one, the bytes of the request, and `argument`.
    ///
    /// # Safety
    /// - As long as the heap stands, `call` may be called with these on any thread.
    #[must_use]
    pub const unsafe fn on_limit_raw(
        mut self,
        call: unsafe extern "C" fn(heap: *mut c_void, kind: u32, wanted_bytes: u64, argument: *mut c_void),
        argument: *mut c_void,
    ) -> Self {
        self.0.on_limit = Some(Limit { call, argument });
        self
    }

    /// Blocks read zero, by whatever function they are allocated.
    #[must_use]
    pub const fn zeroed(mut self, zeroes: bool) -> Self {
        self.0.zeroes = zeroes;
        self
    }

    /// Makes the heap in an arena, shared or exclusive: its blocks lie there, and where it is full the heap is out of memory. The arena
    /// can't be released before the heap has ended. Blocks that a deleted heap leaves stay where they are; until all blocks of such
    /// a page are freed, the page serves the default heap.
    ///
    /// ```
    /// use tessalloc::{Arena, ArenaOptions, HeapOptions};
    /// # use std::alloc::Layout;
    /// let arena = Arena::reserve(64 << 20, &ArenaOptions::new().exclusive(true))?;
    /// let heap = HeapOptions::new().name("textures").build_in(&arena)?;
    /// let block = heap.alloc(Layout::new::<[u8; 4096]>()).expect("room");
    /// assert!(arena.contains(block.as_ptr()));
    /// heap.destroy();
    /// arena.release().map_err(|(_, error)| error)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`]: for the heap itself; an arena that is full already is no error yet.
    pub fn build_in(mut self, arena: &Arena) -> Result<Heap, OutOfMemory> {
        self.0.region = arena.region();
        self.build()
    }

    /// Makes the heap. Cost: well below a microsecond.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn build(self) -> Result<Heap, OutOfMemory> {
        let core = NonNull::new(first_class::create(self.0)).ok_or(OutOfMemory)?;
        // SAFETY: the heap was made just now.
        let id = unsafe { core.as_ref().id.get() };
        Ok(Heap { core, id, zeroes: self.0.zeroes })
    }
}

unsafe extern "C" fn call_rust(heap: *mut c_void, kind: u32, wanted: u64, argument: *mut c_void) {
    // SAFETY: `on_limit` stored a function of this type; the heap stands, since it is being allocated from.
    let (call, core) =
        unsafe { (core::mem::transmute::<*mut c_void, fn(LimitReached)>(argument), &*heap.cast::<Core>()) };
    let kind = if kind == LIMIT_SOFT { LimitKind::Soft } else { LimitKind::Hard };
    call(LimitReached { tag: core.settings.tag, kind, allocated_bytes: core.allocated(), wanted_bytes: wanted });
}

/// A first-class heap: blocks that belong together, from any thread, and that can go at once.
///
/// Dropping a heap is [`Heap::delete`]: blocks in use stay. [`Heap::destroy`] and [`Heap::clear`] free all of them.
/// Blocks may be freed by the heap, on any thread, or as any other block. Cost: made, used once and destroyed in well below a
/// microsecond; 4 KiB for each thread that uses the heap, and 64 KiB of address space for each size class in use, of which what was
/// used is resident. A thread's later allocations and frees cost what those of the default heap cost, and a look into a table.
///
/// ```
/// use std::alloc::Layout;
/// use tessalloc::Heap;
/// let heap = Heap::new()?;
/// let block = heap.alloc(Layout::new::<[u64; 8]>()).expect("memory");
/// assert!(heap.contains(block.as_ptr()));
/// heap.destroy();
/// # Ok::<(), tessalloc::OutOfMemory>(())
/// ```
pub struct Heap {
    core: NonNull<Core>,
    id: u64,
    zeroes: bool,
}

// SAFETY: F5, F6: all of a heap is behind locks, gates or a thread's lease.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

/// Which heap a block is of: comparable, never reused in a process. Ids say nothing about whether the heap still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeapId(u64);

impl HeapId {
    /// The default heap's.
    pub const DEFAULT: HeapId = HeapId(0);

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id with a number, as [`HeapId::get`] gave it.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Heap {
    /// A heap without name and limits.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Heap, OutOfMemory> {
        HeapOptions::new().build()
    }

    /// Runs `work` with a heap that is destroyed at the end, whatever is left in it: nothing in it can be referred to from outside.
    ///
    /// # Errors
    /// [`OutOfMemory`] if the heap can't be made.
    pub fn scope<R>(work: impl for<'heap> FnOnce(&'heap Heap) -> R) -> Result<R, OutOfMemory> {
        /// Destroys the heap on every way out.
        struct Ending(ManuallyDrop<Heap>);
        impl Drop for Ending {
            fn drop(&mut self) {
                // SAFETY: dropped once, here.
                unsafe { ManuallyDrop::take(&mut self.0) }.destroy();
            }
        }
        let heap = Ending(ManuallyDrop::new(Heap::new()?));
        Ok(work(&heap.0))
    }

    /// The heap as one pointer, for C or another place that keeps one word. The heap goes on: it is ended by what
    /// [`Heap::from_raw`] gives.
    pub fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).core.cast()
    }

    /// The heap behind a pointer of [`Heap::into_raw`], or of [`heap_at`]. Cost: two loads.
    ///
    /// # Safety
    /// - The pointer is of one of these, and the heap stands. Of all values for one heap at most one is dropped, deleted or destroyed,
    ///   as the last use of any of them; only the one that alone exists is borrowed `&mut`.
    #[inline]
    pub unsafe fn from_raw(heap: NonNull<c_void>) -> ManuallyDrop<Heap> {
        let core: NonNull<Core> = heap.cast();
        // SAFETY: the caller's duty: the heap stands.
        let (id, zeroes) = unsafe { (core.as_ref().id.get(), core.as_ref().settings.zeroes) };
        ManuallyDrop::new(Heap { core, id, zeroes })
    }

    /// The heap's id.
    pub fn id(&self) -> HeapId {
        HeapId(self.id)
    }

    /// The heap's name; empty if it has none.
    pub fn name(&self) -> &str {
        text_of(&self.core().settings.name)
    }

    /// As [`Heap::name`], as C has it; it lives as long as the heap.
    pub fn c_name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.core().settings.name).unwrap_or_default()
    }

    /// The number that the heap was made with; 0 if with none.
    pub fn tag(&self) -> u64 {
        self.core().settings.tag
    }

    /// Bytes handed out: in use, on threads' stacks (at most 512 KiB a thread) or on their way home.
    pub fn allocated_bytes(&self) -> u64 {
        self.core().allocated()
    }

    /// What the heap holds and has done. From any thread, but not inside of [`visit_heaps`]. Cost: a lock, and a step for each thread that uses the heap.
    pub fn stats(&self) -> HeapStats {
        // SAFETY: the heap stands while this value does.
        unsafe { first_class::stats_of(self.core.as_ptr()) }
    }

    /// The heap's figures by size class. From any thread. Cost: as for [`page_stats`](crate::page_stats): a look at every page of the
    /// process.
    pub fn page_stats(&self) -> PageStats {
        first_class::page_stats_of(self.core.as_ptr())
    }

    /// Writes the heap's figures as one JSON object, without allocating.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_json(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        self.snapshot().write_json(to)
    }

    /// Writes the heap's figures as lines to be read by people, without allocating.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn print_to(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        self.snapshot().write_lines(to)
    }

    fn snapshot(&self) -> HeapSnapshot<'_> {
        HeapSnapshot { name: self.name(), id: self.id, tag: self.tag(), stats: self.stats(), pages: self.page_stats() }
    }

    fn core(&self) -> &Core {
        // SAFETY: the heap stands while this value does.
        unsafe { self.core.as_ref() }
    }

    /// A block; `None` if memory is out or the hard limit is reached.
    #[inline]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.raw_alloc(layout.size(), layout.align(), self.zeroes))
    }

    /// A block that reads zero.
    #[inline]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.raw_alloc(layout.size(), layout.align(), true))
    }

    #[inline]
    fn raw_alloc(&self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        if let Some(record) = first_class::handle(tls::get(), self.id)
            && let Some(class) = SizeClass::of_layout(size, align)
        {
            let block = raw::pop_or_take(record.as_ptr().cast(), class);
            if !block.is_null() {
                if zeroed {
                    // SAFETY: the block is the caller's and holds so much.
                    unsafe { block.write_bytes(0, size) };
                }
                return block;
            }
        }
        // SAFETY: the heap stands while this value does.
        unsafe { first_class::alloc_slow(self.core.as_ptr(), size, align, zeroed) }
    }

    /// Frees a block of this heap: less work than for the global allocator's `dealloc`, which may be used as well.
    ///
    /// # Safety
    /// - The block is of this heap, allocated with this layout, and nobody uses it any more.
    #[inline]
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        let class = SizeClass::of_layout(layout.size(), layout.align());
        // SAFETY: the caller's duty; the record is this thread's.
        unsafe {
            if let Some(class) = class
                && let Some(record) = first_class::handle(tls::get(), self.id)
                && raw::push(record.as_ptr().cast(), class.index(), block.as_ptr())
            {
                return;
            }
            first_class::free_slow(self.core.as_ptr(), block.as_ptr(), class);
        }
    }

    /// Makes a block hold `size` bytes, in place if it can; else another block of this heap. `None` if memory is out: the block stays.
    ///
    /// # Safety
    /// - As for [`Heap::dealloc`]; when another block is returned, the old one is freed. `size` with the layout's alignment is a layout.
    pub unsafe fn realloc(&self, block: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller's duty.
        unsafe {
            let usable = thread::usable_bytes(block.as_ptr(), "realloc by a heap");
            let classes = [layout.size(), size].map(|size| SizeClass::of_layout(size, layout.align()));
            // What is freed by its layout must be of its class. A large block stays if at most half of it is lost.
            let stays = match classes {
                [Some(old), Some(new)] => old == new && size <= usable,
                [None, None] => size <= usable && size >= usable / 2,
                _ => false,
            };
            if stays {
                if self.zeroes && size > layout.size() {
                    block.as_ptr().add(layout.size()).write_bytes(0, size - layout.size());
                }
                return Some(block);
            }
            let new = NonNull::new(self.raw_alloc(size, layout.align(), self.zeroes))?;
            new.copy_from_nonoverlapping(block, layout.size().min(size));
            self.dealloc(block, layout);
            Some(new)
        }
    }

    /// Whether an address lies in a page or run of this heap.
    pub fn contains(&self, address: *const u8) -> bool {
        heap_of(address) == Some(self.id())
    }

    /// Frees all blocks; the heap keeps its pages for the next ones. Nothing in it is borrowed any more, as `&mut` shows.
    ///
    /// Who holds raw pointers to blocks must not use or free them after. Cost: one step for each page.
    pub fn clear(&mut self) {
        // SAFETY: `&mut`: nobody else allocates or frees by the heap; frees by other ways are unsafe calls whose duty it is to be of
        // blocks in use, and so to have returned.
        unsafe { first_class::clear(self.core.as_ptr()) };
    }

    /// Gives back to the system what the heap holds and nobody uses, as far as its threads are not inside the allocator at this
    /// moment. Returns bytes. (What becomes free slices goes back with [`crate::purge`] or by itself.)
    pub fn purge(&self) -> u64 {
        // SAFETY: the heap stands.
        unsafe { first_class::purge(self.core.as_ptr()) }
    }

    /// Visits all blocks in use, page by page; ends when `visit` returns false. Returns whether all were visited. Exact: `&mut` shows
    /// that nobody allocates or frees meanwhile; `visit` must not either. Cost: some ns for each block that was ever made.
    pub fn visit(&mut self, mut visit: impl FnMut(BlockInfo) -> bool) -> bool {
        // SAFETY: `&mut`, as in `clear`.
        unsafe { first_class::visit(self.core.as_ptr(), &mut visit) }
    }

    /// Ends the heap; blocks in use stay and are the default heap's from now on. As by dropping it.
    pub fn delete(self) {}

    /// Ends the heap with all its blocks. By value: nothing in it is borrowed any more.
    ///
    /// Who holds raw pointers to blocks must not use or free them after. Cost: one step for each page.
    pub fn destroy(self) {
        let heap = ManuallyDrop::new(self);
        // SAFETY: by value: as in `clear`.
        unsafe { first_class::end(heap.core.as_ptr(), End::Destroy) };
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: the last use: nobody allocates or frees by the heap any more.
        unsafe { first_class::end(self.core.as_ptr(), End::Delete) };
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Heap")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("allocated_bytes", &self.allocated_bytes())
            .finish()
    }
}

/// [`Heap::stats`] of the default heap: what the process has, less what the heaps that stand have. So its totals are with those of
/// heaps that have ended, and its peak is the process's. From any thread, but not inside of [`visit_heaps`].
pub fn default_heap_stats() -> HeapStats {
    first_class::stats_of_default()
}

/// [`Heap::page_stats`] of the default heap.
pub fn default_heap_page_stats() -> PageStats {
    first_class::page_stats_of(core::ptr::null())
}

/// [`Heap::write_json`] of the default heap.
///
/// # Errors
/// Those of `to`.
pub fn write_default_heap_json(to: &mut dyn fmt::Write) -> fmt::Result {
    default_snapshot().write_json(to)
}

/// [`Heap::print_to`] of the default heap.
///
/// # Errors
/// Those of `to`.
pub fn print_default_heap_to(to: &mut dyn fmt::Write) -> fmt::Result {
    default_snapshot().write_lines(to)
}

fn default_snapshot() -> HeapSnapshot<'static> {
    HeapSnapshot { name: "default", id: 0, tag: 0, stats: default_heap_stats(), pages: default_heap_page_stats() }
}

/// The heap that the block at an address is of; `None` for addresses that are in no block of ours. From any thread; the block is in
/// use meanwhile.
pub fn heap_of(address: *const u8) -> Option<HeapId> {
    first_class::id_of(address).map(HeapId)
}

/// The heap that the block at an address is of, for [`Heap::from_raw`]; `None` for the default heap's blocks and for addresses in no
/// block of ours. The block is in use meanwhile.
pub fn heap_at(address: *const u8) -> Option<NonNull<c_void>> {
    NonNull::new(first_class::core_of(address)?).map(NonNull::cast)
}

/// What a heap is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapInfo {
    /// The heap's id.
    pub id: HeapId,
    /// The number that it was made with.
    pub tag: u64,
    /// Bytes handed out.
    pub allocated_bytes: u64,
    name: [u8; NAME_BYTES + 1],
}

impl HeapInfo {
    /// The heap's name; empty if it has none.
    pub fn name(&self) -> &str {
        text_of(&self.name)
    }
}

fn text_of(name: &[u8; NAME_BYTES + 1]) -> &str {
    CStr::from_bytes_until_nul(name).unwrap_or_default().to_str().unwrap_or_default()
}

/// Visits all heaps but the default one, newest first; ends when `visit` returns false. From any thread. Heaps are neither made nor
/// ended meanwhile: `visit` must do neither, and neither allocate from a heap but the default one nor free a block of one.
pub fn visit_heaps(mut visit: impl FnMut(HeapInfo) -> bool) {
    first_class::visit_heaps(|core| {
        let id = HeapId(core.id.get());
        visit(HeapInfo { id, tag: core.settings.tag, allocated_bytes: core.allocated(), name: core.settings.name })
    });
}

/// As [`visit_heaps`], with what [`Heap::from_raw`] takes; it is not to be ended.
pub fn visit_raw_heaps(mut visit: impl FnMut(NonNull<c_void>) -> bool) {
    first_class::visit_heaps(|core| visit(NonNull::from(core).cast()));
}

/// How many heaps there are besides the default one.
pub fn heap_count() -> u64 {
    first_class::heap_count()
}
