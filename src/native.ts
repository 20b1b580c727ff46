// Finds and loads the binary of this platform; the only importer of the generated binding. Why it could not, by code:
//
// | what is there                                            | code                           |
// |----------------------------------------------------------|--------------------------------|
// | no package is made for this system or processor          | `ERR_TESSALLOC_UNSUPPORTED`    |
// | none for this C library, the installed one is for another, or its version is too old | `ERR_TESSALLOC_WRONG_LIBC` |
// | the platform package is not installed, or lacks the file | `ERR_TESSALLOC_MISSING_BINARY` |
// | the platform package is of another version               | `ERR_TESSALLOC_VERSION_SKEW`   |
// | the file is there, and the system does not load it       | `ERR_TESSALLOC_LOAD_FAILED`    |
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TessallocError } from './errors.ts'
import type * as Generated from './generated/binding.d.ts'
import { addonOf, packageOf, platformName, platforms } from './platforms.ts'
import { packageVersion } from './version.ts'

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
  const released = platforms.filter((each) => each.released).map(({ name }) => name)
  const [system, processor, libc] = platform.split('-')
  const sibling = `${system}-${processor}-${libc === 'musl' ? 'gnu' : 'musl'}`
  const libcName = libc === 'musl' ? 'musl' : 'glibc'
  if (system === 'linux' && isInstalled(sibling)) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load tessalloc: this Node.js runs on ${libcName} (${platform}), but node_modules holds ${packageOf(sibling)}. ` +
        'It was installed on another system: run npm install inside of the image that runs the program, instead of copying node_modules into it',
    )
  }
  if (released.includes(platform)) {
    return new TessallocError(
      'ERR_TESSALLOC_MISSING_BINARY',
      [
        `Cannot load tessalloc: expected the package ${packageOf(platform)}, which is not installed.`,
        'npm leaves it out when the lock file was made on another system (a fault of npm before 11), or with --omit=optional.',
        `${reinstall}. In a checkout of tessalloc, run: npm run build`,
      ].join('\n'),
    )
  }
  if (system === 'linux' && released.includes(sibling)) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load tessalloc: this Node.js runs on ${libcName} (${platform}), there are binaries for ${released.join(', ')}. ` +
        'Use an image with the other C library, such as node:22-slim instead of node:22-alpine',
    )
  }
  return new TessallocError(
    'ERR_TESSALLOC_UNSUPPORTED',
    `Cannot load tessalloc: there are binaries for ${released.join(', ')}, this is ${platform}`,
  )
}

/** The error for the add-on at `path`, which the system did not load because of `cause`. */
export function loadError(path: string, cause: unknown): TessallocError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const glibc = /version `(GLIBC_[\d.]+)' not found/.exec(reason)?.[1]
  if (glibc !== undefined) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load ${path}: this system's glibc is too old, expected ${glibc.replace('_', ' ')} or later. Use a newer system or image`,
      { cause },
    )
  }
  if (/ld-linux|ld-musl|libc\.musl|libc\.so\.6/.test(reason)) {
    return new TessallocError(
      'ERR_TESSALLOC_WRONG_LIBC',
      `Cannot load ${path}: it is for another C library than this Node.js runs on: ${reason}. ` +
        'Run npm install inside of the image that runs the program',
      { cause },
    )
  }
  return new TessallocError('ERR_TESSALLOC_LOAD_FAILED', `Cannot load ${path}: ${reason}. ${reinstall}`, { cause })
}

/**
 * Path of the file `name` in the platform's folder. Throws a {@link TessallocError} whose code is one of `loadErrorCodes`, and
 * whose text says what to do.
 */
export function binaryPath(name: 'libtessalloc.so' | 'libtessalloc.a' | 'binding', platform?: string): string {
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
