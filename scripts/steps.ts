/**
 * Runs a table of steps, one after the other, for `npm test` and `npm run verify`. One that fails does not stop the others, except those
 * that need it. The last line counts the tests of all runners; a step without a runner counts as one failed test when it fails. Lines
 * `covered: …` of a step's output, which say how much it tried, come again in the summary.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import pc from 'picocolors'
import { root } from './lib.ts'

export interface Step {
  readonly name: string
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** How to count the tests in the output. */
  readonly runner?: 'cargo' | 'ava'
  /** Steps that must have passed, unless they were left out by `--only`. */
  readonly needs?: readonly string[]
}

export const node: string = process.execPath
export const script = (name: string, ...args: string[]): string[] => [
  node,
  '--import',
  '@oxc-node/core/register',
  `scripts/${name}.ts`,
  ...args,
]
/** A configuration of its own compiles everything anew: it gets a folder of its own, so that the others stay built. */
export const ownFolder = (name: string): string => `${process.env.CARGO_TARGET_DIR ?? 'target'}/${name}`
export const own = (name: string, flags: string): Record<string, string> => ({
  RUSTFLAGS: `--cfg ${flags}`,
  CARGO_TARGET_DIR: ownFolder(name),
})

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
function execute(step: Step): Promise<{ code: number | null; output: string; covered: string[] }> {
  const [command = '', ...args] = step.command
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...step.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    current = child
    let output = ''
    let said = ''
    child.stdout.on('data', (data: Buffer) => {
      output += data
      process.stdout.write(data)
    })
    child.stderr.on('data', (data: Buffer) => {
      said += data
      process.stderr.write(data)
    })
    child.on('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`)
      resolve({ code: null, output, covered: [] })
    })
    child.on('close', (code) => {
      const covered = [...stripVTControlCharacters(`${output}\n${said}`).matchAll(/^covered: (.*)$/gm)].map(
        ([, text = '']) => text,
      )
      resolve({ code, output: stripVTControlCharacters(output), covered })
    })
  })
}

/** What became of a step. */
export interface Outcome extends Count {
  readonly step: Step
  readonly state: 'passed' | 'failed' | 'left out'
  readonly seconds: number
  readonly covered: readonly string[]
}

async function perform(step: Step, before: readonly Outcome[]): Promise<Outcome> {
  const broken = step.needs?.find((need) => before.some((each) => each.step.name === need && each.state !== 'passed'))
  if (broken !== undefined) {
    console.log(`\n${pc.yellow(`■ ${step.name}`)}: left out, it needs ${broken}`)
    return { step, state: 'left out', seconds: 0, covered: [], passed: 0, failed: 1, skipped: 0 }
  }
  console.log(`\n${pc.bold(`▶ ${step.name}`)}  ${pc.dim(step.command.join(' ').replaceAll(`${root}/`, ''))}`)
  const start = performance.now()
  const { code, output, covered } = await execute(step)
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
  return { step, state: isGood ? 'passed' : 'failed', seconds, covered, ...count }
}

/** Tests of a step, in words. */
export function testsOf({ step, state, passed, failed, skipped }: Outcome): string {
  return step.runner ? `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}` : state
}

/** Runs the steps that the command line wants; with `--record`, `record` is called for each that has passed. */
export async function runSteps(steps: readonly Step[], record?: (outcome: Outcome) => void): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      list: { type: 'boolean' },
      ...(record ? { record: { type: 'boolean' } as const } : {}),
    },
  })
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
    if (wanted && !wanted.includes(step.name)) continue
    const outcome = await perform(step, outcomes)
    outcomes.push(outcome)
    if (values.record && outcome.state === 'passed') record?.(outcome)
  }

  console.log('')
  for (const outcome of outcomes) {
    const { step, state, seconds, covered } = outcome
    const mark = state === 'passed' ? pc.green('✔') : pc.red('✘')
    console.log(`${mark} ${step.name.padEnd(12)} ${seconds.toFixed(1).padStart(7)} s  ${testsOf(outcome)}`)
    for (const text of covered) console.log(pc.dim(`${' '.repeat(25)}${text}`))
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
