import { arenaCreateChannel, arenaDisposeChannel } from './channels.ts'
import { TessallocError } from './errors.ts'
import { type Backing, checkBacking, closeSlab, discardPart, openSlab } from './slab.ts'
import {
  checkAlign,
  checkBoolean,
  checkInteger,
  checkOptions,
  checkText,
  disposedError,
  invalidOption,
} from './validate.ts'

/** How an {@link Arena} is made. */
export interface ArenaOptions {
  /** Bytes that it keeps between rounds. From 1. */
  readonly capacity: number
  /** Bytes that it may grow to within a round. Reserved at once, in RAM only where touched. Default: `capacity`. */
  readonly maxCapacity?: number
  /** Where the slab comes from. Default: `native`, which falls back to `js`; see {@link Arena.backing}. */
  readonly backing?: Backing
  /** Whether everything that is handed out reads zero. Default: `false`, blocks hold what was there before. */
  readonly zero?: boolean
  /**
   * Whether `reset()` detaches the slab and takes a new one, so that a view that outlives its round has length 0. For finding
   * such views: it costs a new slab each round. Not for `shared`. Default: `false`.
   */
  readonly detachOnReset?: boolean
  /** Name that errors show. Default: `arena`. */
  readonly name?: string
}

/**
 * A place in an arena to go back to, made by {@link Arena.mark}. With `using` the arena goes back by itself:
 *
 * ```ts
 * using arena = new Arena(4096)
 * {
 *   using _scratch = arena.mark()
 *   arena.alloc(1000)
 * }
 * arena.used // → 0
 * ```
 */
export interface ArenaMark extends Disposable {
  /** {@link Arena.used} when the mark was made. Unit: bytes. */
  readonly used: number
}

/**
 * What the channels `tessalloc:arena.create` and `tessalloc:arena.dispose` of `node:diagnostics_channel` tell, in the arena's thread:
 * the arena's values when it was made, or just before it was disposed.
 *
 * ```ts
 * import { subscribe } from 'node:diagnostics_channel'
 * import { Arena, type ArenaEvent } from 'tessalloc'
 *
 * const open = new Set<Arena>()
 * subscribe('tessalloc:arena.create', (message) => open.add((message as ArenaEvent).arena))
 * subscribe('tessalloc:arena.dispose', (message) => open.delete((message as ArenaEvent).arena))
 * const arena = new Arena({ capacity: 4096, name: 'rows' })
 * open.size // → 1
 * arena.dispose()
 * open.size // → 0
 * ```
 */
export interface ArenaEvent {
  /** Which one: the same object in both events. Whoever keeps it keeps its slab, until it is disposed. */
  readonly arena: Arena
  /** {@link Arena.name}. */
  readonly name: string
  /** {@link Arena.backing}. */
  readonly backing: Backing
  /** {@link Arena.maxCapacity}. Unit: bytes. */
  readonly maxCapacity: number
  /** {@link Arena.capacity}. Unit: bytes. */
  readonly capacity: number
  /** {@link Arena.used}. Unit: bytes. */
  readonly used: number
  /** {@link Arena.generation}: how often it was reset. */
  readonly generation: number
}

class Mark implements ArenaMark {
  readonly arena: Arena
  readonly used: number
  /** Its place among the arena's marks. */
  readonly depth: number

  constructor(arena: Arena, used: number, depth: number) {
    this.arena = arena
    this.used = used
    this.depth = depth
  }

  /** Rewinds to the mark, if nothing else went past it already. */
  [Symbol.dispose](): void {
    if (this.arena.holds(this)) this.arena.rewind(this)
  }
}

/** Largest alignment of an offset. */
const alignMax = 2 ** 30

/** A slab's pages are no larger than this on any system. */
const osPageBytesMax = 65_536

/**
 * Memory for things that end together: one slab, from which allocation only takes the next bytes, and which is emptied as a whole.
 *
 * Costs some nanoseconds for an offset and little more than `new Uint8Array(buffer, offset, length)` for a view, at any size.
 * Views of an arena see each other's memory if they outlive {@link Arena.reset} or {@link Arena.rewind}: the guide "Arenas and
 * pools" has the rules. Belongs to the thread that made it.
 *
 * What takes memory throws `ERR_TESSALLOC_OUT_OF_MEMORY` when less is left up to `maxCapacity`, and `ERR_TESSALLOC_INVALID_SIZE` for
 * a size, count or alignment out of range: nothing was taken then. After `dispose` everything throws `ERR_TESSALLOC_DISPOSED`.
 *
 * ```ts
 * using arena = new Arena(1 << 20)
 * const header = arena.alloc(16)
 * const samples = arena.float64(1000)
 * arena.used // → 16 + 8000
 * arena.reset()
 * ```
 *
 * | field       | unit  | always true                                                            |
 * |-------------|-------|------------------------------------------------------------------------|
 * | `#used`     | bytes | A1 handed out in this round, ≤ `#capacity`                              |
 * | `#capacity` | bytes | A2 ≤ `#maxCapacity` = length of the slab; −1: disposed                  |
 * | `#dirty`    | bytes | A3 all from `max(#used, #dirty)` on reads zero                          |
 * | `#marks`    | –     | A4 in the order made, `used` rising, the last ≤ `#used`; all can be rewound to |
 */
