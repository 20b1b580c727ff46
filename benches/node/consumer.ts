// The worker of `sharing.ts`: takes lists, adds their coordinates up, and says how many it is done with.
import { type MessagePort, workerData } from 'node:worker_threads'
import { RingBuffer } from 'ringbuf.js'
import { SharedHeap } from '../../src/index.ts'
import { type ConsumerData, doneWord, node, type PlainNode, places, sentWord } from './sharing.ts'

const { by, nodes, control, buffer, ring, port } = workerData as ConsumerData & { port?: MessagePort }
let sum = 0

/** Takes list after list as they are sent. */
function follow(receive: (message: number) => void): never {
  for (let message = 0; ; ) {
    const sent = Atomics.load(control, sentWord)
    if (message === sent) {
      Atomics.notify(control, doneWord)
      Atomics.wait(control, sentWord, sent)
    }
    for (; message < sent; message++) {
      receive(message)
      Atomics.store(control, doneWord, message + 1)
    }
  }
}

if (by === 'heap' && buffer && ring) {
  const heap = SharedHeap.from(buffer)
  const slots = heap.array(Int32Array, ring, places)
  const { next, x, y } = heap.struct(node)
  follow((message) => {
    for (let one = slots[message % places] as number; one !== 0; ) {
      sum += x.get(one) + y.get(one)
      const after = next.get(one)
      heap.free(one)
      one = after
    }
  })
} else if (by === 'ring' && buffer) {
  const lists = new RingBuffer(buffer, Float64Array)
  const list = new Float64Array(nodes * 3)
  follow(() => {
    lists.pop(list)
    for (let at = 0; at < list.length; at += 3) sum += (list[at + 1] as number) + (list[at + 2] as number)
  })
} else {
  let done = 0
  port?.on('message', (list: readonly PlainNode[]) => {
    for (const { x, y } of list) sum += x + y
    Atomics.store(control, doneWord, ++done)
    Atomics.notify(control, doneWord)
  })
}
// The sum must not be dropped.
process.once('exit', () => sum)
