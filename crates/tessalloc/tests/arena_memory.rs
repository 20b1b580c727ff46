//! Arenas in memory that other things see too: files, shared mappings, other processes.
#![cfg(target_os = "linux")]

mod support;

use std::alloc::Layout;
use std::ffi::CStr;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use support::released;
use tessalloc::{Arena, ArenaError, ArenaOptions, Heap, HeapOptions, raw};

const MIB: usize = 1 << 20;
const TEXT: &[u8] = b"written in a block of an arena";
const OPTIONS: ArenaOptions<'static> = ArenaOptions::new().exclusive(true).committed(true);

/// A mapping of a file, shared with all who map it.
struct Mapping {
    at: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn of(file: &impl AsRawFd, bytes: usize) -> Self {
        // SAFETY: a new mapping.
        let at = unsafe {
            libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { at: at.cast(), bytes }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping, of which the test reads what nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(self.at, self.bytes) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`; no arena has it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

fn memory_file(name: &CStr, bytes: usize) -> OwnedFd {
    // SAFETY: a new descriptor, sized.
    unsafe {
        let file = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0 && libc::ftruncate(file, bytes as libc::off_t) == 0);
        OwnedFd::from_raw_fd(file)
    }
}

fn heap_with_text(arena: &Arena, copies: usize) -> (Heap, *mut u8) {
    let heap = HeapOptions::new().build_in(arena).expect("a heap");
    let layout = Layout::from_size_align(TEXT.len() * copies, 16).expect("a layout");
    let block = heap.alloc(layout).expect("room").as_ptr();
    for copy in 0..copies {
        // SAFETY: inside the block.
        unsafe { block.add(copy * TEXT.len()).copy_from_nonoverlapping(TEXT.as_ptr(), TEXT.len()) };
    }
    (heap, block)
}

#[test]
fn blocks_of_an_arena_in_a_file_are_in_the_file() {
    const BYTES: usize = 16 * MIB;
    let path = std::env::temp_dir().join(format!("tessalloc-arena-{}", std::process::id()));
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    // Not all of it is zero, and the options don't say so.
    file.seek(SeekFrom::Start(4 * MIB as u64)).expect("a place");
    file.write_all(&[7; MIB]).expect("room on the disk");
    file.set_len(BYTES as u64).expect("room on the disk");
    let mapping = Mapping::of(&file, BYTES);
    // SAFETY: the mapping is this test's, until released.
    let arena = unsafe { Arena::manage(mapping.at, BYTES, &OPTIONS) }.expect("room");
    let (heap, block) = heap_with_text(&arena, 1);
    let at = block.addr() - mapping.at.addr();
    assert!(at < BYTES);
    // What was in the file is nothing to who asks for zeroes, and no purge brings it back.
    let zeroed = heap.alloc_zeroed(Layout::from_size_align(5 * MIB, 16).expect("a layout")).expect("room");
    // SAFETY: a block of 5 MiB.
    assert!(unsafe { std::slice::from_raw_parts(zeroed.as_ptr(), 5 * MIB) }.iter().all(|byte| *byte == 0));
    tessalloc::purge();
    let saved = std::fs::read(&path).expect("the file");
    std::fs::remove_file(&path).expect("the file");
    assert_eq!(&saved[at..at + TEXT.len()], TEXT);
    heap.destroy();
    released(arena);
    assert_eq!(&mapping.bytes()[at..at + TEXT.len()], TEXT, "a released arena leaves memory as it was");
}

#[test]
fn blocks_of_an_arena_are_seen_by_another_mapping_of_its_memory() {
    const BYTES: usize = 4 * MIB;
    let file = memory_file(c"tessalloc-twice", BYTES);
    let (mapping, other) = (Mapping::of(&file, BYTES), Mapping::of(&file, BYTES));
    // SAFETY: the mapping is this test's; the other one is read only.
    let arena = unsafe { Arena::manage(mapping.at, BYTES, &OPTIONS.zeroed(true)) }.expect("room");
    let (heap, block) = heap_with_text(&arena, 5000);
    let at = block.addr() - mapping.at.addr();
    assert_eq!(&other.bytes()[at..at + TEXT.len()], TEXT);
    assert!(!raw::is_ours(other.at.wrapping_add(at)), "the other mapping is no part of the arena");
    // SAFETY: refused.
    let twice = unsafe { Arena::manage(mapping.at, BYTES, &OPTIONS) };
    assert!(matches!(twice, Err(ArenaError::Overlap { .. })), "{twice:?}");
    heap.destroy();
    released(arena);
}

/// A child makes an arena in shared memory, and its parent reads what the child's blocks hold.
#[test]
fn blocks_of_an_arena_are_seen_by_another_process() {
    const BYTES: usize = 4 * MIB;
    let file = memory_file(c"tessalloc-processes", BYTES);
    let mapping = Mapping::of(&file, BYTES);
    // SAFETY: the child uses the allocator under test and system calls only; the parent reads when it has ended.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "a process for a test");
        if child == 0 {
            libc::alarm(10);
            let Ok(arena) = Arena::manage(mapping.at, BYTES, &OPTIONS) else { libc::_exit(1) };
            let (heap, block) = heap_with_text(&arena, 3);
            let at = block.addr() - mapping.at.addr();
            // Where the block lies is told by the last bytes, which are no part of the first slices in use.
            mapping.at.add(BYTES - 8).cast::<usize>().write(at);
            std::mem::forget((heap, arena));
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
        let at = mapping.at.add(BYTES - 8).cast::<usize>().read();
        assert_eq!(&mapping.bytes()[at..at + TEXT.len() * 3], TEXT.repeat(3));
    }
}

/// A fork: the child has the arena too, in memory of its own, and may end it.
#[test]
fn arena_goes_on_in_a_forked_child() {
    let arena = Arena::reserve(16 * MIB, &ArenaOptions::new().exclusive(true)).expect("address space");
    let (heap, block) = heap_with_text(&arena, 1);
    // SAFETY: the child uses the allocator under test and system calls only.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "a process for a test");
        if child == 0 {
            libc::alarm(10);
            let mut faults = 0;
            for size in [1, 3000, MIB, 20 * MIB] {
                let more = heap.malloc(size);
                faults += i32::from(more.is_null() != (size > 16 * MIB));
                raw::free(more);
            }
            block.write_bytes(0, TEXT.len());
            heap.destroy();
            faults += i32::from(arena.release().is_err()) * 16;
            libc::_exit(faults);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
        assert_eq!(std::slice::from_raw_parts(block, TEXT.len()), TEXT);
    }
    heap.destroy();
    released(arena);
}

/// OS pages of a range that are resident.
fn resident_pages(at: *mut u8, bytes: usize) -> usize {
    let mut pages = vec![0_u8; bytes / 4096];
    // SAFETY: a byte for each OS page, of which there may be fewer.
    assert_eq!(unsafe { libc::mincore(at.cast(), bytes, pages.as_mut_ptr()) }, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

/// The node from which a mapping's memory comes first; `None` where there is no such wish, or the system does not tell.
fn node_of(at: *mut u8) -> Option<u32> {
    const MPOL_PREFERRED: i32 = 1;
    const MPOL_F_ADDR: usize = 2;
    let (mut mode, mut nodes) = (0_i32, [0_u64; 16]);
    // SAFETY: writes the two, the second as far as its 1,024 bits.
    let done =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 1024, at, MPOL_F_ADDR) };
    (done == 0 && mode == MPOL_PREFERRED).then(|| nodes[0].trailing_zeros())
}

/// All of it is there at once, and stays when what used it is gone; an ordinary one becomes resident with use and goes with a purge.
#[test]
fn arena_of_huge_pages_is_resident_and_stays() {
    for (huge, options) in [(true, OPTIONS.huge_pages(true).numa_node(Some(0))), (false, OPTIONS)] {
        let arena = Arena::reserve(8 * MIB, &options).expect("address space");
        let (start, bytes) = arena.area();
        let at_first = resident_pages(start.as_ptr(), bytes);
        if huge && at_first == 0 {
            eprintln!("skipped: this system makes nothing resident at once");
        } else {
            assert_eq!(at_first, if huge { 8 * MIB / 4096 } else { 0 });
        }
        assert_eq!(arena.numa_node(), huge.then_some(0));
        match node_of(start.as_ptr()) {
            None if huge => eprintln!("skipped: this system takes no wish for a node"),
            node => assert_eq!(node, huge.then_some(0)),
        }
        let heap = HeapOptions::new().build_in(&arena).expect("a heap");
        let block = heap.zalloc(6 * MIB);
        assert!(!block.is_null());
        // SAFETY: a block of 6 MiB.
        unsafe {
            assert!(std::slice::from_raw_parts(block, 6 * MIB).iter().all(|byte| *byte == 0));
            block.write_bytes(1, 6 * MIB);
        }
        heap.destroy();
        tessalloc::purge();
        let at_last = resident_pages(start.as_ptr(), bytes);
        assert!(if huge { at_last >= 6 * MIB / 4096 } else { at_last == 0 }, "{at_last} OS pages, huge: {huge}");
        released(arena);
    }
}
