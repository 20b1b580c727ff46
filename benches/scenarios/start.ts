/**
 * `npm run bench-start`: what the preload library costs `node -e 0`, in runs with and without it in turn.
 *
 *     npm run bench-start                     half a minute; with valgrind four
 *     npm run bench-start -- --record start   a record: benches/records/<date>-start.md
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { CommandError, main, root } from '../../scripts/lib.ts'
import { preloadVariables } from '../../src/cli/preload-env.ts'
import { binding } from '../../src/native.ts'
import { platformName } from '../../src/platforms.ts'
import { machine } from '../machine.ts'
import { median } from '../statistics.ts'

const rounds = 15
/** Under callgrind, which counts all but a few of the instructions the same each time. */
const countedRounds = 3
const peakRss = `/VmHWM:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]`

const plain: NodeJS.ProcessEnv = { ...process.env, LD_PRELOAD: undefined }
const preloaded: NodeJS.ProcessEnv = {
  ...plain,
  ...preloadVariables(join(root, 'npm', platformName(), 'libtessalloc.so'), plain),
}

function run(env: NodeJS.ProcessEnv, words: readonly string[]): { stdout: string; stderr: string } {
  const [command = '', ...args] = words
  const result = spawnSync(command, args, { env, encoding: 'utf8' })
  if (result.status !== 0)
    throw new CommandError(`"${words.join(' ')}" failed: ${result.error?.message ?? result.stderr}`)
  return result
}

/** Each figure of one run: name, bar as a factor or a difference, and how it is measured. */
const figures: readonly {
  readonly name: string
  readonly rounds: number
  readonly most: { readonly factor: number } | { readonly more: number }
  readonly measure: (env: NodeJS.ProcessEnv) => number
}[] = [
  {
    name: 'CPU, ms',
    rounds,
    most: { factor: 1.05 },
    measure: (env) => {
      const before = binding().childCpuMicros()
      run(env, [process.execPath, '-e', '0'])
      return (binding().childCpuMicros() - before) / 1000
    },
  },
  {
    name: 'peak RSS, MB',
    rounds,
    most: { more: 1 },
    measure: (env) => (Number(run(env, [process.execPath, '-p', peakRss]).stdout) * 1024) / 1e6,
  },
  {
    name: 'instructions by callgrind, millions',
    rounds: countedRounds,
    most: { factor: 1.02 },
    measure: (env) => {
      const words = ['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null', process.execPath, '-e', '0']
      return Number(/Collected : (\d+)/.exec(run(env, words).stderr)?.[1]) / 1e6
    },
  },
]

function bench(): void {
  const options = new Command('npm run bench-start --')
    .description('Measures what the preload library costs a Node program that does nothing.')
    .option('--record <name>', 'writes a dated record to benches/records')
    .parse()
    .opts<{ record?: string }>()
  const hasValgrind = spawnSync('valgrind', ['--version']).status === 0
  const lines = ['| `node -e 0` | runs | without | with | | bar |', '| --- | --- | --- | --- | --- | --- |']
  for (const { name, rounds, most, measure } of figures) {
    if (name.includes('callgrind') && !hasValgrind) continue
    const samples: [number, number][] = []
    for (let round = 0; round < rounds; round++) samples.push([measure(plain), measure(preloaded)])
    const [without, withIt] = [median(samples.map(([a]) => a)), median(samples.map(([, b]) => b))]
    const [reached, bar] = 'factor' in most ? [withIt / without, most.factor] : [withIt - without, most.more]
    const [sign, unit] = 'factor' in most ? ['×', '×'] : ['+', 'MB']
    const met = reached <= bar ? 'met' : 'NOT met'
    lines.push(
      `| ${name} | ${rounds} | ${without.toFixed(1)} | ${withIt.toFixed(1)} | ${sign} ${reached.toFixed(2)} | ≤ ${sign === '+' ? `+ ${bar} ${unit}` : `${bar} ${unit}`}: ${met} |`,
    )
  }
  console.log(lines.join('\n'))
  if (options.record === undefined) return
  const on = machine(false)
  const date = new Date().toISOString().slice(0, 10)
  const text = [
    `# ${date}: ${options.record}`,
    '',
    `- Machine: ${on.cpu}, ${on.cpus} processors, ${on.memoryGib} GiB; load ${os.loadavg()[0]?.toFixed(2)} after`,
    `- System: ${on.kernel}, ${on.libc}; Node ${on.node}; commit ${on.commit}`,
    '- Medians; runs with and without the preload library in turn.',
    '',
    ...lines,
    '',
  ]
  writeFileSync(join(root, 'benches', 'records', `${date}-${options.record}.md`), text.join('\n'))
}

await main(bench)
