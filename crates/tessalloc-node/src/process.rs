//! What the system tells about this process: who defines `malloc`, glibc's own counters, the CPU time of children.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) use gnu::{glibc_figures, glibc_trim, is_glibc};
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) use no_gnu::{glibc_figures, glibc_trim, is_glibc};
#[cfg(not(unix))]
pub(crate) use no_unix::{child_cpu_micros, image_of_malloc};
#[cfg(unix)]
pub(crate) use unix::{child_cpu_micros, image_of_malloc};

/// Parts of an image's file name and the allocator they stand for; the first that fits counts.
const IMAGES: [(&str, &str); 9] = [
    ("tessalloc", "tessalloc"),
    ("jemalloc", "jemalloc"),
    ("mimalloc", "mimalloc"),
    ("tcmalloc", "tcmalloc"),
    ("snmalloc", "snmalloc"),
    ("rpmalloc", "rpmalloc"),
    ("ld-musl", "musl"),
    ("libc.so", "glibc"),
    ("libc-2", "glibc"),
];

/// Name of the allocator whose `malloc` lies in the image at `path`.
pub(crate) fn allocator_name(path: Option<&str>) -> &'static str {
    let file = path.map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    IMAGES.iter().find(|(part, _)| file.contains(part)).map_or("unknown", |(_, name)| name)
}

#[cfg(unix)]
mod unix {
    use std::ffi::CStr;

    /// Functions that one library replaces together. A program that takes the address of one and is not position independent
    /// has that symbol in its own image, where it only leads on: then another of them tells.
    const FAMILY: [&CStr; 6] =
        [c"malloc", c"calloc", c"realloc", c"malloc_usable_size", c"posix_memalign", c"aligned_alloc"];

    /// File of the image that defines the `malloc` this process calls.
    pub(crate) fn image_of_malloc() -> Option<String> {
        let is_known = |path: &String| super::allocator_name(Some(path)) != "unknown";
        FAMILY.iter().filter_map(|name| image_of(name)).find(is_known).or_else(|| image_of(FAMILY[0]))
    }

    fn image_of(name: &CStr) -> Option<String> {
        // SAFETY: the name ends with a null; RTLD_DEFAULT searches the images that are loaded.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // SAFETY: all of its fields may be zero.
        let mut info = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        // SAFETY: `info` is writable; any address may be asked for.
        let found = unsafe { libc::dladdr(symbol, &mut info) } != 0;
        if symbol.is_null() || !found || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: the loader's own text, ends with a null, lives as long as the image.
        Some(unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned())
    }

    /// Microseconds of CPU of ended children.
    pub(crate) fn child_cpu_micros() -> f64 {
        // SAFETY: all of its fields may be zero.
        let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
        // SAFETY: `usage` is writable; RUSAGE_CHILDREN cannot fail.
        unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
        [usage.ru_utime, usage.ru_stime].iter().map(|t| t.tv_sec as f64 * 1e6 + t.tv_usec as f64).sum()
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    /// Whether glibc serves `malloc`.
    pub(crate) fn is_glibc() -> bool {
        static GLIBC: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *GLIBC.get_or_init(|| super::allocator_name(super::image_of_malloc().as_deref()) == "glibc")
    }

    type Mallinfo2 = unsafe extern "C" fn() -> libc::mallinfo2;

    /// glibc's own, looked up: the add-on is to load with older ones, which lack it.
    fn mallinfo2() -> Option<Mallinfo2> {
        static FOUND: std::sync::OnceLock<Option<Mallinfo2>> = std::sync::OnceLock::new();
        *FOUND.get_or_init(|| {
            // SAFETY: the name ends with a null; RTLD_DEFAULT searches the images that are loaded.
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
            // SAFETY: null, which is `None`, or the function of that name, whose type is glibc's promise.
            unsafe { std::mem::transmute::<*mut libc::c_void, Option<Mallinfo2>>(symbol) }
        })
    }

    /// Figures in the order of `memory_figures`, over all arenas of glibc; `None` before 2.33, whose counters wrap at 2 GiB.
    pub(crate) fn glibc_figures() -> Option<[f64; 9]> {
        // SAFETY: takes glibc's own locks, has no other duties.
        let info = unsafe { mallinfo2()?() };
        let mapped = (info.arena + info.hblkhd) as f64;
        let allocated = (info.uordblks + info.hblkhd) as f64;
        let unknown = f64::NAN;
        Some([mapped, mapped, allocated, info.fordblks as f64, unknown, unknown, unknown, mapped, unknown])
    }

    /// Returns glibc's unused memory of all arenas to the system.
    pub(crate) fn glibc_trim() {
        // SAFETY: takes glibc's own locks, has no other duties.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod no_gnu {
    pub(crate) fn is_glibc() -> bool {
        false
    }

    pub(crate) fn glibc_figures() -> Option<[f64; 9]> {
        None
    }

    pub(crate) fn glibc_trim() {}
}

#[cfg(not(unix))]
mod no_unix {
    pub(crate) fn image_of_malloc() -> Option<String> {
        None
    }

    pub(crate) fn child_cpu_micros() -> f64 {
        f64::NAN
    }
}
