import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type Comparison, medianOf, type Result } from '../src/cli/compare.ts'
import { points } from '../src/cli/compare-text.ts'
import { verdict } from '../src/cli/compare-verdict.ts'
import { ActivityWatch } from '../src/cli/measure.ts'
import { ProcessTree, processName, WaitClock } from '../src/cli/proc.ts'
import { fixture, tessalloc } from './helpers.ts'

const node = process.execPath
const mib = 2 ** 20

function compared(...args: string[]): Comparison {
  const { stdout, stderr, status } = tessalloc(['compare', '--json', ...args])
  if (status !== 0) throw new Error(`compare ended with ${status}: ${stderr}`)
  return JSON.parse(stdout) as Comparison
}

test('compare_of_a_command_that_ends_has_no_idle_figure', (t) => {
  // A machine that does much else gives it less than a core.
  const script = `const b = Buffer.alloc(96 * 2 ** 20, 1)
    const [end, cpu] = [Date.now() + 300, process.cpuUsage().user + 3e5]
    while (Date.now() < end || process.cpuUsage().user < cpu) b[0]`
  const { results, command } = compared('--runs', '2', '--', node, '-e', script)
  t.deepEqual(command, [node, '-e', script])
  t.deepEqual(
    results.map((result) => result.name),
    ['system', 'tessalloc'],
  )
  for (const { runs, median, ratio } of results) {
    t.is(runs.length, 2)
    t.is(median.idleRssBytes, null)
    t.true((median.wallMs ?? 0) >= 300 && (median.wallMs ?? 0) < 60_000, `${median.wallMs}`)
    t.true((median.cpuMs ?? 0) >= 200, 'busy for 300 ms')
    t.true((median.peakRssBytes ?? 0) > 96 * mib && (median.peakRssBytes ?? 0) < 250 * mib)
    t.true((ratio.peakRssBytes ?? 0) > 0)
  }
  t.is(results[0]?.ratio.peakRssBytes, 1)
})

for (const kind of ['itself', 'child'] as const) {
  test(`compare_of_a_command_that_keeps_running_by_${kind}_stops_it_when_idle`, (t) => {
    const { results } = compared('--runs', '1', '--idle', '1s', '--', node, fixture('keeps-running.mjs'), kind)
    for (const { median, runs, name } of results) {
      t.true((median.idleRssBytes ?? 0) > 64 * mib, `${name}: ${median.idleRssBytes}`)
      t.true((median.wallMs ?? 0) >= 250 && (median.wallMs ?? 0) < 60_000, `${name}: ${median.wallMs}`)
      t.is(runs[0]?.idleProcesses, kind === 'child' ? 2 : 1)
      const [first, last] = [runs[0]?.samples[0], runs[0]?.samples.at(-1)]
      t.true((last?.[0] ?? 0) - (first?.[0] ?? 0) >= 1000)
    }
    const left = readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`keeps-running.mjs\0${kind}`)
      } catch {
        return false
      }
    })
    t.deepEqual(left, [], 'nothing of it is left running')
  })
}

test('compare_of_the_bundled_workload_shows_what_is_given_back', (t) => {
  const { isBundled, results } = compared('--runs', '1')
  t.true(isBundled)
  const [system, ours] = results
  t.true((system?.median.idleRssBytes ?? 0) > 200 * mib, 'glibc keeps what was freed')
  t.true((ours?.ratio.idleRssBytes ?? 1) <= 0.35, `idle ${ours?.ratio.idleRssBytes}`)
  // Single runs scatter by some percent: the bar for medians is 1.10.
  t.true((ours?.ratio.peakRssBytes ?? 2) <= 1.2, `peak ${ours?.ratio.peakRssBytes}`)
})

test('compare_runs_only_the_allocators_of_with', (t) => {
  const script = "process.exitCode = require('tessalloc').status().active === 'preload' ? 1 : 0"
  const { results, verdict } = compared('--runs', '1', '--with', 'system', '--', node, '-e', script)
  t.is(results.length, 1)
  t.regex(verdict, /Nothing to compare with/)
})

test('compare_leaves_a_preload_of_ours_out_of_the_system_run', (t) => {
  const script = "process.exitCode = require('tessalloc').status().active === 'preload' ? 1 : 0"
  const { stdout } = tessalloc([
    'run',
    '--',
    node,
    'dist/cli.js',
    'compare',
    '--json',
    '--runs',
    '1',
    '--with',
    'system',
    '--',
    node,
    '-e',
    script,
  ])
  t.is((JSON.parse(stdout) as Comparison).results.length, 1)
})

test('compare_of_a_command_that_fails_has_its_exit_code_and_its_words', (t) => {
  const { status, stderr, stdout } = tessalloc(['compare', '--', 'sh', '-c', 'echo its own words >&2; exit 9'])
  t.is(status, 9)
  t.regex(stderr, /ended with exit code 9\nits own words/)
  t.is(stdout, '')
  t.is(tessalloc(['compare', '--', 'no-such-command-here']).status, 127)
})

test('compare_prints_table_chart_and_verdict', (t) => {
  const { stdout, status } = tessalloc([
    'compare',
    '--runs',
    '1',
    '--idle',
    '1s',
    '--',
    node,
    fixture('keeps-running.mjs'),
  ])
  t.is(status, 0)
  t.regex(stdout, /│ +│ +wall │ +CPU │ +peak RSS │ +idle RSS │/)
  t.regex(stdout, /│ tessalloc │ .*\d\.\d\d × │/)
  t.regex(stdout, /RSS in MB over seconds: tessalloc\n/)
  t.regex(stdout, /idle RSS was read 1\.00 s later/)
})

