//! Lists of pages that wait for an owner.

use super::*;

/// Nodes of a waiting list with the field that only their holder touches.
struct Waiters {
    list: WaitingList,
    turn: Turn,
    links: Box<[AtomicU32]>,
    plain: Box<[UnsafeCell<u32>]>,
}

impl Numbered for Waiters {
    fn link(&self, number: u32) -> &AtomicU32 {
        &self.links[number as usize]
    }
}

impl Waiters {
    fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            list: WaitingList::new(),
            turn: Turn::new(),
            links: (0..count).map(|_| AtomicU32::new(0)).collect(),
            plain: (0..count).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn push(&self, number: u32) {
        self.plain[number as usize].with_mut(|uses| unsafe { *uses += 1 });
        self.turn.pass();
        self.list.push(number, self);
    }

    fn pop(&self) -> Option<u32> {
        self.turn.pass();
        let number = self.list.pop(self)?;
        self.plain[number as usize].with_mut(|uses| unsafe { *uses += 1 });
        Some(number)
    }
}

/// One thread is about to pop while another pops two pages and puts the first back: the tag tells that head from the old one.
#[test]
fn models_waiting_list_tells_a_head_that_came_back() {
    explore(3, || {
        let waiters = Waiters::new(2);
        waiters.push(1);
        waiters.push(0);
        let popper = {
            let waiters = waiters.clone();
            thread::spawn(move || waiters.pop())
        };
        let first = waiters.pop();
        let second = waiters.pop();
        if let Some(first) = first {
            waiters.push(first);
        }
        let mut out: Vec<u32> = popper.join().unwrap().into_iter().chain(second).collect();
        out.extend(core::iter::from_fn(|| waiters.pop()).take(3));
        out.sort_unstable();
        assert_eq!(out, [0, 1], "each page is in one hand");
    });
}

/// Pages listed by two threads are popped by a third: what was written before a page was listed is visible.
#[test]
fn models_waiting_list_hands_over_what_was_written() {
    explore(3, || {
        let waiters = Waiters::new(2);
        let pushers = [0, 1].map(|number| {
            let waiters = waiters.clone();
            thread::spawn(move || waiters.push(number))
        });
        let mut out: Vec<u32> = waiters.pop().into_iter().chain(waiters.pop()).collect();
        join(pushers);
        out.extend(core::iter::from_fn(|| waiters.pop()).take(3));
        out.sort_unstable();
        assert_eq!(out, [0, 1], "each page is in one hand");
    });
}
