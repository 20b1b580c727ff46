import { constants } from 'node:os'
import { TessallocError } from '../errors.ts'
import { binaryPath } from '../native.ts'
import { type LibraryName, packageOf } from '../platforms.ts'

/** Exit codes of the command line; a program that is run passes its own through. */
export const exitCode = { ok: 0, failed: 1, usage: 2, unsupported: 3, notExecutable: 126, notFound: 127 } as const

/** Ends a command with `code` after `message` was printed. */
export class ExitError extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'ExitError'
    this.code = code
  }
}

/** The exit code a shell gives a program that a signal ended. */
export function codeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}

/** What the failure to start `command` means to a shell. */
export function startError(command: string, error: NodeJS.ErrnoException): ExitError {
  if (error.code === 'ENOENT') return new ExitError(exitCode.notFound, `Cannot run ${command}: no such command`)
  return new ExitError(exitCode.notExecutable, `Cannot run ${command}: ${error.message}`)
}

/** Why a system runs no whole program on tessalloc, by its name for Node.js. Linux does. */
const withoutPreload: Readonly<Record<string, string>> = {
  win32: 'Windows has no preloading',
  darwin: neverRun('darwin', 'DYLD_INSERT_LIBRARIES', 'libtessalloc.dylib'),
  freebsd: neverRun('freebsd', 'LD_PRELOAD', 'libtessalloc.so'),
}

function neverRun(system: string, variable: string, library: LibraryName): string {
  const binaries = packageOf(`${system}-${process.arch}`)
  return `the library for it was never run. To try it, install ${binaries} and set ${variable} to the ${library} in it`
}

/** What to say where `system` runs no whole program on tessalloc; `undefined` where it does. */
export function noPreload(system: string): string | undefined {
  if (system === 'linux') return undefined
  const reason = withoutPreload[system] ?? 'tessalloc was not made for it'
  return `Cannot preload an allocator on ${system}: ${reason}. Whole programs run on tessalloc on Linux; arenas, heaps and pools work here`
}

/** Path of the preload library. Ends the command with code 3 where there is none, and where LD_PRELOAD cannot name it. */
export function preloadPath(): string {
  const path = libraryPath('libtessalloc.so')
  if (/[: ]/.test(path)) {
    throw new ExitError(
      exitCode.unsupported,
      `Cannot preload ${path}: LD_PRELOAD takes blanks and colons for separators. Install the package in a folder without them`,
    )
  }
  return path
}

/** Path of a library, whether or not it can be preloaded. Ends the command with code 3 where there is none. */
export function libraryPath(name: LibraryName): string {
  const refusal = noPreload(process.platform)
  if (refusal !== undefined) throw new ExitError(exitCode.unsupported, refusal)
  try {
    return binaryPath(name)
  } catch (error) {
    if (error instanceof TessallocError) throw new ExitError(exitCode.unsupported, error.message)
    throw error
  }
}
