// `tessalloc doctor`: every way in which a preload is lost is provoked, and told by its name.
// One after the other: each starts programs, and waits for them by the clock.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Finding } from '../src/cli/doctor/finding.ts'
import { libraryFaults, thisProgram } from '../src/cli/doctor/preload.ts'
import { asleep, cli, library, plainEnv, root, tessalloc } from './helpers.ts'

const node = process.execPath
const isRoot = process.getuid?.() === 0
const nobody = 65534
const sleep = realpathSync('/bin/sleep')
const libm = ['/lib/x86_64-linux-gnu/libm.so.6', '/usr/lib64/libm.so.6'].find((path) => existsSync(path)) ?? ''

/** A folder that all users may look into, as those of real installations. */
function temporaryFolder(t: ExecutionContext, name = 'tessalloc-test-'): string {
  const folder = mkdtempSync(join(tmpdir(), name))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Diagnosis {
  readonly status: number | null
  readonly findings: readonly Finding[]
}

/** By default from a folder with nothing in it that doctor looks for, as the checkout has sharp. */
function diagnose(args: readonly string[], env: NodeJS.ProcessEnv = {}, launcher = cli, cwd = tmpdir()): Diagnosis {
  const { stdout, stderr, status } = spawnSync(node, [launcher, 'doctor', '--json', ...args], {
    encoding: 'utf8',
    env: plainEnv(env),
    cwd,
  })
  if (stdout === '') throw new Error(`doctor ended with ${status}: ${stderr}`)
  return { status, findings: JSON.parse(stdout) as Finding[] }
}

/** The one finding that failed, or the one warning if none did. */
function only(t: ExecutionContext, { findings, status }: Diagnosis, state: 'failed' | 'warning' = 'failed'): Finding {
  const bad = findings.filter((finding) => finding.state === state)
  t.is(bad.length, 1, JSON.stringify(findings, null, 1))
  t.is(status, state === 'failed' ? 1 : 0)
  t.true((bad[0]?.todo ?? '') !== '', 'says what to do')
  return bad[0] as Finding
}

/** Starts a program that stays, and waits until it is the one that was meant. */
async function started(
  t: ExecutionContext,
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
  uid?: number,
): Promise<ChildProcess> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { env: plainEnv(env), stdio: 'ignore', ...(uid === undefined ? {} : { uid }) })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  await asleep(child.pid, program.endsWith('program') ? 'program' : 'sleep')
  return child
}

/** Compiles C, or leaves the test out where there is no compiler. */
function compile(t: ExecutionContext, code: string, ...options: string[]): string | undefined {
  const folder = temporaryFolder(t)
  const [source, program] = [join(folder, 'program.c'), join(folder, 'program')]
  writeFileSync(source, code)
  const { status, error, stderr } = spawnSync('cc', [source, '-o', program, ...options], { encoding: 'utf8' })
  if (status === 0) return program
  t.log(`left out: cc ${options.join(' ')}: ${error?.message ?? stderr}`)
  t.not(process.env.CI, 'true', 'CI has a compiler')
  return undefined
}

const staying = '#include <unistd.h>\nint main(void) { sleep(600); return 0; }\n'

/** A copy of a file with some bytes replaced. */
function patched(t: ExecutionContext, from: string, name: string, change: (bytes: Buffer) => void): string {
  const to = join(temporaryFolder(t), name)
  const bytes = readFileSync(from)
  change(bytes)
  writeFileSync(to, bytes, { mode: 0o755 })
  return to
}

const arm64 = 183
const toArm64 = (bytes: Buffer) => bytes.writeUInt16LE(arm64, 18)

test.serial('doctor_here_finds_nothing_wrong', (t) => {
  const { findings, status } = diagnose([])
  t.deepEqual(
    findings.filter((finding) => finding.state === 'failed'),
    [],
  )
  t.true(findings.some(({ id, detail }) => id === 'library' && detail === library))
  t.true(findings.some(({ id }) => id === 'memory'))
  t.is(status, 0)
})

