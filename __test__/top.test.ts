// `tessalloc top`: what it says of a process against what the process says of itself, and how it behaves in a terminal.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import test from 'ava'
import { causeOf, parseSmaps, preloadedLibrary, readMappings, rssByCause } from '../src/cli/smaps.ts'
import { parts } from '../src/cli/split.ts'
import { ViewReader } from '../src/cli/view.ts'
import { asleep, cli, holdsMemory, inTerminal, plainEnv, root, tessalloc } from './helpers.ts'

const mib = 2 ** 20
const node = process.execPath

interface Line {
  time: string
  pid: number
  name: string
  rss: number
  pss: number
  threads: number
  cpuPercent: number
  note: string | null
  tessalloc: Record<string, number> | null
  parts: Record<string, number>
}

const look = (pid: number | undefined) => JSON.parse(tessalloc(['top', `${pid}`, '--once', '--json']).stdout) as Line
const within = (a: number | undefined, b: number | undefined, by: number) => Math.abs((a ?? 0) - (b ?? 0)) <= by

test('top_tells_of_a_preloaded_process_what_it_tells_of_itself', async (t) => {
  const { child, own } = await holdsMemory(true)
  t.teardown(() => child.kill('SIGKILL'))
  const line = look(child.pid)
  t.is(child.pid, line.pid)
  t.is(line.name, 'node')
  t.is(line.note, null)
  t.true(within(line.rss, own.rss, 8 * mib), `${line.rss} ${own.rss}`)
  t.true(line.pss > 0 && line.pss <= line.rss)
  t.true(line.threads >= 5)
  // Threads report in steps of 256 KiB; what the library gives back in between counts too.
  t.true(within(line.tessalloc?.allocated, own.allocated, 6 * mib), `${line.tessalloc?.allocated} ${own.allocated}`)
  t.true(within(line.tessalloc?.committed, own.committed, 24 * mib), `${line.tessalloc?.committed} ${own.committed}`)
  t.true((line.tessalloc?.purged ?? 0) >= (own.purged ?? 0))
  const sum = Object.values(line.parts).reduce((total, bytes) => total + bytes, 0)
  t.is(sum, line.rss, 'the parts add up')
  t.true(
    (line.parts.allocated ?? 0) + (line.parts.retained ?? 0) > 55 * mib,
    '40 buffers of 1 MiB and 20,000 of 1,000 bytes',
  )
  t.true((line.parts.js ?? 0) > 0.6 * (own.heapTotal ?? 0) && (line.parts.js ?? 0) < 1.2 * (own.heapTotal ?? 0))
  t.true((line.parts.metadata ?? 0) > 0 && (line.parts.metadata ?? 0) < 4 * mib)
  t.true((line.parts.native ?? 0) < 8 * mib, 'nothing is left to the system')

  // The reader itself: size classes, and the same split by the flags of mappings alone.
  const mappings = readMappings(child.pid ?? 0)
  const mapped = preloadedLibrary(mappings)
  using view = ViewReader.open(child.pid ?? 0, mapped?.path ?? '', mapped?.from ?? 0)
  const classes = view?.classes() ?? []
  const own1000 = classes.find((row) => row.blockBytes === 1024)
  t.true((own1000?.blocksUsed ?? 0) >= 20_000 && (own1000?.blocksUsed ?? 0) < 22_000, JSON.stringify(own1000))
  t.true((own1000?.blocksMade ?? 0) >= (own1000?.blocksUsed ?? 0))
  t.true((classes.find((row) => row.blockBytes === null)?.pages ?? 0) >= 40)
  const [byFlags, byView] = [rssByCause(mappings), rssByCause(mappings, view?.blockRanges())]
  // A table beside a region looks like a part of it.
  t.true(within(byFlags.blocks, byView.blocks, mib / 4) && within(byFlags.tables, byView.tables, mib / 4))
  t.is(byFlags.js, byView.js)
})

test('top_tells_the_split_of_a_process_without_tessalloc', async (t) => {
  const { child, own } = await holdsMemory(false)
  t.teardown(() => child.kill('SIGKILL'))
  const line = look(child.pid)
  t.is(line.tessalloc, null)
  t.regex(line.note ?? '', /not preloaded/)
  t.true((line.parts.native ?? 0) > 55 * mib)
  t.true((line.parts.js ?? 0) > 0.6 * (own.heapTotal ?? 0))
  t.is((line.parts.allocated ?? 0) + (line.parts.blocks ?? 0) + (line.parts.metadata ?? 0), 0)
})

test('top_of_a_library_without_a_view_says_so', async (t) => {
  const libm = ['/lib/x86_64-linux-gnu/libm.so.6', '/usr/lib64/libm.so.6'].find((path) => existsSync(path)) ?? ''
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const old = join(folder, 'libtessalloc.so')
  copyFileSync(libm, old)
  const child = spawn('sleep', ['60'], { env: plainEnv({ LD_PRELOAD: old }) })
  t.teardown(() => child.kill('SIGKILL'))
  await asleep(child.pid, 'sleep')
  t.regex(look(child.pid).note ?? '', /without a view/)
})

