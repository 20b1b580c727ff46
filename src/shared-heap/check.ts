// The heap counted and checked from outside the protocol, by the invariants of `layout.ts`.
import {
  batchOf,
  bumpAt,
  capacityOf,
  chainWord,
  classCount,
  currentAt,
  entryKind,
  entryValue,
  isInUse,
  magazineAt,
  pageBytes,
  pageClaimed,
  pageFree,
  pageHeadBytes,
  pageInstalling,
  pageInterior,
  pageLarge,
  pageShift,
  pageSmall,
  pageTableWord,
  sizeOf,
  slotAt,
  slotsMax,
  spareWord,
  stateAt,
  stateFree,
  statusWord,
} from './layout.ts'
import { chainOf, get, getByte, load, loadHead, type Memory, refresh } from './memory.ts'

/** Counts of {@link count}. */
export interface Counts {
  allocatedBlocks: number
  allocatedBytes: number
  freeBlocks: number
  freeBytes: number
  largeBlocks: number
  pages: number
  freePages: number
}

/** Counts blocks by their states. Blocks that others take or free meanwhile may be counted either way. */
export function count(m: Memory): Counts {
  refresh(m)
  const pages = m.limit >>> pageShift
  const counts: Counts = {
    allocatedBlocks: 0,
    allocatedBytes: 0,
    freeBlocks: 0,
    freeBytes: 0,
    largeBlocks: 0,
    pages: pages - m.firstPage,
    freePages: 0,
  }
  for (let page = m.firstPage; page < pages; page++) {
    const entry = load(m, pageTableWord + page)
    const kind = entryKind(entry)
    if (kind === pageFree) counts.freePages++
    if (kind === pageLarge) {
      counts.largeBlocks++
      counts.allocatedBlocks++
      counts.allocatedBytes += entryValue(entry) * pageBytes - pageHeadBytes
    }
    if (kind !== pageSmall && kind !== pageInstalling) continue
    const size = sizeOf[entry & 0xff] as number
    for (const block of carved(m, page, entry & 0xff)) {
      if (isInUse(getByte(m, stateAt(block)))) {
        counts.allocatedBlocks++
        counts.allocatedBytes += size
      } else {
        counts.freeBlocks++
        counts.freeBytes += size
      }
    }
  }
  return counts
}

function* carved(m: Memory, page: number, sizeClass: number): Generator<number> {
  const size = sizeOf[sizeClass] as number
  const start = (page << pageShift) + pageHeadBytes
  const end = start + (capacityOf[sizeClass] as number) * size
  // One more than counted may be carved.
  for (let block = start; block < end; block += size) {
    if (getByte(m, stateAt(block)) === 0) return
    yield block
  }
}

/** What {@link check} found. */
export interface Findings {
  /** Free blocks and claimed pages that are in no list: what workers that ended had in flight. */
  inFlight: number
  /** What is wrong, with the invariant. */
  readonly faults: string[]
}

/** Compares every list with every state and page entry. No other thread may use the heap meanwhile. */
export function check(m: Memory): Findings {
  refresh(m)
  const findings: Findings = { inFlight: 0, faults: [] }
  const listed = new Map<number, string>()
  for (let sizeClass = 0; sizeClass < classCount; sizeClass++) {
    checkCurrent(m, sizeClass, findings)
    const limit = capacityOf[sizeClass] as number
    let chain = chainOf(loadHead(m, sizeClass))
    while (chain !== 0) {
      const length = walk(m, sizeClass, chain, `the stack of class ${sizeClass}`, listed, findings)
      if (length < 0) break
      if (length > (batchOf[sizeClass] as number) + 1 || length > limit)
        findings.faults.push(`S8: a chain of class ${sizeClass} has ${length} blocks`)
      chain = get(m, (chain >>> 2) + 1)
    }
    for (let worker = 1; worker <= slotsMax; worker++) {
      const magazine = magazineAt(slotAt(worker), sizeClass)
      const [chain, spare] = [get(m, magazine + chainWord), get(m, magazine + spareWord)]
      if (get(m, slotAt(worker) + statusWord) === 0 && (chain !== 0 || spare !== 0))
        findings.faults.push(`S11: slot ${worker} is free and has blocks of class ${sizeClass}`)
      walk(m, sizeClass, chain, `the magazine of worker ${worker}`, listed, findings)
      // A worker killed while its chain changes places has it twice.
      if (spare !== chain) walk(m, sizeClass, spare, `the reserve of worker ${worker}`, listed, findings)
    }
  }
  checkPages(m, listed, findings)
  return findings
}