test.serial('doctor_in_words_has_a_line_for_each_finding_and_what_to_do', (t) => {
  const { stdout, status } = tessalloc(['doctor', '--', 'env', '-i', 'node'])
  t.is(status, 1)
  t.regex(stdout, /^ok {4}version/m)
  t.regex(stdout, /^FAIL {2}program .*\n +→ put "tessalloc run --" behind env/m)
})

test.serial('doctor_of_a_process_that_runs_on_tessalloc', async (t) => {
  const child = await started(t, [sleep, '600'], { LD_PRELOAD: library })
  const { findings, status } = diagnose([`${child.pid}`])
  t.true(findings.some(({ id, detail }) => id === 'loaded' && detail.startsWith('sleep, ')))
  t.is(status, 0)
  const here = diagnose([], { LD_PRELOAD: library })
  t.true(here.findings.some(({ id, what }) => id === 'loaded' && what === 'this process'))
  t.is(here.status, 0)
})

test.serial('doctor_of_a_process_that_nobody_asked_to', async (t) => {
  const child = await started(t, [sleep, '600'])
  t.is(only(t, diagnose([`${child.pid}`])).id, 'not-asked')
})

test.serial('doctor_names_who_dropped_the_variable', async (t) => {
  const parent = await started(t, ['sh', '-c', 'env -i sleep 600 & wait'], { LD_PRELOAD: library })
  const finding = only(t, diagnose([`${parent.pid}`]))
  t.is(finding.id, 'dropped')
  t.regex(finding.detail, new RegExp(`its parent sh \\(${parent.pid}\\) has LD_PRELOAD and started it without`))
  for (const args of [
    ['env', '-i', 'node'],
    ['env', '-', 'node'],
    ['env', '-u', 'LD_PRELOAD', 'node'],
    ['env', '--ignore-environment', 'node'],
  ]) {
    t.is(only(t, diagnose(['--', ...args])).id, 'dropped', args.join(' '))
  }
  t.is(diagnose(['--', 'env', 'A=-i', 'node', '-i']).status, 0, 'not an option of env')
  spawnSync('pkill', ['-P', `${parent.pid}`])
})

test.serial('doctor_of_a_static_program', async (t) => {
  const program = compile(t, staying, '-static')
  if (program === undefined) return
  t.is(only(t, diagnose(['--', program])).id, 'static')
  const child = await started(t, [program], { LD_PRELOAD: library })
  t.is(only(t, diagnose([`${child.pid}`])).id, 'static')
})

test.serial('doctor_of_a_setuid_program', async (t) => {
  const program = join(temporaryFolder(t), 'sleep')
  copyFileSync(sleep, program)
  chmodSync(program, 0o4755)
  t.is(only(t, diagnose(['--', program])).id, 'secure')
  if (!isRoot) return t.log('the process is left out: only root starts programs as somebody else')
  const child = await started(t, [program, '600'], { LD_PRELOAD: library }, nobody)
  t.is(only(t, diagnose([`${child.pid}`])).id, 'secure')
})

test.serial('doctor_of_a_program_with_file_capabilities', async (t) => {
  const program = join(temporaryFolder(t), 'sleep')
  copyFileSync(sleep, program)
  chmodSync(program, 0o755)
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
  if (spawnSync('setcap', ['cap_net_raw+ep', program], { env }).status !== 0)
    return t.pass('setcap is not possible here')
  t.is(only(t, diagnose(['--', program])).id, 'secure')
  const child = await started(t, [program, '600'], { LD_PRELOAD: library }, nobody)
  t.is(only(t, diagnose([`${child.pid}`])).id, 'secure')
})

test.serial('doctor_of_programs_for_another_machine_or_musl', (t) => {
  t.is(only(t, diagnose(['--', patched(t, sleep, 'sleep', toArm64)])).id, 'arch')
  const ofMusl = patched(t, sleep, 'sleep', (bytes) => {
    const at = bytes.indexOf('/lib64/ld-linux')
    bytes.write('/lib/ld-musl-x86_64.so.1\0', at, 'latin1')
  })
  t.is(only(t, diagnose(['--', ofMusl])).id, 'musl')
})

