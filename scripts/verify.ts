/**
 * `npm run verify`: the long form of what `npm test` does in short. Everything here looks for what nobody thought of: models run to their
 * end, orderings are weakened, schedules and programs are random, system calls fail, sanitizers watch, lines are counted.
 *
 *     npm run verify                          every step, in under 90 minutes on 2 cores
 *     npm run verify -- --only mutants,stress these
 *     npm run verify -- --record              and notes what has passed: docs/verification.md, docs/internals/orderings.md
 *     npm run verify -- --list                names of the steps
 *
 * Each step says what it covered.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machine } from '../benches/machine.ts'
import { ava, root, targetFolder } from './lib.ts'
import { node, type Outcome, own, ownFolder, runSteps, type Step, script, testsOf } from './steps.ts'

/** Tests of the core whose models, or simulated system, are compiled in by a flag. */
const core = (flags: string, ...args: string[]) => ({
  command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc', ...args],
  env: { ...own(flags.replace('tessalloc_', ''), flags), CARGO_PROFILE_RELEASE_LTO: 'off' },
  runner: 'cargo' as const,
})

/** What asks tests for their long form. */
const long = { TESSALLOC_LONG: '1' }

const steps: readonly Step[] = [
  { name: 'build', command: script('build') },
  { name: 'models', ...core('loom', '--release', '--lib') },
  { name: 'mutants', command: script('weaken', ...(process.argv.includes('--record') ? ['--write'] : [])) },
  // Schedules of the whole allocator, the threads taking turns at every access to an atomic: 8 in each process, 5 scenarios.
  {
    name: 'schedules',
    command: [...['cargo', 'test', '-p', 'tessalloc', '--release', '--lib'], ...['schedules::', '--', '--nocapture']],
    env: {
      ...own('shuttle', 'shuttle --cfg tessalloc_sim --cfg tessalloc_check'),
      CARGO_PROFILE_RELEASE_LTO: 'off',
      TESSALLOC_TEST_SCHEDULES: '500',
    },
    runner: 'cargo',
  },
  { name: 'faults', ...core('tessalloc_sim', '--test', 'fault_injection', '--', '--nocapture') },
  { name: 'differential', command: script('differential', '--operations', '12000000') },
  { name: 'fuzz', command: script('fuzz', '--executions', '12000000') },
  {
    name: 'stress',
    command: ['cargo', 'test', '--release', '-p', 'tessalloc', '--test', 'heap_stress', '--', '--nocapture'],
    env: { TESSALLOC_TEST_STRESS: '32x10000', CARGO_TARGET_DIR: ownFolder('stress') },
    runner: 'cargo',
  },
  {
    name: 'stress-c',
    command: ['cargo', 'test', '-p', 'tessalloc-c', '--test', 'stress', '--', '--nocapture', '--test-threads=1'],
    env: long,
    runner: 'cargo',
    needs: ['build'],
  },
  // Every system call of a process that calls each function of the C library fails once.
  {
    name: 'real-faults',
    command: ['cargo', 'test', '-p', 'tessalloc-c', '--test', 'real_faults', '--', '--nocapture'],
    env: long,
    runner: 'cargo',
    needs: ['build'],
  },
  {
    name: 'known-failures',
    command: ['cargo', 'test', '-p', 'tessalloc', '--test', 'known_failures', '--', '--nocapture', '--test-threads=1'],
    env: long,
    runner: 'cargo',
  },
  // 1,000 workers in turn with the package and two copies of an add-on; shared heaps whose workers are killed.
  {
    name: 'workers',
    command: [
      node,
      ava,
      ...['known-failures', 'shared-heap-model', 'shared-heap-stress'].map((name) => `__test__/${name}.test.ts`),
    ],
    env: { ...long, OXC_TSCONFIG_PATH: `${root}/tsconfig.json` },
    runner: 'ava',
    needs: ['build'],
  },
  { name: 'coverage', command: script('coverage'), runner: 'ava', needs: ['build'] },
  { name: 'address', command: script('sanitize', 'address') },
  { name: 'thread', command: script('sanitize', 'thread'), env: { TESSALLOC_TEST_STRESS: '32x3000' } },
  { name: 'memcheck', command: script('sanitize', 'memcheck') },
]

/** When a step passed last, and what it came to. */
interface Recorded {
  readonly date: string
  readonly commit: string
  readonly seconds: number
  readonly tests: string
  readonly covered: readonly string[]
}

/** Notes a step that has passed, and writes the page once all have. */
function record(outcome: Outcome): void {
  const { cpu, cpus, memoryGib, kernel, libc, rustc, node: nodeVersion, commit } = machine(false)
  const file = join(targetFolder, 'verify.json')
  const rows: Record<string, Recorded> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  rows[outcome.step.name] = {
    date: new Date().toISOString().slice(0, 10),
    commit,
    seconds: Math.round(outcome.seconds),
    tests: outcome.step.runner ? testsOf(outcome) : '–',
    covered: outcome.covered,
  }
  writeFileSync(file, `${JSON.stringify(rows, null, 1)}\n`)
  const recorded = steps.flatMap(({ name }) => (rows[name] ? [{ name, ...rows[name] }] : []))
  if (recorded.length < steps.length) return
  const minutes = recorded.reduce((sum, { seconds }) => sum + seconds, 0) / 60
  const text = [
    '# What `npm run verify` came to',
    '',
    'Written by `npm run verify -- --record`; do not edit. Each step as it passed last. What the steps are: `scripts/verify.ts`.',
    '',
    `- ${cpu}, ${cpus} processors, ${memoryGib} GiB; ${kernel}, ${libc}; ${rustc}; Node ${nodeVersion}`,
    `- ${minutes.toFixed(0)} minutes in all`,
    '',
    '| step | date | commit | s | tests | what was tried |',
    '|---|---|---|---|---|---|',
    ...recorded.map(
      ({ name, date, commit, seconds, tests, covered }) =>
        `| ${name} | ${date} | ${commit} | ${seconds} | ${tests} | ${covered.join('; ') || '–'} |`,
    ),
    '',
  ]
  writeFileSync(join(root, 'docs', 'verification.md'), text.join('\n'))
}

await runSteps(steps, record)
