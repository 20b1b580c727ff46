// `tessalloc report`: what is watched, what is printed, and the page in a browser.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { processRows } from '../src/cli/processes.ts'
import { type Report, type ReportSample, verdictOf } from '../src/cli/report.ts'
import { reportPage } from '../src/cli/report-html.ts'
import { reportMarkdown } from '../src/cli/report-markdown.ts'
import { type Part, parts } from '../src/cli/split.ts'
import { countPixels, openPage } from './browser.ts'
import { cli, fixture, handles, plainEnv, tessalloc } from './helpers.ts'

const node = process.execPath
const mib = 2 ** 20

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Parts in MB; the others are 0. */
function partsOf(mb: Partial<Record<Part, number>>): Record<Part, number> {
  return Object.fromEntries(parts.map(({ id }) => [id, (mb[id] ?? 0) * 1e6])) as Record<Part, number>
}

function sampleOf(ms: number, mb: Partial<Record<Part, number>>, purgedMb: number | null): ReportSample {
  const all = partsOf(mb)
  const rss = Object.values(all).reduce((sum, bytes) => sum + bytes, 0)
  const tessalloc =
    purgedMb === null
      ? null
      : {
          allocated: all.allocated,
          retained: all.retained,
          committed: all.allocated + all.retained,
          peakCommitted: 200e6,
          purged: purgedMb * 1e6,
        }
  const note = purgedMb === null ? 'tessalloc is not preloaded there' : null
  return { ms, pid: 7, name: 'node', rss, pss: rss, cpuPercent: 1, threads: 11, parts: all, tessalloc, note }
}

const made: Report = {
  version: 1,
  tessalloc: '0.0.0',
  date: '2026-01-01T00:00:00.000Z',
  machine: 'a machine',
  name: 'node',
  pid: 7,
  command: ['node', '<b>.mjs'],
  samples: [
    sampleOf(0, { js: 20, allocated: 100, files: 40 }, 0),
    sampleOf(1000, { js: 30, allocated: 60, retained: 90, files: 40 }, 0),
    sampleOf(2000, { js: 30, allocated: 60, retained: 10, files: 40 }, 80),
  ],
  classes: [
    { blockBytes: 64, pages: 10, blocksUsed: 5000, blocksMade: 10_000 },
    { blockBytes: 1024, pages: 30, blocksUsed: 1500, blocksMade: 1800 },
    { blockBytes: 2048, pages: 1, blocksUsed: 1, blocksMade: 2 },
    { blockBytes: null, pages: 7, blocksUsed: 7, blocksMade: 7 },
  ],
  classesAtMs: 1000,
  ended: false,
  children: [
    { pid: 8, name: 'sh', looks: [[0, 2e6]] },
    {
      pid: 9,
      name: '<worker>',
      looks: [
        [1000, 90e6],
        [2000, 60e6],
      ],
    },
  ],
  verdict: 'a verdict & more',
}

