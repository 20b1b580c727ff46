import test from 'ava'
import { parseSmaps } from '../src/cli/smaps.ts'
import { type MemoryUsage, memoryUsage, memoryUsageIndex, memoryUsageLength } from '../src/index.ts'
import { evaluate } from './helpers.ts'

const mib = 2 ** 20

test('memory_usage_on_glibc_reports_mallinfo', (t) => {
  const usage = memoryUsage()
  t.true(usage.rss > 10 * mib)
  t.true(usage.allocated > 0 && usage.allocated <= usage.committed)
  t.true(usage.retained >= 0 && usage.retained < usage.mapped)
  t.is(usage.resident, usage.mapped)
  // glibc does not tell these.
  t.deepEqual([usage.metadata, usage.peakCommitted, usage.purged], [Number.NaN, Number.NaN, Number.NaN])
})

for (const preload of [true, false]) {
  test(`memory_usage_is_split_into_parts_${preload ? 'under_preload' : 'on_glibc'}`, async (t) => {
    const { usage, with: more } = await evaluate<{ usage: MemoryUsage; with: MemoryUsage }>(
      `import { Arena, memoryUsage } from 'tessalloc'
       const usage = memoryUsage()
       const arena = new Arena(${64 * mib})
       arena.alloc(${64 * mib}).fill(1)
       console.log(JSON.stringify({ usage, with: memoryUsage(), used: arena.used }))`,
      { preload },
    )
    t.is(usage.jsHeap + usage.resident + usage.addon + usage.other, usage.rss)
    t.true(usage.jsHeap > mib && usage.other > mib, JSON.stringify(usage))
    const grown = preload ? more.resident - usage.resident : more.addon - usage.addon
    // What was freed while Node started may go back meanwhile.
    t.true(grown >= 44 * mib && grown < 68 * mib, `${grown}`)
    t.is(preload ? more.addon : more.resident > 0, preload ? 0 : true)
  })
}

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
    t.true(after.allocated - before.allocated >= 48 * mib, `${after.allocated - before.allocated}`)
    t.true(after.allocated - before.allocated <= 80 * mib, `${after.allocated - before.allocated}`)
    t.true(after.rss - before.rss >= 40 * mib, `${after.rss - before.rss}`)
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

// Ours are anonymous, without swap reserved and without huge pages; newer kernels also show their names.
function residentOfOurs(smaps: string): number {
  const isOurs = ({ path, flags }: { path: string; flags: ReadonlySet<string> }) =>
    path.startsWith('[anon:tessalloc') || (path === '' && flags.has('nr') && flags.has('nh') && !flags.has('dc'))
  return parseSmaps(smaps)
    .filter(isOurs)
    .reduce((sum, mapping) => sum + mapping.rss, 0)
}

// Of each kind of work that Node does in native memory: nothing, a little, much, and what is left of much.
const programs = {
  that_has_just_begun: { work: '', leastMib: 2 },
  with_a_few_buffers: {
    work: `for (let i = 0; i < 20; i++) kept.push(Buffer.allocUnsafeSlow(100_000).fill(i), Buffer.alloc(3000))`,
    leastMib: 4,
  },
  with_many_buffers: {
    work: `for (let i = 0; i < 60_000; i++) kept.push(Buffer.allocUnsafeSlow(100 + (i % 37) * 120).fill(i))
     for (let i = 0; i < 100; i++) kept.push(Buffer.allocUnsafeSlow((1 + i % 9) << 16).fill(i))
     for (let i = 0; i < 20; i++) kept.push(gzipSync(kept[i % kept.length]))`,
    leastMib: 150,
  },
  that_had_many_buffers: {
    work: `let many = Array.from({ length: 30_000 }, (_, i) => Buffer.allocUnsafeSlow(100 + (i % 37) * 120).fill(i))
     kept.push(...many.filter((_, i) => i % 50 === 0))
     many = null
     gc()
     await new Promise((resolve) => setTimeout(resolve, 10))
     purge()`,
    leastMib: 4,
  },
}

