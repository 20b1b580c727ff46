// The table of `docs/features.md` has an entry for every row, and its check notices what is missing.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { featureFaults } from '../scripts/features.ts'
import { root } from '../scripts/lib.ts'

const lines = readFileSync(join(root, 'docs', 'features.md'), 'utf8').split('\n')

/** The faults after one row is replaced. */
function faultsWith(number: string, row: string | undefined): string[] {
  const changed = lines.flatMap((line) =>
    line.startsWith(`| ${number} |`) ? (row === undefined ? [] : [row]) : [line],
  )
  return featureFaults(changed).map((fault) => fault.text)
}

test('every row of the table of features has an entry', (t) => {
  t.deepEqual(featureFaults(lines), [])
})

test('the check of the table notices what is missing', (t) => {
  const proof = '`crates/tessalloc/tests/extra.rs`'
  t.deepEqual(faultsWith('1.8', undefined), ['expected row 1.8, received 1.9'])
  t.deepEqual(faultsWith('20.1', undefined), ['expected row 20.1, received none'])
  t.deepEqual(faultsWith('1.8', '| 1.8 | batches | – | – | – | – |'), [
    'row 1.8 names no form: expected "not yet" or "no: " and why, received –',
  ])
  t.deepEqual(faultsWith('1.8', '| 1.8 | batches | `raw::malloc_batch` | – | – | not yet |'), [
    'row 1.8 names a form, and nothing that shows it: not yet',
  ])
  t.deepEqual(faultsWith('1.8', `| 1.8 | batches | \`raw::malloc_bunch\` | – | – | ${proof} |`), [
    'row 1.8 names what the core does not have: raw::malloc_bunch',
  ])
  t.deepEqual(faultsWith('1.8', `| 1.8 | batches | – | \`tessalloc_malloc_bunch\` | – | ${proof} |`), [
    'row 1.8 names what no header has: tessalloc_malloc_bunch',
  ])
  t.deepEqual(faultsWith('1.8', `| 1.8 | batches | \`raw::malloc_batch\` | – | – | \`no_such_test\` in ${proof} |`), [
    'row 1.8 names a test that its files do not have: no_such_test',
  ])
})
