import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import test from 'ava'
import fc from 'fast-check'
import { Arena, type ArenaEvent, type ArenaMark, type ArenaOptions, TessallocError } from '../src/index.ts'
import { closeSlab, openSlab } from '../src/slab.ts'

const backings = ['native', 'js', 'shared'] as const
const fails = (code: TessallocError['code'], message?: RegExp) => ({
  instanceOf: TessallocError,
  code,
  ...(message ? { message } : {}),
})

for (const backing of backings) {
  test(`${backing}_arena_hands_out_views_of_one_slab`, (t) => {
    const arena = new Arena({ capacity: 4096, backing })
    t.is(arena.backing, backing)
    const first = arena.alloc(10).fill(1)
    const second = arena.alloc(10).fill(2)
    t.is(first.buffer, arena.buffer)
    t.deepEqual([first.byteOffset, second.byteOffset, arena.used], [0, 16, 26])
    t.true(first.every((byte) => byte === 1))
    t.is(arena.allocBuffer(5).toString('latin1'), '\0\0\0\0\0')
    t.is(arena.buffer instanceof SharedArrayBuffer, backing === 'shared')
    arena.dispose()
  })

  test(`${backing}_arena_keeps_its_promises_under_random_use`, (t) => {
    fc.assert(
      fc.property(optionsOf(backing), fc.array(step, { maxLength: 80 }), (options, steps) => {
        using arena = new Arena(options)
        replay(arena, options, steps)
      }),
      { numRuns: 150 },
    )
    t.pass()
  })
}

type Step =
  | { readonly do: 'alloc'; readonly bytes: number; readonly align: number }
  | { readonly do: 'float64'; readonly count: number }
  | { readonly do: 'mark' | 'reset' }
  | { readonly do: 'rewind'; readonly which: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('alloc'), bytes: fc.nat(3000), align: powers(12) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('float64'), count: fc.nat(200) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('mark') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('rewind'), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reset') }) },
) as fc.Arbitrary<Step>

function powers(most: number): fc.Arbitrary<number> {
  return fc.nat(most).map((power) => 2 ** power)
}

function optionsOf(backing: ArenaOptions['backing']): fc.Arbitrary<Required<ArenaOptions>> {
  return fc.record({
    capacity: fc.integer({ min: 1, max: 20_000 }),
    maxCapacity: fc.integer({ min: 20_000, max: 400_000 }),
    backing: fc.constant(backing ?? 'native'),
    zero: fc.boolean(),
    detachOnReset: backing === 'shared' ? fc.constant(false) : fc.boolean(),
    name: fc.constant('tried'),
  })
}

