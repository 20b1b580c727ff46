// A hundred workers, four at a time: each parses, compresses and keeps some megabytes, and ends.
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { idle, random } from './idle.mjs'

function work() {
  const next = random(workerData + 1)
  const kept = []
  for (let i = 0; i < 40; i++) {
    const rows = Array.from({ length: 300 }, () => ({ id: next(1e9), name: `user-${next(1e6)}` }))
    const text = JSON.stringify(JSON.parse(JSON.stringify(rows)))
    kept.push(gzipSync(text, { level: 1 }), Buffer.allocUnsafeSlow(1024 + next(128 << 10)).fill(text))
  }
}

async function main() {
  let started = 0
  async function series() {
    while (started < 100) {
      const worker = new Worker(new URL(import.meta.url), { workerData: started++ })
      await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
    }
  }
  await Promise.all(Array.from({ length: 4 }, series))
  await idle()
}

if (isMainThread) await main()
else work()
