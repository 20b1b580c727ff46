import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { packageVersion } from '../version.ts'
import { ExitError, exitCode } from './exit.ts'
import { bytesText } from './format.ts'
import { reportPage } from './report-html.ts'
import { reportMarkdown } from './report-markdown.ts'
import { runEnvironment } from './run.ts'
import type { Sample } from './sample.ts'
import { type Part, splitOf } from './split.ts'
import { type Watched, watch, watchCommand } from './watch.ts'

export interface ReportOptions {
  readonly for: number
  readonly interval: number
  readonly html?: string
  readonly json?: true
  readonly markdown?: true
}

/** A look, with its memory in parts; all in bytes. */
export type ReportSample = Omit<Sample, 'causes'> & { readonly parts: Readonly<Record<Part, number>> }

/** What `tessalloc report` tells, and prints with `--json`. */
export interface Report extends Omit<Watched, 'samples'> {
  readonly version: 1
  readonly tessalloc: string
  readonly date: string
  readonly machine: string
  readonly name: string
  readonly pid: number
  /** `null`: a process that ran already. */
  readonly command: readonly string[] | null
  readonly samples: readonly ReportSample[]
  /** One sentence of what there is to gain. */
  readonly verdict: string
}

const defaultPage = 'tessalloc-report.html'

/** `tessalloc report PID` or `tessalloc report -- command`: the exit code is the command's own. */
export async function report(targets: readonly string[], options: ReportOptions): Promise<number> {
  if (process.platform !== 'linux') {
    throw new ExitError(
      exitCode.unsupported,
      `Cannot look at processes on ${process.platform}: this works on Linux only so far`,
    )
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  const how = { intervalMs: options.interval, forMs: options.for, signal: stop.signal }
  const isPid = targets.length === 1 && /^\d+$/.test(targets[0] ?? '')
  const seen = isPid
    ? { watched: await watch(Number(targets[0]), how), code: exitCode.ok, pid: Number(targets[0]) }
    : await watchCommand(targets, runEnvironment(), how)
  const report = reportOf(seen.pid, isPid ? null : targets, seen.watched)

  const page = options.html ?? (options.json || options.markdown ? undefined : defaultPage)
  if (page !== undefined) writeFileSync(page, reportPage(report))
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else if (options.markdown) process.stdout.write(reportMarkdown(report))
  else process.stdout.write(`${report.verdict}\nWritten: ${page}\n`)
  return seen.code
}

function reportOf(pid: number, command: readonly string[] | null, watched: Watched): Report {
  const samples = watched.samples.map(({ causes, ...rest }) => ({ ...rest, parts: splitOf({ ...rest, causes }) }))
  if (samples.length === 0) {
    throw new ExitError(exitCode.failed, 'Cannot report: the process ended before it could be looked at')
  }
  return {
    version: 1,
    tessalloc: packageVersion,
    date: new Date().toISOString(),
    machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux`,
    name: samples.at(-1)?.name ?? '?',
    pid,
    command,
    ...watched,
    samples,
    verdict: verdictOf(samples),
  }
}

/** What a share of the memory is worth a hint: a tenth, and more than a few MB. */
const worthShare = 0.1
const worthBytes = 8 * 2 ** 20

/** One sentence: the largest part at the last look, and what could be done about it. */
export function verdictOf(samples: readonly Pick<ReportSample, 'rss' | 'parts' | 'tessalloc' | 'note'>[]): string {
  const last = samples.at(-1)
  if (last === undefined) return 'Nothing was seen.'
  const { rss, parts, tessalloc, note } = last
  const isMuch = (bytes: number) => bytes >= worthBytes && bytes >= worthShare * rss
  const first = `${bytesText(rss)} resident at the end`
  if (tessalloc !== null && isMuch(parts.retained)) {
    return `${first}; ${bytesText(parts.retained)} of it are freed but held: they go back once the process is idle (TESSALLOC_PURGE_DELAY), or by purge().`
  }
  if (parts.js >= 0.5 * rss) {
    return `${first}; most of it, ${bytesText(parts.js)}, is the JS heap: no allocator changes that, a heap snapshot explains it.`
  }
  if (tessalloc !== null) {
    return `${first}; tessalloc holds ${bytesText(parts.retained)} that is free, and gave ${bytesText(tessalloc.purged)} back so far.`
  }
  if (note?.includes('not preloaded') && isMuch(parts.native)) {
    return `${first}; ${bytesText(parts.native)} are native memory of the system's allocator: try tessalloc compare.`
  }
  return `${first}; ${note ?? 'no single part stands out'}.`
}
