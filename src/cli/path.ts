import { libraryPath } from './exit.ts'

export interface PathOptions {
  readonly static?: true
  readonly json?: true
}

/** `tessalloc path`: the preload library's path, the static library's, or both as JSON. */
export function path(options: PathOptions): string {
  if (options.json) {
    return JSON.stringify({ preload: libraryPath('libtessalloc.so'), static: libraryPath('libtessalloc.a') })
  }
  return libraryPath(options.static ? 'libtessalloc.a' : 'libtessalloc.so')
}
