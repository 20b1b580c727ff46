// The tables of `docs/features.md` and `docs/known-failures.md` have an entry for every row, and their checks notice what is missing.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { featureFaults } from '../scripts/features.ts'
import { knownFailureFaults } from '../scripts/known-failures.ts'
import { root } from '../scripts/lib.ts'

const linesOf = (page: string) => readFileSync(join(root, 'docs', page), 'utf8').split('\n')
const lines = linesOf('features.md')
const failures = linesOf('known-failures.md')

/** The lines with one row replaced. */
const withRow = (all: readonly string[], number: string, row: string | undefined) =>
  all.flatMap((line) => (line.startsWith(`| ${number} |`) ? (row === undefined ? [] : [row]) : [line]))

/** The faults after one row is replaced. */
const faultsWith = (number: string, row: string | undefined) =>
  featureFaults(withRow(lines, number, row)).map((fault) => fault.text)
const failureFaultsWith = (number: string, row: string | undefined) =>
  knownFailureFaults(withRow(failures, number, row)).map((fault) => fault.text)

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

test('every known failure has a test or a reason', (t) => {
  t.deepEqual(knownFailureFaults(failures), [])
})

test('the check of known failures notices what is missing', (t) => {
  t.deepEqual(failureFaultsWith('A8', undefined), ['expected row A8, received A9'])
  t.deepEqual(failureFaultsWith('N6', undefined), ['expected row N6, received none'])
  t.deepEqual(failureFaultsWith('E8', '| E8 | large blocks | x#1 | not yet |'), [
    'row E8: expected a test in backquotes, or "no: " and why, received not yet',
  ])
  t.deepEqual(failureFaultsWith('E8', '| E8 | large blocks | x#1 | K: `no_such_test` |'), [
    'row E8 names a test that its files do not have: no_such_test',
  ])
  t.deepEqual(failureFaultsWith('E8', '| E8 | large blocks | x#1 | `known_e06_zeroed_blocks_shrink_and_grow` |'), [
    'row E8 names a test that its files do not have: known_e06_zeroed_blocks_shrink_and_grow',
  ])
})
