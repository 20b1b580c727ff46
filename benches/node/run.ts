/**
 * `npm run bench-node`: arenas, pools, heaps and sharing of the npm package beside what Node and others have.
 *
 *     npm run bench-node                                  about five minutes
 *     npm run bench-node -- --quick --only alloc,pool     some workloads, less work
 *     npm run bench-node -- --record node                 a record: benches/records/<date>-node.md and .json
 *
 * Each figure comes from processes of its own, one a round, the contenders in turn. Times are the minimum over all rounds, memory is
 * the median of the peaks.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import Table from 'cli-table3'
import { Command } from 'commander'
import pc from 'picocolors'
import { CommandError, root } from '../../scripts/lib.ts'
import { machine } from '../machine.ts'
import { type Recorded, recordHead, writeRecord } from '../records.ts'
import { formatFigure } from '../report.ts'
import { median, minimum, rotated } from '../statistics.ts'
import { type Bar, type Workload, workloads } from './workloads.ts'

interface Options {
  readonly only?: string[]
  readonly rounds?: string
  readonly quick?: true
  readonly json?: string
  readonly record?: string
}

/** What one contender reached in one workload. */
interface Cell {
  readonly contender: string
  readonly ns: number
  readonly rssKib: number
  /** Of every round. */
  readonly rounds: readonly number[]
}

interface Result {
  readonly workload: string
  readonly cells: readonly Cell[]
  readonly bars: readonly { readonly text: string; readonly met: boolean }[]
}

interface Report extends Recorded {
  readonly rounds: number
  readonly results: readonly Result[]
}

const options = new Command('npm run bench-node --')
  .description('Measures arenas, pools and heaps of the npm package beside what Node and others have.')
  .option('--only <workloads>', 'only workloads that begin with one of these, separated by commas', (text) =>
    text.split(','),
  )
  .option('--rounds <count>', 'processes for each figure (default 5; with --quick 2)')
  .option('--quick', 'fewer rounds, shorter ones: no figure for a record')
  .option('--json <file>', 'writes all figures')
  .option('--record <name>', 'writes a dated record to benches/records')
  .parse()
  .opts<Options>()

const rounds = Math.max(1, Math.round(Number(options.rounds ?? (options.quick ? 2 : 5))) || 1)
const milliseconds = options.quick ? 60 : 300

function measure(workload: string, contender: string): { ns: number; rssKib: number } {
  const child = join(root, 'benches', 'node', 'child.ts')
  const args = ['--import', '@oxc-node/core/register', child, workload, contender, String(milliseconds)]
  const result = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
  if (result.status !== 0) throw new CommandError(`${contender} in ${workload} failed:\n${result.stderr}`)
  return JSON.parse(result.stdout) as { ns: number; rssKib: number }
}

function run(workload: Workload): Result {
  const names = Object.keys(workload.contenders)
  const samples = new Map(names.map((name) => [name, [] as ReturnType<typeof measure>[]]))
  for (let round = 0; round < rounds; round++) {
    for (const name of rotated(names, round)) samples.get(name)?.push(measure(workload.name, name))
  }
  const cells = [...samples].map(([contender, all]) => ({
    contender,
    ns: minimum(all.map(({ ns }) => ns)),
    rssKib: median(all.map(({ rssKib }) => rssKib)),
    rounds: all.map(({ ns }) => ns),
  }))
  return { workload: workload.name, cells, bars: workload.bars.map((bar) => verdict(bar, cells)) }
}

function verdict({ contender, most, than }: Bar, cells: readonly Cell[]): Result['bars'][number] {
  const ns = (name: string) => cells.find((cell) => cell.contender === name)?.ns ?? Number.NaN
  const reached = than === undefined ? ns(contender) : ns(contender) / ns(than)
  const met = reached <= most
  const bar = than === undefined ? `${most} ns` : `${most} × ${than}`
  return { text: `${contender} ≤ ${bar}: ${met ? 'met' : 'NOT met'} (${reached.toFixed(2)})`, met }
}

/** Rows of a table: contender, time, time beside ours, memory. */
function rowsOf({ cells }: Result): string[][] {
  const first = cells[0]?.ns ?? Number.NaN
  return cells.map(({ contender, ns, rssKib }) => [
    contender,
    formatFigure(ns, 'ns'),
    (ns / first).toFixed(2),
    formatFigure(rssKib, 'KiB'),
  ])
}

const head = ['contender', 'ns', '× the first', 'peak RSS']

function markdown(report: Report, name: string): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    ...recordHead(report, name),
    `- ${report.rounds} processes for each figure, contenders in turn. Times are the minimum, memory is the median.`,
    '',
    ...report.results.flatMap((result) => [
      `## ${result.workload}`,
      '',
      line(head),
      line(head.map(() => '---')),
      ...rowsOf(result).map(line),
      '',
      ...(result.bars.length > 0 ? [...result.bars.map(({ text }) => `- ${text}`), ''] : []),
    ]),
  ].join('\n')
}

const before = os.loadavg()[0] ?? 0
const results: Result[] = []
for (const workload of workloads) {
  if (options.only && !options.only.some((start) => workload.name.startsWith(start))) continue
  const result = run(workload)
  results.push(result)
  const table = new Table({ head, style: { head: [], border: [] }, colAligns: ['left', 'right', 'right', 'right'] })
  table.push(...rowsOf(result))
  console.log(`${pc.bold(result.workload)}\n${table.toString()}`)
  for (const { text, met } of result.bars) console.log(met ? pc.green(text) : pc.red(text))
}
const date = new Date().toISOString().slice(0, 10)
const report: Report = { date, machine: machine(false), load: [before, os.loadavg()[0] ?? 0], rounds, results }
const json = `${JSON.stringify(report, null, 1)}\n`
if (options.json) writeFileSync(options.json, json)
if (options.record) writeRecord(date, options.record, { md: markdown(report, options.record), json })
