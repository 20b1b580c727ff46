//! The invariants of a buffer's tables, told by walking them. Naive on purpose: unit by unit, bit by bit.

use std::vec;

use super::*;

impl Table<'_> {
    /// Checks T1–T8.
    pub(crate) fn check_all(&self) {
        let units = self.kinds.len();
        let bit = |unit: usize| self.free[unit / 64] >> (unit % 64) & 1 == 1;
        assert!((units..self.free.len() * 64).all(|unit| !bit(unit)), "T1: no unit past the last is free");

        let (mut rooms, mut lowest) = ([0; CLASS_COUNT], [u32::MAX; CLASS_COUNT]);
        let (mut bytes, mut blocks) = (0, 0);
        let mut is_taken = vec![false; units];
        let mut unit = 0;
        while unit < units {
            let kind = self.kinds[unit];
            let length = match kind {
                0 => 1,
                RUN => {
                    bytes += self.blocks[unit] as usize * UNIT_BYTES;
                    blocks += 1;
                    self.blocks[unit] as usize
                }
                _ => {
                    let class = usize::from(kind & !ROOM);
                    assert!((1..CLASS_COUNT).contains(&class), "T2: unit {unit} begins a page or a run, not {kind:#x}");
                    let class = SizeClass::from_index(class);
                    let (length, fit) = (usize::from(PAGE_UNITS[class.index()]), blocks_of(class));
                    let is_free = |index: usize| self.blocks[unit] >> index & 1 == 1;
                    let free = (0..fit).filter(|&index| is_free(index)).count();
                    assert!((fit..64).all(|index| !is_free(index)), "T3: a free block past the last of page {unit}");
                    assert!(free < fit, "T3: page {unit} is empty and was not given back");
                    assert_eq!(kind & ROOM != 0, free > 0, "T2: page {unit} says whether it has room");
                    if free > 0 {
                        rooms[class.index()] += 1;
                        lowest[class.index()] = lowest[class.index()].min(unit as u32);
                    }
                    for distance in 1..length {
                        let further = self.kinds.get(unit + distance);
                        assert_eq!(further, Some(&(BACK | distance as u8)), "T2: unit {distance} of page {unit}");
                    }
                    bytes += (fit - free) * class.block_bytes();
                    blocks += fit - free;
                    length
                }
            };
            assert!(length >= 1 && unit + length <= units, "T3: what begins at unit {unit} ends in the buffer");
            if kind != 0 {
                is_taken[unit..unit + length].fill(true);
                let inner = &self.kinds[unit + 1..unit + length];
                assert!(kind != RUN || inner.iter().all(|&kind| kind == 0), "T2: nothing begins inside of run {unit}");
            }
            unit += length;
        }

        for (unit, &is_taken) in is_taken.iter().enumerate() {
            assert_eq!(bit(unit), !is_taken, "T1: unit {unit} is free exactly if nothing has it");
        }
        assert_eq!(self.heads.rooms, rooms, "T4: pages with room");
        for class in 1..CLASS_COUNT {
            let is_bound = rooms[class] == 0 || self.heads.lowest_room[class] <= lowest[class];
            assert!(is_bound, "T5: a page of class {class} with room lies below the lowest");
        }
        let below = &is_taken[..self.heads.lowest_free.min(units)];
        assert!(below.iter().all(|&is_taken| is_taken), "T6: a unit below the lowest is free");
        let free_units = is_taken.iter().filter(|&&is_taken| !is_taken).count();
        assert_eq!(self.heads.free_units, free_units, "T7: free units");
        assert_eq!((self.heads.allocated_bytes, self.heads.blocks_in_use), (bytes, blocks), "T8: what is handed out");
        assert!(self.heads.allocated_peak_bytes >= bytes, "T8: the peak is no less than now");
    }
}
