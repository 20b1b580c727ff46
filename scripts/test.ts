/**
 * `npm test`: everything that is checked, as CI does it. Installs nothing itself, `scripts/setup.mjs` did.
 *
 *     npm test                            every step
 *     npm test -- --only ava,tidy         only these (and what is built already)
 *     npm test -- --list                  names of the steps
 *
 * A step is a row of the table below. Steps run one after the other; one that fails does not stop the others, except those that
 * need it. The last line counts the tests of all runners; a step without a runner counts as one failed test when it fails.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import pc from 'picocolors'
import { ava, biome, root, tsc } from './lib.ts'

interface Step {
  readonly name: string
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** How to count the tests in the output. */
  readonly runner?: 'cargo' | 'ava'
  /** Steps that must have passed, unless they were left out by `--only`. */
  readonly needs?: readonly string[]
}

const node = process.execPath
const script = (name: string, ...args: string[]) => [
  node,
  '--import',
  '@oxc-node/core/register',
  `scripts/${name}.ts`,
  ...args,
]
/** A configuration of its own compiles everything anew: it gets a folder of its own, so that the others stay built. */
const ownFolder = (name: string) => `${process.env.CARGO_TARGET_DIR ?? 'target'}/${name}`
const own = (name: string, flags: string) => ({ RUSTFLAGS: `--cfg ${flags}`, CARGO_TARGET_DIR: ownFolder(name) })

const steps: readonly Step[] = [
  { name: 'format', command: [node, biome, 'ci', '--error-on-warnings', '.'] },
  { name: 'rustfmt', command: ['cargo', 'fmt', '--all', '--check'] },
  { name: 'rustfmt-fuzz', command: ['cargo', 'fmt', '--manifest-path', 'fuzz/Cargo.toml', '--check'] },
  { name: 'types', command: [node, tsc, '-p', 'tsconfig.json'] },
  { name: 'tidy', command: script('tidy') },
  { name: 'docs', command: script('docs', 'typescript') },
  {
    name: 'clippy',
    command: [
      'cargo',
      'clippy',
      '-p',
      'tessalloc',
      '--features',
      'allocator-api2',
      '--all-targets',
      '--',
      '-D',
      'warnings',
    ],
  },
  {
    name: 'clippy-node',
    command: ['cargo', 'clippy', '-p', 'tessalloc-node', '-p', 'word-counts', '--all-targets', '--', '-D', 'warnings'],
  },
  // Without `--all-targets`: the library has its own panic handler, which a test harness has too.
  {
    name: 'clippy-c',
    command: ['cargo', 'clippy', '-p', 'tessalloc-c', '--lib', '--profile', 'release-c', '--', '-D', 'warnings'],
  },
  { name: 'build', command: script('build') },
  {
    name: 'core',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc', '--features', 'allocator-api2'],
    runner: 'cargo',
  },
  // What only a nightly compiler takes, by the stable one: the standard `Allocator`, and codes of errors in `compile_fail` examples.
  {
    name: 'core-nightly',
    command: ['cargo', 'test', '-p', 'tessalloc', '--features', 'nightly,allocator-api2', '--test', 'allocator'],
    env: { RUSTC_BOOTSTRAP: 'tessalloc,allocator', CARGO_TARGET_DIR: ownFolder('nightly') },
    runner: 'cargo',
  },
  {
    name: 'core-nightly-doc',
    command: ['cargo', 'test', '-p', 'tessalloc', '--features', 'nightly,allocator-api2', '--doc', 'allocator'],
    env: { RUSTC_BOOTSTRAP: 'tessalloc,allocator', CARGO_TARGET_DIR: ownFolder('nightly') },
    runner: 'cargo',
    needs: ['core-nightly'],
  },
  {
    name: 'core-sim',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc'],
    env: own('sim', 'tessalloc_sim'),
    runner: 'cargo',
  },
  // Random programs against a naive model; all invariants of the core between their steps.
  {
    name: 'differential',
    command: ['cargo', 'test', '--no-fail-fast', '--manifest-path', 'fuzz/Cargo.toml', '--no-default-features'],
    env: own('check', 'tessalloc_check'),
    runner: 'cargo',
  },
  {
    name: 'clippy-differential',
    command: [
      ...['cargo', 'clippy', '--manifest-path', 'fuzz/Cargo.toml', '--no-default-features', '--all-targets'],
      ...['--', '-D', 'warnings'],
    ],
    env: own('check', 'tessalloc_check'),
  },
  {
    name: 'core-loom',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc', '--release', '--lib'],
    // The models alone are compiled, and run for seconds: optimising across crates costs more than it saves.
    env: { ...own('loom', 'loom'), CARGO_PROFILE_RELEASE_LTO: 'off', CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16' },
    runner: 'cargo',
  },
  { name: 'c', command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc-c'], runner: 'cargo', needs: ['build'] },
  {
    name: 'ava',
    command: [node, ava],
    env: { OXC_TSCONFIG_PATH: `${root}/tsconfig.json` },
    runner: 'ava',
    needs: ['build'],
  },
]

interface Count {
  passed: number
  failed: number
  skipped: number
}

const counters: Readonly<Record<NonNullable<Step['runner']>, (output: string) => Count>> = {
  cargo: (output) => {
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const [, passed, failed, ignored] of output.matchAll(
      /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm,
    )) {
      count.passed += Number(passed)
      count.failed += Number(failed)
      count.skipped += Number(ignored)
    }
    return count
  },
  ava: (output) => {
    const number = (what: string) => Number(new RegExp(`^\\s*(\\d+) tests? ${what}`, 'm').exec(output)?.[1] ?? 0)
    const errors = Number(/^\s*(\d+) (?:uncaught exceptions?|unhandled rejections?)/m.exec(output)?.[1] ?? 0)
    return { passed: number('passed'), failed: number('failed') + errors, skipped: number('skipped') }
  },
}

let current: ChildProcess | undefined

/** Runs a step with its output on ours; `null` for a command that could not be started. */
function execute(step: Step): Promise<{ code: number | null; output: string }> {
  const [command = '', ...args] = step.command
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...step.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    current = child
    let output = ''
    child.stdout.on('data', (data: Buffer) => {
      output += data
      process.stdout.write(data)
    })
    child.stderr.pipe(process.stderr, { end: false })
    child.on('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`)
      resolve({ code: null, output })
    })
    child.on('close', (code) => resolve({ code, output: stripVTControlCharacters(output) }))
  })
}

