import { type OptionName, options } from './options.ts'
import { watchPressure } from './pressure.ts'
import { checkInteger, checkOptions } from './validate.ts'

/** Ceilings of what the allocator holds. Unit: bytes; 0: none. What is left out stays as it is. */
export interface Limits {
  /** Above it nothing unused is kept, and `onPressure` tells. */
  readonly soft?: number
  /**
   * Beyond it allocations fail, in steps of 64 KiB. Under preload that ends Node.js, as any lack of memory does, unless it is a Buffer's:
   * then it throws. A limit below what is in use takes nothing away.
   */
  readonly hard?: number
}

const names = { soft: 'TESSALLOC_SOFT_LIMIT', hard: 'TESSALLOC_HARD_LIMIT' } as const satisfies Record<
  string,
  OptionName
>
/** 64 TiB: the most that the options take. */
const limitMax = 2 ** 46

/**
 * Sets ceilings for the whole process, from any thread, and returns those from before. What counts is memory that may be resident, of
 * all blocks together: `docs/limits.md`. Scope: the process's allocator under preload; without it the copy of tessalloc in this
 * package, so memory of arenas and heaps. While a soft limit that this thread set stands, `tessalloc:limit` is published in it.
 *
 * Throws `ERR_TESSALLOC_INVALID_SIZE` for what is no whole number up to 64 TiB, `ERR_TESSALLOC_INVALID_OPTION` for no object, and `ERR_TESSALLOC_UNSUPPORTED` for a soft limit without
 * background thread, which is the one that looks; then neither is set.
 *
 * ```ts
 * import { setLimit } from 'tessalloc'
 *
 * const before = setLimit({ soft: 512 * 2 ** 20 })
 * setLimit(before)
 * ```
 */
export function setLimit(limits: Limits): Required<Limits> {
  checkOptions('set limits', limits)
  const { soft, hard } = limits
  if (soft !== undefined) checkInteger('set limits', 'soft', soft, 0, limitMax)
  if (hard !== undefined) checkInteger('set limits', 'hard', hard, 0, limitMax)
  const before = { soft: options.get(names.soft), hard: options.get(names.hard) }
  if (soft !== undefined) {
    watchPressure(soft > 0)
    options.set(names.soft, soft)
  }
  if (hard !== undefined) options.set(names.hard, hard)
  return before
}
