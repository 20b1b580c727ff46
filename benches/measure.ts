// Runs one workload of one peer once, as a process of its own.
import { spawnSync } from 'node:child_process'
import type { Sample } from './verdict.ts'

const timeoutMs = 600_000

/** Without the variables that tune allocators: every peer runs as it comes. */
const environment = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', LC_ALL: 'C' }

function runOnce(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const options = { encoding: 'utf8', timeout: timeoutMs, env: { ...environment, ...env } } as const
  const { error, signal, status, stdout, stderr } = spawnSync(command, args, options)
  if (error) return { ok: false, reason: `not run: ${error.message}` } as const
  if (signal) return { ok: false, reason: `ended by ${signal}` } as const
  if (status !== 0) return { ok: false, reason: stderr.trim().split('\n').at(-1) || `exit code ${status}` } as const
  return { ok: true, stdout, stderr } as const
}

function jsonOf(run: ReturnType<typeof runOnce>): Sample {
  if (!run.ok) return run
  try {
    return { ok: true, result: JSON.parse(run.stdout) }
  } catch {
    return { ok: false, reason: `no JSON: ${run.stdout.slice(0, 80)}` }
  }
}

/** A workload of a Rust peer. */
export const measureRust = (program: string, workload: string, scale: number): Sample =>
  jsonOf(runOnce(program, [workload, '--scale', String(scale)]))

/** Shows that a Rust peer serves its program; the figures that say so. */
export const proveRust = (program: string): Sample => jsonOf(runOnce(program, ['--prove']))

const preload = (library: string): NodeJS.ProcessEnv => (library === '' ? {} : { LD_PRELOAD: library })

/** A C program's own result line under a preload library. */
export const measureC = (program: string, library: string, args: readonly string[]): Sample =>
  jsonOf(runOnce(program, args, preload(library)))

/** Instructions that callgrind counts in a whole process. */
function instructions(program: string, library: string, args: readonly string[]): number | string {
  const valgrind = ['--tool=callgrind', '--callgrind-out-file=/dev/null', program, ...args]
  const run = runOnce('valgrind', valgrind, preload(library))
  if (!run.ok) return run.reason
  const count = /Collected : (\d+)/.exec(run.stderr)?.[1]
  return count === undefined ? 'callgrind printed no count' : Number(count)
}

/** Instructions of the library for a pair of malloc and free: the difference of two lengths, so that start-up drops
 * out, less the same difference of a loop that calls a function which only returns. Its two returns are the library's. */
export function measureInstructions(program: string, library: string): Sample {
  const [few, many] = [50_000, 250_000]
  const counts = [[`${few}`], [`${many}`], [`${few}`, 'empty'], [`${many}`, 'empty']].map((args) =>
    instructions(program, library, args),
  )
  const failure = counts.find((count) => typeof count === 'string')
  if (failure !== undefined) return { ok: false, reason: String(failure) }
  const [pairFew = 0, pairMany = 0, emptyFew = 0, emptyMany = 0] = counts.map(Number)
  const aboveEmpty = (pairMany - pairFew - (emptyMany - emptyFew)) / (many - few)
  return { ok: true, result: { instructions: aboveEmpty + 2 } }
}
