/**
 * `npm run coverage`: which lines of `src/` the tests run: by ava itself, in workers, and in the programs that tests start. Needs a
 * build. Fails below 95 % of all lines, and lists the files below that.
 *
 *     npm run coverage                                  all tests but those below
 *     npm run coverage -- __test__/heap.test.ts         these tests; never fails
 *
 * `run` ends before its lines can be counted where the program takes its place. Tests that run hardly a line of `src/` that others do
 * not are left out: most of them start processes by the hundred, and counting makes these slow.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import pc from 'picocolors'
import { buildTypeScript } from './build.ts'
import { ava, CommandError, c8, main, root, targetFolder } from './lib.ts'

/** Least part of the lines. Unit: percent. */
const linesMin = 95

/** Names of the tests that are left out. */
const leftOut = [
  'add-ons',
  'bench',
  'bench-node',
  'features',
  'known-failures',
  'leaks',
  'packages',
  'programs',
  'shared-heap-stress',
]

function countedTests(): string[] {
  return readdirSync(join(root, '__test__'))
    .filter((name) => name.endsWith('.test.ts') && !leftOut.includes(name.replace('.test.ts', '')))
    .map((name) => join('__test__', name))
}

const out = join(targetFolder, 'coverage')

interface Lines {
  readonly lines: { readonly total: number; readonly covered: number; readonly pct: number }
}

/** Runs the tests and counts. Whether all of them passed. */
function count(tests: readonly string[]): boolean {
  rmSync(out, { recursive: true, force: true })
  // The command line is tested as it is built: its lines are found by source maps, which are built for this only.
  buildTypeScript('--inlineSourceMap', '--inlineSources')
  const options = [
    '--all',
    '--merge-async',
    '--src=src',
    '--include=src/**',
    '--exclude-after-remap',
    `--temp-directory=${join(out, 'raw')}`,
    `--reports-dir=${out}`,
    '--reporter=json-summary',
    '--reporter=html',
  ]
  try {
    // Counting slows programs down, and ava takes silence for a hang.
    const args = [c8, ...options, process.execPath, ava, '--timeout=20m', ...tests]
    return spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status === 0
  } finally {
    buildTypeScript()
  }
}

main(() => {
  const tests = process.argv.slice(2)
  const passed = count(tests.length > 0 ? tests : countedTests())
  const summary = JSON.parse(readFileSync(join(out, 'coverage-summary.json'), 'utf8')) as Record<string, Lines>
  const { total, ...files } = summary
  const low = Object.entries(files)
    .filter(([, { lines }]) => lines.pct < linesMin)
    .sort(([, a], [, b]) => a.lines.pct - b.lines.pct)
  for (const [file, { lines }] of low) {
    console.log(`${pc.yellow(`${lines.pct.toFixed(1).padStart(5)} %`)}  ${relative(root, file)}`)
  }
  const all = total?.lines.pct ?? 0
  console.log(
    `${pc.bold(`${all.toFixed(1).padStart(5)} %`)}  of ${total?.lines.total} lines; by line: ${join(out, 'index.html')}`,
  )
  console.log(`covered: ${all.toFixed(1)} % of ${total?.lines.total} lines of TypeScript`)
  if (!passed) throw new CommandError('Tests failed: the lines were counted all the same')
  if (tests.length === 0 && all < linesMin) throw new CommandError(`At least ${linesMin} % of the lines must be run`)
})
