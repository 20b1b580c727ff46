// A running process and its children: loaded or not is read from their mappings, not from the environment.
import { readFileSync, readlinkSync, statSync } from 'node:fs'
import { inElf, machineName } from '../../elf.ts'
import { ExitError, exitCode } from '../exit.ts'
import { bytesText } from '../format.ts'
import { ProcessTree, processName, readProcess, runsCodeOf } from '../proc.ts'
import { type Finding, failed, ok, warning } from './finding.ts'
import { isOurs, libraryFaults, otherLibc, preloadList, thisProgram, whoIsFirst } from './preload.ts'
import { secureTodo } from './program.ts'
import { read, sharp } from './system.ts'

/** Findings about `pid` and all that it started. Ends the command with code 2 when there is no such process. */
export function runningProcess(pid: number): Finding[] {
  const states = new ProcessTree(pid).read()
  if (states.length === 0) throw new ExitError(exitCode.usage, `Cannot look at process ${pid}: there is none`)
  return states.flatMap((state) => one(state.pid, state.rssBytes))
}

function environmentOf(pid: number): Readonly<Record<string, string>> | undefined {
  const text = read(`/proc/${pid}/environ`)
  if (text === undefined) return undefined
  const entries = text.split('\0').map((entry) => entry.split('=') as [string, ...string[]])
  return Object.fromEntries(entries.map(([name, ...value]) => [name, value.join('=')]))
}

/** Whether the kernel started it with the rights of another: `AT_SECURE` of its auxiliary vector. */
function isSecure(pid: number): boolean {
  const secureEntry = 23n
  try {
    const vector = readFileSync(`/proc/${pid}/auxv`)
    for (let at = 0; at + 16 <= vector.length; at += 16) {
      if (vector.readBigUInt64LE(at) === secureEntry) return vector.readBigUInt64LE(at + 8) !== 0n
    }
  } catch {
    // It has ended, or it is another user's.
  }
  return false
}

function one(pid: number, rssBytes: number): Finding[] {
  const what = `process ${pid}`
  const resident = `${processName(pid) ?? '?'}, ${bytesText(rssBytes)} resident`
  const maps = read(`/proc/${pid}/maps`)
  if (!maps) {
    return [
      warning(
        'unreadable',
        what,
        `${resident}: its mappings cannot be read (another user's?)`,
        'ask again as root, or as its user',
      ),
    ]
  }
  const env = environmentOf(pid)
  const list = preloadList(env?.LD_PRELOAD)
  const program = programOf(pid)
  if (runsCodeOf(maps, 'libtessalloc')) return loaded(what, pid, resident, maps, list, env, program)
  return [notLoaded(what, pid, resident, list, env, program)]
}

/** The program of a process: `file` can be read also when it lies in a container or was deleted. */
function programOf(pid: number): { path: string; file: string } {
  const file = `/proc/${pid}/exe`
  try {
    return { path: readlinkSync(file), file }
  } catch {
    return { path: '?', file }
  }
}

function loaded(
  what: string,
  pid: number,
  resident: string,
  maps: string,
  list: readonly string[],
  env: Readonly<Record<string, string>> | undefined,
  program: { path: string; file: string },
): Finding[] {
  const [order] = whoIsFirst(what, list, program.path, `/proc/${pid}/root`)
  if (order !== undefined) return [{ ...order, detail: `${resident}: ${order.detail}` }]
  const findings = [ok('loaded', what, `${resident}: runs on tessalloc`)]
  if (/libtessalloc\S* \(deleted\)$/m.test(maps)) {
    findings.push(
      warning(
        'library-deleted',
        what,
        'the library was replaced or removed since: it runs on the old one',
        'start it again when that suits',
      ),
    )
  }
  if (/\/(sharp-[^/]*\.node|libvips[^/]*)$/m.test(maps) && env !== undefined && env.MALLOC_ARENA_MAX === undefined) {
    findings.push(sharp(what))
  }
  return findings
}

