//! What every Unix shares: thread exit by a pthread key, fork handlers, background threads, the environment.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(not(target_os = "macos"))]
mod environment {
    use core::ffi::c_char;

    unsafe extern "C" {
        /// Null before the C library is up; `setenv` puts another array in its place.
        static mut environ: *const *const c_char;
    }

    /// The array of variables, ended by a null pointer; null if there is none yet.
    pub(super) fn first() -> *const *const c_char {
        // SAFETY: one word that the C library keeps; a racing `setenv` races with every reader of the environment.
        unsafe { environ }
    }
}

#[cfg(target_os = "macos")]
mod environment {
    use core::ffi::c_char;

    unsafe extern "C" {
        // A dynamic library can't link to `environ` itself.
        fn _NSGetEnviron() -> *mut *const *const c_char;
    }

    /// The array of variables, ended by a null pointer; null if there is none yet.
    pub(super) fn first() -> *const *const c_char {
        // SAFETY: the function gives the address of a word that lives as long as the process, or null.
        unsafe { _NSGetEnviron().as_ref().map_or(core::ptr::null(), |first| *first) }
    }
}

/// Keeps the image that holds this code in memory for good: threads that end later run the exit hook, and the scavenger sleeps in
/// it. A program that `dlclose`s a library with a copy of tessalloc would take the code from under them.
#[cfg(all(feature = "std", not(target_feature = "crt-static")))]
mod image {
    use core::ffi::c_void;

    #[cfg(not(target_os = "netbsd"))]
    use libc::RTLD_NODELETE;
    /// As in NetBSD's `dlfcn.h`; the `libc` crate lacks it.
    #[cfg(target_os = "netbsd")]
    const RTLD_NODELETE: core::ffi::c_int = 0x1000;

    pub(super) fn pin() {
        let mut found = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: `found` is written when the call succeeds; the name lives as long as the image. The handle is kept.
        unsafe {
            if libc::dladdr(pin as fn() as *const c_void, found.as_mut_ptr()) != 0 {
                let name = found.assume_init().dli_fname;
                libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD | RTLD_NODELETE);
            }
        }
    }
}

/// The C library is preloaded or linked: it stays anyway.
#[cfg(not(all(feature = "std", not(target_feature = "crt-static"))))]
mod image {
    pub(super) fn pin() {}
}

/// The key whose destructor runs at thread exit, plus one; 0 until made.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);

/// Makes the key, unless there is one. `hook`, the same in each call, runs on each thread that armed it with the pointer it armed. From any
/// thread; the caller must be able to allocate. Pins the image. False if there is no key to be had.
pub(crate) fn exit_hook_create(hook: unsafe extern "C" fn(*mut c_void)) -> bool {
    // ORDER: Relaxed: the exchange below decides.
    if EXIT_KEY.load(Ordering::Relaxed) != 0 {
        return true;
    }
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: `key` is ours to write; `hook` has the signature that the C library calls.
    let code = unsafe { libc::pthread_key_create(&mut key, Some(hook)) };
    if code != 0 {
        return false;
    }
    // ORDER: Release pairs with the Acquire in `exit_hook_arm`: who sees the key sees it made.
    match EXIT_KEY.compare_exchange(0, key as u32 + 1, Ordering::Release, Ordering::Relaxed) {
        Ok(_) => image::pin(),
        // Another thread was faster. SAFETY: made just now, and no thread has a value for it.
        Err(_) => _ = unsafe { libc::pthread_key_delete(key) },
    }
    true
}

/// Asks for the hook to run with `value` when this thread ends. May call `calloc` inside the C library for keys ≥ 32: the
/// caller must be able to serve that. False if there is no key, or no memory for it.
pub(crate) fn exit_hook_arm(value: *mut c_void) -> bool {
    // ORDER: Acquire pairs with the Release in `exit_hook_create`.
    let key = EXIT_KEY.load(Ordering::Acquire);
    if key == 0 {
        return false;
    }
    // SAFETY: the key was made by `exit_hook_create` and is never deleted.
    unsafe { libc::pthread_setspecific((key - 1) as libc::pthread_key_t, value) == 0 }
}

/// Registers the three fork handlers. May allocate: call outside every lock.
pub(crate) fn at_fork(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> bool {
    // SAFETY: the handlers are static functions and stay for the life of the image.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}

/// A number of the calling thread, not 0, which no other thread of the process has while it lives.
pub(crate) fn thread_id() -> usize {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::pthread_self() as usize }
}

#[cfg(not(feature = "addon"))]
mod exit {
    /// Asks for `run` as the process ends by `exit`. May allocate: call outside every lock.
    pub(crate) fn at_exit(run: extern "C" fn()) -> bool {
        // SAFETY: a static function, which stays for the life of the image.
        unsafe { libc::atexit(run) == 0 }
    }
}

#[cfg(feature = "addon")]
mod exit {
    /// Refused: the end of the process is the program's, and other add-ons have a copy of this too.
    pub(crate) fn at_exit(_run: extern "C" fn()) -> bool {
        false
    }
}

pub(crate) use exit::at_exit;

/// Starts a detached thread with all signals blocked and a small stack. May allocate: call outside every lock.
pub(crate) fn spawn(run: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    const STACK_BYTES: usize = 64 << 10;
    /// What a thread's static thread-locals may take of its stack; the default size is tried when this is too little.
    const STATIC_TLS_BYTES: usize = 64 << 10;
    // SAFETY: all objects are on this stack and initialised by the calls that take them first; the thread is detached, so its
    // handle is never used again.
    unsafe {
        let mut all = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let mut attr = core::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut thread = core::mem::MaybeUninit::<libc::pthread_t>::uninit();
        let mut code: c_int = -1;
        for small in [true, false] {
            if libc::pthread_attr_init(attr.as_mut_ptr()) != 0 {
                break;
            }
            libc::pthread_attr_setdetachstate(attr.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
            if small {
                libc::pthread_attr_setstacksize(attr.as_mut_ptr(), STACK_BYTES + STATIC_TLS_BYTES);
            }
            code = libc::pthread_create(thread.as_mut_ptr(), attr.as_ptr(), run, core::ptr::null_mut());
            libc::pthread_attr_destroy(attr.as_mut_ptr());
            if code != libc::EINVAL {
                break;
            }
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut());
        code == 0
    }
}

/// Shows each variable whose name begins with `prefix`: the rest of its name, and its value. False if the environment can't be
/// read yet.
pub(crate) fn env_each(prefix: &str, visit: &mut dyn FnMut(&[u8], &[u8])) -> bool {
    let mut entry = environment::first();
    if entry.is_null() {
        return false;
    }
    // Bound: the array's end.
    // SAFETY: a null-terminated array of C strings. It is read while the allocator starts, as `getenv` would; a program that
    // changes it at the same time on another thread races with every reader of the environment.
    unsafe {
        while !(*entry).is_null() {
            let text = core::ffi::CStr::from_ptr(*entry).to_bytes();
            if let Some(rest) = text.strip_prefix(prefix.as_bytes())
                && let Some(end) = rest.iter().position(|byte| *byte == b'=')
            {
                visit(&rest[..end], &rest[end + 1..]);
            }
            entry = entry.add(1);
        }
    }
    true
}

/// Microseconds of a clock that never goes back.
pub(crate) fn now_us() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is ours to write; CLOCK_MONOTONIC exists on every system of this file.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut at) };
    at.tv_sec as u64 * 1_000_000 + at.tv_nsec as u64 / 1_000
}
