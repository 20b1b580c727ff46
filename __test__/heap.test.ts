import test from 'ava'
import fc from 'fast-check'
import { checkSpace } from '../src/heap/check.ts'
import type { HeapPage } from '../src/heap/page.ts'
import { HeapSpace, unitBytes } from '../src/heap/space.ts'
import { Heap, type HeapOptions, TessallocError } from '../src/index.ts'
import { classOf } from '../src/size-class.ts'

const kib = 1024
const mib = 2 ** 20

const fails = (code: TessallocError['code'], message?: RegExp) => ({
  instanceOf: TessallocError,
  code,
  ...(message ? { message } : {}),
})

type Step =
  | { readonly do: 'alloc' | 'zeroed'; readonly bytes: number; readonly align: number }
  | { readonly do: 'realloc'; readonly which: number; readonly bytes: number }
  | { readonly do: 'free' | 'bad free'; readonly which: number }
  | { readonly do: 'purge' }

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 600 }) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 70 * kib }) },
  { weight: 1, arbitrary: fc.integer({ min: 60 * kib, max: 5 * mib }) },
  // Few to a page, so that pages fill and empty.
  { weight: 5, arbitrary: fc.constantFrom(8 * kib, 64 * kib) },
)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('alloc'), bytes: size, align: fc.constant(16) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('zeroed'), bytes: size, align: fc.nat(16).map((power) => 2 ** power) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('realloc'), which: fc.nat(), bytes: size }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('free'), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('bad free'), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('purge') }) },
) as fc.Arbitrary<Step>

/** The first and the last bytes of a block: large blocks are not written whole. */
function edges(heap: Heap, offset: number, bytes: number): Uint8Array[] {
  const view = heap.view(offset, bytes)
  return [view.subarray(0, 64), view.subarray(Math.max(0, bytes - 64))]
}

/** The naive heap: what is handed out, how long, and the byte at its edges. */
function replay(heap: Heap, limit: number, steps: readonly Step[]): void {
  const blocks = new Map<number, { bytes: number; fill: number }>()
  const freed = new Set<number>()
  let count = 0
  const pick = (which: number) => [...blocks.keys()][which % Math.max(1, blocks.size)]
  const note = (offset: number, bytes: number) => {
    const fill = 1 + (count++ % 255)
    for (const edge of edges(heap, offset, bytes)) edge.fill(fill)
    blocks.set(offset, { bytes, fill })
    freed.delete(offset)
  }
  for (const each of steps) {
    try {
      if (each.do === 'alloc' || each.do === 'zeroed') {
        const offset =
          each.do === 'alloc' ? heap.alloc(each.bytes, each.align) : heap.allocZeroed(each.bytes, each.align)
        if (offset <= 0 || offset % each.align !== 0) throw new Error(`offset ${offset} at align ${each.align}`)
        if (each.do === 'zeroed' && edges(heap, offset, each.bytes).some((edge) => edge.some((byte) => byte !== 0))) {
          throw new Error('a block that is not zero')
        }
        note(offset, each.bytes)
      } else if (each.do === 'realloc') {
        const old = pick(each.which)
        if (old !== undefined) {
          const was = blocks.get(old) as { bytes: number; fill: number }
          const offset = heap.realloc(old, each.bytes)
          const kept = heap.view(offset, Math.min(64, was.bytes, each.bytes))
          if (kept.some((byte) => byte !== was.fill)) throw new Error(`realloc lost bytes of block ${old}`)
          blocks.delete(old)
          if (offset !== old) freed.add(old)
          note(offset, each.bytes)
        }
      } else if (each.do === 'free') {
        const offset = pick(each.which)
        if (offset !== undefined) {
          heap.free(offset)
          blocks.delete(offset)
          freed.add(offset)
        }
      } else if (each.do === 'purge') {
        heap.purge()
      } else if (each.do === 'bad free') {
        refuses(heap, [...freed][each.which % Math.max(1, freed.size)] ?? 0)
        refuses(heap, (pick(each.which) ?? 0) + 8)
      }
    } catch (error) {
      // Nothing has changed then, which the rest of this round shows.
      if ((error as TessallocError).code !== 'ERR_TESSALLOC_OUT_OF_MEMORY') throw error
    }
    compare(heap, blocks, limit)
  }
}

