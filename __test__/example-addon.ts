// The example add-on, `examples/word-counts`, built as its users build it.
import { execFile } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { napi } from '../scripts/lib.ts'
import { plainEnv, root } from './helpers.ts'

/** What it exports. */
export interface Example {
  readonly WordCounts: new (
    limitBytes: number,
  ) => {
    add(text: string): void
    addAsync(text: string): Promise<void>
    get(word: string): number
    dispose(): void
    readonly size: number
    readonly allocatedBytes: number
  }
  memory(): { allocatedBytes: number; committedBytes: number; threads: number; heaps: number }
}

/** Builds it, if that was not done before, and answers copies of it in `folder`, one for each name. Time: some seconds. */
export async function exampleAddon(folder: string, names: readonly string[]): Promise<string[]> {
  const args = [
    'build',
    '--package=word-counts',
    `--package-json-path=${join(root, 'examples', 'word-counts', 'package.json')}`,
    '--release',
    '--strip',
    '--no-js',
    '--dts=word-counts.d.ts',
    `--output-dir=${folder}`,
  ]
  await promisify(execFile)(process.execPath, [napi, ...args], { cwd: root, env: plainEnv() })
  return names.map((name) => {
    const path = join(folder, name)
    copyFileSync(join(folder, 'word-counts.node'), path)
    return path
  })
}
