import { binaryPath, binding } from './native.ts'
import { packageVersion } from './version.ts'

/** Which allocator serves this process, and how. */
export interface Status {
  /**
   * `preload`: tessalloc serves every `malloc` of this process. `addon`: it serves only the add-on itself, the process keeps
   * its own allocator. `none`: there are no binaries for this platform.
   */
  readonly active: 'preload' | 'addon' | 'none'
  /**
   * Name of the allocator that serves `malloc`: `tessalloc`, `glibc`, `musl`, `jemalloc`, `mimalloc`, `tcmalloc`, `snmalloc`,
   * `rpmalloc`, or `unknown`.
   */
  readonly allocator: string
  /** Version of tessalloc: of the preload library when it is active, else of this package. */
  readonly version: string
  /** File of the active tessalloc: preload library or add-on; `null` when there is none. */
  readonly path: string | null
}

/**
 * Tells which allocator serves this process; the same in all threads. Never throws; cost: about a microsecond after the first call.
 *
 * ```ts
 * const { active, allocator } = status()
 * if (active !== 'preload') console.log(`malloc is that of ${allocator}: start with "npx tessalloc run -- node app.js"`)
 * ```
 */
export function status(): Status {
  let addon: string
  let info: ReturnType<ReturnType<typeof binding>['allocatorInfo']>
  try {
    addon = binaryPath('binding')
    info = binding().allocatorInfo()
  } catch {
    return { active: 'none', allocator: 'unknown', version: packageVersion, path: null }
  }
  return {
    active: info.preload ? 'preload' : 'addon',
    allocator: info.allocator,
    version: info.version,
    path: info.preload ? (info.path ?? null) : addon,
  }
}
