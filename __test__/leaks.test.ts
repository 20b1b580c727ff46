// Memory goes back: programs of their own that make and drop handles by the hundred, with a limit in bytes for what may stay.
import test from 'ava'
import { evaluate } from './helpers.ts'

const mib = 2 ** 20

interface Growth {
  readonly rss: number
  readonly external: number
}

/**
 * Runs `round` in a new Node 3 times to warm up, then `rounds` times, and answers by how many bytes the process grew. Between rounds
 * the event loop turns; `gc` collects before either reading.
 */
function growth(setup: string, round: string, rounds: number, preload: boolean): Promise<Growth> {
  return evaluate<Growth>(
    `import { Arena, BufferPool, Heap } from 'tessalloc'
     ${setup}
     const turn = () => new Promise((resolve) => setImmediate(resolve))
     const settle = async () => { for (let i = 0; i < 4; i++) { gc(); await turn() } }
     const read = async () => { await settle(); const { rss, external } = process.memoryUsage(); return { rss, external } }
     async function run(rounds) { for (let i = 0; i < rounds; i++) { ${round}; if (i % 8 === 0) await turn() } }
     await run(3)
     const before = await read()
     await run(${rounds})
     // Some memory goes back while the process is idle; what stays for 5 s is lost.
     let after = await read()
     for (let i = 0; i < 50 && after.rss - before.rss > ${8 * mib}; i++) {
       await new Promise((resolve) => setTimeout(resolve, 100))
       after = await read()
     }
     console.log(JSON.stringify({ rss: after.rss - before.rss, external: after.external - before.external }))`,
    { flags: ['--expose-gc'], preload },
  )
}

for (const preload of [false, true]) {
  const where = preload ? 'under preload' : 'without preload'

  // A shared slab goes when V8 collects it; under preload it is tessalloc that keeps it for a while, as any free memory.
  for (const backing of preload ? ['native', 'js'] : ['native', 'js', 'shared']) {
    test(`arenas that are disposed leave nothing, ${backing}, ${where}`, async (t) => {
      const round = `{ const arena = new Arena({ capacity: 1 << 20, backing: '${backing}' }); arena.alloc(1 << 20).fill(1); arena.dispose() }`
      const { rss, external } = await growth('', round, 200, preload)
      t.true(rss < 24 * mib, `RSS grew by ${rss}`)
      t.true(external < mib, `external memory grew by ${external}`)
    })
  }

  test(`arenas that are only dropped are collected, ${where}`, async (t) => {
    const round = 'new Arena(1 << 20).alloc(1 << 20).fill(1); if (i % 32 === 0) gc()'
    const { rss, external } = await growth('', round, 200, preload)
    t.true(rss < 48 * mib, `RSS grew by ${rss}`)
    t.true(external < mib, `external memory grew by ${external}`)
  })

  test(`buffers of a pool leave nothing, ${where}`, async (t) => {
    const round = `{ const pool = new BufferPool()
      const some = Array.from({ length: 8 }, (_, at) => pool.acquire(100_000 + at).fill(1))
      for (const each of some.slice(1)) pool.release(each)
      pool.dispose() }`
    const { rss, external } = await growth('', round, 200, preload)
    t.true(rss < 24 * mib, `RSS grew by ${rss}`)
    t.true(external < mib, `external memory grew by ${external}`)
  })

  test(`heaps leave nothing, ${where}`, async (t) => {
    const round = `{ const heap = new Heap()
      for (let at = 0; at < 20; at++) heap.view(heap.alloc(50_000 + at * 1000)).fill(1)
      heap.view(heap.alloc(3 << 20)).fill(1)
      heap.dispose() }`
    const { rss, external } = await growth('', round, 100, preload)
    t.true(rss < 24 * mib, `RSS grew by ${rss}`)
    t.true(external < mib, `external memory grew by ${external}`)
  })

  test(`a heap whose blocks were freed gives back, ${where}`, async (t) => {
    const [grown, after] = await evaluate<[number, number]>(
      `import { Heap } from 'tessalloc'
       const before = process.memoryUsage.rss()
       const heap = new Heap()
       const offsets = Array.from({ length: 64 << 10 }, () => heap.alloc(1024))
       for (const offset of offsets) heap.view(offset).fill(1)
       const full = process.memoryUsage.rss() - before
       // One block a slab stays, so that no slab can go as a whole.
       for (const [at, offset] of offsets.entries()) if (at % 2048 !== 0) heap.free(offset)
       heap.purge()
       console.log(JSON.stringify([full, process.memoryUsage.rss() - before]))`,
      { preload },
    )
    t.true(grown > 60 * mib, `RSS grew by ${grown}`)
    t.true(after < 24 * mib, `RSS kept ${after}`)
  })

  test(`workers that end with arenas, heaps and pools in use leave nothing, ${where}`, async (t) => {
    const setup = `
      const { Worker } = await import('node:worker_threads')
      const { once } = await import('node:events')
      const code = \`import { Arena, BufferPool, Heap } from 'tessalloc'
        import { parentPort } from 'node:worker_threads'
        const arena = new Arena(4 << 20)
        arena.alloc(4 << 20).fill(1)
        const heap = new Heap()
        for (let at = 0; at < 100; at++) heap.view(heap.alloc(40_000)).fill(1)
        const pool = new BufferPool()
        pool.release(pool.acquire(1 << 20).fill(1))
        globalThis.kept = [arena, heap, pool]
        parentPort.postMessage('ready')\``
    // Every other one is stopped from outside, with all of it in use.
    const round = `{ const worker = new Worker(code, { eval: true })
      const ended = once(worker, 'exit')
      await once(worker, 'message')
      if (i % 2 === 0) await worker.terminate()
      await ended }`
    const { rss } = await growth(setup, round, 20, preload)
    t.true(rss < 32 * mib, `RSS grew by ${rss}`)
  })

  test(`disposing in a loop without a turn of the event loop gives back at once, ${where}`, async (t) => {
    const grown = await evaluate<number>(
      `import { Arena } from 'tessalloc'
       const before = process.memoryUsage.rss()
       for (let i = 0; i < 100; i++) { const arena = new Arena(4 << 20); arena.alloc(4 << 20).fill(1); arena.dispose() }
       console.log(process.memoryUsage.rss() - before)`,
      { preload },
    )
    t.true(grown < 24 * mib, `RSS grew by ${grown}`)
  })

  test(`an arena that grew gives back by what it grew, ${where}`, async (t) => {
    const [grown, after] = await evaluate<[number, number]>(
      `import { Arena } from 'tessalloc'
       const before = process.memoryUsage.rss()
       const arena = new Arena({ capacity: 1 << 20, maxCapacity: 1 << 30 })
       arena.alloc(64 << 20).fill(1)
       const full = process.memoryUsage.rss() - before
       arena.reset()
       console.log(JSON.stringify([full, process.memoryUsage.rss() - before]))`,
      { preload },
    )
    t.true(grown > 60 * mib, `RSS grew by ${grown}`)
    t.true(after < 12 * mib, `RSS kept ${after}`)
  })
}
