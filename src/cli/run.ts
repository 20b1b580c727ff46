import { spawn } from 'node:child_process'
import { codeOfSignal, preloadPath, startError } from './exit.ts'
import { preloadVariables } from './preload-env.ts'

export interface RunOptions {
  readonly stats?: true
  readonly purgeDelay?: number
}

const forwarded = ['SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGCONT'] as const
/** A terminal sends these to the child too. */
const fromTerminal = ['SIGINT', 'SIGQUIT'] as const

/** `tessalloc run -- command`: the command's own exit code, or death by the same signal. */
export function run(command: readonly string[], options: RunOptions): Promise<number> {
  const library = preloadPath()
  const env: NodeJS.ProcessEnv = { ...process.env, ...preloadVariables(library) }
  if (options.stats) env.TESSALLOC_STATS = '1'
  if (options.purgeDelay !== undefined) env.TESSALLOC_PURGE_DELAY = String(options.purgeDelay)

  const [program = '', ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit', env })
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
