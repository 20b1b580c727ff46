/**
 * `npm run verify`: the long form of what `npm test` does in short. Everything here looks for what nobody thought of: models run to their
 * end, orderings are weakened, schedules and programs are random, system calls fail, sanitizers watch, lines are counted.
 *
 *     npm run verify                          every step, in under 90 minutes on 2 cores
 *     npm run verify -- --only mutants,stress these
 *     npm run verify -- --record              and writes docs/verification.md if all have passed, and docs/internals/orderings.md
 *     npm run verify -- --list                names of the steps
 *
 * Each step says what it covered.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machine } from '../benches/machine.ts'
import { ava, root } from './lib.ts'
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

/** The page about a run. */
function record(outcomes: readonly Outcome[]): void {
  const { cpu, cpus, memoryGib, kernel, libc, rustc, node: nodeVersion, commit } = machine(false)
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.seconds, 0)
  const row = (outcome: Outcome) => {
    const covered = outcome.covered.join('; ')
    return `| ${outcome.step.name} | ${outcome.seconds.toFixed(0)} | ${outcome.step.runner ? testsOf(outcome) : '–'} | ${covered || '–'} |`
  }
  const text = [
    '# The last recorded run of `npm run verify`',
    '',
    'Written by `npm run verify -- --record` when every step has passed; do not edit. What the steps are: `scripts/verify.ts`.',
    '',
    `- ${new Date().toISOString().slice(0, 10)}, commit ${commit}`,
    `- ${cpu}, ${cpus} processors, ${memoryGib} GiB; ${kernel}, ${libc}; ${rustc}; Node ${nodeVersion}`,
    `- ${(seconds / 60).toFixed(0)} minutes in all`,
    '',
    '| step | s | tests | what was tried |',
    '|---|---|---|---|',
    ...outcomes.map(row),
    '',
  ]
  writeFileSync(join(root, 'docs', 'verification.md'), text.join('\n'))
}

await runSteps(steps, record)
