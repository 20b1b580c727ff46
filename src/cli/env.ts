import { preloadPath } from './exit.ts'
import { preloadVariables } from './preload-env.ts'

export type EnvFormat = 'sh' | 'docker' | 'systemd' | 'json'

/** `text` as one word of a POSIX shell. */
function quoteForShell(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

const write: Readonly<Record<EnvFormat, (library: string) => string[]>> = {
  sh: (library) => [
    `export LD_PRELOAD=${quoteForShell(library)}\${LD_PRELOAD:+:$LD_PRELOAD}`,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a default value of the shell, not of TypeScript
    'export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-2}',
  ],
  // The path differs from image to image: it is looked up where the image is built, and a link gives it a fixed name.
  docker: () => [
    '# after the step that installs node_modules:',
    'RUN ln -s "$(npx --no-install tessalloc path)" /usr/local/lib/libtessalloc.so',
    'ENV LD_PRELOAD=/usr/local/lib/libtessalloc.so MALLOC_ARENA_MAX=2',
  ],
  systemd: (library) => [
    '[Service]',
    `Environment="LD_PRELOAD=${library.replaceAll('%', '%%')}"`,
    'Environment="MALLOC_ARENA_MAX=2"',
  ],
  json: (library) => [JSON.stringify(preloadVariables(library, {}))],
}

/** `tessalloc env`: what switches tessalloc on, for a shell, a Dockerfile, a systemd unit, or a program. */
export function env(format: EnvFormat): string {
  return write[format](preloadPath()).join('\n')
}
