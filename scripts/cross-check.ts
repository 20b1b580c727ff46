/**
 * Builds the core for the other systems it is written for, and runs its tests where an emulator is at hand.
 *
 *     npm run cross                       every target
 *     npm run cross -- x86_64-pc-windows-gnu wasm32-wasip1
 *     npm run cross -- --setup            only fetches the tools
 *
 * The standard library is compiled from the source of exactly our rustc (Debian's `rust-src`); zig links what no Debian
 * compiler links; wine and qemu run the tests. Everything is kept in `.cache/cross` (about 7 GB with what is built); only Debian packages are
 * installed outside of it. A second run fetches nothing.
 */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const cache = join(root, '.cache', 'cross')
const librarySource = join(cache, 'rust-src', 'library')
const python = join(cache, 'py', 'bin')
const wasi = join(cache, 'wasi', 'usr', 'lib', 'wasm32-wasi')
const winePrefix = join(cache, 'wine')

const debianPackages = [
  'gcc-mingw-w64-x86-64',
  'gcc-aarch64-linux-gnu',
  'libc6-dev-arm64-cross',
  'qemu-user',
  'wine64',
  'python3-venv',
]

/** What is done for a target, and what that proves. */
interface Target {
  readonly triple: string
  /**
   * `test` builds and runs the tests of the core; `run` its example; `link` only builds that; `check` only compiles; `bare`
   * compiles what there is without a system: the buffer; `race` runs the tests of threads that share heaps under ThreadSanitizer.
   */
  readonly action: 'test' | 'run' | 'link' | 'check' | 'bare' | 'race'
  /** Whether zig is the linker (by cargo-zigbuild). */
  readonly zig: boolean
  readonly environment: Readonly<Record<string, string>>
}

const qemu = 'qemu-aarch64 -L /usr/aarch64-linux-gnu'
/** Reservations cost wine and qemu time for each OS page: both get small ones. */
const emulated = { TESSALLOC_RESERVE: '1GiB' }

function targets(wine: string): readonly Target[] {
  return [
    {
      triple: 'x86_64-pc-windows-gnu',
      action: 'test',
      zig: false,
      environment: {
        ...emulated,
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER: 'x86_64-w64-mingw32-gcc',
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER: wine,
        WINEPREFIX: winePrefix,
        WINEDEBUG: '-all',
        WINEDLLOVERRIDES: 'mscoree,mshtml=',
      },
    },
    {
      triple: 'aarch64-unknown-linux-gnu',
      action: 'test',
      zig: false,
      environment: {
        ...emulated,
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER: 'aarch64-linux-gnu-gcc',
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER: qemu,
        TESSALLOC_TEST_RUNNER: qemu,
      },
    },
    {
      triple: 'x86_64-unknown-linux-musl',
      action: 'test',
      zig: true,
      environment: { CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS: '-Clink-self-contained=no' },
    },
    {
      triple: 'x86_64-unknown-linux-gnu',
      action: 'race',
      zig: false,
      environment: {
        RUSTFLAGS: '-Zsanitizer=thread --cfg tessalloc_tsan',
        TESSALLOC_TEST_SANITIZED: '1',
      },
    },
    { triple: 'aarch64-apple-darwin', action: 'link', zig: true, environment: {} },
    { triple: 'x86_64-unknown-freebsd', action: 'link', zig: true, environment: {} },
    { triple: 'x86_64-unknown-netbsd', action: 'check', zig: false, environment: {} },
    { triple: 'x86_64-unknown-openbsd', action: 'check', zig: false, environment: {} },
    { triple: 'wasm32-unknown-unknown', action: 'check', zig: false, environment: {} },
    { triple: 'thumbv7em-none-eabi', action: 'bare', zig: false, environment: {} },
    { triple: 'thumbv6m-none-eabi', action: 'bare', zig: false, environment: {} },
    {
      triple: 'wasm32-wasip1',
      action: 'run',
      zig: false,
      environment: {
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS: [
          '-Clink-self-contained=no',
          `-Clink-arg=${join(wasi, 'crt1-command.o')}`,
          `-Clink-arg=-L${wasi}`,
        ].join(' '),
      },
    },
  ]
}

class CrossError extends Error {}

/** Runs a command to its end; throws with the command line if it fails. */
function run(command: string, args: readonly string[], options: SpawnSyncOptions = {}): void {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options })
  if (error || status !== 0) {
    throw new CrossError(
      `Cannot run \`${[command, ...args].join(' ')}\`: ${error?.message ?? `it exited with ${status}`}`,
    )
  }
}

