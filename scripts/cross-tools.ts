/**
 * What building for other systems and running there takes: fetched once, kept in `.cache/cross`. Only Debian packages are installed
 * outside of it.
 *
 * | what | from | for |
 * |---|---|---|
 * | the standard library's source, of exactly our rustc | Debian's `rust-src` | building for targets that rustc came without |
 * | zig with cargo-zigbuild | PyPI | linking for everything that no Debian compiler links for, glibc of any version among them |
 * | lief | PyPI | looking into libraries of all systems |
 * | musl | newer Debian | running what is linked against it |
 * | wine, qemu | Debian | running Windows and arm64 programs |
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CommandError, output, root, run, step } from './lib.ts'

export const cache: string = join(root, '.cache', 'cross')
export const librarySource: string = join(cache, 'rust-src', 'library')
export const python: string = join(cache, 'py', 'bin')
export const wasi: string = join(cache, 'wasi', 'usr', 'lib', 'wasm32-wasi')
/** musl's loader, which is its C library too, by processor. */
export const muslLoaders = {
  x86_64: join(cache, 'musl', 'x86_64', 'libc.so'),
  aarch64: join(cache, 'musl', 'aarch64', 'libc.so'),
} as const
const winePrefix = join(cache, 'wine')
const wineReady = join(winePrefix, 'ready')

/** What wine is to be started with. */
export const wineEnvironment: Readonly<Record<string, string>> = {
  WINEPREFIX: winePrefix,
  WINEDEBUG: '-all',
  WINEDLLOVERRIDES: 'mscoree,mshtml=',
}
/** Reservations cost wine and qemu time for each OS page: both get small ones. */
export const emulated: Readonly<Record<string, string>> = { TESSALLOC_RESERVE: '1GiB' }

const debianPackages = [
  'gcc-mingw-w64-x86-64',
  'gcc-aarch64-linux-gnu',
  'libc6-dev-arm64-cross',
  'qemu-user',
  'wine64',
  'python3-venv',
]

function installDebianPackages(): void {
  const missing = debianPackages.filter((name) => spawnSync('dpkg', ['-s', name], { stdio: 'ignore' }).status !== 0)
  if (missing.length === 0) return
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0) {
    throw new CommandError(
      `Cannot install Debian packages: run as root on Debian, or install them first: ${missing.join(' ')}`,
    )
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  step(`installing Debian packages: ${missing.join(' ')}`, () => {
    run('apt-get', ['update', '-qq'], { env })
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  })
}

/** An apt folder of our own, which looks at newer suites of Debian than the machine's, for both processors. */
class NewerDebian implements Disposable {
  static readonly suites = ['trixie-backports', 'forky', 'sid']
  readonly #folder = join(cache, 'apt')
  readonly #env: Readonly<Record<string, string>>

