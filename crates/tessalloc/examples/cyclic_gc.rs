//! A small mark-and-sweep collector: objects with edges to others, cycles and all, in a heap of their own.
//!
//!     cargo run --release -p tessalloc --example cyclic_gc
//!
//! ```text
//! block    | mark | number of edges | id | edge | edge | …        as long as its edges need
//! ```
//!
//! | what        | how                                                                                            |
//! |-------------|------------------------------------------------------------------------------------------------|
//! | allocation  | from the heap, on any thread                                                                   |
//! | handshake   | mutators hold a read lock around the heap; the collector takes the write lock, so they stand still |
//! | mark        | from the roots along the edges, with a stack outside the heap                                  |
//! | sweep       | [`Heap::visit`] names every block: what is not marked is freed                                 |
//!
//! Invariants: G1 Edges and roots lead to objects that stand. G2 Outside a collection no object is marked.
//! G3 An [`Object`] is borrowed from a [`Mutator`], and no collection runs while there is one.

#![allow(
    dead_code,
    reason = "the test that shares this file has no use for `main`, nor `main` for all that the test uses"
)]

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use tessalloc::{Heap, HeapOptions, OutOfMemory};

/// An object's head; its edges follow.
#[repr(C)]
struct Header {
    mark: AtomicBool,
    edges: u32,
    id: u64,
}

type Edge = AtomicPtr<Header>;

fn layout_of(edges: usize) -> Layout {
    let edges = Layout::array::<Edge>(edges).expect("an object's edges fit in memory");
    Layout::new::<Header>().extend(edges).expect("an object fits in memory").0.pad_to_align()
}

/// The edges of an object.
///
/// # Safety
/// - The object stands as long as the slice is used.
unsafe fn edges_of<'a>(object: NonNull<Header>) -> &'a [Edge] {
    // SAFETY: the caller's duty; the edges were made with the header, behind it and aligned as it is.
    unsafe { std::slice::from_raw_parts(object.add(1).cast::<Edge>().as_ptr(), object.as_ref().edges as usize) }
}

/// All objects, and the roots from which those that are needed can be reached.
pub(crate) struct World {
    heap: RwLock<Heap>,
    roots: Mutex<Roots>,
}

#[derive(Default)]
struct Roots {
    places: Vec<*mut Header>,
    free: Vec<usize>,
}
// SAFETY: addresses only; who follows them keeps G1.
unsafe impl Send for Roots {}

/// A root's place: keeps one object, and what can be reached from it, until [`World::unroot`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Root(usize);

/// What a collection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Objects that stay.
    pub kept: usize,
    /// Objects that went.
    pub freed: usize,
}

impl World {
    /// A world without objects.
    pub(crate) fn new() -> Result<World, OutOfMemory> {
        let heap = HeapOptions::new().name("objects").build()?;
        Ok(World { heap: RwLock::new(heap), roots: Mutex::default() })
    }

    /// Begins work with objects. No collection runs until the mutator is dropped: drop it often.
    pub(crate) fn enter(&self) -> Mutator<'_> {
        Mutator { world: self, heap: self.heap.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Gives a root up.
    pub(crate) fn unroot(&self, root: Root) {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.places[root.0] = null_mut();
        roots.free.push(root.0);
    }

    /// Waits until no mutator is left, and frees all objects that no root leads to.
    pub(crate) fn collect(&self) -> Collected {
        let mut heap = self.heap.write().unwrap_or_else(PoisonError::into_inner);
        self.mark();
        let (mut kept, mut dead) = (0, Vec::new());
        heap.visit(|block| {
            let object = NonNull::new(block.address.cast::<Header>()).expect("blocks have addresses");
            // SAFETY: all blocks of the heap are objects, and this one is in use.
            if unsafe { object.as_ref() }.mark.swap(false, Ordering::Relaxed) {
                kept += 1;
            } else {
                dead.push(object);
            }
            true
        });
        for object in &dead {
            // SAFETY: the object was in use, and nothing that stays leads to it: it was not marked (G1).
            unsafe {
                let layout = layout_of(object.as_ref().edges as usize);
                heap.dealloc(object.cast(), layout);
            }
        }
        Collected { kept, freed: dead.len() }
    }

    /// Marks what the roots lead to. The caller holds the write lock.
    fn mark(&self) {
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut to_look_at = Vec::new();
        let mark = |object: *mut Header, to_look_at: &mut Vec<NonNull<Header>>| {
            let Some(object) = NonNull::new(object) else { return };
            // SAFETY: G1: an object that stands.
            if !unsafe { object.as_ref() }.mark.swap(true, Ordering::Relaxed) {
                to_look_at.push(object);
            }
        };
        roots.places.iter().for_each(|root| mark(*root, &mut to_look_at));
        while let Some(object) = to_look_at.pop() {
            // SAFETY: G1.
            for edge in unsafe { edges_of(object) } {
                mark(edge.load(Ordering::Relaxed), &mut to_look_at);
            }
        }
    }

    /// The ids of all objects there are, reachable or not. Waits as [`World::collect`] does.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut heap = self.heap.write().unwrap_or_else(PoisonError::into_inner);
        let mut ids = Vec::new();
        heap.visit(|block| {
            // SAFETY: all blocks of the heap are objects, and this one is in use.
            ids.push(unsafe { (*block.address.cast::<Header>()).id });
            true
        });
        ids
    }