function refuses(heap: Heap, offset: number): void {
  try {
    heap.free(offset)
  } catch (error) {
    const { code } = error as TessallocError
    if (code === 'ERR_TESSALLOC_DOUBLE_FREE' || code === 'ERR_TESSALLOC_NOT_OWNED') return
    throw error
  }
  throw new Error(`freed ${offset}, where no block is`)
}

function compare(heap: Heap, blocks: ReadonlyMap<number, { bytes: number; fill: number }>, limit: number): void {
  const faults = heap.check()
  if (faults.length > 0) throw new Error(faults.join('\n'))
  let [end, bytes, count] = [0, 0, 0]
  for (const block of heap.blocks()) {
    const known = blocks.get(block.offset)
    if (known === undefined || block.bytes < known.bytes) throw new Error(`walked ${JSON.stringify(block)}`)
    if (block.offset < end) throw new Error(`block ${block.offset} overlaps the one before`)
    if (heap.usableSize(block.offset) !== block.bytes || !heap.holds(block.offset)) throw new Error('usable size')
    const isWhole = edges(heap, block.offset, known.bytes).every((edge) => edge.every((byte) => byte === known.fill))
    if (!isWhole) throw new Error(`somebody wrote to block ${block.offset}`)
    end = block.offset + block.bytes
    bytes += block.bytes
    count++
  }
  if (count !== blocks.size) throw new Error(`${blocks.size} blocks, ${count} walked`)
  const stats = heap.stats()
  if (stats.allocatedBytes !== bytes || stats.allocatedBlocks !== count) throw new Error(JSON.stringify(stats))
  const paged = [...heap.pages()].reduce((sum, page) => sum + page.used * page.blockBytes, 0)
  if (paged !== bytes) throw new Error(`${paged} bytes by pages`)
  if (stats.committedBytes > limit || stats.committedBytes > stats.reservedBytes) throw new Error(JSON.stringify(stats))
}

for (const backing of ['native', 'js', 'shared'] as const) {
  test(`${backing}_heap_keeps_its_promises_under_random_use`, (t) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), fc.integer({ min: 1, max: 30 }), (steps, limit) => {
        const hardLimit = limit * mib
        using heap = new Heap({ backing, hardLimit })
        replay(heap, hardLimit, steps)
      }),
      { numRuns: backing === 'js' ? 120 : 40 },
    )
    t.pass()
  })
}

test('small blocks are rounded up by an eighth at most, and fill their pages', (t) => {
  using heap = new Heap()
  for (const bytes of [1, 16, 100, 129, 1000, 5000, 8193, 40_000, 65_536]) {
    const usable = heap.usableSize(heap.alloc(bytes))
    t.true(usable >= bytes && usable <= Math.max(bytes + 15, bytes * 1.125 + 16), `${bytes}: ${usable}`)
  }
  const offsets = Array.from({ length: 4096 }, () => heap.alloc(16))
  t.is(new Set(offsets.map((offset) => Math.floor(offset / 65_536))).size, 2)
})

test('the lowest free block of a page is used first', (t) => {
  using heap = new Heap()
  const offsets = Array.from({ length: 500 }, () => heap.alloc(64))
  t.deepEqual(
    offsets,
    offsets.map((_, at) => (offsets[0] as number) + at * 64),
  )
  for (const at of [400, 3, 77]) heap.free(offsets[at] as number)
  t.deepEqual(heap.check(), [])
  t.deepEqual([heap.alloc(64), heap.alloc(64), heap.alloc(64)], [offsets[3], offsets[77], offsets[400]])
})

test('pages that empty in any order leave the others in their places', (t) => {
  using heap = new Heap()
  const pages = Array.from({ length: 6 }, () => Array.from({ length: 8 }, () => heap.alloc(8 * kib)))
  for (const page of pages) heap.free(page.pop() as number)
  for (const which of [2, 0, 5, 3]) {
    for (const offset of pages[which] ?? []) heap.free(offset)
    t.deepEqual(heap.check(), [])
  }
  t.is(heap.stats().pages, 2)
})

