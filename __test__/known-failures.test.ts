import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { binaryPath } from '../src/native.ts'
import { type Example, exampleAddon } from './example-addon.ts'
import { evaluate, fixture, library, plainEnv, root } from './helpers.ts'

const mib = 2 ** 20
/** `TESSALLOC_LONG=1`: 1,000 workers, some minutes. */
const isLong = process.env.TESSALLOC_LONG === '1'
const workers = isLong ? 1000 : 100

const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
test.after.always(() => rmSync(folder, { recursive: true }))

/** Two copies of the example add-on, by different names. */
let examples: string[]
test.before(async (t) => {
  t.timeout(600_000)
  examples = await exampleAddon(folder, ['one.node', 'two.node'])
})

interface Workers {
  readonly ended: number
  readonly rss: number[]
  readonly held: ReturnType<Example['memory']>[]
}

for (const preload of [false, true]) {
  // E01: the thread that loads an add-on first is not special: it ends, and a later thread may get its id. E02: what a thread took
  // is given back when it ends, also when it is terminated. The package and two copies of another add-on are in each.
  test(`known_e01_e02_addons_in_workers_that_come_and_go_${preload ? 'under_preload' : 'alone'}`, async (t) => {
    t.timeout(isLong ? 1_800_000 : 600_000)
    const args = [fixture('workers-load-addons.mjs'), `${workers}`, '1', ...examples]
    const env = plainEnv(preload ? { LD_PRELOAD: library } : {})
    const { stdout } = await promisify(execFile)(process.execPath, args, { env, cwd: root })
    const { ended, rss, held } = JSON.parse(stdout) as Workers
    t.is(ended, workers)
    for (const { committedBytes, threads, heaps } of held) {
      // A slice of 64 KiB that each worker leaves would be 6 MiB after 100.
      t.true(committedBytes < 4 * mib, `${committedBytes}`)
      // This thread and those of the pool.
      t.true(threads <= 5, `${threads}`)
      t.is(heaps, 0)
    }
    const text = `RSS after each tenth: ${rss.map((bytes) => (bytes / mib).toFixed(1)).join(', ')} MiB`
    t.log(text)
    // Node itself grows by 5 KiB with each worker, without any add-on.
    t.true(Math.min(...rss.slice(-3)) - Math.max(...rss.slice(1, 3)) < 8 * mib, text)
  })
}

// Several copies in one process, loaded and used by threads that come and go.
test('known_a03_two_copies_of_the_addon_in_workers', async (t) => {
  const copies = ['first.node', 'second.node', 'third.node'].map((name) => join(folder, name))
  for (const copy of copies) copyFileSync(binaryPath('binding'), copy)
  const code = `
    const { workerData, parentPort } = require('worker_threads')
    const out = new Float64Array(7)
    const names = workerData.map((path) => { const b = require(path); b.memoryFigures(out); b.purge(); return b.allocatorInfo().allocator })
    parentPort.postMessage(names)`
  const answer = await evaluate<{ count: number; names: string[] }>(
    `import { Worker } from 'node:worker_threads'
     import { createRequire } from 'node:module'
     const copies = ${JSON.stringify(copies)}
     createRequire(import.meta.url)(copies[0]).purge()
     let count = 0
     let names
     for (let round = 0; round < 10; round++) {
       await Promise.all([copies, copies.toReversed()].map((workerData) => new Promise((resolve, reject) => {
         const worker = new Worker(${JSON.stringify(code)}, { eval: true, execArgv: [], workerData })
         worker.on('message', (message) => { names = message; count += 1 })
         worker.on('error', reject)
         worker.on('exit', resolve)
       })))
     }
     console.log(JSON.stringify({ count, names }))`,
  )
  t.deepEqual(answer, { count: 20, names: ['glibc', 'glibc', 'glibc'] })
})
