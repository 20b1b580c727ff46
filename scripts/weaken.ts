/**
 * `npm run weaken`: shows what each atomic ordering and each guard of the protocols is for. Copies the core, with each ordering that
 * can be weaker and each guard that can be dropped beside what is shipped (see `scripts/mutants.ts`), compiles it twice, for loom's
 * models and for shuttle's schedules, and runs the tests with one mutant in force after the other, until one fails.
 *
 *     npm run weaken                        all of them, as a table (about 10 minutes on 2 cores)
 *     npm run weaken -- --only gate.rs      those of one file
 *     npm run weaken -- --write             all, and writes the table to docs/internals/orderings.md
 *
 * Exit code 1 if a mutant passes all tests and `explained` has no reason for it.
 */
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import pc from 'picocolors'
import { CommandError, main, root, targetFolder } from './lib.ts'
import { type Checker, chooser, guards, type Mutant, mutate, orderingFiles } from './mutants.ts'

const document = 'docs/internals/orderings.md'
/** A mutant that comes to no end is caught. Unit: ms. */
const timeoutMs = 300_000
/** Processes of schedules for a mutant, of its own scenario and then of all. */
const scheduleProcesses = 24

const seqCst =
  'In the models fences stand for SeqCst, and one of them lies between the two accesses whichever of both is SeqCst: there either suffices. The language asks for both, and for those of the partner.'

/** Why one that no test catches is there all the same, by its name in the table. */
const explained: Readonly<Record<string, string>> = {
  'remote.rs look_again #1: Acquire → Relaxed':
    'The word is nearly always the one that `push` has just written, and `push` acquired. It is another one only if the page changed hands once more and the same blocks came home in the same order, which no model does: then this exchange alone acquires what the last holder wrote.',
  'gate.rs try_claim #1: Acquire → Relaxed':
    'The models’ heavy barrier is a full fence, which acquires what the exchange read. The system’s is one too, but nothing tells the compiler: for it the exchange orders by itself.',
  'taken.rs give #1: SeqCst → AcqRel': seqCst,
  'taken.rs note_used_up #1: SeqCst → AcqRel': seqCst,
  'taken.rs note_used_up #2: SeqCst → Acquire': seqCst,
  'taken.rs note_room #1: SeqCst → Acquire': seqCst,
  'taken.rs note_room #2: SeqCst → AcqRel': seqCst,
  'taken.rs note_given #1: SeqCst → Acquire': seqCst,
  'taken.rs note_given #2: SeqCst → AcqRel': seqCst,
  'taken.rs look #1: SeqCst → AcqRel': seqCst,
  'grown.rs grow #1: Release → Relaxed':
    'In the models a fence stands for the SeqCst of the summary’s exchange in front of it, and releases too. Regions whose bit is set already exchange nothing there.',
  'region/arenas.rs end: not while heaps are bound':
    'A heap whose arena has ended finds no memory, or takes of the next arena in the place: schedules do not tell that from the right one.',
  'first_class.rs create: under the lock':
    'What this lock keeps apart are plain accesses, between which schedules change no threads; ThreadSanitizer looks at them.',
}

interface Outcome {
  readonly mutant: Mutant
  /** A test that failed; none: not caught. */
  readonly caughtBy: string | undefined
}

const flags: Readonly<Record<Checker, string>> = {
  models: '--cfg loom',
  schedules: '--cfg shuttle --cfg tessalloc_sim --cfg tessalloc_check',
}

/** A workspace of the core alone, with all mutants in it. */
function copyCore(folder: string): Mutant[] {
  const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8')
  writeFileSync(
    join(folder, 'Cargo.toml'),
    manifest.replace(/^(default-)?members = .*$/gm, '$1members = ["crates/tessalloc"]'),
  )
  cpSync(join(root, 'Cargo.lock'), join(folder, 'Cargo.lock'))
  const core = join(folder, 'crates/tessalloc')
  mkdirSync(core, { recursive: true })
  for (const each of ['Cargo.toml', 'src']) {
    cpSync(join(root, 'crates/tessalloc', each), join(core, each), { recursive: true })
  }
  const mutants: Mutant[] = []
  for (const file of new Set([...Object.keys(orderingFiles), ...guards.map(({ file }) => file)])) {
    const path = join(core, 'src', file)
    writeFileSync(path, mutate(file, readFileSync(path, 'utf8'), mutants))
  }
  writeFileSync(join(core, 'src/mutant.rs'), chooser)
  const lib = join(core, 'src/lib.rs')
  writeFileSync(lib, `${readFileSync(lib, 'utf8')}\n#[cfg(any(loom, shuttle))]\nmod mutant;\n`)
  return mutants
}

/** Compiles the copy's tests; where the program is. */
function compile(folder: string, checker: Checker): string {
  const result = spawnSync(
    'cargo',
    ['test', '-q', '-p', 'tessalloc', '--release', '--lib', '--no-run', '--message-format=json'],
    {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      env: {
        ...process.env,
        RUSTFLAGS: `${flags[checker]} --cap-lints allow`,
        CARGO_TARGET_DIR: join(targetFolder, 'weaken', checker),
        // Compiled once and run for seconds: what makes compiling faster.
        CARGO_PROFILE_RELEASE_LTO: 'off',
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
        CARGO_PROFILE_RELEASE_DEBUG: 'false',
      },
    },
  )
  const program = [...result.stdout.matchAll(/"executable":"([^"]+)"/g)].at(-1)?.[1]
  if (result.status !== 0 || program === undefined) {
    throw new CommandError(
      `The core with its mutants does not compile for ${checker}:\n${result.stderr}${result.stdout}`,
    )
  }
  return program
}

