// From the samples of all peers to figures, ratios and bars met or not. No input or output here.
import { type Bar, geometricMeanBar, ours, type Row } from './rows.ts'
import { geometricMean, median, minimum } from './statistics.ts'

/** One run of one workload: its result line, or why there is none. */
export type Sample = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly reason: string }

export interface Cell {
  readonly peer: string
  /** What counts: the minimum of times, the median of the rest. Missing when a run failed. */
  readonly value?: number
  readonly median?: number
  readonly minimum?: number
  readonly failure?: string
}

export interface BarResult {
  readonly text: string
  /** What was compared with the bar; missing when ours or the rival's figure is. */
  readonly reached?: number
  /** False when we have no figure; missing when the rival has none, or was not run. */
  readonly met?: boolean
}

export interface RowResult {
  readonly row: Row
  readonly cells: readonly Cell[]
  /** The rival with the lowest figure. */
  readonly bestRival?: string
  /** Ours over the best rival's. */
  readonly toBest?: number
  readonly toMimalloc?: number
  readonly bars: readonly BarResult[]
}

/** The number at `figure` (`a.b` is a member of a member), or undefined. */
export function figureOf(result: unknown, figure: string): number | undefined {
  let at: unknown = result
  for (const key of figure.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return typeof at === 'number' && Number.isFinite(at) ? at : undefined
}

export function cellOf(row: Row, peer: string, samples: readonly Sample[]): Cell {
  const values: number[] = []
  for (const sample of samples) {
    if (!sample.ok) return { peer, failure: sample.reason }
    const value = figureOf(sample.result, row.figure)
    if (value === undefined) return { peer, failure: `no figure ${row.figure}` }
    values.push(value)
  }
  if (values.length === 0) return { peer, failure: 'not run' }
  const figures = { median: median(values), minimum: minimum(values) }
  return { peer, value: figures[row.take], ...figures }
}

function judge(bar: Bar, own: number | undefined, rivals: readonly Cell[], bestRival: Cell | undefined): BarResult {
  const upTo = (text: string, most: number, reached: number | undefined): BarResult => {
    if (own === undefined) return { text, met: false }
    return reached === undefined ? { text } : { text, reached, met: reached <= most }
  }
  const ratio = (rival: number | undefined) => (own === undefined || !rival ? undefined : own / rival)
  switch (bar.kind) {
    case 'best':
      return upTo(`≤ ${bar.most} × best`, bar.most, ratio(bestRival?.value))
    case 'peer':
      return upTo(`≤ ${bar.most} × ${bar.peer}`, bar.most, ratio(rivals.find(({ peer }) => peer === bar.peer)?.value))
    case 'value':
      return upTo(`≤ ${Math.round(bar.most * 100) / 100}`, bar.most, own)
    case 'least': {
      const text = `≥ ${bar.least}`
      return own === undefined ? { text, met: false } : { text, reached: own, met: own >= bar.least }
    }
  }
}

/** `samplesOf` the peers that were run, us among them or not. */
export function rowResult(row: Row, samplesOf: ReadonlyMap<string, readonly Sample[]>): RowResult {
  const cells = [...samplesOf].map(([peer, samples]) => cellOf(row, peer, samples))
  const own = cells.find(({ peer }) => peer === ours)?.value
  const rivals = cells.filter(({ peer }) => peer !== ours)
  const best = rivals.reduce<Cell | undefined>(
    (best, cell) => (cell.value !== undefined && (best?.value === undefined || cell.value < best.value) ? cell : best),
    undefined,
  )
  const mimalloc = rivals.find(({ peer }) => peer === 'mimalloc')?.value
  return {
    row,
    cells,
    ...(best === undefined ? {} : { bestRival: best.peer }),
    ...(own === undefined || !best?.value ? {} : { toBest: own / best.value }),
    ...(own === undefined || !mimalloc ? {} : { toMimalloc: own / mimalloc }),
    bars: own === undefined && !samplesOf.has(ours) ? [] : row.bars.map((bar) => judge(bar, own, rivals, best)),
  }
}

/** Our speed to mimalloc's over all speed rows that both finished; undefined without any. */
export function speedResult(results: readonly RowResult[]): (BarResult & { readonly rows: number }) | undefined {
  const ratios = results.flatMap(({ row, toMimalloc }) => (row.isSpeed && toMimalloc !== undefined ? [toMimalloc] : []))
  if (ratios.length === 0) return undefined
  const reached = geometricMean(ratios)
  const { most, peer } = geometricMeanBar
  return { text: `geometric mean ≤ ${most} × ${peer}`, reached, met: reached <= most, rows: ratios.length }
}
