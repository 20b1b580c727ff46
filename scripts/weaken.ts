/**
 * `npm run weaken`: shows what each atomic ordering is for. Copies the core, weakens one ordering (or drops one barrier, wake or tag)
 * of the protocol modules at a time, runs the loom models on the copy, and tells which models fail.
 *
 *     npm run weaken                        all of them, as a table (about 6 minutes)
 *     npm run weaken -- --only gate.rs      those of one file
 *     npm run weaken -- --write             all, and writes the table to docs/internals/orderings.md
 *
 * Exit code 1 if a weaker one passes all models and `explained` has no reason for it.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import pc from 'picocolors'
import { CommandError, main, root, targetFolder } from './lib.ts'

const files = ['remote.rs', 'inbox.rs', 'waiting.rs', 'exchange.rs', 'gate.rs', 'place.rs', 'taken.rs'] as const
const document = 'docs/internals/orderings.md'

/** What can be made weaker, and how. */
const weaker: readonly (readonly [pattern: RegExp, replacements: readonly string[]])[] = [
  [/\bOrdering::Acquire\b/g, ['Ordering::Relaxed']],
  [/\bOrdering::Release\b/g, ['Ordering::Relaxed']],
  [/\bOrdering::AcqRel\b/g, ['Ordering::Acquire', 'Ordering::Release']],
  [/\bOrdering::SeqCst\b/g, ['Ordering::AcqRel']],
  [/\bbarrier_light\(\);/g, ['']],
  [/\bbarrier_heavy\(\)/g, ['true']],
  [/\bwake\([^()]*\);/g, ['']],
  [/\.wrapping_add\(1\)/g, ['']],
]

/** Why one that no model catches is there all the same, by its name in the table. */
const explained: Readonly<Record<string, string>> = {
  'taken.rs give #1: SeqCst → AcqRel':
    'The giver then looks at the chunk’s bit in the summary, while who takes the last slice clears that bit and then looks at the word: one of them must see the other. Loom takes SeqCst of anything but a fence for AcqRel, so no model can tell the two apart.',
  'remote.rs look_again #1: Acquire → Relaxed':
    'The word is nearly always the one that `push` has just written, and `push` acquired. It is another one only if the page changed hands once more and the same blocks came home in the same order, which no model does: then this exchange alone acquires what the last holder wrote.',
  'gate.rs try_claim #1: Acquire → Relaxed':
    'The models’ heavy barrier is a full fence, which acquires what the exchange read. The system’s is one too, but nothing tells the compiler: for it the exchange orders by itself.',
}

interface Mutant {
  readonly file: string
  /** `function #n: from → to`; n counts what can be weakened in the function. */
  readonly name: string
  readonly text: string
}

interface Outcome extends Mutant {
  /** Models that failed; none: not caught. */
  readonly caughtBy: readonly string[]
}

function mutantsOf(file: string): Mutant[] {
  const lines = readFileSync(join(root, 'crates/tessalloc/src', file), 'utf8').split('\n')
  const mutants: Mutant[] = []
  let name = ''
  let count = 0
  for (const [at, line] of lines.entries()) {
    // Tests stand at the end.
    if (line.startsWith('#[cfg(all(test')) break
    const code = line.replace(/\/\/.*$/, '')
    const start = /\bfn (\w+)/.exec(code)?.[1]
    if (start !== undefined) {
      name = start
      count = 0
    }
    const found = weaker
      .flatMap(([pattern, replacements]) => [...code.matchAll(pattern)].map((match) => ({ match, replacements })))
      .sort((a, b) => a.match.index - b.match.index)
    for (const { match, replacements } of found) {
      count += 1
      for (const replacement of replacements) {
        const changed = line.slice(0, match.index) + replacement + line.slice(match.index + match[0].length)
        const short = (text: string) => text.replace('Ordering::', '').replace(/^$/, 'none').replace(/;$/, '')
        mutants.push({
          file,
          name: `${name} #${count}: ${short(match[0])} → ${short(replacement)}`,
          text: lines.with(at, changed).join('\n'),
        })
      }
    }
  }
  return mutants
}

/** A workspace of the core alone. */
function copyCore(folder: string): void {
  const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8')
  writeFileSync(
    join(folder, 'Cargo.toml'),
    manifest.replace(/^(default-)?members = .*$/gm, '$1members = ["crates/tessalloc"]'),
  )
  cpSync(join(root, 'Cargo.lock'), join(folder, 'Cargo.lock'))
  mkdirSync(join(folder, 'crates/tessalloc'), { recursive: true })
  for (const each of ['Cargo.toml', 'src']) {
    cpSync(join(root, 'crates/tessalloc', each), join(folder, 'crates/tessalloc', each), { recursive: true })
  }
}

