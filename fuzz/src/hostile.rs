//! Calls of the C library with arguments that nobody should give: each is refused as the header says, or served as asked.

use std::ffi::{CString, c_int, c_void};
use std::mem::size_of;
use std::ptr::{null, null_mut};

use crate::library::{Heap, HeapOptions, Library};

/// Blocks in use at a time, and bytes: what one program's hostile sizes may come to.
const BLOCKS_MAX: usize = 24;
const BYTES_MAX: usize = 1 << 30;
/// Blocks up to this size are written at both ends, and cleared where that is asked for.
const TOUCHED_MAX: usize = 256 << 10;
/// The largest size that any function may serve.
const BYTES_EVER: usize = isize::MAX as usize;
/// Alignments at an offset go up to this.
const OFFSET_ALIGN_MAX: usize = 4 << 20;

/// Arguments from bytes; zeros when they are used up.
struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    /// A size: often one at which something begins or ends. Those that are served and take long are left to other tests.
    fn size(&mut self) -> usize {
        let size = self.any_size();
        if (1 << 28..1 << 41).contains(&size) { size << 16 } else { size }
    }

    fn any_size(&mut self) -> usize {
        let (kind, near) = (self.byte(), self.byte());
        let near = usize::from(near % 5).wrapping_sub(2);
        match kind {
            0..=63 => usize::from(self.byte()),
            64..=95 => usize::from(self.byte()) << 8 | usize::from(self.byte()),
            96..=159 => (1_usize << (kind % 64)).wrapping_add(near),
            160..=175 => BYTES_EVER.wrapping_add(near),
            176..=191 => usize::MAX.wrapping_sub(usize::from(self.byte())),
            192..=207 => (usize::from(self.byte()) << 16).wrapping_add(near),
            208..=223 => (usize::MAX / (1 + usize::from(self.byte()))).wrapping_add(near),
            _ => self.word() as usize,
        }
    }

    /// A text without zeros in it.
    fn text(&mut self) -> CString {
        let length = usize::from(self.byte() % 48).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        CString::new(text.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>()).expect("no zero is left")
    }
}

fn errno() -> c_int {
    // SAFETY: the calling thread's.
    unsafe { *libc::__errno_location() }
}

fn clear_errno() {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = 0 };
}

/// Blocks of one program.
struct Blocks<'a> {
    library: &'a Library,
    held: Vec<(*mut c_void, usize)>,
}

impl Blocks<'_> {
    /// What a call gave for `size` bytes at `align` and `offset`; `errors` are the codes with which it may be refused.
    fn take(&mut self, what: &str, at: *mut c_void, size: usize, align: usize, offset: usize, errors: &[c_int]) {
        if at.is_null() {
            assert!(errors.contains(&errno()), "{what}({size}, {align}, {offset}) is refused with {}", errno());
            return;
        }
        assert!(size <= BYTES_EVER, "{what}({size}, {align}, {offset}) is served");
        assert!(align.is_power_of_two(), "{what}({size}, {align}, {offset}) is served");
        assert!(at.addr().wrapping_add(offset).is_multiple_of(align), "{what}({size}, {align}, {offset}) gives {at:?}");
        // SAFETY: the block of just now.
        unsafe {
            let usable = (self.library.malloc_usable_size)(at);
            assert!(usable >= size, "{what}({size}, {align}, {offset}): {usable} bytes are usable");
            if size > 0 && size <= TOUCHED_MAX {
                at.cast::<u8>().write(1);
                at.cast::<u8>().add(size - 1).write(1);
            }
        }
        self.held.push((at, size));
        let bytes = self.held.iter().map(|(_, size)| *size).fold(0_usize, usize::saturating_add);
        if self.held.len() > BLOCKS_MAX || bytes > BYTES_MAX {
            self.free(0);
        }
    }

    fn free(&mut self, which: usize) {
        let (at, size) = self.held.remove(which);
        // SAFETY: a block in use, and ours.
        unsafe {
            if size > 0 && size <= TOUCHED_MAX {
                assert_eq!(at.cast::<u8>().add(size - 1).read(), 1, "what was written stays");
            }
            (self.library.free)(at);
        }
    }
}

