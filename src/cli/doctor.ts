import { spawnSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { TessallocError } from '../errors.ts'
import { binaryPath, binding } from '../native.ts'
import { platformName } from '../platforms.ts'
import { status } from '../status.ts'
import { packageVersion } from '../version.ts'
import { pc } from './colour.ts'
import { type Finding, failed, ok } from './doctor/finding.ts'
import { isOurs, libraryFaults, listFaults, preloadList, thisProgram } from './doctor/preload.ts'
import { runningProcess } from './doctor/process.ts'
import { program } from './doctor/program.ts'
import { sharpHere, system } from './doctor/system.ts'
import { exitCode, noPreload } from './exit.ts'
import { runsCodeOf } from './proc.ts'

/** `tessalloc doctor [pid | -- command]`: prints findings; 1 when one of them failed, 3 where nothing can be preloaded. */
export function doctor(targets: readonly string[], options: { readonly json?: true }): number {
  const refusal = noPreload(process.platform)
  if (refusal !== undefined) {
    const todo = 'run whole programs on tessalloc on Linux; elsewhere use what the package exports'
    tell([...addOn(), failed('no-preload', 'preload library', refusal, todo)], options)
    return exitCode.unsupported
  }
  const [target] = targets
  const pid = targets.length === 1 && /^\d+$/.test(target ?? '') ? Number(target) : undefined
  const findings = [...installation(), ...system(pid)]
  if (target === undefined) findings.push(...thisProcess())
  else if (pid !== undefined) findings.push(...runningProcess(pid))
  else findings.push(...program(targets))
  tell(findings, options)
  return findings.some((finding) => finding.state === 'failed') ? exitCode.failed : exitCode.ok
}

function tell(findings: readonly Finding[], options: { readonly json?: true }): void {
  process.stdout.write(options.json ? `${JSON.stringify(findings, null, 2)}\n` : `${findings.map(lines).join('\n')}\n`)
}

function lines({ state, what, detail, todo }: Finding): string {
  const mark = { ok: pc.green('ok  '), warning: pc.yellow('note'), failed: pc.red('FAIL') }[state]
  const first = `${mark}  ${what.padEnd(20)}  ${detail}`
  return todo === null ? first : `${first}\n${' '.repeat(28)}→ ${todo}`
}

const reinstall = 'install the package again where it shall run, with npm 11 or later'

function addOn(): Finding[] {
  const about = `tessalloc ${packageVersion}, Node.js ${process.versions.node}, ${platformName()}`
  const version = ok('version', 'version', about)
  try {
    binding()
    return [version, ok('add-on', 'add-on', binaryPath('binding'))]
  } catch (error) {
    return [version, failed('add-on', 'add-on', textOf(error), reinstall)]
  }
}

function installation(): Finding[] {
  const findings = addOn()
  const what = 'preload library'
  try {
    const library = binaryPath('libtessalloc.so')
    const faults = libraryFaults(what, library, thisProgram)
    const ignored = faults.some((fault) => fault.state === 'failed') ? undefined : loads(library)
    findings.push(...faults, ...(ignored ? [ignored] : []))
    if (faults.length === 0 && ignored === undefined) findings.push(ok('library', what, library))
  } catch (error) {
    findings.push(failed('library-missing', what, textOf(error), reinstall))
  }
  return findings
}

function textOf(error: unknown): string {
  if (error instanceof TessallocError) return error.message
  throw error
}

/** Starts this Node with `library` preloaded and looks at its mappings: the loader ignores what it cannot load. */
function loads(library: string): Finding | undefined {
  const script = `process.stdout.write(require('fs').readFileSync('/proc/self/maps', 'utf8'))`
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['-e', script], {
    env: { ...process.env, LD_PRELOAD: library, NODE_OPTIONS: '' },
    encoding: 'utf8',
  })
  if (runsCodeOf(stdout, realpathSync(library))) return undefined
  const how = status === 0 ? 'the loader ignored it' : `node ended with ${signal ?? `exit code ${status}`}`
  const detail = `${library}: ${how}${stderr ? `: ${stderr.trim()}` : ''}`
  return failed('library-ignored', 'preload library', detail, reinstall)
}

function thisProcess(): Finding[] {
  const what = 'this process'
  const { active, allocator } = status()
  const list = preloadList(process.env.LD_PRELOAD)
  if (active === 'preload') return [ok('loaded', what, 'runs on tessalloc'), ...listFaults(what, list), ...sharpHere()]
  if (list.some(isOurs)) {
    const faults = listFaults(what, list)
    return faults.length > 0
      ? faults
      : [
          failed(
            'library-ignored',
            what,
            `LD_PRELOAD names libtessalloc, but ${allocator} serves malloc`,
            'look for a line "cannot be preloaded" on standard error',
          ),
        ]
  }
  return [ok('not-asked', what, `runs on ${allocator}; start programs with: tessalloc run -- command`)]
}
