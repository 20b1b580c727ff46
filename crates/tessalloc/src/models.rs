//! Models of what threads do to each other, run by loom in every order that the memory model allows (within a bound of
//! preemptions where all of them would take too long).
//!
//! What runs is the shipped code of [`crate::remote`], [`crate::inbox`], [`crate::waiting`], [`crate::exchange`], [`crate::place`], [`crate::taken`] and
//! [`crate::gate`]. A model's page stands for [`Page`](../page/index.html): its plain fields, its blocks' links and what the last
//! user left in a block are cells that loom watches: an access that does not happen after the last one fails the model. The few
//! lines that put a list home and settle a page stand here a second time, without sizes, queues and figures.
//!
//! `npm run weaken` weakens each ordering in turn and shows which model fails then: `docs/internals/orderings.md`.

use core::sync::atomic::AtomicUsize as Count;
use loom::cell::UnsafeCell;
use loom::thread;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use crate::exchange::{self, Exchanged};
use crate::gate::Gate;
use crate::inbox::{Inbox, Linked, next_of};
use crate::remote::{Links, List, RemoteWord, State};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, SLEEPS};
use crate::waiting::{Numbered, WaitingList};

mod arenas;
mod gate;
mod records;
mod space;
mod waiting;
mod words;

const NONE: u16 = u16::MAX;
/// A mark that no page of a model reaches: what `claim_at` holds before it is set.
const STALE_MARK: u32 = 99;

/// A point at which loom tries every order of the threads that come by. It needs such help where a thread reads a word and
/// another one reads and then changes it: loom remembers the last access to a word only, here the second thread's own read.
struct Turn(AtomicU32);

impl Turn {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn pass(&self) {
        // ORDER: Relaxed: must order nothing.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Block {
    next: UnsafeCell<u16>,
    content: UnsafeCell<u32>,
}

/// What only the holder of a page touches.
struct Plain {
    free: u16,
    free_count: u32,
    used: u32,
    is_orphan: bool,
    is_released: bool,
}

struct Page {
    remote: RemoteWord,
    owner: AtomicUsize,
    claim_at: AtomicU32,
    inbox_link: AtomicPtr<Page>,
    waiting_link: AtomicU32,
    number: u32,
    /// How many blocks make it worth claiming.
    mark: u32,
    plain: UnsafeCell<Plain>,
    blocks: Vec<Block>,
}

impl Linked for Page {
    fn link(&self) -> &AtomicPtr<Page> {
        &self.inbox_link
    }
}

struct PageLinks(*mut Page);

impl Links for PageLinks {
    fn link(&self, from: u16, to: u16) {
        unsafe { (&(*self.0).blocks)[usize::from(from)].next.with_mut(|next| *next = to) };
    }
}

impl Exchanged for Page {
    type Links = PageLinks;

    unsafe fn remote<'a>(page: *mut Self) -> &'a RemoteWord {
        unsafe { &(*page).remote }
    }

    unsafe fn owner<'a>(page: *mut Self) -> &'a AtomicUsize {
        unsafe { &(*page).owner }
    }

    unsafe fn claim_at<'a>(page: *mut Self) -> &'a AtomicU32 {
        unsafe { &(*page).claim_at }
    }

    unsafe fn links(page: *mut Self) -> PageLinks {
        PageLinks(page)
    }

