import { limitChannel } from './channels.ts'
import { TessallocError } from './errors.ts'
import { binding } from './native.ts'
import { type Registration, registration } from './registration.ts'
import { invalidOption } from './validate.ts'

/** Memory that should be given up. Unit: bytes. */
export interface Pressure {
  /**
   * Why. `soft-limit`: the allocator holds more than the soft limit. `container`: the process holds nine tenths of what its container
   * may have. `system`: tasks of the container or the machine wait for memory.
   */
  readonly cause: 'soft-limit' | 'container' | 'system'
  /** Whether the container's limit is all but reached, or all tasks wait. Told again when it becomes so. */
  readonly severe: boolean
  /** What is held: by the allocator, or for `container` by the process. */
  readonly held: number
  /** What it should stay below; 0 for `system`. */
  readonly limit: number
}

const causes: readonly Pressure['cause'][] = ['soft-limit', 'container', 'system']

/** Those of this thread, in the order in which they came. One function may be among them more than once. */
const listeners = new Set<{ readonly callback: (pressure: Pressure) => void }>()
/** Whether the channel is to hear of pressure though nobody listens. */
let isWatched = false
let isNative = false

function told(cause: number, severe: boolean, held: number, limit: number): void {
  const name = causes[cause]
  // A later version of the allocator may know more of them.
  if (name === undefined) return
  const pressure: Pressure = { cause: name, severe, held, limit }
  if (limitChannel.hasSubscribers) limitChannel.publish(pressure)
  for (const { callback } of [...listeners]) {
    try {
      callback(pressure)
    } catch (error) {
      // An uncaught exception as from any event; the others are told all the same.
      process.nextTick(() => {
        throw error
      })
    }
  }
}

/** Brings the native side in line with who is interested; `isNew`: somebody who is to hear of what lasts already. */
function connect(action: string, isNew: boolean): void {
  const isWanted = isWatched || listeners.size > 0
  if (!isNew && isWanted === isNative) return
  isNative = isWanted
  if (binding().listenToPressure(isWanted ? told : undefined) || !isWanted) return
  binding().listenToPressure(undefined)
  isNative = false
  throw new TessallocError(
    'ERR_TESSALLOC_UNSUPPORTED',
    `Cannot ${action}: there is no background thread to look for pressure; TESSALLOC_SCAVENGER=off leaves it out`,
  )
}

/** Whether `tessalloc:limit` is published in this thread though nobody listens. */
export function watchPressure(isWanted: boolean): void {
  const before = isWatched
  isWatched = isWanted
  try {
    connect('set limits', isWanted && !before)
  } catch (error) {
    isWatched = before
    throw error
  }
}

/**
 * Calls `callback` in this thread when memory should be given up: when a cause begins to last, becomes severe, or has ended (a
 * sixteenth below its limit) and begins anew, and once more when a listener joins while it lasts. By then what was unused has gone
 * back. Looked at once a second by the allocator's background thread. It does not keep the event loop alive, and ends with its
 * worker. What it throws is an uncaught exception. Scope: the process's allocator under preload; without it the soft limit is that of
 * the copy in this package, container and system count all the same.
 *
 * Throws `ERR_TESSALLOC_INVALID_OPTION` for a callback that is no function, `ERR_TESSALLOC_UNSUPPORTED` without background thread.
 *
 * ```ts
 * import { onPressure } from 'tessalloc'
 *
 * const cache = new Map<string, Buffer>()
 * using listener = onPressure(({ cause, severe }) => {
 *   if (severe || cause === 'container') cache.clear()
 * })
 * ```
 */
export function onPressure(callback: (pressure: Pressure) => void): Registration {
  if (typeof callback !== 'function') throw invalidOption('listen to pressure', 'callback', 'a function', callback)
  const listener = { callback }
  listeners.add(listener)
  try {
    connect('listen to pressure', true)
  } catch (error) {
    listeners.delete(listener)
    throw error
  }
  return registration(() => {
    listeners.delete(listener)
    connect('end a listener', false)
  })
}
