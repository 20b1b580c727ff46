import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { binaryPath } from '../src/native.ts'
import { evaluate, fixture, library, plainEnv, root } from './helpers.ts'

const mib = 2 ** 20
const run = promisify(execFile)

async function workers(count: number, atOnce: number, preload: boolean): Promise<{ ended: number; rss: number[] }> {
  const env = plainEnv(preload ? { LD_PRELOAD: library } : {})
  const { stdout } = await run(process.execPath, [fixture('worker-loads-addon.mjs'), `${count}`, `${atOnce}`], {
    env,
    cwd: root,
  })
  return JSON.parse(stdout) as { ended: number; rss: number[] }
}

for (const preload of [false, true]) {
  const where = preload ? 'under_preload' : 'alone'

  // The thread that loads the add-on first is not special: it ends, and a later thread may get its id.
  test(`known_e01_addon_loaded_first_in_a_worker_that_ends_${where}`, async (t) => {
    const { ended } = await workers(100, 1, preload)
    t.is(ended, 100)
  })
}

// What a thread took is given back when it ends. A thread that leaks no more than one slice of 64 KiB would show as 50 MiB
// between the 200th worker and the 1,000th.
test('known_e02_rss_is_flat_over_1000_workers', async (t) => {
  const { ended, rss } = await workers(1000, 2, true)
  t.is(ended, 1000)
  const [early = 0, late = 0] = [Math.max(...rss.slice(1, 3)), Math.min(...rss.slice(-2))]
  t.true(
    late - early < 25 * mib,
    `RSS after each 100 workers: ${rss.map((bytes) => Math.round(bytes / mib)).join(', ')} MiB`,
  )
})

// Several copies in one process, loaded and used by threads that come and go.
test('known_a03_two_copies_of_the_addon_in_workers', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const copies = ['one.node', 'two.node', 'three.node'].map((name) => join(folder, name))
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
     for (let round = 0; round < 30; round++) {
       await Promise.all([copies, copies.toReversed()].map((workerData) => new Promise((resolve, reject) => {
         const worker = new Worker(${JSON.stringify(code)}, { eval: true, execArgv: [], workerData })
         worker.on('message', (message) => { names = message; count += 1 })
         worker.on('error', reject)
         worker.on('exit', resolve)
       })))
     }
     console.log(JSON.stringify({ count, names }))`,
  )
  t.deepEqual(answer, { count: 60, names: ['glibc', 'glibc', 'glibc'] })
})
