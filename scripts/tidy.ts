/**
 * `npm run tidy`: house rules that no linter knows. Prints what breaks them, with file and line.
 *
 * | rule | looks at |
 * |---|---|
 * | a path that the docs name exists | Markdown, in backquotes or links |
 * | nothing names a registry's host or a path of one machine | every file in git |
 * | `unsafe { … }` and `unsafe impl` have a SAFETY comment, `unsafe fn` has one or a `# Safety` section | `crates/…/src` |
 * | each row of the table of features has an entry, and names what there is | `docs/features.md`, see `scripts/features.ts` |
 * | each failure of others has a test that exists, or a reason | `docs/known-failures.md`, see `scripts/known-failures.ts` |
 * | an atomic ordering has an ORDER comment within reach | `crates/…/src` |
 * | each model is in the table of protocols, and each one there is a model | `docs/internals/protocols.md` |
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import pc from 'picocolors'
import { featureFaults } from './features.ts'
import { knownFailureFaults } from './known-failures.ts'
import { root } from './lib.ts'

interface Breach {
  readonly file: string
  readonly line: number
  readonly text: string
}

type Rule = (file: string, lines: readonly string[]) => Breach[]

/** How many lines above its `Ordering` an ORDER comment may stand: one comment may speak for a short run of them. */
const orderReach = 8
/** How many lines above its `unsafe` a SAFETY comment may stand: a comment of a few lines, then a statement of a few. */
const safetyReach = 10

const hosts = ['registry.npmjs', 'static.crates', 'index.crates', 'files.pythonhosted', 'deb.debian']
/** Assembled, so that this file keeps its own rule. */
const machinePaths = [
  ['', 'work', ''],
  ['', 'root', ''],
].map((parts) => parts.join('/'))

const noHosts: Rule = (file, lines) =>
  breaches(file, lines, (line) => {
    if (file === 'scripts/tidy.ts') return undefined
    const host = hosts.find((each) => line.includes(each))
    if (host !== undefined) return `names a registry's host: ${host}`
    const path = machinePaths.find((each) => new RegExp(`(^|[\\s"'\`(=:])${each}`).test(line))
    return path === undefined ? undefined : `names a path of one machine: ${path}`
  })

/** Endings by which a word in backquotes is taken for a path. */
const pathEnding = /\.(rs|ts|mjs|md|toml|json|c|cpp|h|sh|html)$/
/** First folders of the checkout: a word that starts with one is a path too. */
const pathStart = /^(crates|examples|src|docs|scripts|benches|workloads|__test__|npm)\//
/** Made by a build. */
const built = /^(dist|target|docs\/api|node_modules)\/|\.(node|so|a)$/

const pathsExist: Rule = (file, lines) => {
  if (!file.endsWith('.md')) return []
  return breaches(file, lines, (line) => {
    const quoted = [...line.matchAll(/`([\w@./-]+)`/g)]
      .map((match) => match[1] ?? '')
      .filter((word) => pathStart.test(word) || (word.includes('/') && pathEnding.test(word)))
    const linked = [...line.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((match) => match[1] ?? '')
    const missing = [...quoted, ...linked].find(
      (path) => !built.test(path) && !existsSync(join(root, path)) && !existsSync(join(root, dirname(file), path)),
    )
    return missing === undefined ? undefined : `names a path that does not exist: ${missing}`
  })
}

/** Whether the lines above `at` hold `word` in a comment, up to `reach` lines away. */
function isExplained(lines: readonly string[], at: number, word: string, reach: number): boolean {
  return lines.slice(Math.max(0, at - reach), at + 1).some((line) => line.includes('//') && line.includes(word))
}

/** The line without its comment and texts, so that words in them do not count. */
function codeOf(line: string): string {
  return line.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\/\/.*$/, '')
}

/** Files that are tests as a whole, and what stands in for the system and its threads in tests. */
const testFile = /\/(sim|contract|models|schedules|scheduled|tests)(\.rs|\/)/
const isCoreSource = (file: string) => /^crates\/[^/]+\/src\/.*\.rs$/.test(file) && !testFile.test(file)

