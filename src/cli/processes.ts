// The processes of a report: the watched one, and those that it started.
import type { Report } from './report.ts'
import type { Child } from './watch.ts'

/** What is shown of a process, or of several that are small. Memory in bytes. */
export interface ProcessRow {
  readonly name: string
  /** Resident bytes at each look of the report; 0 before it began and after it ended. */
  readonly rss: readonly number[]
  readonly peak: number
  readonly end: number
}

/** How many have a row of their own: the watched one, and those that were the largest. */
const shownMax = 8

function rowOf(name: string, rss: readonly number[]): ProcessRow {
  const peak = rss.reduce((most, bytes) => Math.max(most, bytes), 0)
  return { name, rss, peak, end: rss.at(-1) ?? 0 }
}

/** The watched process, the largest of those it started, and all others as one; empty when it started none. */
export function processRows({ name, pid, samples, children }: Report): ProcessRow[] {
  if (children.length === 0) return []
  const childRow = (child: Child) => {
    const looks = new Map(child.looks)
    return rowOf(
      `${child.name} (${child.pid})`,
      samples.map(({ ms }) => looks.get(ms) ?? 0),
    )
  }
  const rows = children.map(childRow).toSorted((a, b) => b.peak - a.peak)
  const [large, small] = [rows.slice(0, shownMax - 1), rows.slice(shownMax - 1)]
  const own = rowOf(
    `${name} (${pid})`,
    samples.map(({ rss }) => rss),
  )
  if (small.length === 0) return [own, ...large]
  const rest = samples.map((_, at) => small.reduce((sum, row) => sum + (row.rss[at] ?? 0), 0))
  return [own, ...large, rowOf(`${small.length} more`, rest)]
}
