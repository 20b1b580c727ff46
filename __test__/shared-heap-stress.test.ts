// Eight workers at work while they are killed one after the other. `TESSALLOC_LONG=1` makes it ten million operations.
import test from 'ava'
import { stress } from './shared-heap/stress.ts'

const isLong = process.env.TESSALLOC_LONG === '1'

test('eight workers, killed in between: no block is corrupt, and none is lost', async (t) => {
  t.timeout(isLong ? 600_000 : 120_000)
  const operations = isLong ? 1e7 : 1e6
  const result = await stress({ seats: 8, operations, killEveryMs: 40, seed: 7 })
  t.log(result)
  t.true(result.operations >= operations)
  t.true(result.kills > 10)
  t.deepEqual(result.faults, [])
  t.is(result.inFlight, 0)
  t.is(result.lost, 0)
})
