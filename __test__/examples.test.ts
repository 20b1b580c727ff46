// The examples of the guides and of the doc comments compile and run. What stands behind `→` in a comment is checked:
//
//     arena.used // → 16                                        gives this value
//     arena.rewind(mark) // → throws ERR_TESSALLOC_STALE_MARK   fails with this code
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { register } from 'prom-client'
import * as tessalloc from '../src/index.ts'
import { root } from './helpers.ts'

/** Guides and sources with examples. */
const files = [
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
  ...readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).map((name) => `src/${name}`),
].filter((file) => /\.(md|ts)$/.test(file) && /^(\s*\* )?```ts$/m.test(readFileSync(join(root, file), 'utf8')))

const folder = mkdtempSync(join(tmpdir(), 'tessalloc-examples-'))
writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
// Some examples use other packages.
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
test.after.always(() => rmSync(folder, { recursive: true }))

/** The examples of a file, each with its first line. */
function examplesOf(file: string): { line: number; code: string }[] {
  const lines = readFileSync(join(root, file), 'utf8').split('\n')
  const found: { line: number; code: string }[] = []
  let begin = -1
  for (const [at, line] of lines.entries()) {
    const text = line.replace(/^\s*\* ?/, '')
    if (text === '```ts') begin = at + 1
    else if (text === '```' && begin >= 0) {
      const code = lines.slice(begin, at).map((each) => (file.endsWith('.ts') ? each.replace(/^\s*\* ?/, '') : each))
      found.push({ line: begin + 1, code: code.join('\n') })
      begin = -1
    }
  }
  return found
}

/** The example as a module, its arrows as assertions. */
function moduleOf(code: string): string {
  const checked = code.split('\n').map((line) => {
    const [, call, code] = /^\s*(.*?)\s*\/\/ → throws (\w+)$/.exec(line) ?? []
    if (call) return `throws(() => ${call}, { code: '${code}' })`
    const [, expression, value] = /^\s*(.*?)\s*\/\/ → (.*)$/.exec(line) ?? []
    return expression ? `deepStrictEqual(${expression}, ${value})` : line
  })
  const text = checked.join('\n')
  const isUsed = (name: string) => new RegExp(`\\b${name}\\b`).test(text)
  const imports = text.includes("from 'tessalloc'")
    ? ''
    : `import { ${Object.keys(tessalloc).filter(isUsed).join(', ')} } from 'tessalloc'\n`
  const asserts = `import { deepStrictEqual, throws } from 'node:assert'\n`
  // A module even where nothing is imported, and in no other example's way.
  return `${asserts}${imports}${text}\nexport {}\n`.replaceAll("'tessalloc'", JSON.stringify(sdk))
}

/** The package as the examples import it: by its sources. */
const sdk = join(root, 'src', 'index.ts')

/** Writes an example as a file of its own, and answers its path. */
function write(name: string, code: string): string {
  const path = join(folder, `${name}.ts`)
  writeFileSync(path, moduleOf(code))
  return path
}

const examples = files.flatMap((file) =>
  examplesOf(file).map(({ line, code }) => ({
    at: `${file}:${line}`,
    path: write(`${file.replaceAll('/', '-')}-${line}`, code),
  })),
)

test('every public class has an example, and the guides have theirs', (t) => {
  t.true(examples.length >= 20, `${examples.length}`)
  const texts = examples.filter(({ at }) => at.startsWith('src/')).map(({ path }) => readFileSync(path, 'utf8'))
  for (const name of Object.keys(tessalloc).filter((name) => /^[A-Z]/.test(name) && name !== 'TessallocError')) {
    t.true(
      texts.some((text) => text.includes(`new ${name}(`) || text.includes(`${name}.`)),
      name,
    )
  }
})

for (const { at, path } of examples) {
  test.serial(`the example at ${at} runs`, async (t) => {
    // Two examples fill the one registry that a program has.
    register.clear()
    await t.notThrowsAsync(import(pathToFileURL(path).href))
  })
}

test('the examples compile', async (t) => {
  t.timeout(600_000)
  const config = join(folder, 'tsconfig.json')
  const compilerOptions = {
    noUnusedLocals: false,
    noUnusedParameters: false,
    rewriteRelativeImportExtensions: false,
    typeRoots: [join(root, 'node_modules', '@types')],
  }
  writeFileSync(
    config,
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions,
      include: [join(folder, '*.ts')],
      exclude: [],
    }),
  )
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const child = spawn(process.execPath, [tsc, '-p', config], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (data: Buffer) => (output += data))
  const [status] = (await once(child, 'close')) as [number | null]
  t.is(status, 0, output)
})

test('an arrow that is wrong is noticed', async (t) => {
  for (const [name, line] of Object.entries({
    value: '1 + 1 // → 3',
    code: 'new Arena(0) // → throws ERR_TESSALLOC_DISPOSED',
  })) {
    const path = write(`wrong-${name}`, line)
    await t.throwsAsync(import(pathToFileURL(path).href), { code: 'ERR_ASSERTION' }, name)
  }
})
