// Who uses the heap: slots are registered, released, and reaped.
import { live, reaping, slotAt, slotsMax, statusWord } from './layout.ts'
import { load, type Memory, memoryOf, store, swap } from './memory.ts'
import { flush, recover } from './recovery.ts'

/** Threads are numbered in 24 bits of the status. */
export const threadIdMax: number = 2 ** 24 - 2

function statusOf(threadId: number, reaper: number, state: number): number {
  return ((threadId + 1) << 8) | (reaper << 2) | state
}

const threadOf = (status: number): number => (status >>> 8) - 1
const reaperOf = (status: number): number => (status >>> 2) & 63
const isReaping = (status: number): boolean => (status & 3) === reaping

/** Registers a thread; returns its worker number, 0 when all slots are taken. Lock-free. */
export function register(m: Memory, threadId: number): number {
  for (let worker = 1; worker <= slotsMax; worker++) {
    const word = slotAt(worker) + statusWord
    if (load(m, word) === 0 && swap(m, word, 0, statusOf(threadId, 0, live)) === 0) return worker
  }
  return 0
}

/** Takes back what is held, brings what the magazines hold to the stacks, and releases the slot. */
export function release(m: Memory): void {
  recover(m)
  flush(m)
  store(m, m.slot + statusWord, 0)
}

/** Slots in use. */
export function countWorkers(m: Memory): number {
  let count = 0
  for (let worker = 1; worker <= slotsMax; worker++) if (load(m, slotAt(worker) + statusWord) !== 0) count++
  return count
}

/** What {@link reapThread} brought back. */
export interface Reaped {
  workers: number
  blocks: number
  inFlight: number
  pages: number
}

/**
 * Recovers the slots of a thread that has ended, and those that it was itself about to reap; also what an earlier reap of this worker
 * left undone. May be called by several workers at once.
 */
export function reapThread(m: Memory, threadId: number): Reaped {
  for (let worker = 1; worker <= slotsMax; worker++) {
    const word = slotAt(worker) + statusWord
    const mine = statusOf(threadId, 0, live)
    if (load(m, word) === mine) swap(m, word, mine, statusOf(threadId, m.me, reaping))
  }
  while (takeOver(m)) {
    // Each turn takes over what the reapers found in the turn before were about to reap.
  }
  const reaped: Reaped = { workers: 0, blocks: 0, inFlight: 0, pages: 0 }
  for (let worker = 1; worker <= slotsMax; worker++) {
    const status = load(m, slotAt(worker) + statusWord)
    if (!isReaping(status) || reaperOf(status) !== m.me) continue
    const dead = memoryOf(m.buffer, worker, m.firstPage)
    const { inFlight, pages } = recover(dead)
    reaped.workers++
    reaped.inFlight += inFlight
    reaped.pages += pages
    reaped.blocks += flush(dead)
    store(dead, dead.slot + statusWord, 0)
  }
  return reaped
}

/** Takes over the slots whose reaper is itself being reaped by this worker. */
function takeOver(m: Memory): boolean {
  let isAny = false
  for (let worker = 1; worker <= slotsMax; worker++) {
    const word = slotAt(worker) + statusWord
    const status = load(m, word)
    const reaper = reaperOf(status)
    if (!isReaping(status) || reaper === m.me) continue
    const above = load(m, slotAt(reaper) + statusWord)
    if (!isReaping(above) || reaperOf(above) !== m.me) continue
    if (swap(m, word, status, statusOf(threadOf(status), m.me, reaping)) === status) isAny = true
  }
  return isAny
}
