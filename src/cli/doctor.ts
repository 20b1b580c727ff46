import { spawnSync } from 'node:child_process'
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { totalmem } from 'node:os'
import { delimiter, join } from 'node:path'
import pc from 'picocolors'
import { TessallocError } from '../errors.ts'
import { binaryPath, binding, platformName } from '../native.ts'
import { status } from '../status.ts'
import { packageVersion } from '../version.ts'
import { ExitError, exitCode } from './exit.ts'
import { bytesText } from './format.ts'
import { ProcessTree } from './proc.ts'

/** One thing looked at. `warning` may be as wanted; `failed` means that tessalloc does not work there. */
export interface Finding {
  readonly state: 'ok' | 'warning' | 'failed'
  readonly what: string
  readonly detail: string
}

const ok = (what: string, detail: string): Finding => ({ state: 'ok', what, detail })
const warning = (what: string, detail: string): Finding => ({ state: 'warning', what, detail })
const failed = (what: string, detail: string): Finding => ({ state: 'failed', what, detail })

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** `tessalloc doctor [pid | -- command]`: prints findings; 1 when one of them failed. */
export function doctor(targets: readonly string[], options: { readonly json?: true }): number {
  const findings = [...installation(), ...system()]
  const [target] = targets
  if (target === undefined) findings.push(...thisProcess())
  else if (targets.length === 1 && /^\d+$/.test(target)) findings.push(...runningProcess(Number(target)))
  else findings.push(...program(target))
  process.stdout.write(options.json ? `${JSON.stringify(findings, null, 2)}\n` : `${findings.map(line).join('\n')}\n`)
  return findings.some((finding) => finding.state === 'failed') ? exitCode.failed : exitCode.ok
}

function line({ state, what, detail }: Finding): string {
  const mark = { ok: pc.green('ok  '), warning: pc.yellow('note'), failed: pc.red('FAIL') }[state]
  return `${mark}  ${what.padEnd(20)}  ${detail}`
}

function installation(): Finding[] {
  const findings = [ok('version', `tessalloc ${packageVersion}, Node.js ${process.versions.node}, ${platformName()}`)]
  try {
    binding()
    findings.push(ok('add-on', binaryPath('binding')))
  } catch (error) {
    findings.push(failed('add-on', textOf(error)))
  }
  try {
    const library = binaryPath('libtessalloc.so')
    findings.push(loads(library) ?? ok('preload library', library))
  } catch (error) {
    findings.push(failed('preload library', textOf(error)))
  }
  return findings
}

function textOf(error: unknown): string {
  if (error instanceof TessallocError) return error.message
  throw error
}

/** Starts this Node with `library` preloaded and asks it whose `malloc` it has: the loader ignores what it cannot load. */
function loads(library: string): Finding | undefined {
  const script = `process.stdout.write(require('fs').readFileSync('/proc/self/maps', 'utf8').includes(${JSON.stringify(realpathSync(library))}) ? 'loaded' : 'ignored')`
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['-e', script], {
    env: { ...process.env, LD_PRELOAD: library, NODE_OPTIONS: '' },
    encoding: 'utf8',
  })
  if (stdout === 'loaded') return undefined
  const how = stdout === 'ignored' ? 'the loader ignored it' : `node ended with ${signal ?? `exit code ${status}`}`
  return failed('preload library', `${library}: ${how}${stderr ? `: ${stderr.trim()}` : ''}`)
}

function system(): Finding[] {
  const findings: Finding[] = []
  const overcommit = read('/proc/sys/vm/overcommit_memory')
  if (overcommit === '2') {
    findings.push(warning('overcommit', 'vm.overcommit_memory is 2: memory is committed in small steps'))
  }
  const hugePages = /\[(\w+)\]/.exec(read('/sys/kernel/mm/transparent_hugepage/enabled') ?? '')?.[1]
  if (hugePages) findings.push(ok('huge pages', `transparent huge pages: ${hugePages}`))
  const addressSpace = /^Max address space\s+(\S+)/m.exec(read('/proc/self/limits') ?? '')?.[1]
  if (addressSpace && addressSpace !== 'unlimited') {
    findings.push(
      warning(
        'address space',
        `limited to ${bytesText(Number(addressSpace))} (ulimit -v): regions are smaller; do not lower it inside a process`,
      ),
    )
  }
  findings.push(container())
  return findings
}

/** The memory limit of this control group, version 2 first. */
function container(): Finding {
  const group = /^0::(.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1] ?? '/'
  const limit =
    read(join('/sys/fs/cgroup', group, 'memory.max')) ??
    read('/sys/fs/cgroup/memory.max') ??
    read('/sys/fs/cgroup/memory/memory.limit_in_bytes')
  const bytes = Number(limit)
  const isLimited = Number.isFinite(bytes) && bytes < totalmem()
  return ok(
    'memory',
    isLimited
      ? `container limit ${bytesText(bytes)} of ${bytesText(totalmem())}`
      : `${bytesText(totalmem())}, no container limit`,
  )
}

