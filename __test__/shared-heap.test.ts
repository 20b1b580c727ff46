// The shared heap as its users see it, in one thread. What many threads do: `shared-heap-model.test.ts` and `shared-heap-stress.test.ts`.
import { threadId, type Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { defineStruct, SharedHeap, type TessallocErrorCode } from '../src/index.ts'
import {
  classSizes,
  headAt,
  layoutVersion,
  pageBytes,
  pageHeadBytes,
  slotsMax,
  versionWord,
} from '../src/shared-heap/layout.ts'

const mib = 2 ** 20

function throwsCode(t: ExecutionContext, work: () => unknown, code: TessallocErrorCode, text: RegExp): void {
  const error = t.throws(work, { code })
  t.regex(error?.message ?? '', text)
}

test('alloc: blocks are aligned, apart from each other, and as large as asked for', (t) => {
  using heap = new SharedHeap({ bytes: 4 * mib })
  const sizes = [0, 1, 15, 16, 17, 100, 1000, ...classSizes, 30_721, 61_440, 61_441, 200_000]
  const blocks = sizes.map((bytes) => ({ bytes, offset: heap.alloc(bytes) })).sort((a, b) => a.offset - b.offset)
  for (const [index, { bytes, offset }] of blocks.entries()) {
    t.is(offset % 16, 0)
    t.true(heap.usableSize(offset) >= bytes)
    const next = blocks[index + 1]
    if (next !== undefined)
      t.true(offset + heap.usableSize(offset) <= next.offset, `${offset} reaches into ${next.offset}`)
  }
  for (const { offset } of blocks) heap.free(offset)
  t.is(heap.stats().allocatedBlocks, 0)
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('alloc: a large block is exact to the page', (t) => {
  using heap = new SharedHeap({ bytes: mib })
  const offset = heap.alloc(61_440)
  t.is(heap.usableSize(offset), 61_440)
  t.is(heap.stats().largeBlocks, 1)
  heap.free(offset)
  t.is(heap.stats().freePages, heap.stats().pages)
})

test('alloc, realloc and free agree with a naive model, and the heap grows', (t) => {
  using heap = new SharedHeap({ bytes: 0, maxBytes: 64 * mib, name: 'model' })
  const before = heap.stats().bytes
  const model = new Map<number, { bytes: number; fill: number }>()
  let seed = 42
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  const size = () => random(random(20) === 0 ? 150_000 : random(4) === 0 ? 10_000 : 300)
  const verify = (offset: number, bytes: number, fill: number) =>
    heap.array(Uint8Array, offset, bytes).every((byte) => byte === fill)
  for (let step = 0; step < 20_000; step++) {
    const held = [...model.keys()]
    const some = held[random(held.length)]
    const kind = random(10)
    if (kind < 5 || some === undefined) {
      const bytes = size()
      const offset = heap.alloc(bytes)
      if (model.has(offset)) t.fail(`block ${offset} is handed out twice`)
      heap.array(Uint8Array, offset, bytes).fill(step)
      model.set(offset, { bytes, fill: step & 255 })
    } else {
      const { bytes, fill } = model.get(some) ?? { bytes: 0, fill: 0 }
      if (!verify(some, bytes, fill)) t.fail(`block ${some} was written over`)
      model.delete(some)
      if (kind < 9) heap.free(some)
      else {
        const wanted = size()
        const offset = heap.realloc(some, wanted)
        if (!verify(offset, Math.min(bytes, wanted), fill)) t.fail(`realloc of ${some} lost contents`)
        heap.array(Uint8Array, offset, wanted).fill(fill)
        model.set(offset, { bytes: wanted, fill })
      }
    }
    if (model.size <= 400) continue
    for (const offset of [...model.keys()].slice(0, 300)) {
      heap.free(offset)
      model.delete(offset)
    }
  }
  const stats = heap.stats()
  t.is(stats.allocatedBlocks, model.size)
  t.true(stats.bytes > before && stats.bytes <= stats.maxBytes)
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('alloc: out of memory is an error, and what is freed can be had again', (t) => {
  using heap = new SharedHeap({ bytes: mib })
  const blocks: number[] = []
  throwsCode(
    t,
    () => {
      for (;;) blocks.push(heap.alloc(1000))
    },
    'ERR_TESSALLOC_OUT_OF_MEMORY',
    /^Cannot allocate 1000 bytes/,
  )
  t.true(blocks.length > 850)
  throwsCode(t, () => heap.alloc(100_000), 'ERR_TESSALLOC_OUT_OF_MEMORY', /no room in 1048576 bytes/)
  for (const block of blocks) heap.free(block)
  t.is(new Set(blocks.map(() => heap.alloc(1000))).size, blocks.length)
})

test('alloc: sizes that are none', (t) => {
  using heap = new SharedHeap()
  for (const bytes of [-1, 1.5, Number.NaN, 2 ** 31, 2 ** 40, Number.POSITIVE_INFINITY]) {
    throwsCode(
      t,
      () => heap.alloc(bytes),
      'ERR_TESSALLOC_INVALID_SIZE',
      /^Cannot allocate: bytes must be an integer from 0 to 1073741824/,
    )
  }
})

test('free: twice, or of what is no block', (t) => {
  using heap = new SharedHeap()
  const small = heap.alloc(100)
  const large = heap.alloc(100_000)
  for (const offset of [
    0,
    1,
    16,
    small + 8,
    small + 16,
    small + 1.5,
    large + 16,
    large + pageBytes,
    -16,
    2 ** 31,
    Number.NaN,
  ]) {
    throwsCode(t, () => heap.free(offset), 'ERR_TESSALLOC_NOT_OWNED', /^Cannot free: expected the offset of a block/)
    t.throws(() => heap.usableSize(offset), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  }
  heap.free(small)
  heap.free(large)
  throwsCode(t, () => heap.free(small), 'ERR_TESSALLOC_DOUBLE_FREE', /the block there is free already$/)
  t.throws(() => heap.free(large), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  t.throws(() => heap.realloc(small, 10), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('cells: filled once, emptied once, by name too', (t) => {
  using heap = new SharedHeap()
  const cell = heap.roots.cell('mailbox')
  let seen = -1
  const block = heap.allocAt(cell, 64, (offset) => {
    seen = offset
    t.is(heap.roots.get('mailbox'), 0)
    throwsCode(t, () => heap.allocAt(cell, 8), 'ERR_TESSALLOC_OCCUPIED', /outside of the init of another block$/)
  })
  t.is(seen, block)
  t.is(heap.roots.get('mailbox'), block)
  throwsCode(t, () => heap.allocAt(cell, 64), 'ERR_TESSALLOC_OCCUPIED', new RegExp(`expected 0 in it, found ${block}$`))
  t.is(heap.take(cell), block)
  t.is(heap.take(cell), 0)
  heap.free(block)
  heap.allocAt(cell, 100_000)
  t.true(heap.freeAt(cell))
  t.false(heap.freeAt(cell))
  t.throws(
    () =>
      heap.allocAt(cell, 64, () => {
        throw new Error('init')
      }),
    { message: 'init' },
  )
  t.is(heap.roots.get('mailbox'), 0)
  for (const bad of [3, 0, -4, 2 ** 31, 6.5]) t.throws(() => heap.allocAt(bad, 8), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  t.is(heap.stats().allocatedBlocks, 1, 'the name')
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('strings come back as they were', (t) => {
  using heap = new SharedHeap({ maxBytes: 4 * mib })
  for (const text of ['', 'a', 'grüße', '🦀 and 漢字', 'x'.repeat(100_000)])
    t.is(heap.readString(heap.writeString(text)), text)
  t.is(heap.readString(heap.writeString('\ud800')), '\ufffd')
  const cell = heap.roots.cell('text')
  t.is(heap.writeString('here', cell), heap.roots.get('text'))
  t.throws(() => heap.writeString('there', cell), { code: 'ERR_TESSALLOC_OCCUPIED' })
  const other = heap.alloc(16)
  heap.array(Int32Array, other)[0] = 1000
  t.throws(() => heap.readString(other), { code: 'ERR_TESSALLOC_NOT_OWNED' })
})

test('arrays lie in their block', (t) => {
  using heap = new SharedHeap()
  const block = heap.alloc(64)
  const numbers = heap.array(Float64Array, block, 4)
  numbers[3] = 1.5
  t.is(heap.array(Float64Array, block)[3], 1.5)
  t.is(heap.array(Uint8Array, block).length, 64)
  throwsCode(
    t,
    () => heap.array(Float64Array, block, 9),
    'ERR_TESSALLOC_INVALID_SIZE',
    /has room for 8 elements, received 9$/,
  )
})

test('structs: every type of field, in every place', (t) => {
  using heap = new SharedHeap()
  const layout = defineStruct({
    a: 'i8',
    b: 'f64',
    c: 'u8',
    d: 'i16',
    e: 'u16',
    f: 'i32',
    g: 'u32',
    h: 'f32',
    i: 'i64',
    j: 'u64',
  })
  t.deepEqual(layout.at, { a: 0, b: 8, c: 16, d: 18, e: 20, f: 24, g: 28, h: 32, i: 40, j: 48 })
  t.is(layout.bytes, 56)
  const fields = heap.struct(layout)
  const [one, two] = [heap.alloc(layout.bytes), heap.alloc(layout.bytes)]
  for (const offset of [one, two]) {
    fields.a.set(offset, -128)
    fields.b.set(offset, Math.PI)
    fields.c.set(offset, 255)
    fields.d.set(offset, -32768)
    fields.e.set(offset, 65535)
    fields.f.set(offset, -(2 ** 31))
    fields.g.set(offset, 2 ** 32 - 1)
    fields.h.set(offset, 0.5)
    fields.i.set(offset, -(2n ** 63n))
    fields.j.set(offset, 2n ** 64n - 1n)
  }
  for (const o of [one, two]) {
    const small = [
      fields.a.get(o),
      fields.b.get(o),
      fields.c.get(o),
      fields.d.get(o),
      fields.e.get(o),
      fields.f.get(o),
      fields.g.get(o),
    ]
    t.deepEqual(small, [-128, Math.PI, 255, -32768, 65535, -(2 ** 31), 2 ** 32 - 1])
    t.deepEqual([fields.h.get(o), fields.i.get(o), fields.j.get(o)], [0.5, -(2n ** 63n), 2n ** 64n - 1n])
  }
  fields.f.store(one, -5)
  t.is(fields.f.load(one), -5)
  t.is(fields.f.add(one, -2), -5)
  t.is(fields.f.compareExchange(one, -7, 3), -7)
  t.is(fields.f.get(one), 3)
  fields.g.store(one, 2 ** 32 - 1)
  t.is(fields.g.load(one), 2 ** 32 - 1)
  throwsCode(
    t,
    () => fields.b.get(0),
    'ERR_TESSALLOC_NOT_OWNED',
    /^Cannot access a field: expected an offset from 65536 to/,
  )
  t.throws(() => fields.b.set(-8, 1), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  t.throws(() => fields.g.add(heap.buffer.byteLength, 1), { code: 'ERR_TESSALLOC_NOT_OWNED' })
})

test('structs: accessors follow the growth of the heap', (t) => {
  using heap = new SharedHeap({ bytes: 0, maxBytes: 8 * mib })
  const { x } = heap.struct(defineStruct({ x: 'f64' }))
  x.set(heap.alloc(8), 1)
  const far = heap.alloc(4 * mib)
  x.set(far + 4 * mib - 8, 2.5)
  t.is(x.get(far + 4 * mib - 8), 2.5)
})

test('structs: what is no layout', (t) => {
  throwsCode(t, () => defineStruct({}), 'ERR_TESSALLOC_INVALID_SIZE', /expected fields, received none$/)
  t.throws(() => defineStruct({ x: 'f16' as 'f32' }), {
    instanceOf: TypeError,
    message: /x must be one of i8, .*received f16$/,
  })
})

test('roots: set, exchanged, listed, and at most 64', (t) => {
  using heap = new SharedHeap()
  t.is(heap.roots.get('none'), 0)
  const [one, two] = [heap.alloc(8), heap.alloc(8)]
  t.is(heap.roots.set('a', one), 0)
  t.is(heap.roots.compareExchange('a', two, two), one)
  t.is(heap.roots.compareExchange('a', one, two), one)
  t.is(heap.roots.get('a'), two)
  t.throws(() => heap.roots.set('a', 8), { code: 'ERR_TESSALLOC_NOT_OWNED' })
  using other = SharedHeap.from(heap.buffer)
  t.is(other.roots.get('a'), two)
  t.is(other.roots.set('a', 0), two)
  for (let index = 1; index < 64; index++) other.roots.set(`name ${index}`, one)
  throwsCode(t, () => heap.roots.cell('one more'), 'ERR_TESSALLOC_FULL', /at most 64 names/)
  t.is(heap.roots.names().length, 64)
  t.deepEqual(heap.roots.names().slice(0, 2), ['a', 'name 1'])
})

test('two users of one heap: blocks of one are freed by the other, and dispose leaves nothing behind', (t) => {
  using heap = new SharedHeap({ bytes: mib, maxBytes: 16 * mib, name: 'two' })
  {
    using other = SharedHeap.from(heap.buffer)
    t.is(other.name, 'two')
    t.is(heap.stats().workers, 2)
    const blocks = Array.from({ length: 20_000 }, (_, index) => heap.alloc(index % 500))
    for (const block of blocks) other.free(block)
    t.is(new Set(Array.from({ length: 20_000 }, (_, index) => heap.alloc(index % 500))).size, 20_000)
  }
  t.is(heap.stats().workers, 1)
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('sizes and names that no heap has', (t) => {
  t.throws(() => new SharedHeap(5 as never), { code: 'ERR_TESSALLOC_INVALID_OPTION' })
  t.throws(() => new SharedHeap({ name: 5 as never }), { code: 'ERR_TESSALLOC_INVALID_OPTION' })
  using heap = new SharedHeap()
  for (const call of [
    () => heap.writeString(5 as never),
    () => heap.writeString(5 as never, heap.roots.cell('text')),
    () => heap.roots.set(5 as never, 0),
    () => defineStruct(null as never),
  ]) {
    t.throws(call, { code: 'ERR_TESSALLOC_INVALID_OPTION' })
  }
  for (const options of [
    { bytes: -1 },
    { bytes: 1.5 },
    { bytes: 2 ** 30 + 1 },
    { bytes: 100, maxBytes: 99 },
    { maxBytes: 2 ** 31 },
  ]) {
    throwsCode(
      t,
      () => new SharedHeap(options),
      'ERR_TESSALLOC_INVALID_SIZE',
      /^Cannot create shared heap: (maxB|b)ytes must be an integer/,
    )
  }
  throwsCode(
    t,
    () => new SharedHeap({ name: 'ä'.repeat(101) }),
    'ERR_TESSALLOC_INVALID_SIZE',
    /at most 200 bytes, received 202$/,
  )
})

test('buffers that hold no heap', (t) => {
  t.throws(() => SharedHeap.from(new ArrayBuffer(8) as unknown as SharedArrayBuffer), { instanceOf: TypeError })
  const open = (buffer: SharedArrayBuffer, text: RegExp) =>
    throwsCode(t, () => SharedHeap.from(buffer), 'ERR_TESSALLOC_INCOMPATIBLE', text)
  open(new SharedArrayBuffer(100), /expected whole pages of 65536 bytes, received 100 bytes$/)
  open(new SharedArrayBuffer(mib), /expected a buffer made by SharedHeap/)
  using heap = new SharedHeap()
  const words = new Int32Array(heap.buffer)
  words[versionWord] = layoutVersion + 1
  open(heap.buffer, new RegExp(`expected layout version ${layoutVersion}, received ${layoutVersion + 1}$`))
  words[versionWord] = layoutVersion
  words[3] = 7
  open(heap.buffer, /a head that fits its buffer/)
  words[3] = 1
  const users = Array.from({ length: slotsMax - 1 }, () => SharedHeap.from(heap.buffer))
  throwsCode(t, () => SharedHeap.from(heap.buffer), 'ERR_TESSALLOC_FULL', /at most 63 users at a time/)
  for (const user of users) user.dispose()
})

test('a block written to after it was freed is noticed', (t) => {
  using heap = new SharedHeap()
  const [one, two] = [heap.alloc(64), heap.alloc(64)]
  heap.free(one)
  heap.free(two)
  new Int32Array(heap.buffer)[two >>> 2] = 12_345
  heap.alloc(64)
  throwsCode(t, () => heap.alloc(64), 'ERR_TESSALLOC_CORRUPT', /written to after it was freed$/)
  t.is(heap.usableSize(heap.alloc(64)), 64, 'the heap goes on')
})

test('check: an invariant that is broken is told', (t) => {
  using heap = new SharedHeap()
  const block = heap.alloc(64)
  heap.free(block)
  new Uint32Array(heap.buffer)[headAt(3) * 2] = block << 2
  t.regex(heap.check().faults.join(), /^S8: block \d+ in .* is in .* too/)
})

test('reap: not this thread, nor one that has ended already, and nothing for one without a slot', (t) => {
  using heap = new SharedHeap()
  throwsCode(t, () => heap.reap(0.5), 'ERR_TESSALLOC_INVALID_SIZE', /received 0.5$/)
  throwsCode(t, () => heap.reap(threadId), 'ERR_TESSALLOC_INVALID_SIZE', /which is this one$/)
  t.throws(() => heap.reapOnExit({ threadId: -1 } as Worker), { code: 'ERR_TESSALLOC_INVALID_SIZE' })
  t.deepEqual(heap.reap(123_456), { workers: 0, blocks: 0, inFlight: 0, pages: 0 })
})

test('allocAt: a heap that is disposed in its init has the block back', (t) => {
  using heap = new SharedHeap()
  const user = SharedHeap.from(heap.buffer)
  const cell = heap.roots.cell('cell')
  throwsCode(t, () => user.allocAt(cell, 64, () => user.dispose()), 'ERR_TESSALLOC_DISPOSED', /was disposed$/)
  t.is(heap.roots.get('cell'), 0)
  t.is(heap.stats().allocatedBlocks, 1, 'the name')
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})

test('a large block gets the pages at the end of the heap, and those it grows by', (t) => {
  using heap = new SharedHeap({ bytes: 5 * pageBytes, maxBytes: 9 * pageBytes })
  const block = heap.alloc(8 * pageBytes - pageHeadBytes)
  t.true(heap.holds(block))
  heap.free(block)
  t.false(heap.holds(block))
})

test('structs and roots of a disposed heap say so', (t) => {
  const heap = new SharedHeap()
  const { x } = heap.struct(defineStruct({ x: 'u32' }))
  const block = heap.alloc(64)
  const { roots } = heap
  heap.dispose()
  const calls: (() => unknown)[] = [
    () => heap.alloc(100_000),
    () => heap.free(0),
    () => heap.writeString('text', block),
    () => x.get(block),
    () => x.add(block, 1),
    () => roots.get('a'),
    () => roots.set('a', 0),
    () => roots.compareExchange('a', 0, 0),
    () => roots.cell('a'),
    () => roots.names(),
  ]
  for (const call of calls) throwsCode(t, call, 'ERR_TESSALLOC_DISPOSED', /the heap was disposed$/)
})
