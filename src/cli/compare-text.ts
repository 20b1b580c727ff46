import Table from 'cli-table3'
import plot from 'simple-ascii-chart'
import { pc } from './colour.ts'
import type { Comparison, Metric, Result } from './compare.ts'
import { bytesText, msText, ratioText } from './format.ts'

/** Columns of the table; a column without a figure is left out. */
export const columns: readonly { metric: Metric; head: string; write: (value: number) => string }[] = [
  { metric: 'wallMs', head: 'wall', write: msText },
  { metric: 'cpuMs', head: 'CPU', write: msText },
  { metric: 'peakRssBytes', head: 'peak RSS', write: bytesText },
  { metric: 'idleRssBytes', head: 'idle RSS', write: bytesText },
  { metric: 'idlePssBytes', head: 'idle PSS', write: bytesText },
]

/** PSS differs from RSS where several processes share memory; for one process it tells nothing more. */
export function shownColumns(results: readonly Result[]): typeof columns {
  const several = results.some((result) => result.runs.some((run) => run.idleProcesses > 1))
  return columns.filter(
    ({ metric }) => results.some((result) => result.median[metric] !== null) && (metric !== 'idlePssBytes' || several),
  )
}

/** What the figures mean, in words. */
export function notes(comparison: Comparison): string[] {
  const idle = msText(comparison.idleMs)
  const stopped = comparison.results.some((result) => result.median.idleRssBytes !== null)
  const count = comparison.results[0]?.runs.length ?? 0
  return [
    `Medians of ${count} run${count === 1 ? '' : 's'} each, in turn, measured from outside over the whole process tree.`,
    stopped
      ? `The command kept running: wall is the time until it did nothing any more (below 10 % of one core), idle RSS was read ${idle} later, then it was stopped.`
      : 'The command ended by itself: it has no idle time, so there is no idle RSS.',
  ]
}

function table(comparison: Comparison): string {
  const shown = shownColumns(comparison.results)
  const grid = new Table({
    head: ['', ...shown.map((column) => column.head)],
    colAligns: ['left', ...shown.map(() => 'right' as const)],
    style: { head: [], border: [], compact: true },
  })
  comparison.results.forEach((result, i) => {
    grid.push([
      result.name,
      ...shown.map(({ metric, write }) => {
        const value = result.median[metric]
        if (value === null) return '–'
        const ratio = result.ratio[metric]
        return i === 0 || ratio === null ? write(value) : `${write(value)}  ${colourOf(ratio)(ratioText(ratio))}`
      }),
    ])
  })
  return grid.toString()
}

function colourOf(ratio: number): (text: string) => string {
  if (ratio <= 0.95) return pc.green
  return ratio >= 1.1 ? pc.red : String
}

/** The run whose idle or else peak RSS is in the middle: the one that the charts show. */
export function typicalRun(result: Result): Result['runs'][number] | undefined {
  const by = (run: Result['runs'][number]) => run.idleRssBytes ?? run.peakRssBytes
  return result.runs.toSorted((a, b) => by(a) - by(b))[result.runs.length >> 1]
}

const lineColours = ['ansiYellow', 'ansiGreen', 'ansiBlue', 'ansiMagenta', 'ansiCyan'] as const

function chart(comparison: Comparison): string {
  const width = Math.max(30, Math.min(70, (process.stdout.columns || 80) - 14))
  const lines = comparison.results.map((result) => points(typicalRun(result)?.samples ?? [], width))
  if (lines.some((line) => line.length < 3)) return ''
  const seconds = Math.max(...lines.map((line) => line.at(-1)?.[0] ?? 0))
  const top = Math.ceil(Math.max(...lines.flatMap((line) => line.map(([, mb]) => mb))) / 10) * 10
  // The plot's time axis ends with its data: shorter plots keep all on one scale.
  const widthOf = (series: [number, number][][]) =>
    Math.max(2, Math.round((width * Math.max(...series.map((line) => line.at(-1)?.[0] ?? 0))) / seconds))
  const draw = (series: [number, number][][], color?: (typeof lineColours)[number][]) =>
    plot(series, {
      width: widthOf(series),
      height: 10,
      yRange: [0, top],
      customXAxisTicks: ticks(seconds),
      customYAxisTicks: [0, top / 2, top],
      formatter: (value, { axis }) => (axis === 'y' ? Math.round(value) : `${Number(value.toFixed(1))}`),
      ...(color ? { color } : {}),
    })
  const names = comparison.results.map((result) => result.name)
  const title = 'RSS in MB over seconds'
  if (pc.isColorSupported) {
    const paint = [pc.yellow, pc.green, pc.blue, pc.magenta, pc.cyan]
    const legend = names.map((name, i) => (paint[i % paint.length] ?? String)(`━ ${name}`)).join('   ')
    const colours = names.map((_, i) => lineColours[i % lineColours.length] ?? 'ansiYellow')
    return `${title}:  ${legend}${draw(lines, colours)}\n`
  }
  // Lines that only colour could tell apart are drawn one below the other, on the same scale.
  return lines.map((line, i) => `${title}: ${names[i]}${draw([line])}`).join('\n')
}

/** At most `count` points of seconds and MB: the largest RSS of each stretch, so that no peak is lost. */
export function points(samples: readonly (readonly [number, number])[], count: number): [number, number][] {
  const last = samples.at(-1)?.[0] ?? 0
  const stretches = new Map<number, [number, number]>()
  for (const [ms, bytes] of samples) {
    const index = last === 0 ? 0 : Math.floor((ms / last) * (count - 1))
    const old = stretches.get(index)
    if (!old || bytes / 1e6 > old[1]) stretches.set(index, [ms / 1000, bytes / 1e6])
  }
  return [...stretches.values()]
}

function ticks(seconds: number): number[] {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300].find((each) => seconds / each <= 8) ?? 600
  return Array.from({ length: Math.floor(seconds / step) + 1 }, (_, i) => i * step)
}

/** What `tessalloc compare` prints. */
export function report(comparison: Comparison): string {
  const command = comparison.isBundled
    ? 'bundled workload: eight workers with Buffers, JSON and gzip, 4,000 messages, then idle (workloads/workers.mjs)'
    : comparison.command.join(' ')
  return `${[
    `\n${pc.bold(command)}`,
    pc.dim(comparison.machine),
    '',
    table(comparison),
    ...notes(comparison).map((line) => pc.dim(line)),
    '',
    chart(comparison),
    pc.bold(comparison.verdict),
  ].join('\n')}\n`
}
