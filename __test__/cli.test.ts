import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import test from 'ava'
import { parser } from '../src/cli/parser.ts'
import { packageVersion } from '../src/version.ts'
import { cli, inTerminal, library, plainEnv, root, tessalloc } from './helpers.ts'

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
  const names = [...page.matchAll(/^\| `(TESSALLOC_\w+)` \| [^`|]+ \| [^`|]+ \| .* \|$/gm)].map((match) => match[1])
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

test('env_for_systemd_is_a_unit_that_systemd_takes', (t) => {
  const { stdout } = tessalloc(['env', '--systemd'])
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const unit = join(folder, 'tessalloc-test.service')
  writeFileSync(unit, `[Unit]\nDescription=A test\n\n${stdout}ExecStart=/bin/true\n`)
  const verify = (path: string) => spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' })
  const { error, stderr } = verify(unit)
  if (error) return t.pass('left out: there is no systemd-analyze')
  t.false(stderr.includes(unit), stderr)
  // It does notice what is wrong.
  writeFileSync(
    unit,
    `[Unit]\nDescription=A test\n\n${stdout.replace('Environment=', 'Enviroment=')}ExecStart=/bin/true\n`,
  )
  t.regex(verify(unit).stderr, /Enviroment/)
})

test('env_for_docker_links_the_library_where_the_variable_says', (t) => {
  const lines = tessalloc(['env', '--docker']).stdout.trim().split('\n')
  t.true(
    lines.every((line) => /^(#|RUN |ENV )/.test(line)),
    lines.join('\n'),
  )
  const steps = lines.filter((line) => line.startsWith('RUN ')).map((line) => line.slice(4))
  const [variables = ''] = lines.filter((line) => line.startsWith('ENV ')).map((line) => line.slice(4))
  t.regex(variables, /^(\w+=[^\s"']+ ?)+$/, 'words that need no quotes')
  // The steps of the image, run here: npx is this command line, and the fixed path lies in a folder of the test.
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'npx'), `#!/bin/sh\nshift 2\nexec "${node}" "${cli}" "$@"\n`, { mode: 0o755 })
  const here = (text: string) => text.replaceAll('/usr/local/lib', folder)
  const env = plainEnv({ PATH: `${folder}:${process.env.PATH}` })
  for (const step of steps) t.is(spawnSync('sh', ['-ec', here(step)], { env, encoding: 'utf8' }).stderr, '')
  const set = Object.fromEntries(
    here(variables)
      .split(' ')
      .map((pair) => pair.split('=')),
  )
  const { stdout } = spawnSync(node, ['-e', allocator], { env: plainEnv(set), encoding: 'utf8', cwd: root })
  t.is(stdout, 'preload\n')
})

test('env_as_json_switches_a_program_on', (t) => {
  const set = JSON.parse(tessalloc(['env', '--json']).stdout) as NodeJS.ProcessEnv
  const { stdout } = spawnSync(node, ['-e', allocator], { env: plainEnv(set), encoding: 'utf8', cwd: root })
  t.is(stdout, 'preload\n')
})

test('path_as_json_has_both', (t) => {
  const expected = { preload: library, static: library.replace(/so$/, 'a') }
  t.deepEqual(JSON.parse(tessalloc(['path', '--json']).stdout), expected)
})

test('half_typed_names_get_a_hint', (t) => {
  for (const [args, hint] of [
    ['comp', 'Did you mean compare?'],
    ['dotcor', 'Did you mean doctor?'],
    ['zzzz', 'There are: run, compare, top, report, doctor, path, env, help'],
    ['run --pur -- true', 'Did you mean --purge-delay?'],
    ['run --verbsoe -- true', 'Did you mean --verbose?'],
    ['env --s', 'Did you mean --sh or --systemd?'],
    ['top --xyz 1', 'There are: --interval, --once, --json, --help'],
  ] as const) {
    const { stderr, status } = tessalloc(args.split(' '))
    t.is(status, 2)
    t.is(stderr.trim().split('\n').at(-1), `(${hint})`, args)
  }
})

const commands = parser().commands

test('help_of_each_command_names_its_options_and_exit_codes', (t) => {
  for (const command of commands) {
    const { stdout, status } = tessalloc([command.name(), '--help'])
    t.is(status, 0)
    t.true(stdout.startsWith(`Usage: tessalloc ${command.name()} [options]`))
    for (const { long } of command.options) t.true(stdout.includes(`${long}`), `${command.name()} ${long}`)
    t.regex(stdout, /Exit codes: /)
    t.is(tessalloc(['help', command.name()]).stdout, stdout)
  }
  const { stdout, status } = tessalloc(['--help'])
  t.is(status, 0)
  for (const command of commands) t.true(stdout.includes(`  ${command.name()} `))
})

test('the_guide_has_each_command_with_all_its_options', (t) => {
  const guide = readFileSync(join(root, 'docs', 'cli.md'), 'utf8')
  const sections = new Map(guide.split(/^## /m).map((section) => [section.split('\n', 1)[0] ?? '', section]))
  for (const command of commands) {
    const section = sections.get(`\`tessalloc ${command.name()}\``) ?? ''
    t.not(section, '', command.name())
    for (const { long } of command.options) t.true(section.includes(`\`${long}`), `${command.name()} ${long}`)
  }
})

test('colours_are_for_terminals_only', (t) => {
  const { NO_COLOR: _, FORCE_COLOR: __, ...env } = plainEnv({ TERM: 'xterm' })
  const coloured = (text: string) => text !== stripVTControlCharacters(text)
  for (const args of [['doctor'], ['env', '--list']]) {
    const command = [node, cli, ...args]
    const piped = (more: NodeJS.ProcessEnv) =>
      spawnSync(node, [cli, ...args], { encoding: 'utf8', cwd: root, env: { ...env, ...more } }).stdout
    t.true(coloured(inTerminal(command).output), 'a terminal')
    t.false(coloured(piped({ CI: 'true' })), 'a pipe, also where tests run')
    t.true(coloured(piped({ FORCE_COLOR: '1' })))
    t.false(coloured(inTerminal(['env', 'NO_COLOR=1', ...command]).output))
    t.false(coloured(inTerminal(['env', 'TERM=dumb', ...command]).output))
  }
})

test('a_reader_that_leaves_is_no_fault', (t) => {
  const shell = `"${node}" "${cli}" top $$ --json --interval 50ms | head -n 2 >/dev/null; echo "\${PIPESTATUS[0]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', shell], { encoding: 'utf8', env: plainEnv() })
  t.is(stdout, '0\n')
  t.is(stderr, '')
})

test('a_file_that_cannot_be_written_is_1', (t) => {
  const { stderr, status } = tessalloc([
    'report',
    '--for',
    '10ms',
    '--html',
    '/no/such/folder/x.html',
    `${process.pid}`,
  ])
  t.is(status, 1)
  t.regex(stderr, /^tessalloc: Cannot use \/no\/such\/folder\/x\.html: ENOENT.*\n$/)
})

test('wrong_usage_is_2_and_help_is_0', (t) => {
  for (const args of [
    ['bogus'],
    ['run'],
    ['run', '--bogus'],
    ['env', '--sh', '--json'],
    ['env', '--list', '--docker'],
    ['path', '--static', '--json'],
    ['path', 'more'],
    ['run', '--purge-delay', 'soon', '--', 'true'],
    ['doctor', '--bogus'],
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

/** What the command line says where Node.js takes this for another system. */
function elsewhere(system: string, ...args: readonly string[]) {
  const pretend = `data:text/javascript,Object.defineProperty(process, 'platform', { value: '${system}' })`
  const line = ['--import', pretend, cli, ...args]
  return spawnSync(node, line, { encoding: 'utf8', env: plainEnv(), cwd: root })
}

for (const [system, reason, ...args] of [
  ['win32', 'Windows has no preloading', 'run', '--', 'node'],
  ['win32', 'Windows has no preloading', 'path'],
  ['darwin', 'the library for it was never run. To try it, install @tessalloc/binding-darwin-', 'run', '--', 'node'],
  ['darwin', 'the library for it was never run', 'env', '--docker'],
  ['freebsd', 'the library for it was never run', 'path', '--static'],
  ['aix', 'tessalloc was not made for it', 'env', '--json'],
] as const) {
  test(`${args[0]}_on_${system}_says_why_there_is_none`, (t) => {
    const { status, stdout, stderr } = elsewhere(system, ...args)
    t.is(status, 3)
    t.is(stdout, '')
    t.true(stderr.startsWith(`tessalloc: Cannot preload an allocator on ${system}: ${reason}`), stderr)
    t.regex(stderr, /Whole programs run on tessalloc on Linux; arenas, heaps and pools work here\n$/)
  })
}

test('doctor_without_preloading_looks_at_the_add_on_alone', (t) => {
  const { status, stdout } = elsewhere('darwin', 'doctor')
  t.is(status, 3)
  t.regex(stdout, /^ok +version .* darwin-/m)
  // What else it says depends on whether this checkout holds one for macOS.
  t.regex(stdout, /^FAIL +add-on +Cannot load .*tessalloc/m)
  t.regex(stdout, /^FAIL +preload library .*DYLD_INSERT_LIBRARIES/m)
})