/// Calls functions as `data` says. Panics where one does what it should not.
pub fn call(library: &Library, data: &[u8]) {
    let mut arguments = Arguments(data);
    let mut blocks = Blocks { library, held: Vec::new() };
    let (a, l) = (&mut arguments, library);
    const NO_MEMORY: &[c_int] = &[libc::ENOMEM];
    const ANY: &[c_int] = &[libc::ENOMEM, libc::EINVAL];
    while !a.0.is_empty() {
        let kind = a.byte();
        clear_errno();
        // SAFETY: as the header asks of each: blocks in use, texts that end, structures as long as they say.
        unsafe {
            match kind % 24 {
                0 => {
                    let size = a.size();
                    blocks.take("malloc", (l.malloc)(size), size, 16, 0, NO_MEMORY);
                }
                1 => {
                    let (count, size) = (a.size(), a.size());
                    let bytes = count.checked_mul(size);
                    if bytes.is_none_or(|bytes| bytes <= TOUCHED_MAX || bytes > 1 << 40) {
                        let at = (l.calloc)(count, size);
                        assert!(bytes.is_some() || at.is_null(), "calloc({count}, {size}) is served");
                        blocks.take("calloc", at, bytes.unwrap_or(usize::MAX), 16, 0, NO_MEMORY);
                    }
                }
                2 => {
                    let (align, size) = (a.size(), a.size());
                    let mut at = null_mut();
                    let code = (l.posix_memalign)(&mut at, align, size);
                    let is_right = align.is_power_of_two() && align.is_multiple_of(size_of::<usize>());
                    assert!(is_right || code == libc::EINVAL, "posix_memalign({align}, {size}) gives {code}");
                    assert_eq!(code == 0, !at.is_null(), "posix_memalign({align}, {size}) gives {code}, {at:?}");
                    assert!(matches!(code, 0 | libc::EINVAL | libc::ENOMEM));
                    if code == 0 {
                        blocks.take("posix_memalign", at, size, align, 0, &[]);
                    }
                }
                3 => {
                    let (align, size) = (a.size(), a.size());
                    let at = (l.aligned_alloc)(align, size);
                    blocks.take("aligned_alloc", at, size, if at.is_null() { 1 } else { align }, 0, ANY);
                }
                4 => {
                    let (size, align, offset) = (a.size(), a.size(), a.size());
                    let at = (l.tessalloc_malloc_aligned_at)(size, align, offset);
                    if align.is_power_of_two() && align > OFFSET_ALIGN_MAX && !offset.is_multiple_of(align) {
                        assert!(
                            at.is_null() && errno() == libc::EINVAL,
                            "malloc_aligned_at({size}, {align}, {offset})"
                        );
                    }
                    blocks.take("malloc_aligned_at", at, size, align.max(1), offset, ANY);
                }
                5 => {
                    let (size, align, offset) = (a.size(), a.size(), a.size());
                    if !(TOUCHED_MAX..1 << 40).contains(&size) {
                        let at = (l.tessalloc_zalloc_aligned_at)(size, align, offset);
                        blocks.take("zalloc_aligned_at", at, size, align.max(1), offset, ANY);
                    }
                }
                6 => {
                    let (count, size, align) = (a.size(), a.size(), a.size());
                    let bytes = count.checked_mul(size);
                    if bytes.is_none_or(|bytes| bytes <= TOUCHED_MAX) {
                        let at = (l.tessalloc_calloc_aligned)(count, size, align);
                        blocks.take("calloc_aligned", at, bytes.unwrap_or(usize::MAX), align.max(1), 0, ANY);
                    }
                }
                7..=9 => resize(l, &mut blocks, a, kind),
                10 => {
                    if !blocks.held.is_empty() {
                        blocks.free(usize::from(a.byte()) % blocks.held.len());
                    }
                }
                11 => {
                    (l.free)(null_mut());
                    (l.tessalloc_free)(null_mut());
                    (l.free_sized)(null_mut(), a.size());
                    (l.free_aligned_sized)(null_mut(), a.size(), a.size());
                    (l.tessalloc_free_size)(null_mut(), a.size());
                    (l.tessalloc_free_aligned)(null_mut(), a.size());
                    (l.tessalloc_free_batch)(null(), 0);
                    (l.tessalloc_heap_destroy)(Heap(null_mut()));
                    (l.tessalloc_heap_clear)(Heap(null_mut()));
                    assert_eq!((l.malloc_usable_size)(null_mut()), 0);
                }
                12 => {
                    let size = a.size();
                    assert!((l.tessalloc_good_size)(size) >= size);
                    let address = std::ptr::without_provenance::<c_void>(a.word() as usize);
                    (l.tessalloc_is_ours)(address);
                    if let Some((at, size)) = blocks.held.first() {
                        let inner = at.wrapping_byte_add(a.size() % (*size).max(1));
                        assert_eq!((l.tessalloc_is_ours)(inner), 1, "{inner:?} lies in a block of ours");
                    }
                }
                13 => {
                    let (size, mut some) = (a.size(), [null_mut(); 6]);
                    let wanted = usize::from(a.byte()) % 7;
                    if !(BYTES_MAX / 6..=1 << 40).contains(&size) {
                        let count = (l.tessalloc_malloc_batch)(size, some.as_mut_ptr(), wanted);
                        assert!(count <= wanted && some[..count].iter().all(|at| !at.is_null()));
                        some[..count].iter().for_each(|at| blocks.take("malloc_batch", *at, size, 16, 0, &[]));
                    }
                }
                14 => options(l, a),
                15 => {
                    let name = a.text();
                    let (mut out, mut out_bytes) = ([0_u8; 16], usize::from(a.byte()) % 17);
                    let code = (l.tessalloc_ctl)(name.as_ptr(), out.as_mut_ptr().cast(), &mut out_bytes, null(), 0);
                    assert!(code >= 0, "tessalloc_ctl({name:?}) gives {code}");
                    assert_ne!((l.tessalloc_ctl)(name.as_ptr(), null_mut(), &mut out_bytes, null(), 0), 0);
                    assert_eq!((l.tessalloc_ctl)(null(), null_mut(), null_mut(), null(), 0), libc::EINVAL);
                }
                16 => heap(l, a),
                17 => buffer(l, a),
                18 => {
                    (l.mallopt)(a.word() as c_int, a.word() as c_int);
                }
                19 => {
                    let (text, most) = (a.text(), a.size());
                    let copy = (l.tessalloc_strndup)(text.as_ptr(), most);
                    let length = text.as_bytes().len().min(most);
                    assert_eq!(std::ffi::CStr::from_ptr(copy).to_bytes(), &text.as_bytes()[..length]);
                    (l.free)(copy.cast());
                }
                20 => arena(l, a),
                21 => {
                    let size = a.size();
                    blocks.take("valloc", (l.valloc)(size), size, 4096, 0, NO_MEMORY);
                }
                22 => {
                    let size = a.size();
                    blocks.take("pvalloc", (l.pvalloc)(size), size, 4096, 0, NO_MEMORY);
                }
                _ => {
                    let (align, size) = (a.size(), a.size());
                    blocks.take("memalign", (l.memalign)(align, size), size, 1, 0, ANY);
                }
            }
        }
    }
    while !blocks.held.is_empty() {
        blocks.free(0);
    }
}