/** The naive arena: a list of the blocks in use, each with the byte it is filled with, and marks as lengths of that list. */
function replay(arena: Arena, options: Required<ArenaOptions>, steps: readonly Step[]): void {
  let blocks: { start: number; view: Uint8Array; fill: number }[] = []
  let marks: { mark: ArenaMark; blocks: number; used: number }[] = []
  let stale: ArenaMark[] = []
  let used = 0
  let rounds = 0
  const take = (bytes: number, align: number, from: () => Uint8Array) => {
    // Where the next block starts, found by trying.
    let start = used
    while (start % align !== 0) start++
    if (start + bytes > options.maxCapacity) {
      throws(from, 'ERR_TESSALLOC_OUT_OF_MEMORY')
      return
    }
    const view = from()
    same('offset', view.byteOffset, start)
    same('length', view.byteLength, bytes)
    if (options.zero)
      same(
        'bytes that are not zero',
        view.findIndex((byte) => byte !== 0),
        -1,
      )
    const fill = 1 + ((blocks.length + rounds) % 255)
    view.fill(fill)
    blocks.push({ start, view, fill })
    used = start + bytes
  }
  for (const each of steps) {
    if (each.do === 'alloc') take(each.bytes, each.align, () => arena.alloc(each.bytes, each.align))
    if (each.do === 'float64') {
      take(each.count * 8, 8, () => {
        const { buffer, byteOffset, byteLength } = arena.float64(each.count)
        return new Uint8Array(buffer, byteOffset, byteLength)
      })
    }
    if (each.do === 'mark') marks.push({ mark: arena.mark(), blocks: blocks.length, used })
    if (each.do === 'reset') {
      arena.reset()
      rounds++
      stale = [...stale, ...marks.map(({ mark }) => mark)]
      for (const { view } of blocks) if (options.detachOnReset) same('length after reset', view.length, 0)
      blocks = []
      marks = []
      used = 0
      same('capacity after reset', arena.capacity, options.capacity)
    }
    if (each.do === 'rewind') {
      const to = marks[each.which % Math.max(1, marks.length)]
      if (to) {
        arena.rewind(to.mark)
        blocks = blocks.slice(0, to.blocks)
        // Marks of the same place are one mark: those of later places are stale.
        stale = [...stale, ...marks.filter((mark) => mark.used > to.used).map(({ mark }) => mark)]
        marks = marks.filter((mark) => mark.used <= to.used)
        used = to.used
      }
    }
    same('used', arena.used, used)
    same('generation', arena.generation, rounds)
    if (arena.capacity < used || arena.capacity > options.maxCapacity) throw new Error(`capacity ${arena.capacity}`)
    for (const { view, fill } of blocks)
      same(
        'a byte of a block',
        view.findIndex((byte) => byte !== fill),
        -1,
      )
    for (const mark of stale) throws(() => arena.rewind(mark), 'ERR_TESSALLOC_STALE_MARK')
  }
}

function same(what: string, received: unknown, expected: unknown): void {
  if (!Object.is(received, expected)) throw new Error(`${what}: expected ${expected}, received ${received}`)
}

function throws(call: () => unknown, code: TessallocError['code']): void {
  try {
    call()
  } catch (error) {
    same('code', (error as TessallocError).code, code)
    return
  }
  throw new Error(`expected ${code}, nothing was thrown`)
}

test('typed views lie at multiples of their items and span the slab', (t) => {
  using arena = new Arena({ capacity: 65_536, backing: 'js' })
  const kinds = [
    'int8',
    'uint8',
    'int16',
    'uint16',
    'int32',
    'uint32',
    'float32',
    'float64',
    'bigInt64',
    'bigUint64',
  ] as const
  const types = [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array]
  for (const [at, kind] of kinds.entries()) {
    const before = arena.uint8(1).byteOffset
    const view = arena[kind](7)
    const Type = [...types, BigInt64Array, BigUint64Array][at]
    t.true(Type !== undefined && view instanceof Type, kind)
    t.is(view.length, 7)
    t.is(view.byteOffset % view.BYTES_PER_ELEMENT, 0)
    t.true(view.byteOffset > before && view.byteOffset <= before + view.BYTES_PER_ELEMENT, kind)
    t.is(arena.used, view.byteOffset + view.byteLength)
    t.is(arena[kind](0).length, 0)
  }
})

test('offsets stay right above 4 GiB', (t) => {
  // Nothing is touched, so nothing is in RAM.
  using arena = new Arena({ capacity: 2 ** 20, maxCapacity: 6 * 2 ** 30, backing: 'native' })
  t.is(arena.allocOffset(2 ** 32 + 1), 0)
  t.is(arena.allocOffset(3), 2 ** 32 + 8)
  t.is(arena.allocOffset(1, 4096), 2 ** 32 + 4096)
  t.is(arena.allocOffset(2 ** 30 + 2, 1), 2 ** 32 + 4097)
})

