//! The tables against a naive twin that follows the same rules with vectors and searches, place by place.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::*;

/// The arrays of a table.
struct Arrays {
    heads: Heads,
    free: Vec<u64>,
    blocks: Vec<u64>,
    kinds: Vec<u8>,
    first: usize,
}

impl Arrays {
    fn new(units: usize, first: usize) -> Arrays {
        let (free, blocks, kinds) = (vec![0; units.div_ceil(64)], vec![0; units], vec![0; units]);
        let mut arrays = Arrays { heads: Heads::EMPTY, free, blocks, kinds, first };
        arrays.table().begin();
        arrays
    }

    fn table(&mut self) -> Table<'_> {
        let Arrays { heads, free, blocks, kinds, first } = self;
        Table { heads, free, blocks, kinds, first: *first }
    }
}

/// Block sizes of pages, as documented: 8, steps of 16 to 128, then eight to a doubling.
fn sizes() -> Vec<usize> {
    let mut sizes = vec![8];
    sizes.extend((16..=128).step_by(16));
    for doubling in [128, 256, 512, 1024] {
        sizes.extend((1..=8).map(|step| doubling + doubling / 8 * step));
    }
    sizes
}

/// Units of a page: as few as lose at most an eighth.
fn page_units(size: usize) -> usize {
    (1..).find(|units| units * 512 / size > 0 && (units * 512 - units * 512 / size * size) * 8 <= units * 512).unwrap()
}

/// The naive twin.
struct Twin {
    first: usize,
    /// By unit: whether something has it.
    taken: Vec<bool>,
    /// Runs: first unit, units.
    runs: BTreeMap<usize, usize>,
    /// Pages: first unit, block size, blocks that are handed out.
    pages: BTreeMap<usize, (usize, Vec<bool>)>,
}

impl Twin {
    fn new(units: usize, first: usize) -> Twin {
        Twin { first, taken: vec![false; units], runs: BTreeMap::new(), pages: BTreeMap::new() }
    }

    fn fit(&self, units: usize, align: usize) -> Option<usize> {
        (0..self.taken.len()).find(|&unit| {
            ((self.first + unit) * 512).is_multiple_of(align.max(512))
                && unit + units <= self.taken.len()
                && self.taken[unit..unit + units].iter().all(|taken| !taken)
        })
    }

    fn block(&mut self, size: usize) -> Option<usize> {
        let (page, (_, used)) = self.pages.iter_mut().find(|(_, page)| page.0 == size && page.1.contains(&false))?;
        let index = used.iter().position(|used| !used)?;
        used[index] = true;
        Some(page * 512 + index * size)
    }

    fn alloc(&mut self, bytes: usize, align: usize) -> Option<usize> {
        let fits = |size: &usize| *size >= bytes && size.is_multiple_of(align);
        if align <= 512
            && let Some(size) = sizes().into_iter().find(fits)
        {
            if let Some(at) = self.block(size) {
                return Some(at);
            }
            if let Some(page) = self.fit(page_units(size), 1) {
                self.taken[page..page + page_units(size)].fill(true);
                self.pages.insert(page, (size, vec![false; page_units(size) * 512 / size]));
                return self.block(size);
            }
            if let Some(at) = sizes().into_iter().filter(fits).find_map(|size| self.block(size)) {
                return Some(at);
            }
        }
        let units = bytes.div_ceil(512).max(1);
        let unit = self.fit(units, align)?;
        self.begin_run(unit, units);
        Some(unit * 512)
    }

    fn begin_run(&mut self, unit: usize, units: usize) {
        self.taken[unit..unit + units].fill(true);
        self.runs.insert(unit, units);
    }

    fn page_of(&self, at: usize) -> Option<(usize, usize)> {
        let (&page, (size, used)) = self.pages.range(..=at / 512).next_back()?;
        (at < page * 512 + used.len() * size).then_some((page, *size))
    }

