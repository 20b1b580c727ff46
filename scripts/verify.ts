/**
 * `npm run verify`: the long form of what `npm test` does in short. Everything here looks for what nobody thought of: models run to their
 * end, orderings are weakened, schedules and programs are random, system calls fail, sanitizers watch, lines are counted.
 *
 *     npm run verify                          every step, in under 90 minutes on 2 cores
 *     npm run verify -- --only mutants,stress these
 *     npm run verify -- --list                names of the steps
 *
 * Each step says what it covered.
 */
import { ava, root } from './lib.ts'
import { node, own, ownFolder, runSteps, type Step, script } from './steps.ts'

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
  { name: 'mutants', command: script('weaken') },
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
  { name: 'faults', ...core('tessalloc_sim', '--test', 'fault_injection') },
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
  { name: 'thread', command: script('sanitize', 'thread'), env: { TESSALLOC_TEST_STRESS: '32x10000' } },
  { name: 'memcheck', command: script('sanitize', 'memcheck') },
]

await runSteps(steps)
