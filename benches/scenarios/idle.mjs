// What every scenario shares: repeatable random numbers, and the end of the work.
//
// A scenario does its work and calls `idle` with what it keeps. Then garbage is collected (V8 sweeps late), nothing more happens for
// some seconds, and what the process holds is printed as JSON. With SCENARIO_TRAFFIC=1 small requests come in after these seconds, and
// what is printed are the delays of the event loop, and what the process holds after that.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gunzipSync, gzipSync } from 'node:zlib'

const idleMs = 3000
/** Longer than the curve on which memory goes back while a program allocates. */
const trafficMs = 11_000
const requestEveryMs = 5

/** Numbers below `limit` from a seed (xorshift32). */
export function random(seed) {
  let state = seed
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

/** Ends the scenario: `kept` is what the program still uses. */
export async function idle(kept) {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  collect()
  // Finalisers run on later turns.
  await sleep(10)
  collect()
  const workCpuMs = Math.round(cpuMs())
  const report = process.env.SCENARIO_TRAFFIC === '1' ? await traffic() : await rest()
  process.stdout.write(`${JSON.stringify({ workCpuMs, ...report, kept: kept?.length ?? 0 })}\n`, () => process.exit(0))
}

const cpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const bytesOf = (file, name) =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))[1]) * 1024

async function rest() {
  const before = cpuMs()
  await sleep(idleMs)
  const idleCpuMs = Math.round(cpuMs() - before)
  return {
    peakRssBytes: bytesOf('/proc/self/status', 'VmHWM'),
    idleRssBytes: bytesOf('/proc/self/smaps_rollup', 'Rss'),
    jsHeapBytes: process.memoryUsage().heapTotal,
    idleCpuMs,
  }
}

/**
 * Has a timer for as long as `rest` does nothing, then handles small requests, and looks at each turn of the loop how long it took beyond its timer: how much of that the thread ran, how
 * much it waited for a processor (other work's fault, left out), and how much it was blocked, and whether memory went back meanwhile; at
 * last what is resident, of a process that is never quite idle.
 */
async function traffic() {
  const { memoryUsage, memoryUsageIndex, memoryUsageLength } = await import('../../dist/index.js')
  const figures = new Float64Array(memoryUsageLength)
  const purged = () => memoryUsage.fast(figures)[memoryUsageIndex.purged]
  const first = purged()
  // Of the main thread: nanoseconds it ran, nanoseconds it waited for a processor.
  const file = openSync('/proc/self/schedstat', 'r')
  const text = Buffer.alloc(64)
  const times = () =>
    text
      .latin1Slice(0, readSync(file, text, 0, text.length, 0))
      .split(' ')
      .map((ns) => Number(ns) / 1e6)
  const next = random(7)
  const result = {
    turns: 0,
    delayMs: 0,
    blockedMs: 0,
    turnsOfPurges: 0,
    purgeDelayMs: 0,
    purgeBlockedMs: 0,
    purgedBytes: 0,
    trafficRssBytes: 0,
  }
  const start = performance.now()
  const end = start + idleMs + trafficMs
  let [at, before, lastRequest] = [start, purged(), start + idleMs]
  let [ranMs, waitedMs] = times()
  while (at < end) {
    await sleep(1)
    if (performance.now() - lastRequest >= requestEveryMs) {
      lastRequest = performance.now()
      request(next)
    }
    const now = performance.now()
    const [ran, waited] = times()
    const delayMs = now - at - 1 - (waited - waitedMs)
    const blockedMs = delayMs - (ran - ranMs)
    const after = purged()
    result.turns++
    result.delayMs = Math.max(result.delayMs, delayMs)
    result.blockedMs = Math.max(result.blockedMs, blockedMs)
    if (after !== before) {
      result.turnsOfPurges++
      result.purgeDelayMs = Math.max(result.purgeDelayMs, delayMs)
      result.purgeBlockedMs = Math.max(result.purgeBlockedMs, blockedMs)
    }
    ;[at, ranMs, waitedMs, before] = [now, ran, waited, after]
  }
  closeSync(file)
  result.purgedBytes = before - first
  result.trafficRssBytes = bytesOf('/proc/self/smaps_rollup', 'Rss')
  return result
}

/** A small request: a body comes in, is parsed and answered; the Buffers become garbage. */
function request(next) {
  const body = gzipSync(JSON.stringify({ id: next(1e6), text: 'x'.repeat(next(2000)) }), { level: 1 })
  const answer = [JSON.parse(gunzipSync(body).toString()).id]
  for (let i = 0; i < 4; i++) answer.push(Buffer.allocUnsafeSlow(100 + next(64 << 10)).fill(i))
  return answer
}
