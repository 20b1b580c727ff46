import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Comparison } from './compare.ts'
import { notes, shownColumns, typicalRun } from './compare-text.ts'
import { ratioText } from './format.ts'
import { escapeHtml, htmlPage } from './html.ts'

const require = createRequire(import.meta.url)

/** Data for a script element: JSON in which nothing can end the element. */
function scriptData(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c')
}

function table(comparison: Comparison): string {
  const shown = shownColumns(comparison.results)
  const rows = comparison.results.map((result, i) => {
    const cells = shown.map(({ metric, write }) => {
      const [value, ratio] = [result.median[metric], result.ratio[metric]]
      if (value === null) return '<td>–</td>'
      const small = i > 0 && ratio !== null ? ` <small>${ratioText(ratio)}</small>` : ''
      return `<td>${write(value)}${small}</td>`
    })
    return `<tr><th scope="row">${escapeHtml(result.name)}</th>${cells.join('')}</tr>`
  })
  const head = shown.map((column) => `<th scope="col">${column.head}</th>`).join('')
  return `<table id="figures"><thead><tr><td></td>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`
}

/** Series of all allocators on one time axis: for each time, the last sample before it; nothing after the end. */
function series(comparison: Comparison): (number | null)[][] {
  const lines = comparison.results.map((result) => typicalRun(result)?.samples ?? [])
  const times = [...new Set(lines.flatMap((line) => line.map(([ms]) => ms)))].sort((a, b) => a - b)
  const onAxis = lines.map((line) => {
    let next = 0
    return times.map((ms) => {
      while (next < line.length && (line[next]?.[0] ?? 0) <= ms) next += 1
      const isOver = ms > (line.at(-1)?.[0] ?? 0)
      return next === 0 || isOver ? null : (line[next - 1]?.[1] ?? 0) / 1e6
    })
  })
  return [times.map((ms) => ms / 1000), ...onAxis]
}

/** One page that needs nothing else: table, verdict, and the chart of RSS over time. */
export function page(comparison: Comparison): string {
  const uplot = dirname(require.resolve('uplot/package.json'))
  const code = readFileSync(join(uplot, 'dist', 'uPlot.iife.min.js'), 'utf8')
  const style = readFileSync(join(uplot, 'dist', 'uPlot.min.css'), 'utf8')
  const names = comparison.results.map((result) => result.name)
  const body = `<h1>tessalloc compare</h1>
<p><code>${escapeHtml(comparison.command.join(' '))}</code></p>
<p id="verdict">${escapeHtml(comparison.verdict)}</p>
${table(comparison)}
<div id="chart"></div>
<p class="note">${notes(comparison).map(escapeHtml).join('<br>')}<br>${escapeHtml(comparison.machine)}; ${escapeHtml(comparison.date)}; tessalloc ${escapeHtml(comparison.tessalloc)}. The chart shows the run with the median idle (or peak) RSS.</p>
<script>${code.replaceAll('</script', '<\\/script')}</script>
<script>
const names = ${scriptData(names)};
const data = ${scriptData(series(comparison))};
const colours = ['#bf8700', '#1a7f37', '#0969da', '#8250df', '#1b7c83'];
const shown = (digits, unit) => (plot, value) => value == null ? '–' : value.toFixed(digits) + unit;
new uPlot({
  width: Math.min(900, document.body.clientWidth), height: 360, title: 'RSS over time',
  scales: { x: { time: false }, y: { range: (plot, low, high) => [0, high * 1.05] } },
  axes: [{ label: 'seconds' }, { label: 'MB', size: 60 }],
  series: [{ label: 'under the pointer', value: shown(2, ' s') },
    ...names.map((label, i) => ({ label, stroke: colours[i % colours.length], width: 2, value: shown(0, ' MB') }))],
}, data, document.getElementById('chart'));
</script>`
  return htmlPage('tessalloc compare', body, style)
}
