/**
 * Builds the release artefacts of this platform: the C library, the add-on, `dist/`, and the platform's folder under `npm/`.
 *
 *     npm run build                       everything
 *     npm run build -- dist               only the TypeScript
 */
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { platformName } from '../src/native.ts'
import { packageVersion } from '../src/version.ts'
import { main, napi, root, run, step, targetFolder, tsc } from './lib.ts'

const platform = platformName()
const folder = join(root, 'npm', platform)

/** The platform package: binaries and this manifest, nothing else. */
function writeManifest(): void {
  const [os, cpu, libc] = platform.split('-')
  const manifest = {
    name: `@tessalloc/binding-${platform}`,
    version: packageVersion,
    description: `Binaries of tessalloc for ${platform}`,
    license: 'MIT',
    os: [os],
    cpu: [cpu],
    ...(libc === 'gnu' ? { libc: ['glibc'] } : {}),
    main: `tessalloc.${platform}.node`,
    files: [`tessalloc.${platform}.node`, 'libtessalloc.so', 'libtessalloc.a'],
    engines: { node: '>=20.19' },
    preferUnplugged: true,
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}

function buildLibrary(): void {
  // By itself: it has its own panic handler, and features of the core that a common build would mix.
  run('cargo', ['build', '-p', 'tessalloc-c', '--profile', 'release-c'])
  for (const ending of ['so', 'a']) {
    const from = join(targetFolder, 'release-c', `libtessalloc_c.${ending}`)
    const to = join(folder, `libtessalloc.${ending}`)
    // A program that runs on the old library keeps it: the file is replaced, not written over.
    rmSync(to, { force: true })
    copyFileSync(from, to)
  }
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

function buildTypeScript(): void {
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  run(process.execPath, [tsc, '-p', 'tsconfig.build.json'])
  if (existsSync(join(root, 'src', 'generated'))) {
    cpSync(join(root, 'src', 'generated'), join(root, 'dist', 'generated'), { recursive: true })
  }
  chmodSync(join(root, 'dist', 'cli.js'), 0o755)
}

/** Builds everything, or only `dist/`. */
export function build(only?: string): void {
  writeManifest()
  if (only === undefined) {
    step('building the C library', buildLibrary)
    step('building the add-on', buildAddon)
  }
  step('building the TypeScript', buildTypeScript)
}

if (import.meta.filename === process.argv[1]) main(() => build(process.argv[2]))
