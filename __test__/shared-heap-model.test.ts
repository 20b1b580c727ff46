// Every interleaving of a few workers, with kills at every access, over a heap of a few blocks. See `shared-heap/model.ts`.
import test from 'ava'
import { explore, Fault, type Scenario } from './shared-heap/model.ts'
import { broken, longScenarios, scenarios } from './shared-heap/scenarios.ts'

const isLong = process.env.TESSALLOC_LONG === '1'

for (const [name, scenario] of Object.entries({ ...scenarios, ...(isLong ? longScenarios : {}) })) {
  test(`model: ${name}`, (t) => {
    t.timeout(600_000)
    const { states, ends } = explore(scenario)
    t.log(`${states} states, ${ends} ends`)
    t.true(ends > 0)
  })
}

for (const { promise, from, to, scenario } of broken) {
  test(`model: notices when this is broken: ${promise}`, (t) => {
    const error = t.throws(() => explore(scenarios[scenario] as Scenario, [[from, to]]), { instanceOf: Fault })
    t.log(error?.message.slice(0, 100))
  })
}
