/**
 * Builds the release artefacts of this platform: the C library, the add-on, `dist/`, and the platform's folder under `npm/`.
 *
 *     npm run build                       everything
 *     npm run build -- dist               only the TypeScript
 */
import { chmodSync, copyFileSync, cpSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { platformName, platforms } from '../src/platforms.ts'
import { CommandError, main, napi, root, run, step, targetFolder, tsc } from './lib.ts'
import { platformManifest, writeManifest } from './manifests.ts'
import { slim } from './platform-build.ts'

const platform = platformName()
const folder = join(root, 'npm', platform)

/** Builds the C library alone. */
export function buildLibrary(): void {
  // By itself: it has its own panic handler, and features of the core that a common build would mix.
  run('cargo', ['build', '-p', 'tessalloc-c', '--profile', 'release-c'])
  for (const ending of ['so', 'a']) {
    const from = join(targetFolder, 'release-c', `libtessalloc_c.${ending}`)
    const to = join(folder, `libtessalloc.${ending}`)
    // A program that runs on the old library keeps it: the file is replaced, not written over.
    rmSync(to, { force: true })
    copyFileSync(from, to)
  }
  if (process.platform === 'linux') slim(join(folder, 'libtessalloc.a'), 'objcopy')
}

function buildAddon(): void {
  run(process.execPath, [
    napi,
    'build',
    '--package=tessalloc-node',
    `--package-json-path=${join(root, 'package.json')}`,
    '--platform',
    '--release',
    '--strip',
    '--no-js',
    '--dts=../../src/generated/binding.d.ts',
    `--output-dir=${folder}`,
  ])
}

/** Builds `dist/`, with more options for the compiler where there are some. */
export function buildTypeScript(...options: readonly string[]): void {
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  run(process.execPath, [tsc, '-p', 'tsconfig.build.json', ...options])
  if (existsSync(join(root, 'src', 'generated'))) {
    cpSync(join(root, 'src', 'generated'), join(root, 'dist', 'generated'), { recursive: true })
  }
  chmodSync(join(root, 'dist', 'cli.js'), 0o755)
}

/** Builds everything, or only `dist/`. */
export function build(only?: string): void {
  const row = platforms.find(({ name }) => name === platform)
  if (row === undefined)
    throw new CommandError(`Cannot build: there is no package for ${platform}, see src/platforms.ts`)
  writeManifest(folder, platformManifest(row))
  if (only === undefined) {
    step('building the C library', buildLibrary)
    step('building the add-on', buildAddon)
  }
  step('building the TypeScript', () => buildTypeScript())
}

if (import.meta.filename === process.argv[1]) main(() => build(process.argv[2]))
