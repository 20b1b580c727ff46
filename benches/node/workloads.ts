// What is measured in Node, and with whom. A contender makes, for one workload, the function that does `count` operations.
import { MemPool } from '@thi.ng/malloc'
import { Arena, BufferPool, Heap, SharedHeap } from '../../src/index.ts'
import { crowd, crowdWays } from './crowd.ts'
import { senders } from './sharing.ts'

/** Does an operation `count` times. */
export type Work = (count: number) => void

/** A promise that a record shows to be kept. */
export interface Bar {
  readonly contender: string
  /** Most nanoseconds, or most times what another contender takes. */
  readonly most: number
  readonly than?: string
}

export interface Workload {
  readonly name: string
  readonly contenders: Readonly<Record<string, () => Work>>
  readonly bars: readonly Bar[]
}

/** What an operation made last: the compiler must not drop it. */
export let sink: unknown

const slabBytes = 64 * 2 ** 20

/** Makes a view of `bytes` again and again; those of slabs start anew when the slab is full. */
function allocation(label: string, bytes: number, bars: readonly Bar[]): Workload {
  const rounds = Math.floor(slabBytes / bytes)
  const free = (make: () => unknown) => (): Work => (count) => {
    for (let at = 0; at < count; at++) sink = make()
  }
  return {
    name: `alloc/${label}`,
    bars,
    contenders: {
      'Arena.alloc': () => {
        const arena = new Arena(slabBytes)
        return (count) => {
          arena.reset()
          for (let at = 0, left = rounds; at < count; at++) {
            sink = arena.alloc(bytes)
            if (--left === 0) {
              arena.reset()
              left = rounds
            }
          }
        }
      },
      'Arena.allocOffset': () => {
        const arena = new Arena(slabBytes)
        return (count) => {
          arena.reset()
          for (let at = 0, left = rounds; at < count; at++) {
            sink = arena.allocOffset(bytes)
            if (--left === 0) {
              arena.reset()
              left = rounds
            }
          }
        }
      },
      'bare view': () => {
        const slab = new ArrayBuffer(slabBytes)
        return (count) => {
          for (let at = 0, offset = 0, left = rounds; at < count; at++) {
            sink = new Uint8Array(slab, offset, bytes)
            offset += bytes
            if (--left === 0) {
              offset = 0
              left = rounds
            }
          }
        }
      },
      'Buffer.alloc': free(() => Buffer.alloc(bytes)),
      'Buffer.allocUnsafe': free(() => Buffer.allocUnsafe(bytes)),
      'Buffer.allocUnsafeSlow': free(() => Buffer.allocUnsafeSlow(bytes)),
      'new ArrayBuffer': free(() => new ArrayBuffer(bytes)),
      '@thi.ng/malloc': () => {
        const pool = new MemPool({ size: slabBytes })
        return (count) => {
          pool.freeAll()
          for (let at = 0; at < count; at++) {
            sink = pool.mallocAs('u8', bytes)
            if (sink === undefined) pool.freeAll()
          }
        }
      },
    },
  }
}

/** Takes a Buffer, and gives it back where that is possible. */
function pooling(label: string, bytes: number, bars: readonly Bar[]): Workload {
  return {
    name: `pool/${label}`,
    bars,
    contenders: {
      'BufferPool acquire, release': () => {
        const pool = new BufferPool()
        return (count) => {
          for (let at = 0; at < count; at++) {
            const buffer = pool.acquire(bytes)
            sink = buffer
            pool.release(buffer)
          }
        }
      },
      'BufferPool lease': () => {
        const pool = new BufferPool()
        return (count) => {
          for (let at = 0; at < count; at++) {
            const lease = pool.lease(bytes)
            sink = lease.buffer
            lease[Symbol.dispose]()
          }
        }
      },
      'Buffer.alloc': () => (count) => {
        for (let at = 0; at < count; at++) sink = Buffer.alloc(bytes)
      },
      'Buffer.allocUnsafe': () => (count) => {
        for (let at = 0; at < count; at++) sink = Buffer.allocUnsafe(bytes)
      },
      'Buffer.allocUnsafeSlow': () => (count) => {
        for (let at = 0; at < count; at++) sink = Buffer.allocUnsafeSlow(bytes)
      },
      'new ArrayBuffer': () => (count) => {
        for (let at = 0; at < count; at++) sink = new ArrayBuffer(bytes)
      },
      '@thi.ng/malloc': () => {
        const pool = new MemPool({ size: slabBytes })
        return (count) => {
          for (let at = 0; at < count; at++) {
            const view = pool.mallocAs('u8', bytes)
            sink = view
            if (view !== undefined) pool.free(view)
          }
        }
      },
    },
  }
}