function checkCurrent(m: Memory, sizeClass: number, { faults }: Findings): void {
  const page = load(m, currentAt(sizeClass))
  if (page === 0) return
  const entry = load(m, pageTableWord + page)
  const kind = entryKind(entry)
  if ((kind !== pageSmall && kind !== pageInstalling) || (entry & 0xff) !== sizeClass)
    faults.push(`S4: class ${sizeClass} carves page ${page}, which is not of it`)
}

/** Blocks in a chain; -1 when it is broken. */
function walk(
  m: Memory,
  sizeClass: number,
  chain: number,
  where: string,
  listed: Map<number, string>,
  { faults }: Findings,
): number {
  let length = 0
  for (let block = chain; block !== 0; block = get(m, block >>> 2)) {
    const entry = block < m.limit ? load(m, pageTableWord + (block >>> pageShift)) : 0
    const kind = entryKind(entry)
    const fault =
      (kind !== pageSmall && kind !== pageInstalling) || (entry & 0xff) !== sizeClass
        ? 'is no block of its class'
        : getByte(m, stateAt(block)) >>> 6 !== stateFree
          ? 'is not free'
          : listed.has(block)
            ? `is in ${listed.get(block)} too`
            : undefined
    if (fault !== undefined) {
      faults.push(`S8: block ${block} in ${where} ${fault}`)
      return -1
    }
    listed.set(block, where)
    length++
  }
  return length
}

function checkPages(m: Memory, listed: ReadonlyMap<number, string>, findings: Findings): void {
  const { faults } = findings
  const pages = m.limit >>> pageShift
  let free = 0
  for (let page = m.firstPage; page < pages; page++) {
    const entry = load(m, pageTableWord + page)
    const kind = entryKind(entry)
    if (kind === pageSmall || kind === pageInstalling) {
      free += checkSmall(m, page, entry & 0xff, listed, findings)
      if (kind === pageInstalling) findings.inFlight++
    } else if (kind === pageLarge) {
      const byte = getByte(m, stateAt((page << pageShift) + pageHeadBytes))
      if (!isInUse(byte)) findings.inFlight++
      for (let last = page + entryValue(entry) - 1; page < last; ) {
        if (entryKind(load(m, pageTableWord + ++page)) !== pageInterior)
          faults.push(`S2: page ${page} is not interior, though in a large block`)
      }
    } else if (kind === pageClaimed) {
      findings.inFlight++
      while (page + 1 < pages && entryKind(load(m, pageTableWord + page + 1)) === pageInterior) page++
    } else if (kind === pageInterior) faults.push(`S2: page ${page} is interior, and of no block`)
    else if (kind !== pageFree) faults.push(`S1: the entry of page ${page} is ${entry}`)
  }
  if (free !== listed.size) faults.push(`S8: ${listed.size} blocks are in lists, ${free} of them in pages`)
}

/** Free blocks of the page that are in lists. */
function checkSmall(
  m: Memory,
  page: number,
  sizeClass: number,
  listed: ReadonlyMap<number, string>,
  findings: Findings,
): number {
  const blocks = [...carved(m, page, sizeClass)]
  const starts = new Set(blocks)
  const bump = load(m, bumpAt(page))
  if (bump !== blocks.length && bump !== blocks.length - 1)
    findings.faults.push(`S5: page ${page} counts ${bump} blocks carved, its states ${blocks.length}`)
  const start = page << pageShift
  for (let offset = start + pageHeadBytes; offset < start + pageBytes; offset += 16) {
    if (getByte(m, stateAt(offset)) !== 0 && !starts.has(offset))
      findings.faults.push(`S3: ${offset} has a state, and no block starts there`)
  }
  const free = blocks.filter((block) => !isInUse(getByte(m, stateAt(block))))
  const found = free.filter((block) => listed.has(block)).length
  findings.inFlight += free.length - found
  return found
}
