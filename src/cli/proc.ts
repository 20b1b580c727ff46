// What /proc tells of a process and those it started. Linux only.
import { readdirSync, readFileSync } from 'node:fs'

/** Bytes of an OS page as /proc counts them. */
const pageBytes = 4096
/** Linux tells user space 100 ticks a second whatever the kernel uses. */
const msPerTick = 10

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // The process ended, or it is not ours to look at.
    return ''
  }
}

export interface ProcessState {
  readonly pid: number
  readonly parent: number
  /** Tells a process from a later one with the same number. Unit: ticks since boot. */
  readonly startTicks: number
  /** CPU of the process and of the ended children it waited for. Unit: ms. */
  readonly cpuMs: number
  /** CPU of the process alone, and how long it has been there. Unit: ms. */
  readonly ownCpu: { readonly cpuMs: number; readonly sinceMs: number }
  readonly threads: number
  readonly rssBytes: number
  readonly isZombie: boolean
}

/** State of one process, or `undefined` when it is gone. */
export function readProcess(pid: number): ProcessState | undefined {
  const text = readOrNothing(`/proc/${pid}/stat`)
  // The name may hold blanks and brackets; what follows the last bracket is plain.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields.length < 22) return undefined
  const field = (numberInManual: number) => Number(fields[numberInManual - 3])
  return {
    pid,
    parent: field(4),
    startTicks: field(22),
    cpuMs: (field(14) + field(15) + field(16) + field(17)) * msPerTick,
    ownCpu: { cpuMs: (field(14) + field(15)) * msPerTick, sinceMs: uptimeMs() - field(22) * msPerTick },
    threads: field(20),
    rssBytes: field(24) * pageBytes,
    isZombie: fields[0] === 'Z',
  }
}

function uptimeMs(): number {
  return Number.parseFloat(readOrNothing('/proc/uptime')) * 1000
}

/** The name that the system has for a process, at most 15 characters; `undefined` when it is gone. */
export function processName(pid: number): string | undefined {
  return readOrNothing(`/proc/${pid}/comm`).trim() || undefined
}

/** Whether `error` says that the process it was about has ended. */
export function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code
  return code === 'ENOENT' || code === 'ESRCH'
}

function numbersIn(folder: string): number[] {
  try {
    return readdirSync(folder).map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

function childrenOf(pid: number): number[] {
  return numbersIn(`/proc/${pid}/task`).flatMap((thread) =>
    readOrNothing(`/proc/${pid}/task/${thread}/children`).split(' ').map(Number).filter(Boolean),
  )
}

/** A process and all that it started, also those whose parent has ended since they were first seen. */
export class ProcessTree {
  readonly #seen = new Map<number, number>()

  constructor(root: number) {
    const state = readProcess(root)
    if (state) this.#seen.set(root, state.startTicks)
  }

  /** States of the processes that live now. */
  read(): ProcessState[] {
    const alive = new Map<number, ProcessState>()
    const queue = [...this.#seen.keys()]
    for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
      if (alive.has(pid)) continue
      const state = readProcess(pid)
      const known = this.#seen.get(pid)
      if (!state || (known !== undefined && known !== state.startTicks)) {
        this.#seen.delete(pid)
        continue
      }
      this.#seen.set(pid, state.startTicks)
      alive.set(pid, state)
      queue.push(...childrenOf(pid))
    }
    return [...alive.values()].filter((state) => !state.isZombie)
  }
}

/**
 * How long the threads of processes have waited for a processor since they were first seen. On a starved machine a program at work
 * uses hardly any CPU; this tells it from an idle one. Stays 0 where the kernel does not count (`CONFIG_SCHED_INFO`).
 */
export class WaitClock {
  /** Of the threads that lived at the last look. Unit: ms. */
  #threads: ReadonlyMap<number, number> = new Map()
  #waitedMs = 0

  /** The sum with a look at `pids` now; it only grows. Unit: ms. Cost: some microseconds a thread. */
  read(pids: readonly number[]): number {
    const threads = new Map<number, number>()
    for (const pid of pids) {
      for (const thread of numbersIn(`/proc/${pid}/task`)) {
        const waitedMs = Number(readOrNothing(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[1] ?? 0) / 1e6
        // Less than before: another thread has the number of one that ended.
        this.#waitedMs += Math.max(0, waitedMs - (this.#threads.get(thread) ?? 0))
        threads.set(thread, waitedMs)
      }
    }
    this.#threads = threads
    return this.#waitedMs
  }
}

function kilobytes(text: string, name: string): number | undefined {
  const number = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  return number === undefined ? undefined : Number(number) * 1024
}

/** Largest RSS a process ever had. Unit: bytes. */
export function readPeakRss(pid: number): number {
  return kilobytes(readOrNothing(`/proc/${pid}/status`), 'VmHWM') ?? 0
}

/** Exact resident bytes of a process, and its proportional share of them. Walks its page tables: not for frequent use. */
export function readResident(pid: number): { rssBytes: number; pssBytes: number } | undefined {
  const text = readOrNothing(`/proc/${pid}/smaps_rollup`)
  const rssBytes = kilobytes(text, 'Rss')
  const pssBytes = kilobytes(text, 'Pss')
  return rssBytes === undefined || pssBytes === undefined ? undefined : { rssBytes, pssBytes }
}

/** Whether a process runs code of a file whose path holds `path`; `undefined` when its mappings cannot be read. */
export function hasMapped(pid: number, path: string): boolean | undefined {
  const text = readOrNothing(`/proc/${pid}/maps`)
  return text === '' ? undefined : runsCodeOf(text, path)
}

/** The same from the text of maps. A library that the loader gave up, as on a noexec file system, leaves other mappings behind. */
export function runsCodeOf(maps: string, path: string): boolean {
  return maps.split('\n').some((line) => line.includes(path) && line.split(' ', 2)[1]?.[2] === 'x')
}
