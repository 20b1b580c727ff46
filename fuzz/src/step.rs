//! Programs: a step is a word of 64 bits, every word is a step, and smaller words are simpler ones. So a program is what a fuzzer or
//! a generator makes of plain numbers, and it shrinks as they do.
//!
//! | bits   | field                                             |
//! |--------|---------------------------------------------------|
//! | 0..8   | which step                                        |
//! | 8..16  | which block, thread or heap: modulo those there are |
//! | 16..24 | which of the functions that do it, and how many    |
//! | 24..32 | alignment                                         |
//! | 32..64 | size                                              |

use std::fmt;

/// How much of a block reads zero at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeroed {
    /// Nothing that is known.
    No,
    /// What was asked for.
    Request,
    /// All that is usable.
    Whole,
}

/// What a block is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unit: bytes.
    pub size: usize,
    /// `block + offset` is a multiple of it.
    pub align: usize,
    /// Unit: bytes.
    pub offset: usize,
    /// What reads zero.
    pub zeroed: Zeroed,
}

/// One step of a program. `which` is taken modulo what there is; `way` chooses among functions that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Step {
    Allocate {
        way: u8,
        count: usize,
        request: Request,
    },
    AllocateIn {
        heap: u8,
        way: u8,
        count: usize,
        request: Request,
    },
    Reallocate {
        which: u8,
        way: u8,
        request: Request,
    },
    ReallocateIn {
        heap: u8,
        which: u8,
        way: u8,
        request: Request,
    },
    Free {
        which: u8,
        way: u8,
    },
    /// Frees every n-th block.
    FreeMany {
        from: u8,
        stride: usize,
        way: u8,
    },
    Expand {
        which: u8,
        size: usize,
    },
    Look {
        which: u8,
    },
    Switch {
        thread: u8,
    },
    EndThread {
        thread: u8,
    },
    NewHeap {
        heap: u8,
        flavour: u8,
    },
    DeleteHeap {
        heap: u8,
    },
    DestroyHeap {
        heap: u8,
    },
    ClearHeap {
        heap: u8,
    },
    PurgeHeap {
        heap: u8,
    },
    Purge,
    Idle,
    /// Hands a block to another program that runs at the same time.
    Give {
        which: u8,
    },
    /// Takes one that another gave.
    Take,
    /// Begins or ends a profile, or the guarding of blocks.
    Sample {
        way: u8,
    },
    /// Compares the blocks that a walk tells with the model's.
    Walk,
    /// The core's own invariants.
    Check,
}

/// Sizes at which blocks go from one class to the next, as `docs/internals` tells them and the core does not: 8, multiples of 16 to 128,
/// then eight to a doubling up to 64 KiB.
pub fn class_sizes() -> impl Iterator<Item = usize> + Clone {
    let fine = (1..=8).map(|step| step * 16);
    let coarse = (7..16).flat_map(|power| (9..=16).map(move |eighth| (eighth << power) / 8));
    std::iter::once(8).chain(fine).chain(coarse)
}

/// How many [`class_sizes`] there are.
const CLASS_COUNT: usize = 1 + 8 + 9 * 8;
/// The largest power of two that is asked for: 4 GiB.
pub const POWER_MAX: u32 = 32;
/// Alignments at an offset go so far.
const OFFSET_POWER_MAX: u32 = 22;

/// The size that a word's upper half asks for.
fn size_of_bits(bits: u32) -> usize {
    let (mode, rest) = (bits & 7, bits >> 3);
    let beside = |size: usize, rest: u32| (size + rest as usize % 3).saturating_sub(1);
    match mode {
        0 | 1 => beside(class_sizes().nth(rest as usize % CLASS_COUNT).unwrap_or(8), rest >> 8),
        2 => rest as usize % 257,
        3 => rest as usize % (8 << 10),
        4 => rest as usize % (160 << 10),
        5 => beside(1 << (rest % 19), rest >> 8),
        // Whole slices, and powers of two that need several.
        6 if rest & 1 == 0 => beside((1 + (rest as usize >> 1) % 70) << 16, rest >> 8),
        6 => beside(1 << (16 + (rest >> 1) % 10), rest >> 8),
        _ if rest & 15 == 0 => beside(1 << (26 + (rest >> 4) % (POWER_MAX - 25)), rest >> 12),
        _ => beside(1 << (10 + (rest >> 4) % 13), rest >> 12),
    }
}

fn align_of_bits(bits: u8) -> usize {
    let power = match bits {
        0..=127 => u32::from(bits) % 5,
        128..=223 => u32::from(bits) % 13,
        224..=249 => u32::from(bits) % 23,
        _ => (u32::from(bits) - 250) * 2 + 22,
    };
    1 << power.min(POWER_MAX)
}