    fn usable(&self, at: usize) -> Option<usize> {
        if at.is_multiple_of(512)
            && let Some(units) = self.runs.get(&(at / 512))
        {
            return Some(units * 512);
        }
        let (page, size) = self.page_of(at)?;
        let distance = at - page * 512;
        (distance.is_multiple_of(size) && self.pages[&page].1[distance / size]).then_some(size)
    }

    fn free(&mut self, at: usize) {
        if let Some(units) = self.runs.remove(&(at / 512)) {
            return self.taken[at / 512..at / 512 + units].fill(false);
        }
        let (page, size) = self.page_of(at).unwrap();
        let used = &mut self.pages.get_mut(&page).unwrap().1;
        used[(at - page * 512) / size] = false;
        if !used.contains(&true) {
            self.pages.remove(&page);
            self.taken[page..page + page_units(size)].fill(false);
        }
    }

    fn resize(&mut self, at: usize, bytes: usize, align: usize) -> Option<usize> {
        let is_aligned = (self.first * 512 + at).is_multiple_of(align);
        let old = self.usable(at).unwrap();
        if let Some(&units) = self.runs.get(&(at / 512)) {
            let (unit, wanted) = (at / 512, bytes.div_ceil(512).max(1));
            self.free(at);
            let can_stay = unit + wanted <= self.taken.len() && !self.taken[unit..unit + wanted].contains(&true);
            let found = if is_aligned && can_stay { Some(unit) } else { self.fit(wanted, align) };
            self.begin_run(found.unwrap_or(unit), found.map_or(units, |_| wanted));
            return found.map(|unit| unit * 512);
        }
        let fits = is_aligned && bytes <= old;
        if fits && bytes * 2 > old {
            return Some(at);
        }
        match self.alloc(bytes, align) {
            Some(new) if !fits || self.usable(new) < Some(old) => {
                self.free(at);
                Some(new)
            }
            Some(new) => {
                self.free(new);
                Some(at)
            }
            None => fits.then_some(at),
        }
    }
}

/// A small generator: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn size(&mut self, units: usize) -> usize {
        match self.below(16) {
            0 => self.below(units * 512 + 512),
            1..=3 => self.below(8 << 10),
            _ => {
                let shift = self.below(12);
                self.below(1 << shift)
            }
        }
    }

    fn align(&mut self) -> usize {
        if self.below(4) > 0 { 8 } else { 1 << self.below(16) }
    }
}

#[test]
fn page_units_lose_an_eighth_at_most() {
    for (index, size) in sizes().into_iter().enumerate() {
        let class = SizeClass::from_index(index + 1);
        assert_eq!(class.block_bytes(), size);
        assert_eq!(usize::from(PAGE_UNITS[index + 1]), page_units(size), "blocks of {size}");
        assert_eq!(blocks_of(class), page_units(size) * 512 / size);
    }
}

#[test]
fn table_agrees_with_its_naive_twin() {
    for (seed, units, first) in
        [(1, 1, 7), (2, 5, 0), (3, 63, 3), (4, 64, 1), (5, 65, 63), (6, 200, 129), (7, 700, 5), (8, 2000, 1 << 40)]
    {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut arrays = Arrays::new(units, first);
        let mut table = arrays.table();
        let mut twin = Twin::new(units, first);
        let mut live = Vec::new();
        // Fills up and empties in turn, so that both ends are met.
        for step in 0..6000 {
            let is_filling = step / 500 % 2 == 0;
            match numbers.below(10) {
                0..=1 if !live.is_empty() => {
                    let slot = numbers.below(live.len());
                    let at: usize = live[slot];
                    let (bytes, align) = (numbers.size(units), numbers.align());
                    let place = table.locate(at).unwrap();
                    let new = table.resize(place, bytes, align).map(Place::at);
                    let expected = twin.resize(at, bytes, align);
                    assert_eq!(new, expected, "seed {seed}, step {step}: {at} to {bytes} at {align}");
                    if let Some(new) = new {
                        assert!(table.locate(new).unwrap().bytes() >= bytes);
                        live[slot] = new;
                    }
                }
                2..=7 if is_filling || live.is_empty() => {
                    let (bytes, align) = (numbers.size(units), numbers.align());
                    let place = table.alloc(bytes, align);
                    let expected = twin.alloc(bytes, align);
                    assert_eq!(place.map(Place::at), expected, "seed {seed}, step {step}: {bytes} at {align}");
                    if let Some(place) = place {
                        assert!(place.bytes() >= bytes && (first * 512 + place.at()).is_multiple_of(align));
                        live.push(place.at());
                    }
                }
                _ if !live.is_empty() => {
                    let at = live.swap_remove(numbers.below(live.len()));
                    table.free(table.locate(at).unwrap());
                    twin.free(at);
                }
                _ => {}
            }
            let anywhere = numbers.below(units * 512 + 1000);
            assert_eq!(table.locate(anywhere).map(Place::bytes), twin.usable(anywhere), "seed {seed}, step {step}");
            if step % 16 == 0 {
                table.check_all();
            }
        }
        for at in live {
            table.free(table.locate(at).unwrap());
        }
        table.check_all();
        assert_eq!(table.stats().largest_free_bytes, units * 512, "seed {seed}: one run again");
    }
}

