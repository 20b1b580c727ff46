import test from 'ava'
import type { PurgeResult } from '../src/index.ts'
import { evaluate } from './helpers.ts'

const mib = 2 ** 20

/** Frees 64 MiB of small Buffers between others that stay, then purges at once. */
const freed = `
  import { purge } from 'tessalloc'
  import { setFlagsFromString } from 'node:v8'
  import { runInNewContext } from 'node:vm'
  setFlagsFromString('--expose-gc')
  let buffers = Array.from({ length: 8192 }, () => Buffer.allocUnsafeSlow(8192).fill(1))
  const last = Buffer.allocUnsafeSlow(8192)
  buffers = undefined
  runInNewContext('gc')()
  console.log(JSON.stringify({ ...purge(), last: last.length }))`

test('purge_on_glibc_trims_its_heap_and_says_so', async (t) => {
  const result = await evaluate<PurgeResult>(freed)
  t.is(result.via, 'glibc')
  t.true(result.before - result.after >= 32 * mib, JSON.stringify(result))
  t.is(result.returnedBytes, result.before - result.after)
})

test('purge_under_preload_reaches_the_library', async (t) => {
  const result = await evaluate<PurgeResult>(freed, { preload: true })
  t.is(result.via, 'tessalloc')
  t.true(result.before - result.after >= 32 * mib, JSON.stringify(result))
  t.true(result.returnedBytes >= 32 * mib, JSON.stringify(result))
})

test('purge_of_nothing_under_preload_is_harmless', async (t) => {
  const second = await evaluate<PurgeResult>(
    `import { purge } from 'tessalloc'; purge(); console.log(JSON.stringify(purge()))`,
    { preload: true },
  )
  t.is(second.via, 'tessalloc')
  t.true(second.returnedBytes >= 0 && second.returnedBytes < 16 * mib, JSON.stringify(second))
})
