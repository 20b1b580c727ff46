//! The collector of `examples/cyclic_gc.rs` under load: threads make, tie and drop cycles while it runs.

#[path = "../examples/cyclic_gc.rs"]
mod gc;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use gc::{Mutator, Object, Root, World};
use support::Random;

/// Ids never used twice in a test.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

fn make<'m>(mutator: &'m Mutator<'_>, edges: usize) -> Object<'m> {
    mutator.make(NEXT_ID.fetch_add(1, Ordering::Relaxed), edges).expect("memory")
}

/// A ring of objects of different sizes, with some edges across it.
fn ring<'m>(mutator: &'m Mutator<'_>, random: &mut Random) -> Object<'m> {
    let objects: Vec<_> = (0..1 + random.below(20)).map(|_| make(mutator, 1 + random.below(30))).collect();
    for (at, object) in objects.iter().enumerate() {
        object.set_edge(0, Some(objects[(at + 1) % objects.len()]));
        for index in 1..object.edge_count() {
            object.set_edge(index, (random.below(3) == 0).then(|| objects[random.below(objects.len())]));
        }
    }
    objects[0]
}

/// What can be reached from some objects, told by walking the edges, without the collector's marks.
fn reachable<'m>(from: impl Iterator<Item = Object<'m>>) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut to_look_at: Vec<_> = from.collect();
    while let Some(object) = to_look_at.pop() {
        if found.insert(object.id()) {
            to_look_at.extend((0..object.edge_count()).filter_map(|index| object.edge(index)));
        }
    }
    found
}

/// A mutator's life: rings are made, tied to one another, kept for a while and dropped. Returns the roots that are left.
fn mutate(world: &World, seed: u64, rounds: usize) -> Vec<Root> {
    const ROOTS_MAX: usize = 40;
    let mut random = Random(seed);
    let mut roots = Vec::new();
    for _ in 0..rounds {
        {
            // Each turn is one session: the collector gets in between.
            let mutator = world.enter();
            let new = ring(&mutator, &mut random);
            if !roots.is_empty() {
                let old = mutator.get(&roots[random.below(roots.len())]);
                // Edges from old to new, from new to old, and some that are cut.
                old.set_edge(random.below(old.edge_count()), Some(new));
                if random.below(4) == 0 {
                    new.set_edge(0, Some(old));
                }
                if random.below(4) == 0 {
                    old.set_edge(random.below(old.edge_count()), None);
                }
            }
            if random.below(2) == 0 {
                roots.push(mutator.root(new));
            }
        }
        while roots.len() > ROOTS_MAX {
            let at = random.below(roots.len());
            world.unroot(roots.swap_remove(at));
        }
        // A chain of rings that hang on one another grows without bound: now and then all goes.
        if random.below(200) == 0 {
            roots.drain(..).for_each(|root| world.unroot(root));
        }
    }
    roots
}

#[test]
fn collector_keeps_exactly_what_is_reachable_while_threads_make_and_drop_cycles() {
    const THREADS: u64 = 4;
    const ROUNDS: usize = 1500;
    let world = World::new().expect("a heap");
    let is_over = AtomicBool::new(false);
    let (mut roots, freed_meanwhile) = thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut freed = 0;
            while !is_over.load(Ordering::Relaxed) {
                freed += world.collect().freed;
                thread::yield_now();
            }
            freed
        });
        let world = &world;
        let mutators: Vec<_> = (1..=THREADS).map(|seed| scope.spawn(move || mutate(world, seed, ROUNDS))).collect();
        let roots: Vec<Root> = mutators.into_iter().flat_map(|thread| thread.join().expect("a mutator")).collect();
        is_over.store(true, Ordering::Relaxed);
        (roots, collector.join().expect("the collector"))
    });
    assert!(freed_meanwhile > 1000, "the collector worked beside the mutators: {freed_meanwhile}");

    // Half of the roots go, so that something is left to collect, and the rest is exact.
    roots.drain(roots.len() / 2..).for_each(|root| world.unroot(root));
    let expected = {
        let mutator = world.enter();
        reachable(roots.iter().map(|root| mutator.get(root)))
    };
    assert!(!expected.is_empty());
    let collected = world.collect();
    assert_eq!(collected.kept, expected.len());
    let ids = world.ids();
    assert_eq!(ids.len(), expected.len(), "each object is visited once");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(world.collect().freed, 0, "a second collection finds nothing");

    roots.drain(..).for_each(|root| world.unroot(root));
    assert_eq!(world.collect().kept, 0);
    assert!(world.ids().is_empty());
}

#[test]
fn memory_stays_flat_over_many_collections() {
    const WAVES: u64 = 30;
    let world = World::new().expect("a heap");
    let mut peaks = Vec::new();
    for wave in 0..WAVES {
        let roots: Vec<Root> = thread::scope(|scope| {
            let world = &world;
            // The same seeds in each wave: the same work.
            let threads: Vec<_> = (1..=2).map(|seed| scope.spawn(move || mutate(world, seed, 400))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a mutator")).collect()
        });
        peaks.push((world.allocated_bytes(), tessalloc::stats().committed_bytes));
        roots.into_iter().for_each(|root| world.unroot(root));
        assert_eq!(world.collect().kept, 0, "wave {wave}");
        assert!(world.ids().is_empty());
        assert_eq!(world.allocated_bytes(), 0, "an empty world after a walk, which settles all stacks");
    }
    // Of all threads together; other tests of this file run beside this one, hence the heap's own figure as well.
    let (first, last) = (peaks[2], peaks[peaks.len() - 1]);
    assert!(last.0 <= first.0 * 11 / 10 + (64 << 10), "bytes of objects: {peaks:?}");
    assert!(last.1 <= first.1 * 11 / 10 + (8 << 20), "bytes committed: {peaks:?}");
}