/** What a command prints; throws if it fails. */
function output(command: string, args: readonly string[], options: SpawnSyncOptions = {}): string {
  const { status, stdout, error } = spawnSync(command, args, {
    ...options,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (error || status !== 0) {
    throw new CrossError(
      `Cannot run \`${[command, ...args].join(' ')}\`: ${error?.message ?? `it exited with ${status}`}`,
    )
  }
  return stdout.toString()
}

function step(title: string): void {
  console.log(`\n== ${title}`)
}

function installDebianPackages(): void {
  const missing = debianPackages.filter((name) => spawnSync('dpkg', ['-s', name], { stdio: 'ignore' }).status !== 0)
  if (missing.length === 0) return
  step(`Debian packages: ${missing.join(' ')}`)
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0) {
    throw new CrossError(
      `Cannot install Debian packages: run as root on Debian, or install them first: ${missing.join(' ')}`,
    )
  }
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update', '-qq'], { env: environment })
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], {
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** Takes exactly our rustc's library source and wasi's C library from newer Debian suites, by an apt folder of its own. */
function fetchSources(): void {
  if (existsSync(librarySource) && existsSync(wasi)) return
  const version = output('rustc', ['-V']).split(' ')[1] ?? ''
  step(`library source of rustc ${version}`)
  const apt = join(cache, 'apt')
  for (const folder of ['lists/partial', 'cache/archives/partial', 'etc/pref.d', 'debs']) {
    mkdirSync(join(apt, folder), { recursive: true })
  }
  writeFileSync(join(apt, 'status'), '')
  const codename = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable'
  const mirror = output('apt-get', ['indextargets', '--format', '$(REPO_URI)', `Release: ${codename}`]).split('\n')[0]
  const keys = output('dpkg', ['-L', 'debian-archive-keyring'])
    .split('\n')
    .find((path) => path.endsWith('archive-keyring.gpg'))
  if (!mirror || !keys) throw new CrossError(`Cannot find Debian's mirror and its keys, received ${mirror} and ${keys}`)
  const suites = ['trixie-backports', 'forky', 'sid']
  const sources = join(apt, 'etc', 'sources.list')
  writeFileSync(sources, suites.map((suite) => `deb [signed-by=${keys}] ${mirror} ${suite} main\n`).join(''))
  const config = join(apt, 'apt.conf')
  writeFileSync(
    config,
    [
      `Dir::Etc::sourcelist "${sources}"; Dir::Etc::sourceparts "-"; Dir::Etc::preferencesparts "${apt}/etc/pref.d";`,
      `Dir::State::lists "${apt}/lists"; Dir::State::status "${apt}/status"; Dir::Cache "${apt}/cache";`,
      'APT::Sandbox::User "root"; Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
      '',
    ].join('\n'),
  )
  const env = { ...process.env, APT_CONFIG: config }
  run('apt-get', ['update', '-qq'], { env })
  const offered = (name: string): string[] =>
    output('apt-cache', ['madison', name], { env })
      .split('\n')
      .map((line) => line.split('|')[1]?.trim() ?? '')
      .filter(Boolean)
  const rustSource = offered('rust-src').find((candidate) => candidate.startsWith(`${version}+`))
  const wasiLibc = offered('wasi-libc')[0]
  if (!rustSource || !wasiLibc) {
    throw new CrossError(
      `Cannot find the library source in Debian: expected rust-src ${version} and wasi-libc in ${suites.join(', ')}, ` +
        `received ${offered('rust-src').join(', ')} and ${wasiLibc}`,
    )
  }
  const debs = join(apt, 'debs')
  run('apt-get', ['download', '-qq', `rust-src=${rustSource}`, `wasi-libc=${wasiLibc}`], { cwd: debs, env })
  for (const folder of ['rust-src', 'wasi']) {
    rmSync(join(cache, folder), { recursive: true, force: true })
    mkdirSync(join(cache, folder))
  }
  const unpack = `dpkg-deb --fsys-tarfile ${debs}/rust-src_*.deb | tar x -C "${join(cache, 'rust-src')}" --strip-components=4 ./usr/src/rustc-${version}/library`
  run('bash', ['-o', 'pipefail', '-c', unpack])
  run('bash', ['-c', `dpkg -x ${debs}/wasi-libc_*.deb "${join(cache, 'wasi')}"`])
  rmSync(apt, { recursive: true })
}

function installZig(): void {
  if (existsSync(join(python, 'cargo-zigbuild'))) return
  step('zig')
  run('python3', ['-m', 'venv', join(cache, 'py')])
  run(join(python, 'pip'), [
    'install',
    '-q',
    '--disable-pip-version-check',
    'ziglang==0.15.2',
    'cargo-zigbuild==0.24.0',
  ])
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

function makeWinePrefix(wine: string): void {
  const ready = join(winePrefix, 'ready')
  if (existsSync(ready)) return
  step('wine')
  const env = { ...process.env, WINEPREFIX: winePrefix, WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree,mshtml=' }
  run(wine, ['wineboot', '-i'], { env, stdio: 'ignore' })
  run(wine, ['winecfg', '-v', 'win10'], { env, stdio: 'ignore' })
  const source = join(cache, 'random.c')
  writeFileSync(source, randomStub)
  const library = join(winePrefix, 'drive_c', 'windows', 'system32', 'bcryptprimitives.dll')
  run('x86_64-w64-mingw32-gcc', ['-O1', '-shared', '-s', '-o', library, source, '-ladvapi32'])
  writeFileSync(ready, '')
}

function setUp(): string {
  mkdirSync(cache, { recursive: true })
  installDebianPackages()
  fetchSources()
  installZig()
  const wine = output('dpkg', ['-L', 'wine64'])
    .split('\n')
    .find((path) => /\/wine64$/.test(path))
  if (!wine) throw new CrossError('Cannot find wine64 among the files of the Debian package wine64')
  makeWinePrefix(wine)
  return wine
}

function buildTarget({ triple, action, zig, environment }: Target): void {
  const env = {
    ...process.env,
    // The compiler's own switch for building `std`; of no other use here.
    __CARGO_TESTS_ONLY_SRC_ROOT: librarySource,
    RUSTC_BOOTSTRAP: '1',
    CARGO_TARGET_DIR: join(cache, 'target'),
    PATH: `${python}:${process.env.PATH ?? ''}`,
    ...environment,
  }
  // WebAssembly can't unwind.
  const parts = action === 'run' ? '-Zbuild-std=std,panic_abort' : '-Zbuild-std'
  const common = ['-p', 'tessalloc', parts, '--target', triple]
  if (action === 'bare') {
    const core = ['-p', 'tessalloc', '--no-default-features', '-Zbuild-std=core', '--target', triple]
    run('cargo', ['check', ...core, '--lib'], { env })
  } else if (action === 'check') {
    run('cargo', ['check', ...common, '--lib'], { env })
  } else if (action === 'run' || action === 'link') {
    run('cargo', [zig ? 'zigbuild' : 'build', ...common, '--lib', '--examples'], { env })
    if (action === 'run') {
      const program = join(env.CARGO_TARGET_DIR, triple, 'debug', 'examples', 'words.wasm')
      run(process.execPath, ['--no-warnings', '--no-turbo-fast-api-calls', '--eval', wasiHost, program])
    }
  } else if (action === 'race') {
    run('cargo', ['test', ...common, '--test', 'heap_stress', '--test', 'heaps_races'], { env })
  } else if (zig) {
    run('cargo-zigbuild', ['test', ...common, '--lib', '--tests'], { env })
  } else {
    run('cargo', ['test', ...common, '--lib', '--tests'], { env })
  }
}

/**
 * Runs a WebAssembly program on Node's own WASI. Node 20 crashes in programs that grow their memory by 32 MiB or more, whatever
 * allocator they have, unless its WASI is called without V8's fast calls.
 */
const wasiHost = `
  const { readFileSync } = require('node:fs')
  const { WASI } = require('node:wasi')
  const wasi = new WASI({ version: 'preview1', args: ['words'], env: {}, preopens: {} })
  WebAssembly.instantiate(readFileSync(process.argv[1]), wasi.getImportObject()).then(({ instance }) => {
    process.exitCode = wasi.start(instance)
  })
`

const proves: Readonly<Record<Target['action'], string>> = {
  test: 'tests pass',
  run: 'runs',
  link: 'links',
  check: 'compiles',
  bare: 'compiles',
  race: 'no race',
}

function main(): void {
  const wanted = process.argv.slice(2)
  const wine = setUp()
  if (wanted.includes('--setup')) return
  const all = targets(wine)
  for (const name of wanted) {
    if (!all.some(({ triple }) => triple === name)) {
      throw new CrossError(`Cannot build for ${name}: expected one of ${all.map(({ triple }) => triple).join(', ')}`)
    }
  }
  const results: string[] = []
  let failed = false
  for (const target of all.filter(({ triple }) => wanted.length === 0 || wanted.includes(triple))) {
    step(`${target.triple}: ${target.action}`)
    const start = performance.now()
    let result = proves[target.action]
    try {
      buildTarget(target)
    } catch (error) {
      if (!(error instanceof CrossError)) throw error
      console.error(error.message)
      result = 'FAILS'
      failed = true
    }
    results.push(
      `${target.triple.padEnd(28)} ${result.padEnd(12)} ${((performance.now() - start) / 1000).toFixed(0)} s`,
    )
  }
  console.log(`\n${results.join('\n')}`)
  if (failed) process.exitCode = 1
}

try {
  main()
} catch (error) {
  if (!(error instanceof CrossError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