test('a heap that is empty again holds a page a class and one slab, and none after a purge', (t) => {
  using heap = new Heap()
  const blocks = Array.from({ length: 2000 }, (_, at) => heap.alloc(1 + ((at * 577) % 20_000)))
  const large = heap.alloc(10 * mib)
  t.true(heap.stats().reservedBytes >= 28 * mib)
  for (const offset of [...blocks, large]) heap.free(offset)
  t.is(heap.stats().allocatedBlocks, 0)
  heap.purge()
  t.deepEqual(
    { ...heap.stats(), peakCommittedBytes: 0 },
    {
      allocatedBytes: 0,
      allocatedBlocks: 0,
      committedBytes: 0,
      peakCommittedBytes: 0,
      reservedBytes: 0,
      pages: 0,
      slabs: 0,
    },
  )
  t.true(heap.stats().peakCommittedBytes >= 28 * mib)
  t.is(heap.view(heap.alloc(100)).fill(1)[99], 1)
})

test('large blocks grow and shrink where they are', (t) => {
  using heap = new Heap({ backing: 'js' })
  const block = heap.alloc(100 * kib)
  heap.view(block).fill(9)
  t.is(heap.usableSize(block), 128 * kib)
  t.is(heap.realloc(block, 500 * kib), block)
  t.true(heap.view(block, 100 * kib).every((byte) => byte === 9))
  t.is(heap.realloc(block, 70 * kib), block)
  const neighbour = heap.alloc(200 * kib)
  t.is(neighbour, block + 128 * kib)
  t.not(heap.realloc(block, 300 * kib), block)
  t.deepEqual(heap.check(), [])
})

test('a block beyond a slab has one of its own, which goes with it', (t) => {
  using heap = new Heap()
  const small = heap.alloc(16)
  const before = heap.stats().reservedBytes
  const block = heap.alloc(5 * mib + 1)
  t.is(heap.stats().reservedBytes, before + 5 * mib + 64 * kib)
  const next = heap.alloc(3 * mib)
  t.true(next >= block + 5 * mib)
  const view = heap.view(block)
  heap.free(block)
  t.is(view.length, 0)
  t.deepEqual(heap.check(), [])
  // Its offsets are used again.
  t.is(heap.alloc(4 * mib + 1), block)
  t.true(heap.holds(small))
})

test('what is no block is refused', (t) => {
  using heap = new Heap({ name: 'nodes' })
  const block = heap.alloc(100)
  for (const bad of [0, 8, -16, block + 16, block + 0.5, 2 ** 40, Number.NaN, undefined, 'x', null] as number[]) {
    for (const call of [
      () => heap.free(bad),
      () => heap.realloc(bad, 10),
      () => heap.usableSize(bad),
      () => heap.view(bad),
    ]) {
      t.throws(
        call,
        fails('ERR_TESSALLOC_NOT_OWNED', /^Cannot .* nodes: expected the offset of a block, received /),
        String(bad),
      )
    }
    t.false(heap.holds(bad))
  }
  const other = heap.alloc(100)
  heap.free(other)
  for (const call of [
    () => heap.free(other),
    () => heap.realloc(other, 10),
    () => heap.usableSize(other),
    () => heap.view(other),
  ]) {
    t.throws(call, fails('ERR_TESSALLOC_DOUBLE_FREE', /nodes: the block at \d+ is free already/))
  }
  t.is(heap.stats().allocatedBlocks, 1)
})

