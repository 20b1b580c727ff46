import test from 'ava'
import { type OptionInfo, type OptionName, options, setLimit } from '../src/index.ts'
import { binding } from '../src/native.ts'
import { evaluate } from './helpers.ts'

const invalid = { code: 'ERR_TESSALLOC_INVALID_OPTION' }

test.serial('the list has every option of the core, with its type', (t) => {
  const core = binding().optionTable()
  const list = options.list()
  t.deepEqual(
    list.map(({ name, unit, doc, range }) => ({ name, unit, doc, range })),
    core.map(({ name, unit, doc, range }) => ({ name, unit, doc, range })) as never,
  )
  for (const { name, unit, value, defaultValue, range } of list) {
    t.is(typeof value, unit === 'switch' ? 'boolean' : 'number', name)
    for (const each of [value, defaultValue].map(Number)) t.true(each >= range[0] && each <= range[1], name)
    t.deepEqual(options.info(name).value, value)
  }
})

test.serial('the names that the compiler knows are those of the core', (t) => {
  // A value of the type `Record<OptionName, …>` names all of them, and no other.
  const named: Record<OptionName, true> = {
    TESSALLOC_RESERVE: true,
    TESSALLOC_PURGE_DELAY: true,
    TESSALLOC_SCAVENGER: true,
    TESSALLOC_MOVE_LARGE: true,
    TESSALLOC_STATS: true,
    TESSALLOC_VERBOSE: true,
    TESSALLOC_IDLE_DELAY: true,
    TESSALLOC_KEEP: true,
    TESSALLOC_PURGE_HOLES: true,
    TESSALLOC_THREAD_CACHE: true,
    TESSALLOC_MAX_WARNINGS: true,
    TESSALLOC_SOFT_LIMIT: true,
    TESSALLOC_HARD_LIMIT: true,
    TESSALLOC_PROFILE: true,
    TESSALLOC_PROFILE_RATE: true,
    TESSALLOC_PROFILE_PEAK: true,
    TESSALLOC_GUARDED_SAMPLE_RATE: true,
    TESSALLOC_GUARDED_MIN: true,
    TESSALLOC_GUARDED_MAX: true,
    TESSALLOC_GUARDED_PRECISE: true,
    TESSALLOC_GUARDED_SAMPLE_SEED: true,
  }
  t.deepEqual(
    Object.keys(named),
    binding()
      .optionTable()
      .map(({ name }) => name),
  )
})

test.serial('values are set as numbers, booleans and texts, and say who gave them', (t) => {
  t.teardown(() => options.set('TESSALLOC_PURGE_DELAY', 10_000))
  t.is(options.info('TESSALLOC_PURGE_DELAY').source, 'default')
  options.set('TESSALLOC_PURGE_DELAY', 2500)
  t.is(options.get('TESSALLOC_PURGE_DELAY'), 2500)
  t.is(options.info('TESSALLOC_PURGE_DELAY').source, 'set')
  options.set('TESSALLOC_PURGE_DELAY', ' 3S')
  t.is(options.get('TESSALLOC_PURGE_DELAY'), 3000)
  options.set('TESSALLOC_PURGE_HOLES', false)
  t.false(options.get('TESSALLOC_PURGE_HOLES'))
  options.set('TESSALLOC_PURGE_HOLES', 'yes')
  t.true(options.get('TESSALLOC_PURGE_HOLES'))
})

test.serial('refusals name what the option takes, and change nothing', (t) => {
  const before = options.list()
  const set = options.set as (name: string, value: unknown) => void
  const expected = 'Cannot set TESSALLOC_IDLE_DELAY: value must be a whole number of milliseconds from 250 to 3600000'
  for (const value of [249, 3_600_001, -1, 250.5, Number.NaN, true, null, undefined, [], 1e300]) {
    const { message } = t.throws(() => set('TESSALLOC_IDLE_DELAY', value), invalid)
    t.true(message.startsWith(expected), message)
  }
  for (const value of ['', '3 apples', '249', '2h', '1s\0', '-1']) {
    t.throws(() => set('TESSALLOC_IDLE_DELAY', value), invalid)
  }
  for (const value of [1, 0, 'maybe'])
    t.throws(() => set('TESSALLOC_SCAVENGER', value), { ...invalid, message: /boolean/ })
  for (const name of ['PURGE_DELAY', '', 'TESSALLOC_NONE', 7, undefined]) {
    t.throws(() => set(name as string, 1), { ...invalid, message: /^Cannot set an option: name must be/ })
    t.throws(() => options.get(name as OptionName), { ...invalid, message: /^Cannot read an option: name must be/ })
  }
  t.deepEqual(options.list(), before)
})

for (const preload of [false, true]) {
  test(`options are one table for all threads, ${preload ? 'the process’s under preload' : 'without preload'}`, async (t) => {
    const [main, worker] = await evaluate<[OptionInfo, OptionInfo]>(
      `import { Worker } from 'node:worker_threads'
       import { options } from 'tessalloc'
       options.set('TESSALLOC_KEEP', '3M')
       new Worker("const { options } = require('tessalloc'); require('worker_threads').parentPort.postMessage(options.info('TESSALLOC_KEEP'))", { eval: true, execArgv: [] })
         .on('message', (worker) => console.log(JSON.stringify([options.info('TESSALLOC_KEEP'), worker])))`,
      { preload },
    )
    t.deepEqual(worker, main)
    t.is(main.value, 3 * 2 ** 20)
    t.is(main.source, 'set')
  })
}

test.serial('the environment is told apart', async (t) => {
  const info = await evaluate<OptionInfo>(
    `process.env.TESSALLOC_KEEP = '2M'
     const { options } = await import('tessalloc')
     console.log(JSON.stringify(options.info('TESSALLOC_KEEP')))`,
  )
  t.deepEqual([info.value, info.source], [2 * 2 ** 20, 'environment'])
})

test.serial('limits are set together, and those from before come back', (t) => {
  const before = setLimit({})
  t.deepEqual(before, { soft: 0, hard: 0 })
  t.deepEqual(setLimit({ hard: 2 ** 40 }), before)
  t.deepEqual(setLimit({ soft: 2 ** 41 }), { soft: 0, hard: 2 ** 40 })
  t.is(options.get('TESSALLOC_SOFT_LIMIT'), 2 ** 41)
  const size = { code: 'ERR_TESSALLOC_INVALID_SIZE', message: /^Cannot set limits: (soft|hard) must be an integer/ }
  for (const bad of [{ soft: -1 }, { soft: 1, hard: 2 ** 46 + 1 }, { hard: 0.5 }, { soft: '1M' }, { soft: null }]) {
    t.throws(() => setLimit(bad as never), size)
  }
  for (const bad of [undefined, null, 5]) t.throws(() => setLimit(bad as never), invalid)
  t.deepEqual(setLimit(before), { soft: 2 ** 41, hard: 2 ** 40 })
  t.deepEqual(setLimit({}), before)
})