    unsafe fn inbox<'a>(record: usize) -> &'a Inbox<Self> {
        assert_ne!(record, 0, "a posted page has an owner");
        let record = unsafe { &*core::ptr::with_exposed_provenance::<Record>(record) };
        record.turn.pass();
        &record.inbox
    }
}

struct Record {
    inbox: Inbox<Page>,
    turn: Turn,
}

impl Record {
    fn token(&self) -> usize {
        (&raw const *self).expose_provenance()
    }
}

/// A page, a record for each thread that owns pages, and the list of pages that wait.
struct World {
    pages: Vec<Page>,
    records: Vec<Record>,
    waiting: WaitingList,
    turn: Turn,
}

impl Numbered for World {
    fn link(&self, number: u32) -> &AtomicU32 {
        &self.pages[number as usize].waiting_link
    }
}

impl World {
    /// One page in a state, with `used` blocks handed out and `free` blocks besides. Owned: by the first record.
    fn new(state: State, used: u16, free: u16, mark: u32) -> Arc<Self> {
        let records: Vec<Record> = (0..2).map(|_| Record { inbox: Inbox::new(), turn: Turn::new() }).collect();
        let block = |number: u16| Block {
            next: UnsafeCell::new(if number > used { number - 1 } else { NONE }),
            content: UnsafeCell::new(0),
        };
        let page = |number| Page {
            remote: RemoteWord::new(State::Held),
            owner: AtomicUsize::new(if state == State::Owned { records[0].token() } else { 0 }),
            claim_at: AtomicU32::new(STALE_MARK),
            inbox_link: AtomicPtr::new(core::ptr::null_mut()),
            waiting_link: AtomicU32::new(0),
            number,
            mark,
            plain: UnsafeCell::new(Plain {
                free: if free > 0 { used + free - 1 } else { NONE },
                free_count: free.into(),
                used: used.into(),
                is_orphan: false,
                is_released: false,
            }),
            blocks: (0..used + free).map(block).collect(),
        };
        let pages = Vec::from([page(0)]);
        pages[0].remote.reset(state);
        Arc::new(Self { pages, records, waiting: WaitingList::new(), turn: Turn::new() })
    }

    fn page(&self) -> *mut Page {
        (&raw const self.pages[0]).cast_mut()
    }

    /// Another thread frees blocks of the page, gathers them into a batch and sends it home.
    fn free(self: &Arc<Self>, blocks: &'static [u16]) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || unsafe { world.send(blocks) })
    }

    unsafe fn send(&self, blocks: &[u16]) {
        let page = self.page();
        let all = unsafe { &(*page).blocks };
        let mut head = NONE;
        for &block in blocks {
            all[usize::from(block)].content.with_mut(|content| unsafe { *content += 1 });
            all[usize::from(block)].next.with_mut(|next| unsafe { *next = head });
            head = block;
        }
        unsafe {
            if let Some(home) = exchange::send(page, List { head, tail: blocks[0], count: blocks.len() as u16 }) {
                put_list(page, home);
                plain(page, |plain| plain.is_orphan = false);
                exchange::disown(page);
                self.settle(page);
            }
        }
    }

    /// As `Heap::settle`: gives a held page back, lists it, or leaves it without an owner.
    unsafe fn settle(&self, page: *mut Page) {
        unsafe {
            loop {
                put_list(page, (*page).remote.take(State::Held));
                let (used, has_room) = plain(page, |plain| (plain.used, plain.free != NONE));
                if used == 0 {
                    release(page);
                    return;
                }
                if has_room {
                    self.turn.pass();
                    self.waiting.push((*page).number, self);
                    return;
                }
                if exchange::leave(page, (*page).mark) {
                    return;
                }
            }
        }
    }

    /// As `Thread::drain_inbox`.
    unsafe fn drain(&self, record: usize) {
        self.records[record].turn.pass();
        unsafe { self.collect(self.records[record].inbox.take()) };
    }

    /// As `Thread::collect`, for all pages that were taken out of an inbox.
    unsafe fn collect(&self, mut page: *mut Page) {
        while !page.is_null() {
            unsafe {
                let next = next_of(page);
                if plain(page, |plain| plain.is_orphan) {
                    put_list(page, (*page).remote.take(State::Held));
                    plain(page, |plain| plain.is_orphan = false);
                    exchange::disown(page);
                    self.settle(page);
                } else {
                    put_list(page, (*page).remote.take(State::Owned));
                }
                page = next;
            }
        }
    }