interface Outcome extends Count {
  readonly step: Step
  readonly state: 'passed' | 'failed' | 'left out'
  readonly seconds: number
}

async function perform(step: Step, before: readonly Outcome[]): Promise<Outcome> {
  const broken = step.needs?.find((need) => before.some((each) => each.step.name === need && each.state !== 'passed'))
  if (broken !== undefined) {
    console.log(`\n${pc.yellow(`■ ${step.name}`)}: left out, it needs ${broken}`)
    return { step, state: 'left out', seconds: 0, passed: 0, failed: 1, skipped: 0 }
  }
  console.log(`\n${pc.bold(`▶ ${step.name}`)}  ${pc.dim(step.command.join(' ').replaceAll(`${root}/`, ''))}`)
  const start = performance.now()
  const { code, output } = await execute(step)
  const seconds = (performance.now() - start) / 1000
  const count = step.runner ? counters[step.runner](output) : { passed: 0, failed: 0, skipped: 0 }
  // A runner that ran nothing has tested nothing, whatever its exit code.
  const isEmpty = step.runner !== undefined && count.passed + count.failed === 0
  if (isEmpty) console.log(`${step.name} ran no test`)
  const isGood = code === 0 && count.failed === 0 && !isEmpty
  if (!isGood && count.failed === 0) count.failed = 1
  console.log(
    isGood ? pc.green(`✔ ${step.name} ${seconds.toFixed(1)} s`) : pc.red(`✘ ${step.name} ${seconds.toFixed(1)} s`),
  )
  return { step, state: isGood ? 'passed' : 'failed', seconds, ...count }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { only: { type: 'string' }, list: { type: 'boolean' } } })
  if (values.list) return console.log(steps.map((step) => step.name).join('\n'))
  const wanted = values.only?.split(',')
  const unknown = wanted?.find((name) => !steps.some((step) => step.name === name))
  if (unknown !== undefined) {
    console.error(`No step "${unknown}". There are: ${steps.map((step) => step.name).join(', ')}.`)
    process.exitCode = 2
    return
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      current?.kill(signal)
      process.exit(130)
    })
  }

  const outcomes: Outcome[] = []
  for (const step of steps) {
    if (!wanted || wanted.includes(step.name)) outcomes.push(await perform(step, outcomes))
  }

  console.log('')
  for (const { step, state, seconds, passed, failed, skipped } of outcomes) {
    const mark = state === 'passed' ? pc.green('✔') : pc.red('✘')
    const tests = step.runner ? `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}` : state
    console.log(`${mark} ${step.name.padEnd(12)} ${seconds.toFixed(1).padStart(7)} s  ${tests}`)
  }
  const sum = (what: keyof Count) => outcomes.reduce((total, outcome) => total + outcome[what], 0)
  console.log(
    `${' '.repeat(15)}${outcomes
      .reduce((total, { seconds }) => total + seconds, 0)
      .toFixed(1)
      .padStart(7)} s\n`,
  )
  console.log(
    `${sum('passed')} passed, ${sum('failed')} failed${sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : ''}`,
  )
  if (sum('failed') > 0) process.exitCode = 1
}

await main()
