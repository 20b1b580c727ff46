// The benchmark of Node's side runs: every contender does its work, and bars name contenders that there are.
import { spawnSync } from 'node:child_process'
import test from 'ava'
import { workloads } from '../benches/node/workloads.ts'
import { root } from './helpers.ts'

for (const { name, contenders, bars } of workloads) {
  test(`contenders of ${name} do their work`, (t) => {
    for (const [contender, make] of Object.entries(contenders)) t.notThrows(() => make()(50), contender)
    for (const { contender, than } of bars) {
      t.true(contender in contenders, contender)
      t.true(than === undefined || than in contenders, than)
    }
  })
}

test('a child measures one contender', (t) => {
  const child = ['benches/node/child.ts', 'alloc/1KiB', 'Arena.alloc', '1']
  const result = spawnSync(process.execPath, ['--import', '@oxc-node/core/register', ...child], {
    cwd: root,
    encoding: 'utf8',
  })
  t.is(result.status, 0, result.stderr)
  const { ns, rssKib } = JSON.parse(result.stdout) as { ns: number; rssKib: number }
  t.true(ns > 0 && ns < 1e6 && rssKib > 10_000, result.stdout)
})