    /// As `thread::end`, of a thread that owns the page if `owns`.
    unsafe fn end(&self, record: usize, owns: bool) {
        let page = self.page();
        unsafe {
            self.drain(record);
            if owns {
                if plain(page, |plain| plain.used) == 0 {
                    release(page);
                } else if exchange::let_go(page) {
                    self.settle(page);
                } else {
                    plain(page, |plain| plain.is_orphan = true);
                    exchange::orphan(page, self.records[record].token());
                }
            }
            self.records[record].turn.pass();
            self.collect(self.records[record].inbox.close());
        }
    }

    /// As `Heap::adopt` and `Thread::adopt`: whether a page waited.
    unsafe fn adopt(&self, record: usize) -> bool {
        self.turn.pass();
        if self.waiting.is_empty() {
            return false;
        }
        let Some(number) = self.waiting.pop(self) else { return false };
        let page = (&raw const self.pages[number as usize]).cast_mut();
        unsafe { put_list(page, exchange::adopt(page, self.records[record].token())) };
        true
    }

    /// As `Noted::note`: how many of the page's blocks are in use, by a look at what has come home and stays where it is.
    unsafe fn look(&self, page: *mut Page) -> u32 {
        unsafe {
            let list = (*page).remote.peek();
            let mut at = list.head;
            for left in (0..list.count).rev() {
                let block = &(&(*page).blocks)[usize::from(at)];
                block.content.with(|content| assert_eq!(*content, 1, "each block came home once"));
                if left > 0 {
                    at = block.next.with(|next| *next);
                }
            }
            (*page).plain.with(|plain| (*plain).used) - u32::from(list.count)
        }
    }

    /// A walk looks at the page if it is ownerless, as `Walk::look_at_ownerless`.
    fn walk(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || unsafe {
            let page = world.page();
            world.turn.pass();
            if (*page).remote.claim() {
                world.look(page);
                if !exchange::leave_again(page) {
                    world.settle(page);
                }
            }
        })
    }

    /// At the end: what the page counts is right, and its free list has as many blocks.
    unsafe fn expect(&self, used: u32) {
        let page = self.page();
        unsafe {
            assert_eq!((*page).remote.count(), 0, "blocks lie in the remote word");
            let (free, free_count, used_now) = plain(page, |plain| (plain.free, plain.free_count, plain.used));
            assert_eq!(used_now, used, "blocks that are handed out");
            let mut count = 0;
            let mut at = free;
            while at != NONE {
                count += 1;
                assert!(count <= free_count, "the free list is longer than it should be");
                at = (&(*page).blocks)[usize::from(at)].next.with(|next| *next);
            }
            assert_eq!(count, free_count, "the free list lost blocks");
            assert_eq!(count + used_now, (*page).blocks.len() as u32);
        }
    }
}

unsafe fn plain<T>(page: *mut Page, act: impl FnOnce(&mut Plain) -> T) -> T {
    unsafe { (*page).plain.with_mut(|plain| act(&mut *plain)) }
}

/// As `Page::put_list`; then the blocks are used again, as if all of them were handed out at once.
unsafe fn put_list(page: *mut Page, list: List) {
    if list.count == 0 {
        return;
    }
    let count = u32::from(list.count);
    unsafe {
        let blocks = &(*page).blocks;
        plain(page, |plain| {
            assert!(!plain.is_released, "a block came home to a page that was given back");
            assert!(plain.used >= count, "more blocks came home than were handed out");
            blocks[usize::from(list.tail)].next.with_mut(|next| *next = plain.free);
            plain.free = list.head;
            plain.free_count += count;
            plain.used -= count;
        });
        let mut at = list.head;
        for _ in 0..count {
            let block = &blocks[usize::from(at)];
            block.content.with_mut(|content| assert_eq!(*content, 1, "each block came home once"));
            at = block.next.with(|next| *next);
        }
    }
}

