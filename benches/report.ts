// Figures as text, tables and a chart.
import Table from 'cli-table3'
import * as echarts from 'echarts'
import pc from 'picocolors'
import type { Machine } from './machine.ts'
import { ours, type Unit } from './rows.ts'
import type { BarResult, Cell, RowResult } from './verdict.ts'

export interface Report {
  readonly date: string
  readonly rounds: number
  readonly scale: number
  /** Load average of the last minute, before and after. */
  readonly load: readonly [before: number, after: number]
  readonly machine: Machine
  /** What `--prove` said, a Rust peer. */
  readonly proofs: Readonly<Record<string, unknown>>
  /** Peers that could not be built, and why. */
  readonly missing: Readonly<Record<string, string>>
  readonly results: readonly RowResult[]
  readonly speed?: BarResult & { readonly rows: number }
}

const digits = (value: number): string => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)

/** Three digits or so, in a unit that fits. */
export function formatFigure(value: number, unit: Unit): string {
  switch (unit) {
    case 'ns':
      if (value >= 1e6) return `${digits(value / 1e6)} ms`
      return value >= 1e4 ? `${digits(value / 1e3)} µs` : digits(value)
    case 'KiB':
      if (value >= 2 ** 20) return `${digits(value / 2 ** 20)} GiB`
      return value >= 2 ** 10 ? `${digits(value / 2 ** 10)} MiB` : `${digits(value)} KiB`
    case 'ratio':
      return value.toFixed(2)
    case 'count':
      return String(Math.round(value))
    case 'instructions':
      return digits(value)
  }
}

const ratio = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(2))

function barText({ text, reached, met }: BarResult, bold: (met: boolean, text: string) => string): string {
  if (met === undefined) return `${text}: rival missing`
  const state = `${text}: ${met ? 'met' : 'NOT met'}`
  return bold(met, reached === undefined ? state : `${state} (${ratio(reached)})`)
}

const coloured = (met: boolean, text: string): string => (met ? pc.green(text) : pc.red(text))
const plain = (_met: boolean, text: string): string => text

/** The rows of one face, with a column for each peer that has a figure or failed in it. */
function grid(results: readonly RowResult[], bold: typeof plain): { head: string[]; body: string[][] } {
  const peers = [...new Set(results.flatMap(({ cells }) => cells.map(({ peer }) => peer)))]
  const cellText = (cell: Cell | undefined, unit: Unit): string =>
    cell === undefined ? '' : cell.value === undefined ? 'failed' : formatFigure(cell.value, unit)
  const head = ['workload', 'unit', ...peers, 'best rival', 'to best', 'to mimalloc', 'bar']
  const body = results.map(({ row, cells, bestRival, toBest, toMimalloc, bars }) => [
    row.name,
    row.unit,
    ...peers.map((peer) =>
      cellText(
        cells.find((cell) => cell.peer === peer),
        row.unit,
      ),
    ),
    bestRival ?? '',
    ratio(toBest),
    ratio(toMimalloc),
    bars.map((bar) => barText(bar, bold)).join('; '),
  ])
  return { head, body }
}

const faces = [
  ['rust', 'Rust, as global allocator'],
  ['preload', 'C, as preload library'],
] as const

const explanation = 'Times are the minimum of the rounds, everything else their median.'

function failures(report: Report): string[] {
  const missing = Object.entries(report.missing).map(([peer, reason]) => `${peer} was not run: ${reason}`)
  const failed = report.results.flatMap(({ row, cells }) =>
    cells.flatMap(({ peer, failure }) => (failure === undefined ? [] : [`${row.name}, ${peer}: ${failure}`])),
  )
  return [...missing, ...failed]
}

/** For the terminal. */
export function terminalText(report: Report): string {
  const parts: string[] = []
  for (const [face, title] of faces) {
    const results = report.results.filter(({ row }) => row.face === face)
    if (results.length === 0) continue
    const { head, body } = grid(results, coloured)
    const table = new Table({ head, style: { head: [], border: [], compact: true } })
    table.push(...body)
    parts.push(pc.bold(title), table.toString())
  }
  if (report.speed) parts.push(`Speed over ${report.speed.rows} rows: ${barText(report.speed, coloured)}`)
  parts.push(explanation, ...failures(report))
  return parts.join('\n')
}

