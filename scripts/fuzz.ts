/**
 * `npm run fuzz`: runs the fuzz targets of `fuzz/` for a number of executions each, with libFuzzer in the process. Needs no nightly
 * compiler: the coverage that the engine wants is a pass of LLVM's, which the stable one runs too. (`cargo +nightly fuzz run TARGET`
 * works as well, where cargo-fuzz is installed.)
 *
 *     npm run fuzz                                    1,000,000 executions, shared out among the targets
 *     npm run fuzz -- --executions 12000000           so many
 *     npm run fuzz -- --only options,c_api            only these targets
 *     npm run fuzz -- --seed 7                        the same numbers again
 *     npm run fuzz -- --keep                          and adds to `fuzz/corpus` what reaches new code
 *
 * What is found is written to `fuzz/artifacts/TARGET`; running the target's program on such a file shows it again. The last line sums
 * up, and the exit code is 1 if there was a finding.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CommandError, hostTriple, main, root, run, step, targetFolder } from './lib.ts'

interface Target {
  readonly name: string
  /** Of all executions, in hundredths. */
  readonly share: number
  readonly bytesMax: number
}

const targets: readonly Target[] = [
  { name: 'options', share: 48, bytesMax: 96 },
  { name: 'c_api', share: 42, bytesMax: 256 },
  { name: 'operations', share: 4, bytesMax: 256 },
  { name: 'walking', share: 5, bytesMax: 256 },
  { name: 'threads', share: 1, bytesMax: 256 },
]

/** What `cargo fuzz` passes too, but for comparisons: those would be the harness's own, which is most of what runs. */
const coverage = [
  '--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4',
  '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table',
].join(' ')
const folder = join(targetFolder, 'fuzz')
const corpora = join(root, 'fuzz', 'corpus')
/** Executions that take longer, and processes that take more, are findings. */
const limits = ['-timeout=60', '-rss_limit_mb=4096']

/** Of the targets: where the instrumented C library is. Warnings of options are written into the void, and so never enough. */
const environment = (host: string): NodeJS.ProcessEnv => ({
  ...process.env,
  TESSALLOC_TEST_LIBRARY: join(folder, host, 'release-c', 'libtessalloc_c.so'),
  TESSALLOC_MAX_WARNINGS: '1000000',
})

let current: ChildProcess[] = []

function build(host: string): void {
  const flags = (RUSTFLAGS: string) => ({
    env: { CARGO_TARGET_DIR: folder, RUSTFLAGS, CARGO_PROFILE_RELEASE_C_LTO: 'off' },
  })
  // The targets give the library what its counters need, by names that the linker has to keep.
  run(
    'cargo',
    ['build', '--manifest-path', 'fuzz/Cargo.toml', '--release', '--bins', '--target', host],
    flags(`${coverage} --cfg tessalloc_check -Clink-arg=-rdynamic`),
  )
  run('cargo', ['build', '-p', 'tessalloc-c', '--profile', 'release-c', '--target', host], flags(coverage))
}

interface Outcome {
  readonly target: Target
  readonly executions: number
  readonly seconds: number
  readonly isFinding: boolean
}

/** Runs a target; its corpus grows in `work`. */
function fuzz(target: Target, executions: number, seed: number, host: string, work: string): Promise<Outcome> {
  const { name, bytesMax } = target
  const artifacts = join(root, 'fuzz', 'artifacts', name)
  const grown = join(work, name)
  mkdirSync(artifacts, { recursive: true })
  mkdirSync(grown)
  const dictionary = join(root, 'fuzz', `${name}.dict`)
  const args = [
    grown,
    ...(existsSync(join(corpora, name)) ? [join(corpora, name)] : []),
    ...[`-runs=${executions}`, `-seed=${seed}`, `-max_len=${bytesMax}`, '-len_control=20', ...limits],
    ...[`-artifact_prefix=${artifacts}/`, '-print_final_stats=1'],
    ...(existsSync(dictionary) ? [`-dict=${dictionary}`] : []),
  ]
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(join(folder, host, 'release', name), args, {
      cwd: root,
      env: environment(host),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    current.push(child)
    let last = ''
    child.stderr.on('data', (data: Buffer) => {
      last = (last + data).slice(-20_000)
    })
    child.on('error', reject)
    child.on('close', (code) => {
      current = current.filter((other) => other !== child)
      const seconds = (performance.now() - start) / 1000
      const done = Number(/stat::number_of_executed_units:\s*(\d+)/.exec(last)?.[1] ?? 0)
      const isFinding = code !== 0
      if (isFinding) console.log(last)
      console.log(
        `fuzz ${name}: ${done} executions, ${isFinding ? 'a finding, see above' : 'no finding'}, ${seconds.toFixed(1)} s, ` +
          `${Math.round(done / seconds)} a second`,
      )
      resolve({ target, executions: done, seconds, isFinding })
    })
  })
}

