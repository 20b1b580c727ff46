/**
 * `npm run packages`: makes the packages as they are published, and checks them: sizes, publint, arethetypeswrong. Needs a build.
 *
 *     npm run packages                          into target/packages
 *     npm run packages -- --out DIR             elsewhere
 *     npm run packages -- --manifests DIR       only writes the manifest of every platform's package, released or not: for a
 *                                               build on that platform, which puts its binaries beside it
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { platforms } from '../src/platforms.ts'
import { attw, CommandError, main, root, run } from './lib.ts'
import { platformManifest, publishedManifest, writeManifest } from './manifests.ts'

/** Largest package, packed. Unit: bytes. */
const packedBytesMax = 2 ** 20

/** A package laid out in a folder of its own, ready to be packed. */
interface Staged {
  readonly name: string
  readonly folder: string
  readonly manifest: Readonly<Record<string, unknown>>
}

/** Copies what a manifest names from a folder, with the licence, into a folder of the package's own. */
function stage(name: string, from: string, manifest: Staged['manifest'], out: string, more: readonly string[]): Staged {
  const folder = join(out, name)
  rmSync(folder, { recursive: true, force: true })
  writeManifest(folder, manifest)
  for (const file of [...(manifest.files as string[]), ...more]) {
    if (!existsSync(join(from, file))) {
      throw new CommandError(`Cannot pack ${manifest.name}: expected ${join(from, file)}. Run: npm run build`)
    }
    cpSync(join(from, file), join(folder, file), { recursive: true })
  }
  cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  return { name, folder, manifest }
}

interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly entryCount: number
}

/** Packs a staged package; tells its size, and fails where that is too large. */
function pack({ folder, manifest }: Staged, out: string): string {
  const args = ['pack', '--json', '--ignore-scripts', `--pack-destination=${out}`]
  const { status, stdout, stderr, error } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8' })
  if (error || status !== 0) throw new CommandError(`Cannot pack ${manifest.name}: ${error?.message ?? stderr}`)
  const [packed] = JSON.parse(stdout) as [Packed]
  const kilo = (bytes: number) => `${Math.ceil(bytes / 1024)} KiB`
  console.log(
    `${packed.filename}: ${kilo(packed.size)} packed, ${kilo(packed.unpackedSize)} unpacked, ${packed.entryCount} files`,
  )
  if (packed.size > packedBytesMax) {
    throw new CommandError(
      `Cannot pack ${manifest.name}: at most ${kilo(packedBytesMax)} allowed, received ${kilo(packed.size)}`,
    )
  }
  return join(out, packed.filename)
}

/** publint: fields of the manifest against the files. */
async function lint({ folder, manifest }: Staged): Promise<void> {
  const { messages } = await publint({ pkgDir: folder, level: 'suggestion', strict: true, pack: false })
  if (messages.length === 0) return
  const texts = messages.map((message) => formatMessage(message, manifest as Parameters<typeof formatMessage>[1]))
  throw new CommandError(`publint on ${manifest.name}:\n${texts.join('\n')}`)
}

async function packAll(out: string): Promise<void> {
  mkdirSync(out, { recursive: true })
  const own = stage('tessalloc', root, publishedManifest(), out, ['README.md'])
  const released = platforms.filter((each) => each.released)
  const binaries = released.map((each) =>
    stage(each.name, join(root, 'npm', each.name), platformManifest(each), out, []),
  )
  const [tarball = ''] = [own, ...binaries].map((each) => pack(each, out))
  for (const each of [own, ...binaries]) await lint(each)
  // `require` gets the ES module, which Node takes from 20.19 on: the lowest that `engines` allows.
  run(process.execPath, [attw, '--no-emoji', '--format=ascii', '--ignore-rules=cjs-resolves-to-esm', tarball])
}

const { values } = parseArgs({ options: { out: { type: 'string' }, manifests: { type: 'string' } } })
await main(async () => {
  if (values.manifests === undefined) return packAll(resolve(values.out ?? join(root, 'target', 'packages')))
  for (const each of platforms) writeManifest(join(resolve(values.manifests), each.name), platformManifest(each))
})