const unsafeIsExplained: Rule = (file, lines) => {
  if (!isCoreSource(file)) return []
  return lines.flatMap((line, at) => {
    const code = codeOf(line)
    const isBlock = /\bunsafe\s*(\{|impl\b)/.test(code)
    // What C calls has its duties in the header; `extern` blocks and types of functions make no claim.
    const isFunction = /\bpub\b.*\bunsafe\s+fn\s+\w/.test(code)
    if (!isBlock && !isFunction) return []
    const explained =
      isExplained(lines, at, 'SAFETY', safetyReach) || (isFunction && isExplained(lines, at, '# Safety', 30))
    return explained
      ? []
      : [{ file, line: at + 1, text: isBlock ? 'unsafe without SAFETY' : 'unsafe fn without # Safety' }]
  })
}

const orderingIsExplained: Rule = (file, lines) => {
  if (!isCoreSource(file)) return []
  // Test modules stand at the end of a file.
  const end = lines.findIndex((line) => /^#\[cfg\((all\()?(test|loom)/.test(line))
  return lines.slice(0, end < 0 ? lines.length : end).flatMap((line, at) => {
    if (!/\b(Relaxed|Acquire|Release|AcqRel|SeqCst)\b/.test(codeOf(line)) || /^\s*(pub(\(\w+\))?\s+)?use\b/.test(line))
      return []
    return isExplained(lines, at, 'ORDER', orderReach) ? [] : [{ file, line: at + 1, text: 'ordering without ORDER' }]
  })
}

function breaches(file: string, lines: readonly string[], check: (line: string) => string | undefined): Breach[] {
  return lines.flatMap((line, at) => {
    const text = check(line)
    return text === undefined ? [] : [{ file, line: at + 1, text }]
  })
}

const featuresAreWhole: Rule = (file, lines) =>
  file === 'docs/features.md' ? featureFaults(lines).map((fault) => ({ file, ...fault })) : []

const knownFailuresAreWhole: Rule = (file, lines) =>
  file === 'docs/known-failures.md' ? knownFailureFaults(lines).map((fault) => ({ file, ...fault })) : []

const protocols = 'docs/internals/protocols.md'

/** The table's last column against the tests called `models_…`. */
const modelsAreTold: Rule = (file, lines) => {
  if (file !== protocols) return []
  const sources = files.filter((each) => /\/src\/models(\.rs|\/)/.test(each))
  const models = sources.flatMap((each) =>
    [...readFileSync(join(root, each), 'utf8').matchAll(/fn models_(\w+)/g)].map(([, name]) => name ?? ''),
  )
  const rows = lines.map((line) =>
    line.startsWith('| ') ? [...(line.split(' | ')[3] ?? '').matchAll(/`(\w+)`/g)] : [],
  )
  const told = new Set(rows.flat().map(([, name]) => name ?? ''))
  const unknown = rows.flatMap((row, at) =>
    row
      .filter(([, name]) => !models.includes(name ?? ''))
      .map(([, name]) => ({ file, line: at + 1, text: `names a model that does not exist: ${name}` })),
  )
  const untold = models.filter((name) => !told.has(name))
  return [...unknown, ...untold.map((name) => ({ file, line: 1, text: `lacks the model ${name}` }))]
}

const rules: readonly Rule[] = [
  noHosts,
  pathsExist,
  unsafeIsExplained,
  orderingIsExplained,
  featuresAreWhole,
  knownFailuresAreWhole,
  modelsAreTold,
]

const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(root, file)))
const found = files.flatMap((file) => {
  const text = readFileSync(join(root, file), 'utf8')
  // A binary file.
  if (text.includes('\0')) return []
  const lines = text.split('\n')
  return rules.flatMap((rule) => rule(file, lines))
})
for (const { file, line, text } of found) console.log(`${file}:${line}: ${pc.red(text)}`)
console.log(`tidy: ${files.length} files, ${found.length} breaches`)
if (found.length > 0) process.exitCode = 1
