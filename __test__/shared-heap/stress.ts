// Workers that allocate, free and send each other blocks while some of them are killed; at the end everything is counted.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { type ReapResult, SharedHeap } from '../../src/index.ts'
import { fixture } from '../helpers.ts'

/** What is done. */
export interface StressOptions {
  readonly seats: number
  /** Allocations and frees, of all workers together. */
  readonly operations: number
  /** Workers killed at least, each after it has begun its work. */
  readonly kills: number
  readonly seed: number
}

/** What came of it. */
export interface StressResult {
  readonly operations: number
  readonly kills: number
  /** Sum of what {@link SharedHeap.reap} said. */
  readonly reaped: ReapResult
  /** Blocks that are allocated after everything known was freed. */
  readonly lost: number
  /** What {@link SharedHeap.check} found. */
  readonly faults: readonly string[]
  /** Blocks in flight that no reap has found. */
  readonly inFlight: number
  readonly bytes: number
}

const cells = 256

/** Runs to the end; throws when a worker found a block that was written over, or the heap is corrupt. */
export async function stress({ seats, operations, kills: wanted, seed }: StressOptions): Promise<StressResult> {
  using heap = new SharedHeap({ bytes: 2 ** 20, maxBytes: 2 ** 28, name: 'stress' })
  const zeroed = (bytes: number) => {
    const block = heap.alloc(bytes)
    heap.array(Uint8Array, block).fill(0)
    return block
  }
  const control = zeroed((1 + seats) * 4)
  const ledgers = Array.from({ length: seats }, () => zeroed(cells * 4))
  const mail = zeroed(seats * seats * 4)
  const flags = heap.array(Int32Array, control)
  const done = () => flags.subarray(1).reduce((sum, count) => sum + count, 0)
  const reaped = { workers: 0, blocks: 0, inFlight: 0, pages: 0 }
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  let failure: unknown
  const reap = (id: number) => {
    const result = heap.reap(id)
    for (const key of ['workers', 'blocks', 'inFlight', 'pages'] as const) reaped[key] += result[key]
  }
  const start = (seat: number) => {
    const workerData = {
      buffer: heap.buffer,
      seat,
      seats,
      cells,
      ledger: ledgers[seat],
      mail,
      control,
      seed: random(2 ** 31),
    }
    const worker = new Worker(fixture('shared-heap-worker.mjs'), { workerData, execArgv: [] })
    worker.once('error', (error) => {
      failure ??= error
    })
    return worker
  }
  const workers = Array.from({ length: seats }, (_, seat) => start(seat))
  /** What each seat had done when its worker was made: one that has not begun has nothing to lose. */
  const before = new Int32Array(seats)
  let kills = 0
  while ((done() < operations || kills < wanted) && failure === undefined) {
    await sleep(5)
    const seat = random(seats)
    if (done() < (operations * kills) / wanted || flags[1 + seat] === before[seat]) continue
    const victim = workers[seat] as Worker
    const { threadId } = victim
    await victim.terminate()
    reap(threadId)
    before[seat] = flags[1 + seat] as number
    workers[seat] = start(seat)
    kills++
  }
  const total = done()
  Atomics.store(flags, 0, 1)
  await Promise.all(
    workers.map(async (worker) => {
      const { threadId } = worker
      if (threadId >= 0) await once(worker, 'exit')
      if (threadId >= 0) reap(threadId)
    }),
  )
  if (failure !== undefined) throw failure
  const { faults, inFlight } = heap.check()
  for (const block of [...ledgers, mail]) {
    for (let cell = block; cell < block + heap.usableSize(block); cell += 4) heap.freeAt(cell)
    heap.free(block)
  }
  heap.free(control)
  const after = heap.check()
  const { allocatedBlocks, bytes } = heap.stats()
  return {
    operations: total,
    kills,
    reaped,
    lost: allocatedBlocks,
    inFlight,
    faults: [...faults, ...after.faults],
    bytes,
  }
}
