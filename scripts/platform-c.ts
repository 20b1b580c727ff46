/**
 * Runs C programs of the test suite on the preload library of a Linux platform: the malloc family to the letter, threads that come and go,
 * forks, heaps. zig compiles them for it; the loader of its C library runs them, with qemu where the processor is another.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Platform } from '../src/platforms.ts'
import { cache, emulated, muslLoaders, python } from './cross-tools.ts'
import { CommandError, root, run } from './lib.ts'

const sources = join(root, 'crates', 'tessalloc-c', 'tests', 'c')
/** Those that need nothing but a shell that starts them; all end by saying `ok`. */
const programs = ['standards', 'alloc', 'guarded', 'heap', 'walk'] as const
/**
 * Those for which qemu 7.2 is not up to it: it crashes in the child of a process with threads, takes MADV_DONTNEED_LOCKED for a hint
 * that it may ignore, and keeps memory of ended threads.
 */
const notByQemu = ['fork', 'locked', 'thread_churn'] as const

/** The programs use more of glibc than the library does. */
const glibcOfPrograms = '2.34'

/** A way to run a program on the library: what zig links it with, and what starts it. */
interface Way {
  readonly how: 'preloaded' | 'static'
  readonly target: string
  readonly link: readonly string[]
  readonly start: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** The ways on a Linux platform, whose libraries lie in `folder`. zig links programs statically with musl only. */
function waysOf(name: string, folder: string): Way[] {
  const [, processor, libc] = name.split('-')
  const isMusl = libc === 'musl'
  const machine = processor === 'arm64' ? 'aarch64' : 'x86_64'
  const target = `${machine}-linux-${isMusl ? 'musl' : `gnu.${glibcOfPrograms}`}`
  const library = join(folder, 'libtessalloc.so')
  const loader = isMusl ? [muslLoaders[machine], '--preload', library] : []
  const preload: Readonly<Record<string, string>> = isMusl ? {} : { LD_PRELOAD: library }
  // qemu is a program of this system: what the emulated one is to see is handed to it by name.
  const emulator = (env: Readonly<Record<string, string>>) => [
    'qemu-aarch64',
    '-L',
    '/usr/aarch64-linux-gnu',
    ...Object.entries({ ...emulated, ...env }).flatMap(([key, value]) => ['-E', `${key}=${value}`]),
  ]
  const isEmulated = machine === 'aarch64'
  const ways: Way[] = [
    {
      how: 'preloaded',
      target,
      link: ['-dynamic', library],
      start: [...(isEmulated ? emulator(preload) : []), ...loader],
      env: { LD_LIBRARY_PATH: folder, ...(isEmulated ? {} : preload) },
    },
  ]
  if (isMusl) {
    const link = ['-static', join(folder, 'libtessalloc.a')]
    ways.push({ how: 'static', target, link, start: isEmulated ? emulator({}) : [], env: {} })
  }
  return ways
}

/** How many programs ran on the platform's libraries; 0 where there are none. Throws a `CommandError` with what one said that failed. */
export function runPrograms({ name, files }: Platform): number {
  if (!name.startsWith('linux') || !files.includes('libtessalloc.so')) return 0
  const ways = waysOf(name, join(root, 'npm', name))
  for (const way of ways) for (const program of programsOf(name)) runProgram(name, program, way)
  return ways.length * programsOf(name).length
}

function programsOf(name: string): readonly string[] {
  return name.includes('arm64') ? programs : [...programs, ...notByQemu]
}

function runProgram(name: string, program: string, { how, target, link, start, env }: Way): void {
  const folder = join(cache, 'programs', name, how)
  mkdirSync(folder, { recursive: true })
  const out = join(folder, program)
  // A compiler that knows malloc may leave calls out.
  const flags = ['-O1', '-fno-builtin', '-w', `-I${join(sources, '..', '..', 'include')}`]
  const line = ['cc', '-target', target, ...flags, '-o', out, join(sources, `${program}.c`), ...link]
  run(join(python, 'python-zig'), line)
  const [command = out, ...args] = [...start, out]
  const { status, signal, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    cwd: folder,
    env: { PATH: process.env.PATH, ...env },
    timeout: 300_000,
  })
  if (status === 0 && /^ok$/m.test(stdout)) return
  throw new CommandError(`On ${name} ${program}.c, ${how}, ended with ${signal ?? status}:\n${stdout}${stderr}`)
}
