// Runs in a project with the package installed, on the Node.js of whatever platform: uses a bit of everything, and writes what it saw
// as JSON to the file named by its argument (wine gives Node.js no pipe that it can write to).
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { Arena, BufferPool, Heap, memoryUsage, options, purge, SharedHeap, status } from 'tessalloc'

/** Fills and frees blocks of many sizes; answers a sum that must come out. */
function work() {
  borrow(new Arena({ capacity: 1 << 20, backing: 'native' }), (arena) => {
    const views = Array.from({ length: 100 }, (_, i) => arena.alloc(100 * i + 1).fill(i))
    views.forEach((view, i) => {
      if (view.some((byte) => byte !== i)) throw new Error(`view ${i} of an arena holds something else`)
    })
  })
  borrow(new Heap(), (heap) => {
    const blocks = Array.from({ length: 1000 }, (_, i) => heap.alloc(17 * i + 1))
    for (const block of blocks) heap.free(block)
  })
  borrow(new BufferPool(), (pool) => {
    for (let i = 0; i < 100; i++) pool.release(pool.acquire(65536))
  })
  const buffers = Array.from({ length: 200 }, (_, i) => Buffer.alloc(10_000 + i, i))
  return buffers.reduce((sum, buffer) => sum + (buffer[0] ?? 0), 0)
}

function borrow(handle, use) {
  try {
    use(handle)
  } finally {
    handle.dispose()
  }
}

if (isMainThread) {
  const shared = new SharedHeap({ bytes: 1 << 20 })
  const at = shared.alloc(64)
  shared.array(Uint8Array, at, 64)[0] = 42
  const workers = Array.from(
    { length: 3 },
    () => new Worker(new URL(import.meta.url), { workerData: { buffer: shared.buffer, at } }),
  )
  const answers = await Promise.all(
    workers.map((worker) => new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))),
  )
  await Promise.all(workers.map((worker) => worker.terminate()))
  const { active, allocator, version } = status()
  const { rss, allocated, resident } = memoryUsage()
  const seen = {
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    active,
    allocator,
    version,
    required: createRequire(import.meta.url)('tessalloc').status().active,
    sum: work(),
    answers,
    rssMiB: Math.round(rss / 2 ** 20),
    figures: { allocated, resident },
    purged: purge().via,
    scavenger: options.get('TESSALLOC_SCAVENGER'),
  }
  writeFileSync(process.argv[2] ?? 'probe.json', `${JSON.stringify(seen)}\n`)
} else {
  const { parentPort } = await import('node:worker_threads')
  const shared = SharedHeap.from(workerData.buffer)
  parentPort?.postMessage(work() + (shared.array(Uint8Array, workerData.at, 64)[0] ?? 0))
}
