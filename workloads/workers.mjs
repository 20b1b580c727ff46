// The bundled workload of `tessalloc compare`: a fixed amount of work as a small data service does it, and then nothing.
//
// Eight workers get 500 messages each. For each message a worker parses JSON, works on it, compresses it, takes it apart again
// and cuts Buffers of 1 to 64 KiB from the result; it keeps the last 120 messages' Buffers as a cache would, and answers with
// the compressed text, of which the main thread keeps the last 500. Then the workers are ended, the answers are dropped, and the process stays
// idle until it is told to stop (or for five minutes). No collection is forced, nothing is trimmed, and nothing is measured
// here. The random numbers are fixed: every run does the same work.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { gunzipSync, gzipSync } from 'node:zlib'

const workers = 8
const messages = 4000
const keptByWorker = 120
const keptByMain = 500

/** Numbers below `limit` from a seed (xorshift32). */
function random(seed) {
  let state = seed
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

function makeRecords(next) {
  const records = []
  for (let i = 0; i < 200; i++) {
    records.push({
      id: next(1e9),
      name: `user-${next(1e6)}`,
      tags: [`a${next(100)}`, `b${next(100)}`],
      score: next(1e6) / 7,
    })
  }
  return records
}

function serve() {
  const next = random(workerData.seed)
  const cache = []
  parentPort.on('message', (text) => {
    const records = JSON.parse(text)
    for (const record of records) record.score = Math.round(record.score * next(100))
    const packed = gzipSync(JSON.stringify(records), { level: 1 })
    const unpacked = gunzipSync(packed)
    const parts = [packed, unpacked]
    for (let i = 0; i < 4; i++) parts.push(Buffer.allocUnsafeSlow(1024 + next(63 * 1024)).fill(unpacked))
    cache.push(parts)
    if (cache.length > keptByWorker) cache.shift()
    parentPort.postMessage(packed)
  })
}

async function main() {
  const text = JSON.stringify(makeRecords(random(42)))
  const pool = Array.from(
    { length: workers },
    (_, i) => new Worker(new URL(import.meta.url), { workerData: { seed: i + 1 } }),
  )
  const answers = []
  await Promise.all(
    pool.map(
      (worker) =>
        new Promise((resolve, reject) => {
          let sent = 0
          let waiting = 0
          const send = () => {
            if (sent === messages / workers) return
            sent += 1
            waiting += 1
            worker.postMessage(text)
          }
          worker.on('message', (answer) => {
            answers.push(answer)
            if (answers.length > keptByMain) answers.shift()
            waiting -= 1
            send()
            if (waiting === 0) resolve()
          })
          worker.on('error', reject)
          // Two at a time, so that a worker never waits for the main thread.
          send()
          send()
        }),
    ),
  )
  await Promise.all(pool.map((worker) => worker.terminate()))
  answers.length = 0
  setTimeout(() => {}, 300_000)
}

if (isMainThread) await main()
else serve()
