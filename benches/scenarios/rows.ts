// The scenarios, what is measured of each, and our bars.

/** Each is a script of this folder. */
export const scenarios = ['workers', 'window', 'bursts', 'sharp', 'churn', 'tls', 'gunzip', 'scrypt'] as const

export const memoryKeys = ['peakRssBytes', 'idleRssBytes', 'jsHeapBytes', 'workCpuMs', 'idleCpuMs'] as const
/** What a scenario holds at its peak and at the end, and its CPU time. */
export type Memory = Readonly<Record<(typeof memoryKeys)[number], number>>

export const loopKeys = [
  'turns',
  'delayMs',
  'blockedMs',
  'turnsOfPurges',
  'purgeDelayMs',
  'purgeBlockedMs',
  'purgedBytes',
  'trafficRssBytes',
] as const
/** The longest turns of the event loop: of all, and of those in which memory went back; what is resident after light traffic. */
export type Loop = Readonly<Record<(typeof loopKeys)[number], number>>

/** What a scenario came to on one allocator: medians, and each run. */
export interface Cell {
  readonly allocator: string
  readonly memory: Memory | undefined
  readonly loop: Loop | undefined
  readonly runs: { readonly memory: readonly Memory[]; readonly loop: readonly Loop[] }
}

export interface Result {
  readonly scenario: string
  readonly cells: readonly Cell[]
  readonly bars: readonly { readonly text: string; readonly met: boolean }[]
}

const idleMost = 1.1
const peakMost = 1.1
const stallMostMs = 5

/** Idle memory beside jemalloc's, peak beside the system's, and what the loop stalls for purges. */
export function barsOf(cells: readonly Cell[]): Result['bars'] {
  const of = (name: string) => cells.find(({ allocator }) => allocator === name)
  const [ours, system, jemalloc] = [of('tessalloc'), of('system'), of('jemalloc')]
  const bars: { text: string; met: boolean }[] = []
  const add = (what: string, value: number, most: number, unit: string) => {
    const met = value <= most
    bars.push({ text: `${what} ≤ ${most} ${unit}: ${met ? 'met' : 'NOT met'} (${value.toFixed(2)})`, met })
  }
  if (ours?.memory && jemalloc?.memory) {
    add('idle RSS', ours.memory.idleRssBytes / jemalloc.memory.idleRssBytes, idleMost, '× jemalloc')
  }
  if (ours?.memory && system?.memory) {
    add('peak RSS', ours.memory.peakRssBytes / system.memory.peakRssBytes, peakMost, '× system')
  }
  // Blocked, not just busy: purges run on a thread of their own, and what they can do to the loop is to make it wait.
  if (ours?.loop) add('blocked in a turn with a purge', ours.loop.purgeBlockedMs, stallMostMs, 'ms')
  return bars
}
