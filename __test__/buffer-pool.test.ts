import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { BufferPool, TessallocError } from '../src/index.ts'

const mib = 2 ** 20

test('a released buffer is handed out again, as long as asked for', (t) => {
  using pool = new BufferPool()
  const first = pool.acquire(65_536)
  t.is(first.length, 65_536)
  pool.release(first)
  t.is(pool.acquire(65_536), first)
  const second = pool.acquire(60_000)
  t.is(second.length, 60_000)
  pool.release(second)
  // Of the same class, and so in the same memory.
  const third = pool.acquire(60_001)
  t.is(third.length, 60_001)
  t.is(third.buffer, second.buffer)
})

test('a buffer has its memory for itself', (t) => {
  using pool = new BufferPool()
  const buffers = [pool.acquire(1), pool.acquire(100), pool.acquire(100)]
  t.is(new Set(buffers.map(({ buffer }) => buffer)).size, 3)
  t.true(buffers.every((buffer) => buffer.byteOffset === 0 && buffer.buffer.byteLength < buffer.length + 16))
})

type Step =
  | { readonly do: 'acquire'; readonly bytes: number }
  | { readonly do: 'release' | 'again'; readonly which: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('acquire'), bytes: fc.integer({ min: 1, max: 300 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('acquire'), bytes: fc.integer({ min: 1, max: 200_000 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release'), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('again'), which: fc.nat() }) },
) as fc.Arbitrary<Step>

test('a pool keeps its promises under random use', (t) => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 150 }),
      fc.boolean(),
      fc.integer({ min: 0, max: 300_000 }),
      (steps, zero, cap) => {
        using pool = new BufferPool({ zeroOnRelease: zero, maxIdleBytes: cap })
        // The naive pool: what is out, each filled with a byte of its own, and what came back.
        const out: { buffer: Buffer; fill: number }[] = []
        const back = new Set<Buffer>()
        let acquired = 0
        for (const each of steps) {
          if (each.do === 'acquire') {
            const buffer = pool.acquire(each.bytes)
            if (buffer.length !== each.bytes) throw new Error(`${each.bytes} wanted, ${buffer.length} received`)
            if (zero && buffer.some((byte) => byte !== 0)) throw new Error('a buffer that is not zero')
            if (out.some((other) => other.buffer.buffer === buffer.buffer)) throw new Error('memory handed out twice')
            const fill = 1 + (acquired++ % 255)
            out.push({ buffer: buffer.fill(fill), fill })
            back.delete(buffer)
          } else if (each.do === 'release' && out.length > 0) {
            const [taken] = out.splice(each.which % out.length, 1)
            if (taken === undefined) continue
            pool.release(taken.buffer)
            back.add(taken.buffer)
          } else if (each.do === 'again' && back.size > 0) {
            const buffer = [...back][each.which % back.size] as Buffer
            const code = codeOf(() => pool.release(buffer))
            if (code !== 'ERR_TESSALLOC_DOUBLE_FREE') throw new Error(`second release: ${code}`)
          }
          for (const { buffer, fill } of out) {
            if (buffer.some((byte) => byte !== fill)) throw new Error('somebody wrote to a buffer that is out')
          }
          const stats = pool.stats()
          if (stats.idleBytes > cap) throw new Error(`${stats.idleBytes} bytes idle`)
          if (stats.acquired - stats.released !== out.length)
            throw new Error(`${JSON.stringify(stats)}: ${out.length} are out`)
          if (stats.made - stats.dropped !== out.length + stats.idleBuffers)
            throw new Error(`lost: ${JSON.stringify(stats)}`)
        }
      },
    ),
    { numRuns: 200 },
  )
  t.pass()
})

function codeOf(call: () => unknown): string | undefined {
  try {
    call()
  } catch (error) {
    return (error as TessallocError).code
  }
  return undefined
}

test('what is not of the pool is refused', (t) => {
  using pool = new BufferPool({ name: 'mine' })
  using other = new BufferPool()
  const lent = pool.acquire(100)
  const foreign = [
    Buffer.alloc(100),
    other.acquire(100),
    lent.subarray(0, 50),
    lent.buffer,
    new Uint8Array(8),
    null,
    undefined,
    7,
  ]
  for (const each of foreign) {
    const error = t.throws(() => pool.release(each as Buffer), {
      instanceOf: TessallocError,
      code: 'ERR_TESSALLOC_NOT_OWNED',
    })
    t.regex(error?.message ?? '', /Cannot release to mine: expected a buffer that it handed out, received /)
  }
  t.notThrows(() => pool.release(lent))
  // Once it stands for other bytes, the shorter view is a stale one.
  pool.acquire(99)
  t.throws(() => pool.release(lent), { code: 'ERR_TESSALLOC_DOUBLE_FREE' })
})

