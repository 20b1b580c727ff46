/**
 * `npm run install-c -- --prefix DIR`: builds the C library and puts it under a prefix, as C and C++ programs look for it.
 *
 * | place                       | holds                                                     |
 * |-----------------------------|-----------------------------------------------------------|
 * | `include`                   | the headers                                               |
 * | `lib`                       | `libtessalloc.so`, `libtessalloc.a`                       |
 * | `lib/pkgconfig`             | `tessalloc.pc`, `tessalloc-mimalloc.pc`                   |
 * | `lib/cmake/tessalloc`       | what `find_package(tessalloc)` reads                      |
 *
 * The files name no absolute path: the tree may be moved as a whole.
 */
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { packageVersion } from '../src/version.ts'
import { CommandError, main, root, run, step, targetFolder } from './lib.ts'

const library = join(root, 'crates', 'tessalloc-c')

/** Where a template goes, by its ending. */
function placeOf(name: string): string {
  return name.endsWith('.pc') ? join('lib', 'pkgconfig') : join('lib', 'cmake', 'tessalloc')
}

function install(prefix: string): void {
  run('cargo', ['build', '--quiet', '-p', 'tessalloc-c', '--profile', 'release-c'])
  mkdirSync(join(prefix, 'lib'), { recursive: true })
  for (const ending of ['so', 'a']) {
    const to = join(prefix, 'lib', `libtessalloc.${ending}`)
    // A program that runs on the old library keeps it: the file is replaced, not written over.
    rmSync(to, { force: true })
    copyFileSync(join(targetFolder, 'release-c', `libtessalloc_c.${ending}`), to)
  }
  cpSync(join(library, 'include'), join(prefix, 'include'), { recursive: true })
  for (const file of readdirSync(join(library, 'package'))) {
    const name = file.replace(/\.in$/, '')
    const folder = join(prefix, placeOf(name))
    mkdirSync(folder, { recursive: true })
    const text = readFileSync(join(library, 'package', file), 'utf8')
    writeFileSync(join(folder, name), text.replaceAll('@VERSION@', packageVersion))
  }
}

main(() => {
  const { values } = parseArgs({ options: { prefix: { type: 'string' } } })
  const { prefix } = values
  if (prefix === undefined) {
    throw new CommandError('Cannot install: expected --prefix with a folder, received none')
  }
  step(`installing the C library under ${prefix}`, () => install(resolve(root, prefix)))
})
