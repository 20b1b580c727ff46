// Structured data handed to a worker: a list of nodes with a number and two coordinates. The worker adds the coordinates up.
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { RingBuffer } from 'ringbuf.js'
import { defineStruct, SharedHeap } from '../../src/index.ts'

/** A node in a shared heap. */
export const node = defineStruct({ id: 'u32', next: 'u32', x: 'f64', y: 'f64' })

/** A node as an object, for `postMessage`. */
export interface PlainNode {
  readonly id: number
  readonly x: number
  readonly y: number
}

// Words that both sides watch.
/** Messages sent. */
export const sentWord = 0
/** Messages of which the worker is done. */
export const doneWord = 1
/** Lists under way at most: places of the ring in the shared heap. */
export const places = 256

/** What the worker of a contender is given. */
export interface ConsumerData {
  readonly by: 'heap' | 'ring' | 'port'
  readonly nodes: number
  readonly control: Int32Array
  readonly buffer?: SharedArrayBuffer
  /** Offset of the ring of lists in the shared heap. */
  readonly ring?: number
}

/** Numbers of a node in the ring buffer. */
const numbers = 3

interface Sender {
  /** Sends a list; `false` when there is no room. */
  send(message: number): boolean
}

function start(data: ConsumerData, port?: MessagePort): Worker {
  const worker = new Worker(new URL('consumer.ts', import.meta.url), {
    workerData: { ...data, port },
    transferList: port ? [port] : [],
  })
  worker.unref()
  return worker
}

/** Sends `count` lists and waits until the worker is done with all of them. */
function exchange(control: Int32Array, sender: Sender): (count: number) => void {
  return (count) => {
    const end = Atomics.load(control, sentWord) + count
    for (let message = end - count; message < end; ) {
      const isRoom = message - Atomics.load(control, doneWord) < places
      if (isRoom && sender.send(message)) Atomics.store(control, sentWord, ++message)
      else wait(control)
      if (message % 64 === 0) Atomics.notify(control, sentWord)
    }
    Atomics.notify(control, sentWord)
    while (Atomics.load(control, doneWord) !== end) wait(control)
  }
}

function wait(control: Int32Array): void {
  const done = Atomics.load(control, doneWord)
  if (done === Atomics.load(control, sentWord)) return
  Atomics.notify(control, sentWord)
  Atomics.wait(control, doneWord, done, 1)
}

/** The contenders, for lists of `nodes` nodes. */
export const senders: Readonly<Record<string, (nodes: number) => (count: number) => void>> = {
  'SharedHeap structs': (nodes) => {
    const control = new Int32Array(new SharedArrayBuffer(8))
    const heap = new SharedHeap({ bytes: 2 ** 20, maxBytes: 2 ** 26 })
    const ring = heap.alloc(places * 4)
    const slots = heap.array(Int32Array, ring, places)
    const { id, next, x, y } = heap.struct(node)
    start({ by: 'heap', nodes, control, buffer: heap.buffer, ring })
    return exchange(control, {
      send(message) {
        let list = 0
        for (let at = 0; at < nodes; at++) {
          const one = heap.alloc(node.bytes)
          id.set(one, at)
          next.set(one, list)
          x.set(one, message)
          y.set(one, 0.5)
          list = one
        }
        slots[message % places] = list
        return true
      },
    })
  },
  'ringbuf.js': (nodes) => {
    const control = new Int32Array(new SharedArrayBuffer(8))
    const buffer = RingBuffer.getStorageForCapacity(places * nodes * numbers, Float64Array)
    const ring = new RingBuffer(buffer, Float64Array)
    const list = new Float64Array(nodes * numbers)
    start({ by: 'ring', nodes, control, buffer })
    return exchange(control, {
      send(message) {
        if (ring.availableWrite() < list.length) return false
        for (let at = 0; at < nodes; at++) {
          list[at * numbers] = at
          list[at * numbers + 1] = message
          list[at * numbers + 2] = 0.5
        }
        ring.push(list)
        return true
      },
    })
  },
  postMessage: (nodes) => {
    const control = new Int32Array(new SharedArrayBuffer(8))
    const { port1, port2 } = new MessageChannel()
    port1.unref()
    start({ by: 'port', nodes, control }, port2)
    return exchange(control, {
      send(message) {
        port1.postMessage(Array.from({ length: nodes }, (_, id): PlainNode => ({ id, x: message, y: 0.5 })))
        return true
      },
    })
  },
}
