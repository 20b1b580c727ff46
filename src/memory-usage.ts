import { getHeapStatistics } from 'node:v8'
import { binding } from './native.ts'

/**
 * Memory of this process, split by who holds it: `rss` = `jsHeap` + `resident` + `addon` + `other`. Unit: bytes. Scope: the whole
 * process, all threads, but for `jsHeap`. Source of what is not said otherwise: the allocator that serves `malloc`: tessalloc's
 * counters under preload, else glibc's `mallinfo2` (glibc 2.33 and later); no other allocator is asked. A figure that it does not tell is `NaN`.
 */
export interface MemoryUsage {
  /** Bytes of the process in RAM, with code and stacks. Source: the system. */
  readonly rss: number
  /** Bytes of this thread's JavaScript heap in RAM. Workers have heaps of their own, which count as `other` here. Source: V8. */
  readonly jsHeap: number
  /**
   * Bytes that the allocator keeps in RAM, with its tables: up to some 20 MiB as Linux counts them, above that, and by `fast`, an
   * estimate from counters, about 1 MiB too much, which takes large blocks as written. glibc: the same as `mapped`, so that it may be
   * too much by what was never written or given back.
   */
  readonly resident: number
  /**
   * Bytes that the copy of tessalloc in this package keeps in RAM beside the process's allocator: memory of arenas and heaps. 0 under
   * preload, where it is part of `resident`.
   */
  readonly addon: number
  /** The rest of `rss`: code, stacks, heaps of workers, memory that is mapped without `malloc`. Never below 0. */
  readonly other: number
  /** Bytes of address space taken by the allocator, in RAM or not. */
  readonly mapped: number
  /** Bytes that may be in RAM. glibc: the same as `mapped`, it does not tell them apart. */
  readonly committed: number
  /** Bytes in blocks that are handed out; tessalloc counts blocks that threads keep at hand as handed out. */
  readonly allocated: number
  /** Bytes that were freed but are still held: what a purge can give back at most. */
  readonly retained: number
  /** Bytes of the allocator's own tables. glibc: `NaN`. */
  readonly metadata: number
  /** Largest `committed` so far. glibc: `NaN`. */
  readonly peakCommitted: number
  /** Bytes given back to the system since the start, counted each time. glibc: `NaN`. */
  readonly purged: number
}

/**
 * Where {@link memoryUsage.fast} writes each figure: those of {@link MemoryUsage}, and `threads` that have allocated and run. Later
 * versions append. The same in all threads.
 *
 * ```ts
 * const figures = memoryUsage.fast(new Float64Array(memoryUsageLength))
 * console.log(`${figures[memoryUsageIndex.threads]} threads hold ${figures[memoryUsageIndex.allocated]} bytes`)
 * ```
 */
export const memoryUsageIndex = {
  mapped: 0,
  committed: 1,
  allocated: 2,
  retained: 3,
  metadata: 4,
  peakCommitted: 5,
  purged: 6,
  resident: 7,
  threads: 8,
} as const

/**
 * How many numbers {@link memoryUsage.fast} writes. The same in all threads.
 *
 * ```ts
 * const out = new Float64Array(memoryUsageLength)
 * ```
 */
export const memoryUsageLength: number = Object.keys(memoryUsageIndex).length

/** {@link memoryUsage}: called for an object, or by `fast` for an array. */
export interface MemoryUsageFunction {
  /**
   * Reads the memory of this process. Cost: some 10 µs, most of it for `rss`. Under glibc it takes the locks of its arenas one after
   * the other, and looks at each of their free blocks.
   */
  (): MemoryUsage
  /**
   * Writes tessalloc's own counters into `out`, at the places of {@link memoryUsageIndex}, and returns `out`. Under preload they are
   * the process's; without it those of the copy in this package, which serves arenas and heaps: glibc is not asked. No system
   * call, no allocation; below 400 ns. Throws a `TypeError` or `RangeError` for an `out` that cannot take {@link memoryUsageLength}
   * numbers.
   *
   * ```ts
   * import { memoryUsage, memoryUsageIndex, memoryUsageLength } from 'tessalloc'
   *
   * const figures = new Float64Array(memoryUsageLength)
   * console.log(memoryUsage.fast(figures)[memoryUsageIndex.retained])
   * ```
   */
  fast(out: Float64Array): Float64Array
}

