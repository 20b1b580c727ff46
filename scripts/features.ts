/**
 * Holds the table "Row by row" of `docs/features.md` to what it promises; part of `npm run tidy`.
 *
 * | what | must be |
 * |---|---|
 * | numbers | each of the sections below from 1 on, in order, none twice |
 * | a row with a form of ours | names what shows it, in backquotes |
 * | a row without | says "not yet" or "not yet: " and why, or "no: " and why |
 * | `tessalloc_…` | declared in a header |
 * | `Type::name`, `raw::name` and the like | in the sources of the core |
 * | a test's name among what shows it | a function in a file named in the same field |
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './lib.ts'

/** How many rows the sections 1, 2, … have. */
const rowsBySection = [16, 6, 6, 5, 11, 8, 12, 11, 14, 5, 13, 3, 1, 8, 11, 3, 8, 1, 10, 1]

const expectedNumbers = rowsBySection.flatMap((rows, section) =>
  Array.from({ length: rows }, (_, row) => `${section + 1}.${row + 1}`),
)

interface Row {
  readonly line: number
  readonly number: string
  readonly rust: string
  readonly c: string
  readonly typeScript: string
  readonly proof: string
}

/** All text of the files below a folder with one of the endings. */
function textBelow(folder: string, ...endings: readonly string[]): string {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  return files
    .filter((file) => endings.some((ending) => file.endsWith(ending)))
    .map((file) => readFileSync(join(root, folder, file), 'utf8'))
    .join('\n')
}

function rowsOf(lines: readonly string[]): Row[] {
  const start = lines.indexOf('## Row by row')
  return lines.flatMap((text, at) => {
    if (start < 0 || at < start) return []
    const [, number, , rust, c, typeScript, proof] = text.split('|').map((field) => field.trim())
    if (!/^\d+\.\d+$/.test(number ?? '')) return []
    return [{ line: at + 1, number, rust, c, typeScript, proof } as Row]
  })
}

const quoted = (field: string) => [...field.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
const hasWord = (text: string, word: string) => new RegExp(`\\b${word}\\b`).test(text)

/** What is wrong with the table, by line. */
export function featureFaults(lines: readonly string[]): { line: number; text: string }[] {
  const core = textBelow('crates/tessalloc/src', '.rs')
  const headers = textBelow('crates/tessalloc-c/include', '.h', '.hpp')
  const rows = rowsOf(lines)
  const numbers = rows.map((row) => row.number)
  const wrong = expectedNumbers.findIndex((number, at) => numbers[at] !== number)
  const faults: { line: number; text: string }[] = []
  if (wrong >= 0 || numbers.length > expectedNumbers.length) {
    const at = wrong >= 0 ? wrong : expectedNumbers.length
    const line = rows[at]?.line ?? lines.length
    faults.push({ line, text: `expected row ${expectedNumbers[at] ?? 'none'}, received ${numbers[at] ?? 'none'}` })
  }
  for (const { line, number, rust, c, typeScript, proof } of rows) {
    const isThere = [rust, c, typeScript].some((form) => form !== '–')
    if (isThere && quoted(proof).length === 0) {
      faults.push({ line, text: `row ${number} names a form, and nothing that shows it: ${proof}` })
    }
    if (!isThere && !/^(not yet(: .+)?$|no: .)/.test(proof)) {
      faults.push({
        line,
        text: `row ${number} names no form: expected "not yet" or "no: " and why, received ${proof}`,
      })
    }
    for (const name of quoted(rust).filter((name) => /^(\w+::)*\w+$/.test(name))) {
      const part = name.split('::').find((each) => each !== 'tessalloc' && !hasWord(core, each))
      if (part !== undefined) faults.push({ line, text: `row ${number} names what the core does not have: ${name}` })
    }
    for (const name of quoted(c).filter((name) => /^tessalloc_\w+$/.test(name))) {
      if (!hasWord(headers, name)) faults.push({ line, text: `row ${number} names what no header has: ${name}` })
    }
    // One that is missing is another rule's to report.
    const files = quoted(proof).filter((name) => /\.(rs|ts)$/.test(name) && existsSync(join(root, name)))
    const tests = files.map((file) => readFileSync(join(root, file), 'utf8')).join('\n')
    for (const name of quoted(proof).filter((name) => /^[a-z]\w*_\w+$/.test(name))) {
      if (!hasWord(tests, `fn ${name}`)) {
        faults.push({ line, text: `row ${number} names a test that its files do not have: ${name}` })
      }
    }
  }
  return faults
}
