// The manifests of the packages: `package.json` of a platform's package, and of the main one as it is published.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addonOf, type Platform, packageOf } from '../src/platforms.ts'
import { root } from './lib.ts'

type Manifest = Readonly<Record<string, unknown>>

const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown>

/** The manifest of a platform's package: binaries and this, nothing else. */
export function platformManifest({ name, files }: Platform): Manifest {
  const [os, cpu, libc] = name.split('-')
  return {
    name: packageOf(name),
    version: own.version,
    description: `Binaries of tessalloc for ${name}`,
    license: own.license,
    os: [os],
    cpu: [cpu],
    ...(os === 'linux' ? { libc: [libc === 'gnu' ? 'glibc' : 'musl'] } : {}),
    type: 'commonjs',
    main: addonOf(name),
    files: [addonOf(name), ...files],
    engines: own.engines,
    preferUnplugged: true,
  }
}

/** Fields of the checkout's manifest that mean something there only. */
const ofTheCheckout = new Set(['scripts', 'devDependencies', 'ava', 'napi'])

/**
 * The manifest of the main package as it is published beside the packages of `binaries`. The optional dependencies stand here alone:
 * in the checkout they would be looked up before they exist in a registry.
 */
export function publishedManifest(binaries: readonly Platform[]): Manifest {
  const kept = Object.entries(own).filter(([field]) => !ofTheCheckout.has(field))
  return {
    ...Object.fromEntries(kept),
    optionalDependencies: Object.fromEntries(binaries.map(({ name }) => [packageOf(name), own.version])),
  }
}

/** Writes a manifest into a folder, which is made where it is missing. */
export function writeManifest(folder: string, manifest: Manifest): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}
