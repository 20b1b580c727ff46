import { TessallocError } from './errors.ts'
import { classBytes, classedBytesMax, classOf } from './size-class.ts'
import { closeSlab } from './slab.ts'
import { checkBoolean, checkInteger, checkOptions, checkText, disposedError, shown } from './validate.ts'

/** How a {@link BufferPool} is made. */
export interface BufferPoolOptions {
  /** Bytes that it keeps idle at most; a buffer that would go beyond goes back to the system. Default: 64 MiB. */
  readonly maxIdleBytes?: number
  /** Milliseconds that a buffer lies idle before it goes back to the system; at most twice as long. Default: 10,000. */
  readonly idleMs?: number
  /** Whether buffers are cleared when they are released, and so read zero when they are acquired. Default: `false`. */
  readonly zeroOnRelease?: boolean
  /** Name that errors show. Default: `pool`. */
  readonly name?: string
}

/** A buffer on loan, made by {@link BufferPool.lease}; it is released at the end of the block of its `using`. */
export interface BufferLease extends Disposable {
  /** The buffer. Not to be used after the lease. */
  readonly buffer: Buffer
}

/** What {@link BufferPool.stats} tells. Scope: this pool. */
export interface BufferPoolStats {
  /** Bytes of the buffers that lie idle. */
  readonly idleBytes: number
  /** Buffers that lie idle. */
  readonly idleBuffers: number
  /** Buffers handed out since the start. */
  readonly acquired: number
  /** Buffers that came back since the start. */
  readonly released: number
  /** Buffers that had to be made since the start. */
  readonly made: number
  /** Buffers that went back to the system since the start. */
  readonly dropped: number
}

/** A buffer of the pool, and the view of it that is handed out. */
class Slot {
  /** P1: `true` from acquire to release; `false` exactly while it lies on its shelf. */
  isOut = false
  /** How often it was acquired. */
  turn = 0
  /** P2: the one Buffer that stands for the slot at present; others that once did are refused. */
  view: Buffer
  readonly pool: BufferPool
  readonly whole: Buffer
  /** Where it lies when it is idle; `undefined`: too large to be kept. */
  readonly shelf: Shelf | undefined

  constructor(pool: BufferPool, whole: Buffer, shelf: Shelf | undefined) {
    this.pool = pool
    this.view = whole
    this.whole = whole
    this.shelf = shelf
  }
}

/** Answers what it is given, so that a class that extends it adds its private fields to that. */
class Given {
  constructor(given: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is its purpose
    return given
  }
}

/** Writes the slot of a Buffer on the Buffer itself, where nobody else sees it: several times cheaper than a WeakMap. */
class Stamp extends Given {
  #slot: Slot

  constructor(buffer: Buffer, slot: Slot) {
    super(buffer)
    this.#slot = slot
  }

  /** The slot that a Buffer stands for, or stood for. */
  static slotOf(buffer: unknown): Slot | undefined {
    return typeof buffer === 'object' && buffer !== null && #slot in buffer ? buffer.#slot : undefined
  }
}

/** The idle buffers of one size class; the last released lies on top. */
class Shelf {
  readonly idle: Slot[] = []
  /** P3: how many have lain there since the last tick: the lowest `idle.length` since. They are at the bottom. */
  unused = 0
  readonly bytes: number

  constructor(bytes: number) {
    this.bytes = bytes
  }
}

class Lease implements BufferLease {
  readonly buffer: Buffer
  readonly #slot: Slot
  readonly #turn: number
  #pool: BufferPool | undefined

  constructor(pool: BufferPool, slot: Slot) {
    this.buffer = slot.view
    this.#pool = pool
    this.#slot = slot
    this.#turn = slot.turn
  }