unsafe fn release(page: *mut Page) {
    unsafe {
        assert_eq!((*page).remote.count(), 0, "an empty page has nothing on its way");
        plain(page, |plain| {
            assert!(!plain.is_released, "a page was given back twice");
            plain.is_released = true;
        });
    }
}

/// Explores a model with so many preemptions; `LOOM_MAX_PREEMPTIONS` overrides.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(Count::new(0));
    let counter = orders.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || {
        // ORDER: Relaxed: outside of the model, on one thread.
        counter.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        model();
    });
    std::println!("{orders:?} orders");
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Two threads send batches home while the owner drains its inbox: nothing is lost, nothing comes twice, and the owner reads
/// the links that were written plainly when the batch was gathered.
#[test]
fn models_batches_reach_the_owner_through_its_inbox() {
    explore(3, || {
        let world = World::new(State::Owned, 3, 1, STALE_MARK);
        let threads = [world.free(&[0, 1]), world.free(&[2])];
        unsafe {
            world.drain(0);
            world.drain(0);
            join(threads);
            world.drain(0);
            world.expect(0);
        }
    });
}

struct Node {
    link: AtomicPtr<Node>,
}

impl Linked for Node {
    fn link(&self) -> &AtomicPtr<Node> {
        &self.link
    }
}

/// Threads put nodes into an inbox that its owner empties and closes: each node is found once, or stays with who pushed it.
#[test]
fn models_inbox_keeps_every_node() {
    const NODES: usize = 3;
    explore(3, || {
        let inbox = Arc::new((Inbox::new(), Turn::new()));
        let nodes: Arc<[Node; NODES]> =
            Arc::new(core::array::from_fn(|_| Node { link: AtomicPtr::new(core::ptr::null_mut()) }));
        for node in &*nodes {
            // What an earlier life left in the link: who follows it never comes to an end.
            node.link.store((&raw const *node).cast_mut(), Ordering::Relaxed);
        }
        let push = |numbers: &'static [usize]| {
            let (inbox, nodes) = (inbox.clone(), nodes.clone());
            thread::spawn(move || {
                let push = |&number: &usize| {
                    inbox.1.pass();
                    unsafe { inbox.0.push((&raw const nodes[number]).cast_mut()) }
                };
                numbers.iter().map(push).filter(|is_in| !is_in).count()
            })
        };
        let threads = [push(&[0, 1]), push(&[2])];
        let mut found = 0;
        let mut count = |mut node: *mut Node| {
            while !node.is_null() {
                found += 1;
                assert!(found <= NODES, "a link leads to where it should not");
                node = unsafe { next_of(node) };
            }
        };
        inbox.1.pass();
        count(inbox.0.take());
        inbox.1.pass();
        count(inbox.0.close());
        let kept: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        assert_eq!(found + kept, NODES);
    });
}

/// The owner lets a full page go while others free its blocks: it stays with the owner, or exactly one push claims it.
#[test]
fn models_full_page_is_let_go_and_claimed_once() {
    explore(3, || {
        let world = World::new(State::Owned, 4, 0, 3);
        let threads = [world.free(&[0, 1]), world.free(&[2])];
        unsafe {
            let is_gone = exchange::let_go(world.page());
            if is_gone {
                world.settle(world.page());
            } else {
                world.drain(0);
            }
            join(threads);
            if is_gone {
                assert!(world.adopt(0), "a page that got back enough waits for an owner");
            } else {
                world.drain(0);
            }
            assert!(!world.adopt(0), "it waits once");
            world.expect(1);
        }
    });
}

/// The push that claims an ownerless page sees what its last holder wrote, and the mark that it set.
#[test]
fn models_ownerless_page_is_handed_to_the_push_that_claims() {
    explore(3, || {
        let world = World::new(State::Held, 3, 0, 2);
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            world.settle(world.page());
            join(threads);
            assert!(world.adopt(0), "a page that got back enough waits for an owner");
            assert!(!world.adopt(0), "it waits once");
            world.expect(1);
        }
    });
}

