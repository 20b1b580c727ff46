import { areasOverTime, barsByName, eventsOverTime, legend, splitBar } from './charts.ts'
import { bytesText } from './format.ts'
import { escapeHtml, htmlPage } from './html.ts'
import { processRows } from './processes.ts'
import type { Report } from './report.ts'
import {
  classBytes,
  className,
  peakOf,
  processesNote,
  reportNotes,
  shownClasses,
  shownShareMin,
} from './report-markdown.ts'
import { type Part, parts } from './split.ts'

const mb = (bytes: number) => bytes / 1e6
const colours = { used: '#1a7f37', free: '#7ee2a8', purged: '#0969da', held: '#1a7f37' }
const inMb = (bytes: Readonly<Record<Part, number>>) =>
  Object.fromEntries(parts.map(({ id }) => [id, mb(bytes[id])])) as Record<Part, number>

function classesSection(report: Report): string {
  const { classes, classesAtMs } = report
  if (classes === null) return ''
  const rows = shownClasses(report).filter((row) => row.blockBytes !== null)
  const large = classes.find((row) => row.blockBytes === null)
  const bars = rows.map((row) => ({
    name: className(row),
    mb: classBytes(row).map(mb),
    title: `${className(row)}: ${row.blocksUsed} blocks used, ${row.blocksMade - row.blocksUsed} free, ${row.pages} pages`,
  }))
  return `<h2>Size classes</h2>
${legend([
  { id: 'used', label: 'in use', colour: colours.used },
  { id: 'free', label: 'free', colour: colours.free },
])}
${barsByName('classes', 'Bytes by size class', [colours.used, colours.free], bars)}
<p class="note">When tessalloc held the most, ${(classesAtMs / 1000).toFixed(1)} s after the start. ${large ? `${large.blocksUsed} larger blocks have memory of their own. ` : ''}Classes with less than ${shownShareMin * 100} % are left out.</p>`
}

function purgeSection(report: Report): string {
  const rows = report.samples.flatMap(({ ms, tessalloc, parts }, i) => {
    if (tessalloc === null) return []
    const before = report.samples[i - 1]?.tessalloc?.purged ?? tessalloc.purged
    return [{ seconds: ms / 1000, event: mb(tessalloc.purged - before), level: mb(parts.retained) }]
  })
  if (rows.length < 2) return ''
  return `<h2>Given back over time</h2>
${legend([
  { id: 'purged', label: 'given back since the look before', colour: colours.purged },
  { id: 'held', label: 'freed but held', colour: colours.held },
])}
${eventsOverTime('purge', 'Bytes given back and held over time', { bars: colours.purged, line: colours.held }, rows)}`
}

/** Of the processes, in their order; the last is that of all small ones. */
const processColours = [
  '#0969da',
  '#bf8700',
  '#1a7f37',
  '#cf222e',
  '#8250df',
  '#2da44e',
  '#d4a72c',
  '#bc4c00',
  '#8c959f',
]

function processesSection(report: Report): string {
  const rows = processRows(report)
  if (rows.length === 0) return ''
  const series = rows.map(({ name }, i) => ({ id: `${i}`, label: name, colour: processColours[i] ?? '' }))
  const looks = report.samples.map(({ ms }, at) => ({
    seconds: ms / 1000,
    mb: Object.fromEntries(rows.map(({ rss }, i) => [`${i}`, mb(rss[at] ?? 0)])),
  }))
  const lines = rows.map(
    ({ name, peak, end }) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td>${bytesText(peak)}</td><td>${bytesText(end)}</td></tr>`,
  )
  return `<h2>Resident memory by process</h2>
${legend(series)}
${areasOverTime('by-process', 'Resident memory over time, by process', series, looks)}
${tableOf('processes', lines)}
<p class="note">${processesNote}</p>`
}

/** A table of figures at the peak and at the end. */
function tableOf(id: string, lines: readonly string[]): string {
  return `<table id="${id}"><thead><tr><td></td><th scope="col">at its peak</th><th scope="col">at the end</th></tr></thead>
<tbody>${lines.join('')}</tbody></table>`
}

function table(report: Report): string {
  const [peak, last] = [peakOf(report), report.samples.at(-1)]
  const row = (id: string, name: string, a: number, b: number) =>
    `<tr data-part="${id}"><th scope="row">${escapeHtml(name)}</th><td>${bytesText(a)}</td><td>${bytesText(b)}</td></tr>`
  const rows = parts
    .filter(({ id }) => report.samples.some((sample) => sample.parts[id] > 0))
    .map(({ id, label }) => row(id, label, peak?.parts[id] ?? 0, last?.parts[id] ?? 0))
  return tableOf('parts', [...rows, row('rss', 'all resident memory', peak?.rss ?? 0, last?.rss ?? 0)])
}

/** The report as one page that needs nothing else. */
export function reportPage(report: Report): string {
  const shown = parts.filter(({ id }) => report.samples.some((sample) => sample.parts[id] > 0))
  const rows = report.samples.map(({ ms, parts }) => ({ seconds: ms / 1000, mb: inMb(parts) }))
  const last = report.samples.at(-1)
  const body = `<h1>tessalloc report</h1>
<p><code>${escapeHtml(report.command?.join(' ') ?? `${report.name} (${report.pid})`)}</code></p>
<p id="verdict">${escapeHtml(report.verdict)}</p>
${legend(shown)}
<h2>Resident memory at the end</h2>
${last ? splitBar('split', 'Resident memory at the end, by what it is for', shown, inMb(last.parts)) : ''}
<h2>Resident memory over time</h2>
${areasOverTime('rss', 'Resident memory over time, by what it is for', shown, rows)}
${table(report)}
${classesSection(report)}
${purgeSection(report)}
${processesSection(report)}
<p class="note">${reportNotes(report).map(escapeHtml).join('<br>')}</p>`
  return htmlPage(`tessalloc report: ${report.name}`, body)
}
