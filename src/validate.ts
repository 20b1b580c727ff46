// Checks of what a caller hands in. Each throws a `TessallocError` that names the action, the expectation and the value.
import { inspect } from 'node:util'
import { TessallocError } from './errors.ts'

/** The value as a message shows it: short, on one line. */
export function shown(value: unknown): string {
  return typeof value === 'number' ? String(value) : inspect(value, { depth: 0, maxStringLength: 40, breakLength: 120 })
}

/** Checks that `value` is an integer from `least` to `most`. */
export function checkInteger(
  action: string,
  name: string,
  value: unknown,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new TessallocError(
    'ERR_TESSALLOC_INVALID_SIZE',
    `Cannot ${action}: ${name} must be an integer ${range}, received ${shown(value)}`,
  )
}

/** Checks that `value` is a power of two up to `most`. */
export function checkAlign(action: string, value: unknown, most: number): asserts value is number {
  if (Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most) {
    if (((value as number) & ((value as number) - 1)) === 0) return
  }
  throw new TessallocError(
    'ERR_TESSALLOC_INVALID_SIZE',
    `Cannot ${action}: align must be a power of two up to ${most}, received ${shown(value)}`,
  )
}

/** The error for an option that does not take `value`. */
export function invalidOption(action: string, name: string, expected: string, value: unknown): TessallocError {
  return new TessallocError(
    'ERR_TESSALLOC_INVALID_OPTION',
    `Cannot ${action}: ${name} must be ${expected}, received ${shown(value)}`,
  )
}

/** Checks that `value` is `true` or `false`. */
export function checkBoolean(action: string, name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') throw invalidOption(action, name, 'a boolean', value)
}

/** Checks that `value` is a text. */
export function checkText(action: string, name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw invalidOption(action, name, 'a string', value)
}

/** Checks that `value` is an object of options. */
export function checkOptions(action: string, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null) throw invalidOption(action, 'options', 'an object', value)
}

/** The error of a handle that was disposed. */
export function disposedError(action: string, handle: string): TessallocError {
  return new TessallocError('ERR_TESSALLOC_DISPOSED', `Cannot ${action}: the ${handle} was disposed`)
}