function fast(out: Float64Array): Float64Array {
  if (!(out instanceof Float64Array)) {
    throw new TypeError(`Cannot write memory usage: out must be a Float64Array, received ${typeof out}`)
  }
  if (out.length < memoryUsageLength) {
    throw new RangeError(
      `Cannot write memory usage: out must hold ${memoryUsageLength} numbers, received ${out.length}`,
    )
  }
  memoryFigures ??= binding().memoryFigures
  memoryFigures(out)
  return out
}

let memoryFigures: ReturnType<typeof binding>['memoryFigures'] | undefined

/** Whose figures, and of what: `process` is who serves `malloc`. */
export interface AllocatorFigures {
  readonly allocator: string
  readonly scope: 'process' | 'addon'
  readonly figures: Float64Array
}

let serving: { readonly allocator: string; readonly isPreloaded: boolean } | undefined

/** The figures of each allocator that tells some, that of the process first. Scope: the process. */
export function allocatorFigures(): AllocatorFigures[] {
  if (serving === undefined) {
    const { allocator, preload } = binding().allocatorInfo()
    serving = { allocator, isPreloaded: preload }
  }
  const own = fast(new Float64Array(memoryUsageLength))
  if (serving.isPreloaded) return [{ allocator: 'tessalloc', scope: 'process', figures: own }]
  const addon: AllocatorFigures = { allocator: 'tessalloc', scope: 'addon', figures: own }
  const figures = new Float64Array(memoryUsageLength)
  const isTold = binding().systemFigures(figures)
  return isTold ? [{ allocator: serving.allocator, scope: 'process', figures }, addon] : [addon]
}

function read(): MemoryUsage {
  const all = allocatorFigures()
  const of = (scope: AllocatorFigures['scope']) => all.find((each) => each.scope === scope)?.figures
  const figures = of('process') ?? new Float64Array(memoryUsageLength).fill(Number.NaN)
  const at = (name: keyof typeof memoryUsageIndex) => figures[memoryUsageIndex[name]] ?? Number.NaN
  const rss = process.memoryUsage.rss()
  const jsHeap = getHeapStatistics().total_physical_size
  const counted = binding().residentBytes()
  const ours = (estimate: number) => (Number.isNaN(counted) ? estimate : counted)
  const addon = of('addon') === undefined ? 0 : ours(of('addon')?.[memoryUsageIndex.resident] ?? 0)
  const resident = serving?.isPreloaded ? ours(at('resident')) : at('resident')
  return {
    rss,
    jsHeap,
    resident,
    addon,
    other: Math.max(0, rss - jsHeap - addon - (Number.isNaN(resident) ? 0 : resident)),
    mapped: at('mapped'),
    committed: at('committed'),
    allocated: at('allocated'),
    retained: at('retained'),
    metadata: at('metadata'),
    peakCommitted: at('peakCommitted'),
    purged: at('purged'),
  }
}

/**
 * Reads the memory of this process: what RSS is made of. From any thread; only `jsHeap` is that of the calling one. Cost: some 10 µs.
 * `memoryUsage.fast` writes numbers alone, in 0.2 µs: see {@link MemoryUsageFunction}.
 *
 * ```ts
 * import { memoryUsage } from 'tessalloc'
 *
 * const { rss, jsHeap, retained, other } = memoryUsage()
 * const mib = (bytes: number) => Math.round(bytes / 2 ** 20)
 * console.log(`of ${mib(rss)} MiB: JS heap ${mib(jsHeap)}, freed but held ${mib(retained)}, not of malloc ${mib(other)}`)
 * ```
 */
export const memoryUsage: MemoryUsageFunction = Object.assign(read, { fast })
