import type { Attributes } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import test from 'ava'
import { Registry } from 'prom-client'
import { Heap, memoryUsage, memoryUsageIndex, memoryUsageLength, openTelemetry, prometheus } from '../src/index.ts'
import { evaluate } from './helpers.ts'

const names = [
  'tessalloc_mapped_bytes',
  'tessalloc_committed_bytes',
  'tessalloc_resident_bytes',
  'tessalloc_allocated_bytes',
  'tessalloc_retained_bytes',
  'tessalloc_metadata_bytes',
  'tessalloc_committed_peak_bytes',
  'tessalloc_purged_bytes_total',
]

/** Samples of an answer: `name{labels}` with its value. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

test('prometheus metrics are in the answer of a real registry', async (t) => {
  const registry = new Registry()
  using _ = prometheus(registry)
  const text = await registry.metrics()
  for (const name of names) {
    t.regex(text, new RegExp(`^# HELP ${name} .`, 'm'))
    t.regex(text, new RegExp(`^# TYPE ${name} ${name.endsWith('_total') ? 'counter' : 'gauge'}$`, 'm'))
  }
  const found = samples(text)
  const of = (what: string, allocator: string, scope: string) =>
    found.get(`tessalloc_${what}{allocator="${allocator}",scope="${scope}"}`)
  const figures = memoryUsage.fast(new Float64Array(memoryUsageLength))
  // The add-on holds little, and nothing of it moves here.
  t.is(of('mapped_bytes', 'tessalloc', 'addon'), figures[memoryUsageIndex.mapped])
  const committed = of('committed_bytes', 'tessalloc', 'addon') ?? Number.NaN
  t.is(of('retained_bytes', 'tessalloc', 'addon'), committed - (of('allocated_bytes', 'tessalloc', 'addon') ?? 0))
  t.true((of('allocated_bytes', 'glibc', 'process') ?? 0) > 2 ** 20)
  t.is(of('purged_bytes_total', 'glibc', 'process'), undefined, 'what glibc does not tell is left out')
  t.is(((await registry.getMetricsAsJSON()) as { name: string }[]).length, names.length)
})

test('prometheus metrics keep to OpenMetrics, and go when disposed', async (t) => {
  const registry = new Registry()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never)
  registry.setDefaultLabels({ app: 'test' })
  const added = prometheus(registry)
  const text = await registry.metrics()
  t.regex(text, /^# TYPE tessalloc_purged_bytes counter$/m)
  t.regex(text, /^tessalloc_purged_bytes_total\{.*app="test".*\} \d+$/m)
  registry.resetMetrics()
  added.dispose()
  t.is(registry.getMetricsAsArray().length, 0)
  using again = prometheus(registry)
  added.dispose()
  t.is(registry.getMetricsAsArray().length, names.length, 'a second dispose does nothing')
  again.dispose()
})

test('a registry that has the names, and what is none, are refused', (t) => {
  const registry = new Registry()
  using _ = prometheus(registry)
  const invalid = { code: 'ERR_TESSALLOC_INVALID_OPTION' }
  t.throws(() => prometheus(registry), { ...invalid, message: /received 'tessalloc_mapped_bytes'/ })
  for (const bad of [undefined, null, {}, 5]) {
    t.throws(() => prometheus(bad as never), { ...invalid, message: /registry must be an object with registerMetric/ })
    t.throws(() => openTelemetry(bad as never), { ...invalid, message: /meter must be an object with createObserv/ })
  }
})

test('prometheus under preload tells the process alone', async (t) => {
  const { text, figures } = await evaluate<{ text: string; figures: Record<string, number> }>(
    `import { Registry } from 'prom-client'
     import { Heap, memoryUsage, prometheus } from 'tessalloc'
     const registry = new Registry()
     prometheus(registry)
     const kept = Buffer.allocUnsafeSlow(64 << 20).fill(1)
     const [figures, text] = [memoryUsage(), await registry.metrics()]
     console.log(JSON.stringify({ figures, text, length: kept.length }))`,
    { preload: true },
  )
  const found = samples(text)
  t.is(found.size, names.length)
  const allocated = found.get('tessalloc_allocated_bytes{allocator="tessalloc",scope="process"}') ?? 0
  t.true(allocated >= 64 * 2 ** 20 && Math.abs(allocated - (figures.allocated ?? 0)) < 2 ** 20, text)
})

/** What the add-on's copy of tessalloc is said to hold. */
function ownValue(metric: MetricData | undefined): number {
  const points = (metric?.dataPoints ?? []) as { attributes: Attributes; value: unknown }[]
  const own = points.find(({ attributes }) => attributes.allocator === 'tessalloc' && attributes.scope === 'addon')
  return Number(own?.value)
}

test('openTelemetry metrics are collected by the real SDK', async (t) => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const provider = new MeterProvider({ readers: [reader] })
  t.teardown(() => provider.shutdown())
  const added = openTelemetry(provider.getMeter('test'))
  const collect = async () => (await reader.collect()).resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics)
  const collected = await collect()
  t.deepEqual(collected.map(({ descriptor }) => descriptor.name.replace('process.memory.allocator.', '')).toSorted(), [
    'allocated',
    'committed',
    'mapped',
    'metadata',
    'peakCommitted',
    'purged',
    'resident',
    'retained',
  ])
  for (const metric of collected) {
    t.is(metric.descriptor.unit, 'By')
    t.true(ownValue(metric) >= 0, metric.descriptor.name)
  }
  added.dispose()
  // The SDK goes on to tell what it saw last.
  const mapped = (all: Awaited<ReturnType<typeof collect>>) =>
    ownValue(all.find(({ descriptor }) => descriptor.name.endsWith('.mapped')))
  const before = mapped(await collect())
  using heap = new Heap()
  heap.alloc(64 * 2 ** 20)
  t.is(mapped(await collect()), before)
})
