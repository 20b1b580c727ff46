//! Which allocator serves the program. Each program links one peer; what remains to be shown is that the standard
//! library's blocks come from it and not from the C library.

use crate::Peer;
use crate::block::Sized8;
use crate::measure::resident_kib;

/// Bytes that the C library's malloc has handed out or mapped.
fn c_library_bytes() -> usize {
    // SAFETY: fills a struct of numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Takes 64 MB in blocks of 1,000 B, writes them, and prints what the C library knows of, and what the peer itself
/// says of its blocks' sizes. Ends with an error if the two don't name the same allocator.
pub(crate) fn prove<P: Peer>() {
    const COUNT: usize = 64_000;
    const BYTES: usize = 1_000;
    let mut blocks = Vec::with_capacity(COUNT);
    let (c_before, resident_before) = (c_library_bytes(), resident_kib());
    for _ in 0..COUNT {
        let block = Sized8::take(BYTES);
        block.fill();
        blocks.push(block);
    }
    let c_grew = c_library_bytes() - c_before;
    let resident_grew_kib = resident_kib() - resident_before;
    // SAFETY: all blocks are live.
    let usable = blocks.iter().map(|block| unsafe { P::usable_bytes(block.block) });
    let (least, most) = usable.fold((usize::MAX, 0), |(least, most), bytes| (least.min(bytes), most.max(bytes)));
    println!(
        r#"{{"allocator":"{}","resident_grew_kib":{resident_grew_kib},"c_library_grew_bytes":{c_grew},"usable_bytes_min":{least},"usable_bytes_max":{most}}}"#,
        P::NAME
    );
    let by_c_library = c_grew >= COUNT * BYTES;
    let sizes_known = least >= BYTES && most < BYTES * 2;
    if by_c_library != (P::NAME == "system") || (!by_c_library && c_grew > 65_536) || !sizes_known {
        crate::fail(&format!("Cannot prove that {} serves this program: see the line above", P::NAME));
    }
    for block in blocks {
        // SAFETY: given once.
        unsafe { block.give() }
    }
}