test('a lease releases once, and notices that somebody else did', (t) => {
  using pool = new BufferPool()
  let buffer: Buffer
  {
    using lease = pool.lease(1000)
    buffer = lease.buffer
    t.is(pool.stats().acquired - pool.stats().released, 1)
  }
  t.is(pool.stats().idleBuffers, 1)
  const lease = pool.lease(1000)
  t.is(lease.buffer, buffer)
  lease[Symbol.dispose]()
  t.notThrows(() => lease[Symbol.dispose]())
  const early = pool.lease(1000)
  pool.release(early.buffer)
  const next = pool.acquire(1000)
  t.is(next, early.buffer)
  // Else it would take the buffer from under the next one.
  t.throws(() => early[Symbol.dispose](), { code: 'ERR_TESSALLOC_DOUBLE_FREE' })
  pool.release(next)
})

test('beyond its cap a pool keeps nothing', (t) => {
  using pool = new BufferPool({ maxIdleBytes: 3 * mib })
  const buffers = Array.from({ length: 5 }, () => pool.acquire(mib))
  for (const buffer of buffers) pool.release(buffer)
  t.is(pool.stats().idleBytes, 3 * mib)
  t.is(pool.stats().dropped, 2)
  // Who still holds one that went back finds it empty, and never somebody else's bytes.
  t.deepEqual(
    buffers.map(({ length }) => length),
    [mib, mib, mib, 0, 0],
  )
  t.is(pool.trim(), 3 * mib)
  t.is(pool.stats().idleBytes, 0)
  t.true(buffers.every(({ length }) => length === 0))
})

test('idle buffers go back after a while, those in use again and again stay', async (t) => {
  using pool = new BufferPool({ idleMs: 60 })
  const many = Array.from({ length: 10 }, () => pool.acquire(4096))
  for (const buffer of many) pool.release(buffer)
  t.is(pool.stats().idleBuffers, 10)
  let kept: Buffer | undefined
  for (let round = 0; round < 40 && pool.stats().idleBuffers > 2; round++) {
    const [first, second] = [pool.acquire(4096), pool.acquire(4096)]
    kept = first
    pool.release(second)
    pool.release(first)
    await sleep(10)
  }
  t.is(pool.stats().idleBuffers, 2)
  t.is(kept?.length, 4096)
  for (let round = 0; round < 100 && pool.stats().idleBuffers > 0; round++) await sleep(10)
  t.is(pool.stats().idleBuffers, 0)
  t.is(pool.stats().idleBytes, 0)
  // It starts to look again when there is something to look for.
  pool.release(pool.acquire(10))
  for (let round = 0; round < 100 && pool.stats().idleBuffers > 0; round++) await sleep(10)
  t.is(pool.stats().idleBuffers, 0)
})

test('a buffer that was transferred away is let go', (t) => {
  using pool = new BufferPool()
  const buffer = pool.acquire(4096)
  structuredClone(buffer.buffer, { transfer: [buffer.buffer as ArrayBuffer] })
  pool.release(buffer)
  t.is(pool.stats().idleBuffers, 0)
  t.is(pool.acquire(4096).length, 4096)
})

test('a buffer too large for a size class is made, and not kept', (t) => {
  using pool = new BufferPool({ maxIdleBytes: 2 ** 40 })
  const large = pool.acquire(2 ** 30 + 1)
  t.is(large.length, 2 ** 30 + 1)
  pool.release(large)
  t.is(large.length, 0)
  t.is(pool.stats().idleBytes, 0)
  t.throws(() => pool.acquire(2 ** 50), { instanceOf: TessallocError, code: 'ERR_TESSALLOC_OUT_OF_MEMORY' })
})

test('bad sizes and options are refused', (t) => {
  using pool = new BufferPool()
  for (const bad of [0, -1, 1.5, Number.NaN, '10', undefined] as number[]) {
    t.throws(() => pool.acquire(bad), { code: 'ERR_TESSALLOC_INVALID_SIZE' })
    t.throws(() => pool.lease(bad), { code: 'ERR_TESSALLOC_INVALID_SIZE' })
  }
  t.is(pool.stats().made, 0)
  t.throws(() => new BufferPool({ maxIdleBytes: -1 }), { code: 'ERR_TESSALLOC_INVALID_SIZE' })
  t.throws(() => new BufferPool({ idleMs: 2 ** 31 }), { code: 'ERR_TESSALLOC_INVALID_SIZE' })
  t.throws(() => new BufferPool({ zeroOnRelease: 1 as unknown as boolean }), { code: 'ERR_TESSALLOC_INVALID_OPTION' })
  t.throws(() => new BufferPool({ name: 5 as never }), { code: 'ERR_TESSALLOC_INVALID_OPTION' })
  t.throws(() => new BufferPool(null as never), { code: 'ERR_TESSALLOC_INVALID_OPTION' })
})

test('what is out when the pool is disposed stays whole and can still be released', (t) => {
  const pool = new BufferPool()
  const out = pool.acquire(100).fill(3)
  const idle = pool.acquire(5000)
  pool.release(idle)
  pool.dispose()
  t.true(pool.disposed)
  t.is(idle.length, 0)
  t.true(out.every((byte) => byte === 3) && out.length === 100)
  pool.release(out)
  t.is(out.length, 0)
  t.throws(() => pool.release(out), { code: 'ERR_TESSALLOC_DOUBLE_FREE' })
})
