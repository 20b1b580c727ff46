// What `npm run docs` makes of the TypeScript, see `scripts/docs.ts`.
import { readFileSync } from 'node:fs'
import { Converter, MarkdownEvent } from 'typedoc'

/** Names of the fields in a block of a source file that have no comment each: their table has one, or `docs/options.md`. */
function fieldsOf(file, start, prefix) {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8')
  const block = text.slice(text.indexOf(start)).split('}')[0]
  return [...block.matchAll(/^ {2}(\w+):/gm)].map(([, name]) => `${prefix}.${name}`)
}

/**
 * Calls guides by their headings, and makes links of their paths, as in "see `docs/cli.md`".
 *
 * @param {import('typedoc').Application} app
 */
function nameGuides(app) {
  /** @type {Map<string, import('typedoc').DocumentReflection>} */
  const guides = new Map()
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, guide) => {
    const heading = /^# (.+)$/m.exec(guide.content[0]?.text ?? '')?.[1]
    guides.set(`docs/${guide.name}.md`, guide)
    guide.name = heading ?? guide.name
  })
  app.renderer.on(MarkdownEvent.PARSE, (event) => {
    const { model } = event.page
    event.parsedText = event.parsedText.replace(/<code>(docs\/[\w-]+\.md)<\/code>/g, (text, path) => {
      const guide = guides.get(path)
      return guide ? `<a href="${app.renderer.router?.relativeUrl(model, guide)}">${guide.name}</a>` : text
    })
  })
}

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'tessalloc',
  plugin: [nameGuides],
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
  highlightLanguages: ['ts', 'js', 'json', 'sh', 'c', 'rust', 'rs', 'toml', 'docker', 'ini', 'yaml'],
  projectDocuments: [
    'docs/rss.md',
    'docs/docker.md',
    'docs/cli.md',
    'docs/node.md',
    'docs/arenas-and-pools.md',
    'docs/sharing-memory.md',
    'docs/limits.md',
    'docs/add-ons.md',
    'docs/options.md',
  ],
  intentionallyNotDocumented: [
    ...fieldsOf('src/options.ts', 'interface OptionUnits', 'tessalloc.OptionUnits'),
    ...fieldsOf('src/memory-usage.ts', 'memoryUsageIndex = {', 'tessalloc.memoryUsageIndex.__type'),
  ],
}
