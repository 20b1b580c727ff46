// A program that is not running yet: could it be preloaded?
import { spawnSync } from 'node:child_process'
import { accessSync, closeSync, constants, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { ElfFile, machineName } from '../../elf.ts'
import { ExitError, exitCode } from '../exit.ts'
import { type Finding, failed, ok, warning } from './finding.ts'
import { definesMalloc, otherLibc, thisProgram, whoIsFirst } from './preload.ts'

const what = 'program'

/** Why a program takes no preload, whoever starts it. */
export const secureTodo =
  'start it as the user that it shall run as, without setuid, setgid and file capabilities; the loader clears LD_PRELOAD for those'

/** Findings about `command`: its program, and what it does to the environment. */
export function program(command: readonly string[]): Finding[] {
  const [name = '', ...args] = command
  const path = findProgram(name)
  if (path === undefined) throw new ExitError(exitCode.usage, `Cannot look at ${name}: no such command`)
  return [...dropping(name, args), ...file(path)]
}

/** Programs whose way of starting others drops variables. */
function dropping(name: string, args: readonly string[]): Finding[] {
  const end = args.findIndex((word) => !word.startsWith('-'))
  const options = end < 0 ? args : args.slice(0, end)
  const isEmptied = options.some((word) => word === '-' || word === '--ignore-environment' || /^-[a-z]*i/.test(word))
  const isUnset = args.some((word, i) => word === '-u' && args[i + 1] === 'LD_PRELOAD') || args.includes('-uLD_PRELOAD')
  if (basename(name) !== 'env' || !(isEmptied || isUnset)) return []
  return [
    failed(
      'dropped',
      what,
      `${name} starts what follows without LD_PRELOAD`,
      'put "tessalloc run --" behind env and its options, before the program',
    ),
  ]
}

function file(path: string): Finding[] {
  const interpreter = scriptInterpreter(path)
  if (interpreter !== undefined) {
    const found = findProgram(interpreter)
    const script = ok('script', what, `${path} is a script for ${interpreter}`)
    return found === undefined
      ? [
          script,
          failed('no-program', what, `${interpreter}: no such command`, `install ${interpreter}, or put it on PATH`),
        ]
      : [script, ...file(found)]
  }
  using elf = ElfFile.open(path)
  if (elf === undefined) {
    return [failed('no-program', what, `${path} is neither an ELF program nor a script`, 'name the program itself')]
  }
  if ((statSync(path).mode & 0o6000) !== 0) {
    return [failed('secure', what, `${path} is setuid or setgid: the loader ignores LD_PRELOAD`, secureTodo)]
  }
  if (hasCapabilities(path)) {
    return [failed('secure', what, `${path} has file capabilities: the loader ignores LD_PRELOAD`, secureTodo)]
  }
  if (elf.bits !== 64 || elf.machine !== thisProgram.machine) {
    return [
      failed(
        'arch',
        what,
        `${path} is a ${elf.bits}-bit program for ${machineName(elf.machine)}, the library is for ${machineName(thisProgram.machine)}`,
        'use a build of the program for this machine',
      ),
    ]
  }
  if (elf.interpreter === undefined) {
    return [
      failed(
        'static',
        what,
        `${path} is a static program: LD_PRELOAD has no effect`,
        'link it dynamically, or with libtessalloc.a (tessalloc path --static)',
      ),
    ]
  }
  if (elf.libc !== undefined && elf.libc !== thisProgram.libc) return [otherLibc(what, path, elf.libc)]
  if (definesMalloc(path)) return whoIsFirst(what, [], path)
  return [ok('program', what, `${path} can be preloaded`), ...launcher(path)]
}

/** Programs that start others elsewhere, with an environment of their own. */
function launcher(path: string): Finding[] {
  if (!/^(docker|podman|ssh|systemctl|systemd-run|kubectl)$/.test(basename(path))) return []
  return [
    warning(
      'dropped',
      what,
      `${basename(path)} starts programs elsewhere: they do not get this environment`,
      'set LD_PRELOAD where the program starts: tessalloc env --docker, --systemd',
    ),
  ]
}

/** File capabilities, if the tool that shows them is there. */
function hasCapabilities(path: string): boolean {
  // It lies where PATH leads root alone.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
  const { stdout } = spawnSync('getcap', [path], { encoding: 'utf8', env })
  return (stdout ?? '').trim() !== ''
}

/** The program that runs the script at `path`; `undefined` if it is no script. */
function scriptInterpreter(path: string): string | undefined {
  const head = Buffer.alloc(256)
  const file = openSync(path, 'r')
  try {
    readSync(file, head, 0, head.length, 0)
  } finally {
    closeSync(file)
  }
  const [first = ''] = head.toString('latin1').split('\n', 1)
  if (!first.startsWith('#!')) return undefined
  const words = first.slice(2).trim().split(/\s+/)
  return words[0]?.endsWith('/env') ? words.find((word, i) => i > 0 && !/^-|=/.test(word)) : words[0]
}

function findProgram(name: string): string | undefined {
  const places = name.includes('/')
    ? [name]
    : (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name))
  const found = places.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return existsSync(path) && statSync(path).isFile()
    } catch {
      return false
    }
  })
  return found && realpathSync(found)
}
