import { existsSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageVersion } from '../version.ts'
import { pc } from './colour.ts'
import { page } from './compare-html.ts'
import { report } from './compare-text.ts'
import { verdict } from './compare-verdict.ts'
import { codeOfSignal, ExitError, exitCode, preloadPath } from './exit.ts'
import { type Measurement, measure } from './measure.ts'
import { preloadVariables } from './preload-env.ts'

export interface CompareOptions {
  readonly runs: number
  readonly idle: number
  readonly with: string
  readonly json?: true
  readonly html?: string
  readonly output?: true
}

/** An allocator to run the command on. */
interface Contestant {
  readonly name: string
  readonly library: string | null
}

/** The figures that are compared. Durations in ms, memory in bytes. */
export const metrics = ['wallMs', 'cpuMs', 'peakRssBytes', 'idleRssBytes', 'idlePssBytes'] as const
export type Metric = (typeof metrics)[number]
export type Figures = Readonly<Record<Metric, number | null>>

/** All runs on one allocator. */
export interface Result extends Contestant {
  readonly runs: readonly Measurement[]
  readonly median: Figures
  /** Median over that of the first allocator; below 1 is less. */
  readonly ratio: Figures
}

export interface Comparison {
  readonly version: 1
  readonly tessalloc: string
  readonly date: string
  readonly machine: string
  readonly command: readonly string[]
  readonly isBundled: boolean
  readonly idleMs: number
  readonly results: readonly Result[]
  readonly verdict: string
}

const workload = fileURLToPath(new URL('../../workloads/workers.mjs', import.meta.url))

/** `tessalloc compare`: the same command on each allocator in turn. */
export async function compare(command: readonly string[], options: CompareOptions): Promise<void> {
  if (process.platform !== 'linux') {
    throw new ExitError(exitCode.unsupported, `Cannot compare on ${process.platform}: this works on Linux only so far`)
  }
  const isBundled = command.length === 0
  const full = isBundled ? [process.execPath, workload] : command
  const contestants = options.with.split(',').map(contestant)

  // A signal ends us through `exit`, where the program that is being measured is stopped.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(codeOfSignal(signal)))

  const runs = contestants.map((): Measurement[] => [])
  for (let round = 0; round < options.runs; round++) {
    const order = contestants.map((_, i) => i)
    // Back and forth, so that a machine that grows slower or faster favours nobody.
    if (round % 2 === 1) order.reverse()
    for (const i of order) {
      const { name, library } = contestants[i] as Contestant
      progress(`run ${round + 1} of ${options.runs} on ${name} …`)
      runs[i]?.push(
        await measure(full, {
          idleMs: options.idle,
          library,
          env: environment(library),
          showOutput: options.output === true,
        }),
      )
    }
  }
  progress('')

  const base = medians(runs[0] ?? [])
  const results = contestants.map((each, i): Result => {
    const own = runs[i] ?? []
    const median = medians(own)
    return { ...each, runs: own, median, ratio: ratios(median, base) }
  })
  const comparison: Comparison = {
    version: 1,
    tessalloc: packageVersion,
    date: new Date().toISOString(),
    machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux`,
    command: isBundled ? ['node', 'workloads/workers.mjs'] : command,
    isBundled,
    idleMs: options.idle,
    results,
    verdict: verdict(results),
  }
  if (options.html !== undefined) writeFileSync(options.html, page(comparison))
  process.stdout.write(options.json ? `${JSON.stringify(comparison, null, 2)}\n` : report(comparison))
  if (options.html !== undefined && !options.json) process.stdout.write(`\nWritten: ${options.html}\n`)
}

function contestant(text: string): Contestant {
  const name = text.trim()
  if (name === 'system') return { name, library: null }
  if (name === 'tessalloc') return { name, library: preloadPath() }
  const library = resolve(name)
  if (!name.includes('/') || !existsSync(library)) {
    throw new ExitError(
      exitCode.usage,
      `Cannot compare with "${name}": expected "system", "tessalloc", or the path of a library that exists`,
    )
  }
  return { name: basename(name).replace(/^lib|\.so.*$/g, ''), library }
}

/** The environment as it is, with `library` preloaded; without, nothing of ours is. */
function environment(library: string | null): NodeJS.ProcessEnv {
  const env = { ...process.env }
  const others = (env.LD_PRELOAD ?? '').split(/[: ]+/).filter((path) => path !== '' && !path.includes('libtessalloc'))
  if (others.length > 0) env.LD_PRELOAD = others.join(':')
  else delete env.LD_PRELOAD
  if (library === null) return env
  const added = preloadVariables(library, env)
  // What `tessalloc run` sets; other libraries get what a plain LD_PRELOAD gives them.
  return basename(library).startsWith('libtessalloc') ? { ...env, ...added } : { ...env, LD_PRELOAD: added.LD_PRELOAD }
}

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

function medians(runs: readonly Measurement[]): Figures {
  const of = (metric: Metric) => {
    const values = runs.map((run) => run[metric]).filter((value) => value !== null)
    // A command that was idle in one run and ended in another has no idle figure.
    return values.length === runs.length && values.length > 0 ? medianOf(values) : null
  }
  return Object.fromEntries(metrics.map((metric) => [metric, of(metric)])) as Figures
}

function ratios(figures: Figures, base: Figures): Figures {
  const of = (metric: Metric) => {
    const [own, other] = [figures[metric], base[metric]]
    return own === null || other === null || other === 0 ? null : own / other
  }
  return Object.fromEntries(metrics.map((metric) => [metric, of(metric)])) as Figures
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${pc.dim(text)}`)
  else if (text !== '') process.stderr.write(`${text}\n`)
}
