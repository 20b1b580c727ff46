//! What stands in blocks: numbers made of a seed. Small blocks are written and checked whole, larger ones at both ends and at places in
//! between, so that gigabytes cost no more than kilobytes.

/// Blocks up to this size are written whole.
const WHOLE_BYTES: usize = 2048;
/// What is written of larger ones at each place.
const PLACE_BYTES: usize = 128;
/// How many places between the ends.
const PLACE_COUNT: usize = 14;

/// The parts of `bytes` bytes that are written.
pub fn places(bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    let is_whole = bytes <= WHOLE_BYTES;
    let (first, stride) = if is_whole { (bytes, 1) } else { (PLACE_BYTES, bytes / (PLACE_COUNT + 1)) };
    let inner = (1..=PLACE_COUNT).filter(move |_| !is_whole).map(move |i| (i * stride / 8 * 8, PLACE_BYTES));
    let last = (!is_whole).then(|| (bytes - PLACE_BYTES, PLACE_BYTES));
    std::iter::once((0, first)).chain(inner).chain(last)
}

fn word(seed: u64, index: usize) -> u64 {
    (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// The bytes at `[from, from + 8)` of a block.
fn expected(seed: u64, from: usize) -> [u8; 8] {
    let (index, shift) = (from / 8, from % 8 * 8);
    let low = word(seed, index);
    if shift == 0 { low.to_le_bytes() } else { (low >> shift | word(seed, index + 1) << (64 - shift)).to_le_bytes() }
}

/// Writes what belongs in `bytes` bytes.
///
/// # Safety
/// - So many bytes are the caller's.
pub unsafe fn write(at: *mut u8, bytes: usize, seed: u64) {
    for (from, count) in places(bytes) {
        // SAFETY: the caller's duty: places lie within.
        let part = unsafe { std::slice::from_raw_parts_mut(at.add(from), count) };
        let (words, rest) = part.as_chunks_mut();
        words.iter_mut().enumerate().for_each(|(i, word)| *word = expected(seed, from + i * 8));
        let last = expected(seed, from + words.len() * 8);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// The first byte below `until` that is not as [`write()`] left it.
///
/// # Safety
/// - So many bytes are the caller's, and were written.
pub unsafe fn first_wrong(at: *const u8, bytes: usize, until: usize, seed: u64) -> Option<usize> {
    places(bytes).find_map(|(from, count)| {
        let count = count.min(until.saturating_sub(from));
        if count == 0 {
            return None;
        }
        // SAFETY: the caller's duty: places lie within.
        let part = unsafe { std::slice::from_raw_parts(at.add(from), count) };
        let (words, rest) = part.as_chunks();
        let wrong =
            words.iter().enumerate().find(|(i, word)| **word != expected(seed, from + i * 8)).map(|(i, _)| i * 8);
        let at = words.len() * 8;
        let in_rest = || rest.iter().zip(expected(seed, from + at)).any(|(byte, right)| *byte != right).then_some(at);
        wrong.or_else(in_rest).map(|at| from + at)
    })
}

/// The first byte of `[from, until)` that is not zero, of those that are looked at.
///
/// # Safety
/// - They are the caller's to read.
pub unsafe fn first_not_zero(at: *const u8, from: usize, until: usize) -> Option<usize> {
    places(until.saturating_sub(from)).find_map(|(start, count)| {
        // SAFETY: the caller's duty: places lie within.
        let part = unsafe { std::slice::from_raw_parts(at.add(from + start), count) };
        // By words first: most of it is zero.
        let (words, rest) = part.as_chunks::<8>();
        let is_zero = words.iter().all(|word| *word == [0; 8]) && rest.iter().all(|byte| *byte == 0);
        if is_zero { None } else { part.iter().position(|byte| *byte != 0).map(|i| from + start + i) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_tell_each_byte_that_changed() {
        for bytes in [0, 1, 7, 8, 100, 2048, 2049, 5000] {
            let mut block = vec![0_u8; bytes];
            // SAFETY: a vector's bytes.
            let wrong = |block: &[u8]| unsafe { first_wrong(block.as_ptr(), bytes, bytes, 77) };
            // SAFETY: as above.
            unsafe { write(block.as_mut_ptr(), bytes, 77) };
            assert_eq!(wrong(&block), None);
            for at in places(bytes).flat_map(|(from, count)| from..from + count) {
                block[at] ^= 1;
                let found = wrong(&block);
                assert!(found.is_some_and(|found| found <= at && at < found + 8), "byte {at} of {bytes}: {found:?}");
                block[at] ^= 1;
            }
        }
    }

    #[test]
    fn places_reach_both_ends() {
        for bytes in [1, 2048, 2049, 65536, 1 << 32] {
            let (mut least, mut most) = (usize::MAX, 0);
            for (from, count) in places(bytes) {
                assert!(from + count <= bytes);
                (least, most) = (least.min(from), most.max(from + count));
            }
            assert_eq!((least, most), (0, bytes));
        }
    }
}
