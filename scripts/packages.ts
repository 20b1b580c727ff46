/**
 * `npm run packages`: makes the packages as they are published, and checks them: sizes, publint, arethetypeswrong. Needs a build.
 *
 *     npm run packages                          for this platform, into target/packages
 *     npm run packages -- --all                 for every platform that can be built here: builds the binaries, looks into them, packs
 *                                               them, and runs what can be run. An hour at first, some minutes later; `docs/platforms.md`
 *     npm run packages -- --target NAME         the same for one platform, or several
 *     npm run packages -- --out DIR             elsewhere
 *     npm run packages -- --manifests DIR       only writes the manifest of every platform's package: for a build on that platform,
 *                                               which puts its binaries beside it
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { type Platform, platformName, platforms } from '../src/platforms.ts'
import { setUp } from './cross-tools.ts'
import { attw, CommandError, main, root, run, step } from './lib.ts'
import { platformManifest, publishedManifest, writeManifest } from './manifests.ts'
import { buildPlatform, notBuilt } from './platform-build.ts'
import { checkPlatform } from './platform-check.ts'
import { runPlatform } from './platform-run.ts'

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
  readonly path: string
  readonly size: number
  readonly unpackedSize: number
  readonly entryCount: number
}

const kilo = (bytes: number) => `${Math.ceil(bytes / 1024)} KiB`

/** Packs a staged package; tells its size, and fails where that is too large. */
function pack({ folder, manifest }: Staged, out: string): Packed {
  const args = ['pack', '--json', '--ignore-scripts', `--pack-destination=${out}`]
  const { status, stdout, stderr, error } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8' })
  if (error || status !== 0) throw new CommandError(`Cannot pack ${manifest.name}: ${error?.message ?? stderr}`)
  const [packed] = JSON.parse(stdout) as [Omit<Packed, 'path'> & { filename: string }]
  console.log(
    `${packed.filename}: ${kilo(packed.size)} packed, ${kilo(packed.unpackedSize)} unpacked, ${packed.entryCount} files`,
  )
  if (packed.size > packedBytesMax) {
    throw new CommandError(
      `Cannot pack ${manifest.name}: at most ${kilo(packedBytesMax)} allowed, received ${kilo(packed.size)}`,
    )
  }
  return { ...packed, path: join(out, packed.filename) }
}

/** publint: fields of the manifest against the files. */
async function lint({ folder, manifest }: Staged): Promise<void> {
  const { messages } = await publint({ pkgDir: folder, level: 'suggestion', strict: true, pack: false })
  if (messages.length === 0) return
  const texts = messages.map((message) => formatMessage(message, manifest as Parameters<typeof formatMessage>[1]))
  throw new CommandError(`publint on ${manifest.name}:\n${texts.join('\n')}`)
}

/** What became of a platform's package. */
interface Made {
  readonly platform: Platform
  /** Why there is none, or what went wrong when it ran. */
  fault?: string
  /** The newest glibc that the binaries ask for. */
  glibc?: string | undefined
  tarball?: Packed
  /** What was seen of it in use, or that nothing here runs it. */
  seen?: string
}

/** Does a step for a platform whose steps went well so far; a failure is told, and the other platforms go on. */
function attempt(made: Made, what: string, work: () => void): void {
  if (made.fault !== undefined) return
  try {
    step(`${made.platform.name}: ${what}`, work)
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    console.error(error.message)
    made.fault = error.message.split('\n')[0] ?? ''
  }
}

/** Packs the main package and those of `platforms`, whose binaries are there. Tarballs, the main one first. */
async function packAll(out: string, all: readonly Made[]): Promise<Packed> {
  mkdirSync(out, { recursive: true })
  const published = all.map(({ platform }) => platform).filter(({ proof }) => proof !== 'none')
  const own = stage('tessalloc', root, publishedManifest(published), out, ['README.md'])
  const tarball = pack(own, out)
  const binaries: Staged[] = []
  for (const made of all) {
    const { platform } = made
    const staged = stage(platform.name, join(root, 'npm', platform.name), platformManifest(platform), out, [])
    made.tarball = pack(staged, out)
    binaries.push(staged)
  }
  for (const each of [own, ...binaries]) await lint(each)
  // `require` gets the ES module, which Node takes from 20.19 on: the lowest that `engines` allows.
  run(process.execPath, [attw, '--no-emoji', '--format=ascii', '--ignore-rules=cjs-resolves-to-esm', tarball.path])
  return tarball
}

/** Builds, checks, packs and runs; says of each platform how far that went. Throws where one failed. */
async function release(out: string, wanted: readonly Platform[]): Promise<void> {
  setUp()
  const all: Made[] = wanted.map((platform) => ({ platform }))
  for (const made of all) {
    attempt(made, 'building', () => buildPlatform(made.platform))
    attempt(made, 'looking into it', () => {
      made.glibc = checkPlatform(made.platform)
    })
  }
  const built = all.filter(({ fault }) => fault === undefined)
  const { path } = await packAll(out, built)
  for (const made of built) {
    attempt(made, 'running', () => {
      made.seen = runPlatform(made.platform, [path, made.tarball?.path ?? '']) ?? 'looked into, never run'
    })
  }
  const table = new Table({ head: ['platform', 'packed', 'unpacked', 'glibc', 'seen'] })
  for (const { platform, tarball, glibc, fault, seen } of all) {
    const bytes = (size?: number) => (size === undefined ? '–' : kilo(size))
    table.push([platform.name, bytes(tarball?.size), bytes(tarball?.unpackedSize), glibc ?? '–', fault ?? seen ?? ''])
  }
  console.log(`${table}`)
  for (const [names, reason] of notBuilt) console.log(`not built: ${names}: ${reason}`)
  const failures = all.filter(({ fault }) => fault !== undefined).map(({ platform }) => platform.name)
  if (failures.length > 0) throw new CommandError(`Cannot make all packages: ${failures.join(', ')} failed, see above`)
}

/** The rows of `names`. */
function rowsOf(names: readonly string[]): Platform[] {
  return names.map((name) => {
    const row = platforms.find((each) => each.name === name)
    if (row !== undefined) return row
    const known = platforms.map((each) => each.name).join(', ')
    throw new CommandError(`Cannot make a package for ${name}: expected one of ${known}`)
  })
}

await main(async () => {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      manifests: { type: 'string' },
      target: { type: 'string', multiple: true },
      all: { type: 'boolean' },
    },
  })
  const out = resolve(values.out ?? join(root, 'target', 'packages'))
  if (values.manifests !== undefined) {
    for (const each of platforms) writeManifest(join(resolve(values.manifests), each.name), platformManifest(each))
  } else if (values.all || values.target !== undefined) {
    await release(out, values.all ? platforms : rowsOf(values.target ?? []))
  } else {
    await packAll(
      out,
      rowsOf([platformName()]).map((platform) => ({ platform })),
    )
  }
})