test('bad sizes, alignments and options are refused', (t) => {
  using heap = new Heap()
  const block = heap.alloc(100)
  for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 31 + 1, '8', undefined] as number[]) {
    t.throws(
      () => heap.alloc(bad),
      fails('ERR_TESSALLOC_INVALID_SIZE', /bytes must be an integer from 1 to 2147483648/),
    )
    t.throws(() => heap.allocZeroed(bad), fails('ERR_TESSALLOC_INVALID_SIZE'))
    t.throws(() => heap.realloc(block, bad), fails('ERR_TESSALLOC_INVALID_SIZE'))
  }
  for (const bad of [0, 3, -16, 131_072, 1.5])
    t.throws(() => heap.alloc(8, bad), fails('ERR_TESSALLOC_INVALID_SIZE', /align/))
  for (const bad of [-1, 113, 1.5])
    t.throws(() => heap.view(block, bad), fails('ERR_TESSALLOC_INVALID_SIZE', /from 0 to 112/))
  t.is(heap.stats().allocatedBlocks, 1)
  t.throws(() => new Heap({ hardLimit: 0 }), fails('ERR_TESSALLOC_INVALID_SIZE'))
  t.throws(() => new Heap({ softLimit: Number.NaN }), fails('ERR_TESSALLOC_INVALID_SIZE'))
  for (const bad of [{ backing: 'disk' }, { onLimit: 1 }, { name: 5 }, null, 7]) {
    t.throws(() => new Heap(bad as HeapOptions), fails('ERR_TESSALLOC_INVALID_OPTION'))
  }
})

test('the hard limit is told once an allocation, then it fails and nothing changes', (t) => {
  const told: string[] = []
  using heap = new Heap({ hardLimit: mib, onLimit: (limit) => told.push(limit), name: 'small' })
  const block = heap.alloc(900 * kib)
  const before = heap.stats()
  t.throws(
    () => heap.alloc(200 * kib),
    fails('ERR_TESSALLOC_OUT_OF_MEMORY', /small: 262144 more bytes wanted, 983040 of 1048576/),
  )
  t.deepEqual(told, ['hard'])
  t.deepEqual(heap.stats(), before)
  t.throws(() => heap.realloc(block, 2 * mib), fails('ERR_TESSALLOC_OUT_OF_MEMORY'))
  t.is(heap.usableSize(block), 15 * 64 * kib)
  t.is(heap.alloc(64) > 0, true)
})

test('what a callback frees at the hard limit serves the allocation', (t) => {
  let cache: number[] = []
  using heap = new Heap({
    hardLimit: 2 * mib,
    onLimit: (limit, of) => {
      t.is(limit, 'hard')
      // Full as it is, it does not call again.
      t.throws(() => of.alloc(mib), fails('ERR_TESSALLOC_OUT_OF_MEMORY'))
      for (const offset of cache) of.free(offset)
      cache = []
    },
  })
  cache = Array.from({ length: 7 }, () => heap.alloc(256 * kib))
  t.is(heap.usableSize(heap.alloc(mib)), mib)
  t.deepEqual(cache, [])
})

test('the soft limit is told once, and again after it was below', (t) => {
  let told = 0
  using heap = new Heap({ softLimit: mib, onLimit: () => told++ })
  const first = heap.alloc(900 * kib)
  t.is(told, 0)
  const second = heap.alloc(300 * kib)
  t.is(told, 1)
  heap.free(heap.alloc(300 * kib))
  t.is(told, 1)
  heap.free(second)
  const third = heap.alloc(300 * kib)
  t.is(told, 2)
  for (const offset of [first, third]) heap.free(offset)
})

test('a callback may throw or dispose the heap', (t) => {
  using throwing = new Heap({
    hardLimit: mib,
    onLimit: () => {
      throw new RangeError('mine')
    },
  })
  t.throws(() => throwing.alloc(2 * mib), { instanceOf: RangeError, message: 'mine' })
  t.deepEqual(throwing.check(), [])
  t.is(throwing.usableSize(throwing.alloc(100)), 112)
  const disposing = new Heap({ softLimit: 1, onLimit: (_, heap) => heap.dispose() })
  t.throws(() => disposing.alloc(100), fails('ERR_TESSALLOC_DISPOSED'))
})