for (const [name, value] of [
  ['negative', -1],
  ['fraction', 1.5],
  ['NaN', Number.NaN],
  ['infinite', Number.POSITIVE_INFINITY],
  ['text', '16'],
  ['nothing', undefined],
  ['null', null],
] as const) {
  test(`a size that is ${name} is refused and changes nothing`, (t) => {
    using arena = new Arena(1024)
    const bad = value as number
    for (const call of [
      () => arena.allocOffset(bad),
      () => arena.alloc(bad),
      () => arena.allocBuffer(bad),
      () => arena.float64(bad),
      () => arena.uint8(bad),
      () => new Arena(bad),
      () => new Arena({ capacity: 10, maxCapacity: bad === undefined ? 9 : bad }),
      // The default stands for `undefined`.
      () => arena.alloc(8, value === undefined ? 0 : bad),
    ]) {
      const error = t.throws(call, { instanceOf: TessallocError })
      t.true(['ERR_TESSALLOC_INVALID_SIZE', 'ERR_TESSALLOC_INVALID_OPTION'].includes(error.code), error.message)
      t.regex(error.message, /^Cannot \w.*: .* must be .*, received /)
    }
    t.is(arena.used, 0)
  })
}

test('alignments that are no power of two are refused', (t) => {
  using arena = new Arena(1024)
  for (const align of [0, 3, 12, -8, 0.5, 1.5, 2 ** 31, 2 ** 33]) {
    t.throws(() => arena.allocOffset(1, align), fails('ERR_TESSALLOC_INVALID_SIZE', /align must be a power of two/))
  }
  t.is(arena.allocOffset(1), 0)
})

test('bad options are refused', (t) => {
  const refused = fails('ERR_TESSALLOC_INVALID_OPTION')
  t.throws(() => new Arena({ capacity: 1, backing: 'disk' as 'js' }), refused)
  t.throws(() => new Arena({ capacity: 1, backing: 'shared', detachOnReset: true }), refused)
  t.throws(() => new Arena('big' as unknown as number), refused)
  for (const option of [{ zero: 'yes' }, { detachOnReset: 1 }, { name: 5 }]) {
    t.throws(() => new Arena({ capacity: 1, ...(option as object) }), refused, Object.keys(option)[0])
  }
})

test('an arena that is full says how much was left, and still serves less', (t) => {
  using arena = new Arena({ capacity: 100, name: 'frame' })
  arena.alloc(60)
  t.throws(
    () => arena.alloc(41),
    fails('ERR_TESSALLOC_OUT_OF_MEMORY', /frame: 41 bytes at align 8 wanted, 36 of 100 left/),
  )
  t.is(arena.alloc(36).byteOffset, 64)
})

test('a slab that the system has no memory for is refused', (t) => {
  for (const backing of backings) {
    t.throws(() => new Arena({ capacity: 2 ** 50, backing }), fails('ERR_TESSALLOC_OUT_OF_MEMORY'))
  }
})

test('an arena grows by doubling, and reset brings it back', (t) => {
  using arena = new Arena({ capacity: 1000, maxCapacity: 1_000_000 })
  arena.alloc(1001)
  t.is(arena.capacity, 2000)
  arena.alloc(500_000)
  t.is(arena.capacity, 501_008)
  arena.alloc(1)
  t.is(arena.capacity, 1_000_000)
  arena.reset()
  t.is(arena.capacity, 1000)
  t.is(arena.generation, 1)
})

for (const backing of backings) {
  for (const [capacity, grown] of [
    [5000, 300_001],
    [65_536, 999_999],
    [4096, 1_000_000],
  ] as const) {
    test(`zero_${backing}_arena_of_${capacity}_that_grew_to_${grown}_reads_zero_again`, (t) => {
      using arena = new Arena({ capacity, maxCapacity: 1_000_000, zero: true, backing })
      arena.alloc(grown).fill(1)
      arena.reset()
      t.is(
        arena.alloc(1_000_000).findIndex((byte) => byte !== 0),
        -1,
      )
    })
  }
}

test('using a mark rewinds at the end of the block, also of marks that others passed', (t) => {
  using arena = new Arena(1024)
  arena.alloc(8)
  {
    using outer = arena.mark()
    arena.alloc(8)
    using _inner = arena.mark()
    arena.alloc(8)
    arena.rewind(outer)
    t.is(arena.used, 8)
    arena.alloc(100)
  }
  t.is(arena.used, 8)
})

