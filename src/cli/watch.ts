// Watches a process for some time: one that runs, or one that is started for it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOfSignal, ExitError, exitCode, startError } from './exit.ts'
import { ProcessTree, processName } from './proc.ts'
import { type Sample, Sampler } from './sample.ts'
import type { ClassFigures } from './view.ts'

/** A process that the watched one started, or one of those. */
export interface Child {
  readonly pid: number
  /** As it was called last. */
  readonly name: string
  /** When, as `Sample.ms`, and resident bytes then; pages that processes share count for each. */
  readonly looks: readonly (readonly [ms: number, rss: number])[]
}

/** What was seen. */
export interface Watched {
  readonly samples: readonly Sample[]
  /** Size classes when tessalloc held the most; `null` where its figures cannot be read. */
  readonly classes: readonly ClassFigures[] | null
  /** When that was. Unit: ms, as `Sample.ms`. */
  readonly classesAtMs: number
  /** Whether the process ended by itself. */
  readonly ended: boolean
  /** Further processes, in the order of their start: they are not in the samples. */
  readonly children: readonly Child[]
}

export interface WatchOptions {
  readonly intervalMs: number
  readonly forMs: number
  /** Ends the watching before its time. */
  readonly signal: AbortSignal
}

/** The processes that `pid` started, and what is seen of them. */
class ChildrenWatch {
  readonly #tree: ProcessTree
  readonly #pid: number
  readonly #children = new Map<string, { pid: number; name: string; looks: [ms: number, rss: number][] }>()

  constructor(pid: number) {
    this.#tree = new ProcessTree(pid)
    this.#pid = pid
  }

  look(ms: number): void {
    for (const { pid, startTicks, rssBytes } of this.#tree.read()) {
      if (pid === this.#pid) continue
      const key = `${pid} ${startTicks}`
      const child = this.#children.get(key) ?? { pid, name: '?', looks: [] }
      child.name = processName(pid) ?? child.name
      child.looks.push([ms, rssBytes])
      this.#children.set(key, child)
    }
  }

  get children(): Child[] {
    return [...this.#children.values()]
  }
}

/** Looks at `pid` every `intervalMs`, until it ends, the time is over or the signal comes. */
export async function watch(pid: number, options: WatchOptions): Promise<Watched> {
  using sampler = new Sampler(pid)
  const others = new ChildrenWatch(pid)
  const samples: Sample[] = []
  let classes: ClassFigures[] | null = null
  let classesAtMs = 0
  let most = 0
  const end = performance.now() + options.forMs
  const seen = (ended: boolean): Watched => ({ samples, classes, classesAtMs, ended, children: others.children })
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
    others.look(sample.ms)
    const left = end - performance.now()
    if (left <= 0 || options.signal.aborted) return seen(false)
    await sleep(Math.min(options.intervalMs, left), undefined, { signal: options.signal }).catch(() => undefined)
  }
  return seen(true)
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
