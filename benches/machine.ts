// What a record says about where its figures come from.
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { cargoPackages, outputOf } from './build.ts'

export interface Machine {
  readonly cpu: string
  readonly cpus: number
  readonly memoryGib: number
  readonly kernel: string
  readonly transparentHugePages: string
  readonly libc: string
  readonly rustc: string
  readonly cc: string
  readonly node: string
  readonly commit: string
  /** Versions of the rivals, as cargo resolved them. */
  readonly crates: Readonly<Record<string, string>>
}

const rivalCrates = /^(lib)?mimalloc(-sys)?$|^tikv-jemalloc|^snmalloc|^rusty_alloc|^rpmalloc|^tessalloc$/

const firstLine = (text: string | undefined): string => text?.split('\n')[0]?.trim() ?? 'unknown'

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

export function machine(withCrates: boolean): Machine {
  const changed = outputOf('git', [
    'status',
    '--porcelain',
    '--',
    'crates',
    'benches',
    ':!benches/records',
    'Cargo.toml',
  ])
  const crates = withCrates ? cargoPackages().filter(({ name }) => rivalCrates.test(name)) : []
  return {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cpus: os.cpus().length,
    memoryGib: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
    transparentHugePages: /\[(\w+)\]/.exec(fileText('/sys/kernel/mm/transparent_hugepage/enabled'))?.[1] ?? 'unknown',
    libc: firstLine(outputOf('getconf', ['GNU_LIBC_VERSION'])),
    rustc: firstLine(outputOf('rustc', ['--version'])),
    cc: firstLine(outputOf('cc', ['--version'])),
    node: process.version,
    commit: `${firstLine(outputOf('git', ['rev-parse', '--short', 'HEAD']))}${changed ? ', with local changes' : ''}`,
    crates: Object.fromEntries(crates.map(({ name, version }) => [name, version])),
  }
}