test('report_page_shows_charts_of_the_sizes_that_the_figures_have', async (t) => {
  const tab = await openPage(t, reportPage(made))
  if (tab === undefined) return
  t.is(await tab.textContent('#verdict'), made.verdict)
  t.is(await tab.textContent('code'), 'node <b>.mjs')
  const rects = (within: string) =>
    tab.locator(`${within} rect`).evaluateAll((all) =>
      all.map((each) => {
        const box = each.getBoundingClientRect()
        const data = (each as unknown as { dataset: Record<string, string> }).dataset
        return { ...data, width: box.width, height: box.height } as Record<string, string> & {
          width: number
          height: number
        }
      }),
    )

  // One bar of 140 MB.
  const split = await rects('#split')
  const total = split.reduce((sum, rect) => sum + rect.width, 0)
  for (const [part, mb] of [
    ['js', 30],
    ['allocated', 60],
    ['retained', 10],
    ['files', 40],
  ] as const) {
    const rect = split.find((each) => each.part === part)
    t.is(Number(rect?.mb), mb)
    t.true(Math.abs((rect?.width ?? 0) / total - mb / 140) < 0.005, `${part}: ${rect?.width} of ${total}`)
  }

  const classes = await rects('#classes')
  t.deepEqual(
    classes.map((rect) => rect.name),
    ['64 B', '64 B', '1 KiB', '1 KiB'],
    'the smallest one is left out',
  )
  const [used64, free64, used1024, free1024] = classes.map((rect) => rect.width)
  const scale = (used1024 ?? 0) / (1500 * 1024)
  t.true(scale > 0)
  for (const [width, bytes] of [
    [used64, 320_000],
    [free64, 320_000],
    [free1024, 300 * 1024],
  ] as const) {
    t.true(Math.abs((width ?? 0) / scale - bytes) < 0.02 * bytes, `${width}`)
  }

  const purge = await rects('#purge')
  t.is(purge.length, 1, 'given back between the last two looks')
  t.is(Number(purge[0]?.mb), 80)
  // 80 MB on a scale of 0 to 90 or 100 MB over 220 of 264 units.
  const chart = await tab.locator('#purge').boundingBox()
  const share = (purge[0]?.height ?? 0) / ((chart?.height ?? 1) * (220 / 264))
  t.true(share > 0.78 && share < 0.9, `${share}`)

  t.is(await tab.locator('#rss path').count(), 4)
  const figures = await tab.locator('#parts tbody tr').evaluateAll((rows) => rows.map((row) => row.textContent))
  t.true(figures.includes('tessalloc: freed, held90 MB10 MB'), figures.join())
  t.true(figures.includes('all resident memory220 MB140 MB'))

  t.is(await tab.locator('#by-process path').count(), 3)
  const processes = await tab.locator('#processes tbody tr').evaluateAll((rows) => rows.map((row) => row.textContent))
  t.deepEqual(processes, ['node (7)220 MB140 MB', '<worker> (9)90 MB60 MB', 'sh (8)2.0 MB0.0 MB'])

  const picture = await tab.screenshot({ fullPage: true })
  const widths = new Map(parts.map(({ id, colour }) => [id, colour]))
  for (const part of ['js', 'allocated', 'retained', 'files'] as const) {
    const count = await countPixels(tab, picture, widths.get(part) ?? '')
    t.true(count > 1000, `${part}: ${count} pixels`)
  }
  t.is(await countPixels(tab, picture, widths.get('shared') ?? ''), 0, 'what is not there is not drawn')
  t.true((await countPixels(tab, picture, '#bf8700')) > 1000, 'the area of the child')
})

test('report_of_a_process_without_tessalloc_has_no_charts_of_it', async (t) => {
  const samples = [sampleOf(0, { native: 90, files: 40 }, null), sampleOf(500, { native: 90, files: 40 }, null)]
  const html = reportPage({ ...made, samples, classes: null })
  t.true(html.includes('id="rss"') && html.includes('id="split"'))
  t.false(html.includes('id="purge"') || html.includes('id="classes"'))
  t.notRegex(html, /(src|href)=|<script/, 'nothing else is needed')
  t.regex(html, /No figures of the allocator: tessalloc is not preloaded there/)
})

test('report_as_markdown_has_the_same_figures', (t) => {
  const lines = reportMarkdown({ ...made, command: ['a|b'] }).split('\n')
  t.is(lines[0], '# a\\|b')
  t.true(lines.includes('| tessalloc: freed, held | 90 MB | 10 MB |'))
  t.true(lines.includes('| all | 220 MB | 140 MB |'))
  t.true(lines.includes('| 64 B | 10 | 5000 | 5000 |'))
  t.true(lines.includes('| large | 7 | 7 | 0 |'))
  t.true(lines.includes('Given back meanwhile: 80 MB.'))
  t.true(lines.includes('| <worker> (9) | 90 MB | 60 MB |'))
})

test('processes_of_a_report_are_the_largest_and_the_rest', (t) => {
  t.deepEqual(processRows({ ...made, children: [] }), [])
  const children = Array.from({ length: 10 }, (_, i) => ({
    pid: 100 + i,
    name: 'worker',
    looks: [[1000, (i + 1) * 1e6] as const],
  }))
  const rows = processRows({ ...made, children })
  t.deepEqual(
    rows.map(({ name }) => name),
    ['node (7)', ...[109, 108, 107, 106, 105, 104, 103].map((pid) => `worker (${pid})`), '3 more'],
  )
  t.deepEqual(rows.at(-1)?.rss, [0, 6e6, 0], 'those of 1, 2 and 3 MB')
  t.is(rows.at(-1)?.end, 0)
})

test('verdict_names_what_there_is_to_gain', (t) => {
  const say = (mb: Partial<Record<Part, number>>, purgedMb: number | null) => verdictOf([sampleOf(0, mb, purgedMb)])
  t.regex(say({ allocated: 60, retained: 50, files: 40 }, 0), /50 MB of it are freed but held/)
  t.regex(say({ js: 200, files: 40 }, 0), /is the JS heap/)
  t.regex(say({ allocated: 60, files: 40 }, 33), /gave 33 MB back so far/)
  t.regex(say({ native: 90, files: 40 }, null), /try tessalloc compare/)
  t.regex(say({ files: 40 }, null), /not preloaded/)
})

