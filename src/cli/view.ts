// Reads the figures of a tessalloc that runs in another process, from that process's memory, as a debugger does. The library
// exports where they lie (`tessalloc_view_v1`, crates/tessalloc/src/view.rs); the process is neither stopped nor changed.
import { closeSync, openSync, readSync } from 'node:fs'
import { ElfFile } from '../elf.ts'

/** The allocator's own figures. Unit: bytes. Threads add theirs in steps: `allocated` lags by at most 256 KiB a thread. */
export interface AllocatorFigures {
  readonly allocated: number
  /** Freed but held. */
  readonly retained: number
  /** Memory that may be resident: the two above. */
  readonly committed: number
  readonly peakCommitted: number
  /** Given back since the start, counted each time. */
  readonly purged: number
}

/** Pages of one size class, or of large blocks. */
export interface ClassFigures {
  /** Unit: bytes. `null`: blocks that have runs of their own. */
  readonly blockBytes: number | null
  readonly pages: number
  /** Blocks in use, with those that threads keep at hand. */
  readonly blocksUsed: number
  /** Blocks made so far, used and free ones. */
  readonly blocksMade: number
}

/** An address range: from, to (exclusive). */
export type Range = readonly [from: number, to: number]

const symbolName = 'tessalloc_view_v1'
/** Bytes of the structure as of version 1. */
const viewBytes = 136
/** Kinds of pages, as `Kind` of crates/tessalloc/src/page.rs has them. */
const kind = { small: 1, large: 3 } as const

/** Counters that the structure gives places of, in its order. */
const counterNames = [
  'reservedBytes',
  'recordBytes',
  'dirtySlices',
  'dirtySlicesPeak',
  'holeBytes',
  'allocatedBytes',
  'purgedBytes',
  'threads',
] as const
/** Sizes and distances, in the order of `Places` in crates/tessalloc/src/region/places.rs. */
const placeNames = [
  'sliceBytes',
  'chunkSlices',
  'regionBytes',
  'regionBaseAt',
  'regionFrontierAt',
  'regionChunksAt',
  'regionPagesAt',
  'chunkBytes',
  'chunkStartsAt',
  'pageBytes',
  'pageKindAt',
  'pageClassAt',
  'pageUsedAt',
  'pageCarvedAt',
] as const

/** The structure as it was read. */
interface View {
  readonly counters: number
  readonly counterCount: number
  readonly counterAt: Readonly<Record<(typeof counterNames)[number], number>>
  readonly blockBytes: readonly number[]
  readonly regions: number
  readonly regionCount: number
  readonly places: Readonly<Record<(typeof placeNames)[number], number>>
}

/** Reader of one process. Dispose it: it holds a descriptor. */
export class ViewReader implements Disposable {
  readonly #memory: number
  readonly #view: View

  private constructor(memory: number, view: View) {
    this.#memory = memory
    this.#view = view
  }

