// What is measured, and which bars we have set ourselves: one row a figure.

/** Us, as in the first column of the results. */
export const ours = 'tessalloc'

/** Allocators as Rust global allocators. */
export const rustPeers = ['system', 'mimalloc', 'jemalloc', 'snmalloc', 'rusty_alloc', 'rpmalloc', ours] as const
/** Allocators as preload libraries; `mimalloc` is v3, built from the source in its crate. */
export const preloadPeers = ['system', 'mimalloc', 'mimalloc2', 'jemalloc', 'tcmalloc', ours] as const

export type Face = 'rust' | 'preload'
export type Unit = 'ns' | 'KiB' | 'ratio' | 'count' | 'instructions'

/** What our figure has to keep to. */
export type Bar =
  /** At most so many times the best rival. */
  | { readonly kind: 'best'; readonly most: number }
  /** At most so many times this peer. */
  | { readonly kind: 'peer'; readonly peer: string; readonly most: number }
  /** At most this, in the row's unit. */
  | { readonly kind: 'value'; readonly most: number }
  /** At least this, in the row's unit. */
  | { readonly kind: 'least'; readonly least: number }

export interface Row {
  /** Unique; `workload`, and what of it where a workload has several figures. */
  readonly name: string
  readonly face: Face
  readonly workload: string
  /** The figure in the workload's result. */
  readonly figure: string
  readonly unit: Unit
  /** Of several rounds: the minimum of times, the median of the rest. */
  readonly take: 'minimum' | 'median'
  readonly bars: readonly Bar[]
  /** Counts in the geometric mean over speed. */
  readonly isSpeed: boolean
}

const time = (workload: string, ...bars: Bar[]): Row => ({
  name: workload,
  face: 'rust',
  workload,
  figure: 'ns',
  unit: 'ns',
  take: 'minimum',
  bars,
  isSpeed: true,
})

const figure = (workload: string, name: string, figure: string, unit: Unit, ...bars: Bar[]): Row => ({
  name: `${workload} ${name}`,
  face: 'rust',
  workload,
  figure,
  unit,
  take: 'median',
  bars,
  isSpeed: false,
})

const best = (most: number): Bar => ({ kind: 'best', most })
const value = (most: number): Bar => ({ kind: 'value', most })
const toPeer = (peer: string, most: number): Bar => ({ kind: 'peer', peer, most })

const space = (workload: string): Row[] => [
  figure(workload, 'complete', 'complete', 'count', { kind: 'least', least: 1 }),
  figure(workload, 'RSS', 'rss_kib', 'KiB', value(24 * 1024 * 1024)),
  figure(workload, 'mappings', 'mappings', 'count', value(2_000)),
]

/** 10 MB in KiB. */
const tenMegabytesKib = 10_000_000 / 1_024

export const rows: readonly Row[] = [
  time('pair/64B', best(0.95)),
  time('fifo/64B', best(0.95)),
  time('random/64B', best(0.95)),
  time('mixed/8..1024B', best(0.95)),
  time('pair/1KiB', best(0.7)),
  time('pair/4KiB', best(0.7)),
  time('pair/32KiB', best(0.7)),
  time('pair/1MiB', value(5)),
  time('large/1..128KiB'),
  time('vectors/8MB', best(1.05)),
  time('maps'),
  time('json'),
  time('fullpages/64B'),
  time('aligned/64..256B'),
  time('handoff/64B/2t', best(1.5)),
  time('shared/16..512B/2t', best(0.95)),
  time('shared/16..512B/16t', best(0.95)),
  figure('shared/16..512B/16t', 'peak RSS', 'peak_rss_kib', 'KiB', toPeer('jemalloc', 1.3)),
  figure('latency/16B..32KiB', 'p99.9', 'metrics.p999_ns', 'ns'),
  figure('freeonly/16..1024B/5t', 'peak per live', 'metrics.peak_per_live', 'ratio', value(1.3)),
  figure('sizes34/64t', 'a thread', 'metrics.kib_a_thread', 'KiB', value(90)),
  figure('idle/all', 'RSS after 3 s', 'metrics.idle_rss_kib', 'KiB', value(tenMegabytesKib)),
  figure('idle/holes', 'RSS after 10 s per peak', 'metrics.idle_per_peak', 'ratio', value(0.3)),
  figure('churn/512t', 'RSS, tenth per first', 'metrics.tenth_per_first', 'ratio', value(1.1)),
  figure('churn/512t', 'RSS, tenth', 'metrics.tenth_rss_kib', 'KiB', toPeer('system', 2)),
  ...['space/100GiB', 'space/600GiB'].flatMap(space).map((row) => ({ ...row, figure: `metrics.${row.figure}` })),
  {
    name: 'C pair/64B',
    face: 'preload',
    workload: 'pair',
    figure: 'ns',
    unit: 'ns',
    take: 'minimum',
    bars: [toPeer('mimalloc', 1)],
    isSpeed: false,
  },
  {
    name: 'C pair/64B instructions',
    face: 'preload',
    workload: 'instructions',
    figure: 'instructions',
    unit: 'instructions',
    take: 'median',
    bars: [value(40)],
    isSpeed: false,
  },
  {
    name: 'C first malloc(100) RSS',
    face: 'preload',
    workload: 'first',
    figure: 'rss_kib',
    unit: 'KiB',
    take: 'median',
    bars: [toPeer('system', 1.25)],
    isSpeed: false,
  },
]

/** The geometric mean of our speed rows to mimalloc's. */
export const geometricMeanBar = { peer: 'mimalloc', most: 0.6 } as const

/** Workloads that take long or much memory: only by name, or for a record. */
export const largeWorkloads: ReadonlySet<string> = new Set(['space/100GiB', 'space/600GiB'])
