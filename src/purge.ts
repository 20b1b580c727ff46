import { purgeChannel } from './channels.ts'
import { binding } from './native.ts'

/** What {@link purge} did. Unit: bytes. */
export interface PurgeResult {
  /** Bytes of the process in RAM before. */
  readonly before: number
  /** Bytes of the process in RAM after. */
  readonly after: number
  /** Bytes given back: as tessalloc counts them, else what RSS fell by. */
  readonly returnedBytes: number
  /**
   * Whose memory was given back: `tessalloc` under preload, else `glibc` (`malloc_trim`) with that of arenas and heaps; `none`: only that
   * of arenas and heaps.
   */
  readonly via: 'tessalloc' | 'glibc' | 'none'
}

/**
 * Gives memory that was freed back to the system now, that of all threads. Blocks this thread until it is done: under glibc tens
 * of milliseconds, which the event loop waits for. Under preload it is rarely needed: an idle process gives back by itself. The
 * result is published to the channel `tessalloc:purge` of `node:diagnostics_channel`, if somebody is subscribed. May be called from
 * any thread.
 *
 * ```ts
 * const { before, after, via } = purge()
 * console.log(`${via}: RSS was ${before} bytes, is ${after} bytes`)
 * ```
 */
export function purge(): PurgeResult {
  const native = binding()
  const before = process.memoryUsage.rss()
  const { via, returnedBytes } = native.purge()
  const after = process.memoryUsage.rss()
  const result: PurgeResult = {
    before,
    after,
    returnedBytes: Number.isNaN(returnedBytes) ? Math.max(0, before - after) : returnedBytes,
    via: via as PurgeResult['via'],
  }
  if (purgeChannel.hasSubscribers) purgeChannel.publish(result)
  return result
}
