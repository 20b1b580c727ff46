// A worker of `crowd.ts`: takes and frees blocks, as many as each round says.
import { workerData } from 'node:worker_threads'
import { MemPool } from '@thi.ng/malloc'
import { Heap, SharedHeap } from '../../src/index.ts'
import { type CrowdData, countWord, doneWord, roundWord } from './crowd.ts'

const { way, bytes, control, buffer } = workerData as CrowdData

/** What an operation made last: the compiler must not drop it. */
export let sink: unknown

const pairs: Readonly<Record<CrowdData['way'], () => () => void>> = {
  'SharedHeap, one for all': () => {
    const heap = SharedHeap.from(buffer)
    return () => heap.free(heap.alloc(bytes))
  },
  'Heap, one each': () => {
    const heap = new Heap()
    return () => heap.free(heap.alloc(bytes))
  },
  'Buffer.allocUnsafe': () => () => {
    sink = Buffer.allocUnsafe(bytes)
  },
  '@thi.ng/malloc, one each': () => {
    const pool = new MemPool({ size: 2 ** 20 })
    return () => void pool.free(pool.malloc(bytes))
  },
}

const pair = pairs[way]()
for (let round = 0; ; ) {
  Atomics.wait(control, roundWord, round)
  const now = Atomics.load(control, roundWord)
  if (now === round) continue
  round = now
  for (let left = Atomics.load(control, countWord); left > 0; left--) pair()
  Atomics.add(control, doneWord, 1)
  Atomics.notify(control, doneWord)
}
