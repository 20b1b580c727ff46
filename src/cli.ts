#!/usr/bin/env node
// The command line: arguments in, exit code out. What the commands do lies in `cli/`.
import { CommanderError } from 'commander'
import { ExitError, exitCode } from './cli/exit.ts'
import { parser } from './cli/parser.ts'
import { loadErrorCodes, TessallocError } from './errors.ts'

/** The exit code for what ended a command, after it was said on standard error. Faults of ours are thrown on. */
function codeOf(error: unknown): number {
  // Its message is printed already; help and version are no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage
  const say = (text: string) => process.stderr.write(`tessalloc: ${text}\n`)
  if (error instanceof ExitError) {
    say(error.message)
    return error.code
  }
  if (error instanceof TessallocError && loadErrorCodes.has(error.code)) {
    say(error.message)
    return exitCode.unsupported
  }
  // Of the system: a file that cannot be written, say.
  if (error instanceof Error && 'syscall' in error && 'path' in error) {
    say(`Cannot use ${error.path}: ${error.message}`)
    return exitCode.failed
  }
  throw error
}

/** Whoever reads our output may have read enough: that is no fault. */
function endWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(exitCode.ok)
  })
}

try {
  // The program that takes this process's place gets descriptors that no stream of Node.js has touched.
  const cli = parser().hook('preAction', (_, command) => {
    if (command.name() !== 'run') endWhenNobodyReads()
  })
  await cli.parseAsync()
} catch (error) {
  process.exitCode = codeOf(error)
}
