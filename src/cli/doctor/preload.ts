// What can be wrong with a file in LD_PRELOAD, and with the list itself.
import { accessSync, constants, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, isAbsolute } from 'node:path'
import { inElf, type LibcName, machineName, machines } from '../../elf.ts'
import { libcOfNode } from '../../platforms.ts'
import { type Finding, failed, warning } from './finding.ts'

/** The files of LD_PRELOAD, in its order. The loader takes blanks for separators too. */
export function preloadList(text: string | undefined): string[] {
  return (text ?? '').split(/[: ]+/).filter((path) => path !== '')
}

/** Whether a path in LD_PRELOAD is that of our library. */
export const isOurs = (path: string): boolean => path.includes('libtessalloc')

/** Whether the file system that holds `path` lets no code be mapped, as the table of mounts of `pid` says. */
export function isOnNoexec(path: string, pid: number | 'self' = 'self'): boolean {
  let mounts: string
  try {
    mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
  } catch {
    return false
  }
  const found = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .map((fields) => ({ point: (fields[4] ?? '').replaceAll('\\040', ' '), options: (fields[5] ?? '').split(',') }))
    .filter(
      ({ point }) => point !== '' && (path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`)),
    )
  // The last of the deepest ones lies on top.
  const depth = Math.max(...found.map(({ point }) => point.length))
  return found.findLast(({ point }) => point.length === depth)?.options.includes('noexec') ?? false
}

/** Whether everyone may read the file and reach it. */
function isForAll(path: string): boolean {
  if ((statSync(path).mode & 0o004) === 0) return false
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false
  }
  return true
}

/** Whether a library at `path` defines `malloc`. */
export function definesMalloc(path: string): boolean {
  return inElf(path, (file) => file.isReadable && file.definition('malloc') !== undefined) ?? false
}

/**
 * What keeps the loader from taking the library at `path`, as a process with the root folder `root` sees it; nothing if all is
 * well. `machine` and `libc` are those of the program, `pid` its number if it runs.
 */
export function libraryFaults(
  what: string,
  path: string,
  program: ProgramKind,
  { root = '', pid = 'self' }: { readonly root?: string; readonly pid?: number | 'self' } = {},
): Finding[] {
  const seen = `${root}${path}`
  if (/[: ]/.test(path)) {
    return [
      failed(
        'library-path',
        what,
        `${path}: LD_PRELOAD takes blanks and colons for separators, so no path with one can be in it`,
        'install the package in a folder without blanks and colons, or link to the file from one',
      ),
    ]
  }
  try {
    statSync(seen)
  } catch {
    return [
      failed(
        'library-missing',
        what,
        `${path}: there is no such file; the loader goes on without it`,
        'ask "tessalloc path" for the path where the program runs: it differs between images and platforms',
      ),
    ]
  }
  try {
    accessSync(seen, constants.R_OK)
  } catch {
    return [failed('library-unreadable', what, `${path}: it cannot be read`, `make it readable: chmod a+r ${path}`)]
  }
  const elf = inElf(seen, (file) => ({ bits: file.bits, machine: file.machine, libc: file.libc }))
  if (elf === undefined || elf.bits !== 64 || elf.machine !== program.machine) {
    const is = elf === undefined ? 'no ELF file' : `for ${machineName(elf.machine)}`
    return [
      failed(
        'library-arch',
        what,
        `${path}: it is ${is}, the program is for ${machineName(program.machine)}`,
        'install the package where the program runs, not on another machine whose node_modules are copied',
      ),
    ]
  }
  if (elf.libc !== undefined && elf.libc !== program.libc) return [otherLibc(what, 'the program', program.libc)]
  if (isOnNoexec(root === '' ? realpathSync(seen) : path, pid)) {
    return [
      failed(
        'library-noexec',
        what,
        `${path}: its file system is mounted noexec, so the loader cannot map its code`,
        'put the library on another file system, or mount that one without noexec',
      ),
    ]
  }
  if (root === '' && !isForAll(path)) {
    return [
      warning(
        'library-private',
        what,
        `${path}: other users cannot read it, so what runs as another user goes on without it`,
        'install the package where all users can read it, such as /opt or /usr/local',
      ),
    ]
  }
  return []
}

/** A program on another C library than the preload library is for. */
export function otherLibc(what: string, path: string, libc: LibcName): Finding {
  return failed(
    'musl',
    what,
    libc === 'musl'
      ? `${path} uses musl (as on Alpine), the library is for glibc`
      : `${path} uses glibc, the library is for musl (as on Alpine)`,
    'install the package in the image that runs the program, and take its "tessalloc path" there',
  )
}

/** What of a program decides which libraries it takes. */
export interface ProgramKind {
  readonly machine: number
  readonly libc: LibcName
}

/** Whether something before our library in the list, or the program itself, defines `malloc`: then that one serves. */
export function whoIsFirst(what: string, list: readonly string[], program: string, root = ''): Finding[] {
  const at = list.findIndex(isOurs)
  const before = list.slice(0, Math.max(0, at)).find((path) => isAbsolute(path) && definesMalloc(`${root}${path}`))
  if (before !== undefined) {
    return [
      failed(
        'other-first',
        what,
        `${before} comes first in LD_PRELOAD and has a malloc of its own: that one is used`,
        'name libtessalloc.so first, or leave the other one out',
      ),
    ]
  }
  if (definesMalloc(`${root}${program}`)) {
    return [
      failed(
        'own-malloc',
        what,
        `${program} has a malloc of its own (linked into it): no preload takes its place`,
        'use a build of the program with the system’s malloc',
      ),
    ]
  }
  return []
}

/** The program that this is, as far as libraries care. */
export const thisProgram: ProgramKind = { machine: machines[process.arch] ?? 0, libc: libcOfNode() }

/** The faults of all of ours in `list`, and of their order. */
export function listFaults(what: string, list: readonly string[]): Finding[] {
  const faults = list.filter(isOurs).flatMap((path) => libraryFaults(what, path, thisProgram))
  return [...faults, ...whoIsFirst(what, list, process.execPath)]
}