unsafe fn resize(l: &Library, blocks: &mut Blocks<'_>, a: &mut Arguments<'_>, kind: u8) {
    if blocks.held.is_empty() {
        return;
    }
    let which = usize::from(a.byte()) % blocks.held.len();
    let (size, align, offset, count) = (a.size(), a.size(), a.size(), a.size());
    let (at, old) = blocks.held[which];
    // What is copied or cleared stays small.
    if old > TOUCHED_MAX || (TOUCHED_MAX..1 << 40).contains(&size) {
        return;
    }
    let is_at = kind % 24 == 9;
    // SAFETY: a block in use, and ours.
    let new = unsafe {
        match kind % 24 {
            // It would free.
            7 if size == 0 => return,
            7 => (l.realloc)(at, size),
            8 => {
                if count.checked_mul(size).is_some_and(|bytes| bytes == 0 || bytes > TOUCHED_MAX) {
                    return;
                }
                let new = (l.tessalloc_recalloc)(at, count, size);
                assert!(count.checked_mul(size).is_some() || new.is_null(), "recalloc({count}, {size}) is served");
                new
            }
            _ => (l.tessalloc_rezalloc_aligned_at)(at, size, align, offset),
        }
    };
    let bytes = if kind % 24 == 8 { count.wrapping_mul(size) } else { size };
    if new.is_null() {
        assert!([libc::ENOMEM, libc::EINVAL].contains(&errno()), "a block of {old} is refused {bytes}: {}", errno());
        return;
    }
    // SAFETY: what was kept, of the block of now.
    unsafe {
        if old > 0 && old <= bytes {
            assert_eq!(new.cast::<u8>().add(old - 1).read(), 1, "what was written is kept, from {old} to {bytes}");
        }
    }
    blocks.held.remove(which);
    let (align, offset) = if is_at { (align.max(1), offset) } else { (16, 0) };
    blocks.take("realloc", new, bytes, align, offset, &[]);
}

