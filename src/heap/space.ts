// The offsets of a heap and what lies at them: slabs, cut into slices, of which pages are made.
//
//     offset   0          2 MiB                4 MiB                6 MiB …
//              | never    | slab 1: 32 slices  | slab 2: 32 slices  | slab 3: one block, as long as it must be …
//
// | field       | unit  | always true                                                                          |
// |-------------|-------|--------------------------------------------------------------------------------------|
// | `slabs`     | units | S1 each unit of 2 MiB that a slab covers leads to it; unit 0 is never used, so 0 is no block |
// | `pages`     | slices| S2 each slice of a page leads to it; all others lead nowhere                          |
// | `free`      | slices| S3 of a slab: bit i is 1 exactly if slice i is of no page; 0 for a slab of one block   |
// | `rooms`     | pages | S4 by class: the pages with a free block, each at its `place`                         |
// | `committed` | bytes | S5 all slices of pages                                                                |
// | `reserved`  | bytes | S6 all slabs                                                                          |
// | `spare`     | slab  | S7 the one slab without pages that is kept; every other one is closed                 |
import { classBytes, classOf } from '../size-class.ts'
import { type Backing, closeSlab, discardPart, openSlab } from '../slab.ts'
import { HeapPage, largeClass } from './page.ts'

/** A slice: what pages are made of. */
export const sliceBytes: number = 65_536
/** Slices of a slab: the bits of a word. */
export const slabSlices: number = 32
/** A unit of offsets: a slab, or a part of one that is a single block. */
export const unitBytes: number = slabSlices * sliceBytes
/** Larger blocks have a page for themselves. */
export const classedBlockBytesMax: number = sliceBytes
/** Blocks up to here have pages of one slice. */
const oneSliceBlockBytesMax = 8192
/** Slices of pages with larger blocks. */
const widePageSlices = 8

const classCount = classOf(classedBlockBytesMax) + 1

export interface HeapSlab {
  /** Its first unit. */
  readonly unit: number
  readonly bytes: number
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  free: number
}

/** Slices of a page with blocks of a class. */
export function pageSlices(sizeClass: number): number {
  return classBytes(sizeClass) <= oneSliceBlockBytesMax ? 1 : widePageSlices
}

/** The lowest bit of `mask` at which `count` bits in a row are 1, or −1. */
function runOf(mask: number, count: number): number {
  let starts = mask
  for (let have = 1; have < count; ) {
    const step = Math.min(have, count - have)
    starts &= starts >>> step
    have += step
  }
  return starts === 0 ? -1 : 31 - Math.clz32(starts & -starts)
}

/** `count` bits from bit `first` on. */
function bitsAt(first: number, count: number): number {
  return (count === 32 ? -1 : (1 << count) - 1) << first
}

export class HeapSpace {
  readonly rooms: HeapPage[][] = Array.from({ length: classCount }, () => [])
  pages: (HeapPage | undefined)[] = Array.from({ length: slabSlices }, () => undefined)
  slabs: (HeapSlab | undefined)[] = [undefined]
  committed = 0
  reserved = 0
  committedPeak = 0
  spare: HeapSlab | undefined
  readonly #backing: Backing

  constructor(backing: Backing) {
    this.#backing = backing
  }

  /** All slabs, each once. */
  *allSlabs(): Generator<HeapSlab> {
    for (let unit = 1; unit < this.slabs.length; unit++) {
      const slab = this.slabs[unit]
      if (slab?.unit === unit) yield slab
    }
  }

  /** All pages, each once, by offset. Pages may come and go meanwhile. */
  *allPages(): Generator<HeapPage> {
    for (let slice = 0; slice < this.pages.length; slice++) {
      const page = this.pages[slice]
      if (page?.start === slice * sliceBytes) yield page
    }
  }

  /** A new page for blocks of a class. Throws when the system has no memory; nothing has changed then. */
  addPage(action: string, sizeClass: number): HeapPage {
    const slices = pageSlices(sizeClass)
    const bytes = classBytes(sizeClass)
    const page = this.#place(action, slices, sizeClass, bytes, Math.floor((slices * sliceBytes) / bytes))
    this.list(page)
    return page
  }

  /** A new page that is one block of `slices`. Throws like {@link HeapSpace.addPage}. */
  addLargePage(action: string, slices: number): HeapPage {
    return this.#place(action, slices, largeClass, slices * sliceBytes, 1)
  }

  /** Takes a page away, which has no block that is handed out. */
  removePage(page: HeapPage): void {
    if (page.place >= 0) this.unlist(page)
    this.#giveSlices(page.slab, page.start / sliceBytes, page.slices)
  }

