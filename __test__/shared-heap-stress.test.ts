// Eight workers at work while they are killed one after the other. `TESSALLOC_LONG=1` makes it ten million operations.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { SharedHeap } from '../src/index.ts'
import { fixture } from './helpers.ts'
import { stress } from './shared-heap/stress.ts'

const isLong = process.env.TESSALLOC_LONG === '1'

test('eight workers, killed in between: no block is corrupt, and none is lost', async (t) => {
  t.timeout(600_000)
  const [operations, kills] = isLong ? [1e7, 300] : [1e6, 30]
  const result = await stress({ seats: 8, operations, kills, seed: 7 })
  t.log(result)
  t.true(result.operations >= operations)
  t.is(result.reaped.workers, result.kills + 4, 'half of the workers dispose their heap at the end')
  t.deepEqual(result.faults, [])
  t.is(result.inFlight, 0)
  t.is(result.lost, 0)
})

test('a worker killed while it fills a block: others go on, the cell stays empty, and reap has the block back', async (t) => {
  using heap = new SharedHeap()
  const cell = heap.roots.cell('cell')
  const workerData = { buffer: heap.buffer, cell }
  const worker = new Worker(fixture('shared-heap-holds.mjs'), { workerData, execArgv: [] })
  const { threadId } = worker
  const [block] = (await once(worker, 'message')) as [number]
  t.true(heap.holds(block))
  t.not(heap.alloc(64), block)
  await worker.terminate()
  t.is(heap.stats().workers, 2)
  t.deepEqual(heap.reap(threadId), { workers: 1, blocks: 2, inFlight: 1, pages: 0 })
  t.is(heap.roots.get('cell'), 0)
  t.is(heap.alloc(64), block)
  t.deepEqual(heap.reap(threadId), { workers: 0, blocks: 0, inFlight: 0, pages: 0 })
  t.deepEqual(heap.check(), { faults: [], inFlight: 0 })
})
