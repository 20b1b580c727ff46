/**
 * How a shared heap lies in its buffer, and the rules that keep it whole whoever is killed when.
 *
 * ```text
 * 0 KiB   head: magic, version, sizes, name
 * 1 KiB   a line of 64 bytes a size class: head of its stack, page that is carved
 * 3.5 KiB roots: 64 × (name, value)
 * 4 KiB   63 slots of 768 bytes, one a worker
 * …       page table: one word a page of 64 KiB, for `maxBytes`
 * next    pages. A small page: 4 KiB of states (one byte each 16 bytes of the page), then blocks of one size
 *         A large block: a run of pages, 4 KiB of head before it
 * ```
 *
 * | word           | written by       | how            | always true |
 * |----------------|------------------|----------------|-------------|
 * | page entry     | any              | CAS, store     | S1 it alone tells whose a page is; a worker takes pages by CAS from `free` to `claimed` with its number, and only that worker (or who reaps it) changes a claimed page |
 * | interior entry | owner of the run | store          | S2 it follows the entry of its run, which is `large` or `claimed`; a run is taken apart from its end |
 * | state byte     | any              | CAS, store     | S3 0 until the block is carved, never 0 again; `free` means in a stack, in a magazine, or in flight at the worker it names |
 * | `current`      | any              | CAS            | S4 the page it names is `small` or `installing`; only an exhausted page is replaced |
 * | `bump`         | any              | CAS            | S5 it goes up by one, past blocks whose state is not 0 |
 * | stack head     | any              | 64-bit CAS     | S6 holds the writer's number and a sequence number: no value comes twice, so there is no ABA |
 * | `done`         | any              | CAS, only up   | S7 who replaces a head of another worker first writes its sequence number here: a worker's last CAS has happened if and only if the head or `done` shows it |
 * | chain links    | owner            | plain          | S8 a chain belongs to one magazine or one stack; its first block holds link, next chain and count |
 * | `intent`       | owner            | plain          | S9 names the step in flight before its first effect, and is 0 after its last: what must be repeated, finished or taken back follows from it and from S1 to S7 |
 * | `held`         | owner            | plain          | S10 a block in state `held` was not published unless its cell holds it; who empties a cell first makes the state `allocated` |
 * | `status`       | any              | CAS            | S11 a slot is the worker's, or that of the one worker that reaps it; who reaps acts as the dead worker, so a killed reaper is reaped the same way |
 *
 * A worker is killed between two statements, never within an access: `worker.terminate()` stops it where V8 looks for interrupts,
 * and everything before that point has been written. So only the order of the program counts for `reap()`, and what only the
 * owner writes needs no atomic operation.
 *
 * Heads are 64 bits wide, since block, writer and a sequence number that does not come round within a preemption do not fit in 32;
 * two 32-bit words could not be changed in one step. Such a CAS costs 25 ns where one of 32 bits costs 9 (node 20), but a
 * magazine makes one only every `batchOf` blocks.
 *
 * Views have a fixed length and are replaced when the buffer grows: length-tracking ones are 4 to 20 times as slow.
 *
 * @module
 */

/** "TESS". */
export const magic = 0x53534554
/** Changes with the layout. */
export const layoutVersion = 1

export const pageShift = 16
/** Unit: bytes. */
export const pageBytes: number = 1 << pageShift
/** Unit: bytes. Of each page, or run: before the first block. */
export const pageHeadBytes = 4096
/** Offsets fit in 26 bits of 16 bytes beside the worker's number. Unit: bytes. */
export const bytesMax: number = 2 ** 30
/** Workers at a time. */
export const slotsMax = 63

// Words of the head (indices of an Int32Array).
export const magicWord = 0
export const versionWord = 1
export const maxBytesWord = 2
export const firstPageWord = 3
export const nameBytesWord = 4
/** Unit: bytes. Where the name starts, in UTF-8. */
export const nameOffset = 32
/** Unit: bytes. */
export const nameBytesMax = 200

/** Words from one class's line to the next; the head is its first 8 bytes, `current` the word after. */
const classLineWord = 256
const classLineWords = 16

/** Index of the stack's head in a BigUint64Array. */
export function headAt(sizeClass: number): number {
  return (classLineWord + sizeClass * classLineWords) >>> 1
}

/** Index of the word that names the page being carved; 0: none yet. */
export function currentAt(sizeClass: number): number {
  return classLineWord + sizeClass * classLineWords + 2
}

export const rootsWord = 896
export const rootsMax = 64

const slotsWord = 1024
const slotWords = 192

/** Index of the first word of slot `worker`, from 1 to {@link slotsMax}. */
export function slotAt(worker: number): number {
  return slotsWord + (worker - 1) * slotWords
}

