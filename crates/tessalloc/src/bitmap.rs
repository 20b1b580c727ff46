//! Runs of bits in one word: pure arithmetic.
#![forbid(unsafe_code)]

/// A word with `count` ones (1..=64) from bit `at` on; `at + count` is at most 64.
#[inline]
pub(crate) const fn mask(at: u32, count: u32) -> u64 {
    debug_assert!(count >= 1 && at + count <= 64);
    (u64::MAX >> (64 - count)) << at
}

/// The lowest position from which `count` (1..=64) ones stand in a row and which, counted from `skew` before the word, is a
/// multiple of `align` (a power of two up to 64).
#[inline]
pub(crate) const fn find_run(word: u64, count: u32, align: u32, skew: u32) -> Option<u32> {
    // After each step a one at bit i says: `have` ones stand from i on.
    let mut ones = word;
    let mut have = 1;
    while have < count {
        let step = if have < count - have { have } else { count - have };
        ones &= ones >> step;
        have += step;
    }
    ones &= aligned_positions(align).rotate_right(skew);
    if ones == 0 { None } else { Some(ones.trailing_zeros()) }
}

/// Ones at the multiples of `align`.
const fn aligned_positions(align: u32) -> u64 {
    match align {
        1 => u64::MAX,
        2 => 0x5555_5555_5555_5555,
        4 => 0x1111_1111_1111_1111,
        8 => 0x0101_0101_0101_0101,
        16 => 0x0001_0001_0001_0001,
        32 => 0x0000_0001_0000_0001,
        _ => 1,
    }
}

/// The highest one at or below bit `at`.
#[inline]
pub(crate) const fn last_one_until(word: u64, at: u32) -> Option<u32> {
    let below = word & (u64::MAX >> (63 - at));
    if below == 0 { None } else { Some(63 - below.leading_zeros()) }
}

/// The runs of ones of a word, lowest first, as (position, count).
pub(crate) struct Runs(pub(crate) u64);

impl Iterator for Runs {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        if self.0 == 0 {
            return None;
        }
        let at = self.0.trailing_zeros();
        let count = (self.0 >> at).trailing_ones();
        self.0 &= !mask(at, count);
        Some((at, count))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn naive(word: u64, count: u32, align: u32, skew: u32) -> Option<u32> {
        let is_aligned = |at: u32| (at + skew).is_multiple_of(align);
        (0..=64 - count).find(|at| is_aligned(*at) && (0..count).all(|i| word >> (at + i) & 1 == 1))
    }

    /// A small generator with a printed seed: the same words on every machine.
    fn words() -> impl Iterator<Item = u64> {
        let mut state = 0x1234_5678_9abc_def0u64;
        (0..2000).map(move |i| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match i % 4 {
                0 => state,
                1 => state | state.rotate_left(1) | state.rotate_left(2),
                2 => !(state & state.rotate_left(9)),
                _ => u64::MAX << (state % 64),
            }
        })
    }

    #[test]
    fn find_run_agrees_with_the_naive_search() {
        for word in words().chain([0, u64::MAX, 1, 1 << 63]) {
            for count in 1..=64 {
                for (align, skew) in [(1, 5), (2, 0), (2, 1), (4, 0), (8, 3), (16, 0), (32, 31), (64, 0), (64, 17)] {
                    let (found, expected) = (find_run(word, count, align, skew), naive(word, count, align, skew));
                    assert_eq!(found, expected, "{word:#x} {count} {align} {skew}");
                }
            }
        }
    }

    #[test]
    fn runs_rebuild_the_word() {
        for word in words() {
            assert_eq!(Runs(word).fold(0, |built, (at, count)| built | mask(at, count)), word);
        }
    }

    #[test]
    fn last_one_until_finds_the_start_below() {
        assert_eq!(last_one_until(0b1010, 3), Some(3));
        assert_eq!(last_one_until(0b1010, 2), Some(1));
        assert_eq!(last_one_until(0b1010, 0), None);
        assert_eq!(last_one_until(u64::MAX, 63), Some(63));
    }
}
