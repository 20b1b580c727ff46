/**
 * Runs the core's tests, and a program with planted bugs, under tools that watch memory and threads: the tests without a report, the bugs
 * with one each.
 *
 *     npm run sanitize                      every tool
 *     npm run sanitize -- address memcheck  these
 *
 * AddressSanitizer and memcheck know blocks by the core's features `asan` and `valgrind`. ThreadSanitizer wants a standard library of its own
 * build, whose source `scripts/cross-tools.ts` fetches. The compiler is the stable one, told that it may.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fetchSources, librarySource } from './cross-tools.ts'
import { CommandError, main, root, run, step, targetFolder } from './lib.ts'

const target = 'x86_64-unknown-linux-gnu'
/** What cargo starts the programs of that target with. */
const cargoRunner = 'CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER'

/** Planted bugs of `examples/planted.rs`, with what a tool says of them. */
type Findings = Readonly<Record<string, RegExp>>

interface Tool {
  readonly name: string
  readonly features: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** What programs are started with. */
  readonly runner: readonly string[]
  readonly buildsStandardLibrary: boolean
  readonly tests: readonly string[]
  /** Tests of the C library, if its programs can be run by the tool. */
  readonly libraryTests?: readonly string[]
  readonly finds: Findings
}

const poisoned = /AddressSanitizer: use-after-poison/
const invalid = /Invalid (?:read|write) of size 1/

/** What cargo is told to run these files of tests alone. */
const testFiles = (...names: readonly string[]): string[] => names.flatMap((name) => ['--test', name])

const tools: readonly Tool[] = [
  {
    name: 'address',
    features: ['asan'],
    environment: {
      RUSTFLAGS: '-Zsanitizer=address',
      TESSALLOC_TEST_SANITIZED: '1',
      // Some tests want the signal of a fault itself, and some leave blocks behind.
      ASAN_OPTIONS: 'detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0',
    },
    runner: [],
    buildsStandardLibrary: false,
    tests: ['--lib', '--tests'],
    finds: {
      'use-after-free': poisoned,
      'use-after-free-of-a-large-block': poisoned,
      overflow: poisoned,
      'use-after-destroy': poisoned,
    },
  },
  {
    name: 'thread',
    features: [],
    environment: {
      RUSTFLAGS: '-Zsanitizer=thread --cfg tessalloc_tsan',
      TESSALLOC_RESERVE: '64GiB',
      TESSALLOC_TEST_SANITIZED: '1',
    },
    runner: [],
    buildsStandardLibrary: true,
    tests: testFiles('heap_stress', 'heaps_races', 'mixed_life', 'threads', 'cyclic_gc'),
    finds: { race: /WARNING: ThreadSanitizer: data race/ },
  },
  {
    name: 'memcheck',
    features: ['valgrind'],
    // memcheck grants 32 GiB of addresses at most.
    environment: { TESSALLOC_RESERVE: '16GiB', TESSALLOC_TEST_SANITIZED: '1' },
    runner: ['valgrind', '--quiet', '--error-exitcode=9'],
    buildsStandardLibrary: false,
    tests: testFiles('allocator', 'extra', 'heaps_leave_nothing'),
    // Not those of options, which the tool's own process would read too, nor of arenas, which want more addresses.
    libraryTests: testFiles('alloc', 'buffer', 'guarded', 'heap', 'standards', 'stats', 'stress', 'walk'),
    finds: {
      'use-after-free': invalid,
      'use-after-free-of-a-large-block': invalid,
      'use-after-destroy': invalid,
      'use-of-uninitialised-memory': /depends on uninitialised value/,
    },
  },
]

/** Runs `planted` with a bug, and answers what was said; throws if the outcome is another than expected. */
function expectFinding(
  tool: Tool,
  program: string,
  bug: string,
  report: RegExp | undefined,
  env: NodeJS.ProcessEnv,
): void {
  const [command = '', ...args] = [...tool.runner, program, bug]
  const { status, stderr, error } = spawnSync(command, args, { cwd: root, env, encoding: 'utf8' })
  if (error) throw new CommandError(`${command} could not be started: ${error.message}`)
  const isFound = report?.test(stderr) === true && status !== 0
  const isQuiet = report === undefined && stderr === '' && status === 0
  if (isFound || isQuiet) return
  const expected = report === undefined ? 'no report' : `${report}`
  throw new CommandError(
    `planted ${bug} under ${tool.name}: expected ${expected}, exit code ${status}, received:\n${stderr}`,
  )
}

function check(tool: Tool): void {
  const folder = join(targetFolder, tool.name)
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    RUSTC_BOOTSTRAP: '1',
    CARGO_TARGET_DIR: folder,
    ...tool.environment,
    ...(tool.buildsStandardLibrary ? { __CARGO_TESTS_ONLY_SRC_ROOT: librarySource } : {}),
    ...(tool.runner.length > 0 ? { [cargoRunner]: tool.runner.join(' ') } : {}),
  }
  const common = [
    ...['-p', 'tessalloc', '--target', target],
    ...(tool.features.length > 0 ? ['--features', tool.features.join(',')] : []),
    ...(tool.buildsStandardLibrary ? ['-Zbuild-std'] : []),
  ]
  step(`${tool.name}: planted bugs`, () => {
    run('cargo', ['build', ...common, '--example', 'planted'], { env })
    const program = join(folder, target, 'debug', 'examples', 'planted')
    expectFinding(tool, program, 'nothing', undefined, env)
    for (const [bug, report] of Object.entries(tool.finds)) expectFinding(tool, program, bug, report, env)
  })
  step(`${tool.name}: tests`, () => run('cargo', ['test', '--no-fail-fast', ...common, ...tool.tests], { env }))
  const { libraryTests } = tool
  if (libraryTests) {
    // The blocks are the library's, not those that valgrind would hand out in its place.
    const runner = [...tool.runner, '--soname-synonyms=somalloc=nouserintercepts'].join(' ')
    // The programs of the tests are watched, not the tests themselves.
    const library = {
      [cargoRunner]: undefined,
      TESSALLOC_TEST_FEATURES: tool.features.join(','),
      TESSALLOC_TEST_RUNNER: runner,
    }
    step(`${tool.name}: tests of the C library`, () =>
      run('cargo', ['test', '--no-fail-fast', '-p', 'tessalloc-c', ...libraryTests], { env: { ...env, ...library } }),
    )
  }
  console.log(`covered: ${tool.name}: ${Object.keys(tool.finds).length} planted bugs found, the tests without a report`)
}

function checkAll(): void {
  const wanted = process.argv.slice(2)
  for (const name of wanted) {
    if (!tools.some((tool) => tool.name === name)) {
      throw new CommandError(`No tool "${name}". There are: ${tools.map((tool) => tool.name).join(', ')}.`)
    }
  }
  const chosen = tools.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
  if (chosen.some((tool) => tool.buildsStandardLibrary)) fetchSources()
  for (const tool of chosen) check(tool)
}

await main(checkAll)
