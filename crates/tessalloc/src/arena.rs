//! Arenas: parts of the address space that the program reserves, or hands in, for blocks.
//!
//! | kind      | who takes from it                                                        |
//! |-----------|--------------------------------------------------------------------------|
//! | shared    | every allocation, before the allocator's own regions                     |
//! | exclusive | the heaps that are bound to it, nobody else                              |
//!
//! | memory                                   | made usable by          | given back while it is free by    |
//! |------------------------------------------|-------------------------|-----------------------------------|
//! | [`Arena::reserve`]                       | the system              | the system, unless `pinned`       |
//! | [`Arena::manage`], committed             | –                       | nobody                            |
//! | …, anonymous                             | the system              | the system, unless `pinned`       |
//! | …, with functions                        | the program's `commit`  | the program's `purge`, if any     |
//!
//! An arena is a region of its own (S6 in [`crate::region`]): an [`Arena`] is the one handle of it.

use core::ffi::{c_int, c_void};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::region::{
    ARENA_COUNT_MAX, ARENA_NAME_BYTES, REGION_BYTES_MAX, Region, SLICE_BYTES, Source, arena_from, begin_arena, text_of,
};
use crate::scavenger;

/// A program's own functions for the memory of an arena that it hands in.
///
/// They get whole slices of [`Arena::ALIGN`] bytes that nobody uses, from any thread, several at a time for different slices. They
/// are called inside the allocator: they must not allocate, free, unwind or wait for a thread that does.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ArenaFunctions {
    /// Makes memory usable: [`REFUSED`](Self::REFUSED), [`COMMITTED`](Self::COMMITTED) or [`ZEROED`](Self::ZEROED).
    pub commit: Option<unsafe extern "C" fn(memory: *mut c_void, bytes: usize, user: *mut c_void) -> c_int>,
    /// Takes memory back: 0 if it stays as it is, else `commit` is called before it is used again. `None`: never asked.
    pub purge: Option<unsafe extern "C" fn(memory: *mut c_void, bytes: usize, user: *mut c_void) -> c_int>,
    /// Handed to both.
    pub user: *mut c_void,
}

impl ArenaFunctions {
    /// No functions.
    pub const NONE: Self = Self { commit: None, purge: None, user: core::ptr::null_mut() };
    /// `commit` has no memory: the allocation is tried elsewhere, or fails.
    pub const REFUSED: c_int = 0;
    /// The memory is usable and may hold anything.
    pub const COMMITTED: c_int = 1;
    /// The memory is usable and reads zero.
    pub const ZEROED: c_int = 2;
}

/// What an arena is to be. The default: shared, without a name, committed as needed, purged.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions<'a> {
    pub(crate) name: &'a str,
    pub(crate) exclusive: bool,
    pub(crate) committed: bool,
    pub(crate) pinned: bool,
    pub(crate) huge_pages: bool,
    pub(crate) zeroed: bool,
    pub(crate) anonymous: bool,
    pub(crate) numa_node: Option<u32>,
    pub(crate) functions: ArenaFunctions,
}

impl Default for ArenaOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> ArenaOptions<'a> {
    /// The default.
    pub const fn new() -> Self {
        Self {
            name: "",
            exclusive: false,
            committed: false,
            pinned: false,
            huge_pages: false,
            zeroed: false,
            anonymous: false,
            numa_node: None,
            functions: ArenaFunctions::NONE,
        }
    }

    /// A name for reports; its first 32 bytes are kept, up to a whole character.
    #[must_use]
    pub const fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Whether only heaps that are bound to the arena take from it.
    #[must_use]
    pub const fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Reserved: all of it is made usable at once. Handed in: it is usable as it is.
    #[must_use]
    pub const fn committed(mut self, committed: bool) -> Self {
        self.committed = committed;
        self
    }

    /// Whether free memory stays as it is, and is never given back.
    #[must_use]
    pub const fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Reserved: all of it is made resident at once, in huge pages as far as the system can and will (Linux), and stays: what is
    /// reserved so is `committed` and `pinned` too. Handed in: no effect.
    #[must_use]
    pub const fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Handed in: it reads zero, so that zeroed blocks need not be cleared. What was reserved always does.
    #[must_use]
    pub const fn zeroed(mut self, zeroed: bool) -> Self {
        self.zeroed = zeroed;
        self
    }

    /// Handed in: it is a private anonymous mapping, which the system may commit and purge as if it were the allocator's own.
    /// Without it, and without functions, memory that was handed in is never given back: a purge would bring the contents of a
    /// file mapping back, and not clear them.
    #[must_use]
    pub const fn anonymous(mut self, anonymous: bool) -> Self {
        self.anonymous = anonymous;
        self
    }

    /// Reserved: the NUMA node from which memory should come while there is some (Linux; elsewhere it is only noted). Handed in: the
    /// node on which it lies, for [`Arena::numa_node`].
    #[must_use]
    pub const fn numa_node(mut self, node: Option<u32>) -> Self {
        self.numa_node = node;
        self
    }

    /// Handed in: functions of the program commit and purge it.
    #[must_use]
    pub const fn functions(mut self, functions: ArenaFunctions) -> Self {
        self.functions = functions;
        self
    }
}

