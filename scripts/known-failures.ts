/**
 * Holds the tables of `docs/known-failures.md` to what they promise; part of `npm run tidy`.
 *
 * | what | must be |
 * |---|---|
 * | numbers | each of the sections below from 1 on, in order, none twice |
 * | a row | names a test in backquotes, or says "no: " and why |
 * | a test's name | a function of a Rust file, or a part of a TypeScript file, that the row names, by its path or by its letter |
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './lib.ts'

const rowsBySection = { A: 25, E: 21, N: 6 }

const expectedNumbers = Object.entries(rowsBySection).flatMap(([section, rows]) =>
  Array.from({ length: rows }, (_, row) => `${section}${row + 1}`),
)

/** What is wrong with the tables, by line. */
export function knownFailureFaults(lines: readonly string[]): { line: number; text: string }[] {
  const letters = new Map(
    lines
      .filter((line) => line.startsWith('Files: '))
      .flatMap((line) => [...line.matchAll(/\*(\w)\* is `([^`]+)`/g)].map(([, letter, path]) => [letter, path])),
  )
  const read = (path: string) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '')
  const rows = lines.flatMap((text, at) => {
    const [, number = '', , , proof = ''] = text.split('|').map((field) => field.trim())
    return /^[A-Z]\d+$/.test(number) ? [{ line: at + 1, number, proof }] : []
  })
  const faults: { line: number; text: string }[] = []
  const wrong = expectedNumbers.findIndex((number, at) => rows[at]?.number !== number)
  if (wrong >= 0 || rows.length > expectedNumbers.length) {
    const at = wrong >= 0 ? wrong : expectedNumbers.length
    const [expected, received] = [expectedNumbers[at] ?? 'no more rows', rows[at]?.number ?? 'none']
    faults.push({ line: rows[at]?.line ?? lines.length, text: `expected row ${expected}, received ${received}` })
  }
  for (const { line, number, proof } of rows) {
    const quoted = [...proof.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
    const named = [...proof.matchAll(/\b([A-Z]): `/g)].map((match) => letters.get(match[1] ?? '') ?? '')
    const text = [...quoted.filter((word) => /\.(rs|ts)$/.test(word)), ...named].map(read).join('\n')
    const tests = quoted.filter((word) => /^[a-z]\w*_\w+…?$/.test(word))
    if (tests.length === 0 && !/^no: \S/.test(proof)) {
      faults.push({ line, text: `row ${number}: expected a test in backquotes, or "no: " and why, received ${proof}` })
    }
    for (const test of tests) {
      const name = test.replace('…', '')
      const isThere = text.includes(`fn ${name}(`) || text.includes(`'${name}'`) || text.includes(`\`${name}$`)
      if (!isThere) faults.push({ line, text: `row ${number} names a test that its files do not have: ${test}` })
    }
  }
  return faults
}