test('doctor_of_a_library_for_the_other_libc', (t) => {
  const ofMusl = patched(t, library, 'libtessalloc.so', (bytes) => {
    bytes.write('libc.so\0', bytes.indexOf('libc.so.6\0'), 'latin1')
  })
  // No program starts with it, so nothing can be started that has it.
  const [fault] = libraryFaults('program', ofMusl, thisProgram)
  t.is(fault?.id, 'musl')
  t.regex(fault?.detail ?? '', /the program uses glibc, the library is for musl/)
})

test.serial('doctor_of_scripts_leads_to_what_runs_them', (t) => {
  const { findings } = diagnose(['--', cli])
  t.deepEqual(
    findings.slice(-2).map(({ id }) => id),
    ['script', 'program'],
  )
  const script = join(temporaryFolder(t), 'script')
  writeFileSync(script, '#!/no/such/interpreter -x\n', { mode: 0o755 })
  t.is(only(t, diagnose(['--', script])).id, 'no-program')
  writeFileSync(script, 'no program at all, but executable', { mode: 0o755 })
  t.is(only(t, diagnose(['--', script])).id, 'no-program')
})

test.serial('doctor_warns_of_programs_that_start_others_elsewhere', (t) => {
  const docker = join(temporaryFolder(t), 'docker')
  copyFileSync(sleep, docker)
  chmodSync(docker, 0o755)
  t.is(only(t, diagnose(['--', docker, 'run', 'x']), 'warning').id, 'dropped')
})

test.serial('doctor_of_files_that_the_loader_does_not_take', async (t) => {
  const missing = '/no/such/folder/libtessalloc.so'
  const foreign = patched(t, library, 'libtessalloc.so', toArm64)
  const noElf = patched(t, library, 'libtessalloc.so', (bytes) => bytes.fill(0))
  for (const [path, id] of [
    [missing, 'library-missing'],
    [foreign, 'library-arch'],
    [noElf, 'library-arch'],
  ] as const) {
    const child = await started(t, [sleep, '600'], { LD_PRELOAD: path })
    t.is(only(t, diagnose([`${child.pid}`])).id, id)
    t.is(only(t, diagnose([], { LD_PRELOAD: path })).id, id)
  }
})

test.serial('doctor_of_a_file_that_only_some_can_read', async (t) => {
  const folder = temporaryFolder(t)
  const copy = join(folder, 'libtessalloc.so')
  copyFileSync(library, copy)
  chmodSync(copy, 0o600)
  t.is(only(t, diagnose([], { LD_PRELOAD: copy }), 'warning').id, 'library-private')
  chmodSync(copy, 0o644)
  chmodSync(folder, 0o700)
  t.is(only(t, diagnose([], { LD_PRELOAD: copy }), 'warning').id, 'library-private')
})

test.serial('doctor_of_a_file_on_a_noexec_file_system', (t) => {
  const folder = temporaryFolder(t)
  // A mount of its own, that nobody else sees and that ends with the shell.
  const shell = `mount -t tmpfs -o noexec tmpfs "$1" && cp "$2" "$1/libtessalloc.so" || exit 77
export LD_PRELOAD="$1/libtessalloc.so"; sleep 600 & LD_PRELOAD=
until grep -q sleep /proc/$!/comm && grep -q "^State:.S" /proc/$!/status; do sleep 0.1; done
"$3" "$4" doctor --json $!; echo "next"; LD_PRELOAD="$1/libtessalloc.so" "$3" "$4" doctor --json; kill $!`
  const run = spawnSync('unshare', ['-m', 'sh', '-c', shell, 'sh', folder, library, node, cli], {
    encoding: 'utf8',
    env: plainEnv(),
  })
  if (run.error || run.status === 77 || run.stdout === '') {
    return t.pass(`left out: ${run.error?.message ?? run.stderr}`)
  }
  for (const part of run.stdout.split('next\n')) {
    const bad = (JSON.parse(part) as Finding[]).filter((finding) => finding.state === 'failed')
    t.deepEqual(
      bad.map(({ id }) => id),
      ['library-noexec'],
    )
  }
})

