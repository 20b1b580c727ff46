import { TessallocError } from '../errors.ts'
import { binaryPath } from '../native.ts'
import { ExitError, exitCode, preloadPath } from './exit.ts'

/** `tessalloc path`: the preload library's path, or the static library's. */
export function path(options: { readonly static?: true }): string {
  if (!options.static) return preloadPath()
  try {
    return binaryPath('libtessalloc.a')
  } catch (error) {
    if (error instanceof TessallocError) throw new ExitError(exitCode.unsupported, error.message)
    throw error
  }
}
