import { binding } from './native.ts'

/**
 * Memory of this process as its allocator sees it. Unit: bytes. Scope: the whole process, all threads. Source: tessalloc's
 * counters under preload, else glibc's `mallinfo2`; under another allocator only `rss` is known. A figure that the allocator
 * does not tell is `NaN`.
 */
export interface MemoryUsage {
  /** Bytes of the process in RAM, with code and stacks. Source: the system. */
  readonly rss: number
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

/** Figures of {@link memoryUsage.fast}, in the order it writes them. */
export const memoryUsageFields: readonly Exclude<keyof MemoryUsage, 'rss'>[] = [
  'mapped',
  'committed',
  'allocated',
  'retained',
  'metadata',
  'peakCommitted',
  'purged',
]

export interface MemoryUsageFunction {
  /**
   * Reads the memory of this process. Under glibc this takes the locks of its arenas one after the other.
   *
   * ```ts
   * const { retained, rss } = memoryUsage()
   * console.log(`${retained >> 20} MiB of ${rss >> 20} are freed but held`)
   * ```
   */
  (): MemoryUsage
  /**
   * Writes the figures of {@link memoryUsageFields}, in their order, into `out`: several times cheaper than the object, and
   * without `rss`, which costs a file to read (`process.memoryUsage.rss()`). Returns `out`. `out` must hold 7 numbers.
   */
  fast(out: Float64Array): Float64Array
}

function fast(out: Float64Array): Float64Array {
  if (!(out instanceof Float64Array)) {
    throw new TypeError(`Cannot write memory usage: out must be a Float64Array, received ${typeof out}`)
  }
  if (out.length < memoryUsageFields.length) {
    throw new RangeError(
      `Cannot write memory usage: out must hold ${memoryUsageFields.length} numbers, received ${out.length}`,
    )
  }
  binding().memoryFigures(out)
  return out
}

function read(): MemoryUsage {
  const [mapped, committed, allocated, retained, metadata, peakCommitted, purged] = fast(
    new Float64Array(memoryUsageFields.length),
  ) as unknown as [number, number, number, number, number, number, number]
  const rss = process.memoryUsage.rss()
  return { rss, mapped, committed, allocated, retained, metadata, peakCommitted, purged }
}

export const memoryUsage: MemoryUsageFunction = Object.assign(read, { fast })
