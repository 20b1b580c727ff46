// `tessalloc run`: what the program gets, and that no launcher stays beside it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { cli, library, plainEnv, root, tessalloc } from './helpers.ts'

const node = process.execPath
const allocator = `console.log(require('tessalloc').status().active)`

/** A copy of the package whose add-on cannot be loaded: there `run` keeps the launcher. */
function packageWithoutAddon(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const part of ['dist', 'npm', 'package.json']) cpSync(join(root, part), join(folder, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'npm', 'linux-x64-gnu', 'tessalloc.linux-x64-gnu.node'), 'no add-on')
  return join(folder, 'dist', 'cli.js')
}

/** Starts `run` with a command that says when it is ready. */
async function started(launcher: string, script: string): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(node, [launcher, 'run', '--', node, '-e', script], {
    env: plainEnv(),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [data] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer]
  return { child, said: data.toString().trim() }
}

test('run_is_replaced_by_the_command', async (t) => {
  const script = `process.on('SIGTERM', () => process.exit(5)); console.log(process.pid); setTimeout(() => {}, 60000)`
  const { child, said } = await started(cli, script)
  t.is(said, `${child.pid}`, 'one process')
  child.kill('SIGTERM')
  t.deepEqual(await once(child, 'exit'), [5, null])
})

test('run_stays_as_a_parent_where_the_add_on_cannot_be_loaded', async (t) => {
  const launcher = packageWithoutAddon(t)
  const script = `process.on('SIGTERM', () => process.exit(5)); console.log(process.pid); setTimeout(() => {}, 60000)`
  const { child, said } = await started(launcher, script)
  t.not(said, `${child.pid}`)
  child.kill('SIGTERM')
  t.deepEqual(await once(child, 'exit'), [5, null], 'the signal and the exit code are passed on')

  const run = (...command: string[]) =>
    spawnSync(node, [launcher, 'run', '--verbose', '--', ...command], { encoding: 'utf8', env: plainEnv() })
  t.is(run('sh', '-c', 'kill -TERM $$').signal, 'SIGTERM')
  t.is(run('sh', '-c', 'exit 42').status, 42)
  t.is(run('no-such-command-here').status, 127)
  t.regex(run('true').stderr, /runs it as a child/)
})

test('run_hands_on_default_signals_and_blocking_descriptors', (t) => {
  const { stdout } = tessalloc(['run', '--', 'sh', '-c', 'grep SigIgn /proc/$$/status; grep flags /proc/$$/fdinfo/1'])
  const [ignored, flags] = [/SigIgn:\s+(\w+)/, /flags:\s+(\d+)/].map((pattern) => pattern.exec(stdout)?.[1] ?? '')
  t.is(Number.parseInt(ignored ?? '', 16), 0, 'Node.js ignores SIGPIPE, the command does not')
  t.is(Number.parseInt(flags ?? '', 8) & 0o4000, 0)
})

test('run_hands_on_the_sockets_of_systemd', (t) => {
  const shell = (pid: string) =>
    spawnSync(
      'sh',
      ['-c', `LISTEN_PID=${pid} LISTEN_FDS=1 exec "${node}" "${cli}" run -- sh -c 'cat <&3' 3<"${root}/package.json"`],
      { encoding: 'utf8', env: plainEnv() },
    )
  t.regex(shell('$$').stdout, /"name": "tessalloc"/)
  t.is(shell('1').stdout, '', "another process's")
})

test('run_verbose_says_what_is_set', (t) => {
  const say = (env: NodeJS.ProcessEnv) => tessalloc(['run', '--verbose', '--', 'true'], env).stderr
  t.is(
    say({}),
    `tessalloc: LD_PRELOAD=${library}\ntessalloc: MALLOC_ARENA_MAX=2  (was not set; tells sharp to use all cores)\ntessalloc: runs true\n`,
  )
  t.regex(say({ MALLOC_ARENA_MAX: '4' }), /MALLOC_ARENA_MAX=4 {2}\(as it was\)/)
})

test('run_preloads_the_command', (t) => {
  const { stdout, status } = tessalloc(['run', '--', node, '-e', allocator])
  t.is(stdout.trim(), 'preload')
  t.is(status, 0)
})

test('run_reaches_children_of_the_command', (t) => {
  const { stdout } = tessalloc(['run', '--', 'sh', '-c', `"${node}" -e "${allocator}"; true`])
  t.is(stdout.trim(), 'preload')
})

test('run_passes_the_exit_code_through', (t) => {
  for (const code of [0, 1, 2, 3, 42]) t.is(tessalloc(['run', '--', node, '-e', `process.exit(${code})`]).status, code)
})

test('run_dies_of_the_signal_that_ended_the_command', (t) => {
  t.is(tessalloc(['run', '--', 'sh', '-c', 'kill -TERM $$']).signal, 'SIGTERM')
})

test('run_of_what_does_not_exist_is_127_and_of_what_is_no_program_126', (t) => {
  const missing = tessalloc(['run', '--', 'no-such-command-here'])
  t.is(missing.status, 127)
  t.regex(missing.stderr, /^tessalloc: Cannot run no-such-command-here: no such command/)
  t.is(tessalloc(['run', '--', '/etc/passwd']).status, 126)
})

test('run_keeps_arguments_as_they_are', (t) => {
  const args = ['--stats', '-h', 'two words', '--', '']
  const { stdout } = tessalloc([
    'run',
    '--',
    node,
    '-e',
    'console.log(JSON.stringify(process.argv.slice(1)))',
    '--',
    ...args,
  ])
  t.deepEqual(JSON.parse(stdout), args)
})

test('run_sets_the_variables_and_keeps_what_is_preloaded_already', (t) => {
  const print =
    'const e = process.env; console.log(JSON.stringify([e.LD_PRELOAD, e.MALLOC_ARENA_MAX, e.TESSALLOC_PURGE_DELAY]))'
  const ask = (env: NodeJS.ProcessEnv, ...options: string[]) =>
    JSON.parse(tessalloc(['run', ...options, '--', node, '-e', print], env).stdout) as unknown
  t.deepEqual(ask({}, '--purge-delay', '1.5s'), [library, '2', '1500'])
  const libm = ['/lib/x86_64-linux-gnu/libm.so.6', '/usr/lib64/libm.so.6'].find((path) => existsSync(path)) ?? ''
  t.deepEqual(ask({ LD_PRELOAD: libm, MALLOC_ARENA_MAX: '7' }), [`${library}:${libm}`, '7', null])
  t.deepEqual(ask({ LD_PRELOAD: library }), [library, '2', null], 'not twice')
})
