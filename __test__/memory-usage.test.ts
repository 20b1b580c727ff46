import test from 'ava'
import { type MemoryUsage, memoryUsage, memoryUsageFields } from '../src/index.ts'
import { evaluate } from './helpers.ts'

const mib = 2 ** 20

test('memory_usage_on_glibc_reports_mallinfo', (t) => {
  const usage = memoryUsage()
  t.true(usage.rss > 10 * mib)
  t.true(usage.allocated > 0 && usage.allocated <= usage.committed)
  t.true(usage.retained >= 0 && usage.retained < usage.mapped)
  // glibc does not tell these.
  t.deepEqual([usage.metadata, usage.peakCommitted, usage.purged], [Number.NaN, Number.NaN, Number.NaN])
})

const grow = `
  import { memoryUsage } from 'tessalloc'
  const before = memoryUsage()
  const kept = Array.from({ length: 64 }, () => Buffer.allocUnsafeSlow(${mib}).fill(1))
  const after = memoryUsage()
  console.log(JSON.stringify({ before, after, count: kept.length }))`

for (const preload of [true, false]) {
  test(`memory_usage_sees_64_mib_of_buffers_${preload ? 'under_preload' : 'on_glibc'}`, async (t) => {
    const { before, after } = await evaluate<{ before: MemoryUsage; after: MemoryUsage }>(grow, { preload })
    // Buffers may be made of memory that was free before, and V8 allocates a little besides.
    t.true(after.allocated - before.allocated >= 64 * mib, `${after.allocated - before.allocated}`)
    t.true(after.allocated - before.allocated <= 80 * mib, `${after.allocated - before.allocated}`)
    t.true(after.rss - before.rss >= 60 * mib, `${after.rss - before.rss}`)
  })
}

test('memory_usage_under_preload_adds_up', async (t) => {
  const { after } = await evaluate<{ after: MemoryUsage }>(grow, { preload: true })
  for (const [name, value] of Object.entries(after)) t.true(Number.isFinite(value) && value >= 0, `${name} is ${value}`)
  t.true(after.allocated <= after.committed)
  t.true(after.committed <= after.peakCommitted)
  t.true(after.committed <= after.mapped)
  t.is(after.retained, after.committed - after.allocated)
})

test('memory_usage_fast_writes_the_fields_in_order', (t) => {
  const out = new Float64Array(memoryUsageFields.length + 1).fill(-1)
  t.is(memoryUsage.fast(out), out)
  const usage = memoryUsage()
  t.is(out[memoryUsageFields.indexOf('mapped')], usage.mapped)
  t.is(out[memoryUsageFields.indexOf('purged')], Number.NaN)
  t.is(out[memoryUsageFields.length], -1, 'what is behind the fields stays')
})

test('memory_usage_fast_refuses_what_it_cannot_fill', (t) => {
  t.throws(() => memoryUsage.fast(new Float64Array(6)), {
    instanceOf: RangeError,
    message: /must hold 7 numbers, received 6/,
  })
  t.throws(() => memoryUsage.fast([] as unknown as Float64Array), { instanceOf: TypeError, message: /Float64Array/ })
})