for (const [name, { work, leastMib }] of Object.entries(programs)) {
  test(`memory_usage_tells_what_is_resident_within_5_percent_of_smaps_in_a_program_${name}`, async (t) => {
    const { smaps, usage } = await evaluate<{ smaps: string; usage: MemoryUsage }>(
      `import { readFileSync } from 'node:fs'
     import { setFlagsFromString } from 'node:v8'
     import { gzipSync } from 'node:zlib'
     import { memoryUsage, purge } from 'tessalloc'
     import { runInNewContext } from 'node:vm'
     setFlagsFromString('--expose-gc')
     const gc = runInNewContext('gc')
     const kept = []
     ${work}
     memoryUsage()
     const usage = memoryUsage()
     console.log(JSON.stringify({ usage, smaps: readFileSync('/proc/self/smaps', 'utf8'), count: kept.length }))`,
      { preload: true },
    )
    const rss = residentOfOurs(smaps)
    t.true(rss > leastMib * mib, `${rss}`)
    t.true(Math.abs(usage.resident - rss) <= rss * 0.05, `told ${usage.resident / mib}, resident ${rss / mib} MiB`)
  })
}

test('memory_usage_fast_writes_the_counters_of_tessalloc_at_their_places', async (t) => {
  const out = new Float64Array(memoryUsageLength + 1).fill(-1)
  t.is(memoryUsage.fast(out), out)
  t.is(out[memoryUsageLength], -1, 'what is behind the figures stays')
  for (const place of Object.values(memoryUsageIndex)) t.true(Number.isFinite(out[place]) && Number(out[place]) >= 0)
  const { figures, usage } = await evaluate<{ figures: Record<string, number>; usage: MemoryUsage }>(
    `import { memoryUsage, memoryUsageIndex, memoryUsageLength } from 'tessalloc'
     const kept = Buffer.allocUnsafeSlow(${16 * mib}).fill(1)
     const read = () => memoryUsage.fast(new Float64Array(memoryUsageLength))
     let before, usage, out
     // Other threads may allocate, or memory go back, in between.
     do { before = read(); usage = memoryUsage(); out = read() } while (String(before) !== String(out))
     const figures = Object.fromEntries(Object.entries(memoryUsageIndex).map(([name, at]) => [name, out[at]]))
     console.log(JSON.stringify({ figures, usage, length: kept.length }))`,
    { preload: true },
  )
  const { threads = 0, ...rest } = figures
  t.true(threads >= 2, 'the main thread, and those of V8 or libuv')
  for (const [name, value] of Object.entries(rest)) t.is(usage[name as keyof MemoryUsage], value, name)
})

// Minima of short rounds; the bars are 400 ns and 50 µs, which a loaded machine reaches in some round.
test('memory_usage_is_cheap', async (t) => {
  const { fast, full } = await evaluate<{ fast: number; full: number }>(
    `import { memoryUsage, memoryUsageLength } from 'tessalloc'
     const out = new Float64Array(memoryUsageLength)
     function leastNs(run, times) {
       let least = Infinity
       for (let round = 0; round < 100; round++) {
         const start = process.hrtime.bigint()
         for (let i = 0; i < times; i++) run()
         least = Math.min(least, Number(process.hrtime.bigint() - start) / times)
       }
       return least
     }
     console.log(JSON.stringify({ fast: leastNs(() => memoryUsage.fast(out), 1000), full: leastNs(memoryUsage, 20) }))`,
    { preload: true },
  )
  t.log(`fast ${fast.toFixed(0)} ns, full ${(full / 1000).toFixed(1)} µs`)
  t.true(fast <= 400, `${fast} ns`)
  t.true(full <= 50_000, `${full} ns`)
})

test('memory_usage_fast_refuses_what_it_cannot_fill', (t) => {
  t.throws(() => memoryUsage.fast(new Float64Array(8)), {
    instanceOf: RangeError,
    message: /must hold 9 numbers, received 8/,
  })
  t.throws(() => memoryUsage.fast([] as unknown as Float64Array), { instanceOf: TypeError, message: /Float64Array/ })
})
