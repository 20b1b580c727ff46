/** The ways in which a preload is lost or does less than it could, by names that stay. */
export type FindingId =
  | 'version'
  | 'add-on'
  | 'library'
  | 'library-missing'
  | 'library-unreadable'
  | 'library-private'
  | 'library-path'
  | 'library-arch'
  | 'library-noexec'
  | 'library-ignored'
  | 'library-deleted'
  | 'other-first'
  | 'own-malloc'
  | 'loaded'
  | 'not-asked'
  | 'dropped'
  | 'secure'
  | 'static'
  | 'musl'
  | 'no-preload'
  | 'arch'
  | 'unreadable'
  | 'script'
  | 'program'
  | 'no-program'
  | 'sharp'
  | 'overcommit'
  | 'huge-pages'
  | 'address-space'
  | 'memory'

/** One thing looked at. `warning` may be as wanted; `failed` means that tessalloc does not work there. */
export interface Finding {
  readonly state: 'ok' | 'warning' | 'failed'
  readonly id: FindingId
  readonly what: string
  readonly detail: string
  /** What to do about it; `null` where there is nothing to do. */
  readonly todo: string | null
}

export const ok = (id: FindingId, what: string, detail: string): Finding => ({
  state: 'ok',
  id,
  what,
  detail,
  todo: null,
})
export const warning = (id: FindingId, what: string, detail: string, todo: string): Finding => ({
  state: 'warning',
  id,
  what,
  detail,
  todo,
})
export const failed = (id: FindingId, what: string, detail: string, todo: string): Finding => ({
  state: 'failed',
  id,
  what,
  detail,
  todo,
})
