//! Every size with every alignment through Rust's sized free, also from another thread: blocks keep their bytes, memory does not grow.
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};

#[global_allocator]
static GLOBAL: tessalloc::Tessalloc = tessalloc::Tessalloc;

fn sizes() -> impl Iterator<Item = usize> {
    (1..=130).chain((8..=17).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]))
}

/// A block as a number, so that it can go to another thread.
struct Made(usize, Layout, u8);

fn make(layout: Layout, mark: u8) -> Made {
    // SAFETY: no size here is 0; the block is as long as the layout says.
    unsafe {
        let block = alloc(layout);
        assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()), "{layout:?} at {block:?}");
        block.write_bytes(mark, layout.size());
        Made(block.expose_provenance(), layout, mark)
    }
}

fn check_and_free(made: Made) {
    let Made(address, layout, mark) = made;
    let block = std::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the block is in use, of this layout, and freed here only.
    unsafe {
        assert!((0..layout.size()).all(|index| *block.add(index) == mark), "{layout:?} was written by another");
        dealloc(block, layout);
    }
}

fn main() {
    let mut mark = 0u8;
    for round in 0..3 {
        let mut made = Vec::new();
        for align in (0..=16).map(|bits| 1usize << bits) {
            for size in sizes() {
                let layout = Layout::from_size_align(size, align).unwrap();
                mark = mark.wrapping_add(1);
                made.push(make(layout, mark));
                check_and_free(make(layout, !mark));
                // SAFETY: size over 0; freed with the layout that it has after the last step.
                unsafe {
                    let zero = alloc_zeroed(layout);
                    assert!(
                        zero.addr().is_multiple_of(align) && (0..size).all(|index| *zero.add(index) == 0),
                        "{layout:?}"
                    );
                    zero.write_bytes(0xee, size);
                    let grown = realloc(zero, layout, size * 2);
                    assert!(grown.addr().is_multiple_of(align), "realloc of {layout:?} lost its alignment");
                    assert!((0..size).all(|index| *grown.add(index) == 0xee), "realloc of {layout:?} lost bytes");
                    dealloc(grown, Layout::from_size_align(size * 2, align).unwrap());
                }
            }
        }
        let half = made.len() / 2;
        let others: Vec<Made> = made.drain(..half).collect();
        let thread = std::thread::spawn(move || others.into_iter().for_each(check_and_free));
        made.into_iter().for_each(check_and_free);
        thread.join().unwrap();
        let _ = round;
    }
    println!("ok");
}
