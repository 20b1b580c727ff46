// Figures for monitoring: one table, and what each of two well-known libraries wants of it. Both are given by the caller: neither is
// a dependency.
import { type AllocatorFigures, allocatorFigures, memoryUsageIndex } from './memory-usage.ts'
import { type Registration, registration } from './registration.ts'
import { invalidOption } from './validate.ts'

interface Metric {
  readonly figure: keyof typeof memoryUsageIndex
  /** What Prometheus calls it, behind `tessalloc_`; for OpenTelemetry it is `process.memory.allocator.` and the figure's name. */
  readonly name: string
  /** A counter only grows. */
  readonly kind: 'gauge' | 'counter'
  readonly help: string
}

const metrics: readonly Metric[] = [
  { figure: 'mapped', name: 'mapped_bytes', kind: 'gauge', help: 'Address space that the allocator has taken' },
  { figure: 'committed', name: 'committed_bytes', kind: 'gauge', help: 'Memory that may be resident' },
  { figure: 'resident', name: 'resident_bytes', kind: 'gauge', help: 'Memory that is resident, as counters tell it' },
  { figure: 'allocated', name: 'allocated_bytes', kind: 'gauge', help: 'Memory in blocks that are handed out' },
  { figure: 'retained', name: 'retained_bytes', kind: 'gauge', help: 'Memory that was freed and is still held' },
  { figure: 'metadata', name: 'metadata_bytes', kind: 'gauge', help: 'Memory of the tables of the allocator' },
  {
    figure: 'peakCommitted',
    name: 'committed_peak_bytes',
    kind: 'gauge',
    help: 'The most that may have been resident',
  },
  { figure: 'purged', name: 'purged_bytes_total', kind: 'counter', help: 'Memory given back to the system so far' },
]

/** Which allocator, and whether it serves the whole process or only what this package allocates. */
interface Labels {
  readonly allocator: string
  readonly scope: AllocatorFigures['scope']
}

/** What is known of one metric. */
function valuesOf({ figure }: Metric, all: readonly AllocatorFigures[]): { labels: Labels; value: number }[] {
  return all
    .map(({ allocator, scope, figures }) => ({
      labels: { allocator, scope },
      value: figures[memoryUsageIndex[figure]] ?? Number.NaN,
    }))
    .filter(({ value }) => !Number.isNaN(value))
}

function checkFunctions(action: string, name: string, value: unknown, functions: readonly string[]): void {
  const isGood = functions.every((each) => typeof (value as Record<string, unknown> | null)?.[each] === 'function')
  if (!isGood) throw invalidOption(action, name, `an object with ${functions.join(', ')}`, value)
}

/** What {@link prometheus} needs of a registry: that of `prom-client` has it. */
export interface PrometheusRegistry {
  /** Adds a metric. */
  registerMetric(metric: never): void
  /** The metric of that name, or `undefined`. */
  getSingleMetric(name: string): unknown
  /** Removes a metric. */
  removeSingleMetric(name: string): void
}

/**
 * Adds the allocator's figures to a registry of `prom-client`: `tessalloc_mapped_bytes`, `_committed_bytes`, `_resident_bytes`,
 * `_allocated_bytes`, `_retained_bytes`, `_metadata_bytes`, `_committed_peak_bytes` and `_purged_bytes_total`. All have the labels
 * `allocator` and `scope`: `process` is who serves `malloc` (tessalloc under preload, else glibc with what it tells), `addon` the copy
 * of tessalloc in this package. Read when the registry is asked; all metrics of one answer are of one moment. Disposing takes them out.
 * In one thread is enough: the figures are those of the whole process.
 *
 * Throws `ERR_TESSALLOC_INVALID_OPTION` for what is no registry, or one that has metrics of these names.
 *
 * ```ts
 * import { register } from 'prom-client'
 * import { prometheus } from 'tessalloc'
 *
 * prometheus(register)
 * console.log(await register.metrics())
 * ```
 */
export function prometheus(registry: PrometheusRegistry): Registration {
  const action = 'add figures to a registry'
  checkFunctions(action, 'registry', registry, ['registerMetric', 'getSingleMetric', 'removeSingleMetric'])
  const names = metrics.map(({ name }) => `tessalloc_${name}`)
  const taken = names.find((name) => registry.getSingleMetric(name) !== undefined)
  if (taken !== undefined) throw invalidOption(action, 'registry', `one without metrics of these names`, taken)

  let moment: AllocatorFigures[] | undefined
  // A registry asks all of its metrics before it waits for any.
  const read = () => {
    if (moment === undefined) {
      moment = allocatorFigures()
      queueMicrotask(() => {
        moment = undefined
      })
    }
    return moment
  }
  const added = metrics.map((metric, at) => {
    const { kind: type, help } = metric
    return {
      // `prom-client` drops `_total` from it where the format wants so.
      name: names[at],
      help,
      type,
      aggregator: 'sum',
      async get() {
        return { name: this.name, help, type, aggregator: 'sum', values: valuesOf(metric, read()) }
      },
      reset() {},
    }
  })
  for (const metric of added) registry.registerMetric(metric as never)
  return registration(() => {
    for (const name of names) registry.removeSingleMetric(name)
  })
}

/** What {@link openTelemetry} needs of a meter: that of `@opentelemetry/api` has it. */
export interface OpenTelemetryMeter {
  /** Makes an instrument of a value that rises and falls. */
  createObservableGauge(name: string, options?: { description?: string; unit?: string }): object
  /** Makes an instrument of a value that only rises. */
  createObservableCounter(name: string, options?: { description?: string; unit?: string }): object
  /** Has `callback` called when values are collected. */
  addBatchObservableCallback(callback: never, observables: never[]): void
  /** Ends that; the same arguments. */
  removeBatchObservableCallback(callback: never, observables: never[]): void
}

interface ObservableResult {
  observe(instrument: object, value: number, attributes: Labels): void
}

/**
 * Adds the allocator's figures to a meter of OpenTelemetry, as observable gauges `process.memory.allocator.mapped`, `.committed`,
 * `.resident`, `.allocated`, `.retained`, `.metadata` and `.peakCommitted`, and the counter `.purged`; unit `By`, with the attributes
 * `allocator` and `scope` as the labels of {@link prometheus}. Read at each collection, all at one moment. Disposing ends that. In one
 * thread is enough: the figures are those of the whole process.
 *
 * Throws `ERR_TESSALLOC_INVALID_OPTION` for what is no meter.
 *
 * ```ts
 * import { metrics } from '@opentelemetry/api'
 * import { openTelemetry } from 'tessalloc'
 *
 * openTelemetry(metrics.getMeter('tessalloc'))
 * ```
 */
export function openTelemetry(meter: OpenTelemetryMeter): Registration {
  checkFunctions('add figures to a meter', 'meter', meter, [
    'createObservableGauge',
    'createObservableCounter',
    'addBatchObservableCallback',
    'removeBatchObservableCallback',
  ])
  const instruments = metrics.map(({ figure, kind, help }) => {
    const name = `process.memory.allocator.${figure}`
    const options = { description: help, unit: 'By' }
    return kind === 'gauge' ? meter.createObservableGauge(name, options) : meter.createObservableCounter(name, options)
  })
  const observe = (result: ObservableResult) => {
    const all = allocatorFigures()
    for (const [at, metric] of metrics.entries()) {
      for (const { labels, value } of valuesOf(metric, all)) result.observe(instruments[at] as object, value, labels)
    }
  }
  const args = [observe as never, instruments as never[]] as const
  meter.addBatchObservableCallback(...args)
  return registration(() => meter.removeBatchObservableCallback(...args))
}
