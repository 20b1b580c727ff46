//! Steps of two threads put in an order that seldom comes by itself.

use core::alloc::Layout;

use crate::Heap;
use crate::block::Block;
use crate::page::PageLinks;
use crate::raw;
use crate::region;
use crate::remote::{List, Pushed, State};
use crate::sync::Ordering;
use crate::thread::{Thread, page_of};

const LAYOUT: Layout = Layout::new::<[u8; 6_000]>();

/// A free by another thread has left its block with the page, and puts the page into the inbox only after the heap was deleted and
/// its record serves the next heap: there the page is none of that heap's, and must be settled whatever becomes of it.
#[test]
fn late_posts_of_a_deleted_heap_are_settled_by_the_next() {
    let _quiet = region::QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ways: [fn(&mut Heap); 3] = [
        |next| core::mem::replace(next, Heap::new().expect("a heap")).destroy(),
        Heap::clear,
        // And the bytes that come home are not the next heap's.
        |next| {
            next.purge();
            assert_eq!(next.allocated_bytes(), raw::good_size(LAYOUT.size()) as u64, "one block is in use");
        },
    ];
    for settle in ways {
        let heap = Heap::new().expect("a heap");
        let [kept, freed] = [(); 2].map(|()| heap.alloc(LAYOUT).expect("memory").as_ptr());
        // SAFETY: blocks of the heap, each freed once; the steps of `exchange::send`, as another thread takes them.
        unsafe {
            let page = page_of(freed);
            assert_eq!(page, page_of(kept), "both are of one page");
            Block::set_next(freed.cast(), core::ptr::null_mut());
            let links = PageLinks((*page).start);
            let at = links.distance(freed.cast());
            let pushed = (*page).remote.push(List { head: at, tail: at, count: 1 }, &links, || 0);
            assert_eq!(pushed, Pushed::Post);
            // ORDER: Relaxed: this thread's own.
            let record: *mut Thread = core::ptr::with_exposed_provenance_mut((*page).owner.load(Ordering::Relaxed));
            heap.delete();

            let mut next = Heap::new().expect("a heap");
            let block = next.alloc(LAYOUT).expect("memory");
            assert_eq!((*page_of(block.as_ptr())).owner.load(Ordering::Relaxed), (*record).token(), "the same record");
            assert!((*record).inbox.push(page), "the late step");
            settle(&mut next);
            assert_eq!((*page).remote.state(), State::Held, "the page waits for an owner");
            next.destroy();
            raw::free(kept);
        }
    }
}
