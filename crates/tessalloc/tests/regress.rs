//! Faults that were found by reading, each with the case that showed it.

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::alone;
use tessalloc::raw;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn realloc_beyond_what_chunk_numbers_can_say_is_refused() {
    let _alone = alone();
    for shift in [40, 52, 54, 55, 60, 62] {
        let block = raw::malloc(9 * MIB);
        assert!(!block.is_null());
        // SAFETY: a block of ours; refused, it stays as it is.
        unsafe {
            block.write_bytes(7, 9 * MIB);
            let grown = raw::realloc(block, 1 << shift);
            assert!(grown.is_null(), "1 << {shift} bytes were promised");
            assert_eq!(block.add(9 * MIB - 1).read(), 7);
            raw::free(block);
        }
    }
    // SAFETY: as above.
    unsafe {
        let block = raw::malloc(100 * KIB);
        assert!(raw::realloc(block, isize::MAX as usize).is_null());
        assert!(raw::realloc(block, usize::MAX).is_null());
        raw::free(block);
    }
}

#[test]
fn sizes_and_alignments_that_no_machine_has_are_null() {
    let _alone = alone();
    for align in (4..64).map(|shift| 1usize << shift) {
        for size in [isize::MAX as usize, isize::MAX as usize - 1, 1 << 62, 1 << 48, usize::MAX] {
            assert!(raw::aligned(size, align).is_null(), "{size} at {align}");
            assert!(raw::zeroed_aligned(size, align).is_null(), "{size} at {align}");
        }
        let small = raw::aligned(1, align);
        if !small.is_null() {
            assert_eq!(small.addr() % align, 0);
            // SAFETY: a block of ours.
            unsafe { raw::free(small) };
        }
    }
}

#[test]
fn a_thread_whose_first_act_is_realloc_has_one_record() {
    let _alone = alone();
    // The block behind keeps the one in question from growing in place.
    let blocks: Vec<usize> = (0..2).map(|_| raw::malloc(5 * MIB).addr()).collect();
    let (first, second) = (blocks[0], blocks[1]);
    let before = tessalloc::stats().threads_total;
    let moved = thread::spawn(move || {
        // SAFETY: the block is this thread's now.
        unsafe { raw::realloc(core::ptr::with_exposed_provenance_mut(first), 50 * MIB).expose_provenance() }
    })
    .join()
    .unwrap();
    let made = tessalloc::stats().threads_total - before;
    // SAFETY: both are blocks in use.
    unsafe {
        raw::free(core::ptr::with_exposed_provenance_mut(moved));
        raw::free(core::ptr::with_exposed_provenance_mut(second));
    }
    assert_eq!(made, 1, "one thread took {made} records");
}

#[test]
fn a_free_run_behind_another_is_not_ours() {
    let _alone = alone();
    let front = raw::malloc(100 * KIB);
    let blocks: Vec<*mut u8> = (0..6).map(|_| raw::malloc(MIB / 2)).collect();
    assert!(blocks.iter().all(|block| raw::is_ours(*block)));
    // SAFETY: blocks of ours, freed once; afterwards only their addresses are looked at.
    blocks.iter().for_each(|block| unsafe { raw::free(*block) });
    tessalloc::purge();
    assert!(blocks.iter().all(|block| !raw::is_ours(*block)));
    // SAFETY: a block of ours.
    unsafe { raw::free(front) };
}

/// Of a run over many chunks what lies beside the memory is not touched either: it took an OS page of the tables for each chunk.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn a_block_of_many_chunks_costs_what_is_touched_of_it() {
    let _alone = alone();
    const GIB: usize = 1 << 30;
    let resident = || tessalloc::process_info().rss_bytes.expect("Linux tells it");
    let before = resident();
    let block = raw::malloc(8 * GIB);
    assert!(!block.is_null());
    // SAFETY: a block of ours.
    assert!(unsafe { raw::expand(block, 9 * GIB) }, "nobody has what lies behind");
    for at in (0..9 * GIB).step_by(MIB * 63) {
        assert!(raw::is_ours(block.wrapping_add(at)), "{at} bytes behind the start");
    }
    let grown = resident().saturating_sub(before);
    // AddressSanitizer's notes of the block are resident.
    assert!(cfg!(feature = "asan") || grown < 3 * MIB as u64, "{grown} bytes for a block of which nothing was touched");
    // SAFETY: as above.
    unsafe {
        let block = raw::realloc(block, GIB / 2 + 1);
        assert!(raw::is_ours(block.add(GIB / 2)) && !raw::is_ours(block.add(GIB)), "the rest went back");
        raw::free(block);
        assert!(!raw::is_ours(block) && !raw::is_ours(block.add(GIB / 4)));
    }
}

