//! Guarded blocks of `include/tessalloc.h`.
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::copy_nonoverlapping;

use tessalloc::guarded::{self, GuardOptions};

/// `tessalloc_guarded_options_t`. Later versions only append; 0 in a field is its default.
#[repr(C)]
pub struct Options {
    struct_bytes: u32,
    precise: u32,
    rate: u64,
    min_bytes: u64,
    max_bytes: u64,
    seed: u64,
}

/// The least that there must be: the first two words.
const HEAD_BYTES: usize = 8;

/// Guards allocations from now on: 0, or `EINVAL`.
///
/// # Safety
/// - `options` is null, or may be read for `options->struct_bytes` bytes, at least 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_guarded_start(options: *const Options) -> c_int {
    if options.is_null() {
        guarded::start(&guarded::options());
        return 0;
    }
    // SAFETY: the caller's duty; what its structure lacks is zero here, which is a value of every field.
    let given = unsafe {
        let bytes = (&raw const (*options).struct_bytes).read() as usize;
        if bytes < HEAD_BYTES {
            return libc::EINVAL;
        }
        let mut given = MaybeUninit::<Options>::zeroed();
        copy_nonoverlapping(options.cast::<u8>(), given.as_mut_ptr().cast(), bytes.min(size_of::<Options>()));
        given.assume_init()
    };
    let mut chosen = GuardOptions::new().precise(given.precise != 0).seed(given.seed);
    if given.rate > 0 {
        chosen.rate = given.rate;
    }
    if given.max_bytes > 0 {
        chosen.max_bytes = given.max_bytes;
    }
    chosen.min_bytes = given.min_bytes;
    guarded::start(&chosen);
    0
}

/// Guards no more blocks.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_guarded_stop() {
    guarded::stop();
}

/// Whether allocations are guarded.
#[unsafe(no_mangle)]
pub extern "C" fn tessalloc_guarded_is_on() -> c_int {
    guarded::is_on().into()
}

/// Fills `out` with what the last start was given.
///
/// # Safety
/// - `out` may be written for `out->struct_bytes` bytes, at least 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tessalloc_guarded_options(out: *mut Options) {
    let options = guarded::options();
    // SAFETY: the caller's duty; they don't overlap, `filled` is a local.
    unsafe {
        let struct_bytes = (&raw const (*out).struct_bytes).read();
        let filled = Options {
            struct_bytes,
            precise: options.precise.into(),
            rate: options.rate,
            min_bytes: options.min_bytes,
            max_bytes: options.max_bytes,
            seed: options.seed,
        };
        let bytes = (struct_bytes as usize).min(size_of::<Options>());
        copy_nonoverlapping((&raw const filled).cast::<u8>(), out.cast::<u8>(), bytes);
    }
}