test('compare_writes_a_page_that_needs_nothing_else', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'page.html')
  const { status } = tessalloc(['compare', '--runs', '1', '--html', file, '--', node, '-e', '"</script>"'])
  t.is(status, 0)
  const html = readFileSync(file, 'utf8')
  t.notRegex(html, /(src|href)=/, 'no other file')
  t.true(html.includes('&lt;/script&gt;'))
})

/** Feeds CPU shares of 100 ms each; returns when the work ended. */
function quietSince(shares: readonly number[]): number | undefined {
  const watch = new ActivityWatch()
  let cpuMs = 0
  watch.add(0, 0)
  shares.forEach((share, i) => {
    cpuMs += share * 100
    watch.add((i + 1) * 100, cpuMs)
  })
  return watch.quietSinceMs
}

const times = (count: number, share: number) => Array<number>(count).fill(share)

test('activity_watch_finds_the_end_of_the_work', (t) => {
  t.is(quietSince(times(20, 1)), undefined)
  t.is(quietSince([...times(20, 1), ...times(20, 0)]), 2000)
  t.is(quietSince([...times(20, 1), ...times(20, 0.05)]), 2000, 'timers are no work')
  t.is(quietSince([...times(20, 1), ...times(4, 0)]), undefined, 'a short pause is no end')
  t.is(quietSince([...times(20, 1), ...times(20, 0), ...times(5, 1)]), undefined, 'it went on')
  t.is(
    quietSince([...times(20, 1), ...times(10, 0), 1, ...times(10, 0)]),
    2000,
    'one burst, such as a purge, is no work',
  )
})

test('wait_clock_counts_what_threads_wait_for_a_processor', async (t) => {
  const [processor] = /^Cpus_allowed_list:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.slice(1) ?? []
  // Three at work on one processor: each waits while the two others have it.
  const work = 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'
  const script = `for each in 1 2 3; do ( ${work} ) & done; wait; exec sleep 60`
  const child = spawn('taskset', ['-c', processor ?? '0', 'sh', '-c', script], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const tree = new ProcessTree(child.pid ?? 0)
  const clock = new WaitClock()
  let [waitedMs, cpuMs] = [0, 0]
  for (let ended = false; !ended; ) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    const states = tree.read()
    const now = clock.read(states.map((state) => state.pid))
    t.true(now >= waitedMs)
    waitedMs = now
    const sum = states.reduce((sum, state) => sum + state.cpuMs, 0)
    cpuMs = Math.max(cpuMs, sum)
    ended = states.some((state) => processName(state.pid) === 'sleep')
  }
  t.true(cpuMs >= 30, `${cpuMs}`)
  t.true(waitedMs >= cpuMs / 2, `${waitedMs} ms waited, ${cpuMs} ms at work`)
})

/** A result whose runs all measured the same. */
function result(name: string, cpuMs: number, peakMb: number, idleMb: number, base?: Result): Result {
  const figures = {
    wallMs: cpuMs,
    cpuMs,
    peakRssBytes: peakMb * 1e6,
    idleRssBytes: idleMb * 1e6,
    idlePssBytes: idleMb * 1e6,
  }
  const median = base?.median ?? figures
  const ratio = Object.fromEntries(
    Object.entries(figures).map(([key, value]) => [key, value / (median[key as keyof typeof median] ?? 1)]),
  )
  const run = { ...figures, idleProcesses: 1, samples: [] }
  return { name, library: null, runs: [run, run, run], median: figures, ratio: ratio as Result['ratio'] }
}

test('verdict_tells_gains_costs_and_no_gain', (t) => {
  const system = result('system', 3000, 500, 400)
  const against = (cpuMs: number, peakMb: number, idleMb: number) =>
    verdict([system, result('tessalloc', cpuMs, peakMb, idleMb, system)])
  t.is(against(3000, 500, 100), 'tessalloc takes 75 % less memory when idle (400 MB → 100 MB); nothing got worse.')
  t.is(
    against(3900, 500, 100),
    'tessalloc takes 75 % less memory when idle (400 MB → 100 MB), but 30 % more CPU time (3.00 s → 3.90 s).',
  )
  t.is(against(3100, 510, 395), 'No gain here: tessalloc and system differ by no more than the runs themselves.')
  const once = (each: Result): Result => ({ ...each, runs: each.runs.slice(0, 1) })
  t.is(
    verdict([once(system), once(result('tessalloc', 3900, 500, 400, system))]),
    'No gain here: tessalloc and system differ by no more than the runs themselves.',
    'one run tells nothing about time',
  )
  t.is(against(3000, 600, 400), 'No gain here: tessalloc takes 20 % more memory at the peak (500 MB → 600 MB).')
})

test('median_of_runs', (t) => {
  t.is(medianOf([3, 1, 2]), 2)
  t.is(medianOf([4, 1, 3, 2]), 2.5)
})

test('chart_points_keep_the_peak', (t) => {
  const samples = Array.from({ length: 1000 }, (_, i): [number, number] => [i * 10, i === 777 ? 9e6 : 1e6])
  const kept = points(samples, 50)
  t.is(kept.length, 50)
  t.deepEqual(
    kept.filter(([, mb]) => mb === 9),
    [[7.77, 9]],
  )
})
