// The platforms that packages with binaries are named for, and how far each is proven. What that means in full: docs/platforms.md.
//
// | field    | what                                                                                                        |
// |----------|-------------------------------------------------------------------------------------------------------------|
// | `name`   | as packages, folders and files use it: system, processor, and C library or compiler                         |
// | `triple` | the target that Rust builds                                                                                 |
// | `files`  | what lies beside the add-on: the preload library where the system can preload, and the static library       |
// | `proof`  | `tested`: all tests run on it. `run`: built here, and run by an emulator or under the other C library.      |
// |          | `none`: nothing here has run its add-on; installed only by name                                           |
import { inElf, type LibcName } from './elf.ts'

/** One row of {@link platforms}. */
export interface Platform {
  readonly name: string
  readonly triple: string
  readonly files: readonly LibraryName[]
  readonly proof: 'tested' | 'run' | 'none'
}

/** A library of the platform's folder. */
export type LibraryName = 'libtessalloc.so' | 'libtessalloc.dylib' | 'libtessalloc.a'

const elf = ['libtessalloc.so', 'libtessalloc.a'] as const
const machO = ['libtessalloc.dylib', 'libtessalloc.a'] as const

export const platforms: readonly Platform[] = [
  { name: 'linux-x64-gnu', triple: 'x86_64-unknown-linux-gnu', files: elf, proof: 'tested' },
  { name: 'linux-arm64-gnu', triple: 'aarch64-unknown-linux-gnu', files: elf, proof: 'run' },
  { name: 'linux-x64-musl', triple: 'x86_64-unknown-linux-musl', files: elf, proof: 'run' },
  { name: 'linux-arm64-musl', triple: 'aarch64-unknown-linux-musl', files: elf, proof: 'run' },
  // Named as Node on Windows wants it; what is built is `gnu`, whose Node-API is the same plain C. There is no preloading.
  { name: 'win32-x64-msvc', triple: 'x86_64-pc-windows-gnu', files: [], proof: 'run' },
  { name: 'win32-arm64-msvc', triple: 'aarch64-pc-windows-gnullvm', files: [], proof: 'none' },
  { name: 'darwin-arm64', triple: 'aarch64-apple-darwin', files: machO, proof: 'none' },
  { name: 'darwin-x64', triple: 'x86_64-apple-darwin', files: machO, proof: 'none' },
  { name: 'freebsd-x64', triple: 'x86_64-unknown-freebsd', files: elf, proof: 'none' },
]

/** The platforms whose packages the main one asks for. */
export const released: readonly Platform[] = platforms.filter(({ proof }) => proof !== 'none')

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
  libc: LibcName = libcOfNode(),
): string {
  if (platform === 'linux') return `linux-${arch}-${libc === 'musl' ? 'musl' : 'gnu'}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

/**
 * The C library of this Node.js: its file says so. `process.report` would too, but it may look up the names of all hosts the process
 * talks to.
 */
export function libcOfNode(): LibcName {
  if (process.platform !== 'linux') return 'glibc'
  return inElf('/proc/self/exe', (file) => file.libc) ?? 'glibc'
}
