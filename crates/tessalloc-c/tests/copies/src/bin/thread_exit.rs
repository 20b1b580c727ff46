//! tessalloc as Rust's global allocator beside C code that uses the system's malloc, at thread exit: destructors of both sides
//! free and allocate, in both allocators, while threads come and go.
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

static DESTROYED: AtomicUsize = AtomicUsize::new(0);
static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

struct AtExit(Vec<Box<[u8]>>, *mut c_void);

impl Drop for AtExit {
    fn drop(&mut self) {
        assert!(self.0.iter().all(|block| block.iter().all(|&byte| byte == 7)));
        // SAFETY: the pointer is from C's malloc and freed once.
        unsafe { libc::free(self.1) };
        self.0.clear();
        drop(vec![1u8; 5_000]);
        DESTROYED.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! { static HELD: RefCell<Option<AtExit>> = const { RefCell::new(None) }; }

extern "C" fn by_key(value: *mut c_void) {
    // SAFETY: the value is a box that the thread leaked into the key, handed over once.
    let held = unsafe { Box::from_raw(value.cast::<AtExit>()) };
    drop(held);
    // SAFETY: a block of C's malloc, freed at once.
    unsafe { libc::free(libc::malloc(1_000)) };
    drop(vec![0u8; 100]);
}

fn held(mark: usize) -> AtExit {
    // SAFETY: no duties.
    let foreign = unsafe { libc::malloc(100 + mark) };
    assert!(!foreign.is_null() && !tessalloc::raw::is_ours(foreign.cast()), "C's malloc is not the system's");
    AtExit((0..50).map(|index| vec![7u8; index * 40 + mark % 64].into_boxed_slice()).collect(), foreign)
}

fn main() {
    let key = *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` may be written, the destructor lives as long as the program.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(by_key)) }, 0);
        key
    });
    for round in 0..40 {
        let threads: Vec<_> = (0..8)
            .map(|index| {
                std::thread::spawn(move || {
                    HELD.with(|slot| *slot.borrow_mut() = Some(held(round + index)));
                    let value: *mut AtExit = Box::into_raw(Box::new(held(index)));
                    // SAFETY: the key exists; its destructor takes the box back.
                    assert_eq!(unsafe { libc::pthread_setspecific(key, value.cast()) }, 0);
                    vec![index as u8; 3_000]
                })
            })
            .collect();
        for (index, thread) in threads.into_iter().enumerate() {
            assert!(thread.join().unwrap().iter().all(|&byte| byte == index as u8));
        }
    }
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 40 * 8 * 2);
    println!("ok");
}
