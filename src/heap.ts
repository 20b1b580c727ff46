import { TessallocError } from './errors.ts'
import { checkSpace } from './heap/check.ts'
import { type HeapPage, largeClass } from './heap/page.ts'
import { classedBlockBytesMax, HeapSpace, pageSlices, sliceBytes, unitBytes } from './heap/space.ts'
import { classBytes, classOf } from './size-class.ts'
import { type Backing, checkBacking } from './slab.ts'
import { checkAlign, checkInteger, checkOptions, checkText, disposedError, invalidOption, shown } from './validate.ts'

/** How a {@link Heap} is made. */
export interface HeapOptions {
  /**
   * Committed bytes beyond which it calls `onLimit` with `soft`, once until it is below again; before, it gives back what it does
   * not need. Default: none.
   */
  readonly softLimit?: number
  /** Committed bytes that it never exceeds: `onLimit` is called with `hard`, and if that freed nothing, `alloc` throws. Default: none. */
  readonly hardLimit?: number
  /** Called at a limit, in the midst of an `alloc` or `realloc`. May free blocks, and allocate what is there without a new page. */
  readonly onLimit?: (limit: 'soft' | 'hard', heap: Heap) => void
  /** Where slabs come from. Default: `native`, which falls back to `js`. */
  readonly backing?: Backing
  /** Name that errors show. Default: `heap`. */
  readonly name?: string
}

/** A block that is handed out, as {@link Heap.blocks} shows it. */
export interface HeapBlock {
  /** Where it starts, in bytes: what `alloc` answered. */
  readonly offset: number
  /** Bytes that may be used. */
  readonly bytes: number
}

/** A run of equal blocks, as {@link Heap.pages} shows it. */
export interface HeapPageInfo {
  /** Where its first block starts. Unit: bytes. */
  readonly offset: number
  /** Bytes of the page. */
  readonly bytes: number
  /** Bytes of each block. */
  readonly blockBytes: number
  /** Blocks that fit. */
  readonly capacity: number
  /** Blocks that are handed out. */
  readonly used: number
}

/** What {@link Heap.stats} tells. Scope: this heap. */
export interface HeapStats {
  /** Bytes of the blocks that are handed out, as many as may be used. */
  readonly allocatedBytes: number
  /** Blocks that are handed out. */
  readonly allocatedBlocks: number
  /** Bytes of all pages: what limits count. */
  readonly committedBytes: number
  /** Largest `committedBytes` so far. */
  readonly peakCommittedBytes: number
  /** Bytes of all slabs: in RAM as far as they were touched. */
  readonly reservedBytes: number
  /** Pages. */
  readonly pages: number
  /** Slabs, each one ArrayBuffer. */
  readonly slabs: number
}

/** Alignment of every block. Unit: bytes. */
const alignMin = 16
/** Largest alignment of an offset: pages start at multiples of it. */
const alignMax = sliceBytes
/** Largest block: one view can span it everywhere. */
const blockBytesMax = 2 ** 31

/** The class for a block, or {@link largeClass}. */
function classFor(bytes: number, align: number): number {
  if (bytes > classedBlockBytesMax) return largeClass
  // The smallest class that is a multiple of the alignment: a power of two is reached after eight classes at most.
  let sizeClass = classOf(Math.ceil(bytes / align) * align)
  while (classBytes(sizeClass) % align !== 0) sizeClass++
  return sizeClass
}

/**
 * A heap of one's own: blocks that are taken and given back one by one, named by offsets, over slabs that V8 need not look at.
 *
 * An offset is a number, and never 0, so it can stand in the memory itself, as a link with 0 for none. Offsets name places in slabs of 2 MiB;
 * {@link Heap.view} leads to the bytes. All tables lie outside of the slabs: a program that writes beyond its block harms
 * neighbours, never the heap. Sizes are rounded up by at most 12.5 % above 128 bytes. Belongs to the thread that made it. After
 * `dispose` everything throws `ERR_TESSALLOC_DISPOSED`.
 *
 * ```ts
 * using heap = new Heap({ hardLimit: 64 << 20 })
 * const node = heap.alloc(24)
 * heap.view(node).fill(0)
 * for (const { offset, bytes } of heap.blocks()) console.log(offset, bytes)
 * heap.free(node)
 * ```
 */
