// What `npm run docs` makes of the TypeScript, see `scripts/docs.ts`.
import { readFileSync } from 'node:fs'

/** Names of the fields in a block of a source file that have no comment each: their table has one, or `docs/options.md`. */
function fieldsOf(file, start, prefix) {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8')
  const block = text.slice(text.indexOf(start)).split('}')[0]
  return [...block.matchAll(/^ {2}(\w+):/gm)].map(([, name]) => `${prefix}.${name}`)
}

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'tessalloc',
  entryPoints: ['src/index.ts'],
  tsconfig: 'tsconfig.build.json',
  out: 'docs/api',
  readme: 'README.md',
  githubPages: false,
  excludePrivate: true,
  excludeInternal: true,
  sort: ['source-order'],
  validation: {
    notExported: true,
    invalidLink: true,
    notDocumented: true,
    invalidPath: true,
  },
  requiredToBeDocumented: [
    'Variable',
    'Function',
    'Class',
    'Interface',
    'Constructor',
    'Property',
    'Method',
    'Accessor',
    'TypeAlias',
  ],
  treatWarningsAsErrors: true,
  disableSources: true,
  highlightLanguages: ['ts', 'js', 'json', 'sh', 'c', 'rust', 'docker', 'ini', 'yaml'],
  projectDocuments: [
    'docs/rss.md',
    'docs/docker.md',
    'docs/cli.md',
    'docs/node.md',
    'docs/options.md',
    'docs/arenas-and-pools.md',
    'docs/sharing-memory.md',
  ],
  intentionallyNotDocumented: [
    ...fieldsOf('src/options.ts', 'interface OptionUnits', 'index.OptionUnits'),
    ...fieldsOf('src/memory-usage.ts', 'memoryUsageIndex = {', 'index.memoryUsageIndex.__type'),
  ],
}