/// Why an arena could not be made or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArenaError {
    /// Fewer bytes than a slice, or no whole slice lies in the memory that was handed in.
    TooSmall {
        /// Usable bytes.
        bytes: usize,
    },
    /// More bytes than a region may have, or than the address space has from there on.
    TooLarge {
        /// The bytes asked for.
        bytes: usize,
    },
    /// The memory handed in is at address 0.
    Null,
    /// The memory handed in can't become usable: it is neither committed nor anonymous, and no function commits it.
    NotCommitted,
    /// Memory that would be purged could not be committed again.
    PurgeWithoutCommit,
    /// Functions were given for memory that the allocator reserves itself.
    FunctionsForReserved,
    /// The memory handed in belongs to a region or an arena already.
    Overlap {
        /// Where it starts.
        address: usize,
        /// Where the other one starts.
        other: usize,
    },
    /// As many arenas live as may.
    TooMany,
    /// The allocator's own first region could not be reserved.
    NoFirstRegion,
    /// The system refused.
    Refused {
        /// The call that failed.
        call: &'static str,
        /// The system's code.
        code: i32,
    },
    /// Blocks of the arena are in use, or kept ready by a thread, or heaps are bound to it.
    InUse {
        /// Bytes of slices that are taken.
        bytes: u64,
        /// Heaps that are bound.
        heaps: u32,
    },
}

impl fmt::Display for ArenaError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAKE: &str = "Cannot make an arena: expected";
        match *self {
            Self::TooSmall { bytes } => {
                let least = Arena::BYTES_MIN;
                write!(to, "{MAKE} at least {least} bytes from a multiple of {least} on, received {bytes}")
            }
            Self::TooLarge { bytes } => write!(to, "{MAKE} at most {} bytes, received {bytes}", Arena::BYTES_MAX),
            Self::Null => write!(to, "{MAKE} memory, received null"),
            Self::NotCommitted => {
                write!(to, "{MAKE} memory that is committed or anonymous or has a commit function, received neither")
            }
            Self::PurgeWithoutCommit => write!(to, "{MAKE} a commit function beside the purge function, received none"),
            Self::FunctionsForReserved => {
                write!(to, "{MAKE} functions for memory that is handed in only, received some for a reservation")
            }
            Self::Overlap { address, other } => {
                write!(to, "{MAKE} memory of no other region, received {address:#x} which meets that at {other:#x}")
            }
            Self::TooMany => write!(to, "{MAKE} at most {} at a time, received one more", Arena::COUNT_MAX),
            Self::NoFirstRegion => write!(to, "{MAKE} address space for the allocator itself, received none"),
            Self::Refused { call, code } => write!(to, "{MAKE} memory from the system, received code {code} of {call}"),
            Self::InUse { bytes, heaps } => write!(
                to,
                "Cannot release an arena: expected nothing in it, received {bytes} bytes in use and {heaps} heaps bound"
            ),
        }
    }
}

impl core::error::Error for ArenaError {}

