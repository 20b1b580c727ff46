// Finds and loads the binary of this platform; the only importer of the generated binding. Why it could not, by code:
//
// | what is there                                            | code                           |
// |----------------------------------------------------------|--------------------------------|
// | no package is made for this system or processor, or it was never run there | `ERR_TESSALLOC_UNSUPPORTED` |
// | Node.js is too old                                       | `ERR_TESSALLOC_UNSUPPORTED`    |
// | the installed one is for another C library, or for a newer one | `ERR_TESSALLOC_WRONG_LIBC` |
// | the platform package is not installed, or lacks the file | `ERR_TESSALLOC_MISSING_BINARY` |
// | the platform package is of another version               | `ERR_TESSALLOC_VERSION_SKEW`   |
// | the file is there, and the system does not load it       | `ERR_TESSALLOC_LOAD_FAILED`    |
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inElf, type LibcName, machineName, machines } from './elf.ts'
import { TessallocError } from './errors.ts'
import type * as Generated from './generated/binding.d.ts'
import { addonOf, type LibraryName, libcOfNode, packageOf, platformName, platforms, released } from './platforms.ts'
import { nodeMinimum, packageVersion } from './version.ts'

/** What the add-on exports. */
export type Binding = typeof Generated

const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)

let cachedName: string | undefined

function thisPlatform(): string {
  cachedName ??= platformName()
  return cachedName
}

/** Folder of the installed package for `platform`, or `undefined`. */
function installedFolder(platform: string): string | undefined {
  try {
    return dirname(require.resolve(`${packageOf(platform)}/package.json`))
  } catch {
    return undefined
  }
}

/** Folder with the binaries for `platform`: the checkout's own folder first, then the installed package. Throws when there is none. */
function binaryFolder(platform: string): string {
  const own = join(packageRoot, 'npm', platform)
  if (existsSync(join(own, addonOf(platform)))) return own
  const folder = installedFolder(platform)
  if (folder === undefined) throw missingPackage(platform, (other) => installedFolder(other) !== undefined)
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  if (version !== packageVersion) {
    throw new TessallocError(
      'ERR_TESSALLOC_VERSION_SKEW',
      `Cannot load tessalloc: expected ${packageOf(platform)} of version ${packageVersion}, received ${version} in ${folder}. ${reinstall}`,
    )
  }
  return folder
}

const reinstall = 'Remove node_modules and package-lock.json and install again, with npm 11 or later'

/** The error for a platform whose package is not there. `isInstalled` tells of other platforms' packages. */
export function missingPackage(platform: string, isInstalled: (platform: string) => boolean): TessallocError {
  const row = platforms.find(({ name }) => name === platform)
  const names = released.map(({ name }) => name).join(', ')
  const [system, processor, libc] = platform.split('-')
  const sibling = `${system}-${processor}-${libc === 'musl' ? 'gnu' : 'musl'}`
  if (system === 'linux' && isInstalled(sibling)) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load tessalloc: this Node.js runs on ${libc === 'musl' ? 'musl' : 'glibc'} (${platform}), but node_modules holds ${packageOf(sibling)}. ` +
        installThere,
    )
  }
  if (row === undefined) {
    return new TessallocError(
      'ERR_TESSALLOC_UNSUPPORTED',
      `Cannot load tessalloc: there are binaries for ${names}, this is ${platform}. Arenas, heaps and pools work here too, on memory of JavaScript`,
    )
  }
  if (row.proof === 'none') {
    return new TessallocError(
      'ERR_TESSALLOC_UNSUPPORTED',
      `Cannot load tessalloc: the binaries for ${platform} were never run, so they are not installed by themselves. ` +
        `To try them: npm install ${packageOf(platform)}@${packageVersion}. Arenas, heaps and pools work without, on memory of JavaScript`,
    )
  }
  return new TessallocError(
    'ERR_TESSALLOC_MISSING_BINARY',
    [
      `Cannot load tessalloc: expected the package ${packageOf(platform)}, which is not installed.`,
      'npm leaves it out when the lock file was made on another system (a fault of npm before 11), or with --omit=optional.',
      `${reinstall}. In a checkout of tessalloc, run: npm run build`,
    ].join('\n'),
  )
}

/** The error for a Node.js of `version` that this package does not run on; `undefined` when it does. */
export function oldNode(version: string): TessallocError | undefined {
  const [have = [], want = []] = [version, nodeMinimum].map((text) => text.split('.').map(Number))
  const differs = want.findIndex((number, i) => number !== have[i])
  if (differs < 0 || (have[differs] ?? 0) > (want[differs] ?? 0)) return undefined
  return new TessallocError(
    'ERR_TESSALLOC_UNSUPPORTED',
    `Cannot load tessalloc: expected Node.js ${nodeMinimum} or later, this is ${version}. Use a newer Node.js`,
  )
}

/** The error for the add-on at `path`, which the system did not load because of `cause`. `here` is this Node.js. */
export function loadError(
  path: string,
  cause: unknown,
  here: { libc: LibcName; arch: string } = thisNode(),
): TessallocError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const glibc = /version `(GLIBC_[\d.]+)' not found/.exec(reason)?.[1]
  if (glibc !== undefined) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load ${path}: this system's glibc is too old, expected ${glibc.replace('_', ' ')} or later. Use a newer system or image`,
      { cause },
    )
  }
  // The loaders' own words differ from system to system, so the file is asked what it is for.
  const file = inElf(path, ({ libc, machine }) => ({ libc, machine }))
  if (file !== undefined && machines[here.arch] !== undefined && file.machine !== machines[here.arch]) {
    return new TessallocError(
      'ERR_TESSALLOC_LOAD_FAILED',
      `Cannot load ${path}: it is for ${machineName(file.machine)}, this Node.js is for ${here.arch}: ${reason}. ${installThere}`,
      { cause },
    )
  }
  if (file?.libc !== undefined && file.libc !== here.libc) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load ${path}: it is for ${file.libc}, this Node.js runs on ${here.libc}: ${reason}. ${installThere}`,
      { cause },
    )
  }
  return new TessallocError('ERR_TESSALLOC_LOAD_FAILED', `Cannot load ${path}: ${reason}. ${reinstall}`, { cause })
}

const installThere =
  'It was installed on another system: run npm install inside of the image that runs the program, instead of copying node_modules into it'

function thisNode(): { libc: LibcName; arch: string } {
  return { libc: libcOfNode(), arch: process.arch }
}

/**
 * Path of the file `name` in the platform's folder. Throws a {@link TessallocError} whose code is one of `loadErrorCodes`, and
 * whose text says what to do.
 */
export function binaryPath(name: LibraryName | 'binding', platform?: string): string {
  const tooOld = oldNode(process.versions.node)
  if (tooOld) throw tooOld
  const wanted = platform ?? thisPlatform()
  const folder = binaryFolder(wanted)
  const path = join(folder, name === 'binding' ? addonOf(wanted) : name)
  if (!existsSync(path)) {
    const text = `Cannot find ${name}: expected it at ${path}. ${reinstall}`
    throw new TessallocError('ERR_TESSALLOC_MISSING_BINARY', text)
  }
  return path
}

let loaded: Binding | undefined

/** The add-on, loaded at the first call. Throws like {@link binaryPath}. */
export function binding(): Binding {
  if (loaded === undefined) {
    const path = binaryPath('binding')
    try {
      loaded = require(path) as Binding
    } catch (cause) {
      throw loadError(path, cause)
    }
  }
  return loaded
}