/// A walk claims an ownerless page for a look and leaves it again, while others free its blocks: it sees what the last holder
/// wrote and what has come home, and the push or the leave that finds enough there hands the page on.
#[test]
fn models_walk_looks_at_an_ownerless_page() {
    explore(3, || {
        let world = World::new(State::Held, 2, 0, 1);
        let threads = [world.free(&[0]), world.walk()];
        unsafe {
            world.settle(world.page());
            join(threads);
            assert!(world.adopt(0), "a page that got back enough waits for an owner");
            assert!(!world.adopt(0), "it waits once");
            world.expect(1);
        }
    });
}

/// A walk goes into the owner's gate by claim, and looks at what came home there, while the owner drains its inbox inside of it.
#[test]
fn models_walk_looks_at_an_owned_page() {
    SLEEPS.set(false);
    explore(2, || {
        let world = World::new(State::Owned, 3, 1, STALE_MARK);
        let gate = Arc::new(Gate::new());
        let walker = {
            let (world, gate) = (world.clone(), gate.clone());
            thread::spawn(move || unsafe {
                if gate.try_claim() {
                    assert!(world.look(world.page()) <= 3);
                    gate.unclaim();
                }
            })
        };
        let threads = [world.free(&[0, 1]), walker];
        unsafe {
            gate.enter();
            world.drain(0);
            gate.leave();
            join(threads);
            world.drain(0);
            world.expect(1);
        }
    });
}

/// A push is about to leave a block when the page is claimed, adopted and left once more, so that the word is what it was but the
/// mark is lower: the push finds that enough is there, or nobody would ever look again.
#[test]
fn models_push_heeds_the_mark_of_the_last_leave() {
    explore(3, || {
        let world = World::new(State::Held, 4, 0, 2);
        let page = world.page();
        unsafe {
            assert!(exchange::leave(page, 2));
            let threads = [world.free(&[0])];
            world.turn.pass();
            world.send(&[1, 2]);
            if world.adopt(0) && exchange::let_go(page) {
                let came = (*page).remote.take(State::Held).count;
                // All that came home was handed out again.
                if came == 0 {
                    exchange::leave(page, 1);
                }
            }
            join(threads);
            let state = (*page).remote.state();
            assert!(
                state != State::Ownerless || (*page).remote.count() < 1,
                "enough is there and nobody claimed the page"
            );
        }
    });
}

/// A page waits while others free its blocks and a thread adopts it: a post finds the new owner's inbox, and finds it open.
#[test]
fn models_adopted_page_gets_its_posts() {
    explore(3, || {
        let world = World::new(State::Held, 2, 1, STALE_MARK);
        assert!(world.records[0].inbox.close().is_null());
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            // The holder lists it.
            world.waiting.push(0, &*world);
            // A thread starts and adopts it.
            world.records[0].inbox.open();
            assert!(world.adopt(0));
            world.drain(0);
            join(threads);
            world.drain(0);
            assert_eq!((*world.page()).remote.state(), State::Owned, "nobody but the owner settled it");
            world.expect(0);
        }
    });
}

/// The page is listed by one thread and adopted by another.
#[test]
fn models_waiting_page_is_handed_over() {
    explore(3, || {
        let world = World::new(State::Held, 2, 1, STALE_MARK);
        let adopter = {
            let world = world.clone();
            thread::spawn(move || unsafe {
                if world.adopt(1) {
                    world.drain(1);
                }
            })
        };
        let threads = [world.free(&[0, 1]), adopter];
        unsafe {
            put_list(world.page(), (*world.page()).remote.take(State::Held));
            world.settle(world.page());
            join(threads);
            world.drain(1);
            if !plain(world.page(), |plain| plain.is_released) {
                while world.adopt(1) {}
            }
            world.expect(0);
        }
    });
}