// Words of a slot.
/** `threadId + 1` in 24 bits, the slot that reaps it in 6, {@link live} or {@link reaping} in 2; 0: free. */
export const statusWord = 0
/** Offset of a block (or size class × 16) with one of the `intent…` codes in the low bits; 0: nothing in flight. */
export const intentWord = 1
/** State that the block of a free had. */
export const expectedWord = 2
/** Cell that `freeAt` empties. */
export const cellWord = 3
/** Block of `allocAt` that is not published yet. */
export const heldWord = 4
/** Cell that `held` is for. */
export const heldCellWord = 5
/** New block of a `realloc`. */
export const movingWord = 6
/** Number of the last operation on a stack; outlives the worker. */
export const sequenceWord = 7
/** Chain that a pop is about to take. */
export const targetWord = 8
const magazinesWord = 16
/** S7. In a line of its own. */
export const doneWord = 176

// Words of a magazine: chain in use and its blocks, chain in reserve and its blocks.
const magazineWords = 4
export const chainWord = 0
export const countWord = 1
export const spareWord = 2
export const spareCountWord = 3

/** First word of a class's magazine, from the slot's first word on. */
export function magazineAt(slot: number, sizeClass: number): number {
  return slot + magazinesWord + sizeClass * magazineWords
}

export const live = 1
export const reaping = 2

// Intents.
/** Takes the first block of the magazine. */
export const intentTake = 1
/** Carves a block. */
export const intentCarve = 2
/** Makes a run of claimed pages a large block. */
export const intentLarge = 3
/** Frees a block. */
export const intentFree = 4
/** Frees a block and empties its cell. */
export const intentFreeAt = 5
/** Pushes a chain of the magazine on its stack. */
export const intentPush = 6
/** Pops a chain from the stack of a size class into the empty magazine. */
export const intentPop = 7

/** Index of the page table's first word. */
export const pageTableWord: number = slotsWord + slotsMax * slotWords

// Kinds of page entries, in the bits from 28 on.
export const pageFree = 0
/** Head of the heap. */
export const pageReserved = 1
/** With the worker's number. */
export const pageClaimed = 2
/** Of a large block, not its first page. */
export const pageInterior = 3
/** With its size class. */
export const pageSmall = 4
/** Small already, but perhaps not reachable yet: with size class, and the worker's number × 256. */
export const pageInstalling = 5
/** First page of a large block: with the number of pages. */
export const pageLarge = 6

export function pageEntry(kind: number, value: number): number {
  return (kind << 28) | value
}

export function entryKind(entry: number): number {
  return entry >>> 28
}

export function entryValue(entry: number): number {
  return entry & 0xfffffff
}

// Kinds of states, in the upper 2 bits of the byte; the worker that wrote it is in the others.
export const stateFree = 1
export const stateAllocated = 2
/** Allocated by `allocAt`, not published yet. */
export const stateHeld = 3

export function state(kind: number, worker: number): number {
  return (kind << 6) | worker
}

export function isInUse(byte: number): boolean {
  return byte >= stateAllocated << 6
}

/** Index of the state byte of the block at `offset`. */
export function stateAt(offset: number): number {
  return (offset & -pageBytes) + ((offset & (pageBytes - 1)) >>> 4)
}

/** Index of the word in a small page's head that counts the blocks carved. */
export function bumpAt(page: number): number {
  return page << (pageShift - 2)
}

/** Sizes of small blocks. Unit: bytes. Steps of an eighth to a fifth, so that at most that is lost in a block. */
export const classSizes: readonly number[] = [
  16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048,
  2560, 3072, 3584, 4096, 5120, 6144, 7680, 8768, 10240, 12288, 15360, 20480, 30720,
]
export const classCount: number = classSizes.length
/** The largest small block. Unit: bytes. */
export const smallMax: number = classSizes.at(-1) ?? 0

/** Blocks in a page, by size class. */
export const capacityOf: Int32Array = Int32Array.from(classSizes, (size) =>
  Math.floor((pageBytes - pageHeadBytes) / size),
)
/** Blocks in a chain, by size class: 16 KiB of them, from 1 to 64. A worker keeps two chains a class. */
export const batchOf: Int32Array = Int32Array.from(classSizes, (size) =>
  Math.max(1, Math.min(64, Math.floor(16384 / size))),
)
/** The same as {@link classSizes}, for the fast path. */
export const sizeOf: Int32Array = Int32Array.from(classSizes)

/** Size class by bytes, rounded up to 16 and divided by 16. */
export const classOf: Uint8Array = Uint8Array.from({ length: (smallMax >>> 4) + 1 }, (_, index) =>
  classSizes.findIndex((size) => size >= index * 16),
)

/** First page after the heap's own, for a heap that grows to `maxBytes`. */
export function firstPageFor(maxBytes: number): number {
  return Math.ceil((pageTableWord * 4 + (maxBytes >>> pageShift) * 4) / pageBytes)
}
