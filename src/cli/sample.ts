// One look at a process from outside: what its memory is for, its threads, its CPU.
import { ExitError, exitCode } from './exit.ts'
import { isGone, type ProcessState, processName, readProcess } from './proc.ts'
import { type Cause, type Mapping, preloadedLibrary, readMappings, rssByCause } from './smaps.ts'
import { type AllocatorFigures, type ClassFigures, ViewReader } from './view.ts'

/** Memory in bytes. */
export interface Sample {
  /** Milliseconds since the watching began. */
  readonly ms: number
  readonly pid: number
  readonly name: string
  readonly rss: number
  /** The same with shared pages divided among those that share them. */
  readonly pss: number
  /** Since the sample before, in percent of one core; at first since the process began. */
  readonly cpuPercent: number
  readonly threads: number
  /** Resident bytes by what they are for; see `Cause`. */
  readonly causes: Readonly<Record<Cause, number>>
  /** `null`: tessalloc is not preloaded there, or its figures cannot be read; `note` says why. */
  readonly tessalloc: AllocatorFigures | null
  readonly note: string | null
}

/** Watches a process. Dispose it: it may hold a descriptor. */
export class Sampler implements Disposable {
  readonly pid: number
  readonly #started: number = performance.now()
  readonly #startTicks: number
  #view: ViewReader | undefined
  #note: string | null = null
  #last: { ms: number; cpuMs: number } | undefined

  /** Ends the command with code 2 when there is no such process, or it is another user's. */
  constructor(pid: number) {
    this.pid = pid
    const state = readProcess(pid)
    if (state === undefined) throw new ExitError(exitCode.usage, `Cannot look at process ${pid}: there is none`)
    this.#startTicks = state.startTicks
    try {
      readMappings(pid)
    } catch (error) {
      const why = isGone(error) ? 'it has ended' : `its mappings cannot be read (another user's?): ${text(error)}`
      throw new ExitError(exitCode.usage, `Cannot look at process ${pid}: ${why}`)
    }
  }

  /** Opens the view of the preload library, if there is one. Tried at each look: a process that just began loads it a moment later. */
  #findView(mappings: readonly Mapping[]): void {
    if (this.#view !== undefined) return
    const library = preloadedLibrary(mappings)
    this.#note = library === undefined ? 'tessalloc is not preloaded there' : null
    if (library === undefined) return
    try {
      this.#view = ViewReader.open(this.pid, library.path, library.from)
      if (this.#view === undefined) this.#note = 'the tessalloc there is of a version without a view'
    } catch (error) {
      this.#note = `the figures of tessalloc cannot be read: ${text(error)}; see kernel.yama.ptrace_scope`
    }
  }

  /** A look now; `undefined` when the process has ended. Cost: milliseconds, most of it the kernel's for its page tables. */
  take(): Sample | undefined {
    // Twice, since a program that calls exec loses the memory that the view was in.
    for (let attempt = 0; attempt < 2; attempt++) {
      const state = readProcess(this.pid)
      if (state === undefined || state.isZombie || state.startTicks !== this.#startTicks) return undefined
      try {
        return this.#look(state)
      } catch {
        this[Symbol.dispose]()
      }
    }
    return undefined
  }

  #look(state: ProcessState): Sample {
    const mappings = readMappings(this.pid)
    this.#findView(mappings)
    const tessalloc = this.#view?.figures() ?? null
    const ms = performance.now() - this.#started
    const { cpuMs, sinceMs } = state.ownCpu
    const last = this.#last ?? { ms: ms - sinceMs, cpuMs: 0 }
    this.#last = { ms, cpuMs }
    const sum = (key: 'rss' | 'pss') => mappings.reduce((total, mapping) => total + mapping[key], 0)
    return {
      ms: Math.round(ms),
      pid: this.pid,
      name: processName(this.pid) ?? '?',
      rss: sum('rss'),
      pss: sum('pss'),
      cpuPercent: ms > last.ms ? Math.max(0, (100 * (cpuMs - last.cpuMs)) / (ms - last.ms)) : 0,
      threads: state.threads,
      causes: rssByCause(mappings, this.#view?.blockRanges()),
      tessalloc,
      note: this.#note,
    }
  }

  /** Figures by size class now; `null` where the figures cannot be read. */
  classes(): ClassFigures[] | null {
    return this.#view?.classes() ?? null
  }

  [Symbol.dispose](): void {
    this.#view?.[Symbol.dispose]()
    this.#view = undefined
  }
}

const text = (error: unknown) => (error instanceof Error ? error.message : String(error))