/** The smallest set of inputs that reaches all that is reached. */
function keep(host: string, work: string): void {
  for (const { name } of targets.filter(({ name }) => existsSync(join(work, name)))) {
    const kept = join(corpora, name)
    const all = join(work, `${name}-all`)
    mkdirSync(kept, { recursive: true })
    mkdirSync(all)
    for (const from of [kept, join(work, name)]) cpSync(from, all, { recursive: true })
    rmSync(kept, { recursive: true })
    mkdirSync(kept)
    // By the code that is reached, not by how often: a few dozen inputs instead of hundreds.
    const merge = ['-set_cover_merge=1', '-use_counters=0', ...limits]
    const { status } = spawnSync(join(folder, host, 'release', name), [kept, all, ...merge], {
      env: environment(host),
      stdio: 'ignore',
    })
    if (status !== 0) throw new CommandError(`Cannot keep the corpus of ${name}: merging it ended with ${status}`)
    const files = readdirSync(kept).map((file) => statSync(join(kept, file)).size)
    console.log(`fuzz ${name}: ${files.length} inputs kept, ${files.reduce((sum, size) => sum + size, 0)} bytes`)
  }
}

async function fuzzAll(): Promise<void> {
  const { values } = parseArgs({
    options: {
      executions: { type: 'string', default: '1000000' },
      only: { type: 'string' },
      seed: { type: 'string' },
      keep: { type: 'boolean', default: false },
    },
  })
  const names = values.only?.split(',')
  const unknown = names?.find((name) => !targets.some((target) => target.name === name))
  if (unknown !== undefined) {
    throw new CommandError(`No target "${unknown}". There are: ${targets.map(({ name }) => name).join(', ')}.`)
  }
  const chosen = targets.filter(({ name }) => names?.includes(name) ?? true)
  const [executions, seed] = [Number(values.executions), Number(values.seed ?? randomInt(1, 2 ** 31))]
  if (!(executions > 0) || !(seed > 0)) {
    throw new CommandError(`Cannot fuzz: expected numbers above 0, received ${values.executions} and ${values.seed}`)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      for (const child of current) child.kill(signal)
      process.exit(130)
    })
  }
  const host = hostTriple()
  step('building the fuzz targets', () => build(host))
  const work = mkdtempSync(join(tmpdir(), 'tessalloc-fuzz-'))
  const start = performance.now()
  const shares = chosen.reduce((sum, { share }) => sum + share, 0)
  const left = [...chosen]
  const outcomes: Outcome[] = []
  const worker = async () => {
    for (let target = left.shift(); target !== undefined; target = left.shift()) {
      outcomes.push(await fuzz(target, Math.ceil((executions * target.share) / shares), seed, host, work))
    }
  }
  // One for each of two cores; the longest begin first.
  left.sort((a, b) => b.share - a.share)
  await Promise.all([worker(), worker()])
  if (values.keep) keep(host, work)
  rmSync(work, { recursive: true })
  const findings = outcomes.filter(({ isFinding }) => isFinding).length
  const all = outcomes.reduce((sum, { executions: done }) => sum + done, 0)
  console.log(
    `covered: ${all} executions of ${outcomes.length} targets, ${findings} findings, seed ${seed}, ` +
      `${((performance.now() - start) / 1000).toFixed(1)} s`,
  )
  if (findings > 0) process.exitCode = 1
}

await main(fuzzAll)