function thisProcess(): Finding[] {
  const { active, allocator } = status()
  const preload = process.env.LD_PRELOAD ?? ''
  if (active === 'preload') return [ok('this process', 'runs on tessalloc')]
  if (preload.includes('libtessalloc')) {
    return [failed('this process', `LD_PRELOAD names libtessalloc, but ${allocator} serves malloc`)]
  }
  return [ok('this process', `runs on ${allocator}; start programs with: tessalloc run -- command`)]
}

/** A running process and its children: loaded or not is read from their mappings, not from the environment. */
function runningProcess(pid: number): Finding[] {
  const states = new ProcessTree(pid).read()
  if (states.length === 0) throw new ExitError(exitCode.usage, `Cannot look at process ${pid}: there is none`)
  return states.map((state) => {
    const what = `process ${state.pid}`
    const name = read(`/proc/${state.pid}/comm`) ?? '?'
    const maps = read(`/proc/${state.pid}/maps`)
    const resident = `${name}, ${bytesText(state.rssBytes)} resident`
    if (!maps) return warning(what, `${resident}: its mappings cannot be read (another user's?)`)
    if (maps.includes('libtessalloc')) return ok(what, `${resident}: runs on tessalloc`)
    if (!/\/(ld-linux|ld-musl)/.test(maps))
      return failed(what, `${resident}: a static program, LD_PRELOAD has no effect`)
    if (maps.includes('/ld-musl')) return failed(what, `${resident}: uses musl, the library is for glibc`)
    const environment = read(`/proc/${state.pid}/environ`)
    const isAsked = environment
      ?.split('\0')
      .some((entry) => entry.startsWith('LD_PRELOAD=') && entry.includes('libtessalloc'))
    if (isAsked)
      return failed(
        what,
        `${resident}: LD_PRELOAD names libtessalloc, but it is not loaded (setuid, or the file is missing)`,
      )
    return failed(
      what,
      `${resident}: not loaded; its environment has no LD_PRELOAD with libtessalloc (a supervisor may drop it)`,
    )
  })
}

/** A program that is not running yet: could it be preloaded? */
function program(name: string): Finding[] {
  const path = findProgram(name)
  if (path === undefined) throw new ExitError(exitCode.usage, `Cannot look at ${name}: no such command`)
  const what = 'program'
  const head = readHead(path)
  if (head.subarray(0, 2).toString('latin1') === '#!') {
    const interpreter = head.toString('latin1').slice(2).split('\n', 1)[0]?.trim().split(/\s+/) ?? []
    const next = interpreter[0]?.endsWith('/env')
      ? interpreter.find((word, i) => i > 0 && !/^-|=/.test(word))
      : interpreter[0]
    return [ok(what, `${path} is a script for ${next}`), ...(next ? program(next) : [])]
  }
  if (head.subarray(0, 4).toString('latin1') !== '\u007fELF')
    return [failed(what, `${path} is neither an ELF program nor a script`)]
  if ((statSync(path).mode & 0o6000) !== 0)
    return [failed(what, `${path} is setuid or setgid: the loader ignores LD_PRELOAD`)]
  const loader = elfInterpreter(head)
  if (head[4] !== 2) return [failed(what, `${path} is a 32-bit program, the library is for 64 bit`)]
  if (loader === undefined) return [failed(what, `${path} is a static program: LD_PRELOAD has no effect`)]
  if (loader.includes('musl')) return [failed(what, `${path} uses musl, the library is for glibc`)]
  return [ok(what, `${path} can be preloaded`)]
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

function readHead(path: string): Buffer {
  const head = Buffer.alloc(4096)
  const file = openSync(path, 'r')
  try {
    return head.subarray(0, readSync(file, head, 0, head.length, 0))
  } finally {
    closeSync(file)
  }
}

/** The loader an ELF file asks for; `undefined` for a static program. The program headers lie right behind the ELF header. */
function elfInterpreter(head: Buffer): string | undefined {
  const interp = 3
  if (head.length < 64 || head[4] !== 2 || head[5] !== 1) return undefined
  const start = Number(head.readBigUInt64LE(32))
  const size = head.readUInt16LE(54)
  for (let i = 0; i < head.readUInt16LE(56); i++) {
    const at = start + i * size
    if (at + 40 > head.length) return undefined
    if (head.readUInt32LE(at) !== interp) continue
    const from = Number(head.readBigUInt64LE(at + 8))
    return head.toString('latin1', from, from + Number(head.readBigUInt64LE(at + 32)) - 1)
  }
  return undefined
}