export class Heap implements Disposable {
  readonly #space: HeapSpace
  readonly #softLimit: number
  readonly #hardLimit: number
  readonly #onLimit: ((limit: 'soft' | 'hard', heap: Heap) => void) | undefined
  /** H1: the soft limit was told, and the heap has not been below it since. */
  #softIsTold = false
  /** H2: `onLimit` is running; it is not called again meanwhile. */
  #isTelling = false
  #isDisposed = false
  /** Name that errors show. */
  readonly name: string

  /** Makes an empty heap, without a slab yet. Throws `ERR_TESSALLOC_INVALID_SIZE` and `ERR_TESSALLOC_INVALID_OPTION`. */
  constructor(options: HeapOptions = {}) {
    const action = 'create heap'
    checkOptions(action, options)
    const { softLimit = Number.MAX_SAFE_INTEGER, hardLimit = Number.MAX_SAFE_INTEGER, backing = 'native' } = options
    const { name = 'heap' } = options
    checkInteger(action, 'softLimit', softLimit, 1)
    checkInteger(action, 'hardLimit', hardLimit, 1)
    checkBacking(action, backing)
    checkText(action, 'name', name)
    if (options.onLimit !== undefined && typeof options.onLimit !== 'function') {
      throw invalidOption(action, 'onLimit', 'a function', options.onLimit)
    }
    this.#space = new HeapSpace(backing)
    this.#softLimit = softLimit
    this.#hardLimit = hardLimit
    this.#onLimit = options.onLimit
    this.name = name
  }

  /**
   * Takes a block of at least `bytes` bytes, at least 1, and answers its offset: a multiple of `align`, a power of two up to 65,536.
   * The block is not cleared. Throws `ERR_TESSALLOC_OUT_OF_MEMORY` at the hard limit or when the system has none, and
   * `ERR_TESSALLOC_INVALID_SIZE` for a size above 2 GiB or another alignment; the heap is as before then. Cost: some nanoseconds.
   */
  alloc(bytes: number, align: number = alignMin): number {
    if ((bytes | 0) === bytes && bytes > 0 && bytes <= classedBlockBytesMax && align === alignMin) {
      const list = this.#space.rooms[classOf(bytes)] as HeapPage[]
      const page = list[list.length - 1]
      if (page !== undefined) return this.#takeFrom(page)
    }
    return this.#allocSlow(bytes, align)
  }

  /**
   * Like {@link Heap.alloc}; the `bytes` bytes read zero.
   *
   * ```ts
   * using heap = new Heap()
   * const block = heap.allocZeroed(4)
   * heap.view(block, 4).join() // → '0,0,0,0'
   * ```
   */
  allocZeroed(bytes: number, align: number = alignMin): number {
    const offset = this.alloc(bytes, align)
    this.#viewOf(this.#space.pages[Math.floor(offset / sliceBytes)] as HeapPage, offset, bytes).fill(0)
    return offset
  }