/** Runs the models of the copy; the names of those that failed. */
function runModels(folder: string, what: string): string[] {
  const result = spawnSync(
    'cargo',
    ['test', '-q', '-p', 'tessalloc', '--release', '--lib', 'models', '--', '--format=pretty'],
    {
      cwd: folder,
      encoding: 'utf8',
      timeout: 300_000,
      maxBuffer: 1 << 28,
      env: {
        ...process.env,
        RUSTFLAGS: '--cfg loom',
        CARGO_TARGET_DIR: join(targetFolder, 'weaken'),
        // Compiled thirty times over: what makes that faster.
        CARGO_PROFILE_RELEASE_LTO: 'off',
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
        CARGO_PROFILE_RELEASE_DEBUG: 'false',
      },
    },
  )
  if (result.error) throw new CommandError(`The models could not be run with "${what}": ${result.error.message}`)
  const failed = [...result.stdout.matchAll(/^test models::(?:\w+::)?models_(\w+) \.\.\. FAILED/gm)].map(
    ([, name]) => name ?? '',
  )
  if (result.status === 0) return []
  if (!/^running \d+ tests/m.test(result.stdout)) {
    throw new CommandError(`The core does not compile with "${what}":\n${result.stderr}`)
  }
  // A model may also bring the whole process down.
  return failed.length > 0 ? failed : ['the process died']
}

function row({ file, name, caughtBy }: Outcome): string {
  const verdict =
    caughtBy.length > 0
      ? `caught by ${caughtBy.map((model) => `\`${model}\``).join(', ')}`
      : explained[`${file} ${name}`]
  return `| \`${file}\` | ${name} | ${verdict ?? 'NOT EXPLAINED'} |`
}

function documentOf(outcomes: readonly Outcome[]): string {
  const caught = outcomes.filter(({ caughtBy }) => caughtBy.length > 0)
  const rest = outcomes.filter(({ caughtBy }) => caughtBy.length === 0)
  const header = ['| file | function, which of its orderings: from → to |']
  return `${[
    '# What each ordering is for',
    '',
    'Written by `npm run weaken -- --write`; do not edit. Each ordering of the [protocols](protocols.md) is made weaker by itself (each barrier, wake',
    'and tag is dropped), and the models of `crates/tessalloc/src/models.rs` run with it. An ordering that is `Relaxed` already is not in the table.',
    '',
    `${outcomes.length} were tried: ${caught.length} are caught by a model, ${rest.length} are explained.`,
    '',
    '## Caught',
    '',
    `${header[0]} what fails |`,
    '|---|---|---|',
    ...caught.map(row),
    '',
    '## Explained',
    '',
    `${header[0]} why it is there |`,
    '|---|---|---|',
    ...rest.map(row),
  ].join('\n')}\n`
}

main(() => {
  const { values } = parseArgs({ options: { only: { type: 'string' }, write: { type: 'boolean' } } })
  const mutants = files.filter((file) => values.only === undefined || values.only === file).flatMap(mutantsOf)
  if (mutants.length === 0) {
    throw new CommandError(`Cannot weaken: --only must be one of ${files.join(', ')}, received ${values.only}`)
  }
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-weaken-'))
  const outcomes: Outcome[] = []
  try {
    copyCore(folder)
    const broken = runModels(folder, 'nothing weakened')
    if (broken.length > 0) throw new CommandError(`The models fail with nothing weakened: ${broken.join(', ')}`)
    for (const mutant of mutants) {
      const path = join(folder, 'crates/tessalloc/src', mutant.file)
      const original = readFileSync(path)
      writeFileSync(path, mutant.text)
      const caughtBy = runModels(folder, `${mutant.file} ${mutant.name}`)
      writeFileSync(path, original)
      outcomes.push({ ...mutant, caughtBy })
      const reason = explained[`${mutant.file} ${mutant.name}`]
      const verdict =
        caughtBy.length > 0
          ? pc.green(`caught by ${caughtBy.join(', ')}`)
          : reason === undefined
            ? pc.red('not caught')
            : pc.yellow(`explained: ${reason}`)
      console.log(`${mutant.file.padEnd(12)} ${mutant.name.padEnd(40)} ${verdict}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const open = outcomes.filter(({ file, name, caughtBy }) => caughtBy.length === 0 && !explained[`${file} ${name}`])
  console.log(`${outcomes.length} weakened, ${open.length} neither caught nor explained`)
  if (values.write && values.only === undefined) {
    mkdirSync(join(root, 'docs/internals'), { recursive: true })
    writeFileSync(join(root, document), documentOf(outcomes))
  }
  if (open.length > 0) process.exitCode = 1
})