/// An arena: a part of the address space for blocks. It stays when its handle is dropped; [`Arena::release`] ends it.
///
/// A handle may be used from any thread.
///
/// ```
/// use tessalloc::{Arena, ArenaOptions};
///
/// let arena = Arena::reserve(64 << 20, &ArenaOptions::new().name("textures").exclusive(true))?;
/// assert_eq!(arena.area().1, 64 << 20);
/// arena.release().map_err(|(_, error)| error)?;
/// # Ok::<(), tessalloc::ArenaError>(())
/// ```
pub struct Arena {
    region: &'static Region,
}

impl fmt::Debug for Arena {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, bytes) = self.area();
        to.debug_struct("Arena")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("start", &start)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl Arena {
    /// Fewest bytes of an arena.
    pub const BYTES_MIN: usize = SLICE_BYTES;
    /// Most bytes of an arena.
    pub const BYTES_MAX: usize = REGION_BYTES_MAX;
    /// An arena starts at a multiple of it, and has a multiple of it as size. A power of two.
    pub const ALIGN: usize = SLICE_BYTES;
    /// Most arenas at a time.
    pub const COUNT_MAX: usize = ARENA_COUNT_MAX;

    /// Reserves address space for an arena; `bytes` is rounded up to a multiple of [`Arena::ALIGN`]. Memory is used as blocks are,
    /// unless the options say `committed`. Cost: some system calls.
    pub fn reserve(bytes: usize, options: &ArenaOptions<'_>) -> Result<Self, ArenaError> {
        check_options(options)?;
        if options.functions.commit.is_some() {
            return Err(ArenaError::FunctionsForReserved);
        }
        let slices = bytes.div_ceil(SLICE_BYTES);
        check_slices(slices, bytes)?;
        Ok(Self { region: begin_arena(Source::Reserve, slices, options)? })
    }

    /// Makes an arena of memory that the program has: a file mapping, shared memory, a static buffer, huge pages. Of it is used
    /// what lies between multiples of [`Arena::ALIGN`]. The allocator keeps its tables elsewhere, about 0.2 % of the size.
    ///
    /// # Safety
    /// - The memory is valid for reads and writes, once committed, and nobody else uses it, until the arena is released: for ever if
    ///   it isn't.
    /// - What the options say of it is true, and its functions do what [`ArenaFunctions`] asks.
    /// - A mapping that is shared with another process, as it is with a forked child, is used by one of them alone.
    pub unsafe fn manage(memory: *mut u8, bytes: usize, options: &ArenaOptions<'_>) -> Result<Self, ArenaError> {
        check_options(options)?;
        if memory.is_null() {
            return Err(ArenaError::Null);
        }
        if !(options.committed || options.anonymous || options.functions.commit.is_some()) {
            return Err(ArenaError::NotCommitted);
        }
        let Some(end) = memory.addr().checked_add(bytes) else { return Err(ArenaError::TooLarge { bytes }) };
        let Some(start) = memory.addr().checked_next_multiple_of(SLICE_BYTES) else {
            return Err(ArenaError::TooSmall { bytes: 0 });
        };
        let slices = end.saturating_sub(start) / SLICE_BYTES;
        check_slices(slices, end.saturating_sub(start))?;
        let first = memory.wrapping_add(start - memory.addr());
        Ok(Self { region: begin_arena(Source::Manage(first), slices, options)? })
    }

    /// The arena's first byte, and how many there are from there on.
    pub fn area(&self) -> (NonNull<u8>, usize) {
        // SAFETY: an arena is never at address 0.
        (unsafe { NonNull::new_unchecked(self.region.base()) }, self.region.area_bytes())
    }

    /// Whether an address lies in the arena, in use or not.
    pub fn contains(&self, address: *const u8) -> bool {
        address.addr().wrapping_sub(self.region.base().addr()) < self.region.area_bytes()
    }

    /// The name that the arena was given; empty if none.
    pub fn name(&self) -> &str {
        // SAFETY: S7: the arena's handle.
        unsafe { self.region.about() }.name()
    }

    /// A number that no other arena of the process has or had: 1 for the first.
    pub fn id(&self) -> u64 {
        // SAFETY: S7: the arena's handle.
        unsafe { self.region.about() }.id
    }

    /// The NUMA node that the arena was given.
    pub fn numa_node(&self) -> Option<u32> {
        // SAFETY: S7: the arena's handle.
        unsafe { self.region.about() }.numa_node
    }

    /// Whether only heaps that are bound to the arena take from it.
    pub fn is_exclusive(&self) -> bool {
        self.region.is_exclusive()
    }

    /// What the arena is at the moment.
    pub fn info(&self) -> ArenaInfo {
        // SAFETY: S7: the arena's handle.
        unsafe { self.region.info() }
    }

    /// Bytes of slices that are taken: blocks in use, what pages and threads keep ready, and what is being given back to the system. A
    /// figure of the moment.
    pub fn used_bytes(&self) -> usize {
        self.region.in_use().0 as usize * SLICE_BYTES
    }

    /// Ends the arena. Memory that was reserved goes back to the system, memory that was handed in is the program's again, with
    /// any contents. Fails, and gives the handle back, while a block of it is in use or a heap is bound to it; what threads only
    /// keep ready is given back first. A shared arena also serves the allocator's own needs of threads, and so often stays in use
    /// until they end.
    pub fn release(self) -> Result<(), (Self, ArenaError)> {
        let end = || {
            // Nobody is in the middle of a purge of the arena.
            let _pass = scavenger::lock().lock();
            self.region.end()
        };
        if end() {
            return Ok(());
        }
        scavenger::purge_all(scavenger::PATIENT_TRIES);
        if end() {
            return Ok(());
        }
        let (slices, heaps) = self.region.in_use();
        Err((self, ArenaError::InUse { bytes: slices * SLICE_BYTES as u64, heaps }))
    }

    /// The handle as a pointer, for another language.
    pub fn into_raw(self) -> *mut c_void {
        core::ptr::from_ref(self.region).cast_mut().cast()
    }

    /// The handle again.
    ///
    /// # Safety
    /// - The pointer is from [`Arena::into_raw`], and the handle is not used twice at a time: not after it was released.
    pub unsafe fn from_raw(raw: *mut c_void) -> ManuallyDrop<Self> {
        // SAFETY: regions are never unmapped; the caller's duty says that this one is an arena's.
        ManuallyDrop::new(Self { region: unsafe { &*raw.cast_const().cast::<Region>() } })
    }

    /// Where heaps take from.
    pub(crate) fn region(&self) -> &'static Region {
        self.region
    }
}

