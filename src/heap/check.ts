// Looks whether the tables of a heap agree: one line for each thing that is wrong, with the number of the invariant.
import { classBytes } from '../size-class.ts'
import { type HeapPage, largeClass } from './page.ts'
import { type HeapSlab, type HeapSpace, pageSlices, slabSlices, sliceBytes, unitBytes } from './space.ts'

/** What is wrong with a space; nothing, if all is well. Cost: every slice and every block. */
export function checkSpace(space: HeapSpace): string[] {
  const faults: string[] = []
  const expect = (invariant: string, holds: boolean, what: () => string) => {
    if (!holds) faults.push(`${invariant}: ${what()}`)
  }
  let committed = 0
  let reserved = 0
  for (const slab of space.allSlabs()) {
    reserved += slab.bytes
    checkSlab(space, slab, expect)
  }
  for (const page of space.allPages()) {
    committed += page.slices * sliceBytes
    checkPage(space, page, expect)
  }
  expect('S1', space.slabs[0] === undefined, () => 'unit 0 has a slab')
  for (const [sizeClass, list] of space.rooms.entries()) {
    for (const [place, page] of list.entries()) {
      const isThere =
        space.pages[page.start / sliceBytes] === page && page.sizeClass === sizeClass && page.place === place
      expect('S4', isThere, () => `page ${page.start} is listed in class ${sizeClass} at ${place}`)
    }
  }
  expect('S5', space.committed === committed, () => `${committed} bytes in pages, ${space.committed} counted`)
  expect('S6', space.reserved === reserved, () => `${reserved} bytes in slabs, ${space.reserved} counted`)
  return faults
}

type Expect = (invariant: string, holds: boolean, what: () => string) => void

function checkSlab(space: HeapSpace, slab: HeapSlab, expect: Expect): void {
  const units = Math.ceil(slab.bytes / unitBytes)
  const leads = space.slabs.slice(slab.unit, slab.unit + units).every((each) => each === slab)
  expect('S1', leads, () => `a unit of slab ${slab.unit} leads elsewhere`)
  const first = slab.unit * slabSlices
  const pages = space.pages.slice(first, first + units * slabSlices)
  for (const [at, page] of pages.entries()) {
    const isInPage = page !== undefined && page.slab === slab && at >= page.start / sliceBytes - first
    const isCovered = isInPage && at < page.start / sliceBytes - first + page.slices
    expect('S2', page === undefined || isCovered, () => `slice ${first + at} leads to a page that is not there`)
    const isFree = slab.bytes === unitBytes && ((slab.free >>> at) & 1) === 1
    const isPastEnd = at * sliceBytes >= slab.bytes
    expect(
      'S3',
      isFree === (page === undefined && !isPastEnd),
      () => `slice ${first + at} is free and of a page, or neither`,
    )
  }
  const isEmpty = pages.every((page) => page === undefined)
  expect(
    'S7',
    isEmpty === (slab === space.spare),
    () => `slab ${slab.unit} is empty and not the spare one, or not empty`,
  )
}

function checkPage(space: HeapSpace, page: HeapPage, expect: Expect): void {
  const { start, capacity, bits, sizeClass } = page
  const isLarge = sizeClass === largeClass
  const slices = space.pages.slice(start / sliceBytes, start / sliceBytes + page.slices)
  expect(
    'S2',
    slices.every((each) => each === page),
    () => `a slice of page ${start} leads elsewhere`,
  )
  const bytes = isLarge ? page.slices * sliceBytes : classBytes(sizeClass)
  const fits = page.blockBytes === bytes && capacity * bytes <= page.slices * sliceBytes
  expect('P0', fits && (isLarge || page.slices === pageSlices(sizeClass)), () => `page ${start} is not as its class is`)
  let free = 0
  for (let index = 0; index < bits.length * 32; index++) {
    if (page.isTaken(index)) continue
    free++
    expect('P1', index < capacity, () => `page ${start} has block ${index} of ${capacity}`)
    expect('P2', index >> 5 >= page.hint, () => `block ${index} of page ${start} is free below the hint ${page.hint}`)
  }
  expect(
    'P3',
    page.used === capacity - free,
    () => `page ${start} counts ${page.used} blocks, ${capacity - free} are taken`,
  )
  const isListed = !isLarge && space.rooms[sizeClass]?.[page.place] === page
  expect(
    'P4',
    isListed === (!isLarge && free > 0),
    () => `page ${start} with ${free} free blocks is at place ${page.place}`,
  )
}
