/**
 * `npm run docs`: the reference of both languages, from the comments in the code. A warning is a fault: every public symbol is
 * documented, every link leads somewhere, and comments of the TypeScript keep the rules of `scripts/doc-rules.ts`.
 *
 *     npm run docs                        docs/api (typedoc, with the guides), docs/api/rust (rustdoc)
 *     npm run docs -- typescript          only the first
 */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { docFaults } from './doc-rules.ts'
import { CommandError, main, root, run, step, targetFolder, typedoc } from './lib.ts'

const out = join(root, 'docs', 'api')

/** Options: `typedoc.config.mjs`. */
function documentTypeScript(): void {
  const faults = docFaults()
  for (const { file, line, text } of faults) console.error(`${file}:${line}: ${text}`)
  if (faults.length > 0) throw new CommandError('Comments of public symbols lack something: see scripts/doc-rules.ts')
  rmSync(out, { recursive: true, force: true })
  run(process.execPath, [typedoc, '--out', out])
}

function documentRust(): void {
  // Tables of invariants link to private items: for readers of the code, and plain text in the reference.
  const RUSTDOCFLAGS = '-D warnings -A rustdoc::private-intra-doc-links'
  run('cargo', ['doc', '--no-deps', '-p', 'tessalloc', '--features', 'allocator-api2'], { env: { RUSTDOCFLAGS } })
  cpSync(join(targetFolder, 'doc'), join(out, 'rust'), { recursive: true })
}

main(() => {
  step('documenting the TypeScript', documentTypeScript)
  if (process.argv[2] !== 'typescript') step('documenting the Rust', documentRust)
})
