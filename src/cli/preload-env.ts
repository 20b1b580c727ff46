/**
 * Variables that preload `library` into a program, over those of `env`: what is preloaded already stays, after ours.
 *
 * `MALLOC_ARENA_MAX` means nothing to tessalloc; the image library sharp takes it as a sign that threads will not blow up memory,
 * and uses all cores. It is left alone when it is set.
 */
export function preloadVariables(library: string, env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const others = (env.LD_PRELOAD ?? '').split(/[: ]+/).filter((path) => path !== '' && path !== library)
  return {
    LD_PRELOAD: [library, ...others].join(':'),
    MALLOC_ARENA_MAX: env.MALLOC_ARENA_MAX ?? '2',
  }
}