/** For a record in the repository. */
export function markdown(report: Report, name: string, chartFile: string | undefined): string {
  const { machine } = report
  const crates = Object.entries(machine.crates).map(([crate, version]) => `${crate} ${version}`)
  const lines = [
    `# ${report.date}: ${name}`,
    '',
    `- Machine: ${machine.cpu}, ${machine.cpus} processors, ${machine.memoryGib} GiB; load ${report.load.map(digits).join(' before, ')} after`,
    `- System: ${machine.kernel}, ${machine.libc}, transparent huge pages: ${machine.transparentHugePages}`,
    `- Compilers: ${machine.rustc}; ${machine.cc}; run by Node ${machine.node}`,
    `- Commit: ${machine.commit}`,
    ...(crates.length === 0 ? [] : [`- Crates: ${crates.join(', ')}`]),
    `- ${report.rounds} rounds in turn, work × ${report.scale}. ${explanation}`,
    '',
  ]
  for (const [face, title] of faces) {
    const results = report.results.filter(({ row }) => row.face === face)
    if (results.length === 0) continue
    const { head, body } = grid(results, plain)
    const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
    lines.push(`## ${title}`, '', line(head), line(head.map(() => '---')), ...body.map(line), '')
  }
  if (report.speed) lines.push(`Speed over ${report.speed.rows} rows: ${barText(report.speed, plain)}`, '')
  const failed = failures(report)
  if (failed.length > 0) lines.push('Not measured:', '', ...failed.map((text) => `- ${text}`), '')
  if (Object.keys(report.proofs).length > 0) {
    lines.push(
      'That each peer serves its program: 64 MB in blocks of 1,000 B, against what the C library knows of and what the peer says of its own blocks.',
      '',
      '```json',
      ...Object.values(report.proofs).map((proof) => JSON.stringify(proof)),
      '```',
      '',
    )
  }
  if (chartFile !== undefined) lines.push(`![Times by workload and allocator](${chartFile})`, '')
  return lines.join('\n')
}

/** Times by workload and allocator, mimalloc's or else the best rival's as 1, on a logarithmic axis. */
export function svg(report: Report): string | undefined {
  const results = report.results.filter(
    ({ row, cells }) => row.isSpeed && cells.some(({ value }) => value !== undefined),
  )
  if (results.length === 0) return undefined
  const peers = [...new Set(results.flatMap(({ cells }) => cells.map(({ peer }) => peer)))]
  const hasMimalloc = peers.includes('mimalloc')
  const baseOf = ({ cells, bestRival }: RowResult) =>
    cells.find(({ peer }) => peer === (hasMimalloc ? 'mimalloc' : bestRival))?.value
  const relative = (result: RowResult, peer: string) => {
    const [base, value] = [baseOf(result), result.cells.find((cell) => cell.peer === peer)?.value]
    return base === undefined || value === undefined ? null : Math.round((value / base) * 1000) / 1000
  }
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 1_100, height: 80 + results.length * 70 })
  const base = hasMimalloc ? 'mimalloc v3' : 'the best rival'
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: `Time an operation, ${base} = 1 (less is better)`, left: 'center', top: 8 },
    legend: { top: 36, data: peers },
    grid: { left: 160, right: 30, top: 70, bottom: 30 },
    xAxis: { type: 'log', min: 0.05 },
    yAxis: { type: 'category', inverse: true, data: results.map(({ row }) => row.name) },
    series: peers.map((peer) => ({
      name: peer,
      type: 'bar',
      ...(peer === ours ? { itemStyle: { color: '#d1242f' } } : {}),
      data: results.map((result) => relative(result, peer)),
    })),
  })
  const text = chart.renderToSVGString()
  chart.dispose()
  return text
}
