// What the scripts share.
import { type SpawnSyncOptions, type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pc from 'picocolors'

/** The checkout. */
export const root: string = dirname(dirname(fileURLToPath(import.meta.url)))
/** Where cargo builds. */
export const targetFolder: string = process.env.CARGO_TARGET_DIR ?? join(root, 'target')

const modules = join(root, 'node_modules')
export const napi: string = join(modules, '@napi-rs', 'cli', 'dist', 'cli.js')
export const tsc: string = join(modules, 'typescript', 'bin', 'tsc')
export const biome: string = join(modules, '@biomejs', 'biome', 'bin', 'biome')
export const attw: string = join(modules, '@arethetypeswrong', 'cli', 'dist', 'index.js')
export const typedoc: string = join(modules, 'typedoc', 'bin', 'typedoc')
export const c8: string = join(modules, 'c8', 'bin', 'c8.js')
export const ava: string = join(modules, 'ava', 'entrypoints', 'cli.mjs')

/** A command that failed; its own output is on the terminal already. */
export class CommandError extends Error {}

/** Runs a command to its end, in the checkout and with our terminal unless told otherwise; throws when it fails. `env` adds to ours. */
export function run(command: string, args: readonly string[], options: SpawnSyncOptions = {}): void {
  finish(command, args, { stdio: 'inherit', ...options })
}

/** What a command prints; else as {@link run}. */
export function output(command: string, args: readonly string[], options: SpawnSyncOptions = {}): string {
  return `${finish(command, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', ...options }).stdout}`
}

function finish(
  command: string,
  args: readonly string[],
  options: SpawnSyncOptions,
): SpawnSyncReturns<string | NonSharedBuffer> {
  const result = spawnSync(command, args, { cwd: root, ...options, env: { ...process.env, ...options.env } })
  if (result.error) throw new CommandError(`${command} could not be started: ${result.error.message}`)
  if (result.status !== 0) {
    const how = result.signal ? `by ${result.signal}` : `with exit code ${result.status}`
    throw new CommandError(`"${[command, ...args].join(' ')}" ended ${how}`)
  }
  return result
}

/** The compiler's name for this machine. */
export function hostTriple(): string {
  const triple = /^host: (\S+)$/m.exec(output('rustc', ['-vV']))?.[1]
  if (triple === undefined) throw new CommandError('Cannot tell the host: "rustc -vV" did not name one')
  return triple
}

/** Announces a step, runs it, and tells how long it took. */
export function step(name: string, work: () => void): void {
  console.error(pc.bold(`▶ ${name}`))
  const start = performance.now()
  work()
  console.error(pc.dim(`  ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`))
}

/** Runs a script's main function: a failed command ends it without a stack trace. */
export async function main(work: () => void | Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    console.error(`tessalloc: ${error.message}`)
    console.error(
      'If cargo or npm could not download something, check the network and their proxy and registry settings.',
    )
    process.exit(1)
  }
}
