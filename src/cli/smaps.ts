// What the resident memory of a process is for, read from its mappings. Linux only.
import { readFileSync } from 'node:fs'
import type { Range } from './view.ts'

/**
 * What memory is for. A mapping has one cause; the first rule that fits decides.
 *
 * | cause | rule | sure |
 * |---|---|---|
 * | `blocks` | in the regions of tessalloc, as its view tells; without a view by flags: no swap reserved, no huge pages, 32 MiB or more | yes; by flags nearly |
 * | `tables` | the other mappings of tessalloc, by the same flags | nearly |
 * | `js` | anonymous and kept out of forks, as V8 does with its heap and its code | nearly |
 * | `stacks` | the first thread's by name; anonymous memory right above a guard | nearly |
 * | `shared` | shared with other processes, or of `/dev/shm` and memfd | yes |
 * | `files` | programs and libraries, their code and their data | yes |
 * | `native` | all other anonymous memory: the system's `malloc`, and what is mapped without it | – |
 */
export const causes = ['js', 'blocks', 'tables', 'native', 'stacks', 'files', 'shared'] as const
export type Cause = (typeof causes)[number]

/** A line of `/proc/PID/maps` with what `smaps` adds. Memory in bytes. */
export interface Mapping {
  readonly from: number
  readonly to: number
  readonly access: string
  readonly path: string
  readonly rss: number
  readonly pss: number
  readonly hugeBytes: number
  /** Two-letter flags of the kernel: `nr` no swap reserved, `nh` no huge pages, `dc` not in forks, … */
  readonly flags: ReadonlySet<string>
}

/** The mappings in the text of `smaps`, in order of their addresses. */
export function parseSmaps(text: string): Mapping[] {
  const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)$/
  const mappings: { -readonly [Key in keyof Mapping]: Mapping[Key] }[] = []
  for (const line of text.split('\n')) {
    const [isHead, from = '', to = '', access = '', path = ''] = head.exec(line) ?? []
    const last = mappings.at(-1)
    if (isHead !== undefined) {
      const range = { from: Number.parseInt(from, 16), to: Number.parseInt(to, 16) }
      mappings.push({ ...range, access, path, rss: 0, pss: 0, hugeBytes: 0, flags: new Set() })
    } else if (last !== undefined) {
      const bytes = () => Number.parseInt(line.slice(line.indexOf(':') + 1), 10) * 1024
      if (line.startsWith('Rss:')) last.rss = bytes()
      else if (line.startsWith('Pss:')) last.pss = bytes()
      else if (line.startsWith('AnonHugePages:')) last.hugeBytes = bytes()
      else if (line.startsWith('VmFlags:')) last.flags = new Set(line.slice(8).trim().split(' '))
    }
  }
  return mappings
}

/** The mappings of a process. Throws what the system says: `ENOENT` when it is gone, `EACCES` when it is another user's. */
export function readMappings(pid: number): Mapping[] {
  return parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'utf8'))
}

const mib = 2 ** 20
const guardBytesMax = 64 * 1024
/** Areas of glibc for other threads start at multiples of this: what lies below is no guard. */
const glibcAreaBytes = 64 * mib
const regionBytesMin = 32 * mib

const isAnonymous = ({ path }: Mapping) => path === '' || path.startsWith('[anon')
const hasFlagsOfOurs = (mapping: Mapping) =>
  isAnonymous(mapping) && mapping.flags.has('nr') && mapping.flags.has('nh') && !mapping.flags.has('dc')

/** Mappings of tessalloc that hang together, with whether they hold blocks: tables begin with a guard, and regions are large. */
function rangesByFlags(mappings: readonly Mapping[]): { range: Range; cause: 'blocks' | 'tables' }[] {
  const groups: Mapping[][] = []
  for (const mapping of mappings.filter(hasFlagsOfOurs)) {
    const last = groups.at(-1)
    if (last?.at(-1)?.to === mapping.from) last.push(mapping)
    else groups.push([mapping])
  }
  return groups.map((group) => {
    const [from, to] = [group[0]?.from ?? 0, group.at(-1)?.to ?? 0]
    const isRegion = group[0]?.access.startsWith('rw') && to - from >= regionBytesMin
    return { range: [from, to], cause: isRegion ? 'blocks' : 'tables' }
  })
}

/** Says what each mapping is for. `blockRanges`: where tessalloc's blocks lie, if its view tells. */
export function causeOf(mappings: readonly Mapping[], blockRanges?: readonly Range[]): (mapping: Mapping) => Cause {
  const ours = preloadedLibrary(mappings) ? rangesByFlags(mappings) : []
  const isIn = (mapping: Mapping, [from, to]: Range) => mapping.from < to && mapping.to > from
  const guarded = new Set(
    mappings
      .filter((below) => below.access.startsWith('---') && below.to - below.from <= guardBytesMax)
      .map((below) => below.to),
  )
  return (mapping) => {
    const { path, from, access, flags } = mapping
    if (access.endsWith('s') || /^(\/dev\/shm\/|\/memfd:|\/SYSV)/.test(path)) return 'shared'
    if (!isAnonymous(mapping)) {
      if (path.startsWith('/')) return 'files'
      return path.startsWith('[stack') ? 'stacks' : 'native'
    }
    if (blockRanges?.some((range) => isIn(mapping, range))) return 'blocks'
    const own = ours.find(({ range }) => isIn(mapping, range))
    // With a view the regions are known: the rest of ours are tables.
    if (own !== undefined) return blockRanges === undefined ? own.cause : 'tables'
    if (flags.has('dc')) return 'js'
    if (guarded.has(from) && from % glibcAreaBytes !== 0) return 'stacks'
    return 'native'
  }
}

/** Resident bytes by cause. */
export function rssByCause(mappings: readonly Mapping[], blockRanges?: readonly Range[]): Record<Cause, number> {
  const sums = Object.fromEntries(causes.map((cause) => [cause, 0])) as Record<Cause, number>
  const cause = causeOf(mappings, blockRanges)
  for (const mapping of mappings) sums[cause(mapping)] += mapping.rss
  return sums
}

/**
 * First mapping of the preload library: its file, and the address that its offsets count from. One that the loader gave up, as on
 * a noexec file system, leaves mappings behind, but no code.
 */
export function preloadedLibrary(mappings: readonly Mapping[]): Mapping | undefined {
  const ours = mappings.filter(({ path }) => path.includes('libtessalloc'))
  return ours.some(({ access }) => access[2] === 'x') ? ours[0] : undefined
}