  /**
   * Gives a block back. Throws `ERR_TESSALLOC_DOUBLE_FREE` when that was done before, `ERR_TESSALLOC_NOT_OWNED` for an offset at
   * which no block starts. Views of the block must not be used any more. Cost: some nanoseconds.
   */
  free(offset: number): void {
    const space = this.#space
    const page = space.pages[Math.floor(offset / sliceBytes)]
    const index = page === undefined ? -1 : page.indexOf(offset)
    if (page === undefined || index < 0 || !page.isTaken(index)) throw this.#refusal('free', offset)
    page.give(index)
    if (page.sizeClass === largeClass) {
      space.removePage(page)
    } else {
      if (page.place < 0) space.list(page)
      // The last page of its class with room stays, so that a program on the edge does not make and remove it all the time.
      if (page.used === 0 && (space.rooms[page.sizeClass] as HeapPage[]).length > 1) space.removePage(page)
    }
    if (this.#softIsTold && space.committed <= this.#softLimit) this.#softIsTold = false
  }

  /**
   * Changes the size of a block: answers its offset, which is another one if it had to move, then a multiple of 16 only. Keeps what
   * both sizes share. Throws like {@link Heap.alloc}, and the block stays as it is; throws for `offset` like {@link Heap.free}.
   */
  realloc(offset: number, bytes: number): number {
    const action = `reallocate in ${this.name}`
    const page = this.#pageOf('reallocate in', offset)
    checkInteger(action, 'bytes', bytes, 1, blockBytesMax)
    if (page.sizeClass === largeClass) {
      if (bytes > classedBlockBytesMax && this.#resizeInPlace(page, Math.ceil(bytes / sliceBytes))) return offset
    } else if (bytes <= page.blockBytes && classFor(bytes, alignMin) === page.sizeClass) {
      return offset
    }
    const kept = Math.min(page.blockBytes, bytes)
    const from = this.#viewOf(page, offset, kept)
    const target = this.alloc(bytes)
    this.view(target, kept).set(from)
    this.free(offset)
    return target
  }

  /** Bytes of a block that may be used. Throws like {@link Heap.free}. */
  usableSize(offset: number): number {
    return this.#pageOf('measure a block of', offset).blockBytes
  }

  /**
   * Whether a block that is handed out starts at `offset`.
   *
   * ```ts
   * using heap = new Heap()
   * const block = heap.alloc(100)
   * heap.holds(block) // → true
   * heap.free(block)
   * heap.holds(block) // → false
   * ```
   */
  holds(offset: number): boolean {
    this.#checkOpen('look into')
    const page = this.#space.pages[Math.floor(offset / sliceBytes)]
    const index = page?.indexOf(offset) ?? -1
    return page !== undefined && index >= 0 && page.isTaken(index)
  }

  /**
   * The bytes of a block: the first `bytes` of it, or all. Must not be used after the block was freed or moved. Throws like
   * {@link Heap.free}, and `ERR_TESSALLOC_INVALID_SIZE` for more bytes than the block has.
   */
  view(offset: number, bytes?: number): Uint8Array {
    const page = this.#pageOf('view a block of', offset)
    const length = bytes ?? page.blockBytes
    if ((length | 0) !== length || length < 0 || length > page.blockBytes) {
      checkInteger(`view a block of ${this.name}`, 'bytes', length, 0, page.blockBytes)
    }
    return this.#viewOf(page, offset, length)
  }

  /** The blocks that are handed out, by offset. Blocks that come or go meanwhile may be shown or not. */
  *blocks(): Generator<HeapBlock, void, undefined> {
    this.#checkOpen('walk')
    for (const page of this.#space.allPages()) {
      for (let index = 0; index < page.capacity; index++) {
        if (page.isTaken(index)) yield { offset: page.start + index * page.blockBytes, bytes: page.blockBytes }
      }
    }
  }

  /** The pages, by offset. Pages that come or go meanwhile may be shown or not. */
  *pages(): Generator<HeapPageInfo, void, undefined> {
    this.#checkOpen('walk')
    for (const { start, slices, blockBytes, capacity, used } of this.#space.allPages()) {
      yield { offset: start, bytes: slices * sliceBytes, blockBytes, capacity, used }
    }
  }

  /** What it holds. Cost: all pages are visited. */
  stats(): HeapStats {
    this.#checkOpen('read')
    const space = this.#space
    let [allocatedBytes, allocatedBlocks, pages, slabs] = [0, 0, 0, 0]
    for (const page of space.allPages()) {
      pages++
      allocatedBlocks += page.used
      allocatedBytes += page.used * page.blockBytes
    }
    for (const _ of space.allSlabs()) slabs++
    return {
      allocatedBytes,
      allocatedBlocks,
      committedBytes: space.committed,
      peakCommittedBytes: space.committedPeak,
      reservedBytes: space.reserved,
      pages,
      slabs,
    }
  }

  /** Looks whether its tables agree: what is wrong, by invariant; nothing, if all is well. Cost: every block is visited. */
  check(): readonly string[] {
    this.#checkOpen('check')
    return checkSpace(this.#space)
  }

  /**
   * Gives back to the system what no block needs: empty pages and slabs, and the memory of free pages where the system can.
   *
   * ```ts
   * using heap = new Heap()
   * heap.free(heap.alloc(100))
   * heap.stats().slabs // → 1
   * heap.purge()
   * heap.stats().slabs // → 0
   * ```
   */
  purge(): void {
    this.#checkOpen('purge')
    this.#space.shrink()
    if (this.#space.committed <= this.#softLimit) this.#softIsTold = false
  }

  /** Whether it was disposed. */
  get disposed(): boolean {
    return this.#isDisposed
  }

  /** Gives all slabs back and detaches every view of them; `shared` ones live on as long as their views. May be called again. */
  dispose(): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    this.#space.clear()
  }

  /** The same as {@link Heap.dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Takes a block from a page that has one. */
  #takeFrom(page: HeapPage): number {
    const index = page.take()
    if (page.used === page.capacity && page.place >= 0) this.#space.unlist(page)
    return page.start + index * page.blockBytes
  }

  /** Everything unusual: disposed, bad values, alignment, large blocks, new pages, limits. */
  #allocSlow(bytes: number, align: number): number {
    const action = `allocate from ${this.name}`
    this.#checkOpen('allocate from')
    checkInteger(action, 'bytes', bytes, 1, blockBytesMax)
    checkAlign(action, align, alignMax)
    const sizeClass = classFor(bytes, Math.max(align, alignMin))
    const slices = sizeClass === largeClass ? Math.ceil(bytes / sliceBytes) : pageSlices(sizeClass)
    // Each limit is told once at most, so this ends.
    for (const told = new Set<string>(); ; ) {
      const page = sizeClass === largeClass ? undefined : this.#space.rooms[sizeClass]?.at(-1)
      if (page !== undefined) return this.#takeFrom(page)
      if (!this.#admit(slices, told, action)) continue
      if (sizeClass === largeClass) return this.#takeLarge(this.#space.addLargePage(action, slices))
      this.#space.addPage(action, sizeClass)
    }
  }

  #takeLarge(page: HeapPage): number {
    page.take()
    return page.start
  }

  /** Whether `slices` more may be committed. If not, `onLimit` was called and may have changed everything. Throws when it may not. */
  #admit(slices: number, told: Set<string>, action: string): boolean {
    const space = this.#space
    const more = slices * sliceBytes
    if (space.committed + more > this.#softLimit && !this.#softIsTold) space.shrink()
    if (space.committed + more > this.#hardLimit) space.removeEmptyPages()
    if (space.committed + more > this.#hardLimit) {
      if (this.#tell('hard', told)) return false
      throw new TessallocError(
        'ERR_TESSALLOC_OUT_OF_MEMORY',
        `Cannot ${action}: ${more} more bytes wanted, ${space.committed} of ${this.#hardLimit} committed`,
      )
    }
    if (space.committed + more > this.#softLimit && !this.#softIsTold) {
      this.#softIsTold = true
      if (this.#tell('soft', told)) return false
    }
    return true
  }

  /** Calls `onLimit`, unless it was called for this limit already or is running. Whether it did. */
  #tell(limit: 'soft' | 'hard', told: Set<string>): boolean {
    if (this.#onLimit === undefined || this.#isTelling || told.has(limit)) return false
    told.add(limit)
    this.#isTelling = true
    try {
      this.#onLimit(limit, this)
    } finally {
      this.#isTelling = false
    }
    this.#checkOpen('allocate from')
    return true
  }

  /** Makes a large block longer or shorter where it is. Whether it could, within the limits. */
  #resizeInPlace(page: HeapPage, slices: number): boolean {
    const more = (slices - page.slices) * sliceBytes
    if (more === 0) return true
    if (more > 0 && this.#space.committed + more > Math.min(this.#softLimit, this.#hardLimit)) return false
    return this.#space.resizeLargePage(page, slices)
  }

  /** The first `length` bytes of a block in the ArrayBuffer of its slab. */
  #viewOf(page: HeapPage, offset: number, length: number): Uint8Array {
    return new Uint8Array(page.slab.buffer, offset - page.slab.unit * unitBytes, length)
  }

  /** The page of a block that is handed out. */
  #pageOf(action: string, offset: number): HeapPage {
    const page = this.#space.pages[Math.floor(offset / sliceBytes)]
    const index = page === undefined ? -1 : page.indexOf(offset)
    if (page === undefined || index < 0 || !page.isTaken(index)) throw this.#refusal(action, offset)
    return page
  }

  #refusal(action: string, offset: unknown): TessallocError {
    if (this.#isDisposed) return disposedError(`${action} ${this.name}`, 'heap')
    const page = typeof offset === 'number' ? this.#space.pages[Math.floor(offset / sliceBytes)] : undefined
    if (page !== undefined && page.indexOf(offset as number) >= 0) {
      const text = `Cannot ${action} ${this.name}: the block at ${offset} is free already`
      return new TessallocError('ERR_TESSALLOC_DOUBLE_FREE', text)
    }
    const text = `Cannot ${action} ${this.name}: expected the offset of a block, received ${shown(offset)}`
    return new TessallocError('ERR_TESSALLOC_NOT_OWNED', text)
  }

  #checkOpen(action: string): void {
    if (this.#isDisposed) throw disposedError(`${action} ${this.name}`, 'heap')
  }
}