  /** Makes a large page longer or shorter where it is. Whether it could. */
  resizeLargePage(page: HeapPage, slices: number): boolean {
    const { slab } = page
    const first = page.start / sliceBytes
    // The block of a slab of its own.
    if (slab.bytes > unitBytes) return false
    if (slices < page.slices) {
      this.#giveSlices(slab, first + slices, page.slices - slices)
    } else {
      const at = (first % slabSlices) + page.slices
      const more = slices - page.slices
      if (at + more > slabSlices || (slab.free & bitsAt(at, more)) !== bitsAt(at, more)) return false
      this.#takeSlices(slab, first + page.slices, more, page)
    }
    page.slices = slices
    page.blockBytes = slices * sliceBytes
    return true
  }

  /** Puts a page on the list of its class. */
  list(page: HeapPage): void {
    const list = this.rooms[page.sizeClass] as HeapPage[]
    page.place = list.length
    list.push(page)
  }

  /** Takes a page from the list of its class. */
  unlist(page: HeapPage): void {
    const list = this.rooms[page.sizeClass] as HeapPage[]
    const last = list.pop() as HeapPage
    if (last !== page) {
      list[page.place] = last
      last.place = page.place
    }
    page.place = -1
  }

  /** Takes all pages away that have no block that is handed out. */
  removeEmptyPages(): void {
    for (const list of this.rooms) {
      for (const page of list.filter(({ used }) => used === 0)) this.removePage(page)
    }
  }

  /** Gives back all that no block needs: empty pages, empty slabs, and the memory of free slices. */
  shrink(): void {
    this.removeEmptyPages()
    if (this.spare !== undefined) {
      this.#close(this.spare)
      this.spare = undefined
    }
    for (const slab of this.allSlabs()) {
      for (let slice = 0; slice < slabSlices; slice++) {
        const isFree = ((slab.free >>> slice) & 1) === 1
        if (isFree) discardPart(slab.buffer, slice * sliceBytes, sliceBytes)
      }
    }
  }

  /** Closes everything. */
  clear(): void {
    for (const slab of this.allSlabs()) closeSlab(slab.buffer)
    this.pages = []
    this.slabs = []
    for (const list of this.rooms) list.length = 0
    this.spare = undefined
  }

  #place(action: string, slices: number, sizeClass: number, blockBytes: number, capacity: number): HeapPage {
    let slab: HeapSlab | undefined
    let at = 0
    if (slices <= slabSlices) {
      for (const each of this.allSlabs()) {
        at = runOf(each.free, slices)
        if (at < 0) continue
        slab = each
        break
      }
    }
    if (slab === undefined) {
      slab = this.#open(action, slices)
      at = 0
    }
    if (slab === this.spare) this.spare = undefined
    const first = slab.unit * slabSlices + at
    const page = new HeapPage(slab, first * sliceBytes, slices, sizeClass, blockBytes, capacity)
    this.#takeSlices(slab, first, slices, page)
    return page
  }

  #takeSlices(slab: HeapSlab, first: number, count: number, page: HeapPage): void {
    if (slab.bytes === unitBytes) slab.free &= ~bitsAt(first % slabSlices, count)
    for (let slice = first; slice < first + count; slice++) this.pages[slice] = page
    this.committed += count * sliceBytes
    if (this.committed > this.committedPeak) this.committedPeak = this.committed
  }

  #giveSlices(slab: HeapSlab, first: number, count: number): void {
    for (let slice = first; slice < first + count; slice++) this.pages[slice] = undefined
    this.committed -= count * sliceBytes
    if (slab.bytes > unitBytes) {
      this.#close(slab)
      return
    }
    slab.free |= bitsAt(first % slabSlices, count)
    if (slab.free !== -1) return
    // One is kept, so that a program on the edge does not open and close all the time.
    if (this.spare === undefined) this.spare = slab
    else this.#close(slab)
  }

  /** Opens a slab at the lowest offsets with room for it: an ordinary one, or one for a block of more slices than that has. */
  #open(action: string, slices: number): HeapSlab {
    const bytes = Math.max(slices, slabSlices) * sliceBytes
    const units = Math.ceil(bytes / unitBytes)
    const { buffer } = openSlab(action, bytes, this.#backing)
    let unit = 1
    for (let end = unit; end - unit < units; end++) if (this.slabs[end] !== undefined) unit = end + 1
    const slab: HeapSlab = { unit, bytes, buffer, free: bytes > unitBytes ? 0 : -1 }
    while (this.slabs.length < unit + units) {
      this.slabs.push(undefined)
      for (let slice = 0; slice < slabSlices; slice++) this.pages.push(undefined)
    }
    this.slabs.fill(slab, unit, unit + units)
    this.reserved += bytes
    return slab
  }

  #close(slab: HeapSlab): void {
    closeSlab(slab.buffer)
    this.slabs.fill(undefined, slab.unit, slab.unit + Math.ceil(slab.bytes / unitBytes))
    this.reserved -= slab.bytes
  }
}
