/**
 * `npm run bench-scenarios`: Node programs that do some work and then have nothing to do, on tessalloc and on others.
 *
 *     npm run bench-scenarios                                 everything: about an hour
 *     npm run bench-scenarios -- --quick --only window,tls    some scenarios, fewer rounds
 *     npm run bench-scenarios -- --record scenarios           a record: benches/records/<date>-scenarios.md and .json
 *
 * Each run is a process of its own, the allocators in turn. First what is resident: at its peak, and 3 s after the work and a
 * collection of garbage. Then the delays of the event loop under light traffic, while memory goes back.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import pc from 'picocolors'
import { CommandError, main, root } from '../../scripts/lib.ts'
import { machine } from '../machine.ts'
import { type Recorded, recordHead, writeRecord } from '../records.ts'
import { median, rotated } from '../statistics.ts'
import { barsOf, type Cell, type Loop, loopKeys, type Memory, memoryKeys, type Result, scenarios } from './rows.ts'

interface Options {
  readonly only?: string[]
  readonly rounds?: string
  readonly quick?: true
  readonly without?: string[]
  readonly record?: string
}

interface Report extends Recorded {
  readonly rounds: number
  readonly loopRounds: number
  readonly results: readonly Result[]
}

const jemalloc = ['/usr/lib/x86_64-linux-gnu/libjemalloc.so.2', '/usr/lib/aarch64-linux-gnu/libjemalloc.so.2'].find(
  existsSync,
)

/** How a program is run on each allocator: words in front of it, and variables. */
const allocators: Readonly<Record<string, { readonly words: readonly string[]; readonly env: NodeJS.ProcessEnv }>> = {
  system: { words: [], env: {} },
  ...(jemalloc === undefined
    ? {}
    : {
        jemalloc: {
          words: [],
          env: { LD_PRELOAD: jemalloc, MALLOC_CONF: 'background_thread:true,dirty_decay_ms:1000' },
        },
      }),
  tessalloc: { words: [process.execPath, join(root, 'dist', 'cli.js'), 'run', '--'], env: {} },
}

const list = (text: string) => text.split(',')
const options = new Command('npm run bench-scenarios --')
  .description(
    'Measures what Node programs hold at their peak and when they are idle, and what stalls while memory goes back.',
  )
  .option('--only <scenarios>', 'only these, separated by commas', list)
  .option('--rounds <count>', 'processes for each figure (default 5; with --quick 1)')
  .option('--without <parts>', 'leaves out "memory" or "loop"', list)
  .option('--quick', 'one round: no figure for a record')
  .option('--record <name>', 'writes a dated record to benches/records')
  .parse()
  .opts<Options>()

function measure<T>(scenario: string, allocator: string, traffic: boolean): T {
  const { words, env } = allocators[allocator] ?? { words: [], env: {} }
  const [command = '', ...args] = [...words, process.execPath, join(root, 'benches', 'scenarios', `${scenario}.mjs`)]
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env, SCENARIO_TRAFFIC: traffic ? '1' : '0' },
  })
  if (result.status !== 0) throw new CommandError(`${scenario} on ${allocator} failed:\n${result.stderr}`)
  return JSON.parse(result.stdout) as T
}

/** Runs a scenario `rounds` times on each of some allocators, in turn. */
function runs<T>(scenario: string, names: readonly string[], rounds: number, traffic: boolean): Map<string, T[]> {
  const samples = new Map(names.map((name) => [name, [] as T[]]))
  for (let round = 0; round < rounds; round++) {
    for (const name of rotated(names, round)) samples.get(name)?.push(measure<T>(scenario, name, traffic))
  }
  return samples
}

function run(scenario: string, rounds: number, loopRounds: number): Result {
  const memory = runs<Memory>(scenario, Object.keys(allocators), rounds, false)
  const loop = runs<Loop>(scenario, Object.keys(allocators), loopRounds, true)
  const cells = Object.keys(allocators).map((allocator): Cell => {
    const [ofMemory, ofLoop] = [memory.get(allocator) ?? [], loop.get(allocator) ?? []]
    return {
      allocator,
      memory: ofMemory.length === 0 ? undefined : medians(ofMemory, memoryKeys),
      loop: ofLoop.length === 0 ? undefined : medians(ofLoop, loopKeys),
      runs: { memory: ofMemory, loop: ofLoop },
    }
  })
  return { scenario, cells, bars: barsOf(cells) }
}