  /** Releases the buffer, once. Throws `ERR_TESSALLOC_DOUBLE_FREE` when it was released by hand. */
  [Symbol.dispose](): void {
    const pool = this.#pool
    this.#pool = undefined
    if (pool === undefined) return
    if (this.#slot.turn !== this.#turn) throw releasedTwice(pool.name)
    pool.release(this.buffer)
  }
}

function releasedTwice(name: string): TessallocError {
  return new TessallocError('ERR_TESSALLOC_DOUBLE_FREE', `Cannot release to ${name}: the buffer was released before`)
}

/**
 * Buffers that are used again: acquire and release cost some nanoseconds, where a new Buffer of 64 KiB costs microseconds and
 * collections of garbage.
 *
 * A buffer is exactly as long as asked for. It is not cleared, unless `zeroOnRelease` is set. Whoever releases a buffer must not use
 * it any more, nor may a call that is still running (`socket.write`, `fs.read`): wait for its end. A buffer that is never released
 * is collected like any other. Buffers that lie idle go back to the system. Belongs to the thread that made it; a buffer that was
 * transferred to another one is let go.
 *
 * ```ts
 * using pool = new BufferPool()
 * const buffer = pool.acquire(65_536)
 * pool.release(buffer)
 * {
 *   using lease = pool.lease(100)
 *   lease.buffer.length // → 100
 * }
 * ```
 */
export class BufferPool implements Disposable {
  readonly #shelves: (Shelf | undefined)[] = []
  #idleBytes = 0
  readonly #maxIdleBytes: number
  readonly #zero: boolean
  #timer: NodeJS.Timeout | undefined
  #acquired = 0
  #released = 0
  #made = 0
  #dropped = 0
  #isDisposed = false
  readonly #idleMs: number
  /** Name that errors show. */
  readonly name: string

  /** Makes an empty pool. Throws `ERR_TESSALLOC_INVALID_OPTION` and `ERR_TESSALLOC_INVALID_SIZE` for bad options. */
  constructor(options: BufferPoolOptions = {}) {
    const action = 'create pool'
    checkOptions(action, options)
    const { maxIdleBytes = 64 * 2 ** 20, idleMs = 10_000, zeroOnRelease = false, name = 'pool' } = options
    checkInteger(action, 'maxIdleBytes', maxIdleBytes, 0)
    // What a timer of Node takes.
    checkInteger(action, 'idleMs', idleMs, 1, 2 ** 31 - 1)
    checkBoolean(action, 'zeroOnRelease', zeroOnRelease)
    checkText(action, 'name', name)
    this.#maxIdleBytes = maxIdleBytes
    this.#idleMs = idleMs
    this.#zero = zeroOnRelease
    this.name = name
  }

  /**
   * Hands out a buffer of exactly `bytes` bytes, at least 1. Throws `ERR_TESSALLOC_INVALID_SIZE` for what is no such number,
   * `ERR_TESSALLOC_OUT_OF_MEMORY` when there is no memory, `ERR_TESSALLOC_DISPOSED`. Cost: some nanoseconds where one lies idle.
   */
  acquire(bytes: number): Buffer {
    return this.#take(bytes).view
  }