test('report_of_a_command_has_its_exit_code_and_all_its_looks', (t) => {
  const file = join(temporaryFolder(t), 'page.html')
  const script = `const b = Buffer.alloc(64 * 2 ** 20, 1); setTimeout(() => process.exit(b[0] + 6), 1500); console.log('its own words')`
  const run = tessalloc([
    'report',
    '--for',
    '2m',
    '--interval',
    '100ms',
    '--json',
    '--html',
    file,
    '--',
    node,
    '-e',
    script,
  ])
  t.is(run.status, 7)
  t.regex(run.stderr, /its own words/)
  const report = JSON.parse(run.stdout) as Report
  t.true(report.ended)
  t.deepEqual(report.command, [node, '-e', script])
  t.true(report.samples.length >= 2, `${report.samples.length}`)
  const last = report.samples.at(-1)
  t.true((last?.parts.allocated ?? 0) > 64 * mib, 'run on tessalloc')
  for (const { parts, rss } of report.samples) {
    t.is(
      Object.values(parts).reduce((sum, bytes) => sum + bytes, 0),
      rss,
    )
  }
  t.true((report.classes ?? []).length > 10)
  t.regex(readFileSync(file, 'utf8'), /<svg id="rss"/)
})

test('report_of_a_command_sees_what_it_starts', (t) => {
  const hold = `globalThis.b = Buffer.alloc(48 * 2 ** 20, 1); setTimeout(() => {}, 1500)`
  const script = `require('child_process').spawnSync(process.execPath, ['-e', ${JSON.stringify(hold)}])`
  const run = tessalloc(['report', '--for', '2m', '--interval', '100ms', '--json', '--', node, '-e', script])
  t.is(run.status, 0, run.stderr)
  const { children, samples } = JSON.parse(run.stdout) as Report
  t.is(children.length, 1)
  const [child] = children
  t.is(child?.name, 'node')
  t.true(Math.max(...(child?.looks ?? []).map(([, rss]) => rss)) > 48 * mib)
  const times = new Set(samples.map(({ ms }) => ms))
  t.true(child?.looks.every(([ms]) => times.has(ms)))
})

test('report_stops_a_command_that_keeps_running', (t) => {
  const folder = temporaryFolder(t)
  const mark = join(folder, 'stopped')
  const script = `process.on('SIGTERM', () => { require('fs').writeFileSync(${JSON.stringify(mark)}, ''); process.exit(9) }); setInterval(() => {}, 1000)`
  // On a busy machine it may not have come to its handler by then.
  for (const time of ['1.5s', '8s', '40s']) {
    const { stdout, status } = tessalloc(['report', '--for', time, '--markdown', '--', node, '-e', script])
    t.is(status, 0)
    t.regex(stdout, /it was stopped then\.\n/)
    if (existsSync(mark)) break
  }
  t.true(existsSync(mark))
})

test('report_of_a_running_process_writes_the_page_where_it_is_called_and_leaves_it_running', async (t) => {
  const folder = temporaryFolder(t)
  const child = spawn(node, [fixture('keeps-running.mjs'), 'itself'], { stdio: 'ignore', env: plainEnv() })
  t.teardown(() => child.kill('SIGKILL'))
  const run = spawn(node, [cli, 'report', `${child.pid}`, '--for', '1m'], { env: plainEnv(), cwd: folder })
  let output = ''
  run.stdout.on('data', (data: Buffer) => (output += data))
  await handles(run.pid, constants.signals.SIGINT)
  run.kill('SIGINT')
  t.deepEqual(await once(run, 'close'), [0, null], 'Ctrl-C ends the watching')
  t.regex(output, /resident at the end.*\nWritten: tessalloc-report\.html\n$/)
  t.regex(readFileSync(join(folder, 'tessalloc-report.html'), 'utf8'), /<svg id="rss"/)
  t.is(child.exitCode, null)
})

test('report_that_cannot_be_has_the_exit_code_that_says_why', (t) => {
  const folder = temporaryFolder(t)
  const html = ['--html', join(folder, 'x.html')]
  for (const [code, ...args] of [
    [127, '--', 'no-such-command-here'],
    [126, '--', '/etc/passwd'],
    [2],
    [2, '999999999'],
    [2, '--json', '--markdown', `${process.pid}`],
    [2, '--for', 'soon', `${process.pid}`],
  ] as const) {
    const { status, stderr } = tessalloc(['report', ...html, ...args])
    t.is(status, code, args.join(' '))
    t.not(stderr, '')
  }
  t.false(existsSync(join(folder, 'x.html')))
})