#[test]
fn a_run_grows_where_only_its_own_place_and_its_neighbours_suffice() {
    let mut arrays = Arrays::new(14, 0);
    let mut table = arrays.table();
    // Units: five, six, three. None of the three is a small block.
    let [low, middle, high] = [5, 6, 3].map(|units| table.alloc(units * 512, 512 << (units == 3) as u32));
    let (low, middle) = (low.unwrap(), middle.unwrap());
    assert!(high.is_none(), "three units at an even one: from 12 on there are two");
    assert_eq!((low.at(), middle.at()), (0, 5 * 512));
    assert!(table.resize(middle, 10 * 512, 8).is_none());
    assert_eq!(table.locate(middle.at()).map(Place::bytes), Some(6 * 512), "it is as it was");
    assert_eq!(table.resize(middle, 9 * 512, 8).map(Place::at), Some(5 * 512), "into what is free above");
    let middle = table.locate(5 * 512).unwrap();
    table.free(low);
    assert_eq!(table.resize(middle, 13 * 512, 8).map(Place::at), Some(0), "into what is free below");
    table.check_all();
    assert_eq!(table.stats().free_bytes, 512);
}

/// A table with a full page, a page with room, a run, and free units.
fn varied() -> Arrays {
    let mut arrays = Arrays::new(70, 0);
    let mut table = arrays.table();
    for _ in 0..5 {
        table.alloc(256, 8);
    }
    table.alloc(1500, 8);
    table.alloc(5000, 8);
    table.check_all();
    arrays
}

#[test]
fn check_all_notices_every_invariant_broken() {
    type Break = (&'static str, fn(&mut Table<'_>));
    let breaks: [Break; 14] = [
        ("T1", |table| table.free[0] |= 1),
        ("T1", |table| table.free[0] &= !(1 << 40)),
        ("T1", |table| table.free[1] |= 1 << 20),
        ("T2", |table| table.kinds[60] = 50),
        ("T2", |table| table.kinds[0] ^= ROOM),
        ("T2", |table| table.kinds[4] = 0),
        ("T3", |table| table.blocks[2] |= 1 << 40),
        ("T3", |table| table.blocks[2] = 3),
        ("T4", |table| table.heads.rooms[17] += 1),
        ("T5", |table| table.heads.lowest_room[17] = 3),
        ("T6", |table| table.heads.lowest_free = 50),
        ("T7", |table| table.heads.free_units -= 1),
        ("T8", |table| table.heads.blocks_in_use += 1),
        ("T8", |table| table.heads.allocated_peak_bytes = 0),
    ];
    for (index, (number, act)) in breaks.into_iter().enumerate() {
        let mut arrays = varied();
        let mut table = arrays.table();
        act(&mut table);
        let told = catch_unwind(AssertUnwindSafe(|| table.check_all())).expect_err("a broken table");
        let text = told.downcast_ref::<String>().map(String::as_str).or(told.downcast_ref::<&str>().copied());
        assert!(text.is_some_and(|text| text.contains(number)), "{index}: expected {number}, received {text:?}");
    }
}
