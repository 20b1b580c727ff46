import type { Metric, Result } from './compare.ts'
import { bytesText, msText } from './format.ts'

/** Memory that differs by less is no finding, whatever the ratio. */
const noticeableBytes = 4 * 2 ** 20
/** Memory repeats well, time does not: what counts as a difference at least. */
const noticeableMemory = 0.05
const noticeableTime = 0.08
/** Fewer runs do not show how far times scatter: nothing is said about them. */
const runsForTime = 3

type Change = { readonly better: boolean; readonly text: string }

/** How far the runs of one allocator lie apart, relative to their median. */
function scatter(result: Result, metric: Metric): number {
  const values = result.runs.map((run) => run[metric]).filter((value) => value !== null)
  const median = result.median[metric]
  return values.length < 2 || !median ? 0 : (Math.max(...values) - Math.min(...values)) / median
}

function change(base: Result, other: Result, metric: Metric, what: string): Change | null {
  const [from, to, ratio] = [base.median[metric], other.median[metric], other.ratio[metric]]
  if (from === null || to === null || ratio === null) return null
  const isTime = metric === 'wallMs' || metric === 'cpuMs'
  if (isTime && Math.min(base.runs.length, other.runs.length) < runsForTime) return null
  const noise = isTime ? Math.max(noticeableTime, scatter(base, metric), scatter(other, metric)) : noticeableMemory
  if (Math.abs(1 - ratio) < noise || (!isTime && Math.abs(to - from) < noticeableBytes)) return null
  const write = isTime ? msText : bytesText
  const percent = Math.round(Math.abs(1 - ratio) * 100)
  return {
    better: ratio < 1,
    text: `${percent} % ${ratio < 1 ? 'less' : 'more'} ${what} (${write(from)} → ${write(to)})`,
  }
}

/** One sentence: what the last allocator gains and costs against the first. */
export function verdict(results: readonly Result[]): string {
  const base = results[0]
  const other = results.at(-1)
  if (!base || !other || base === other) return 'Nothing to compare with: one allocator was run.'
  const changes = [
    change(base, other, 'idleRssBytes', 'memory when idle'),
    change(base, other, 'peakRssBytes', 'memory at the peak'),
    change(base, other, 'cpuMs', 'CPU time'),
    // Wall time follows CPU time; it is news only where CPU time is none.
    change(base, other, 'cpuMs', '') ? null : change(base, other, 'wallMs', 'wall time'),
  ].filter((each) => each !== null)
  const gains = changes.filter((each) => each.better).map((each) => each.text)
  const costs = changes.filter((each) => !each.better).map((each) => each.text)
  const list = (texts: string[]) => new Intl.ListFormat('en').format(texts)
  if (gains.length === 0 && costs.length === 0) {
    return `No gain here: ${other.name} and ${base.name} differ by no more than the runs themselves.`
  }
  if (gains.length === 0) return `No gain here: ${other.name} takes ${list(costs)}.`
  if (costs.length === 0) return `${other.name} takes ${list(gains)}; nothing got worse.`
  return `${other.name} takes ${list(gains)}, but ${list(costs)}.`
}
