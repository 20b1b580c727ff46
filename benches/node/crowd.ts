// Eight workers that take and free blocks at the same time: of one heap that they share, or each of its own.
import { Worker } from 'node:worker_threads'
import { SharedHeap } from '../../src/index.ts'

/** What each worker of the crowd takes blocks of. */
export const crowdWays = [
  'SharedHeap, one for all',
  'Heap, one each',
  'Buffer.allocUnsafe',
  '@thi.ng/malloc, one each',
] as const

/** What a worker is given. */
export interface CrowdData {
  readonly way: (typeof crowdWays)[number]
  readonly bytes: number
  readonly control: Int32Array
  readonly buffer: SharedArrayBuffer
}

// Words that all watch.
/** Rounds that were begun. */
export const roundWord = 0
/** Pairs that each worker does in this round. */
export const countWord = 1
/** Workers that are done with their round. */
export const doneWord = 2

/** Workers at most; fewer where there is not as much as this for each. */
const crowdSize = 8
const pairsMin = 50

/** Workers do `count` pairs together, for each call; returns when all are done. They start with the first. */
export function crowd(way: CrowdData['way'], bytes: number): (count: number) => void {
  const control = new Int32Array(new SharedArrayBuffer(12))
  const heap = new SharedHeap({ bytes: 2 ** 26 })
  const workerData: CrowdData = { way, bytes, control, buffer: heap.buffer }
  let size = 0
  return (count) => {
    for (const wanted = Math.min(crowdSize, Math.ceil(count / pairsMin)); size < wanted; size++) {
      new Worker(new URL('crowd-worker.ts', import.meta.url), { workerData }).unref()
    }
    Atomics.store(control, countWord, Math.ceil(count / size))
    Atomics.store(control, doneWord, 0)
    Atomics.add(control, roundWord, 1)
    Atomics.notify(control, roundWord)
    for (let done = 0; done < size; done = Atomics.load(control, doneWord)) Atomics.wait(control, doneWord, done)
  }
}
