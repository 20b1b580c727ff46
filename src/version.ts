import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string
  engines: { node: string }
}

/** Version of this package. */
export const packageVersion: string = manifest.version
/** Lowest version of Node.js that this package runs on. */
export const nodeMinimum: string = manifest.engines.node.replace('>=', '')
