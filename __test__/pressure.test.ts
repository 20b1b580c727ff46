import test from 'ava'
import { onPressure, type Pressure } from '../src/index.ts'
import { evaluate } from './helpers.ts'

const mib = 2 ** 20

/** Takes 64 MiB above a soft limit of 32 MiB more than what is held, in memory of the allocator that has the limit. */
const exceed = `
  import { Arena, memoryUsage, memoryUsageIndex, memoryUsageLength, onPressure, setLimit } from 'tessalloc'
  import { subscribe } from 'node:diagnostics_channel'
  import { Worker } from 'node:worker_threads'
  const held = memoryUsage.fast(new Float64Array(memoryUsageLength))[memoryUsageIndex.committed]
  const soft = Math.ceil(held) + ${32 * mib}
  function exceed() {
    const arena = new Arena(${96 * mib})
    arena.alloc(${96 * mib}).fill(1)
    return arena
  }
  const until = async (isSo) => {
    for (let i = 0; i < 600 && !isSo(); i++) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const isSoft = ({ cause }) => cause === 'soft-limit'
  // The machine may be short of memory of its own.
  const told = (list) => list.filter(isSoft)
`

for (const preload of [true, false]) {
  const where = preload ? 'under preload' : 'without preload'

  test(`listeners and the channel hear of the soft limit, ${where}`, async (t) => {
    const { soft, first, second, third, published } = await evaluate<Record<string, Pressure[]> & { soft: number }>(
      `${exceed}
       const [first, second, third, published] = [[], [], [], []]
       subscribe('tessalloc:limit', (pressure) => published.push(pressure))
       setLimit({ soft })
       const listeners = [first, second, third].map((list) => onPressure((pressure) => list.push(pressure)))
       listeners[2].dispose()
       listeners[2].dispose()
       globalThis.arena = exceed()
       await until(() => told(first).length > 0 && told(second).length > 0)
       console.log(JSON.stringify({ soft, first: told(first), second: told(second), third, published: told(published) }))
       for (const listener of listeners) listener[Symbol.dispose]()`,
      { preload },
    )
    t.is(first?.length, 1)
    const [pressure] = first ?? []
    t.is(pressure?.severe, false)
    t.is(pressure?.limit, soft)
    t.true(
      pressure !== undefined && pressure.held >= soft && pressure.held < soft + 128 * mib,
      JSON.stringify(pressure),
    )
    t.deepEqual(second, first)
    t.deepEqual(published, first)
    t.deepEqual(third, [])
  })

  test(`the channel alone hears of a soft limit that its thread set, ${where}`, async (t) => {
    const published = await evaluate<Pressure[]>(
      `${exceed}
       const published = []
       subscribe('tessalloc:limit', (pressure) => published.push(pressure))
       setLimit({ soft })
       globalThis.arena = exceed()
       await until(() => told(published).length > 0)
       console.log(JSON.stringify(told(published)))
       setLimit({ soft: 0 })`,
      { preload },
    )
    t.is(published.length, 1)
  })

  // Each worker listens, and most end while the background thread tells: the limit is passed again and again.
  test(`workers that listen come and go, ${where}`, async (t) => {
    const answer = await evaluate<{ ended: number; told: number; fromWorkers: number }>(
      `${exceed}
       let count = 0
       let fromWorkers = 0
       const listener = onPressure((pressure) => { if (isSoft(pressure)) count += 1 })
       setLimit({ soft })
       globalThis.arena = exceed()
       const code = "const { onPressure } = require('tessalloc'); const { parentPort } = require('worker_threads');" +
         "onPressure((p) => p.cause === 'soft-limit' && parentPort.postMessage('told')); parentPort.postMessage('ready')"
       let ended = 0
       for (let round = 0; round < 8; round++) {
         await Promise.all([0, 1, 2].map((which) => new Promise((resolve, reject) => {
           // One ends by itself, as a listener keeps no event loop alive; one is ended; of the third two wait until they are told.
           const worker = new Worker(which === 2 ? code + ";parentPort.on('message', () => {})" : code, { eval: true, execArgv: [] })
           const stay = which === 2 && round < 2
           worker.on('message', (text) => {
             if (text === 'told') fromWorkers += 1
             if (which === 1 && text === 'ready' || which === 2 && (text === 'told' || !stay)) worker.terminate()
           })
           worker.on('error', reject)
           worker.on('exit', () => { ended += 1; resolve() })
         })))
       }
       await until(() => count > 0)
       console.log(JSON.stringify({ ended, told: count, fromWorkers }))`,
      { preload },
    )
    t.is(answer.ended, 24)
    t.true(answer.told > 0)
    t.true(answer.fromWorkers >= 2, JSON.stringify(answer))
  })
}