unsafe fn options(l: &Library, a: &mut Arguments<'_>) {
    let (number, value, text) = (a.word() as c_int, a.word(), a.text());
    // SAFETY: texts that end.
    unsafe {
        let name = (l.tessalloc_option_name)(number);
        let found = (l.tessalloc_option_find)(text.as_ptr());
        assert!(found == -1 || !(l.tessalloc_option_name)(found).is_null(), "the option {text:?} is {found}");
        if name.is_null() {
            assert_eq!((l.tessalloc_option_set)(number, value), libc::EINVAL);
            assert_eq!((l.tessalloc_option_set_text)(number, text.as_ptr()), libc::EINVAL);
            assert_eq!((l.tessalloc_option_get)(number), 0);
        } else {
            // Beyond what any option takes.
            assert_eq!((l.tessalloc_option_set)(number, value | 1 << 62), libc::ERANGE);
        }
        assert_eq!((l.tessalloc_option_set_text)(0, null()), libc::ERANGE);
        let mut info = [0_u64; 16];
        info[0] = 4 + value % 120;
        (l.tessalloc_option_info)(number, info.as_mut_ptr().cast());
    }
}

unsafe fn heap(l: &Library, a: &mut Arguments<'_>) {
    #[repr(C)]
    struct Longer(HeapOptions, [u8; 16]);
    let (name, bytes) = (a.text(), a.byte());
    // Whole fields: half a pointer is none.
    let given = u32::from(bytes) % (size_of::<Longer>() as u32 / 8 + 1) * 8;
    let options = Longer(
        HeapOptions {
            struct_bytes: if given == 0 { u32::from(bytes) % 4 } else { given },
            zeroed: a.byte().into(),
            name: if bytes & 1 == 0 { name.as_ptr() } else { null() },
            tag: a.word(),
            soft_limit_bytes: 0,
            hard_limit_bytes: a.size() as u64,
            on_limit: null(),
            on_limit_argument: std::ptr::without_provenance(a.word() as usize),
            arena: null_mut(),
        },
        [if a.byte() == 0 { 0 } else { 1 }; 16],
    );
    // SAFETY: the structure is as long as it says at least; a heap that stands.
    unsafe {
        let heap = (l.tessalloc_heap_new_with)(&raw const options.0);
        if heap.0.is_null() {
            assert_eq!(errno(), libc::EINVAL, "a heap is refused, though there is memory");
            return;
        }
        for _ in 0..a.byte() % 8 {
            let (size, align) = (a.size(), a.size());
            if !(TOUCHED_MAX..1 << 40).contains(&size) {
                let at = (l.tessalloc_heap_zalloc_aligned_at)(heap, size, align, a.size());
                if !at.is_null() {
                    assert_eq!((l.tessalloc_heap_contains)(heap, at), 1);
                    assert!((l.malloc_usable_size)(at) >= size);
                    if size > 0 {
                        assert_eq!(at.cast::<u8>().add(size - 1).read(), 0, "a block of {size} reads zero");
                    }
                }
            }
        }
        if bytes & 2 == 0 {
            (l.tessalloc_heap_destroy)(heap)
        } else {
            (l.tessalloc_heap_clear)(heap)
        }
        if bytes & 2 != 0 {
            (l.tessalloc_heap_delete)(heap);
        }
    }
}

