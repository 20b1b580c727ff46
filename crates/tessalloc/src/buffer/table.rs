//! Who has which unit of a buffer: arithmetic on three arrays, without touching a block.
//!
//! A unit is 512 bytes. A *page* is a few units with blocks of one class up to 2 KiB; a *run* is the units of one larger block, or
//! of one aligned beyond a unit. Of several places the lowest is taken.
//!
//! | field         | unit       | always true                                                                                  |
//! |---------------|------------|----------------------------------------------------------------------------------------------|
//! | `free`        | bit a unit | T1 a one exactly while no page and no run has the unit; what is past the last unit is zero     |
//! | `kinds`       | byte a unit | T2 first unit of a run: [`RUN`]; of a page: its class, with [`ROOM`] exactly while a block of it is free; further units of a page: [`BACK`] and the distance to the first; else 0 |
//! | `blocks`      | word a unit | T3 first unit of a page: a one for each free block, and not for all of them; of a run: its units |
//! | `rooms`       | pages      | T4 by class: how many have room                                                              |
//! | `lowest_room` | unit       | T5 by class: no page with room begins below                                                  |
//! | `lowest_free` | unit       | T6 no unit below is free                                                                     |
//! | `free_units`  | units      | T7 the ones of `free`                                                                        |
//! | `allocated_bytes`, `blocks_in_use` | | T8 the blocks handed out, at their usable sizes; the peak is no less           |
//!
//! Bounds: one step a unit to find a page with room (none where the lowest has some), one for each word of 64 units and each run
//! of free units to find a place for a page or a run, one a word to take it or give it back.
#![forbid(unsafe_code)]

use super::BufferStats;
use crate::bitmap::mask;
use crate::size_class::{BLOCK_BYTES, SizeClass};

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

/// The smallest part of a buffer that changes hands.
pub(super) const UNIT_BYTES: usize = 512;
/// Larger blocks are runs of whole units: at most a fifth of one is lost.
const SMALL_BYTES_MAX: usize = 2048;
/// Classes up to [`SMALL_BYTES_MAX`], and the unused 0.
const CLASS_COUNT: usize = 42;
const _: () = assert!(BLOCK_BYTES[CLASS_COUNT - 1] as usize == SMALL_BYTES_MAX);

/// The first unit of a run.
const RUN: u8 = 0x3f;
/// A block of the page is free.
const ROOM: u8 = 0x40;
/// A further unit of a page; the other bits say how many units back it begins.
const BACK: u8 = 0x80;
const _: () = assert!(CLASS_COUNT <= RUN as usize);

/// Units of a page, by class.
static PAGE_UNITS: [u8; CLASS_COUNT] = page_units_by_class();

/// As few units as lose at most an eighth.
const fn page_units_by_class() -> [u8; CLASS_COUNT] {
    let mut table = [0; CLASS_COUNT];
    let mut class = 1;
    while class < CLASS_COUNT {
        let mut units = 1;
        while units * UNIT_BYTES % BLOCK_BYTES[class] as usize * 8 > units * UNIT_BYTES {
            units += 1;
        }
        // The free blocks of a page fit a word, and distances into it a byte.
        assert!(units * UNIT_BYTES / BLOCK_BYTES[class] as usize <= 64 && units <= BACK as usize);
        table[class] = units as u8;
        class += 1;
    }
    table
}

/// Blocks of a page of a class.
fn blocks_of(class: SizeClass) -> usize {
    usize::from(PAGE_UNITS[class.index()]) * UNIT_BYTES / class.block_bytes()
}

/// Units that hold so many bytes; rounds up, and at least one.
fn units_of(bytes: usize) -> usize {
    bytes.max(1).div_ceil(UNIT_BYTES)
}

/// What a buffer keeps beside the arrays.
pub(super) struct Heads {
    rooms: [u32; CLASS_COUNT],
    lowest_room: [u32; CLASS_COUNT],
    lowest_free: usize,
    free_units: usize,
    allocated_bytes: usize,
    allocated_peak_bytes: usize,
    blocks_in_use: usize,
}