function medians<K extends string>(
  samples: readonly Readonly<Record<K, number>>[],
  keys: readonly K[],
): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, median(samples.map((sample) => sample[key]))])) as Record<K, number>
}

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`

function table(result: Result): string[] {
  const head = [
    'allocator',
    'peak RSS, MB',
    'idle RSS, MB',
    'RSS after light traffic',
    'CPU of the work, ms',
    'while idle, ms',
    'longest turn, ms',
    'of it blocked',
    'longest turn with a purge',
    'of it blocked',
    'purged, MB',
  ]
  const mb = (bytes: number | undefined) => (bytes === undefined ? '–' : (bytes / 1e6).toFixed(0))
  const ms = (value: number | undefined) => (value === undefined ? '–' : value.toFixed(1))
  const rows = result.cells.map(({ allocator, memory, loop }) => {
    const purges = loop !== undefined && loop.turnsOfPurges > 0 ? loop : undefined
    return [
      allocator,
      mb(memory?.peakRssBytes),
      mb(memory?.idleRssBytes),
      mb(loop?.trafficRssBytes),
      memory?.workCpuMs.toFixed(0) ?? '–',
      memory?.idleCpuMs.toFixed(0) ?? '–',
      ms(loop?.delayMs),
      ms(loop?.blockedMs),
      ms(purges?.purgeDelayMs),
      ms(purges?.purgeBlockedMs),
      mb(purges?.purgedBytes),
    ]
  })
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}

function markdown(report: Report, name: string): string {
  return [
    ...recordHead(report, name),
    `- Medians of ${report.rounds} processes for memory and of ${report.loopRounds} for the event loop, allocators in turn. tessalloc by \`tessalloc run\`; jemalloc ${
      jemalloc === undefined ? 'was not there' : 'with `background_thread:true,dirty_decay_ms:1000`'
    }.`,
    '- A turn of the loop is a timer of 1 ms, under light traffic (200 small requests a second) from the fourth second on; what it took longer, less what the thread waited for a processor. RSS after it: 14 s after the work.',
    '',
    ...report.results.flatMap((result) => [
      `## ${result.scenario}`,
      '',
      ...table(result),
      '',
      ...result.bars.map(({ text }) => `- ${text}`),
      '',
    ]),
  ].join('\n')
}

function bench(): void {
  const rounds = Math.max(1, Math.round(Number(options.rounds ?? (options.quick ? 1 : 5))) || 1)
  const chosen = scenarios.filter((name) => options.only === undefined || options.only.includes(name))
  if (chosen.length === 0)
    throw new CommandError(`Cannot run ${options.only}: expected some of ${scenarios.join(', ')}`)
  if (!existsSync(join(root, 'dist', 'cli.js')))
    throw new CommandError('Cannot run: nothing is built. Try: npm run build')
  const has = (part: string) => !(options.without ?? []).includes(part)
  const [memoryRounds, loopRounds] = [has('memory') ? rounds : 0, has('loop') ? Math.min(rounds, 2) : 0]
  const before = os.loadavg()[0] ?? 0
  const results: Result[] = []
  for (const scenario of chosen) {
    const result = run(scenario, memoryRounds, loopRounds)
    results.push(result)
    console.log(`${pc.bold(scenario)}\n${table(result).join('\n')}`)
    for (const { text, met } of result.bars) console.log(met ? pc.green(text) : pc.red(text))
  }
  if (options.record === undefined) return
  const date = new Date().toISOString().slice(0, 10)
  const load: Report['load'] = [before, os.loadavg()[0] ?? 0]
  const report: Report = { date, machine: machine(false), load, rounds: memoryRounds, loopRounds, results }
  const json = `${JSON.stringify(report, null, 1)}\n`
  writeRecord(date, options.record, { md: markdown(report, options.record), json })
}

await main(bench)