/// What an arena is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaInfo {
    /// As [`Arena::id`].
    pub id: u64,
    /// The address of the first byte.
    pub address: usize,
    /// Bytes from there on.
    pub bytes: usize,
    /// As [`Arena::used_bytes`].
    pub used_bytes: usize,
    /// Heaps that are bound to it.
    pub heaps: u32,
    /// As [`Arena::is_exclusive`].
    pub is_exclusive: bool,
    /// As [`Arena::numa_node`].
    pub numa_node: Option<u32>,
    pub(crate) name: [u8; ARENA_NAME_BYTES],
    pub(crate) name_bytes: u8,
}

impl ArenaInfo {
    /// The name that the arena was given; empty if none.
    pub fn name(&self) -> &str {
        text_of(&self.name, self.name_bytes)
    }
}

/// All arenas that live: each as it is when it is asked for. No lock is held in between, so others may come and go meanwhile.
///
/// ```
/// for arena in tessalloc::arenas() {
///     println!("{} at {:#x}: {} of {} bytes used", arena.name(), arena.address, arena.used_bytes, arena.bytes);
/// }
/// ```
pub fn arenas() -> impl Iterator<Item = ArenaInfo> {
    let mut place = 0;
    core::iter::from_fn(move || {
        let (found, info) = arena_from(place)?;
        place = found + 1;
        Some(info)
    })
}

fn check_options(options: &ArenaOptions<'_>) -> Result<(), ArenaError> {
    if options.functions.purge.is_some() && options.functions.commit.is_none() {
        return Err(ArenaError::PurgeWithoutCommit);
    }
    Ok(())
}

fn check_slices(slices: usize, bytes: usize) -> Result<(), ArenaError> {
    if slices == 0 {
        return Err(ArenaError::TooSmall { bytes });
    }
    if slices > REGION_BYTES_MAX / SLICE_BYTES {
        return Err(ArenaError::TooLarge { bytes });
    }
    Ok(())
}