test('top_prints_a_line_of_json_for_each_look_until_the_process_ends', async (t) => {
  const child = spawn('sleep', ['60'])
  const run = spawn(node, [cli, 'top', `${child.pid}`, '--json', '--interval', '200ms'], { env: plainEnv() })
  let output = ''
  run.stdout.on('data', (data: Buffer) => {
    output += data
    if (output.split('\n').length > 3) child.kill()
  })
  t.deepEqual(await once(run, 'close'), [0, null])
  const lines = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  t.true(lines.length >= 3, `${lines.length} lines`)
  t.true(lines.every((line) => line.pid === child.pid && line.rss > 0 && line.name === 'sleep'))
  const times = lines.map((line) => Date.parse(line.time))
  t.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  )
})

test('top_redraws_in_a_terminal_and_ends_by_q', async (t) => {
  const { child } = await holdsMemory(true)
  t.teardown(() => child.kill('SIGKILL'))
  const command = [node, cli, 'top', `${child.pid}`, '--interval', '100ms']
  for (const key of ['q', '\u0003']) {
    const { output, status } = inTerminal(command, [
      ['given back', ''],
      ['given back', key],
    ])
    t.is(status, 0, output)
    const text = stripVTControlCharacters(output)
    t.true(text.split('node (').length >= 3, 'drawn twice')
    t.true(output.includes('\u001b[32m█'), 'in colour')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is the terminal's
    t.regex(output, /\u001b\[\d*A|\u001b\[1A|\u001b\[H/, 'over the last picture')
    t.true(output.lastIndexOf('\u001b[?25h') > output.lastIndexOf('\u001b[?25l'), 'the cursor is there again')
    for (const label of ['JS heap', 'tessalloc: in use', 'tessalloc: own tables', 'programs and libraries']) {
      t.true(text.includes(label), label)
    }
  }
})

test('top_in_a_terminal_ends_with_the_process', (t) => {
  const script = `sleep 1 & exec "${node}" "${cli}" top $! --interval 100ms`
  const { output, status } = inTerminal(['sh', '-c', script])
  t.is(status, 0)
  t.regex(output, /process \d+ has ended/)
})

test('top_without_a_terminal_looks_once_and_has_no_colours', (t) => {
  const { NO_COLOR: _, FORCE_COLOR: __, CI: ___, ...env } = plainEnv()
  const { stdout, status } = spawnSync(node, [cli, 'top', `${process.pid}`], { encoding: 'utf8', env, cwd: root })
  t.is(status, 0)
  t.is(stdout, stripVTControlCharacters(stdout))
  t.regex(stdout, /RSS \d+ MB/)
})

test('top_of_what_cannot_be_looked_at_is_2', (t) => {
  for (const args of [['999999999'], ['0'], ['x'], [], ['1', '2'], [`${process.pid}`, '--interval', 'soon']]) {
    const { status, stderr } = tessalloc(['top', ...args])
    t.is(status, 2, args.join(' '))
    t.not(stderr, '')
  }
})

test('parts_are_all_told_apart', (t) => {
  t.is(new Set(parts.map((part) => part.label)).size, parts.length)
  t.is(new Set(parts.map((part) => part.colour)).size, parts.length)
})

test('mappings_have_the_cause_that_their_kind_says', (t) => {
  const mapping = (range: string, access: string, path: string, flags: string) =>
    `${range} ${access} 00000000 00:00 0 ${path}\nRss: 8 kB\nPss: 4 kB\nAnonHugePages: 0 kB\nVmFlags: ${flags}\n`
  const text = [
    mapping('00400000-00500000', 'r-xp', '/usr/bin/my node', 'rd ex'),
    mapping('10000000-10040000', 'rw-p', '', 'rd wr dc nr'),
    mapping('20000000-28000000', 'rw-p', '', 'rd wr nr nh'),
    mapping('28000000-68000000', '---p', '', 'nr nh'),
    mapping('70000000-70001000', '---p', '', 'nr nh'),
    mapping('70001000-70002000', 'rw-p', '', 'rd wr nr nh'),
    mapping('80000000-80001000', '---p', '', ''),
    mapping('80001000-80801000', 'rw-p', '', 'rd wr ac'),
    mapping('84000000-84100000', 'rw-p', '', 'rd wr nr'),
    mapping('90000000-90100000', 'rw-s', '/dev/shm/x (deleted)', 'rd wr sh'),
    mapping('a0000000-a0100000', 'rw-p', '[heap]', 'rd wr'),
    mapping('b0000000-b0100000', 'rw-p', '[stack]', 'rd wr gd'),
    mapping('c0000000-c0001000', 'r-xp', '/x/libtessalloc.so', 'rd'),
  ].join('')
  const mappings = parseSmaps(text)
  const expected = [
    'files',
    'js',
    'blocks',
    'blocks',
    'tables',
    'tables',
    'native',
    'stacks',
    'native',
    'shared',
    'native',
    'stacks',
    'files',
  ]
  t.deepEqual(mappings.map(causeOf(mappings)) as string[], expected)
  t.is(mappings[0]?.path, '/usr/bin/my node')
  t.is(mappings[0]?.rss, 8192)
  t.is(mappings[0]?.pss, 4096)
  const without = mappings.slice(0, -1)
  t.is(without.map(causeOf(without))[2], 'native', 'without the library nothing is ours')
})
