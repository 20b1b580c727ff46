/**
 * Builds the binaries of any platform on this machine, into its folder under `npm/`.
 *
 * | platform | compiler of C's side |
 * |---|---|
 * | Linux with glibc | zig, for glibc 2.17: what is built then loads on every system that Node.js runs on |
 * | Windows x64 | Debian's mingw, whose programs wine was seen to run |
 * | all others | zig |
 *
 * The standard library is built here too, for this machine's system as well: rustc's own brings the printing of backtraces along.
 */
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addonOf, type Platform } from '../src/platforms.ts'
import { cache, librarySource, python } from './cross-tools.ts'
import { root, run } from './lib.ts'
import { platformManifest, writeManifest } from './manifests.ts'

/** Lowest glibc that the packages for it load on. Node.js 20 asks for 2.28. */
export const glibcFloor = '2.17'

/** Where the binaries of all platforms are compiled. */
const target = join(cache, 'target')

/** What differs between platforms. */
interface Recipe {
  /** What zig is asked for where it is not the triple; `mingw`: not by zig. */
  readonly linker?: string
  readonly rustflags?: string
  /** objcopy for the static library's processor. */
  readonly objcopy?: string
}

/** musl's libraries are loaded, not linked into programs; zig brings its start files. */
const musl = '-Ctarget-feature=-crt-static -Clink-self-contained=no'
const arm64Objcopy = 'aarch64-linux-gnu-objcopy'

const recipes: Readonly<Record<string, Recipe>> = {
  'linux-x64-gnu': { linker: `x86_64-unknown-linux-gnu.${glibcFloor}`, objcopy: 'objcopy' },
  'linux-arm64-gnu': { linker: `aarch64-unknown-linux-gnu.${glibcFloor}`, objcopy: arm64Objcopy },
  'linux-x64-musl': { rustflags: musl, objcopy: 'objcopy' },
  'linux-arm64-musl': { rustflags: musl, objcopy: arm64Objcopy },
  'win32-x64-msvc': { linker: 'mingw' },
  'freebsd-x64': { objcopy: 'objcopy' },
}

/** Systems and processors that Node.js runs on and this machine builds no package for, and why. */
export const notBuilt: readonly (readonly [name: string, reason: string])[] = [
  ['linux-arm, linux-ia32', 'the preload library has the assembly of its thread word for x64 and arm64 only'],
  [
    'linux-riscv64, linux-s390x, linux-ppc64, linux-loong64',
    'as linux-arm; and big-endian processors were never tried',
  ],
  ['win32-ia32', 'Node.js no longer comes for it'],
  ['android, aix, sunos', 'the core does not know their system calls'],
]

/** Libraries of the names that napi's build script and the linkers look for; nothing is taken from them. */
function nodeStub(): string {
  const folder = join(cache, 'node-stub')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'libnode.dll'), '')
  // An archive without members.
  writeFileSync(join(folder, 'libnode.a'), '!<arch>\n')
  return folder
}

/** Compiles what the system's header, which zig has, says of the structures that the C library hands to macOS. */
function checkZoneLayout(machine: string): void {
  const source = join(root, 'crates', 'tessalloc-c', 'tests', 'c', 'zone_layout.c')
  run(join(python, 'python-zig'), ['cc', '-target', machine, '-c', '-o', join(cache, 'zone_layout.o'), source])
}

/** Replaces a file: who runs on the old one keeps it. */
function put(from: string, to: string): void {
  rmSync(to, { force: true })
  copyFileSync(from, to)
}

/** Builds the add-on, and the libraries where the platform has some. Throws a `CommandError` where one cannot be built. */
export function buildPlatform(platform: Platform): void {
  const { name, triple, files } = platform
  const { linker = triple, rustflags, objcopy } = recipes[name] ?? {}
  const key = triple.toUpperCase().replaceAll('-', '_')
  const env = {
    CARGO_TARGET_DIR: target,
    CARGO_PROFILE_RELEASE_STRIP: 'symbols',
    // Nothing of it would be left.
    CARGO_PROFILE_RELEASE_DEBUG: 'false',
    PATH: `${python}:${process.env.PATH ?? ''}`,
    // The compiler's own switch for building `std`; of no other use here.
    __CARGO_TESTS_ONLY_SRC_ROOT: librarySource,
    RUSTC_BOOTSTRAP: '1',
    ...(rustflags === undefined ? {} : { [`CARGO_TARGET_${key}_RUSTFLAGS`]: rustflags }),
    ...(name.startsWith('win32') ? { LIBNODE_PATH: nodeStub() } : {}),
    ...(linker === 'mingw' ? { [`CARGO_TARGET_${key}_LINKER`]: 'x86_64-w64-mingw32-gcc' } : {}),
  }
  const build = (crate: string, profile: string, std: string) => {
    // Without backtraces: there are no names left to show.
    const common = ['-p', crate, '--profile', profile, `-Zbuild-std=${std}`, '-Zbuild-std-features=panic-unwind']
    if (linker === 'mingw') run('cargo', ['build', ...common, '--target', triple], { env })
    else run('cargo', ['zigbuild', ...common, '--target', linker], { env })
    return join(target, triple, profile)
  }
  const folder = join(root, 'npm', name)
  writeManifest(folder, platformManifest(platform))
  if (name.startsWith('darwin')) checkZoneLayout(`${name.endsWith('arm64') ? 'aarch64' : 'x86_64'}-macos`)
  if (files.length > 0) {
    const built = build('tessalloc-c', 'release-c', 'core,compiler_builtins')
    for (const file of files) put(join(built, file.replace('tessalloc', 'tessalloc_c')), join(folder, file))
    if (objcopy !== undefined) slim(join(folder, 'libtessalloc.a'), objcopy)
  }
  const built = build('tessalloc-node', 'release', 'std,panic_unwind,panic_abort')
  const made = ['libtessalloc_node.so', 'libtessalloc_node.dylib', 'tessalloc_node.dll'].map((file) =>
    join(built, file),
  )
  put(made.find((file) => existsSync(file)) ?? made.join(' or '), join(folder, addonOf(name)))
}

/** The standard library's part of an archive holds bitcode, which only Rust's own linking uses: four fifths of it. */
export function slim(archive: string, objcopy: string): void {
  run(objcopy, ['--strip-debug', '--remove-section=.llvmbc', '--remove-section=.llvmcmd', archive])
}
