/** The stable codes of {@link TessallocError}. */
export type TessallocErrorCode =
  /** Nothing for this system: no binary, no preload library, or an operation it has no way to do. */
  | 'ERR_TESSALLOC_UNSUPPORTED'
  /** The binaries are for another C library (musl, glibc), or for a newer one. */
  | 'ERR_TESSALLOC_WRONG_LIBC'
  /** The package with the binaries of this platform is not installed, or not whole. */
  | 'ERR_TESSALLOC_MISSING_BINARY'
  /** The package with the binaries is of another version than this one. */
  | 'ERR_TESSALLOC_VERSION_SKEW'
  /** The system does not load the add-on; `cause` is what it says. */
  | 'ERR_TESSALLOC_LOAD_FAILED'
  /** A size, count, offset or alignment out of its range, or no number. */
  | 'ERR_TESSALLOC_INVALID_SIZE'
  /** An option with a value that it does not take. */
  | 'ERR_TESSALLOC_INVALID_OPTION'
  /** No memory: the limit of the arena or heap is reached, or the system has none. Nothing was changed. */
  | 'ERR_TESSALLOC_OUT_OF_MEMORY'
  /** The handle was disposed. */
  | 'ERR_TESSALLOC_DISPOSED'
  /** A buffer, block or mark of somebody else, or an offset at which no block starts. */
  | 'ERR_TESSALLOC_NOT_OWNED'
  /** A block or buffer that was given back already. */
  | 'ERR_TESSALLOC_DOUBLE_FREE'
  /** A mark that a rewind or a reset has passed. */
  | 'ERR_TESSALLOC_STALE_MARK'
  /** A buffer that holds no shared heap of this version. */
  | 'ERR_TESSALLOC_INCOMPATIBLE'
  /** All places of a shared heap for workers, or for roots, are taken. */
  | 'ERR_TESSALLOC_FULL'
  /** A cell that holds a block already, or a block inside the making of another. */
  | 'ERR_TESSALLOC_OCCUPIED'
  /** Records of a shared heap were written over. */
  | 'ERR_TESSALLOC_CORRUPT'

/** Codes of errors that mean: nothing of tessalloc works here. */
export const loadErrorCodes: ReadonlySet<TessallocErrorCode> = new Set([
  'ERR_TESSALLOC_UNSUPPORTED',
  'ERR_TESSALLOC_WRONG_LIBC',
  'ERR_TESSALLOC_MISSING_BINARY',
  'ERR_TESSALLOC_VERSION_SKEW',
  'ERR_TESSALLOC_LOAD_FAILED',
])

/**
 * Every error of this package that is not a plain `TypeError` or `RangeError`. `code` is stable, the text is not. Thrown in the thread
 * that called; what threw has changed nothing, where it does not say otherwise.
 *
 * ```ts
 * using arena = new Arena(64)
 * try {
 *   arena.alloc(65)
 * } catch (error) {
 *   if (!(error instanceof TessallocError) || error.code !== 'ERR_TESSALLOC_OUT_OF_MEMORY') throw error
 *   console.log(error.message)
 * }
 * ```
 */
export class TessallocError extends Error {
  /** What went wrong; stable from version to version. */
  readonly code: TessallocErrorCode

  /** Makes an error; the package does. `message` names the action, what was expected, and the value. */
  constructor(code: TessallocErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TessallocError'
    this.code = code
  }
}
