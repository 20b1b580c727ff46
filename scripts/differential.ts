/**
 * `npm run differential`: random programs against the naive model, all invariants of the core checked between their steps; see
 * `fuzz/tests/differential.rs`. A failing program is made as small as it can be and printed.
 *
 *     npm run differential                                10,000,000 operations
 *     npm run differential -- --operations 50000000       so many
 *     npm run differential -- --seed 0x1234               those of an earlier run
 *
 * The last line sums up.
 */
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { buildLibrary } from './build.ts'
import { CommandError, main, root, step, targetFolder } from './lib.ts'

const { values } = parseArgs({
  options: { operations: { type: 'string', default: '10000000' }, seed: { type: 'string' } },
})

async function differential(): Promise<void> {
  const operations = Number(values.operations)
  if (!(operations > 0)) throw new CommandError(`Cannot run: expected a number, received ${values.operations}`)
  step('building the C library', buildLibrary)
  const start = performance.now()
  const args = ['test', '--manifest-path', 'fuzz/Cargo.toml', '--no-default-features', '--test', 'differential']
  const child = spawn('cargo', [...args, '--', '--nocapture', '--test-threads=1'], {
    cwd: root,
    env: {
      ...process.env,
      CARGO_TARGET_DIR: `${targetFolder}/check`,
      RUSTFLAGS: '--cfg tessalloc_check',
      TESSALLOC_TEST_OPERATIONS: String(operations),
      ...(values.seed === undefined ? {} : { TESSALLOC_TEST_SEED: values.seed }),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (data: Buffer) => {
    output += data
    process.stdout.write(data)
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  const sum = (what: string) =>
    [...output.matchAll(new RegExp(`^.*differential .*?(\\d+) ${what}`, 'gm'))].reduce(
      (all, [, n]) => all + Number(n),
      0,
    )
  const seeds = new Set([...output.matchAll(/seed (0x[\da-f]+)/g)].map(([, seed]) => seed))
  console.log(
    `covered: ${sum('operations')} operations, ${sum('programs')} programs, ${sum('blocks walked')} blocks walked, ` +
      `${sum('checks')} checks of all invariants, ${code === 0 ? 'no' : 'a'} failure, seeds ${[...seeds].join(' ')}, ` +
      `${((performance.now() - start) / 1000).toFixed(1)} s`,
  )
  if (code !== 0) process.exitCode = 1
}

await main(differential)
