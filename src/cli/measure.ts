// Runs a command once and measures it from outside: /proc of its whole process tree, and the CPU time the kernel charges for it.
import { spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { binding } from '../native.ts'
import { ExitError, exitCode, startError } from './exit.ts'
import { hasMapped, ProcessTree, readPeakRss, readResident, WaitClock } from './proc.ts'

export interface MeasureOptions {
  /** How long a command must do nothing to be taken for idle. */
  readonly idleMs: number
  /** Preload library, or `null` for the system's allocator. */
  readonly library: string | null
  readonly env: NodeJS.ProcessEnv
  /** Whether the command writes to our standard error; otherwise its output is dropped. */
  readonly showOutput: boolean
}

export interface Measurement {
  /** From the start to the end of the command, or to the moment it became idle. */
  readonly wallMs: number
  /** User and system time of the command and of the children it waited for. */
  readonly cpuMs: number
  readonly peakRssBytes: number
  /** Resident bytes at the end of the idle time; `null` when the command ended by itself. */
  readonly idleRssBytes: number | null
  /** The same with shared pages divided among those that share them. */
  readonly idlePssBytes: number | null
  /** Processes that lived at the end of the idle time. */
  readonly idleProcesses: number
  /** Milliseconds since the start and resident bytes. */
  readonly samples: readonly (readonly [ms: number, rssBytes: number])[]
}

const sampleEveryMs = 40
/** Activity is judged over this long. */
const windowMs = 500
/** Less work than this a window is quiet: 10 % of one core. Timers and background threads stay below it. */
const quietWorkMs = 50
/** A quiet command that works this much a window is at work again: 25 % of one core. */
const busyWorkMs = 125
/** What a millisecond of waiting for a processor counts: one thread that waits all the time is at work, a timer that waits now and then is not. */
const waitShare = 0.25
/** Whoever has used this much CPU, or is quiet, has been through the loader. */
const loadedCpuMs = 200
const killAfterMs = 5000
const errorTextMax = 4000

/**
 * Finds the moment a command stops working. Work is the CPU time that its threads used, with a share of the time they waited for a
 * processor: on a machine that does much else, who works does little else than wait.
 */
export class ActivityWatch {
  readonly #recent: [ms: number, workMs: number][] = []
  /** When the work ended; `undefined` while at work. */
  quietSinceMs: number | undefined

  add(ms: number, workMs: number): void {
    const recent = this.#recent
    recent.push([ms, workMs])
    while (recent[1] && recent[1][0] <= ms - windowMs) recent.shift()
    const [fromMs, fromWorkMs] = recent[0] ?? [ms, workMs]
    if (ms - fromMs < windowMs) return
    const doneMs = workMs - fromWorkMs
    if (this.quietSinceMs === undefined) {
      if (doneMs < quietWorkMs) this.quietSinceMs = fromMs
    } else if (doneMs >= busyWorkMs) {
      this.quietSinceMs = undefined
    }
  }
}

/** Runs `command` to its end, or until it was idle for `idleMs`; then it is stopped with SIGTERM. */
export async function measure(command: readonly string[], options: MeasureOptions): Promise<Measurement> {
  const [program = '', ...args] = command
  const cpuBefore = binding().childCpuMicros()
  const start = performance.now()
  const child = spawn(program, args, {
    env: options.env,
    stdio: ['ignore', options.showOutput ? 2 : 'ignore', options.showOutput ? 2 : 'pipe'],
    // A process group of its own, so that all of it can be stopped.
    detached: true,
  })
  let errorText = ''
  child.stderr?.on('data', (data: Buffer) => {
    errorText = (errorText + data.toString()).slice(-errorTextMax)
  })
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null; ms: number }>((resolve, reject) => {
    child.on('error', (error) => reject(startError(program, error)))
    child.on('exit', (code, signal) => resolve({ code, signal, ms: performance.now() - start }))
  })
  const pid = child.pid
  if (pid === undefined) {
    await ended
    throw new ExitError(exitCode.notExecutable, `Cannot run ${program}`)
  }
  const signalGroup = (signal: NodeJS.Signals) => {
    try {
      process.kill(-pid, signal)
    } catch {
      // Nobody is left in the group.
    }
  }
  const stopAll = () => signalGroup('SIGKILL')
  process.once('exit', stopAll)

  try {
    let running = true
    ended.then(
      () => (running = false),
      () => (running = false),
    )
    const library = options.library === null ? null : realpathSync(options.library)
    const tree = new ProcessTree(pid)
    const waits = new WaitClock()
    const watch = new ActivityWatch()
    const samples: [number, number][] = []
    let peakRssBytes = 0
    let treeCpuMs = 0
    let preloaded = library === null
    let idle: { rss: number; pss: number; processes: number } | null = null
    let stopped = false

    while (running) {
      const processes = tree.read()
      const ms = performance.now() - start
      if (processes.length > 0) {
        const rssBytes = processes.reduce((sum, state) => sum + state.rssBytes, 0)
        samples.push([Math.round(ms), rssBytes])
        peakRssBytes = Math.max(peakRssBytes, rssBytes, ...processes.map((state) => readPeakRss(state.pid)))
        treeCpuMs = Math.max(
          treeCpuMs,
          processes.reduce((sum, state) => sum + state.cpuMs, 0),
        )
        watch.add(ms, treeCpuMs + waitShare * waits.read(processes.map((state) => state.pid)))
        preloaded ||= processes.some((state) => library !== null && hasMapped(state.pid, library))
        const isLoaded = watch.quietSinceMs !== undefined || treeCpuMs >= loadedCpuMs
        if (!preloaded && isLoaded && ms > 1000) throw notPreloaded(program, options.library)
      }
      if (watch.quietSinceMs !== undefined && ms - watch.quietSinceMs >= options.idleMs) {
        const resident = processes.map(
          (state) => readResident(state.pid) ?? { rssBytes: state.rssBytes, pssBytes: state.rssBytes },
        )
        idle = {
          rss: resident.reduce((sum, each) => sum + each.rssBytes, 0),
          pss: resident.reduce((sum, each) => sum + each.pssBytes, 0),
          processes: processes.length,
        }
        stopped = true
        signalGroup('SIGTERM')
        const timer = setTimeout(stopAll, killAfterMs)
        await ended
        clearTimeout(timer)
        break
      }
      await Promise.race([sleep(sampleEveryMs), ended])
    }
    const { code, signal, ms } = await ended
    if (!stopped && (code !== 0 || signal !== null)) throw childFailed(command, code, signal, errorText)
    return {
      wallMs: idle === null ? ms : (watch.quietSinceMs ?? ms),
      cpuMs: Math.max((binding().childCpuMicros() - cpuBefore) / 1000, treeCpuMs),
      peakRssBytes,
      idleRssBytes: idle?.rss ?? null,
      idlePssBytes: idle?.pss ?? null,
      idleProcesses: idle?.processes ?? 0,
      samples,
    }
  } finally {
    stopAll()
    process.removeListener('exit', stopAll)
  }
}

function notPreloaded(program: string, library: string | null): ExitError {
  return new ExitError(
    exitCode.failed,
    `Cannot compare: ${program} runs without ${library}. A static or setuid program takes no preload; try: tessalloc doctor -- ${program}`,
  )
}

function childFailed(
  command: readonly string[],
  code: number | null,
  signal: NodeJS.Signals | null,
  errorText: string,
): ExitError {
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`
  const tail = errorText.trim() === '' ? '' : `\n${errorText.trim()}`
  return new ExitError(code ?? exitCode.failed, `Cannot compare: "${command.join(' ')}" ended ${how}${tail}`)
}