    /// Bytes of the objects there are, and of blocks that threads keep ready.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.heap.read().unwrap_or_else(PoisonError::into_inner).allocated_bytes()
    }
}

/// Work with objects: they stay while this value lives.
pub(crate) struct Mutator<'w> {
    world: &'w World,
    heap: RwLockReadGuard<'w, Heap>,
}

impl Mutator<'_> {
    /// A new object with so many edges, which lead nowhere yet. `None` if memory is out.
    pub(crate) fn make(&self, id: u64, edges: usize) -> Option<Object<'_>> {
        let object: NonNull<Header> = self.heap.alloc(layout_of(edges))?.cast();
        // SAFETY: a new block, large enough for header and edges.
        unsafe {
            object.write(Header { mark: AtomicBool::new(false), edges: edges as u32, id });
            let first = object.add(1).cast::<Edge>();
            (0..edges).for_each(|index| first.add(index).write(AtomicPtr::new(null_mut())));
        }
        Some(Object { at: object, _mutator: PhantomData })
    }

    /// Keeps an object beyond this mutator's life.
    pub(crate) fn root(&self, object: Object<'_>) -> Root {
        let mut roots = self.world.roots.lock().unwrap_or_else(PoisonError::into_inner);
        match roots.free.pop() {
            Some(place) => {
                roots.places[place] = object.at.as_ptr();
                Root(place)
            }
            None => {
                roots.places.push(object.at.as_ptr());
                Root(roots.places.len() - 1)
            }
        }
    }

    /// The object of a root.
    pub(crate) fn get(&self, root: &Root) -> Object<'_> {
        let roots = self.world.roots.lock().unwrap_or_else(PoisonError::into_inner);
        // A root is given up by value: its place is its own until then.
        let at = NonNull::new(roots.places[root.0]).expect("a root of this world");
        Object { at, _mutator: PhantomData }
    }
}

/// An object, as long as its mutator.
#[derive(Clone, Copy)]
pub(crate) struct Object<'m> {
    at: NonNull<Header>,
    _mutator: PhantomData<&'m Header>,
}

impl<'m> Object<'m> {
    /// The number that the object was made with.
    pub(crate) fn id(self) -> u64 {
        // SAFETY: G3.
        unsafe { self.at.as_ref() }.id
    }

    /// How many edges the object has.
    pub(crate) fn edge_count(self) -> usize {
        // SAFETY: G3.
        unsafe { edges_of(self.at) }.len()
    }

    /// Where an edge leads.
    pub(crate) fn edge(self, index: usize) -> Option<Object<'m>> {
        // SAFETY: G3. What is found stands as well (G1).
        let at = NonNull::new(unsafe { edges_of(self.at) }[index].load(Ordering::Acquire))?;
        Some(Object { at, _mutator: PhantomData })
    }

    /// Leads an edge to another object, or nowhere.
    pub(crate) fn set_edge(self, index: usize, to: Option<Object<'m>>) {
        let to = to.map_or(null_mut(), |to| to.at.as_ptr());
        // SAFETY: G3.
        let edges = unsafe { edges_of(self.at) };
        edges[index].store(to, Ordering::Release);
    }
}

fn main() -> Result<(), OutOfMemory> {
    let world = World::new()?;
    let kept = {
        let mutator = world.enter();
        // A thousand rings of three; one is rooted.
        let mut kept = None;
        for ring in 0..1000 {
            let [a, b, c] = [0, 1, 2].map(|at| mutator.make(ring * 3 + at, 1).ok_or(OutOfMemory));
            let (a, b, c) = (a?, b?, c?);
            a.set_edge(0, Some(b));
            b.set_edge(0, Some(c));
            c.set_edge(0, Some(a));
            if ring == 500 {
                kept = Some(mutator.root(a));
            }
        }
        kept
    };
    let first = world.collect();
    println!("one ring rooted: {first:?}, ids {:?}", world.ids());
    assert_eq!(first, Collected { kept: 3, freed: 2997 });
    kept.into_iter().for_each(|root| world.unroot(root));
    let second = world.collect();
    println!("none rooted:     {second:?}");
    assert_eq!(second, Collected { kept: 0, freed: 3 });
    Ok(())
}