/// A thread ends while others free blocks of its page, and the next one takes its record: a push that is on its way finds the
/// page's fate in its hands, or leaves it to the next thread; the page is given back once.
#[test]
fn models_thread_ends_with_posts_on_their_way() {
    explore(2, || {
        let world = World::new(State::Owned, 2, 1, 1);
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            world.end(0, true);
            // The next thread with this record.
            world.records[0].inbox.open();
            let owns = world.adopt(0);
            world.drain(0);
            world.end(0, owns);
            join(threads);
            // And the one after that.
            world.records[0].inbox.open();
            world.drain(0);
            world.give_back_waiting();
            world.expect(0);
            assert!(plain(world.page(), |plain| plain.is_released), "nobody gave the page back");
        }
    });
}

/// As above with a full page, which a push claims when it was left without an owner.
#[test]
fn models_thread_ends_with_a_full_page() {
    explore(3, || {
        let world = World::new(State::Owned, 2, 0, 1);
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            world.end(0, true);
            join(threads);
            world.records[0].inbox.open();
            world.drain(0);
            world.give_back_waiting();
            world.expect(0);
            assert!(plain(world.page(), |plain| plain.is_released), "nobody gave the page back");
        }
    });
}

/// A heap is destroyed after the last frees of its blocks have returned (F6): nothing of them is on its way any more, so the page
/// can begin a new life at once, with another owner, and finds only the blocks of that life.
#[test]
fn models_heap_is_destroyed_after_the_last_free() {
    explore(3, || {
        let world = World::new(State::Owned, 3, 0, 1);
        let threads = [world.free(&[0]), world.free(&[1])];
        unsafe {
            // The record's thread takes home what it finds meanwhile, or not.
            world.drain(0);
            join(threads);
            world.destroy(0, 3);
            let page = world.page();
            (*page).remote.reset(State::Owned);
            // ORDER: Relaxed: others learn of the page by its blocks.
            (*page).owner.store(world.records[1].token(), Ordering::Relaxed);
            let thread = world.free(&[2]);
            world.drain(1);
            join([thread]);
            world.drain(1);
            assert_eq!(
                plain(page, |plain| (plain.used, plain.free_count)),
                (2, 1),
                "the new life's block came home, and no other"
            );
            assert!(world.records[0].inbox.close().is_null(), "nothing came to the heap that is gone");
        }
    });
}

/// A heap is deleted by another thread while its blocks are freed: as a thread's end, with a record that nobody has afterwards.
#[test]
fn models_heap_is_deleted_while_blocks_are_freed() {
    explore(3, || {
        let world = World::new(State::Owned, 2, 0, 1);
        let deleter = {
            let world = world.clone();
            thread::spawn(move || unsafe { world.end(0, true) })
        };
        let thread = world.free(&[0]);
        unsafe {
            world.send(&[1]);
            join([deleter, thread]);
            world.give_back_waiting();
            world.expect(0);
            assert!(plain(world.page(), |plain| plain.is_released), "nobody gave the page back");
        }
    });
}

impl World {
    /// As `Thread::destroy_pages`, and the page's next `begin`: all `count` blocks are handed out anew.
    unsafe fn destroy(&self, record: usize, count: u32) {
        self.records[record].inbox.close();
        let page = self.page();
        unsafe {
            plain(page, |plain| {
                plain.free = NONE;
                plain.free_count = 0;
                plain.used = count;
            });
            for block in &(*page).blocks {
                block.content.with_mut(|content| *content = 0);
            }
        }
    }
}

impl World {
    /// As `scavenger::visit_waiting`: takes home what came to pages that wait; by now all of it has.
    unsafe fn give_back_waiting(&self) {
        while let Some(number) = self.waiting.pop(self) {
            let page = (&raw const self.pages[number as usize]).cast_mut();
            unsafe {
                put_list(page, (*page).remote.take(State::Held));
                assert_eq!(plain(page, |plain| plain.used), 0, "all blocks came home");
                release(page);
            }
        }
    }
}
