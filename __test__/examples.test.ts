// The examples of the guides and of the doc comments run. What stands behind `→` in a comment is checked:
//
//     arena.used // → 16                                        gives this value
//     arena.rewind(mark) // → throws ERR_TESSALLOC_STALE_MARK   fails with this code
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { root } from './helpers.ts'

/** Files with examples, and how many they have at least: so that none is lost unseen. */
const files = {
  'docs/arenas-and-pools.md': 12,
  'docs/sharing-memory.md': 4,
  'src/arena.ts': 2,
  'src/buffer-pool.ts': 1,
  'src/heap.ts': 1,
  'src/shared-heap/shared-heap.ts': 1,
  'src/shared-heap/struct.ts': 1,
}

const folder = mkdtempSync(join(tmpdir(), 'tessalloc-examples-'))
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
  const own = JSON.stringify(pathToFileURL(join(root, 'src', 'index.ts')))
  const text = checked.join('\n')
  const imports = text.includes("from 'tessalloc'")
    ? ''
    : `import { Arena, BufferPool, defineStruct, Heap, SharedHeap } from 'tessalloc'\n`
  const asserts = `import { deepStrictEqual, throws } from 'node:assert'\n`
  return asserts + (imports + text).replaceAll("'tessalloc'", own)
}

for (const [file, least] of Object.entries(files)) {
  const examples = examplesOf(file)

  test(`${file} has its examples`, (t) => {
    t.true(examples.length >= least, `${examples.length}`)
  })

  for (const { line, code } of examples) {
    test(`the example at ${file}:${line} runs`, async (t) => {
      const path = join(folder, `${file.replaceAll('/', '-')}-${line}.ts`)
      writeFileSync(path, moduleOf(code))
      await t.notThrowsAsync(import(pathToFileURL(path).href))
    })
  }
}

test('an arrow that is wrong is noticed', async (t) => {
  for (const [name, line] of Object.entries({
    value: '1 + 1 // → 3',
    code: 'new Arena(0) // → throws ERR_TESSALLOC_DISPOSED',
  })) {
    const path = join(folder, `wrong-${name}.ts`)
    writeFileSync(path, moduleOf(line))
    await t.throwsAsync(import(pathToFileURL(path).href), { code: 'ERR_ASSERTION' }, name)
  }
})
