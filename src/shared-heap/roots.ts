import { TessallocError } from '../errors.ts'
import { rootsMax, rootsWord } from './layout.ts'
import { load, type Memory, swap } from './memory.ts'

/** What the directory needs of its heap. */
export interface RootsOwner {
  /** Throws when the heap is disposed. */
  memory(): Memory
  /** A block with the text, put in the cell unless that is taken. `false`: it was taken. */
  writeNameAt(cell: number, text: string): boolean
  readString(offset: number): string
  isBlock(offset: number): boolean
}

/**
 * Names for what workers share: up to 64 cells that every worker finds by name. A name, once there, stays; all methods may be called by
 * all workers at once. Errors of all: `ERR_TESSALLOC_DISPOSED`; where a name may be new also `ERR_TESSALLOC_FULL` and
 * `ERR_TESSALLOC_OUT_OF_MEMORY`.
 *
 * ```ts
 * using heap = new SharedHeap()
 * heap.roots.set('queue', heap.alloc(64))
 * heap.usableSize(heap.roots.get('queue')) // → 64
 * heap.roots.names() // → ['queue']
 * ```
 */
export class Roots {
  readonly #owner: RootsOwner
  /** Names never move. */
  readonly #known = new Map<string, number>()

  /** Made by the heap: see {@link SharedHeap.roots}. */
  constructor(owner: RootsOwner) {
    this.#owner = owner
  }

  /** What is under `name`; 0: nothing. Cost: a look into a map, after the first time. */
  get(name: string): number {
    const m = this.#owner.memory()
    const index = this.#find(m, name)
    return index < 0 ? 0 : load(m, valueWord(index))
  }

  /** Puts `offset` under `name`; returns what was there before. 0 empties it. Throws `ERR_TESSALLOC_NOT_OWNED` when no block starts there. */
  set(name: string, offset: number): number {
    this.#requireBlock(name, offset)
    const m = this.#owner.memory()
    const word = valueWord(this.#findOrAdd(m, name))
    return Atomics.exchange(m.i32, word, offset)
  }

  /**
   * Puts `offset` under `name` if `expected` is there; returns what was there. Errors as {@link set}.
   *
   * ```ts
   * using heap = new SharedHeap()
   * const [first, second] = [heap.alloc(64), heap.alloc(64)]
   * heap.roots.compareExchange('table', 0, first) // → 0
   * heap.roots.compareExchange('table', 0, second) === first // → true
   * ```
   */
  compareExchange(name: string, expected: number, offset: number): number {
    this.#requireBlock(name, offset)
    const m = this.#owner.memory()
    return swap(m, valueWord(this.#findOrAdd(m, name)), expected, offset)
  }

  /** The cell of `name`, for `allocAt`, `freeAt` and `take`. */
  cell(name: string): number {
    return valueWord(this.#findOrAdd(this.#owner.memory(), name)) * 4
  }

  /** All names, in the order in which they came. */
  names(): string[] {
    const m = this.#owner.memory()
    const names: string[] = []
    for (let index = 0; index < rootsMax; index++) {
      const text = load(m, nameWord(index))
      if (text === 0) break
      names.push(this.#owner.readString(text))
    }
    return names
  }

  #requireBlock(name: string, offset: number): void {
    if (offset === 0 || this.#owner.isBlock(offset)) return
    throw new TessallocError(
      'ERR_TESSALLOC_NOT_OWNED',
      `Cannot set root ${name}: expected the offset of a block or 0, received ${offset}`,
    )
  }

  /** Index of the name; -1: there is none. */
  #find(m: Memory, name: string): number {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    for (let index = 0; index < rootsMax; index++) {
      const text = load(m, nameWord(index))
      if (text === 0) return -1
      if (this.#owner.readString(text) !== name) continue
      this.#known.set(name, index)
      return index
    }
    return -1
  }

  #findOrAdd(m: Memory, name: string): number {
    // A name goes to the first free place, in one step and whole: two workers with the same name meet there.
    for (let index = this.#find(m, name); ; index = this.#find(m, name)) {
      if (index >= 0) return index
      const free = Array.from({ length: rootsMax }, (_, at) => at).find((at) => load(m, nameWord(at)) === 0)
      if (free === undefined) {
        throw new TessallocError(
          'ERR_TESSALLOC_FULL',
          `Cannot add root ${name}: expected at most ${rootsMax} names, all are taken`,
        )
      }
      this.#owner.writeNameAt(nameWord(free) * 4, name)
    }
  }
}

const nameWord = (index: number): number => rootsWord + index * 2
const valueWord = (index: number): number => rootsWord + index * 2 + 1
