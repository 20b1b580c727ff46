// What the tests share: the built command line and preload library, run as a user runs them.
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root: string = dirname(dirname(fileURLToPath(import.meta.url)))
export const cli: string = join(root, 'dist', 'cli.js')
export const library: string = join(root, 'npm', 'linux-x64-gnu', 'libtessalloc.so')

export const fixture = (name: string): string => join(root, '__test__', 'fixtures', name)

/** The environment of a test, without what a test run itself adds. */
export function plainEnv(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { LD_PRELOAD: _, MALLOC_ARENA_MAX: __, NODE_OPTIONS: ___, ...rest } = process.env
  return { ...rest, NO_COLOR: '1', ...extra }
}

/** Runs the command line to its end. */
export function tessalloc(args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', env: plainEnv(env), cwd: root })
}

/** Runs a command in a terminal of its own; types the second text of a step when the first has been seen. With colours. */
export function inTerminal(
  command: readonly string[],
  steps: readonly (readonly [wait: string, type: string])[] = [],
): { output: string; status: number | null } {
  const { NO_COLOR: _, FORCE_COLOR: __, CI: ___, ...env } = plainEnv({ TERM: 'xterm-256color' })
  const { stdout, status, error } = spawnSync('python3', [fixture('terminal.py'), JSON.stringify(steps), ...command], {
    encoding: 'utf8',
    env,
    cwd: root,
    timeout: 600_000,
  })
  if (error) throw error
  return { output: stdout, status }
}

const stateOf = (pid: number) => {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return {
    name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')),
    state: text.slice(text.lastIndexOf(')') + 2)[0],
  }
}

/** Waits until `pid`, or the last child it started, is the program `name` and sleeps: then it has been loaded. */
export async function asleep(pid: number | undefined, name: string): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    try {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
      const found = stateOf(Number(children.at(-1) ?? pid))
      if (found.name === name && found.state === 'S') return
    } catch {
      // It came and went.
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`process ${pid} did not become ${name}`)
}

/** Waits until `pid` handles `signal`, by its number. */
export async function handles(pid: number | undefined, signal: number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const caught = /^SigCgt:\s+(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0'
    if (((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`process ${pid} does not handle signal ${signal}`)
}

/** Starts the fixture that holds memory, under tessalloc or not, and returns it with what it says of itself. */
export async function holdsMemory(preload: boolean): Promise<{ child: ChildProcess; own: Record<string, number> }> {
  const child = spawn(process.execPath, ['--expose-gc', fixture('holds-memory.mjs')], {
    env: plainEnv(preload ? { LD_PRELOAD: library } : {}),
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [data] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, own: JSON.parse(data.toString()) as Record<string, number> }
}

/** Runs JavaScript in a new Node and returns what it printed as JSON. */
export async function evaluate<T>(
  code: string,
  options: { preload?: boolean; type?: 'module' | 'commonjs'; flags?: readonly string[] } = {},
): Promise<T> {
  const child = spawn(
    process.execPath,
    [...(options.flags ?? []), `--input-type=${options.type ?? 'module'}`, '-e', code],
    {
      env: plainEnv(options.preload ? { LD_PRELOAD: library } : {}),
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let output = ''
  let errors = ''
  child.stdout.on('data', (data: Buffer) => (output += data))
  child.stderr.on('data', (data: Buffer) => (errors += data))
  const [exit, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (exit !== 0) throw new Error(`node ended with ${signal ?? exit}: ${errors}`)
  return JSON.parse(output) as T
}
