import { threadId, type Worker } from 'node:worker_threads'
import { TessallocError, type TessallocErrorCode } from '../errors.ts'
import { checkInteger, checkOptions, checkText, disposedError } from '../validate.ts'
import { check, count } from './check.ts'
import { FieldViews, fieldOf } from './fields.ts'
import { create, maxBytesOf, nameOf, open, pagesFor } from './header.ts'
import {
  bytesMax,
  cellWord,
  classOf,
  entryValue,
  heldWord,
  intentFree,
  intentFreeAt,
  intentWord,
  isInUse,
  movingWord,
  pageBytes,
  pageHeadBytes,
  pageShift,
  pageTableWord,
  rootsMax,
  rootsWord,
  sizeOf,
  slotsMax,
  smallMax,
  state,
  stateAllocated,
  stateAt,
  stateHeld,
} from './layout.ts'
import { corrupt, emptyCell, give, hold, publish, take } from './magazine.ts'
import { get, getByte, load, type Memory, memoryOf, refresh, set } from './memory.ts'
import { classAt, giveRun, takeRun } from './pages.ts'
import { discard } from './recovery.ts'
import { Roots } from './roots.ts'
import { countWorkers, reapThread, register, release, threadIdMax } from './slots.ts'
import type { Struct, StructAccess, StructFields } from './struct.ts'
import type { ReapResult, SharedHeapCheck, SharedHeapOptions, SharedHeapStats, TypedArrayOf } from './types.ts'

/** What a disposed heap works on: no view has an element, so every fast path ends in the slow one, which tells. */
const closed: Memory = memoryOf(new SharedArrayBuffer(0), 1, 1)

/**
 * An allocator over a `SharedArrayBuffer` that many workers use at once, without locks. Blocks are known by their offset, a number that
 * is the same in every worker: structs, strings and arrays are shared without copies.
 *
 * Each thread opens the buffer itself, and uses its own object. A worker may be terminated at any time: the others go on, and
 * {@link reap} brings back what it had at hand and the block it had in flight. The protocol is told in `layout.ts`.
 *
 * What takes memory throws `ERR_TESSALLOC_OUT_OF_MEMORY` when there is no room up to `maxBytes`, `ERR_TESSALLOC_INVALID_SIZE` for what
 * is no integer from 0 to 1 GiB, and `ERR_TESSALLOC_CORRUPT` when it meets a block that was written to after it was freed. What takes
 * an offset or a cell throws `ERR_TESSALLOC_NOT_OWNED` where there is none. Options that are none throw `ERR_TESSALLOC_INVALID_OPTION`,
 * threads beyond the 16,777,214th of a process `ERR_TESSALLOC_UNSUPPORTED`. After `dispose` everything throws `ERR_TESSALLOC_DISPOSED`.
 *
 * ```ts
 * using heap = new SharedHeap({ bytes: 1 << 20, maxBytes: 64 << 20 })
 * heap.roots.set('greeting', heap.writeString('hello'))
 * // In a worker that was given `heap.buffer`:
 * using shared = SharedHeap.from(heap.buffer)
 * shared.readString(shared.roots.get('greeting')) // → 'hello'
 * ```
 */
export class SharedHeap implements Disposable {
  #m: Memory
  readonly #views: FieldViews
  /** Names for what workers share. */
  readonly roots: Roots
  #text: Buffer = Buffer.alloc(0)

  /**
   * Makes a heap, and the buffer it lies in; or opens that in a buffer, as {@link SharedHeap.from}. Throws
   * `ERR_TESSALLOC_INVALID_SIZE` for sizes above 1 GiB, a `maxBytes` below `bytes`, or a name above 200 bytes,
   * `ERR_TESSALLOC_INVALID_OPTION` for other bad options; `ERR_TESSALLOC_OUT_OF_MEMORY` when the system refuses the buffer.
   */
  constructor(source: SharedHeapOptions | SharedArrayBuffer = {}) {
    const m = open(source instanceof SharedArrayBuffer ? source : bufferFor(source))
    if (threadId > threadIdMax) {
      fail(
        'ERR_TESSALLOC_UNSUPPORTED',
        `Cannot open shared heap: expected a thread up to ${threadIdMax}, this is ${threadId}`,
      )
    }
    const worker = register(m, threadId)
    if (worker === 0) {
      fail(
        'ERR_TESSALLOC_FULL',
        `Cannot open shared heap: expected at most ${slotsMax} users at a time, all slots are taken`,
      )
    }
    this.#m = memoryOf(m.buffer, worker, m.firstPage)
    this.#views = new FieldViews(() => this.#live(), m.firstPage * pageBytes)
    this.roots = new Roots({
      memory: () => this.#live(),
      writeNameAt: (cell, text) => this.#writeStringAt(cell >>> 2, text) !== 0,
      readString: (offset) => this.readString(offset),
      isBlock: (offset) => this.#isBlock(offset),
    })
  }

