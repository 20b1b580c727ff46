import { setTimeout as sleep } from 'node:timers/promises'
import Table from 'cli-table3'
import logUpdate from 'log-update'
import { pc } from './colour.ts'
import { ExitError, exitCode } from './exit.ts'
import { bytesText } from './format.ts'
import { type Sample, Sampler } from './sample.ts'
import { parts, splitOf } from './split.ts'

export interface TopOptions {
  readonly interval: number
  readonly json?: true
  readonly once?: true
}

/** `tessalloc top PID`: until the process ends, or Ctrl-C or q. */
export async function top(pid: number, options: TopOptions): Promise<void> {
  if (process.platform !== 'linux') {
    throw new ExitError(
      exitCode.unsupported,
      `Cannot look at processes on ${process.platform}: this works on Linux only so far`,
    )
  }
  using sampler = new Sampler(pid)
  if (options.json) return printLines(sampler, options)
  if (options.once || !process.stdout.isTTY) {
    process.stdout.write(`${screen(take(sampler))}\n`)
    return
  }
  await live(sampler, options.interval)
}

function take(sampler: Sampler): Sample {
  const sample = sampler.take()
  if (sample === undefined) throw new ExitError(exitCode.usage, `Cannot look at process ${sampler.pid}: it has ended`)
  return sample
}

async function printLines(sampler: Sampler, options: TopOptions): Promise<void> {
  for (let sample = sampler.take(); sample !== undefined; sample = sampler.take()) {
    const { ms: _, causes, ...rest } = sample
    process.stdout.write(
      `${JSON.stringify({ time: new Date().toISOString(), ...rest, parts: splitOf(sample), mappings: causes })}\n`,
    )
    if (options.once) return
    await sleep(options.interval)
  }
}

async function live(sampler: Sampler, intervalMs: number): Promise<void> {
  const stop = new AbortController()
  const { stdin } = process
  const onKey = (key: Buffer) => ['q', '\u0003'].includes(key.toString()) && stop.abort()
  process.once('SIGINT', () => stop.abort()).once('SIGTERM', () => stop.abort())
  if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey)
  try {
    while (!stop.signal.aborted) {
      const sample = sampler.take()
      if (sample === undefined) {
        logUpdate.done()
        process.stdout.write(`process ${sampler.pid} has ended\n`)
        return
      }
      logUpdate(`${screen(sample)}\n${pc.dim('q ends this')}`)
      await sleep(intervalMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
    logUpdate.done()
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false).off('data', onKey).pause()
  }
}

const barCells = 24

/** What is shown of a sample: a line of totals, a row for each part that there is, and the allocator's own figures. */
export function screen(sample: Sample): string {
  const split = splitOf(sample)
  const table = new Table({
    colAligns: ['left', 'right', 'right', 'left'],
    style: { head: [], border: [], compact: true },
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      right: '',
      middle: ' ',
    },
  })
  for (const { id, label } of parts) {
    if (split[id] === 0) continue
    const share = sample.rss === 0 ? 0 : split[id] / sample.rss
    table.push([
      label,
      bytesText(split[id]),
      `${(share * 100).toFixed(0)} %`,
      pc.green('█'.repeat(Math.round(share * barCells))),
    ])
  }
  const { tessalloc, note } = sample
  const figures =
    tessalloc === null
      ? (note ?? '')
      : `tessalloc: committed ${bytesText(tessalloc.committed)}, at its peak ${bytesText(tessalloc.peakCommitted)}; given back so far ${bytesText(tessalloc.purged)}`
  return [
    `${pc.bold(`${sample.name} (${sample.pid})`)}  RSS ${pc.bold(bytesText(sample.rss))}  PSS ${bytesText(sample.pss)}  CPU ${sample.cpuPercent.toFixed(0)} %  threads ${sample.threads}`,
    '',
    table.toString(),
    '',
    pc.dim(figures),
  ].join('\n')
}
