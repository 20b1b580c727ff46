//! The arithmetic of sampling by bytes, without a mathematical library: when the next sample is due, and for how many allocations
//! one stands.
//!
//! Samples are the events of a Poisson process over the bytes that a thread asks for, with `mean` bytes between two: a request of
//! `size` bytes is a sample with the probability `1 - exp(-size / mean)`, whatever came before it.
#![forbid(unsafe_code)]

/// What estimates of counts are kept in: 1,024 is one allocation.
pub(crate) const ONE: u64 = 1024;

/// Random numbers of one thread (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Bytes until the next sample: at least 1, `mean` (≥ 1) on average.
    pub(crate) fn gap(&mut self, mean: u64) -> u64 {
        if mean <= 1 {
            return 1;
        }
        // 53 bits, in (0, 1].
        let uniform = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        // Rounded up: a request of `size` bytes takes part in the gap exactly where the gap, a real number, is at most `size`.
        let gap = -ln(uniform) * mean as f64;
        gap as u64 + 1
    }
}

/// For how many allocations a sample of `size` bytes stands, in units of 1 / [`ONE`], to the nearest.
pub(crate) fn weight(size: u64, mean: u64) -> u64 {
    if mean <= 1 {
        return ONE;
    }
    (ONE as f64 / one_less_exp(size.max(1) as f64 / mean as f64) + 0.5) as u64
}

/// Bytes for which a sample of `size` bytes stands.
pub(crate) fn weighed_bytes(size: u64, weight: u64) -> u64 {
    (u128::from(size) * u128::from(weight) / u128::from(ONE)) as u64
}

/// The natural logarithm of a normal number above 0.
fn ln(value: f64) -> f64 {
    const MANTISSA: u32 = 52;
    const BIAS: i64 = 1023;
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA) as i64 - BIAS;
    let fraction = f64::from_bits(bits & ((1 << MANTISSA) - 1) | (BIAS as u64) << MANTISSA);
    // 2 artanh((m - 1) / (m + 1)), whose argument is at most 1/3.
    let t = (fraction - 1.0) / (fraction + 1.0);
    let (mut power, mut sum) = (t, 0.0);
    for odd in 0..18 {
        sum += power / f64::from(2 * odd + 1);
        power *= t * t;
    }
    exponent as f64 * core::f64::consts::LN_2 + 2.0 * sum
}

/// `1 - exp(-x)` of a number above 0.
fn one_less_exp(x: f64) -> f64 {
    /// From here on the result is 1 to the last bit.
    const ONE_FROM: f64 = 40.0;
    if x >= ONE_FROM {
        return 1.0;
    }
    // Halved until the series is short; `1 - exp(-2y)` is `z (2 - z)` of `z = 1 - exp(-y)`.
    let (mut y, mut halvings) = (x, 0);
    while y > 0.25 {
        y /= 2.0;
        halvings += 1;
    }
    let (mut term, mut sum) = (y, 0.0);
    for n in 2..14 {
        sum += term;
        term *= -y / f64::from(n);
    }
    for _ in 0..halvings {
        sum *= 2.0 - sum;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-13 * expected.abs().max(1e-300)
    }

    #[test]
    fn functions_agree_with_the_mathematical_library() {
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let x = (random.next() >> 11) as f64 / (1u64 << 53) as f64 + 1e-17;
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "{x}");
            for scale in [1e-9, 1e-3, 1.0, 50.0] {
                let x = x * scale;
                assert!(is_near(one_less_exp(x), -(-x).exp_m1()), "{x}");
            }
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn gaps_have_their_mean_and_are_without_memory() {
        const COUNT: u64 = 200_000;
        let mut random = Random::new(7);
        for mean in [1u64, 2, 100, 512 << 10] {
            let gaps: std::vec::Vec<u64> = (0..COUNT).map(|_| random.gap(mean)).collect();
            assert!(gaps.iter().all(|gap| *gap >= 1));
            // Rounding up adds half a byte at large means: 1 / (1 - exp(-1 / mean)) is the mean of the rounded ones.
            let expected = if mean == 1 { 1.0 } else { 1.0 / one_less_exp(1.0 / mean as f64) };
            let found = gaps.iter().sum::<u64>() as f64 / COUNT as f64;
            // Six standard errors of an exponential distribution.
            assert!((found - expected).abs() <= 6.0 * expected / (COUNT as f64).sqrt(), "{mean}: {found}");
            let above = |bytes: u64| gaps.iter().filter(|gap| **gap > bytes).count() as f64;
            if mean >= 100 {
                let (once, twice) = (above(mean) / COUNT as f64, above(2 * mean) / above(mean));
                assert!((once - twice).abs() < 0.02, "{mean}: {once} {twice}");
            }
        }
    }

    #[test]
    fn weights_undo_the_chance_of_being_a_sample() {
        assert_eq!([weight(1, 1), weight(1 << 40, 512 << 10), weight(100, 0)], [ONE; 3]);
        for (size, mean) in [(1u64, 512u64 << 10), (100, 4096), (4096, 4096), (1 << 20, 1 << 19)] {
            let chance = -(-(size as f64) / mean as f64).exp_m1();
            assert!((weight(size, mean) as f64 * chance / ONE as f64 - 1.0).abs() < 1e-3, "{size} {mean}");
        }
        assert_eq!(weighed_bytes(1000, 3 * ONE), 3000);
    }
}
