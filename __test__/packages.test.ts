// The packages as they are published, installed by npm into an empty project, and used there by a Node that knows nothing of the
// checkout, with no Rust on its PATH.
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import test from 'ava'
import { platforms } from '../src/platforms.ts'
import { packageVersion } from '../src/version.ts'
import { plainEnv, root } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'tessalloc-packages-'))
const out = join(folder, 'packed')
const project = join(folder, 'project')

/**
 * Milliseconds until a command must have said something: of processor time, since the machine may be busy with other tests. Where
 * it is not, no more than that passes.
 */
const firstOutputMsMax = 2000

function script(name: string, ...args: readonly string[]): SpawnSyncReturns<string> {
  const line = ['--import', '@oxc-node/core/register', join(root, 'scripts', `${name}.ts`), ...args]
  const env = plainEnv({ OXC_TSCONFIG_PATH: join(root, 'tsconfig.json') })
  return spawnSync(process.execPath, line, { encoding: 'utf8', cwd: root, env })
}

/** The environment in the project: Node, npm and the system's own programs, no Rust. */
function projectEnv(): NodeJS.ProcessEnv {
  const tools = join(folder, 'bin')
  const path = [tools, '/usr/bin', '/bin'].filter((each) => !existsSync(join(each, 'cargo'))).join(delimiter)
  // What npm tells its scripts is of the checkout, and npx would look there.
  const plain = Object.entries(plainEnv()).filter(([name]) => !/^npm_/i.test(name))
  return { ...Object.fromEntries(plain), PATH: path }
}

function inProject(command: string, ...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { encoding: 'utf8', cwd: project, env: projectEnv(), timeout: 600_000 })
}

test.before((t) => {
  t.timeout(600_000)
  const packed = script('packages', '--out', out)
  t.is(packed.status, 0, packed.stdout + packed.stderr)
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n')
  const npm = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' }).stdout.trim()
  mkdirSync(join(folder, 'bin'))
  symlinkSync(process.execPath, join(folder, 'bin', 'node'))
  for (const name of ['npm', 'npx']) symlinkSync(join(npm, 'npm', 'bin', `${name}-cli.js`), join(folder, 'bin', name))
  const tarballs = readdirSync(out).filter((name) => name.endsWith('.tgz'))
  const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs.map((name) => join(out, name))]
  const installed = inProject('npm', ...install)
  t.is(installed.status, 0, installed.stderr)
})

test.after.always(() => rmSync(folder, { recursive: true, force: true }))

test('installed_package_holds_what_is_published_and_nothing_of_the_checkout', (t) => {
  const installed = join(project, 'node_modules', 'tessalloc')
  t.deepEqual(readdirSync(installed).toSorted(), [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'dist',
    'package.json',
    'workloads',
  ])
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Record<string, unknown>
  t.deepEqual(manifest.optionalDependencies, { '@tessalloc/binding-linux-x64-gnu': packageVersion })
  t.is(manifest.scripts, undefined)
  t.is(manifest.devDependencies, undefined)
  const binaries = readdirSync(join(project, 'node_modules', '@tessalloc', 'binding-linux-x64-gnu')).toSorted()
  t.deepEqual(binaries, [
    'LICENSE',
    'libtessalloc.a',
    'libtessalloc.so',
    'package.json',
    'tessalloc.linux-x64-gnu.node',
  ])
})

test('installed_package_is_imported_and_required', (t) => {
  const show = `console.log(JSON.stringify([t.status().active, new t.Arena(64).alloc(8).length, t.memoryUsage().rss > 0]))`
  const imported = inProject('node', '--input-type=module', '-e', `import('tessalloc').then((t) => ${show})`)
  t.is(imported.stdout, '["addon",8,true]\n', imported.stderr)
  const required = inProject('node', '-e', `const t = require('tessalloc'); ${show}`)
  t.is(required.stdout, '["addon",8,true]\n', required.stderr)
})

test('installed_types_compile_strictly_without_skipping_libraries', (t) => {
  const use = [
    "import { Arena, type Status, TessallocError, status } from 'tessalloc'",
    'const view: Uint8Array = new Arena({ capacity: 64 }).alloc(8)',
    'export const all: [number, Status["active"], boolean] = [view.length, status().active, {} instanceof TessallocError]',
  ]
  writeFileSync(join(project, 'use.ts'), `${use.join('\n')}\n`)
  const options = [
    '--strict',
    '--noEmit',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
  ]
  const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules', '@types')]
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status, stdout } = inProject('node', tsc, ...options, ...types, 'use.ts')
  t.is(status, 0, stdout)
})