/** Runs tests with a mutant in force, until one fails: its name. */
function run(program: string, args: readonly string[], env: Record<string, string>): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, [...args, '--format=pretty'], {
      env: { ...process.env, RUST_BACKTRACE: '0', ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let output = ''
    let failed: string | undefined
    const stop = (reason: string) => {
      failed ??= reason
      child.kill('SIGKILL')
    }
    const timer = setTimeout(() => stop('a test that comes to no end'), timeoutMs)
    child.stdout.on('data', (data: Buffer) => {
      output += data
      const name = /^test (?:\w+::)*(?:models|schedules)_(\w+) \.\.\. FAILED/m.exec(output)?.[1]
      if (name !== undefined) stop(name)
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve(failed ?? (code === 0 ? undefined : 'the end of the process'))
    })
  })
}

async function caughtBy(mutant: Mutant | undefined, programs: Readonly<Record<Checker, string>>) {
  const env = { TESSALLOC_TEST_MUTANT: String(mutant?.id ?? 0) }
  const inModels = async () =>
    (mutant && (await run(programs.models, [mutant.first], env))) ?? (await run(programs.models, ['models'], env))
  const inSchedules = async () => {
    const some = { ...env, TESSALLOC_TEST_SCHEDULES: String(scheduleProcesses) }
    const of = mutant ? { TESSALLOC_TEST_SCHEDULES_OF: mutant.first } : {}
    const failed = await run(programs.schedules, ['schedules::schedules_'], { ...some, ...of })
    return failed === 'run' ? `schedules of ${mutant?.first ?? 'all'}` : failed
  }
  if (mutant === undefined) return (await inModels()) ?? (await run(programs.schedules, ['schedules::schedules_'], env))
  return mutant.checker === 'models' ? await inModels() : await inSchedules()
}

const keyOf = ({ file, name }: Mutant) => `${file} ${name}`

function row({ mutant, caughtBy }: Outcome): string {
  const verdict = caughtBy === undefined ? explained[keyOf(mutant)] : `\`${caughtBy}\``
  return `| \`crates/tessalloc/src/${mutant.file}\` | ${mutant.name} | ${verdict ?? 'NOT EXPLAINED'} |`
}

function documentOf(outcomes: readonly Outcome[]): string {
  const isOrdering = ({ mutant }: Outcome) => mutant.name.includes('→')
  const isCaught = ({ caughtBy }: Outcome) => caughtBy !== undefined
  const caught = outcomes.filter(isCaught)
  const rest = outcomes.filter((outcome) => !isCaught(outcome))
  const table = (title: string, what: string, why: string, rows: readonly Outcome[]) =>
    rows.length === 0 ? [] : ['', `## ${title}`, '', `| file | ${what} | ${why} |`, '|---|---|---|', ...rows.map(row)]
  const which = 'function, which of its orderings: from → to'
  return `${[
    '# What each ordering and each guard is for',
    '',
    'Written by `npm run weaken -- --write`; do not edit. Each ordering of the [protocols](protocols.md) is made weaker by itself (each barrier, wake',
    'and tag is dropped), and each guard is dropped by itself; the models of `crates/tessalloc/src/models.rs`, or the schedules of',
    '`crates/tessalloc/src/schedules.rs`, run with it until one fails. An ordering that is `Relaxed` already is not in the table.',
    '',
    `${outcomes.length} were tried: ${caught.length} are caught, ${rest.length} are explained.`,
    ...table('Orderings', which, 'the first that fails', caught.filter(isOrdering)),
    ...table(
      'Guards',
      'what is dropped',
      'the first that fails',
      caught.filter((outcome) => !isOrdering(outcome)),
    ),
    ...table('Explained', which, 'why it is there', rest),
  ].join('\n')}\n`
}

main(async () => {
  const { values } = parseArgs({ options: { only: { type: 'string' }, write: { type: 'boolean' } } })
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-weaken-'))
  const outcomes: Outcome[] = []
  try {
    const all = copyCore(folder)
    const mutants = all.filter(({ file }) => values.only === undefined || values.only === file)
    if (mutants.length === 0) {
      const files = [...new Set(all.map(({ file }) => file))].join(', ')
      throw new CommandError(`Cannot weaken: --only must be one of ${files}, received ${values.only}`)
    }
    const programs = { models: compile(folder, 'models'), schedules: compile(folder, 'schedules') }
    const broken = await caughtBy(undefined, programs)
    if (broken !== undefined) throw new CommandError(`A test fails with nothing weakened: ${broken}`)
    for (const mutant of mutants) {
      const outcome = { mutant, caughtBy: await caughtBy(mutant, programs) }
      outcomes.push(outcome)
      const reason = explained[keyOf(mutant)]
      const verdict =
        outcome.caughtBy !== undefined
          ? pc.green(`caught by ${outcome.caughtBy}`)
          : reason === undefined
            ? pc.red('not caught')
            : pc.yellow(`explained: ${reason}`)
      const progress = `${String(outcomes.length).padStart(3)}/${mutants.length}`
      console.log(`${progress} ${mutant.file.padEnd(18)} ${mutant.name.padEnd(48)} ${verdict}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const survivors = outcomes.filter(({ caughtBy }) => caughtBy === undefined)
  const open = survivors.filter(({ mutant }) => explained[keyOf(mutant)] === undefined)
  const killed = outcomes.length - survivors.length
  const rest = survivors.length - open.length
  console.log(
    `covered: ${outcomes.length} mutants, ${killed} killed, ${rest} explained survivors, ${open.length} neither`,
  )
  if (values.write && values.only === undefined && open.length === 0) {
    writeFileSync(join(root, document), documentOf(outcomes))
  }
  if (open.length > 0) process.exitCode = 1
})
