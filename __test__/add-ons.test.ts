// The example of the guide `docs/add-ons.md`: an add-on on tessalloc.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { type Example, exampleAddon } from './example-addon.ts'
import { evaluate, plainEnv, root } from './helpers.ts'

const mib = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
test.after.always(() => rmSync(folder, { recursive: true }))

let paths: string[]
let one: Example
let two: Example
test.before(async (t) => {
  t.timeout(600_000)
  paths = await exampleAddon(folder, ['one.node', 'two.node', 'word-counts.node'])
  const [first, second] = paths.map((path) => createRequire(import.meta.url)(path) as Example)
  one = first as Example
  two = second as Example
})

/** `count` words that differ. */
const words = (count: number, name = 'word') => Array.from({ length: count }, (_, i) => `${name}${i}`).join(' ')

test.serial('each object counts in a heap of its own, which is gone when it is disposed', (t) => {
  const before = one.memory()
  const counts = [1, 2, 3].map(() => new one.WordCounts(64 * mib))
  for (const each of counts) each.add(words(20_000))
  t.is(one.memory().heaps, before.heaps + 3)
  for (const each of counts) {
    // A word's place takes 24 bytes in the table, and 8 at least in the heap.
    t.true(each.allocatedBytes > 20_000 * 32, `${each.allocatedBytes}`)
    t.deepEqual([each.size, each.get('word7'), each.get('word')], [20_000, 1, 0])
    each.dispose()
    each.dispose()
    t.throws(() => each.get('word7'), { message: 'Cannot use word counts: they were disposed' })
  }
  const after = one.memory()
  t.is(after.heaps, before.heaps)
  // All of it, but for what threads keep ready.
  t.true(after.allocatedBytes - before.allocatedBytes < mib, `${after.allocatedBytes - before.allocatedBytes}`)
})

test.serial('an object that is full says so, keeps what it has, and takes nothing from others', (t) => {
  const full = new one.WordCounts(200_000)
  const other = new one.WordCounts(200_000)
  t.throws(() => full.add(words(100_000)), { message: 'Cannot count words: the limit is reached' })
  t.true(full.size > 1000 && full.allocatedBytes <= 200_000, `${full.size} words, ${full.allocatedBytes} bytes`)
  t.is(full.get(`word${full.size - 1}`), 1)
  full.add('word0')
  t.is(full.get('word0'), 2)
  other.add(words(1000))
  t.is(other.size, 1000)
  full.dispose()
  other.dispose()
  for (const limit of [0, -1, Number.NaN, 2 ** 53]) {
    t.throws(() => new one.WordCounts(limit), { message: /limitBytes must be from 1/ })
  }
})

test.serial('threads of the pool count into the same heap, also when it goes meanwhile', async (t) => {
  const before = one.memory()
  const counts = new one.WordCounts(64 * mib)
  await Promise.all(Array.from({ length: 8 }, (_, i) => counts.addAsync(`${words(2000, `of${i}-`)} the the`)))
  t.deepEqual([counts.size, counts.get('the')], [16_001, 16])
  const late = Promise.allSettled(Array.from({ length: 8 }, () => counts.addAsync(words(5000))))
  counts.dispose()
  for (const result of await late) {
    // One that came before the end was counted.
    if (result.status === 'rejected') t.regex(String(result.reason), /they were disposed/)
  }
  t.is(one.memory().heaps, before.heaps)
})

test.serial('copies share nothing', (t) => {
  const before = two.memory()
  const counts = new one.WordCounts(64 * mib)
  counts.add(words(50_000))
  t.deepEqual(two.memory(), before)
  t.true(one.memory().committedBytes > before.committedBytes)
  counts.dispose()
})

test('an add-on says nothing as the process ends, and needs no thread-local room from the start', async (t) => {
  const [path = ''] = paths
  const code = `const counts = new (require(${JSON.stringify(path)}).WordCounts)(1e6); counts.add('a b'); console.log(counts.size)`
  const env = plainEnv({
    TESSALLOC_STATS: 'on',
    TESSALLOC_PROFILE: 'on',
    TESSALLOC_PROFILE_FILE: join(folder, 'profile'),
  })
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['-e', code], { env })
  t.deepEqual([stdout, stderr, existsSync(join(folder, 'profile'))], ['2\n', '', false])
  const { stdout: headers } = await promisify(execFile)('readelf', ['--wide', '--dynamic', '--relocs', path])
  t.notRegex(headers, /STATIC_TLS|TPOFF/)
})

const guide = readFileSync(join(root, 'docs', 'add-ons.md'), 'utf8')
const examplesIn = (language: string) =>
  [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((match) => match[1] ?? '')

test("the guide's Rust is the example's", (t) => {
  const sources = ['Cargo.toml', 'src/lib.rs', 'src/table.rs'].map((name) =>
    readFileSync(join(root, 'examples', 'word-counts', name), 'utf8'),
  )
  const shown = [...examplesIn('toml'), ...examplesIn('rs')]
  t.true(shown.length >= 3)
  for (const code of shown) {
    for (const part of code.split('\n// …\n'))
      t.true(
        sources.some((text) => text.includes(part.trim())),
        part,
      )
  }
})

test("the guide's JavaScript runs", async (t) => {
  const [code = ''] = examplesIn('js')
  const checked = code
    .replace("'./word-counts.node'", JSON.stringify(paths[2]))
    .replaceAll(/^(.*?)\s*\/\/ → (.*)$/gm, 'deepStrictEqual($1, $2)')
  t.true(checked.includes('deepStrictEqual'))
  const imports = `import { deepStrictEqual } from 'node:assert'\nimport { createRequire } from 'node:module'\n`
  const require = `const require = createRequire(${JSON.stringify(import.meta.url)})\n`
  t.is(await evaluate(`${imports}${require}${checked}\nconsole.log(true)`), true)
})