test('marks of others are refused', (t) => {
  using arena = new Arena(64)
  using other = new Arena(64)
  t.throws(() => arena.rewind(other.mark()), fails('ERR_TESSALLOC_NOT_OWNED'))
  t.throws(() => arena.rewind({ used: 0 } as ArenaMark), fails('ERR_TESSALLOC_NOT_OWNED'))
  t.throws(() => arena.rewind(8 as unknown as ArenaMark), fails('ERR_TESSALLOC_NOT_OWNED'))
})

test('a loop of mark and rewind keeps one mark', (t) => {
  using arena = new Arena(64)
  const first = arena.mark()
  for (let round = 0; round < 100; round++) {
    const mark = arena.mark()
    t.is(mark, first)
    arena.alloc(8)
    arena.rewind(mark)
  }
})

for (const backing of ['native', 'js'] as const) {
  test(`disposing a ${backing} arena detaches every view, and once is enough`, (t) => {
    const arena = new Arena({ capacity: 4096, backing })
    const views = [arena.alloc(10), arena.allocBuffer(10), arena.float64(10), new DataView(arena.buffer as ArrayBuffer)]
    t.false(arena.disposed)
    arena.dispose()
    arena[Symbol.dispose]()
    t.true(arena.disposed)
    for (const view of views.slice(0, 3)) t.is(view?.byteLength, 0)
    t.throws(() => (views[3] as DataView).getInt8(0), { instanceOf: TypeError })
  })
}

test('views of a shared arena outlive it', (t) => {
  const arena = new Arena({ capacity: 4096, backing: 'shared' })
  const view = arena.alloc(4).fill(7)
  arena.dispose()
  t.deepEqual([...view], [7, 7, 7, 7])
})

test('a slab is of JavaScript where external buffers are refused or there is no binding', (t) => {
  const refuses = { newSlab: () => null }
  for (const native of [refuses, null]) {
    const { backing, buffer } = openSlab('test', 100, 'native', native)
    t.is(backing, 'js')
    t.is(buffer.byteLength, 100)
    closeSlab(buffer, null)
    t.is(buffer.byteLength, 0)
    closeSlab(buffer, null)
  }
})

test('channels tell of arenas that are made and disposed', (t) => {
  const events: [string, ArenaEvent][] = []
  const hear = (message: unknown, name: string | symbol) => events.push([String(name), message as ArenaEvent])
  const names = ['tessalloc:arena.create', 'tessalloc:arena.dispose'] as const
  for (const name of names) subscribe(name, hear)
  t.teardown(() => names.map((name) => unsubscribe(name, hear)))
  const arena = new Arena({ capacity: 100, maxCapacity: 1000, backing: 'js', name: 'rows' })
  const made = { arena, name: 'rows', backing: 'js', maxCapacity: 1000, capacity: 100, used: 0, generation: 0 }
  t.deepEqual(events, [['tessalloc:arena.create', made]])
  arena.reset()
  arena.alloc(150)
  arena.dispose()
  arena.dispose()
  t.deepEqual(events.slice(1), [['tessalloc:arena.dispose', { ...made, capacity: 200, used: 150, generation: 1 }]])
  t.throws(() => new Arena({ capacity: 2 ** 40, backing: 'js' }), fails('ERR_TESSALLOC_OUT_OF_MEMORY'))
  t.is(events.length, 2)
})

test('a subscriber hears of an arena that is disposed already, and nobody hears once they have gone', (t) => {
  const events: ArenaEvent[] = []
  const hear = (message: unknown) => {
    const event = message as ArenaEvent
    t.true(event.arena.disposed)
    event.arena.dispose()
    events.push(event)
  }
  subscribe('tessalloc:arena.dispose', hear)
  new Arena(64).dispose()
  {
    using _arena = new Arena(64)
  }
  t.true(unsubscribe('tessalloc:arena.dispose', hear))
  new Arena(64).dispose()
  t.is(events.length, 2)
})
