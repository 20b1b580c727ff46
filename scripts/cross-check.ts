/**
 * Builds the core for the other systems it is written for, and runs its tests where an emulator is at hand.
 *
 *     npm run cross                       every target
 *     npm run cross -- x86_64-pc-windows-gnu wasm32-wasip1
 *     npm run cross -- --setup            only fetches the tools
 *
 * What that takes, and where it comes from: `scripts/cross-tools.ts`. About 7 GB with what is built. A second run fetches nothing.
 */
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { cache, emulated, librarySource, python, setUp, wasi, wineEnvironment, winePath } from './cross-tools.ts'
import { CommandError, main, root, run, step } from './lib.ts'

/** What is done for a target, and what that proves. */
interface Target {
  readonly triple: string
  /**
   * `test` builds and runs the tests of the core; `run` its example; `link` only builds that; `check` only compiles; `bare`
   * compiles what there is without a system: the buffer.
   */
  readonly action: 'test' | 'run' | 'link' | 'check' | 'bare'
  /** Whether zig is the linker (by cargo-zigbuild). */
  readonly zig: boolean
  readonly environment: Readonly<Record<string, string>>
}

const windows = 'x86_64-pc-windows-gnu'
const qemu = 'qemu-aarch64 -L /usr/aarch64-linux-gnu'

function targets(): readonly Target[] {
  return [
    {
      triple: windows,
      action: 'test',
      zig: false,
      environment: {
        ...emulated,
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER: 'x86_64-w64-mingw32-gcc',
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER: winePath(),
        ...wineEnvironment,
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

function buildTarget({ triple, action, zig, environment }: Target): void {
  const env = {
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
  } else if (zig) {
    run('cargo-zigbuild', ['test', ...common, '--lib', '--tests'], { env })
  } else {
    run('cargo', ['test', ...common, '--lib', '--tests'], { env })
    if (triple === windows) unloadLibraries(env)
  }
}

/** Loads and frees libraries with a tessalloc each 400 times under wine, while their threads end later. */
function unloadLibraries(env: Readonly<Record<string, string>> & { readonly CARGO_TARGET_DIR: string }): void {
  const tests = join(root, 'crates', 'tessalloc-c', 'tests')
  const built = join(env.CARGO_TARGET_DIR, windows, 'debug')
  run('cargo', ['build', '--lib', '-Zbuild-std', '--target', windows], { cwd: join(tests, 'copies'), env })
  const program = join(built, 'unload.exe')
  run('x86_64-w64-mingw32-gcc', ['-Wall', '-O1', '-o', program, join(tests, 'c', 'unload_windows.c')])
  const copies = [1, 2, 3, 4].map((number) => `copy${number}.dll`)
  for (const copy of copies) copyFileSync(join(built, 'copies.dll'), join(built, copy))
  run(winePath(), [program, '400', ...copies], { cwd: built, env })
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
}

function checkAll(): void {
  const wanted = process.argv.slice(2)
  setUp()
  if (wanted.includes('--setup')) return
  const all = targets()
  for (const name of wanted) {
    if (!all.some(({ triple }) => triple === name)) {
      throw new CommandError(`Cannot build for ${name}: expected one of ${all.map(({ triple }) => triple).join(', ')}`)
    }
  }
  const results: string[] = []
  let failed = false
  for (const target of all.filter(({ triple }) => wanted.length === 0 || wanted.includes(triple))) {
    const start = performance.now()
    let result = proves[target.action]
    try {
      step(`${target.triple}: ${target.action}`, () => buildTarget(target))
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
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

await main(checkAll)
