// The rules for comments of public symbols notice what is missing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { docFaults } from '../scripts/doc-rules.ts'

const source = `
/** Makes one. */
export function make(): void {
  refuse()
}

function refuse(): never {
  throw { code: 'ERR_TESSALLOC_FULL' }
}

/**
 * One, for any thread. Throws \`ERR_TESSALLOC_OCCUPIED\`.
 *
 * \`\`\`ts
 * new One()
 * \`\`\`
 */
export class One {
  /** How far it is. */
  readonly distance: number = 0
  /** How many there are. */
  readonly others: number = 0
  /** Another file has an example of such a name. */
  dispose(): void {
    throw { code: 'ERR_TESSALLOC_OCCUPIED' }
  }
  /** Throws as {@link One.named}. */
  get unused(): number[] {
    return this.named()
  }
  /** Throws \`ERR_TESSALLOC_FULL\`. */
  named(): never {
    return refuse()
  }
}
`

test('doc_rules_notice_what_a_comment_lacks', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'index.ts')
  writeFileSync(path, source)
  t.deepEqual(
    docFaults(path, { noLib: true, types: [] }).map(({ text }) => text),
    [
      'make does not say which threads may use it',
      'make has no example',
      'make does not name ERR_TESSALLOC_FULL',
      'One.distance does not say its unit',
      'One.unused is in no example',
      'One.named is in no example',
    ],
  )
  writeFileSync(path, '')
  t.throws(() => docFaults(path, { noLib: true, types: [] }), { message: /exports nothing/ })
})
