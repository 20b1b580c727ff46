/** A count of bytes for people: MB are 10^6 bytes, as `ps` and monitors count. */
export function bytesText(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 9.95e6 ? 1 : 0)} MB`
}

/** A duration for people. */
export function msText(ms: number): string {
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`
}

/** A ratio for people. */
export function ratioText(ratio: number): string {
  return `${ratio.toFixed(2)} ×`
}