impl Heads {
    /// Of a buffer without a unit.
    pub(super) const EMPTY: Heads = Heads {
        rooms: [0; CLASS_COUNT],
        lowest_room: [0; CLASS_COUNT],
        lowest_free: 0,
        free_units: 0,
        allocated_bytes: 0,
        allocated_peak_bytes: 0,
        blocks_in_use: 0,
    };

    fn count(&mut self, bytes: usize) {
        self.allocated_bytes += bytes;
        self.allocated_peak_bytes = self.allocated_peak_bytes.max(self.allocated_bytes);
        self.blocks_in_use += 1;
    }
}

/// The state of a buffer, for one call. Places are told by their distance from the first unit, in bytes.
pub(super) struct Table<'a> {
    pub(super) heads: &'a mut Heads,
    pub(super) free: &'a mut [u64],
    pub(super) blocks: &'a mut [u64],
    pub(super) kinds: &'a mut [u8],
    /// The first unit's address in units.
    pub(super) first: usize,
}

/// A block that is handed out.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Run { unit: usize, units: usize },
    Block { page: usize, class: SizeClass, index: usize },
}

impl Place {
    /// Its distance from the first unit.
    pub(super) fn at(self) -> usize {
        match self {
            Place::Run { unit, .. } => unit * UNIT_BYTES,
            Place::Block { page, class, index } => page * UNIT_BYTES + index * class.block_bytes(),
        }
    }

    /// Its usable bytes.
    pub(super) fn bytes(self) -> usize {
        match self {
            Place::Run { units, .. } => units * UNIT_BYTES,
            Place::Block { class, .. } => class.block_bytes(),
        }
    }
}

