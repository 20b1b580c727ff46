import { bytesText } from './format.ts'
import { processRows } from './processes.ts'
import type { Report, ReportSample } from './report.ts'
import { parts } from './split.ts'
import type { ClassFigures } from './view.ts'

/** Text that stays on its line and in its cell. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

/** What was watched and how, in a few lines. */
export function reportNotes(report: Report): string[] {
  const { samples, command, ended, pid } = report
  const seconds = ((samples.at(-1)?.ms ?? 0) - (samples[0]?.ms ?? 0)) / 1000
  const end = ended ? 'it ended by itself' : command === null ? 'it went on' : 'it was stopped then'
  return [
    `Process ${pid}, ${samples.length} looks over ${seconds.toFixed(1)} s; ${end}.`,
    ...(samples.at(-1)?.tessalloc === null ? [`No figures of the allocator: ${samples.at(-1)?.note}.`] : []),
    `${report.machine}; ${report.date}; tessalloc ${report.tessalloc}.`,
  ]
}

/** What the figures by process are. */
export const processesNote =
  'The other figures are those of the first process. Memory that processes share counts for each.'

/** The look with the largest RSS. */
export function peakOf(report: Report): ReportSample | undefined {
  return report.samples.toSorted((a, b) => b.rss - a.rss)[0]
}

/** Name of a class as people are shown it. */
export function className({ blockBytes }: ClassFigures): string {
  if (blockBytes === null) return 'large'
  return blockBytes < 1024 ? `${blockBytes} B` : `${+(blockBytes / 1024).toFixed(1)} KiB`
}

/** Used and free bytes of a class; of large blocks only the number is known. */
export function classBytes({ blockBytes, blocksUsed, blocksMade }: ClassFigures): [used: number, free: number] {
  const bytes = blockBytes ?? 0
  return [blocksUsed * bytes, Math.max(0, blocksMade - blocksUsed) * bytes]
}

/** Classes with less of all bytes in classes than this are left out. */
export const shownShareMin = 0.005

/** The classes that are worth showing. */
export function shownClasses({ classes }: Report): ClassFigures[] {
  const bytesOf = (row: ClassFigures) => classBytes(row)[0] + classBytes(row)[1]
  const all = (classes ?? []).reduce((sum, row) => sum + bytesOf(row), 0)
  return (classes ?? []).filter((row) => row.blockBytes === null || bytesOf(row) >= shownShareMin * all)
}

/** The report as Markdown, for an issue or a log. */
export function reportMarkdown(report: Report): string {
  const [peak, last] = [peakOf(report), report.samples.at(-1)]
  const rows = parts
    .filter(({ id }) => report.samples.some((sample) => sample.parts[id] > 0))
    .map(({ id, label }) => `| ${label} | ${bytesText(peak?.parts[id] ?? 0)} | ${bytesText(last?.parts[id] ?? 0)} |`)
  const classes = shownClasses(report).map(
    (row) => `| ${className(row)} | ${row.pages} | ${row.blocksUsed} | ${row.blocksMade - row.blocksUsed} |`,
  )
  const processes = processRows(report).map(
    ({ name, peak, end }) => `| ${cell(name)} | ${bytesText(peak)} | ${bytesText(end)} |`,
  )
  const purged = (last?.tessalloc?.purged ?? 0) - (report.samples[0]?.tessalloc?.purged ?? 0)
  return `${[
    `# ${cell(report.command?.join(' ') ?? `${report.name} (${report.pid})`)}`,
    '',
    report.verdict,
    '',
    '| resident memory | at its peak | at the end |',
    '|---|---:|---:|',
    ...rows,
    `| all | ${bytesText(peak?.rss ?? 0)} | ${bytesText(last?.rss ?? 0)} |`,
    '',
    ...(last?.tessalloc ? [`Given back meanwhile: ${bytesText(purged)}.`, ''] : []),
    ...(classes.length > 0 ? ['| blocks of | pages | used | free |', '|---:|---:|---:|---:|', ...classes, ''] : []),
    ...(processes.length > 0
      ? ['| process | at its peak | at the end |', '|---|---:|---:|', ...processes, '', processesNote, '']
      : []),
    ...reportNotes(report).map((note) => `- ${note}`),
  ].join('\n')}\n`
}