  /** Hands out a buffer that is released at the end of the block: `using lease = pool.lease(bytes)`. Throws as {@link BufferPool.acquire}. */
  lease(bytes: number): BufferLease {
    return new Lease(this, this.#take(bytes))
  }

  /**
   * Takes a buffer back. Throws `ERR_TESSALLOC_DOUBLE_FREE` for one that came back before, `ERR_TESSALLOC_NOT_OWNED` for one that
   * is not of this pool, which parts of its buffers are not either. Also takes what is still out when the pool was disposed.
   */
  release(buffer: Buffer): void {
    const slot = Stamp.slotOf(buffer)
    if (slot === undefined || slot.pool !== this || slot.view !== buffer || !slot.isOut)
      throw this.#refusal(buffer, slot)
    slot.isOut = false
    this.#released++
    const shelf = slot.shelf
    if (
      shelf === undefined ||
      this.#idleBytes + shelf.bytes > this.#maxIdleBytes ||
      this.#isDisposed ||
      buffer.length === 0
    ) {
      this.#drop(slot)
      return
    }
    if (this.#zero) buffer.fill(0)
    shelf.idle.push(slot)
    this.#idleBytes += shelf.bytes
    if (this.#timer === undefined) this.#watch()
  }

  /**
   * Gives all idle buffers back to the system now. Answers how many bytes. Throws `ERR_TESSALLOC_DISPOSED`.
   *
   * ```ts
   * const pool = new BufferPool()
   * pool.release(pool.acquire(65_536))
   * pool.trim() // → 65_536
   * pool.dispose()
   * pool.disposed // → true
   * ```
   */
  trim(): number {
    this.#checkOpen('trim')
    return this.#empty()
  }

  /** What it holds and did. Throws `ERR_TESSALLOC_DISPOSED`. */
  stats(): BufferPoolStats {
    this.#checkOpen('read')
    return {
      idleBytes: this.#idleBytes,
      idleBuffers: this.#shelves.reduce((sum, shelf) => sum + (shelf?.idle.length ?? 0), 0),
      acquired: this.#acquired,
      released: this.#released,
      made: this.#made,
      dropped: this.#dropped,
    }
  }

  /** Whether it was disposed. */
  get disposed(): boolean {
    return this.#isDisposed
  }

  /** Gives all idle buffers back. Those that are out stay whole, until they are released or collected. May be called again. */
  dispose(): void {
    this.#isDisposed = true
    this.#empty()
  }

  /** The same as {@link BufferPool.dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #take(bytes: number): Slot {
    if ((bytes | 0) !== bytes || bytes < 1 || bytes > classedBytesMax) return this.#makeAlone(bytes)
    const sizeClass = classOf(bytes)
    const shelf = this.#shelves[sizeClass]
    const slot = shelf?.idle.pop()
    if (shelf === undefined || slot === undefined) return this.#make(sizeClass, bytes)
    const left = shelf.idle.length
    if (left < shelf.unused) shelf.unused = left
    this.#idleBytes -= shelf.bytes
    this.#acquired++
    slot.isOut = true
    slot.turn++
    if (slot.view.length !== bytes) this.#reshape(slot, bytes)
    return slot
  }

  /** A new buffer of a size class. */
  #make(sizeClass: number, bytes: number): Slot {
    this.#checkOpen('acquire from')
    const shelf = this.#shelves[sizeClass] ?? new Shelf(classBytes(sizeClass))
    // No hole may arise before it: an array with holes is slower.
    while (this.#shelves.length < sizeClass) this.#shelves.push(undefined)
    this.#shelves[sizeClass] = shelf
    const slot = this.#register(shelf.bytes, shelf)
    if (bytes !== shelf.bytes) this.#reshape(slot, bytes)
    return slot
  }

  /** A buffer too large for a size class, which is not kept; and bad sizes. */
  #makeAlone(bytes: number): Slot {
    this.#checkOpen('acquire from')
    checkInteger(`acquire from ${this.name}`, 'bytes', bytes, 1)
    return this.#register(bytes, undefined)
  }

  #register(bytes: number, shelf: Shelf | undefined): Slot {
    let whole: Buffer
    try {
      // Memory of its own, never a part of Node's pool.
      whole = this.#zero ? Buffer.from(new ArrayBuffer(bytes)) : Buffer.allocUnsafeSlow(bytes)
    } catch (cause) {
      const text = `Cannot acquire from ${this.name}: the system has no ${bytes} bytes`
      throw new TessallocError('ERR_TESSALLOC_OUT_OF_MEMORY', text, { cause })
    }
    const slot = new Slot(this, whole, shelf)
    slot.isOut = true
    slot.turn = 1
    new Stamp(whole, slot)
    this.#made++
    this.#acquired++
    return slot
  }

  /** Lets the slot stand for its first `bytes` bytes. Most programs ask for few sizes of a class, so this is rare. */
  #reshape(slot: Slot, bytes: number): void {
    slot.view = slot.whole.length === bytes ? slot.whole : slot.whole.subarray(0, bytes)
    if (slot.view !== slot.whole) new Stamp(slot.view, slot)
  }

  /** Gives the memory of a slot back to the system; who still holds its buffer finds it empty. */
  #drop(slot: Slot): void {
    this.#dropped++
    closeSlab(slot.whole.buffer)
  }

  #empty(): number {
    clearInterval(this.#timer)
    this.#timer = undefined
    const bytes = this.#idleBytes
    for (const shelf of this.#shelves) {
      if (shelf === undefined) continue
      for (const slot of shelf.idle.splice(0)) this.#drop(slot)
      shelf.unused = 0
    }
    this.#idleBytes = 0
    return bytes
  }

  /** Starts to look for idle buffers; the process does not stay alive for it. */
  #watch(): void {
    this.#timer = setInterval(() => this.#tick(), this.#idleMs)
    this.#timer.unref()
  }

  /** Drops what nobody wanted since the last tick. Once nothing is idle, there are no ticks any more. */
  #tick(): void {
    for (const shelf of this.#shelves) {
      if (shelf === undefined) continue
      for (const slot of shelf.idle.splice(0, shelf.unused)) this.#drop(slot)
      this.#idleBytes -= shelf.unused * shelf.bytes
      shelf.unused = shelf.idle.length
    }
    if (this.#idleBytes > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #refusal(buffer: unknown, slot: Slot | undefined): TessallocError {
    if (slot?.pool === this) return releasedTwice(this.name)
    return new TessallocError(
      'ERR_TESSALLOC_NOT_OWNED',
      `Cannot release to ${this.name}: expected a buffer that it handed out, received ${shown(buffer)}`,
    )
  }

  #checkOpen(action: string): void {
    if (this.#isDisposed) throw disposedError(`${action} ${this.name}`, 'pool')
  }
}
