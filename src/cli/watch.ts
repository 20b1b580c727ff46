// Watches a process for some time: one that runs, or one that is started for it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOfSignal, ExitError, exitCode, startError } from './exit.ts'
import { ProcessTree } from './proc.ts'
import { type Sample, Sampler } from './sample.ts'
import type { ClassFigures } from './view.ts'

/** What was seen. */
export interface Watched {
  readonly samples: readonly Sample[]
  /** Size classes when tessalloc held the most; `null` where its figures cannot be read. */
  readonly classes: readonly ClassFigures[] | null
  /** When that was. Unit: ms, as `Sample.ms`. */
  readonly classesAtMs: number
  /** Whether the process ended by itself. */
  readonly ended: boolean
  /** Further processes that it had started, at the last look, and their resident bytes: they are not in the samples. */
  readonly children: { readonly count: number; readonly rss: number }
}

export interface WatchOptions {
  readonly intervalMs: number
  readonly forMs: number
  /** Ends the watching before its time. */
  readonly signal: AbortSignal
}

/** Looks at `pid` every `intervalMs`, until it ends, the time is over or the signal comes. */
export async function watch(pid: number, options: WatchOptions): Promise<Watched> {
  using sampler = new Sampler(pid)
  const tree = new ProcessTree(pid)
  const samples: Sample[] = []
  let classes: ClassFigures[] | null = null
  let classesAtMs = 0
  let most = 0
  let children = { count: 0, rss: 0 }
  const end = performance.now() + options.forMs
  for (;;) {
    const sample = sampler.take()
    if (sample === undefined) break
    samples.push(sample)
    const held = sample.tessalloc?.committed ?? 0
    if (held > most) {
      most = held
      classes = readClasses(sampler) ?? classes
      classesAtMs = sample.ms
    }
    const others = tree.read().filter((state) => state.pid !== pid)
    children = { count: others.length, rss: others.reduce((sum, state) => sum + state.rssBytes, 0) }
    const left = end - performance.now()
    if (left <= 0 || options.signal.aborted) return { samples, classes, classesAtMs, ended: false, children }
    await sleep(Math.min(options.intervalMs, left), undefined, { signal: options.signal }).catch(() => undefined)
  }
  return { samples, classes, classesAtMs, ended: true, children }
}

/** The process may end while its tables are read. */
function readClasses(sampler: Sampler): ClassFigures[] | null {
  try {
    return sampler.classes()
  } catch {
    return null
  }
}

const killAfterMs = 5000

/**
 * Starts `command` with `env` and watches it. Its output goes to our standard error. One that still runs when the time is over is
 * stopped with SIGTERM, and after 5 s with SIGKILL. The exit code is the command's own, or 0 when it was stopped.
 */
export async function watchCommand(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  options: WatchOptions,
): Promise<{ watched: Watched; code: number; pid: number }> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { env, stdio: ['inherit', 2, 2] })
  const exit = once(child, 'exit') as Promise<[code: number | null, signal: NodeJS.Signals | null]>
  const pid = child.pid
  if (pid === undefined) {
    throw await exit.then(
      () => new ExitError(exitCode.notExecutable, `Cannot run ${program}`),
      (error: NodeJS.ErrnoException) => startError(program, error),
    )
  }
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  try {
    const watched = await watch(pid, options)
    if (!watched.ended) child.kill()
    const timer = setTimeout(kill, killAfterMs)
    const [code, signal] = await exit
    clearTimeout(timer)
    const own = code ?? (signal === null ? exitCode.ok : codeOfSignal(signal))
    return { watched, pid, code: watched.ended ? own : exitCode.ok }
  } finally {
    process.removeListener('exit', kill)
  }
}
