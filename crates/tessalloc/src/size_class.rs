//! Size classes: pure arithmetic.
//!
//! | class | block bytes | step |
//! |-------|-------------|------|
//! | 0 | – | *special*: not a plain page of the default heap |
//! | 1 | 8 | for alignments up to 8 only |
//! | 2..=9 | 16, 32, … 128 | 16 |
//! | 10..=17 | 144, … 256 | 16 |
//! | 18..=25 | 288, … 512 | 32 |
//! | … | eight to a doubling, at most 12.5 % lost | |
//! | 74..=81 | 36 KiB, … 64 KiB | 4 KiB |
#![forbid(unsafe_code)]

/// Index of a block size; 0 is *special*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SizeClass(u8);

/// Classes and the special value 0.
pub(crate) const CLASS_COUNT: usize = 82;
/// The largest block that shares a page with others.
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;
/// The largest size that the table answers.
pub(crate) const TABLE_BYTES_MAX: usize = 8 << 10;
/// Blocks up to this size live in pages of one slice.
pub(crate) const ONE_SLICE_BYTES_MAX: usize = 8 << 10;

/// Block bytes by class.
pub(crate) static BLOCK_BYTES: [u32; CLASS_COUNT] = block_bytes_by_class();
const CLASS_BYTES: [u32; CLASS_COUNT] = block_bytes_by_class();
/// Class by size in units of 8 bytes, rounded up.
static TABLE: [u8; TABLE_BYTES_MAX / 8 + 1] = class_by_eighth();

const fn block_bytes_by_class() -> [u32; CLASS_COUNT] {
    let mut bytes = [0; CLASS_COUNT];
    bytes[1] = 8;
    let mut class = 2;
    while class < CLASS_COUNT {
        bytes[class] = if class < 10 {
            (class as u32 - 1) * 16
        } else {
            let doubling = (class as u32 - 10) / 8;
            (9 + (class as u32 - 10) % 8) * (16 << doubling)
        };
        class += 1;
    }
    bytes
}

/// The same for C, whose blocks are all aligned to 16: nothing goes to class 1.
static C_TABLE: [u8; TABLE_BYTES_MAX / 8 + 1] = {
    let mut table = TABLE;
    table[0] = 2;
    table[1] = 2;
    table
};

const fn class_by_eighth() -> [u8; TABLE_BYTES_MAX / 8 + 1] {
    let mut table = [1; TABLE_BYTES_MAX / 8 + 1];
    let mut class = 1;
    let mut unit = 1;
    while unit < table.len() {
        while (CLASS_BYTES[class] as usize) < unit * 8 {
            class += 1;
        }
        table[unit] = class as u8;
        unit += 1;
    }
    table
}

impl SizeClass {
    /// Not a plain page of the default heap.
    pub(crate) const SPECIAL: SizeClass = SizeClass(0);

    /// The smallest class of 16-byte aligned blocks that holds `bytes`, at most [`SMALL_BYTES_MAX`].
    #[inline(always)]
    pub(crate) const fn of_bytes(bytes: usize) -> SizeClass {
        // Sizes up to 8 have a class of their own, which is aligned to 8 only.
        Self::of_rounded(if bytes <= 8 { 16 } else { bytes })
    }

    /// The smallest class whose blocks hold `bytes` and are multiples of `align`, so that pages that start aligned make them
    /// aligned; `None` beyond [`SMALL_BYTES_MAX`].
    ///
    /// Rounding the size up to the alignment is enough: classes between two powers of two are the multiples of an eighth of the
    /// lower one, so a multiple of a larger power of two is itself a class, and all are multiples of a smaller one.
    #[inline(always)]
    pub(crate) const fn of_layout(bytes: usize, align: usize) -> Option<SizeClass> {
        if bytes > SMALL_BYTES_MAX || align > SMALL_BYTES_MAX {
            return None;
        }
        Some(Self::of_rounded(Self::round(bytes, align)))
    }

    /// As [`SizeClass::of_bytes`], for at most [`TABLE_BYTES_MAX`]: one look-up.
    #[inline(always)]
    pub(crate) const fn of_c_bytes(bytes: usize) -> SizeClass {
        SizeClass(C_TABLE[(bytes + 7) >> 3])
    }

    #[inline(always)]
    const fn round(bytes: usize, align: usize) -> usize {
        // Size 0 at a large alignment still needs a block that is a multiple of it.
        let bytes = if bytes == 0 { 1 } else { bytes };
        bytes.wrapping_add(align - 1) & !(align - 1)
    }

    #[inline(always)]
    const fn of_rounded(bytes: usize) -> SizeClass {
        if bytes <= TABLE_BYTES_MAX {
            return SizeClass(TABLE[(bytes + 7) >> 3]);
        }
        // Between 2^k (exclusive) and 2^(k+1): eight steps of 2^(k-3).
        let k = (bytes - 1).ilog2();
        let step = (bytes - 1) >> (k - 3);
        SizeClass((10 + (k - 7) * 8 + (step as u32 - 8)) as u8)
    }

    /// The class with this index; `index` is below [`CLASS_COUNT`].
    #[inline(always)]
    pub(crate) const fn from_index(index: usize) -> SizeClass {
        debug_assert!(index < CLASS_COUNT);
        SizeClass(index as u8)
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of a block; 0 for the special class.
    #[inline(always)]
    pub(crate) const fn block_bytes(self) -> usize {
        CLASS_BYTES[self.0 as usize] as usize
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn size_class_covers_every_request_with_little_loss() {
        let mut last = SizeClass::from_index(1);
        for bytes in 0..=SMALL_BYTES_MAX {
            let class = SizeClass::of_bytes(bytes);
            assert!(class.block_bytes() >= bytes.max(1));
            assert!(bytes <= 128 || class.block_bytes() * 8 <= bytes * 9 + 8, "{bytes} -> {}", class.block_bytes());
            assert!(class.block_bytes().is_multiple_of(16));
            assert!(class.index() >= last.index(), "classes rise with the size");
            let below = SizeClass::from_index(class.index() - 1);
            assert!(class.index() == 2 || below.block_bytes() < bytes, "{bytes}: the class below would do");
            last = class;
        }
        assert_eq!(last.index(), CLASS_COUNT - 1);
        assert_eq!(last.block_bytes(), SMALL_BYTES_MAX);
    }

    #[test]
    fn size_class_of_layout_is_a_multiple_of_the_alignment() {
        for shift in 0..=16 {
            let align = 1usize << shift;
            for bytes in (0..=SMALL_BYTES_MAX).step_by(7) {
                let class = SizeClass::of_layout(bytes, align).unwrap();
                assert!(
                    class.block_bytes() >= bytes && class.block_bytes().is_multiple_of(align),
                    "{bytes} at {align}"
                );
            }
        }
        assert_eq!(SizeClass::of_layout(SMALL_BYTES_MAX + 1, 8), None);
        assert_eq!(SizeClass::of_layout(1, SMALL_BYTES_MAX * 2), None);
    }

    #[test]
    fn size_class_eight_serves_small_alignments_only() {
        assert_eq!(SizeClass::of_layout(8, 8).unwrap().block_bytes(), 8);
        assert_eq!(SizeClass::of_layout(8, 16).unwrap().block_bytes(), 16);
        assert_eq!(SizeClass::of_bytes(0).block_bytes(), 16);
    }
}
