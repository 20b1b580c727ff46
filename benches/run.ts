// `npm run bench`: us and the rivals side by side, round by round in turn.
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { CommandError, root } from '../scripts/lib.ts'
import { type Built, buildC, buildPreload, buildRust, provides } from './build.ts'
import { machine } from './machine.ts'
import { measureC, measureInstructions, measureRust, proveRust } from './measure.ts'
import { markdown, type Report, svg, terminalText } from './report.ts'
import { type Face, largeWorkloads, preloadPeers, type Row, rows, rustPeers } from './rows.ts'
import { rotated } from './statistics.ts'
import { rowResult, type Sample, speedResult } from './verdict.ts'

interface Options {
  readonly only?: string[]
  readonly peers?: string[]
  readonly rounds?: number
  readonly scale?: number
  readonly quick?: true
  readonly all?: true
  readonly json?: string
  readonly svg?: string
  readonly record?: string
}

const list = (text: string): string[] => text.split(',').filter((item) => item !== '')

function above(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!(value >= least)) throw new InvalidArgumentError(`Expected a number from ${least} on.`)
    return value
  }
}

const options = new Command('npm run bench --')
  .description('Measures tessalloc and its rivals, round by round in turn.')
  .option('--only <workloads>', 'only rows that begin with one of these, separated by commas', list)
  .option('--peers <peers>', 'only these allocators, separated by commas', list)
  .option('--rounds <count>', 'rounds in turn (default 7; with --quick 3)', above(1))
  .option('--scale <factor>', 'how much of the work is done (default 1; with --quick 0.2)', above(0.001))
  .option('--quick', 'fewer rounds, less work: no figure for a record')
  .option('--all', `also what takes long or much memory: ${[...largeWorkloads].join(', ')}`)
  .option('--json <file>', 'writes all figures')
  .option('--svg <file>', 'writes a chart of the times')
  .option('--record <name>', 'writes a dated record to benches/records')
  .parse()
  .opts<Options>()

/** What is run once a round: several rows may take their figures from it. */
interface Task {
  readonly face: Face
  readonly workload: string
  /** Times in all. */
  readonly rounds: number
  readonly measure: (path: string) => Sample
}

function chosenRows(): Row[] {
  const { only } = options
  const chosen = rows.filter(({ name, workload }) =>
    only === undefined
      ? options.all === true || !largeWorkloads.has(workload)
      : only.some((start) => name.startsWith(start) || workload === start),
  )
  if (chosen.length === 0) {
    const names = rows.map(({ name }) => name).join('\n  ')
    throw new CommandError(`Cannot run ${only?.join(',')}: expected the beginning of one of\n  ${names}`)
  }
  return chosen
}

function chosenPeers(all: readonly string[]): string[] {
  return options.peers === undefined ? [...all] : all.filter((peer) => options.peers?.includes(peer))
}

function tasksOf(chosen: readonly Row[], rounds: number, scale: number): Task[] {
  const tasks = new Map<string, Task>()
  for (const { face, workload, take } of chosen) {
    const key = `${face} ${workload}`
    const known = tasks.get(key)
    if (face === 'preload') {
      tasks.set(key, cTask(workload, rounds, scale))
    } else if (known === undefined || take === 'minimum') {
      // What is resident hardly scatters and takes long to measure.
      const times = largeWorkloads.has(workload) ? 1 : take === 'minimum' ? rounds : Math.min(rounds, 3)
      // Bars on memory hold for the full size only.
      const measure = (path: string) => measureRust(path, workload, take === 'minimum' ? scale : 1)
      tasks.set(key, { face, workload, rounds: Math.max(times, known?.rounds ?? 0), measure })
    }
  }
  return [...tasks.values()]
}

function cTask(workload: string, rounds: number, scale: number): Task {
  switch (workload) {
    case 'pair': {
      const program = buildC('pair')
      const operations = String(Math.round(20_000_000 * scale))
      return { face: 'preload', workload, rounds, measure: (library) => measureC(program, library, [operations]) }
    }
    case 'first': {
      const program = buildC('first')
      return { face: 'preload', workload, rounds: 9, measure: (library) => measureC(program, library, []) }
    }
    case 'instructions': {
      const program = buildC('pair')
      const hasValgrind = provides('valgrind', ['valgrind'])
      const measure = (library: string): Sample =>
        hasValgrind ? measureInstructions(program, library) : { ok: false, reason: 'valgrind is needed' }
      return { face: 'preload', workload, rounds: 1, measure }
    }
    default:
      throw new RangeError(`Cannot run the C workload ${workload}: no such workload`)
  }
}