function notLoaded(
  what: string,
  pid: number,
  resident: string,
  list: readonly string[],
  env: Readonly<Record<string, string>> | undefined,
  program: { path: string; file: string },
): Finding {
  const say = (finding: Finding): Finding => ({ ...finding, detail: `${resident}: ${finding.detail}` })
  const elf = inElf(program.file, (file) => ({
    machine: file.machine,
    isStatic: file.isReadable && file.interpreter === undefined,
    libc: file.libc,
  }))
  if (elf?.isStatic) {
    const todo = 'link it dynamically, or with libtessalloc.a (tessalloc path --static)'
    return say(failed('static', what, 'a static program, LD_PRELOAD has no effect', todo))
  }
  if (elf !== undefined && elf.machine !== thisProgram.machine) {
    return say(failed('arch', what, `a program for ${machineName(elf.machine)}`, 'use a build of it for this machine'))
  }
  if (isSecure(pid) || isSetuid(program.file)) {
    return say(
      failed(
        'secure',
        what,
        'it was started with the rights of another user or with capabilities: the loader ignores LD_PRELOAD',
        secureTodo,
      ),
    )
  }
  const library = list.find(isOurs)
  if (library !== undefined) {
    const at = { machine: elf?.machine ?? thisProgram.machine, libc: elf?.libc ?? thisProgram.libc }
    const [fault] = libraryFaults(what, library, at, { root: `/proc/${pid}/root`, pid })
    return say(
      fault ??
        failed(
          'library-ignored',
          what,
          `LD_PRELOAD names ${library}, but it is not loaded`,
          'look for a line "cannot be preloaded" in what it wrote to standard error when it started',
        ),
    )
  }
  if (elf?.libc !== undefined && elf.libc !== thisProgram.libc) return say(otherLibc(what, program.path, elf.libc))
  return say(notAsked(what, pid, env))
}

function isSetuid(path: string): boolean {
  try {
    return (statSync(path).mode & 0o6000) !== 0
  } catch {
    return false
  }
}

/** How to hand variables on through programs that start others. */
const launchers: readonly (readonly [name: RegExp, todo: string])[] = [
  [/^supervisord/, 'supervisord: add LD_PRELOAD to environment= of the program’s section'],
  [/^(sudo|doas|su)$/, 'sudo resets the environment: sudo env LD_PRELOAD=… command, or "tessalloc run --" behind sudo'],
  [/^systemd/, 'systemd: put the lines of "tessalloc env --systemd" into the unit, then daemon-reload and restart'],
  [/^(PM2|pm2)/, 'PM2: add LD_PRELOAD to env of the ecosystem file, then pm2 restart --update-env'],
  [/^(cron|crond|atd)$/, 'cron: set LD_PRELOAD in the crontab, or put "tessalloc run --" before the command'],
  [/^(containerd-shim|dockerd|conmon)/, 'Docker: put the lines of "tessalloc env --docker" into the Dockerfile'],
  [
    /^(sshd|login)/,
    'a login starts anew: put eval "$(tessalloc env --sh)" into its profile, or use "tessalloc run --"',
  ],
]

/** Whoever above it had the variable has a child that dropped it. */
function notAsked(what: string, pid: number, env: Readonly<Record<string, string>> | undefined): Finding {
  if (env === undefined) {
    return failed('not-asked', what, 'not loaded; its environment cannot be read', 'ask again as root, or as its user')
  }
  let child = pid
  for (let parent = readProcess(pid)?.parent ?? 0; parent > 0; parent = readProcess(parent)?.parent ?? 0) {
    const name = processName(parent) ?? '?'
    if (preloadList(environmentOf(parent)?.LD_PRELOAD).some(isOurs)) {
      const dropper =
        child === pid
          ? `its parent ${name} (${parent})`
          : `${processName(child) ?? '?'} (${child}), started by ${name} (${parent}),`
      const by = child === pid ? name : (processName(child) ?? name)
      const hint = launchers.find(([pattern]) => pattern.test(by))?.[1]
      return failed(
        'dropped',
        what,
        `not loaded: ${dropper} has LD_PRELOAD and started it without`,
        hint ?? `let ${by} hand LD_PRELOAD on, or put "tessalloc run --" before the command that it starts`,
      )
    }
    child = parent
  }
  const parent = processName(readProcess(pid)?.parent ?? 0) ?? ''
  const hint = launchers.find(([pattern]) => pattern.test(parent))?.[1]
  return failed(
    'not-asked',
    what,
    'not loaded; its environment has no LD_PRELOAD with libtessalloc (a supervisor may drop it)',
    hint ?? 'start it with: tessalloc run -- command; or set what "tessalloc env" prints where it is started',
  )
}
