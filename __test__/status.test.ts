import { existsSync } from 'node:fs'
import test from 'ava'
import type { Status } from '../src/index.ts'
import { packageVersion } from '../src/version.ts'
import { evaluate, library } from './helpers.ts'

const ask = `import { status } from 'tessalloc'; console.log(JSON.stringify(status()))`

test('status_without_preload_is_the_addon_on_glibc', async (t) => {
  const status = await evaluate<Status>(ask)
  t.is(status.active, 'addon')
  t.is(status.allocator, 'glibc')
  t.is(status.version, packageVersion)
  t.regex(status.path ?? '', /\.node$/)
  t.true(existsSync(status.path ?? ''))
})

test('status_under_preload_is_the_library', async (t) => {
  const status = await evaluate<Status>(ask, { preload: true })
  t.deepEqual(status, { active: 'preload', allocator: 'tessalloc', version: packageVersion, path: library })
})

test('status_in_a_worker_under_preload_is_the_library', async (t) => {
  const status = await evaluate<Status>(
    `import { Worker } from 'node:worker_threads'
     new Worker("const t = require('tessalloc'); require('worker_threads').parentPort.postMessage(t.status())", { eval: true, execArgv: [] })
       .on('message', (status) => console.log(JSON.stringify(status)))`,
    { preload: true },
  )
  t.is(status.active, 'preload')
})