/** Milliseconds of processor time that the processes of a group, and those they waited for, have used. */
function groupMs(group: number): number {
  let ticks = 0
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let stat: string
    try {
      stat = readFileSync(join('/proc', name, 'stat'), 'utf8')
    } catch {
      continue
    }
    // Behind the name: state, parent, group, …, and from the twelfth on user and system time, ours and our children's.
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    if (fields[2] === group) ticks += fields.slice(11, 15).reduce((sum, each) => sum + each, 0)
  }
  // A tick is 10 ms on every Linux that Node.js runs on.
  return ticks * 10
}

/** Starts a command in the project, and answers what it took until it had said what is expected. It is ended then. */
async function saysAfter(
  expected: RegExp,
  [command, ...args]: readonly [string, ...string[]],
): Promise<{ cpuMs: number; wallMs: number }> {
  const start = performance.now()
  const child = spawn(command, args, {
    cwd: project,
    env: projectEnv(),
    detached: true,
  })
  const closed = once(child, 'close')
  let text = ''
  const took = await new Promise<{ cpuMs: number; wallMs: number }>((resolve, reject) => {
    const heard = (data: Buffer) => {
      text += data
      if (!expected.test(text)) return
      resolve({ cpuMs: groupMs(child.pid as number), wallMs: performance.now() - start })
    }
    child.stdout.on('data', heard)
    child.stderr.on('data', heard)
    closed.then(() => reject(new Error(`${[command, ...args].join(' ')} said: ${text}`)))
  })
  // It may have ended already.
  try {
    process.kill(-(child.pid as number), 'SIGTERM')
  } catch {}
  await closed
  return took
}

const npx = ['npx', '--no-install', 'tessalloc'] as const
const use = `import('tessalloc').then(({ Arena, status }) => console.log(status().active, new Arena(64).alloc(8).length))`

for (const [name, line, expected] of [
  ['command_line_help', [...npx, '--help'], /^Usage: tessalloc/m],
  ['command_line_compare', [...npx, 'compare', '--runs', '1'], /^run 1 of 1 on system/m],
  ['package_imported', ['node', '-e', use], /^addon 8$/m],
] as const) {
  test.serial(`installed_${name}_speaks_within_two_seconds`, async (t) => {
    const { cpuMs, wallMs } = await saysAfter(expected, line)
    t.log(`first output after ${cpuMs} ms of processor time, ${wallMs.toFixed(0)} ms of time`)
    t.true(cpuMs > 0 && cpuMs <= firstOutputMsMax)
  })
}

test.serial('installed_command_line_compares_a_program_on_both_allocators', (t) => {
  const { status, stdout, stderr } = inProject(
    'npx',
    '--no-install',
    'tessalloc',
    'compare',
    '--runs',
    '1',
    '--json',
    '--',
    'node',
    '-e',
    '0',
  )
  t.is(status, 0, stderr)
  const { results } = JSON.parse(stdout) as { results: { name: string; library: string | null; runs: unknown[] }[] }
  t.deepEqual(
    results.map(({ name, runs }) => [name, runs.length]),
    [
      ['system', 1],
      ['tessalloc', 1],
    ],
  )
  t.is(dirname(results[1]?.library ?? ''), join(project, 'node_modules', '@tessalloc', 'binding-linux-x64-gnu'))
})

test('manifests_of_all_platforms_can_be_made_without_their_binaries', (t) => {
  const made = join(folder, 'manifests')
  const { status, stderr } = script('packages', '--manifests', made)
  t.is(status, 0, stderr)
  t.deepEqual(readdirSync(made).toSorted(), platforms.map(({ name }) => name).toSorted())
  const musl = JSON.parse(readFileSync(join(made, 'linux-arm64-musl', 'package.json'), 'utf8')) as object
  t.like(musl, { name: '@tessalloc/binding-linux-arm64-musl', os: ['linux'], cpu: ['arm64'], libc: ['musl'] })
  for (const { name } of platforms) {
    t.deepEqual(readdirSync(join(made, name)), ['package.json'])
    const text = (folder: string) => readFileSync(join(folder, name, 'package.json'), 'utf8')
    t.is(text(join(root, 'npm')), text(made), 'as scripts/manifests.ts writes it: npm run packages -- --manifests npm')
  }
})