test.serial('doctor_of_a_library_that_was_replaced', async (t) => {
  const copy = join(temporaryFolder(t), 'libtessalloc.so')
  copyFileSync(library, copy)
  const child = await started(t, [sleep, '600'], { LD_PRELOAD: copy })
  rmSync(copy)
  t.is(only(t, diagnose([`${child.pid}`]), 'warning').id, 'library-deleted')
})

test.serial('doctor_of_another_allocator_that_comes_first', async (t) => {
  const code = 'extern void *__libc_malloc(unsigned long); void *malloc(unsigned long n) { return __libc_malloc(n); }\n'
  const other = compile(t, code, '-shared', '-fPIC')
  if (other === undefined) return
  const list = `${other}:${library}`
  const child = await started(t, [sleep, '600'], { LD_PRELOAD: list })
  t.is(only(t, diagnose([`${child.pid}`])).id, 'other-first')
  t.is(only(t, diagnose([], { LD_PRELOAD: list })).id, 'other-first')
  const behind = await started(t, [sleep, '600'], { LD_PRELOAD: `${library}:${other}` })
  t.is(diagnose([`${behind.pid}`]).status, 0)
})

test.serial('doctor_of_a_program_with_a_malloc_of_its_own', async (t) => {
  const code = `${staying}extern void *__libc_malloc(unsigned long); void *malloc(unsigned long n) { return __libc_malloc(n); }\n`
  const program = compile(t, code, '-rdynamic')
  if (program === undefined) return
  t.is(only(t, diagnose(['--', program])).id, 'own-malloc')
  const child = await started(t, [program], { LD_PRELOAD: library })
  t.is(only(t, diagnose([`${child.pid}`])).id, 'own-malloc')
})

test.serial('doctor_tells_of_the_machine_and_the_container', (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'overcommit'), '2\n')
  writeFileSync(join(folder, 'huge-pages'), '[always] madvise never\n')
  // Files of the kernel as another machine would have them, for this shell alone.
  const shell = `cd "$1" && mount --bind overcommit /proc/sys/vm/overcommit_memory || exit 77
mount --bind huge-pages /sys/kernel/mm/transparent_hugepage/enabled || exit 77
mount -t tmpfs tmpfs /sys/fs/cgroup && echo 536870912 > /sys/fs/cgroup/memory.max || exit 77
exec "$2" "$3" doctor --json`
  const run = spawnSync('unshare', ['-m', 'sh', '-c', shell, 'sh', folder, node, cli], {
    encoding: 'utf8',
    env: plainEnv(),
  })
  if (run.error || run.status === 77 || run.stdout === '') {
    return t.pass(`left out: ${run.error?.message ?? run.stderr}`)
  }
  const findings = JSON.parse(run.stdout) as Finding[]
  const detail = (id: string) => findings.find((finding) => finding.id === id)?.detail ?? ''
  t.is(only(t, { status: run.status, findings }, 'warning').id, 'overcommit')
  t.regex(detail('huge-pages'), /transparent huge pages: always; tessalloc keeps its memory out of them/)
  t.regex(detail('memory'), /^container limit 537 MB of/)
})

