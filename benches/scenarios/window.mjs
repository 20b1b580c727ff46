// A window of 4,000 Buffers of random sizes, of which random ones are replaced; then 5 % of them are kept.
import { setImmediate as turn } from 'node:timers/promises'
import { idle, random } from './idle.mjs'

const next = random(11)
const make = () => Buffer.allocUnsafeSlow(next(8) === 0 ? 1 + next(256 << 10) : 1 + next(32 << 10)).fill(1)
let all = Array.from({ length: 4000 }, make)
for (let i = 0; i < 150_000; i++) {
  all[next(all.length)] = make()
  if (i % 100 === 0) await turn()
}
all = all.filter((_, i) => i % 20 === 0)
await idle(all)
