// Measures one contender in one workload, in this process alone: prints `{ ns, rssKib }`.
//
//     node … benches/node/child.ts WORKLOAD CONTENDER MILLISECONDS
import { workloads } from './workloads.ts'

const [name, contender, milliseconds] = process.argv.slice(2)
const work = workloads.find((workload) => workload.name === name)?.contenders[contender ?? '']?.()
if (work === undefined) throw new RangeError(`Cannot measure ${contender} in ${name}: there is no such thing`)

/** Nanoseconds an operation, over `count` of them. */
function once(count: number): number {
  const start = process.hrtime.bigint()
  work?.(count)
  return Number(process.hrtime.bigint() - start) / count
}

// As many as take about 5 ms, once the compiler is done: long enough for collections of garbage to fall into every round.
let count = 1000
for (let warm = 0; warm < 20; warm++) count = Math.max(100, Math.min(1_000_000, Math.ceil(5e6 / once(count))))
const end = performance.now() + Number(milliseconds)
let ns = Number.POSITIVE_INFINITY
do ns = Math.min(ns, once(count))
while (performance.now() < end)
console.log(JSON.stringify({ ns, rssKib: process.resourceUsage().maxRSS }))
