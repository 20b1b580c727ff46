// A page: a run of slices of one slab, cut into equal blocks. A block larger than every size class has a page for itself.
//
// | field        | unit   | always true                                                                          |
// |--------------|--------|--------------------------------------------------------------------------------------|
// | `start`      | offset | where the first block starts; a multiple of a slice                                   |
// | `bits`       | blocks | P1 bit i is 1 exactly if block i is free; bits from `capacity` on are 0                |
// | `hint`       | words  | P2 no word below it has a free block                                                  |
// | `used`       | blocks | P3 `capacity` less the bits that are 1                                                |
// | `place`      | –      | P4 its place in the list of its class exactly if it has a free block, else −1; −1 for large ones |
import type { HeapSlab } from './space.ts'

/** Class of a page that is one large block. */
export const largeClass: number = -1

export class HeapPage {
  used = 0
  hint = 0
  place = -1
  /** −1 of an unsigned word is all ones. */
  readonly bits: Uint32Array
  readonly slab: HeapSlab
  readonly start: number
  slices: number
  readonly sizeClass: number
  blockBytes: number
  readonly capacity: number

  constructor(slab: HeapSlab, start: number, slices: number, sizeClass: number, blockBytes: number, capacity: number) {
    this.slab = slab
    this.start = start
    this.slices = slices
    this.sizeClass = sizeClass
    this.blockBytes = blockBytes
    this.capacity = capacity
    this.bits = new Uint32Array(Math.ceil(capacity / 32)).fill(-1)
    const rest = capacity & 31
    if (rest > 0) this.bits[this.bits.length - 1] = 2 ** rest - 1
  }

  /** Takes the free block with the lowest offset: its index, or −1 when there is none. */
  take(): number {
    const bits = this.bits
    let word = this.hint
    while (word < bits.length && bits[word] === 0) word++
    this.hint = word
    if (word === bits.length) return -1
    const free = bits[word] as number
    const lowest = free & -free
    bits[word] = free ^ lowest
    this.used++
    return word * 32 + 31 - Math.clz32(lowest)
  }

  /** Whether block `index` is handed out. */
  isTaken(index: number): boolean {
    return (((this.bits[index >> 5] as number) >>> (index & 31)) & 1) === 0
  }

  /** Takes block `index` back, which is handed out. */
  give(index: number): void {
    const word = index >> 5
    this.bits[word] = (this.bits[word] as number) | (1 << (index & 31))
    if (word < this.hint) this.hint = word
    this.used--
  }

  /** The index of the block that starts at `offset`, or −1. */
  indexOf(offset: number): number {
    const index = (offset - this.start) / this.blockBytes
    return (index | 0) === index && index < this.capacity ? index : -1
  }
}