impl Table<'_> {
    /// Makes all units free. Heads and arrays are as in a buffer without a unit: zero.
    pub(super) fn begin(&mut self) {
        self.give(0, self.kinds.len());
    }

    /// A block, or `None` if no place fits: no block of a page that is free, large enough and of a class that is a multiple of
    /// `align`, and no run of free units.
    pub(super) fn alloc(&mut self, bytes: usize, align: usize) -> Option<Place> {
        let place = self.small(bytes, align).or_else(|| self.run(units_of(bytes), align))?;
        self.heads.count(place.bytes());
        Some(place)
    }

    /// The block that begins there and is handed out.
    pub(super) fn locate(&self, at: usize) -> Option<Place> {
        let unit = at / UNIT_BYTES;
        let kind = *self.kinds.get(unit)?;
        let first = if kind & BACK != 0 { unit - usize::from(kind & !BACK) } else { unit };
        let distance = at - first * UNIT_BYTES;
        match self.kinds[first] {
            0 => None,
            RUN => (distance == 0).then(|| Place::Run { unit, units: self.blocks[unit] as usize }),
            kind => {
                let class = SizeClass::from_index(usize::from(kind & !ROOM));
                let index = distance / class.block_bytes();
                let is_block = distance.is_multiple_of(class.block_bytes()) && index < blocks_of(class);
                let is_used = is_block && self.blocks[first] >> index & 1 == 0;
                is_used.then_some(Place::Block { page: first, class, index })
            }
        }
    }

    /// Takes a block back. Empty pages become free units at once.
    pub(super) fn free(&mut self, place: Place) {
        self.heads.allocated_bytes -= place.bytes();
        self.heads.blocks_in_use -= 1;
        match place {
            Place::Run { unit, units } => {
                self.kinds[unit] = 0;
                self.give(unit, units);
            }
            Place::Block { page, class, index } => self.free_small(page, class, index),
        }
    }

    /// The block at another size, at the same place if it can be; `None`, and nothing has changed, if no place fits. Its contents
    /// are still where they were.
    ///
    /// A run finds its new place as if it were free already, so the two may overlap. A small block does not.
    pub(super) fn resize(&mut self, place: Place, bytes: usize, align: usize) -> Option<Place> {
        match place {
            Place::Run { unit, units } => self.resize_run(unit, units, bytes, align),
            Place::Block { class, .. } => {
                let fits = bytes <= class.block_bytes() && self.is_aligned(place.at(), align);
                if fits && bytes * 2 > class.block_bytes() {
                    return Some(place);
                }
                match self.alloc(bytes, align) {
                    Some(new) if !fits || new.bytes() < place.bytes() => {
                        self.free(place);
                        Some(new)
                    }
                    // No smaller place for what shrinks.
                    Some(new) => {
                        self.free(new);
                        Some(place)
                    }
                    None => fits.then_some(place),
                }
            }
        }
    }

    pub(super) fn stats(&self) -> BufferStats {
        let mut longest = 0;
        let mut at = 0;
        while let Some(start) = self.next_free(at) {
            at = self.next_taken(start);
            longest = longest.max(at - start);
        }
        BufferStats {
            capacity_bytes: self.kinds.len() * UNIT_BYTES,
            allocated_bytes: self.heads.allocated_bytes,
            allocated_peak_bytes: self.heads.allocated_peak_bytes,
            free_bytes: self.heads.free_units * UNIT_BYTES,
            largest_free_bytes: longest * UNIT_BYTES,
            blocks: self.heads.blocks_in_use,
        }
    }

    /// A block of a page: of the class that fits best, if need be of a new page, else of the next larger class that has one.
    fn small(&mut self, bytes: usize, align: usize) -> Option<Place> {
        let class = match SizeClass::of_layout(bytes, align) {
            Some(class) if class.index() < CLASS_COUNT && align <= UNIT_BYTES => class,
            _ => return None,
        };
        self.block(class).or_else(|| self.new_page(class)).or_else(|| {
            let larger = (class.index() + 1..CLASS_COUNT).map(SizeClass::from_index);
            larger.filter(|class| class.block_bytes().is_multiple_of(align)).find_map(|class| self.block(class))
        })
    }

    /// A block of the lowest page of the class that has room.
    fn block(&mut self, class: SizeClass) -> Option<Place> {
        if self.heads.rooms[class.index()] == 0 {
            return None;
        }
        let lowest = self.heads.lowest_room[class.index()] as usize;
        let kind = class.index() as u8 | ROOM;
        let page = lowest + self.kinds[lowest..].iter().position(|&each| each == kind)?;
        self.heads.lowest_room[class.index()] = page as u32;
        let index = self.blocks[page].trailing_zeros() as usize;
        self.blocks[page] &= self.blocks[page] - 1;
        if self.blocks[page] == 0 {
            self.kinds[page] &= !ROOM;
            self.heads.rooms[class.index()] -= 1;
        }
        Some(Place::Block { page, class, index })
    }

    /// The first block of a new page; no page of the class has room.
    fn new_page(&mut self, class: SizeClass) -> Option<Place> {
        let units = usize::from(PAGE_UNITS[class.index()]);
        let page = self.first_fit(units, 1)?;
        self.take(page, units);
        for distance in 1..units {
            self.kinds[page + distance] = BACK | distance as u8;
        }
        self.kinds[page] = class.index() as u8 | ROOM;
        self.blocks[page] = mask(0, blocks_of(class) as u32);
        self.heads.rooms[class.index()] = 1;
        self.heads.lowest_room[class.index()] = page as u32;
        self.block(class)
    }

    fn free_small(&mut self, page: usize, class: SizeClass, index: usize) {
        if self.blocks[page] == 0 {
            let lowest = &mut self.heads.lowest_room[class.index()];
            *lowest = if self.heads.rooms[class.index()] == 0 { page as u32 } else { (*lowest).min(page as u32) };
            self.heads.rooms[class.index()] += 1;
            self.kinds[page] |= ROOM;
        }
        self.blocks[page] |= 1 << index;
        if self.blocks[page] == mask(0, blocks_of(class) as u32) {
            let units = usize::from(PAGE_UNITS[class.index()]);
            self.heads.rooms[class.index()] -= 1;
            self.kinds[page..page + units].fill(0);
            self.give(page, units);
        }
    }

    fn run(&mut self, units: usize, align: usize) -> Option<Place> {
        let unit = self.first_fit(units, align.div_ceil(UNIT_BYTES))?;
        Some(self.begin_run(unit, units))
    }

    fn begin_run(&mut self, unit: usize, units: usize) -> Place {
        self.take(unit, units);
        self.kinds[unit] = RUN;
        self.blocks[unit] = units as u64;
        Place::Run { unit, units }
    }

    fn resize_run(&mut self, unit: usize, units: usize, bytes: usize, align: usize) -> Option<Place> {
        let wanted = units_of(bytes);
        self.free(Place::Run { unit, units });
        let stays = self.is_aligned(unit * UNIT_BYTES, align) && self.next_taken(unit) - unit >= wanted;
        let found = if stays { Some(unit) } else { self.first_fit(wanted, align.div_ceil(UNIT_BYTES)) };
        let place = match found {
            Some(found) => self.begin_run(found, wanted),
            None => self.begin_run(unit, units),
        };
        self.heads.count(place.bytes());
        found.map(|_| place)
    }

    fn is_aligned(&self, at: usize, align: usize) -> bool {
        (self.first * UNIT_BYTES + at).is_multiple_of(align)
    }

    /// The lowest run of so many free units whose address is a multiple of `align` units.
    fn first_fit(&mut self, units: usize, align: usize) -> Option<usize> {
        if units > self.heads.free_units {
            return None;
        }
        let mut start = self.next_free(self.heads.lowest_free)?;
        self.heads.lowest_free = start;
        loop {
            let end = self.next_taken(start);
            let aligned = (self.first + start).next_multiple_of(align) - self.first;
            if aligned < end && end - aligned >= units {
                return Some(aligned);
            }
            start = self.next_free(end)?;
        }
    }

    fn take(&mut self, unit: usize, units: usize) {
        for_words(unit, units, |word, bits| self.free[word] &= !bits);
        self.heads.free_units -= units;
        if unit == self.heads.lowest_free {
            self.heads.lowest_free = unit + units;
        }
    }

    fn give(&mut self, unit: usize, units: usize) {
        for_words(unit, units, |word, bits| self.free[word] |= bits);
        self.heads.free_units += units;
        self.heads.lowest_free = self.heads.lowest_free.min(unit);
    }

    /// The first free unit from `unit` on.
    fn next_free(&self, unit: usize) -> Option<usize> {
        next(self.free, unit, 0)
    }

    /// The first unit from `unit` on that is not free; one past the last if all are.
    fn next_taken(&self, unit: usize) -> usize {
        next(self.free, unit, u64::MAX).unwrap_or(self.kinds.len()).min(self.kinds.len())
    }
}

/// The first one from bit `at` on, after each word was changed by `flip`.
fn next(words: &[u64], at: usize, flip: u64) -> Option<usize> {
    let mut index = at / 64;
    let mut word = (words.get(index)? ^ flip) & (u64::MAX << (at % 64));
    while word == 0 {
        index += 1;
        word = words.get(index)? ^ flip;
    }
    Some(index * 64 + word.trailing_zeros() as usize)
}

/// The words of `count` bits from bit `at` on, each with a mask of its own.
fn for_words(at: usize, count: usize, mut act: impl FnMut(usize, u64)) {
    let end = at + count;
    let mut at = at;
    while at < end {
        let bits = (64 - at % 64).min(end - at);
        act(at / 64, mask((at % 64) as u32, bits as u32));
        at += bits;
    }
}
