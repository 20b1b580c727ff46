import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { packageVersion } from '../src/version.ts'
import { cli, library, plainEnv, root, tessalloc } from './helpers.ts'

const node = process.execPath
const allocator = `console.log(require('tessalloc').status().active)`

test('path_prints_the_library', (t) => {
  t.is(tessalloc(['path']).stdout, `${library}\n`)
  t.is(tessalloc(['path', '--static']).stdout, `${library.replace(/so$/, 'a')}\n`)
})

test('env_for_a_shell_switches_it_on', (t) => {
  const shell = `eval "$("${node}" "${cli}" env --sh)"; "${node}" -e "${allocator}"; echo "$LD_PRELOAD $MALLOC_ARENA_MAX"`
  const { stdout } = spawnSync('sh', ['-c', shell], { encoding: 'utf8', env: plainEnv(), cwd: root })
  t.is(stdout, `preload\n${library} 2\n`)
})

test('env_in_each_format_names_the_library', (t) => {
  t.deepEqual(JSON.parse(tessalloc(['env', '--json']).stdout), { LD_PRELOAD: library, MALLOC_ARENA_MAX: '2' })
  t.is(
    tessalloc(['env', '--systemd']).stdout,
    `[Service]\nEnvironment="LD_PRELOAD=${library}"\nEnvironment="MALLOC_ARENA_MAX=2"\n`,
  )
  t.regex(
    tessalloc(['env', '--docker']).stdout,
    /^RUN ln -s .*tessalloc path.*\nENV LD_PRELOAD=\/usr\/local\/lib\/libtessalloc\.so /m,
  )
})

test('env_lists_the_options_with_what_the_environment_gives', (t) => {
  const { stdout, status } = tessalloc(['env', '--list'], {
    TESSALLOC_PURGE_DELAY: '1500ms',
    TESSALLOC_SCAVENGER: 'no',
  })
  t.is(status, 0)
  const lines = stdout.split('\n')
  t.true(lines.includes('TESSALLOC_PURGE_DELAY=1500ms  (0 to 1h; default 10s)'), stdout)
  t.true(lines.includes('TESSALLOC_SCAVENGER=off  (off or on; default on)'), stdout)
  t.true(lines.includes('TESSALLOC_KEEP=1M  (0 to 1T; default 1M)'), stdout)
  const page = readFileSync(join(root, 'docs', 'options.md'), 'utf8')
  const names = [...page.matchAll(/^\| `(TESSALLOC_\w+)` \| [^`]* \|$/gm)].map((match) => match[1])
  const listed = lines.filter((line) => line.startsWith('TESSALLOC_')).map((line) => line.split('=')[0])
  t.deepEqual(listed, names)
  t.true(names.length >= 11)
})

test('env_lists_the_options_as_json', (t) => {
  const { stdout } = tessalloc(['env', '--list', '--json'], { TESSALLOC_KEEP: '64MiB' })
  const rows = JSON.parse(stdout) as Record<string, unknown>[]
  const { doc, ...keep } = rows.find(({ name }) => name === 'TESSALLOC_KEEP') ?? {}
  t.is(typeof doc, 'string')
  t.deepEqual(keep, {
    name: 'TESSALLOC_KEEP',
    unit: 'bytes',
    value: 64 * 2 ** 20,
    set: true,
    default: 2 ** 20,
    range: [0, 2 ** 40],
  })
  t.false(rows.some(({ name, set }) => name !== 'TESSALLOC_KEEP' && set === true))
})

test('env_reports_faults_of_the_environment_while_it_lists', (t) => {
  const { stderr, status } = tessalloc(['env', '--list'], { TESSALLOC_KEEP: 'much', TESSALLOC_PURGE_DELY: '1s' })
  t.is(status, 0)
  t.deepEqual(stderr.trim().split('\n').sort(), [
    'tessalloc: ignored TESSALLOC_KEEP: expected a size such as 64K or 2G, 0 to 1T, received much',
    'tessalloc: ignored TESSALLOC_PURGE_DELY: there is no such option; the nearest is TESSALLOC_PURGE_DELAY',
  ])
})

test('wrong_usage_is_2_and_help_is_0', (t) => {
  for (const args of [
    ['bogus'],
    ['run'],
    ['run', '--bogus'],
    ['env', '--sh', '--json'],
    ['env', '--list', '--docker'],
    ['compare', '--runs', '0'],
    ['compare', '--idle', 'soon'],
    ['compare', '--with', 'nothing'],
  ]) {
    const { status, stderr } = tessalloc(args)
    t.is(status, 2, args.join(' '))
    t.not(stderr, '')
  }
  t.is(tessalloc(['--help']).status, 0)
  t.is(tessalloc(['--version']).stdout, `${packageVersion}\n`)
})