#[test]
fn figures_do_not_drift_when_others_purge() {
    let _alone = alone();
    // Memory that stays while little of it is used, for figures are cut at what is committed: one block of each 4 KiB.
    let small: Vec<*mut u8> = (0..64 * MIB / 512).map(|_| raw::malloc(512)).collect();
    let (kept, freed): (Vec<_>, Vec<_>) = small.into_iter().partition(|block| block.addr() % (4 * KIB) < 512);
    // SAFETY: blocks of ours.
    freed.into_iter().for_each(|block| unsafe { raw::free(block) });
    tessalloc::purge();
    let before = tessalloc::stats().allocated_bytes as i64;
    let (stop, stopped) = mpsc::channel::<()>();
    let purger = thread::spawn(move || {
        while let Err(mpsc::TryRecvError::Empty) = stopped.try_recv() {
            tessalloc::purge();
        }
    });
    let workers: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                let start = Instant::now();
                for round in 0.. {
                    if start.elapsed() > Duration::from_millis(300) {
                        break;
                    }
                    // Two of one size are more than a thread keeps at hand; the larger one is never kept.
                    let sizes = [100 * KIB, 100 * KIB, 100 * KIB, 5 * MIB + round % 7 * 100 * KIB];
                    let blocks = sizes.map(raw::malloc);
                    // SAFETY: blocks of ours.
                    blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    drop(stop);
    purger.join().unwrap();
    tessalloc::purge();
    let after = tessalloc::stats().allocated_bytes as i64;
    // SAFETY: blocks of ours.
    kept.into_iter().for_each(|block| unsafe { raw::free(block) });
    assert!((after - before).abs() <= 256 * KIB as i64, "{before} bytes before, {after} after");
}

/// What a child of a plain system call answers, which ran no fork handlers: this thread alone is in it.
#[cfg(target_os = "linux")]
#[test]
fn threads_that_a_forked_child_does_not_have_are_not_entered() {
    let _alone = alone();
    let (started, is_started) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let block = raw::malloc(3000);
        // SAFETY: a block of ours.
        unsafe { raw::free(block) };
        started.send(()).unwrap();
        let _ = ended.recv();
    });
    is_started.recv().unwrap();
    // SAFETY: the child uses the allocator under test and system calls only.
    unsafe {
        let process = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        assert!(process >= 0, "a process for a test");
        if process == 0 {
            // More than any stack holds: the slow path notices the fork.
            let blocks = [(); 64].map(|()| raw::malloc(3000));
            let is_alone = tessalloc::stats().threads == 1;
            tessalloc::purge();
            blocks.into_iter().for_each(|block| raw::free(block));
            libc::_exit(i32::from(!is_alone));
        }
        let mut status = 0;
        assert_eq!(i64::from(libc::waitpid(process as i32, &mut status, 0)), process);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
    }
    drop(end);
    other.join().unwrap();
}

/// A small generator: the same numbers on every machine.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |end| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    }
}

/// Every byte is looked at and then written: by blocks that grow, shrink, move with room, are purged and come back warm.
#[test]
fn zeroed_blocks_read_zero_whatever_was_there() {
    let _alone = alone();
    let mut below = numbers(0x2e40);
    let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
    for step in 0..1500 {
        let bytes = match below(4) {
            0 => 1 + below(20 * KIB),
            1 => 1 + below(300 * KIB),
            2 => 1 + below(2 * MIB),
            _ => 1 + below(20 * MIB),
        };
        // SAFETY: blocks of ours, within their sizes.
        unsafe {
            match below(6) {
                0 | 1 => {
                    let block = raw::zeroed_aligned(bytes, 1 << below(19));
                    assert!(!block.is_null());
                    let all = std::slice::from_raw_parts(block.cast::<u64>(), bytes / 8);
                    assert!(all.iter().all(|word| *word == 0), "step {step}: {bytes} bytes are not zero");
                    block.write_bytes(0xa5, raw::usable_size(block));
                    blocks.push((block, bytes));
                }
                2 | 3 if !blocks.is_empty() => {
                    let at = below(blocks.len());
                    let (block, old) = blocks[at];
                    let bytes = if below(2) == 0 { old + old / 2 + 1 } else { bytes }.min(24 * MIB);
                    let block = raw::realloc(block, bytes);
                    assert!(!block.is_null());
                    let kept = old.min(bytes);
                    assert_eq!((block.read(), block.add(kept - 1).read()), (0xa5, 0xa5), "step {step}");
                    block.write_bytes(0xa5, raw::usable_size(block));
                    blocks[at] = (block, bytes);
                }
                4 if below(10) == 0 => {
                    tessalloc::purge();
                }
                _ if !blocks.is_empty() => {
                    let at = below(blocks.len());
                    raw::free(blocks.swap_remove(at).0);
                }
                _ => {}
            }
            if blocks.len() > 12 {
                raw::free(blocks.swap_remove(0).0);
            }
        }
    }
    // SAFETY: blocks of ours.
    blocks.into_iter().for_each(|(block, _)| unsafe { raw::free(block) });
}

/// Taking over from threads that the child does not have frees much there; a background thread may only start later.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_starts_in_a_fork_handler() {
    let _alone = alone();
    let (started, is_started) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let blocks: Vec<*mut u8> = (0..16 * MIB / 1000).map(|_| raw::malloc(1000)).collect();
        started.send(()).unwrap();
        let _ = ended.recv();
        // SAFETY: blocks of ours.
        blocks.into_iter().for_each(|block| unsafe { raw::free(block) });
    });
    is_started.recv().unwrap();
    // What this thread keeps warm goes back by itself; what comes free in the handler is the other one's.
    let own: Vec<*mut u8> = (0..16 * MIB / 1000).map(|_| raw::malloc(1000)).collect();
    // SAFETY: the child uses the allocator under test and system calls only; what is freed are blocks of ours.
    unsafe {
        own.into_iter().for_each(|block| raw::free(block));
        let process = libc::fork();
        assert!(process >= 0, "a process for a test");
        if process == 0 {
            let mut count = 0;
            let tasks = libc::opendir(c"/proc/self/task".as_ptr());
            while let Some(entry) = libc::readdir(tasks).as_ref() {
                count += i32::from(entry.d_name[0] != b'.' as libc::c_char);
            }
            libc::_exit(count);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(process, &mut status, 0), process);
        assert!(libc::WIFEXITED(status), "the child ended with {status:#x}");
        assert_eq!(libc::WEXITSTATUS(status), 1, "threads in the child");
    }
    drop(end);
    other.join().unwrap();
}