/// Blocks up to this size are now and then asked for in numbers.
const MANY_BYTES_MAX: usize = 16 << 10;

impl Step {
    /// The step that a word is.
    pub fn of_word(word: u64) -> Step {
        let [kind, which, way, alignment, ..] = word.to_le_bytes();
        let size = size_of_bits((word >> 32) as u32);
        let zeroed = match way >> 5 & 3 {
            0 | 1 => Zeroed::No,
            2 => Zeroed::Request,
            _ => Zeroed::Whole,
        };
        let mut align = align_of_bits(alignment);
        let mut offset = 0;
        if way >= 224 {
            align = align.min(1 << OFFSET_POWER_MAX);
            offset = [8, 16, 1, 24, size / 2, align / 2, size, align.wrapping_neg()][usize::from(which & 7)];
        }
        let request = Request { size, align, offset, zeroed };
        let count =
            if size <= MANY_BYTES_MAX && align <= 64 && way & 24 == 24 { 1 + usize::from(which) % 64 } else { 1 };
        match kind {
            0..=69 => Step::Allocate { way, count, request },
            70..=99 => Step::AllocateIn { heap: which, way, count, request },
            100..=127 => Step::Reallocate { which, way, request },
            128..=139 => Step::ReallocateIn { heap: alignment, which, way, request },
            140..=193 => Step::Free { which, way },
            194..=203 => Step::FreeMany { from: which, stride: 1 + usize::from(way) % 7, way },
            204..=209 => Step::Expand { which, size },
            210..=213 => Step::Look { which },
            214..=224 => Step::Switch { thread: which },
            225..=228 => Step::EndThread { thread: which },
            229..=232 => Step::NewHeap { heap: which, flavour: way },
            233..=234 => Step::DeleteHeap { heap: which },
            235..=236 => Step::DestroyHeap { heap: which },
            237..=238 => Step::ClearHeap { heap: which },
            239..=240 => Step::PurgeHeap { heap: which },
            241 => Step::Purge,
            242..=243 => Step::Idle,
            244..=247 => Step::Give { which },
            248..=249 => Step::Take,
            250..=251 => Step::Sample { way },
            252..=253 => Step::Walk,
            _ => Step::Check,
        }
    }
}

/// A program as it was made; shows itself as its steps, and as what `TESSALLOC_TEST_PROGRAM` takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Program(pub Vec<u64>);

impl Program {
    /// The program that bytes are: eight to a step.
    pub fn of_bytes(bytes: &[u8]) -> Program {
        Program(bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect())
    }

    /// The program of a text that [`fmt::Debug`] wrote: words as hexadecimal numbers.
    pub fn of_text(text: &str) -> Option<Program> {
        text.split(',').map(|word| u64::from_str_radix(word.trim(), 16).ok()).collect::<Option<_>>().map(Program)
    }

    /// Its steps.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().map(|word| Step::of_word(*word))
    }

    /// What [`Program::of_text`] reads.
    pub fn text(&self) -> String {
        self.0.iter().map(|word| format!("{word:x}")).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "TESSALLOC_TEST_PROGRAM={}", self.text())?;
        self.steps().enumerate().try_for_each(|(at, step)| writeln!(to, "  {at:3} {step:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_sizes_are_as_many_as_said_and_rise() {
        let sizes: Vec<usize> = class_sizes().collect();
        assert_eq!(sizes.len(), CLASS_COUNT);
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((sizes[0], sizes[9], *sizes.last().unwrap()), (8, 144, 64 << 10));
        assert!(sizes.iter().all(|size| tessalloc::raw::good_size(*size) == (*size).max(16)));
    }

    /// Every boundary and power of two, one less and one more, is the size of some step; every power of two is an alignment of one.
    #[test]
    fn steps_reach_every_boundary() {
        let reached: std::collections::HashSet<usize> = (0..1 << 18).map(size_of_bits).collect();
        let powers = (0..=POWER_MAX).map(|power| 1_usize << power);
        for size in class_sizes().chain(powers.clone()).flat_map(|size| [size - 1, size, size + 1]) {
            assert!(reached.contains(&size), "no step asks for {size} bytes");
        }
        let aligns: std::collections::HashSet<usize> = (0..=255).map(align_of_bits).collect();
        for align in powers.filter(|align| align.ilog2() <= 22 || align.ilog2() % 2 == 0) {
            assert!(aligns.contains(&align), "no step asks for alignment {align}");
        }
    }

    #[test]
    fn programs_read_what_they_write() {
        let program = Program(vec![0, 0x1234, u64::MAX]);
        assert_eq!(Program::of_text(&program.text()), Some(program));
    }
}