  constructor() {
    const apt = this.#folder
    for (const folder of ['lists/partial', 'cache/archives/partial', 'etc/pref.d', 'debs']) {
      mkdirSync(join(apt, folder), { recursive: true })
    }
    writeFileSync(join(apt, 'status'), '')
    const codename = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable'
    const mirror = output('apt-get', ['indextargets', '--format', '$(REPO_URI)', `Release: ${codename}`]).split('\n')[0]
    const keys = output('dpkg', ['-L', 'debian-archive-keyring'])
      .split('\n')
      .find((path) => path.endsWith('archive-keyring.gpg'))
    if (!mirror || !keys)
      throw new CommandError(`Cannot find Debian's mirror and its keys, received ${mirror} and ${keys}`)
    const sources = join(apt, 'etc', 'sources.list')
    writeFileSync(
      sources,
      NewerDebian.suites.map((suite) => `deb [signed-by=${keys}] ${mirror} ${suite} main\n`).join(''),
    )
    const config = join(apt, 'apt.conf')
    writeFileSync(
      config,
      [
        `Dir::Etc::sourcelist "${sources}"; Dir::Etc::sourceparts "-"; Dir::Etc::preferencesparts "${apt}/etc/pref.d";`,
        `Dir::State::lists "${apt}/lists"; Dir::State::status "${apt}/status"; Dir::Cache "${apt}/cache";`,
        'APT::Architectures { "amd64"; "arm64"; }; Acquire::Languages "none";',
        'APT::Sandbox::User "root"; Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        '',
      ].join('\n'),
    )
    this.#env = { APT_CONFIG: config }
    run('apt-get', ['update', '-qq'], { env: this.#env })
  }

  /** Unpacks the folder `part` of a package as the folder `to`. The first version that `fits` is taken. */
  unpack(name: string, to: string, part: string, fits: (version: string) => boolean = () => true): void {
    const offered = output('apt-cache', ['madison', name], { env: this.#env })
      .split('\n')
      .map((line) => line.split('|')[1]?.trim() ?? '')
      .filter(Boolean)
    const version = offered.find(fits)
    if (version === undefined) {
      const where = NewerDebian.suites.join(', ')
      throw new CommandError(`Cannot find a fitting ${name} in ${where}, received ${offered.join(', ') || 'none'}`)
    }
    const debs = join(this.#folder, 'debs', name)
    mkdirSync(debs)
    run('apt-get', ['download', '-qq', `${name}=${version}`], { cwd: debs, env: this.#env })
    rmSync(to, { recursive: true, force: true })
    mkdirSync(to, { recursive: true })
    const levels = part.split('/').length
    const unpack = `dpkg-deb --fsys-tarfile ${debs}/*.deb | tar x -C "${to}" --strip-components=${levels} ${part}`
    run('bash', ['-o', 'pipefail', '-c', unpack])
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true })
  }
}

/** Takes exactly our rustc's library source, wasi's C library and musl's loaders from newer Debian suites. */
export function fetchSources(): void {
  if ([librarySource, wasi, ...Object.values(muslLoaders)].every((path) => existsSync(path))) return
  step('fetching the library source of rustc, wasi, musl', fetchMissing)
}

function fetchMissing(): void {
  const version = output('rustc', ['-V']).split(' ')[1] ?? ''
  using debian = new NewerDebian()
  if (!existsSync(librarySource)) {
    const part = `./usr/src/rustc-${version}/library`
    debian.unpack('rust-src', librarySource, part, (candidate) => candidate.startsWith(`${version}+`))
  }
  if (!existsSync(wasi)) debian.unpack('wasi-libc', wasi, './usr/lib/wasm32-wasi')
  for (const [architecture, triple] of [
    ['amd64', 'x86_64'],
    ['arm64', 'aarch64'],
  ] as const) {
    const loader = muslLoaders[triple]
    // What was built for Alpine's musl wants one from 1.2.4 on: it packs relocations.
    if (!existsSync(loader)) debian.unpack(`musl:${architecture}`, dirname(loader), `./usr/lib/${triple}-linux-musl`)
  }
}

function hasLief(): boolean {
  return spawnSync(join(python, 'python'), ['-c', 'import lief'], { stdio: 'ignore' }).status === 0
}

function installZig(): void {
  if (existsSync(join(python, 'cargo-zigbuild')) && hasLief()) return
  const wanted = ['ziglang==0.15.2', 'cargo-zigbuild==0.24.0', 'lief==1.0.0']
  step('installing zig and lief', () => {
    run('python3', ['-m', 'venv', join(cache, 'py')])
    run(join(python, 'pip'), ['install', '-q', '--disable-pip-version-check', ...wanted])
  })
}

/** wine 8 lacks the library that `std` takes its random numbers from; Windows has it, so this stays here. */
const randomStub = `
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *, unsigned long);
__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *at, unsigned long long count) {
  while (count) {
    unsigned long part = count > 65536 ? 65536 : (unsigned long)count;
    if (!SystemFunction036(at, part)) return 0;
    at += part;
    count -= part;
  }
  return 1;
}
`

function makeWinePrefix(): void {
  const wine = winePath()
  run(wine, ['wineboot', '-i'], { env: wineEnvironment, stdio: 'ignore' })
  run(wine, ['winecfg', '-v', 'win10'], { env: wineEnvironment, stdio: 'ignore' })
  const source = join(cache, 'random.c')
  writeFileSync(source, randomStub)
  const library = join(winePrefix, 'drive_c', 'windows', 'system32', 'bcryptprimitives.dll')
  run('x86_64-w64-mingw32-gcc', ['-O1', '-shared', '-s', '-o', library, source, '-ladvapi32'])
  writeFileSync(wineReady, '')
}

/** The program that runs those of Windows: Debian does not put it on PATH. */
export function winePath(): string {
  const wine = output('dpkg', ['-L', 'wine64'])
    .split('\n')
    .find((path) => /\/wine64$/.test(path))
  if (!wine) throw new CommandError('Cannot find wine64 among the files of the Debian package wine64')
  return wine
}

/** Fetches what is missing. */
export function setUp(): void {
  mkdirSync(cache, { recursive: true })
  installDebianPackages()
  fetchSources()
  installZig()
  if (!existsSync(wineReady)) step('making a prefix for wine', makeWinePrefix)
}
