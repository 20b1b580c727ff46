import { spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { getSystemErrorMap } from 'node:util'
import { TessallocError } from '../errors.ts'
import { binding } from '../native.ts'
import { codeOfSignal, preloadPath, startError } from './exit.ts'
import { preloadVariables } from './preload-env.ts'

export interface RunOptions {
  readonly stats?: true
  readonly purgeDelay?: number
  readonly verbose?: true
}

/**
 * `tessalloc run -- command`: the command takes the place of this process, with its number, so that no second Node.js stays.
 * Where that cannot be, it runs as a child: its own exit code is returned, or this process dies of the same signal.
 */
export function run(command: readonly string[], options: RunOptions): Promise<number> {
  const added = variables(options)
  if (options.verbose) tell(command, added)
  Object.assign(process.env, added)
  const program = command[0] ?? ''
  const error = replaceBy(command)
  if (error !== undefined) throw startError(program, error)
  if (options.verbose) writeSync(2, 'tessalloc: runs it as a child: this process cannot be replaced\n')
  return runAsChild(command)
}

/** The environment that a program gets which is run without options. */
export function runEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, ...variables({}) }
}

function variables(options: RunOptions): Record<string, string> {
  return {
    ...preloadVariables(preloadPath()),
    ...(options.stats ? { TESSALLOC_STATS: '1' } : {}),
    ...(options.purgeDelay === undefined ? {} : { TESSALLOC_PURGE_DELAY: String(options.purgeDelay) }),
  }
}

/** Says on standard error what is set; by descriptor, since a stream of Node.js would not be written out before the exec. */
function tell(command: readonly string[], added: Record<string, string>): void {
  const lines = Object.entries(added).map(([name, value]) => {
    const isKept = process.env[name] === value
    const note = name === 'MALLOC_ARENA_MAX' && !isKept ? '  (was not set; tells sharp to use all cores)' : ''
    return `tessalloc: ${name}=${value}${isKept ? '  (as it was)' : note}\n`
  })
  writeSync(2, `${lines.join('')}tessalloc: runs ${command.join(' ')}\n`)
}

/** How many sockets systemd handed to this process, as descriptors 3 and up: the program has the same process id, so they are its. */
function listening(): number {
  const { LISTEN_PID, LISTEN_FDS } = process.env
  return Number(LISTEN_PID) === process.pid ? Number(LISTEN_FDS) || 0 : 0
}

/** Comes back with the reason when the command cannot be started, and with nothing when this system or add-on has no exec. */
function replaceBy(command: readonly string[]): NodeJS.ErrnoException | undefined {
  let errno: number
  try {
    errno = binding().exec([...command], 3 + listening())
  } catch (error) {
    if (error instanceof TessallocError) return undefined
    throw error
  }
  const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, `error ${errno} of the system`]
  if (code === 'ENOSYS' || code === 'EPERM') return undefined
  return Object.assign(new Error(`${text} (${code})`), { code, errno })
}

const forwarded = ['SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGCONT'] as const
/** A terminal sends these to the child too. */
const fromTerminal = ['SIGINT', 'SIGQUIT'] as const

function runAsChild([program = '', ...args]: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' })
    for (const signal of forwarded) process.on(signal, () => child.kill(signal))
    for (const signal of fromTerminal) process.on(signal, () => process.stdin.isTTY || child.kill(signal))
    child.on('error', (error) => reject(startError(program, error)))
    child.on('exit', (code, signal) => {
      if (signal === null) return resolve(code ?? 0)
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
      // A signal that does not end this process: tell its number as a shell does.
      setTimeout(() => resolve(codeOfSignal(signal)), 100)
    })
  })
}
