// Twelve bursts of 20,000 Buffers up to 24 KiB; of each burst one in a hundred is kept.
import { setImmediate as turn } from 'node:timers/promises'
import { idle, random } from './idle.mjs'

const next = random(13)
const kept = []
for (let burst = 0; burst < 12; burst++) {
  const all = []
  for (let i = 0; i < 20_000; i++) {
    all.push(Buffer.allocUnsafeSlow(16 + next(24 << 10)).fill(i))
    if (i % 500 === 0) await turn()
  }
  kept.push(...all.filter((_, i) => i % 100 === 0))
}
await idle(kept)