test('a listener keeps no event loop alive', async (t) => {
  t.is(await evaluate<number>(`import { onPressure } from 'tessalloc'; onPressure(() => {}); console.log(1)`), 1)
})

test('what a listener throws is an uncaught exception, and the others are told', async (t) => {
  const { thrown, told } = await evaluate<{ thrown: string; told: number }>(
    `${exceed}
     let thrown, count = 0
     process.on('uncaughtException', ({ message }) => { thrown = message })
     const bad = onPressure(() => { throw new Error('from a listener') })
     const good = onPressure((pressure) => { if (isSoft(pressure)) count += 1 })
     setLimit({ soft })
     globalThis.arena = exceed()
     await until(() => count > 0 && thrown)
     console.log(JSON.stringify({ thrown, told: count }))`,
  )
  t.is(thrown, 'from a listener')
  t.is(told, 1)
})

test('without background thread listeners and soft limits are refused', async (t) => {
  const codes = await evaluate<string[]>(
    `process.env.TESSALLOC_SCAVENGER = 'off'
     const { onPressure, options, setLimit } = await import('tessalloc')
     const codes = [() => onPressure(() => {}), () => setLimit({ soft: 1, hard: 5 })].map((run) => {
       try { run(); return 'none' } catch ({ code }) { return code }
     })
     setLimit({ hard: 2 ** 40 })
     console.log(JSON.stringify([...codes, options.get('TESSALLOC_SOFT_LIMIT'), options.get('TESSALLOC_HARD_LIMIT')]))`,
  )
  t.deepEqual(codes, ['ERR_TESSALLOC_UNSUPPORTED', 'ERR_TESSALLOC_UNSUPPORTED', 0, 2 ** 40] as never)
})

test('a callback is a function', (t) => {
  for (const bad of [undefined, null, {}, 'x']) {
    t.throws(() => onPressure(bad as never), {
      code: 'ERR_TESSALLOC_INVALID_OPTION',
      message: /^Cannot listen to pressure: callback must be a function, received/,
    })
  }
})

test('beyond the hard limit memory is refused', async (t) => {
  const code = (make: string) =>
    `${exceed}
     setLimit({ hard: soft })
     let refusal
     try { ${make} } catch ({ name, code }) { refusal = [name, code] }
     const small = new Uint8Array(${4 * mib}).fill(1)
     setLimit({ hard: 0 })
     console.log(JSON.stringify({ refusal, after: exceed().used, small: small.length }))`
  const buffer = `new ArrayBuffer(${256 * mib})`
  const expected = { after: 96 * mib, small: 4 * mib }
  t.deepEqual(await evaluate(code(buffer), { preload: true }), { refusal: ['RangeError', null], ...expected } as never)
  t.deepEqual(await evaluate(code(`new Arena({ capacity: ${256 * mib}, backing: 'native' })`)), {
    refusal: ['TessallocError', 'ERR_TESSALLOC_OUT_OF_MEMORY'],
    ...expected,
  } as never)
})

for (const preload of [true, false]) {
  test(`purges are published, ${preload ? 'under preload' : 'without preload'}`, async (t) => {
    const { result, published } = await evaluate<{ result: unknown; published: unknown[] }>(
      `import { subscribe, unsubscribe } from 'node:diagnostics_channel'
       import { purge } from 'tessalloc'
       const published = []
       const listen = (message, name) => published.push([name, message])
       purge()
       subscribe('tessalloc:purge', listen)
       const result = purge()
       unsubscribe('tessalloc:purge', listen)
       purge()
       console.log(JSON.stringify({ result, published }))`,
      { preload },
    )
    t.deepEqual(published, [['tessalloc:purge', result]])
  })
}
