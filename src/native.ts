// Finds and loads the binary of this platform; the only importer of the generated binding.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TessallocError } from './errors.ts'
import type * as Generated from './generated/binding.d.ts'

/** What the add-on exports. */
export type Binding = typeof Generated

/** Platforms that a package with binaries is made for. */
const supported = ['linux-x64-gnu'] as const

const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)

/** Name of this platform as the packages use it, such as `linux-x64-gnu`. */
export function platformName(
  platform: string = process.platform,
  arch: string = process.arch,
  glibc: boolean = runsOnGlibc(),
): string {
  return platform === 'linux' ? `linux-${arch}-${glibc ? 'gnu' : 'musl'}` : `${platform}-${arch}`
}

function runsOnGlibc(): boolean {
  if (process.platform !== 'linux') return false
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return report.header?.glibcVersionRuntime !== undefined
}

let cachedName: string | undefined

function thisPlatform(): string {
  cachedName ??= platformName()
  return cachedName
}

/** Folder with the binaries for `platform`, or `undefined`: the checkout's own folder first, then the installed package. */
function binaryFolder(platform: string): string | undefined {
  const own = join(packageRoot, 'npm', platform)
  if (existsSync(join(own, `tessalloc.${platform}.node`))) return own
  try {
    return dirname(require.resolve(`@tessalloc/binding-${platform}/package.json`))
  } catch {
    return undefined
  }
}

/** Text of the error for a platform without binaries. */
export function missingBinaryText(platform: string): string {
  if (!(supported as readonly string[]).includes(platform)) {
    return `Cannot load tessalloc: there are binaries for ${supported.join(', ')}, this is ${platform}`
  }
  return [
    `Cannot load tessalloc: expected the package @tessalloc/binding-${platform}, which is not installed.`,
    'npm leaves optional packages out when the lock file was made on another system, or with --omit=optional:',
    'remove node_modules and package-lock.json and install again with npm 11 or later.',
    'In a checkout of tessalloc, run: npm run build',
  ].join('\n')
}

/** Path of the file `name` in the platform's folder. Throws `ERR_TESSALLOC_UNSUPPORTED` when it is not there. */
export function binaryPath(name: 'libtessalloc.so' | 'libtessalloc.a' | 'binding', platform?: string): string {
  const wanted = platform ?? thisPlatform()
  const folder = binaryFolder(wanted)
  if (folder === undefined) throw new TessallocError('ERR_TESSALLOC_UNSUPPORTED', missingBinaryText(wanted))
  const path = join(folder, name === 'binding' ? `tessalloc.${wanted}.node` : name)
  if (!existsSync(path)) {
    throw new TessallocError('ERR_TESSALLOC_UNSUPPORTED', `Cannot find ${name}: expected it at ${path}`)
  }
  return path
}

let loaded: Binding | undefined

/** The add-on, loaded at the first call. Throws `ERR_TESSALLOC_UNSUPPORTED` when there is none for this platform. */
export function binding(): Binding {
  if (loaded === undefined) {
    const path = binaryPath('binding')
    try {
      loaded = require(path) as Binding
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new TessallocError('ERR_TESSALLOC_UNSUPPORTED', `Cannot load ${path}: ${reason}`, { cause })
    }
  }
  return loaded
}
