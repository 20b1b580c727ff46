// The platforms that packages with binaries are named for, and which of them are released.
//
// | field      | what                                                                                                  |
// |------------|-------------------------------------------------------------------------------------------------------|
// | `name`     | as packages, folders and files use it: system, processor, and C library or compiler                   |
// | `triple`   | the target that Rust builds                                                                           |
// | `files`    | what lies beside the add-on: the preload library where the system can preload, and the static library |
// | `released` | whether a package is built here and tested. For the others there is a manifest only (`npm run packages`),  |
// |            | for who builds the binaries on such a system; the loader promises nothing                              |
import { closeSync, openSync, readSync } from 'node:fs'

/** One row of {@link platforms}. */
export interface Platform {
  readonly name: string
  readonly triple: string
  readonly files: readonly LibraryName[]
  readonly released: boolean
}

/** A library of the platform's folder. */
export type LibraryName = 'libtessalloc.so' | 'libtessalloc.a' | 'libtessalloc.dylib'

const elf = ['libtessalloc.so', 'libtessalloc.a'] as const
const mach = ['libtessalloc.dylib', 'libtessalloc.a'] as const

export const platforms: readonly Platform[] = [
  { name: 'linux-x64-gnu', triple: 'x86_64-unknown-linux-gnu', files: elf, released: true },
  { name: 'linux-arm64-gnu', triple: 'aarch64-unknown-linux-gnu', files: elf, released: false },
  { name: 'linux-x64-musl', triple: 'x86_64-unknown-linux-musl', files: elf, released: false },
  { name: 'linux-arm64-musl', triple: 'aarch64-unknown-linux-musl', files: elf, released: false },
  // Named as Node on Windows wants it; what is built is `gnu`, whose Node-API is the same plain C. There is no preloading.
  { name: 'win32-x64-msvc', triple: 'x86_64-pc-windows-gnu', files: [], released: false },
  { name: 'win32-arm64-msvc', triple: 'aarch64-pc-windows-gnullvm', files: [], released: false },
  { name: 'darwin-arm64', triple: 'aarch64-apple-darwin', files: mach, released: false },
  { name: 'darwin-x64', triple: 'x86_64-apple-darwin', files: mach, released: false },
  { name: 'freebsd-x64', triple: 'x86_64-unknown-freebsd', files: elf, released: false },
]

/** Name of the package for a platform. */
export function packageOf(platform: string): string {
  return `@tessalloc/binding-${platform}`
}

/** Name of the add-on's file for a platform. */
export function addonOf(platform: string): string {
  return `tessalloc.${platform}.node`
}

/** Name of this platform as the packages use it, such as `linux-x64-gnu`. */
export function platformName(
  platform: string = process.platform,
  arch: string = process.arch,
  musl: boolean = runsOnMusl(),
): string {
  if (platform === 'linux') return `linux-${arch}-${musl ? 'musl' : 'gnu'}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

/**
 * Whether this Node.js was built against musl: the loader that its file asks for says so. `process.report` would too, but it may
 * look up the names of all hosts the process talks to.
 */
function runsOnMusl(): boolean {
  if (process.platform !== 'linux') return false
  const head = Buffer.alloc(4096)
  try {
    const file = openSync('/proc/self/exe', 'r')
    try {
      readSync(file, head, 0, head.length, 0)
    } finally {
      closeSync(file)
    }
  } catch {
    return false
  }
  return head.includes('/ld-musl-')
}
