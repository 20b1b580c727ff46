/** Options of {@link SharedHeap}. */
export interface SharedHeapOptions {
  /** Size at first, rounded up to 64 KiB, with about 64 KiB for the heap itself. Default: 1 MiB. Unit: bytes. */
  readonly bytes?: number
  /** What it may grow to, at most 1 GiB. Default: `bytes`, so it does not grow. Unit: bytes. */
  readonly maxBytes?: number
  /** For statistics; at most 200 bytes of UTF-8. Default: empty. */
  readonly name?: string
}

/** What {@link SharedHeap.stats} counts. Blocks at hand of a worker are free. */
export interface SharedHeapStats {
  /** What it was given; empty where it was given none. */
  readonly name: string
  /** Size of the buffer now. Unit: bytes. */
  readonly bytes: number
  /** What it may grow to. Unit: bytes. */
  readonly maxBytes: number
  /** Threads that have it open, or have ended without being reaped. */
  readonly workers: number
  /** Blocks handed out, small and large; names of roots are such blocks too. */
  readonly allocatedBlocks: number
  /** Usable size of these. Unit: bytes. */
  readonly allocatedBytes: number
  /** Number of small blocks that were freed and wait for their next use. */
  readonly freeBlocks: number
  /** Size of these. Unit: bytes. */
  readonly freeBytes: number
  /** Of the blocks handed out: those above 30,720 bytes. */
  readonly largeBlocks: number
  /** Pages of 64 KiB, without the heap's own. */
  readonly pages: number
  /** Number of these that are in no use. A page of small blocks keeps their size for good. */
  readonly freePages: number
}

/** What {@link SharedHeap.check} found. */
export interface SharedHeapCheck {
  /** What does not agree, each with the invariant it breaks; none in a whole heap. */
  readonly faults: readonly string[]
  /** Blocks and pages that workers which ended had in flight: 0 after they were reaped. */
  readonly inFlight: number
}

/** What {@link SharedHeap.reap} brought back. */
export interface ReapResult {
  /** Slots released: 0 when the thread had none, or somebody else reaps it. */
  readonly workers: number
  /** Blocks that it kept at hand. */
  readonly blocks: number
  /** Blocks in the midst of an operation, which was finished or taken back: those of `allocAt` and of an operation in its `init` are two. */
  readonly inFlight: number
  /** Pages that it had claimed for a block. */
  readonly pages: number
}

/** A constructor of typed arrays. */
export interface TypedArrayOf<T> {
  /** Bytes of an item. */
  readonly BYTES_PER_ELEMENT: number
  /** Makes a view of `length` items from `offset` bytes on. */
  new (buffer: SharedArrayBuffer, offset: number, length: number): T
}