unsafe fn buffer(l: &Library, a: &mut Arguments<'_>) {
    let mut memory = [0_u64; 512];
    let (skew, bytes) = (usize::from(a.byte()) % 40, usize::from(a.byte()) << 4 | usize::from(a.byte()));
    let bytes = bytes.min(size_of_val(&memory) - skew);
    let start = (&raw mut memory).cast::<u8>().wrapping_add(skew);
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    // SAFETY: the memory is this function's and lives as long as the buffer is used.
    unsafe {
        let buffer = (l.tessalloc_buffer_over)(start.cast(), bytes);
        if buffer.is_null() {
            return;
        }
        for _ in 0..a.byte() % 32 {
            let (kind, size) = (a.byte(), a.size());
            let at = match kind % 5 {
                0 => (l.tessalloc_buffer_malloc)(buffer, size),
                1 => {
                    let count = a.size();
                    let at = (l.tessalloc_buffer_calloc)(buffer, count, size);
                    assert!(at.is_null() || count.checked_mul(size).is_some(), "calloc({count}, {size}) is served");
                    at
                }
                2 => {
                    let align = a.size();
                    let at = (l.tessalloc_buffer_aligned_alloc)(buffer, align, size);
                    assert!(at.is_null() || align.is_power_of_two() && at.addr().is_multiple_of(align));
                    at
                }
                3 if !blocks.is_empty() => {
                    let (at, _) = blocks.swap_remove(usize::from(a.byte()) % blocks.len());
                    let at = start.wrapping_add(at - start.addr()).cast();
                    let new = if size == 0 { null_mut() } else { (l.tessalloc_buffer_realloc)(buffer, at, size) };
                    if new.is_null() { at } else { new }
                }
                _ if !blocks.is_empty() => {
                    let (at, _) = blocks.swap_remove(usize::from(a.byte()) % blocks.len());
                    (l.tessalloc_buffer_free)(buffer, start.wrapping_add(at - start.addr()).cast());
                    null_mut()
                }
                _ => null_mut(),
            };
            if !at.is_null() {
                let usable = (l.tessalloc_buffer_usable_size)(buffer, at);
                let (from, to) = (at.addr(), at.addr() + usable);
                assert!(from >= start.addr() && to <= start.addr() + bytes, "a block lies in its buffer");
                assert!(blocks.iter().all(|other| other.1 <= from || to <= other.0), "blocks lie side by side");
                at.cast::<u8>().write_bytes(0xa5, usable);
                blocks.push((from, to));
            }
        }
    }
}

unsafe fn arena(l: &Library, a: &mut Arguments<'_>) {
    #[repr(C)]
    struct Options {
        struct_bytes: u32,
        flags: u32,
        name: *const std::ffi::c_char,
        rest: [u64; 5],
    }
    let (name, bytes, flags) = (a.text(), a.size(), a.byte());
    // Neither huge pages nor nodes, which are the machine's to have.
    let options = Options {
        // Whole fields: half a pointer is none.
        struct_bytes: u32::from(a.byte()) % (size_of::<Options>() as u32 / 8 + 1) * 8,
        flags: u32::from(flags & 0b1001_0101),
        name: if flags & 2 == 0 { name.as_ptr() } else { null() },
        rest: [0; 5],
    };
    // SAFETY: the structure is as long as it says; an arena that nobody uses.
    unsafe {
        if !(1 << 32..=1 << 50).contains(&bytes) {
            let arena = (l.tessalloc_arena_reserve)(bytes, (&raw const options).cast());
            assert!(!arena.is_null() || errno() != 0, "an arena of {bytes} is refused without a code");
            assert_eq!((l.tessalloc_arena_release)(arena), 0);
        }
    }
}