  /**
   * Opens the memory of `pid`, in which the library at `path` is mapped from `base` on. Throws what the system says when that
   * is not allowed (another user's process, or `kernel.yama.ptrace_scope`), and nothing is there in libraries without a view.
   */
  static open(pid: number, path: string, base: number): ViewReader | undefined {
    // The path is as the process sees it: it may be in a container.
    using file = ElfFile.open(`/proc/${pid}/root${path}`)
    const offset = file?.definition(symbolName)
    if (offset === undefined) return undefined
    const memory = openSync(`/proc/${pid}/mem`, 'r')
    try {
      return new ViewReader(memory, readView(memory, base + offset))
    } catch (error) {
      closeSync(memory)
      throw error
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#memory)
  }

  /** The figures now. Cost: one read. Throws when the process has ended. */
  figures(): AllocatorFigures {
    const { counters, counterCount, counterAt, places } = this.#view
    const block = read(this.#memory, counters, counterCount * 8)
    const counter = (name: keyof View['counterAt']) => Number(block.readBigInt64LE(counterAt[name] * 8))
    const committed = Math.max(0, counter('dirtySlices') * places.sliceBytes - counter('holeBytes'))
    const allocated = Math.min(committed, Math.max(0, counter('allocatedBytes')))
    return {
      allocated,
      retained: committed - allocated,
      committed,
      peakCommitted: Math.max(committed, counter('dirtySlicesPeak') * places.sliceBytes),
      purged: counter('purgedBytes'),
    }
  }

  /** Where blocks lie: the parts of the regions that were ever used. */
  blockRanges(): Range[] {
    const { chunkSlices, sliceBytes } = this.#view.places
    return this.#regions().map(({ base, frontier }) => [base, base + frontier * chunkSlices * sliceBytes])
  }

  /** Figures by size class; classes without pages are left out. Cost: a read of 8 KiB for each 4 MiB that were ever used. */
  classes(): ClassFigures[] {
    const { blockBytes, places } = this.#view
    const { chunkSlices, chunkBytes, pageBytes } = places
    const rows = blockBytes.map(() => ({ pages: 0, blocksUsed: 0, blocksMade: 0 }))
    const large = { pages: 0, blocksUsed: 0, blocksMade: 0 }
    for (const { frontier, chunks, pages } of this.#regions()) {
      for (let chunk = 0; chunk < frontier; chunk++) {
        const starts = read(this.#memory, chunks + chunk * chunkBytes + places.chunkStartsAt, 8).readBigUInt64LE()
        if (starts === 0n) continue
        const table = read(this.#memory, pages + chunk * chunkSlices * pageBytes, chunkSlices * pageBytes)
        for (let slice = 0; slice < chunkSlices; slice++) {
          if (((starts >> BigInt(slice)) & 1n) === 0n) continue
          const at = slice * pageBytes
          const pageKind = table.readUInt8(at + places.pageKindAt)
          const row = pageKind === kind.small ? rows[table.readUInt8(at + places.pageClassAt)] : large
          if (row === undefined || (pageKind !== kind.small && pageKind !== kind.large)) continue
          row.pages += 1
          row.blocksUsed += pageKind === kind.large ? 1 : table.readUInt32LE(at + places.pageUsedAt)
          row.blocksMade += pageKind === kind.large ? 1 : table.readUInt32LE(at + places.pageCarvedAt)
        }
      }
    }
    const named = rows.map((row, index): ClassFigures => ({ blockBytes: blockBytes[index] ?? 0, ...row }))
    return [...named, { blockBytes: null, ...large }].filter((row) => row.pages > 0)
  }

  #regions(): { base: number; frontier: number; chunks: number; pages: number }[] {
    const { regions, regionCount, places } = this.#view
    const count = Number(read(this.#memory, regionCount, 8).readBigUInt64LE())
    const table = read(this.#memory, regions, count * places.regionBytes)
    return Array.from({ length: count }, (_, index) => {
      const word = (at: number) => Number(table.readBigUInt64LE(index * places.regionBytes + at))
      return {
        base: word(places.regionBaseAt),
        frontier: table.readUInt32LE(index * places.regionBytes + places.regionFrontierAt),
        chunks: word(places.regionChunksAt),
        pages: word(places.regionPagesAt),
      }
    })
  }
}

function readView(memory: number, address: number): View {
  const view = read(memory, address, viewBytes)
  const word = (at: number) => Number(view.readBigUInt64LE(at))
  const numbers = (at: number, count: number) => Array.from({ length: count }, (_, i) => view.readUInt32LE(at + i * 4))
  const [version, bytes] = numbers(0, 2)
  if (version !== 1 || (bytes ?? 0) < viewBytes) {
    throw new Error(`expected a view of version 1 with ${viewBytes} bytes, received version ${version} with ${bytes}`)
  }
  const [classCount = 0, counterCount = 0] = numbers(24, 2)
  const classes = read(memory, word(16), classCount * 4)
  return {
    counters: word(8),
    counterCount,
    counterAt: named(counterNames, numbers(32, counterNames.length)),
    blockBytes: Array.from({ length: classCount }, (_, i) => classes.readUInt32LE(i * 4)),
    regions: word(64),
    regionCount: word(72),
    places: named(placeNames, numbers(80, placeNames.length)),
  }
}

function named<Name extends string>(names: readonly Name[], numbers: readonly number[]): Record<Name, number> {
  return Object.fromEntries(names.map((name, i) => [name, numbers[i]])) as Record<Name, number>
}

/** `bytes` bytes at `address` of an opened memory; throws when they cannot be read. */
function read(memory: number, address: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  const got = readSync(memory, buffer, 0, bytes, address)
  if (got !== bytes) throw new Error(`expected ${bytes} bytes at 0x${address.toString(16)}, received ${got}`)
  return buffer
}