export class Arena implements Disposable {
  #used = 0
  #capacity: number
  #buffer: ArrayBuffer | SharedArrayBuffer
  #dirty = 0
  readonly #zero: boolean
  #marks: Mark[] = []
  #generation = 0
  readonly #backing: Backing
  readonly #detachOnReset: boolean
  readonly #capacityKept: number
  readonly #maxCapacity: number
  /** Name that errors show. */
  readonly name: string

  /**
   * Makes an arena of `capacity` bytes, or as the options say. Throws `ERR_TESSALLOC_OUT_OF_MEMORY` when there is no memory for
   * the slab, `ERR_TESSALLOC_INVALID_SIZE` and `ERR_TESSALLOC_INVALID_OPTION` for bad values. Cost: microseconds.
   */
  constructor(options: number | ArenaOptions) {
    const action = 'create arena'
    const given: ArenaOptions = typeof options === 'number' ? { capacity: options } : options
    checkOptions(action, given)
    const { capacity, maxCapacity = capacity, backing = 'native', zero = false, detachOnReset = false } = given
    const { name = 'arena' } = given
    checkInteger(action, 'capacity', capacity, 1)
    checkInteger(action, 'maxCapacity', maxCapacity, capacity)
    checkBacking(action, backing)
    checkBoolean(action, 'zero', zero)
    checkBoolean(action, 'detachOnReset', detachOnReset)
    checkText(action, 'name', name)
    if (detachOnReset && backing === 'shared') {
      throw invalidOption(action, 'detachOnReset', 'false where backing is shared', detachOnReset)
    }
    const slab = openSlab(action, maxCapacity, backing)
    this.#buffer = slab.buffer
    this.#backing = slab.backing
    this.#capacity = capacity
    this.#capacityKept = capacity
    this.#maxCapacity = maxCapacity
    this.#zero = zero
    this.#detachOnReset = detachOnReset
    this.name = name
    if (arenaCreateChannel.hasSubscribers) arenaCreateChannel.publish(this.#event())
  }

  /**
   * Takes `bytes` bytes and answers where they start in {@link Arena.buffer}: the cheapest form. The offset is a multiple of
   * `align`, a power of two up to 2 ** 30.
   */
  allocOffset(bytes: number, align = 8): number {
    // The low bits of a number of any size, so this holds above 4 GiB too.
    const start = this.#used + ((align - this.#used) & (align - 1))
    const end = start + bytes
    const isPlain =
      (bytes | 0) === bytes && bytes >= 0 && (align | 0) === align && align > 0 && (align & (align - 1)) === 0
    if (!isPlain || end > this.#capacity) return this.#allocSlow(bytes, align)
    this.#used = end
    if (this.#zero && start < this.#dirty) this.#clear(start, end)
    return start
  }

  /** Takes `bytes` bytes, as a view. Cost: that of `new Uint8Array`. Otherwise like {@link Arena.allocOffset}. */
  alloc(bytes: number, align = 8): Uint8Array {
    const start = this.allocOffset(bytes, align)
    return new Uint8Array(this.#buffer, start, bytes)
  }

  /** Takes `bytes` bytes, as a Buffer. Like any view it keeps the whole slab alive; give `Buffer.from(it)` away instead. */
  allocBuffer(bytes: number): Buffer {
    const start = this.allocOffset(bytes)
    return Buffer.from(this.#buffer as ArrayBuffer, start, bytes)
  }

  /**
   * Takes room for `count` numbers of 8 bits. The others are alike: each starts at a multiple of its item.
   *
   * ```ts
   * using arena = new Arena(4096)
   * const [deltas, flags] = [arena.int8(3), arena.uint8(5)]
   * const [levels, ports] = [arena.int16(2), arena.uint16(2)]
   * const [offsets, ids, weights] = [arena.int32(2), arena.uint32(2), arena.float32(2)]
   * const [times, keys] = [arena.bigInt64(1), arena.bigUint64(1)]
   * keys[0] = 2n ** 64n - 1n
   * arena.used // → 3 + 5 + 4 + 4 + 8 + 8 + 8 + 8 + 8
   * ```
   */
  int8(count: number): Int8Array {
    return new Int8Array(this.#buffer, this.#allocItems(count, 1), count)
  }

  /** Takes room for `count` numbers of 8 bits, at the next byte: unlike {@link Arena.alloc} without a gap before it. */
  uint8(count: number): Uint8Array {
    return new Uint8Array(this.#buffer, this.#allocItems(count, 1), count)
  }

  /** Takes room for `count` numbers of 16 bits. */
  int16(count: number): Int16Array {
    return new Int16Array(this.#buffer, this.#allocItems(count, 2), count)
  }

  /** Takes room for `count` numbers of 16 bits. */
  uint16(count: number): Uint16Array {
    return new Uint16Array(this.#buffer, this.#allocItems(count, 2), count)
  }

  /** Takes room for `count` numbers of 32 bits. */
  int32(count: number): Int32Array {
    return new Int32Array(this.#buffer, this.#allocItems(count, 4), count)
  }

  /** Takes room for `count` numbers of 32 bits. */
  uint32(count: number): Uint32Array {
    return new Uint32Array(this.#buffer, this.#allocItems(count, 4), count)
  }

  /** Takes room for `count` single floats. */
  float32(count: number): Float32Array {
    return new Float32Array(this.#buffer, this.#allocItems(count, 4), count)
  }

  /** Takes room for `count` numbers. */
  float64(count: number): Float64Array {
    return new Float64Array(this.#buffer, this.#allocItems(count, 8), count)
  }

  /** Takes room for `count` big integers. */
  bigInt64(count: number): BigInt64Array {
    return new BigInt64Array(this.#buffer, this.#allocItems(count, 8), count)
  }

  /** Takes room for `count` big integers from 0. */
  bigUint64(count: number): BigUint64Array {
    return new BigUint64Array(this.#buffer, this.#allocItems(count, 8), count)
  }

  /** Remembers the present place, for {@link Arena.rewind} or `using`. */
  mark(): ArenaMark {
    this.#checkOpen('mark')
    const last = this.#marks.at(-1)
    // The same place is the same mark: a loop of mark and rewind keeps one.
    if (last?.used === this.#used) return last
    const mark = new Mark(this, this.#used, this.#marks.length)
    this.#marks.push(mark)
    return mark
  }

  /**
   * Gives back everything taken since the mark, which can be used again. Views of it must not be used any more. Throws
   * `ERR_TESSALLOC_STALE_MARK` when a rewind to an earlier mark or a reset came before, `ERR_TESSALLOC_NOT_OWNED` for a mark of
   * another arena.
   */
  rewind(mark: ArenaMark): void {
    this.#checkOpen('rewind')
    if (!(mark instanceof Mark) || mark.arena !== this) {
      throw new TessallocError('ERR_TESSALLOC_NOT_OWNED', `Cannot rewind ${this.name}: expected a mark of this arena`)
    }
    if (!this.holds(mark)) {
      const text = `Cannot rewind ${this.name}: the mark at ${mark.used} is from before a reset or an earlier rewind`
      throw new TessallocError('ERR_TESSALLOC_STALE_MARK', text)
    }
    this.#marks.length = mark.depth + 1
    this.#dirty = Math.max(this.#dirty, this.#used)
    this.#used = mark.used
  }

  /**
   * Whether the mark is of this arena and can still be rewound to.
   *
   * ```ts
   * using arena = new Arena(4096)
   * const mark = arena.mark()
   * arena.holds(mark) // → true
   * arena.reset()
   * arena.holds(mark) // → false
   * ```
   */
  holds(mark: ArenaMark): boolean {
    return mark instanceof Mark && this.#marks[mark.depth] === mark
  }

  /**
   * Empties the arena for the next round, in which new blocks lie over the old ones: views must not outlive it. What it grew by
   * goes back to the system, where the system can (Linux). All marks become stale. {@link Arena.generation} counts the rounds.
   */
  reset(): void {
    this.#checkOpen('reset')
    const dirty = Math.max(this.#dirty, this.#used)
    const kept = this.#capacityKept
    if (this.#detachOnReset) {
      // The new one first: without memory for it nothing is changed.
      const { buffer } = openSlab(`reset ${this.name}`, this.#maxCapacity, this.#backing)
      closeSlab(this.#buffer)
      this.#buffer = buffer
      this.#dirty = 0
    } else if (dirty > kept && discardPart(this.#buffer, kept, dirty - kept)) {
      // The pages at both ends are partly outside: they stay, the last one is cleared instead.
      const tail = Math.max(kept, dirty - osPageBytesMax)
      new Uint8Array(this.#buffer, tail, dirty - tail).fill(0)
      this.#dirty = Math.min(dirty, kept + osPageBytesMax)
    } else {
      this.#dirty = dirty
    }
    this.#capacity = kept
    this.#used = 0
    this.#marks = []
    this.#generation++
  }

  /** The slab, `maxCapacity` bytes long. Never transfer it or post a view of it: that copies it whole, or takes it away. */
  get buffer(): ArrayBuffer | SharedArrayBuffer {
    this.#checkOpen('read')
    return this.#buffer
  }

  /** Bytes handed out in this round, with gaps for alignment. Unit: bytes. */
  get used(): number {
    this.#checkOpen('read')
    return this.#used
  }

  /** Bytes that it has at present; grows by doubling up to `maxCapacity`, and `reset()` brings it back. */
  get capacity(): number {
    this.#checkOpen('read')
    return this.#capacity
  }

  /** Bytes that it may grow to. */
  get maxCapacity(): number {
    this.#checkOpen('read')
    return this.#maxCapacity
  }

  /**
   * Rounds that have ended: how often it was reset. Who keeps an offset keeps this beside it, to tell whether the offset still counts.
   *
   * ```ts
   * using arena = new Arena(4096)
   * const kept = { offset: arena.allocOffset(8), generation: arena.generation }
   * arena.reset()
   * kept.generation === arena.generation // → false
   * ```
   */
  get generation(): number {
    this.#checkOpen('read')
    return this.#generation
  }

  /**
   * Where the slab comes from, as it is: `js` where `native` was asked for and could not be had.
   *
   * ```ts
   * using arena = new Arena({ capacity: 4096, maxCapacity: 65_536, backing: 'shared' })
   * arena.backing // → 'shared'
   * arena.buffer.byteLength === arena.maxCapacity // → true
   * ```
   */
  get backing(): Backing {
    this.#checkOpen('read')
    return this.#backing
  }

  /** Whether it was disposed. */
  get disposed(): boolean {
    return this.#capacity < 0
  }

  /**
   * Gives the slab back and detaches every view of it, which then have length 0; a `shared` slab lives on as long as its views. May
   * be called again. Wait for asynchronous calls that write into views (`fs.read`) first: they know only an address.
   */
  dispose(): void {
    if (this.disposed) return
    const event = arenaDisposeChannel.hasSubscribers ? this.#event() : undefined
    closeSlab(this.#buffer)
    this.#buffer = new ArrayBuffer(0)
    this.#marks = []
    this.#used = 0
    this.#capacity = -1
    if (event) arenaDisposeChannel.publish(event)
  }

  /** The same as {@link Arena.dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Room for `count` items of `itemBytes`, which is a power of two. */
  #allocItems(count: number, itemBytes: number): number {
    if ((count | 0) !== count || count < 0) {
      this.#checkOpen('allocate from')
      checkInteger(`allocate from ${this.name}`, 'count', count, 0, Math.floor(Number.MAX_SAFE_INTEGER / itemBytes))
    }
    return this.allocOffset(count * itemBytes, itemBytes)
  }

  /** Everything unusual: disposed, bad values, sizes from 2 GiB, growth, no room. */
  #allocSlow(bytes: number, align: number): number {
    this.#checkOpen('allocate from')
    const action = `allocate from ${this.name}`
    checkInteger(action, 'bytes', bytes, 0)
    checkAlign(action, align, alignMax)
    const start = this.#used + ((align - this.#used) & (align - 1))
    const end = start + bytes
    if (end > this.#maxCapacity) {
      const left = Math.max(0, this.#maxCapacity - start)
      const text = `Cannot ${action}: ${bytes} bytes at align ${align} wanted, ${left} of ${this.#maxCapacity} left`
      throw new TessallocError('ERR_TESSALLOC_OUT_OF_MEMORY', text)
    }
    this.#capacity = Math.max(this.#capacity, Math.min(this.#maxCapacity, Math.max(this.#capacity * 2, end)))
    this.#used = end
    if (this.#zero && start < this.#dirty) this.#clear(start, end)
    return start
  }

  /** Clears what was used in an earlier round. */
  #clear(start: number, end: number): void {
    const dirtyEnd = Math.min(end, this.#dirty)
    new Uint8Array(this.#buffer, start, dirtyEnd - start).fill(0)
  }

  /** What is told of the arena as it is. */
  #event(): ArenaEvent {
    const { name, backing, maxCapacity, capacity, used, generation } = this
    return { arena: this, name, backing, maxCapacity, capacity, used, generation }
  }

  #checkOpen(action: string): void {
    if (this.#capacity < 0) throw disposedError(`${action} ${this.name}`, 'arena')
  }
}
