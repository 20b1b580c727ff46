/** The stable codes of {@link TessallocError}. */
export type TessallocErrorCode =
  /** Nothing for this system: no binary, no preload library, or an operation it has no way to do. */
  | 'ERR_TESSALLOC_UNSUPPORTED'
  /** A value out of its range. */
  | 'ERR_TESSALLOC_INVALID_SIZE'

/** Every error of this package that is not a plain `TypeError` or `RangeError`. `code` is stable, the text is not. */
export class TessallocError extends Error {
  readonly code: TessallocErrorCode

  constructor(code: TessallocErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TessallocError'
    this.code = code
  }
}