test('an empty page goes before a limit is told', (t) => {
  using heap = new Heap({ hardLimit: 128 * kib, onLimit: () => t.fail() })
  heap.free(heap.alloc(16))
  heap.free(heap.alloc(32))
  t.is(heap.stats().committedBytes, 128 * kib)
  t.is(heap.usableSize(heap.alloc(128 * kib)), 128 * kib)
  // Also once the soft limit was told.
  using told = new Heap({ softLimit: 64 * kib, hardLimit: 192 * kib })
  const kept = told.alloc(48)
  told.free(told.alloc(16))
  told.free(told.alloc(32))
  t.is(told.stats().committedBytes, 192 * kib)
  t.is(told.usableSize(told.alloc(128 * kib)), 128 * kib)
  t.true(told.holds(kept))
})

test('walks show what was there, whatever is freed meanwhile', (t) => {
  using heap = new Heap()
  const offsets = new Set(Array.from({ length: 9000 }, (_, at) => heap.alloc(16 + (at % 50))))
  const seen: number[] = []
  for (const { offset } of heap.blocks()) {
    seen.push(offset)
    heap.free(offset)
  }
  t.deepEqual(
    seen,
    [...offsets].sort((a, b) => a - b),
  )
  t.is(heap.stats().allocatedBlocks, 0)
  for (const page of heap.pages()) t.is(page.used, 0)
})

test('a linked list with offsets as links', (t) => {
  using heap = new Heap()
  let head = 0
  for (let value = 0; value < 1000; value++) {
    const node = heap.alloc(16)
    const { buffer, byteOffset } = heap.view(node)
    new Float64Array(buffer, byteOffset, 2).set([value, head])
    head = node
  }
  let expected = 999
  for (let node = head; node !== 0; expected--) {
    const { buffer, byteOffset } = heap.view(node)
    const [value, next] = new Float64Array(buffer, byteOffset, 2) as unknown as [number, number]
    t.is(value, expected)
    heap.free(node)
    node = next
  }
  t.is(expected, -1)
})

for (const backing of ['native', 'js'] as const) {
  test(`disposing a ${backing} heap detaches every view, and once is enough`, (t) => {
    const heap = new Heap({ backing })
    const views = [heap.view(heap.alloc(100)), heap.view(heap.alloc(mib)), heap.view(heap.alloc(9 * mib))]
    heap.dispose()
    heap[Symbol.dispose]()
    t.true(heap.disposed)
    for (const view of views) t.is(view.length, 0)
  })
}

/** A space with a page that is full, one that is not, a large one, and two slabs, one of a single block. */
function filledSpace(): { space: HeapSpace; page: HeapPage; full: HeapPage } {
  const space = new HeapSpace('js')
  const full = space.addPage('test', classOf(40_000))
  for (let taken = 0; taken < full.capacity; taken++) full.take()
  space.unlist(full)
  const page = space.addPage('test', classOf(100))
  for (let taken = 0; taken < 100; taken++) page.take()
  space.addLargePage('test', 3).take()
  space.addLargePage('test', 40).take()
  return { space, page, full }
}

/** What breaks each invariant, by the number that the check must name. */
const breakages: Readonly<Record<string, (of: ReturnType<typeof filledSpace>) => void>> = {
  P0: ({ page }) => (page.blockBytes += 16),
  P1: ({ page }) => (page.bits[page.bits.length - 1] = -1),
  P2: ({ page }) => page.hint++,
  P3: ({ page }) => page.used++,
  P4: ({ page }) => (page.place = -1),
  S1: ({ space }) => (space.slabs[3] = undefined),
  S2: ({ space, full }) => (space.pages[full.start / 65_536 + 1] = undefined),
  S3: ({ page }) => (page.slab.free |= 1),
  S4: ({ space, full }) => space.rooms[1]?.push(full),
  S5: ({ space }) => (space.committed += 65_536),
  S6: ({ space }) => (space.reserved -= unitBytes),
  S7: ({ space, page }) => (space.spare = page.slab),
}

test('the check finds nothing in a sound heap', (t) => {
  t.deepEqual(checkSpace(filledSpace().space), [])
})

for (const [invariant, damage] of Object.entries(breakages)) {
  test(`the check notices when ${invariant} is broken`, (t) => {
    const parts = filledSpace()
    damage(parts)
    t.true(
      checkSpace(parts.space).some((fault) => fault.startsWith(`${invariant}: `)),
      checkSpace(parts.space).join('\n'),
    )
  })
}