function bench(): void {
  const rounds = options.rounds ?? (options.quick ? 3 : 7)
  const scale = options.scale ?? (options.quick ? 0.2 : 1)
  const chosen = chosenRows()
  const unknown =
    options.peers?.filter((peer) => ![...rustPeers, ...preloadPeers].some((known) => known === peer)) ?? []
  if (unknown.length > 0) {
    const known = [...new Set([...rustPeers, ...preloadPeers])].join(', ')
    throw new CommandError(`Cannot run peers: expected some of ${known}; received ${unknown.join(', ')}`)
  }

  console.error('tessalloc: building what is measured …')
  const has = (face: Face) => chosen.some((row) => row.face === face)
  const built: Record<Face, Map<string, Built>> = {
    rust: has('rust') ? buildRust(chosenPeers(rustPeers)) : new Map(),
    preload: has('preload') ? buildPreload(chosenPeers(preloadPeers)) : new Map(),
  }
  const missing: Record<string, string> = {}
  const ready: Record<Face, [peer: string, path: string][]> = { rust: [], preload: [] }
  for (const face of ['rust', 'preload'] as const) {
    for (const [peer, state] of built[face]) {
      if (state.ok) ready[face].push([peer, state.path])
      else missing[`${peer} (${face})`] = state.reason
    }
  }
  const proofs: Record<string, unknown> = {}
  for (const [peer, path] of ready.rust) {
    const proof = proveRust(path)
    if (!proof.ok) throw new CommandError(`Cannot measure ${peer}: ${proof.reason}`)
    proofs[peer] = proof.result
  }

  const tasks = tasksOf(chosen, rounds, scale)
  const samples = new Map(tasks.map(({ face, workload }) => [`${face} ${workload}`, new Map<string, Sample[]>()]))
  for (const { face, workload } of tasks) {
    for (const [peer] of ready[face]) samples.get(`${face} ${workload}`)?.set(peer, [])
  }
  const loadBefore = os.loadavg()[0] ?? 0
  if (loadBefore > 0.5) {
    console.error(`tessalloc: the machine is busy (load ${loadBefore.toFixed(1)}): times will scatter`)
  }
  const roundsInAll = Math.max(...tasks.map((task) => task.rounds))
  for (let round = 0; round < roundsInAll; round++) {
    for (const task of tasks) {
      if (round >= task.rounds) continue
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1}/${roundsInAll} ${task.workload}`)
      const samplesOf = samples.get(`${task.face} ${task.workload}`)
      for (const [peer, path] of rotated(ready[task.face], round)) {
        samplesOf?.get(peer)?.push(task.measure(path))
      }
    }
    if (!process.stderr.isTTY) console.error(`tessalloc: round ${round + 1} of ${roundsInAll}`)
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')

  const results = chosen.map((row) => rowResult(row, samples.get(`${row.face} ${row.workload}`) ?? new Map()))
  const speed = speedResult(results)
  const report: Report = {
    date: new Date().toISOString().slice(0, 10),
    rounds,
    scale,
    load: [loadBefore, os.loadavg()[0] ?? 0],
    machine: machine(has('rust')),
    proofs,
    missing,
    results,
    ...(speed === undefined ? {} : { speed }),
  }
  console.log(terminalText(report))
  write(report)
}

function write(report: Report): void {
  const chart = svg(report)
  const json = () => `${JSON.stringify(report, null, 1)}\n`
  if (options.json !== undefined) writeFileSync(options.json, json())
  if (options.svg !== undefined && chart !== undefined) writeFileSync(options.svg, chart)
  if (options.record !== undefined) {
    const folder = join(root, 'benches', 'records')
    mkdirSync(folder, { recursive: true })
    const stem = `${report.date}-${options.record}`
    const chartFile = chart === undefined ? undefined : `${stem}.svg`
    if (chart !== undefined) writeFileSync(join(folder, `${stem}.svg`), chart)
    writeFileSync(join(folder, `${stem}.json`), json())
    writeFileSync(join(folder, `${stem}.md`), markdown(report, options.record, chartFile))
    console.error(`tessalloc: wrote benches/records/${stem}.md and .json`)
  }
}

try {
  bench()
} catch (error) {
  if (!(error instanceof CommandError)) throw error
  console.error(`tessalloc: ${error.message}`)
  process.exit(1)
}
