// Builds what is measured: the Rust programs, the C programs, our preload library and the rivals'.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CommandError, root, run, targetFolder } from '../scripts/lib.ts'
import { ours } from './rows.ts'

const rustWorkspace = join(root, 'benches', 'rust')
const rustTarget = process.env.CARGO_TARGET_DIR ?? join(rustWorkspace, 'target')
const cFolder = join(rustTarget, 'c')

/** A peer ready to run, or why it can't be. */
export type Built = { readonly ok: true; readonly path: string } | { readonly ok: false; readonly reason: string }

/** Standard output of a command, or undefined when it can't be run or fails. */
export function outputOf(command: string, args: readonly string[], cwd = root): string | undefined {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 })
  return result.status === 0 ? result.stdout : undefined
}

/** Installs Debian packages where we may; false where we may not. */
function install(packages: readonly string[]): boolean {
  if (process.getuid?.() !== 0 || outputOf('apt-get', ['--version']) === undefined) return false
  console.error(`tessalloc: installing ${packages.join(', ')} …`)
  const apt = (...args: string[]) =>
    spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 'ignore', 'inherit'], env: aptEnvironment }).status === 0
  return apt('install', '-y', ...packages) || (apt('update') && apt('install', '-y', ...packages))
}
const aptEnvironment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }

/** Makes sure that `command` exists, from `packages` if need be. */
export function provides(command: string, packages: readonly string[]): boolean {
  const exists = () => outputOf(command, ['--version']) !== undefined
  return exists() || (install(packages) && exists())
}

/** Builds the program of each Rust peer, all with one call, so that what they share is built once. */
export function buildRust(peers: readonly string[]): Map<string, Built> {
  const built = new Map<string, Built>()
  const wanted = peers.filter((peer) => {
    if (peer !== 'snmalloc' || (provides('cmake', ['cmake']) && provides('c++', ['g++']))) return true
    built.set(peer, { ok: false, reason: 'cmake and a C++ compiler are needed to build it (Debian: cmake g++)' })
    return false
  })
  const manifest = ['--manifest-path', join(rustWorkspace, 'Cargo.toml')]
  run('cargo', ['build', '--release', ...manifest, ...wanted.flatMap((peer) => ['-p', `bench-${peer}`])])
  for (const peer of wanted) built.set(peer, { ok: true, path: join(rustTarget, 'release', `bench-${peer}`) })
  return built
}

interface CargoPackage {
  readonly name: string
  readonly version: string
  readonly manifest_path: string
}

let packages: readonly CargoPackage[] | undefined

/** What cargo would build the Rust peers from. */
export function cargoPackages(): readonly CargoPackage[] {
  if (packages === undefined) {
    const text = outputOf('cargo', ['metadata', '--format-version', '1'], rustWorkspace)
    if (text === undefined) throw new CommandError('"cargo metadata" failed in benches/rust')
    packages = (JSON.parse(text) as { packages: CargoPackage[] }).packages
  }
  return packages
}

/** Compiles a C program of ours, with the library that `pair` calls in its empty loop. */
export function buildC(name: 'pair' | 'first'): string {
  mkdirSync(cFolder, { recursive: true })
  const program = join(cFolder, name)
  const source = (file: string) => join(root, 'benches', 'c', `${file}.c`)
  run('cc', ['-O2', '-fPIC', '-shared', '-o', join(cFolder, 'libnothing.so'), source('nothing')])
  const link = [`-L${cFolder}`, '-lnothing', `-Wl,-rpath,${cFolder}`]
  run('cc', ['-O2', '-fno-builtin', '-o', program, source(name), ...(name === 'pair' ? link : [])])
  return program
}

/** mimalloc v3 as a preload library, from the C source that its crate carries, with the flags of its own build. */
function buildMimalloc(): string {
  const sys = cargoPackages().find(({ name }) => name === 'libmimalloc-sys')
  if (sys === undefined) throw new CommandError('benches/rust does not depend on libmimalloc-sys any more')
  mkdirSync(cFolder, { recursive: true })
  const source = join(dirname(sys.manifest_path), 'c_src', 'mimalloc', 'v3')
  const library = join(cFolder, 'libmimalloc3.so')
  const defines = ['NDEBUG', 'MI_MALLOC_OVERRIDE', 'MI_SHARED_LIB', 'MI_SHARED_LIB_EXPORT'].map((name) => `-D${name}`)
  const model = ['-fPIC', '-shared', '-ftls-model=initial-exec', '-fvisibility=hidden', '-fno-builtin-malloc']
  const paths = [`-I${join(source, 'include')}`, '-o', library, join(source, 'src', 'static.c'), '-lpthread']
  run('cc', ['-O3', '-std=gnu11', ...model, ...defines, ...paths])
  return library
}

const debian: Readonly<Record<string, readonly [file: string, packageName: string]>> = {
  mimalloc2: ['libmimalloc.so.2', 'libmimalloc2.0'],
  jemalloc: ['libjemalloc.so.2', 'libjemalloc2'],
  tcmalloc: ['libtcmalloc_minimal.so.4', 'libtcmalloc-minimal4'],
}

function debianLibrary(file: string, packageName: string): Built {
  const find = () => {
    const folders = ['/usr/lib', ...readdirSync('/usr/lib').map((name) => join('/usr/lib', name))]
    return folders.map((folder) => join(folder, file)).find((path) => existsSync(path))
  }
  const path = find() ?? (install([packageName]) ? find() : undefined)
  return path === undefined ? { ok: false, reason: `Debian's package ${packageName} is needed` } : { ok: true, path }
}

/** The preload library of each peer; the empty path for the C library's own malloc. */
export function buildPreload(peers: readonly string[]): Map<string, Built> {
  const build = (peer: string): Built => {
    if (peer === 'system') return { ok: true, path: '' }
    if (peer === 'mimalloc') return { ok: true, path: buildMimalloc() }
    if (peer === ours) {
      run('cargo', ['build', '-p', 'tessalloc-c', '--profile', 'release-c'])
      return { ok: true, path: join(targetFolder, 'release-c', 'libtessalloc_c.so') }
    }
    const [file, packageName] = debian[peer] ?? []
    if (file === undefined || packageName === undefined) throw new RangeError(`Cannot build ${peer}: no such peer`)
    return debianLibrary(file, packageName)
  }
  return new Map(peers.map((peer) => [peer, build(peer)]))
}