/** Takes a block, and gives it back. */
function pair(label: string, bytes: number, bars: readonly Bar[]): Workload {
  return {
    name: `pair/${label}`,
    bars,
    contenders: {
      'Heap.alloc, free': () => {
        const heap = new Heap()
        return (count) => {
          for (let at = 0; at < count; at++) heap.free(heap.alloc(bytes))
        }
      },
      'SharedHeap.alloc, free': () => {
        const heap = new SharedHeap({ bytes: slabBytes })
        return (count) => {
          for (let at = 0; at < count; at++) heap.free(heap.alloc(bytes))
        }
      },
      'Buffer.allocUnsafe': () => (count) => {
        for (let at = 0; at < count; at++) sink = Buffer.allocUnsafe(bytes)
      },
      '@thi.ng/malloc': () => {
        const pool = new MemPool({ size: slabBytes })
        return (count) => {
          for (let at = 0; at < count; at++) pool.free(pool.malloc(bytes))
        }
      },
    },
  }
}

const liveBlocks = 10_000

/** Numbers from 0 that look random: the same in each process. */
function numbers(): () => number {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return state >>> 8
  }
}

/** Replaces one of many live blocks, picked at random, by one of another size. */
function replacing(label: string, sizeOf: (random: number) => number): Workload {
  const replace = <T>(take: (bytes: number) => T, give: (block: T) => void): Work => {
    const next = numbers()
    const live = Array.from({ length: liveBlocks }, () => take(sizeOf(next())))
    return (count) => {
      for (let at = 0; at < count; at++) {
        const random = next()
        const which = random % liveBlocks
        give(live[which] as T)
        live[which] = take(sizeOf(random))
      }
    }
  }
  return {
    name: `replace/${label}`,
    bars: [],
    contenders: {
      'Heap.alloc, free': () => {
        const heap = new Heap()
        return replace(
          (bytes) => heap.alloc(bytes),
          (offset) => heap.free(offset),
        )
      },
      'SharedHeap.alloc, free': () => {
        const heap = new SharedHeap({ bytes: slabBytes })
        return replace(
          (bytes) => heap.alloc(bytes),
          (offset) => heap.free(offset),
        )
      },
      'Buffer.alloc': () => replace(Buffer.alloc, () => {}),
      'Buffer.allocUnsafe': () => replace(Buffer.allocUnsafe, () => {}),
      'Buffer.allocUnsafeSlow': () => replace(Buffer.allocUnsafeSlow, () => {}),
      '@thi.ng/malloc': () => {
        const pool = new MemPool({ size: slabBytes })
        return replace(
          (bytes) => pool.malloc(bytes),
          (offset) => void pool.free(offset),
        )
      },
    },
  }
}

/** Hands lists of nodes to a worker, which reads them: `sharing.ts`. An operation is a list. */
function sharing(label: string, nodes: number, bars: readonly Bar[]): Workload {
  const contenders = Object.entries(senders).map(([name, make]) => [name, () => make(nodes)])
  return { name: `share/${label}`, bars, contenders: Object.fromEntries(contenders) as Workload['contenders'] }
}

/** Eight workers take and free blocks at once: `crowd.ts`. An operation is a pair of one of them, the time that of all together. */
function crowding(label: string, bytes: number, bars: readonly Bar[]): Workload {
  const contenders = crowdWays.map((way) => [way, () => crowd(way, bytes)])
  return { name: `crowd/${label}`, bars, contenders: Object.fromEntries(contenders) as Workload['contenders'] }
}

const view: readonly Bar[] = [
  { contender: 'Arena.alloc', most: 45 },
  { contender: 'Arena.alloc', most: 1.5, than: 'bare view' },
  { contender: 'Arena.allocOffset', most: 15 },
]

export const workloads: readonly Workload[] = [
  allocation('64B', 64, view),
  allocation('1KiB', 1024, view),
  allocation('64KiB', 65_536, [...view, { contender: 'Arena.alloc', most: 0.1, than: 'Buffer.allocUnsafe' }]),
  pooling('1KiB', 1024, []),
  pooling('64KiB', 65_536, [{ contender: 'BufferPool acquire, release', most: 25 }]),
  pair('64B', 64, [{ contender: 'SharedHeap.alloc, free', most: 100 }]),
  crowding('64B', 64, [{ contender: 'SharedHeap, one for all', most: 100 }]),
  replacing('64B', () => 64),
  replacing('16..1024B', (random) => 16 + ((random >>> 4) % 1009)),
  sharing('1 node', 1, [{ contender: 'SharedHeap structs', most: 1, than: 'postMessage' }]),
  sharing('100 nodes', 100, [{ contender: 'SharedHeap structs', most: 1, than: 'postMessage' }]),
]