  /**
   * Opens the heap in `buffer`, which another thread made: once a thread. Throws `ERR_TESSALLOC_INCOMPATIBLE` for a buffer without a heap
   * of this version, `ERR_TESSALLOC_FULL` when 63 use it already, and a `TypeError` for what is no SharedArrayBuffer.
   */
  static from(buffer: SharedArrayBuffer): SharedHeap {
    open(buffer)
    return new SharedHeap(buffer)
  }

  /** What to post to a worker, for {@link SharedHeap.from}. */
  get buffer(): SharedArrayBuffer {
    return this.#live().buffer
  }

  /** Whether it was disposed; never throws. */
  get disposed(): boolean {
    return this.#m === closed
  }

  /**
   * As given when it was made, by whichever thread.
   *
   * ```ts
   * const heap = new SharedHeap({ name: 'index' })
   * heap.name // → 'index'
   * heap.dispose()
   * heap.disposed // → true
   * ```
   */
  get name(): string {
    return nameOf(this.#live())
  }

  /**
   * A block of at least `bytes`, aligned to 16; its contents are undefined. Returns its offset. Throws `ERR_TESSALLOC_OUT_OF_MEMORY`, and
   * `ERR_TESSALLOC_INVALID_SIZE` for what is no integer from 0 to 1 GiB. Cost: about 20 ns, with no atomic operation, while the
   * worker has a block of that size at hand.
   *
   * A worker that is killed before it has stored the offset loses the block: where that may happen, use {@link allocAt}.
   */
  alloc(bytes: number): number {
    const m = this.#m
    const block = this.#take(bytes, state(stateAllocated, m.me))
    set(m, m.slot + intentWord, 0)
    return block
  }

  /**
   * Frees the block at `offset`, whoever allocated it. Throws `ERR_TESSALLOC_DOUBLE_FREE` when it is free already, told by the byte of
   * state that each block has (until the block is handed out again); `ERR_TESSALLOC_NOT_OWNED` when no block starts there. Cost: one
   * atomic operation, about 30 ns.
   */
  free(offset: number): void {
    const m = this.#m
    const sizeClass = classAt(m, offset)
    const byte = sizeClass === -2 ? 0 : getByte(m, stateAt(offset))
    if (!isInUse(byte) || !this.#give(offset, sizeClass, byte, intentFree)) this.#notFreed(offset, byte)
  }

  /**
   * Allocates and puts the offset in `cell`, as one step: until it is there, the block is the heap's. `init` may write to the block
   * before others see it, and may allocate and free, but not call `allocAt`. A worker that is killed loses nothing: either the cell
   * has the block, or {@link reap} returns it. A cell is 4 bytes in a block of this heap that hold 0, or a root's.
   *
   * Throws `ERR_TESSALLOC_OCCUPIED` when the cell is not 0, or inside another `init`; else as {@link alloc}. What `init` throws is passed
   * on, and the block freed.
   */
  allocAt(cell: number, bytes: number, init?: (offset: number) => void): number {
    const word = this.#cell(cell)
    const block = this.#allocAt(word, bytes, init)
    if (block === 0) {
      fail('ERR_TESSALLOC_OCCUPIED', `Cannot allocate at cell ${cell}: expected 0 in it, found ${load(this.#m, word)}`)
    }
    return block
  }

  /**
   * Frees the block whose offset is in `cell` and puts 0 there, as one step: a worker that is killed has done both (after {@link reap}) or
   * neither. `false` when the cell was empty, or somebody else was faster. One worker at a time may empty a cell. Throws
   * `ERR_TESSALLOC_NOT_OWNED` when what it holds is no block.
   */
  freeAt(cell: number): boolean {
    const m = this.#m
    const word = this.#cell(cell)
    const block = load(m, word)
    if (block === 0) return false
    const sizeClass = this.#classOf('free', block)
    const byte = getByte(m, stateAt(block))
    set(m, m.slot + cellWord, word)
    return isInUse(byte) && this.#give(block, sizeClass, byte, intentFreeAt)
  }

  /**
   * Takes the block out of `cell`, which holds 0 afterwards, and returns its offset; 0 when it was empty. What {@link allocAt} put there
   * must be taken this way, or by {@link freeAt}. One worker at a time may empty a cell. Throws `ERR_TESSALLOC_NOT_OWNED` when what it
   * holds is no block.
   */
  take(cell: number): number {
    const word = this.#cell(cell)
    const block = load(this.#m, word)
    if (block === 0) return 0
    this.#classOf('take', block)
    return emptyCell(this.#m, word)
  }

  /** Whether a block that is handed out starts at `offset`. */
  holds(offset: number): boolean {
    this.#live()
    return this.#isBlock(offset)
  }

  /** Bytes that may be written at `offset`: at least what was asked for. Throws `ERR_TESSALLOC_NOT_OWNED` when no block is there. */
  usableSize(offset: number): number {
    const sizeClass = this.#classOf('measure', offset)
    if (!isInUse(getByte(this.#m, stateAt(offset)))) this.#notFound('measure', offset)
    return this.#usableSize(offset, sizeClass)
  }

  /**
   * Makes the block at `offset` at least `bytes` large, and returns where it is now; its contents are kept, up to the smaller size. Stays
   * in place while the size fits and at least half is used. Errors as {@link alloc}, then the block stays as it is, and `NOT_OWNED` or
   * `DOUBLE_FREE` as {@link free}. A worker killed inside leaves no block behind, but perhaps the old one freed.
   */
  realloc(offset: number, bytes: number): number {
    const usable = this.usableSize(offset)
    if (bytes >>> 0 === bytes && bytes <= usable && bytes >= usable >>> 1) return offset
    const m = this.#m
    const block = this.#take(bytes, state(stateAllocated, m.me))
    set(m, m.slot + movingWord, block)
    set(m, m.slot + intentWord, 0)
    m.u8.copyWithin(block, offset, offset + Math.min(usable, bytes))
    this.free(offset)
    set(m, m.slot + movingWord, 0)
    return block
  }

  /**
   * A new block with `text` as UTF-8; returns its offset. With `cell`, the offset is put there as by {@link allocAt}. Errors as these.
   * Lone surrogates become U+FFFD.
   */
  writeString(text: string, cell?: number): number {
    this.#live()
    if (cell !== undefined) {
      const word = this.#cell(cell)
      const block = this.#writeStringAt(word, text)
      if (block === 0) {
        fail(
          'ERR_TESSALLOC_OCCUPIED',
          `Cannot write string at cell ${cell}: expected 0 in it, found ${load(this.#m, word)}`,
        )
      }
      return block
    }
    const bytes = byteLength(text)
    const block = this.alloc(4 + bytes)
    this.#write(block, text, bytes)
    return block
  }

  /** The text of the block that {@link writeString} made. Throws `ERR_TESSALLOC_NOT_OWNED` when there is none. */
  readString(offset: number): string {
    const usable = this.usableSize(offset)
    const bytes = get(this.#m, offset >>> 2)
    if (bytes < 0 || bytes > usable - 4) this.#notFound('read string', offset)
    return this.#textView().utf8Slice(offset + 4, offset + 4 + bytes)
  }

  /**
   * A typed array of `length` elements over the block at `offset`, by default over all of it. Must not be used after the block is freed.
   * Throws `ERR_TESSALLOC_NOT_OWNED` when no block is there, `ERR_TESSALLOC_INVALID_SIZE` when it is too small. Cost: that of a new typed
   * array, about 30 ns; {@link struct} has none.
   */
  array<T>(type: TypedArrayOf<T>, offset: number, length?: number): T {
    const usable = this.usableSize(offset)
    const most = Math.floor(usable / type.BYTES_PER_ELEMENT)
    const wanted = length ?? most
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > most) {
      const text = `Cannot make array: the block at ${offset} has room for ${most} elements, received ${wanted}`
      fail('ERR_TESSALLOC_INVALID_SIZE', text)
    }
    return new type(this.#m.buffer, offset, wanted)
  }

  /** Accessors for structs of this layout in this heap: make them once. See {@link defineStruct}. */
  struct<F extends StructFields>(layout: Struct<F>): StructAccess<F> {
    this.#live()
    const fields = Object.entries(layout.fields).map(([name, type]) => [
      name,
      fieldOf(this.#views, type, layout.at[name] as number),
    ])
    return Object.fromEntries(fields) as StructAccess<F>
  }

  /** Counts what there is, by the state of each block. Others may go on meanwhile. Cost: about a millisecond a 10 MiB of small blocks. */
  stats(): SharedHeapStats {
    const m = this.#live()
    const counts = count(m)
    return { name: nameOf(m), bytes: m.limit, maxBytes: maxBytesOf(m), workers: countWorkers(m), ...counts }
  }

  /**
   * Compares all records of the heap with each other; `faults` names what is wrong, with the invariant, and is empty for a whole heap. No
   * other thread may use the heap meanwhile. Cost: about ten times {@link stats}.
   */
  check(): SharedHeapCheck {
    return check(this.#live())
  }

  /**
   * Brings back what a worker that has ended had: blocks it kept at hand, and the one in flight. Blocks that it had allocated stay. Any
   * thread may call it, several at once too; for a thread without a slot it does nothing. `id` is the worker's `threadId`, read while it ran.
   * The worker must have ended, or both would use its records: {@link reapOnExit} sees to that. A worker that disposes its heap
   * needs no reaping. Throws `ERR_TESSALLOC_INVALID_SIZE` for this thread's own number. Cost: up to a millisecond.
   */
  reap(id: number): ReapResult {
    const m = this.#live()
    checkThread('reap', id)
    return reapThread(m, id)
  }

  /** Reaps the worker when it has ended. Call it right after the worker was made. Errors as {@link reap}: also for one that has ended. */
  reapOnExit(worker: Worker): void {
    this.#live()
    const { threadId: id } = worker
    checkThread('reap on exit', id)
    worker.once('exit', () => {
      if (!this.disposed) this.reap(id)
    })
  }

  /** Gives back what this thread keeps at hand, and its slot. Calls afterwards throw `ERR_TESSALLOC_DISPOSED`; may be called twice. */
  dispose(): void {
    const m = this.#m
    if (m === closed) return
    this.#m = closed
    this.#views.close()
    this.#text = Buffer.alloc(0)
    release(m)
  }

  /** The same as {@link SharedHeap.dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #live(): Memory {
    if (this.#m === closed) throw disposedError('use shared heap', 'heap')
    return this.#m
  }

  /** A block with `mark` as state; the intent is the caller's to end. */
  #take(bytes: number, mark: number): number {
    const isSmall = bytes >>> 0 === bytes && bytes <= smallMax
    const block = isSmall ? take(this.#m, classOf[(bytes + 15) >>> 4] as number, mark) : this.#takeLarge(bytes, mark)
    if (block > 0) return block
    this.#live()
    if (block === corrupt) {
      const text = `Cannot allocate ${bytes} bytes: expected a free block, which was written to after it was freed`
      return fail('ERR_TESSALLOC_CORRUPT', text)
    }
    const most = maxBytesOf(this.#m)
    return fail('ERR_TESSALLOC_OUT_OF_MEMORY', `Cannot allocate ${bytes} bytes: no room in ${most} bytes`)
  }

  #takeLarge(bytes: number, mark: number): number {
    const m = this.#live()
    checkInteger('allocate', 'bytes', bytes, 0, bytesMax)
    return takeRun(m, pagesFor(bytes, pageHeadBytes), mark)
  }

  #give(offset: number, sizeClass: number, byte: number, intent: number): boolean {
    return sizeClass === -1 ? giveRun(this.#m, offset, byte, intent) : give(this.#m, offset, sizeClass, byte, intent)
  }

  #notFreed(offset: number, byte: number): never {
    if (byte === 0) return this.#notFound('free', offset)
    return fail('ERR_TESSALLOC_DOUBLE_FREE', `Cannot free ${offset}: the block there is free already`)
  }

  #notFound(action: string, offset: number): never {
    this.#live()
    return fail('ERR_TESSALLOC_NOT_OWNED', `Cannot ${action}: expected the offset of a block, received ${offset}`)
  }

  /** Size class, -1 for large. */
  #classOf(action: string, offset: number): number {
    const sizeClass = classAt(this.#m, offset)
    return sizeClass === -2 ? this.#notFound(action, offset) : sizeClass
  }

  #isBlock(offset: number): boolean {
    return classAt(this.#m, offset) !== -2 && isInUse(getByte(this.#m, stateAt(offset)))
  }

  #usableSize(offset: number, sizeClass: number): number {
    if (sizeClass >= 0) return sizeOf[sizeClass] as number
    return entryValue(get(this.#m, pageTableWord + (offset >>> pageShift))) * pageBytes - pageHeadBytes
  }

  /** Index of the cell's word. */
  #cell(cell: number): number {
    const m = this.#live()
    if (cell >= m.limit) refresh(m)
    const word = cell >>> 2
    const isRoot = word >= rootsWord && word < rootsWord + rootsMax * 2
    const isInPage = cell >= m.firstPage * pageBytes && cell < m.limit
    if (cell >>> 0 === cell && (cell & 3) === 0 && (isRoot || isInPage)) return word
    return fail(
      'ERR_TESSALLOC_NOT_OWNED',
      `Cannot use cell ${cell}: expected 4 aligned bytes of a block, or a root's cell`,
    )
  }

  /** {@link allocAt} with the index of the cell's word; 0: the cell is taken. */
  #allocAt(word: number, bytes: number, init?: (offset: number) => void): number {
    const m = this.#live()
    if (get(m, m.slot + heldWord) !== 0) {
      fail('ERR_TESSALLOC_OCCUPIED', 'Cannot allocate at a cell: expected to be outside of the init of another block')
    }
    if (load(m, word) !== 0) return 0
    const mark = state(stateHeld, m.me)
    const block = this.#take(bytes, mark)
    hold(m, block, word)
    let isPublished = false
    try {
      init?.(block)
      this.#live()
      isPublished = publish(m)
    } finally {
      // Whoever disposes the heap in `init` has the block taken back by that.
      if (!isPublished && !this.disposed) {
        discard(m, block, mark)
        set(m, m.slot + heldWord, 0)
      }
    }
    return isPublished ? block : 0
  }

  #writeStringAt(word: number, text: string): number {
    const bytes = byteLength(text)
    return this.#allocAt(word, 4 + bytes, (block) => this.#write(block, text, bytes))
  }

  #write(block: number, text: string, bytes: number): void {
    set(this.#m, block >>> 2, bytes)
    this.#textView().utf8Write(text, block + 4, bytes)
  }

  #textView(): TextBuffer {
    const m = this.#m
    if (this.#text.length < m.limit) this.#text = Buffer.from(m.buffer, 0, m.limit)
    return this.#text as TextBuffer
  }
}

/** What Node's Buffer has besides its documented methods, which only add checks to it. */
interface TextBuffer extends Buffer {
  utf8Slice(start: number, end: number): string
  utf8Write(text: string, start: number, bytes: number): number
}

function fail(code: TessallocErrorCode, text: string): never {
  throw new TessallocError(code, text)
}

function byteLength(text: string): number {
  checkText('write string', 'text', text)
  return Buffer.byteLength(text)
}

function bufferFor(options: SharedHeapOptions): SharedArrayBuffer {
  const action = 'create shared heap'
  checkOptions(action, options)
  const { bytes = 2 ** 20, maxBytes = bytes, name = '' } = options
  checkText(action, 'name', name)
  return create(bytes, maxBytes, name)
}

/** A thread other than this, by its number. */
function checkThread(action: string, id: number): void {
  checkInteger(action, 'the number of a thread', id, 0, threadIdMax)
  if (id === threadId) {
    const text = `Cannot ${action}: the number must be that of a thread that ends, received ${id}, which is this one`
    fail('ERR_TESSALLOC_INVALID_SIZE', text)
  }
}
