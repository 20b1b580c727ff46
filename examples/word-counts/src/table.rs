//! The table: words and their counts, in a heap that holds nothing else.
//!
//! | field    | lies in | always true                                                      |
//! |----------|---------|------------------------------------------------------------------|
//! | `heap`   | the global allocator | T1 its blocks are the words of `counts`, and its slots |
//! | `counts` | `heap`  | T2 used before the heap ends, never after; nothing outside refers into it |

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::slice;

use hashbrown::{DefaultHashBuilder, HashMap};
use tessalloc::{Heap, HeapOptions, OutOfMemory};

/// The heap is at its limit, or memory is out. What was counted before stays.
#[derive(Debug)]
pub(crate) struct Full;

pub(crate) struct Table {
    heap: &'static Heap,
    counts: ManuallyDrop<HashMap<&'static [u8], u32, DefaultHashBuilder, &'static Heap>>,
}

impl Table {
    /// A table that takes at most so many bytes.
    pub(crate) fn new(limit_bytes: u64) -> Result<Self, OutOfMemory> {
        let heap = HeapOptions::new().name("word-counts").hard_limit(limit_bytes).build()?;
        // The heap must not move while the map refers to it; `drop` takes it back.
        let heap: &'static Heap = Box::leak(Box::new(heap));
        Ok(Self { heap, counts: ManuallyDrop::new(HashMap::with_hasher_in(DefaultHashBuilder::default(), heap)) })
    }

    /// Counts the words of a text, up to the first for which there is no room.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), Full> {
        text.split_whitespace().try_for_each(|word| self.count(word.as_bytes()).ok_or(Full))
    }

    fn count(&mut self, word: &[u8]) -> Option<()> {
        if let Some(count) = self.counts.get_mut(word) {
            *count += 1;
            return Some(());
        }
        // Room for the slot first: a word without a slot would stay until the heap ends.
        self.counts.try_reserve(1).ok()?;
        let word = self.copy(word)?;
        self.counts.insert(word, 1);
        Some(())
    }

    /// The word in the heap. It is freed with the heap, not by itself.
    fn copy(&self, word: &[u8]) -> Option<&'static [u8]> {
        let place = self.heap.alloc(Layout::for_value(word))?;
        // SAFETY: a new block of the word's length; it stays as long as the heap, and so as all that refers to it (T2).
        unsafe {
            place.as_ptr().copy_from_nonoverlapping(word.as_ptr(), word.len());
            Some(slice::from_raw_parts(place.as_ptr(), word.len()))
        }
    }

    /// How often a word was counted.
    pub(crate) fn get(&self, word: &str) -> u32 {
        self.counts.get(word.as_bytes()).copied().unwrap_or(0)
    }

    /// Different words.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Bytes of the heap's blocks.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.heap.allocated_bytes()
    }
}

impl Drop for Table {
    /// All words and slots at once, however many there are: the map itself is forgotten.
    fn drop(&mut self) {
        // SAFETY: `new` leaked the box; the map, which alone refers to the heap (T1), is used no more (T2).
        let heap = unsafe { Box::from_raw(std::ptr::from_ref(self.heap).cast_mut()) };
        heap.destroy();
    }
}
