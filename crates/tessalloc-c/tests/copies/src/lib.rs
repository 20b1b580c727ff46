//! A library with its own tessalloc as global allocator: what a Node add-on or a Python extension is.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

/// Blocks that one thread leaves for another to free.
static LEFT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Allocates, checks and frees; 0 if all was as it should be.
#[unsafe(no_mangle)]
pub extern "C" fn copy_work(seed: u64) -> i32 {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut live: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for step in 0..4_000 {
        let size = 1 + (next() % if step % 100 == 0 { 300_000 } else { 2_000 }) as usize;
        let mark = next() as u8;
        if let Some(old) = live.insert(next() % 300, vec![mark; size]) {
            if old.iter().any(|&byte| byte != old[0]) {
                return 1;
            }
            if step % 3 == 0 {
                LEFT.lock().unwrap().push(old);
            }
        }
        if step % 50 == 0 {
            let taken = std::mem::take(&mut *LEFT.lock().unwrap());
            if taken.iter().any(|block| block.iter().any(|&byte| byte != block[0])) {
                return 2;
            }
        }
    }
    let block: *const u8 = live.values().next().map_or(std::ptr::null(), |block| block.as_ptr());
    if !tessalloc::raw::is_ours(block) {
        return 3;
    }
    // The image may go right after this call: nothing of this copy is to be left behind in it.
    LEFT.lock().unwrap().clear();
    0
}

thread_local! {
    /// Dropped as the thread ends.
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A block for somebody else to release, and some that the thread keeps until it ends.
#[unsafe(no_mangle)]
pub extern "C" fn copy_keep(bytes: usize) -> *mut u8 {
    KEPT.with_borrow_mut(|kept| kept.extend((1..20).map(|count| vec![count; 40 * usize::from(count)])));
    Box::leak(vec![0x5a; bytes].into_boxed_slice()).as_mut_ptr()
}

/// Frees a block of [`copy_keep`]; 0 if it was as it should be.
///
/// # Safety
/// - A block of [`copy_keep`] of so many bytes, which nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_release(block: *mut u8, bytes: usize) -> i32 {
    // SAFETY: the caller's duty.
    let block = unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(block, bytes)) };
    i32::from(block.iter().any(|&byte| byte != 0x5a))
}