test.serial('doctor_as_somebody_else_says_what_it_may_not_see', async (t) => {
  const copy = join(temporaryFolder(t), 'libtessalloc.so')
  copyFileSync(library, copy)
  chmodSync(copy, 0o600)
  const child = await started(t, [sleep, '600'])
  const ask = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    spawnSync(node, [cli, ...args], { encoding: 'utf8', env: plainEnv(env), cwd: '/', uid: nobody, gid: nobody })
  if (!isRoot || ask(['--version']).status !== 0) return t.pass('left out: nobody may not read this checkout')
  const findings = (run: ReturnType<typeof ask>) => ({
    status: run.status,
    findings: JSON.parse(run.stdout) as Finding[],
  })
  t.is(only(t, findings(ask(['doctor', '--json', `${child.pid}`])), 'warning').id, 'unreadable')
  t.is(only(t, findings(ask(['doctor', '--json'], { LD_PRELOAD: copy }))).id, 'library-unreadable')
  const look = ask(['top', `${child.pid}`])
  t.is(look.status, 2)
  t.regex(look.stderr, /mappings cannot be read \(another user's\?\)/)
})

test.serial('doctor_of_limited_address_space', async (t) => {
  const child = await started(t, ['sh', '-c', 'ulimit -v 8000000; exec sleep 600'], { LD_PRELOAD: library })
  const { findings } = diagnose([`${child.pid}`])
  t.deepEqual(
    findings.filter(({ state }) => state === 'warning').map(({ id }) => id),
    ['address-space'],
  )
  t.regex(findings.find(({ id }) => id === 'address-space')?.detail ?? '', /limited to 8192 MB/)
})

test.serial('doctor_of_sharp_on_one_core', async (t) => {
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'node_modules', 'sharp'), { recursive: true })
  writeFileSync(join(folder, 'node_modules', 'sharp', 'index.js'), '')
  t.is(only(t, diagnose([], { LD_PRELOAD: library }, cli, folder), 'warning').id, 'sharp')
  const isQuiet = ({ findings }: Diagnosis) => findings.every(({ state }) => state === 'ok')
  t.true(isQuiet(diagnose([], { LD_PRELOAD: library, MALLOC_ARENA_MAX: '2' }, cli, folder)))
  t.true(isQuiet(diagnose([], {}, cli, folder)))

  const vips = join(folder, 'libvips-cpp.so.42')
  copyFileSync(libm, vips)
  const child = await started(t, [sleep, '600'], { LD_PRELOAD: `${library}:${vips}` })
  t.is(only(t, diagnose([`${child.pid}`]), 'warning').id, 'sharp')
})

/** A copy of the package in another folder. */
function packageIn(folder: string): string {
  for (const part of ['dist', 'npm', 'package.json']) cpSync(join(root, part), join(folder, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  return join(folder, 'dist', 'cli.js')
}

test.serial('doctor_of_an_installation_whose_path_has_a_blank', (t) => {
  const folder = temporaryFolder(t, 'tessalloc test-')
  const launcher = packageIn(folder)
  t.is(only(t, diagnose([], {}, launcher)).id, 'library-path')
  const run = (...args: string[]) => spawnSync(node, [launcher, ...args], { encoding: 'utf8', env: plainEnv() })
  t.is(run('run', '--', 'true').status, 3)
  t.regex(run('run', '--', 'true').stderr, /takes blanks and colons for separators/)
  t.is(run('path').stdout, `${join(folder, 'npm', 'linux-x64-gnu', 'libtessalloc.so')}\n`)
})

test.serial('doctor_of_an_incomplete_installation', (t) => {
  const folder = temporaryFolder(t)
  const launcher = packageIn(folder)
  const binaries = join(folder, 'npm', 'linux-x64-gnu')
  rmSync(join(binaries, 'libtessalloc.so'))
  t.is(only(t, diagnose([], {}, launcher)).id, 'library-missing')
  const run = (...args: string[]) => spawnSync(node, [launcher, ...args], { encoding: 'utf8', env: plainEnv() })
  for (const args of [['run', '--', 'true'], ['env'], ['path'], ['report', '--', 'true']]) {
    t.is(run(...args).status, 3, args.join(' '))
  }
  copyFileSync(library, join(binaries, 'libtessalloc.so'))
  writeFileSync(join(binaries, 'tessalloc.linux-x64-gnu.node'), 'no add-on')
  t.is(only(t, diagnose([], {}, launcher)).id, 'add-on')
})

test.serial('doctor_of_what_is_not_there_is_2', (t) => {
  for (const args of [['--', 'no-such-command-here'], ['999999999']]) t.is(tessalloc(['doctor', ...args]).status, 2)
})

test('the_guide_has_each_finding', (t) => {
  const source = readFileSync(join(root, 'src', 'cli', 'doctor', 'finding.ts'), 'utf8')
  const ids = [...source.matchAll(/^ {2}\| '([\w-]+)'$/gm)].map((match) => match[1])
  t.true(ids.length >= 25)
  const guide = readFileSync(join(root, 'docs', 'cli.md'), 'utf8')
  t.deepEqual(
    ids.filter((id) => !guide.includes(`\`${id}\``)),
    [],
  )
})
