// The page table: runs of pages are claimed, become small pages or large blocks, and are released.
import {
  bumpAt,
  capacityOf,
  cellWord,
  currentAt,
  entryKind,
  entryValue,
  expectedWord,
  intentCarve,
  intentFreeAt,
  intentLarge,
  intentWord,
  isInUse,
  pageBytes,
  pageClaimed,
  pageEntry,
  pageFree,
  pageHeadBytes,
  pageInstalling,
  pageInterior,
  pageLarge,
  pageShift,
  pageSmall,
  pageTableWord,
  sizeOf,
  state,
  stateAt,
  stateFree,
} from './layout.ts'
import { clear, get, getByte, grow, load, type Memory, refresh, set, setByte, store, swap, swapByte } from './memory.ts'

/** How often a search is repeated that met pages which others had claimed for the moment. */
const repeats = 4

/**
 * Claims `count` pages in a row, the first that fit; returns the first of them, 0 when there are none. Lock-free: a claim that fails has met
 * another worker's. Cost: one step a page, or a large block, before them.
 */
export function claim(m: Memory, count: number): number {
  const entry = pageEntry(pageClaimed, m.me)
  for (let attempt = 0; ; attempt++) {
    const pages = m.limit >>> pageShift
    let met = false
    let first = m.firstPage
    while (first + count <= pages) {
      let found = 0
      while (found < count && isClaimed(m, pageTableWord + first + found, entry)) found++
      if (found === count) return first
      const blocking = load(m, pageTableWord + first + found)
      for (let page = first + found - 1; page >= first; page--) store(m, pageTableWord + page, pageFree)
      if (entryKind(blocking) === pageClaimed || blocking === pageFree) met = true
      first += found + (entryKind(blocking) === pageLarge ? entryValue(blocking) : 1)
    }
    if (grow(m, count - freeAtEnd(m, count - 1))) continue
    if (!met || attempt === repeats) return 0
  }
}

/** Claims one page if it is free: reads before it writes, so that a search does not take the lines of others. */
function isClaimed(m: Memory, word: number, entry: number): boolean {
  return load(m, word) === pageFree && swap(m, word, pageFree, entry) === pageFree
}

/** Free pages at the end of the heap, at most `most`: with those it grows by they make a run. */
function freeAtEnd(m: Memory, most: number): number {
  const pages = m.limit >>> pageShift
  let free = 0
  while (free < most && load(m, pageTableWord + pages - 1 - free) === pageFree) free++
  return free
}

/** Gives back a run of this worker, from its end (S2). `first` is claimed, the others follow it as `interior`. */
export function releaseRun(m: Memory, first: number): void {
  const pages = m.limit >>> pageShift
  let last = first
  while (last + 1 < pages && entryKind(load(m, pageTableWord + last + 1)) === pageInterior) last++
  for (let page = last; page >= first; page--) store(m, pageTableWord + page, pageFree)
}

/**
 * A new large block with `mark` as its state, of `count` pages; 0: no memory. Leaves the intent for the caller to end.
 * The intent comes before the entry that makes it a block: until then the pages are claimed, which says all.
 */
export function takeRun(m: Memory, count: number, mark: number): number {
  const first = claim(m, count)
  if (first === 0) return 0
  const block = (first << pageShift) + pageHeadBytes
  setByte(m, stateAt(block), mark)
  for (let page = first + 1; page < first + count; page++) store(m, pageTableWord + page, pageEntry(pageInterior, 0))
  set(m, m.slot + intentWord, block | intentLarge)
  store(m, pageTableWord + first, pageEntry(pageLarge, count))
  return block
}

/**
 * Frees a large block whose state is `expected`, for `intentFree` or `intentFreeAt`. `false` when the state was another: somebody
 * freed it first.
 */
export function giveRun(m: Memory, block: number, expected: number, intent: number): boolean {
  set(m, m.slot + expectedWord, expected)
  set(m, m.slot + intentWord, block | intent)
  const isOurs = swapByte(m, stateAt(block), expected, state(stateFree, m.me)) === expected
  if (isOurs && intent === intentFreeAt) swap(m, get(m, m.slot + cellWord), block, 0)
  if (isOurs) dropRun(m, block)
  else set(m, m.slot + intentWord, 0)
  return isOurs
}

/** Ends a large block that this worker alone has, and the intent: a claimed page says all that is left to do. */
export function dropRun(m: Memory, block: number): void {
  const first = block >>> pageShift
  store(m, pageTableWord + first, pageEntry(pageClaimed, m.me))
  set(m, m.slot + intentWord, 0)
  releaseRun(m, first)
}

/**
 * Carves a new block of a size class with `mark` as its state; 0: no memory. Leaves the intent for the caller to end. Lock-free: who
 * finds a block carved but not counted counts it.
 */
export function carve(m: Memory, sizeClass: number, mark: number): number {
  for (;;) {
    const page = load(m, currentAt(sizeClass))
    // It may lie in what another worker let the heap grow by.
    if (page << pageShift >= m.limit) refresh(m)
    const count = page === 0 ? 0 : load(m, bumpAt(page))
    if (page === 0 || count >= (capacityOf[sizeClass] as number)) {
      if (install(m, sizeClass, page)) continue
      // Another worker may have installed the page that there was.
      if (load(m, currentAt(sizeClass)) === page) return 0
      continue
    }
    const block = (page << pageShift) + pageHeadBytes + count * (sizeOf[sizeClass] as number)
    set(m, m.slot + intentWord, block | intentCarve)
    const before = swapByte(m, stateAt(block), 0, mark)
    swap(m, bumpAt(page), count, count + 1)
    if (before === 0) return block
    set(m, m.slot + intentWord, 0)
  }
}

/** Puts a new page in the place of `exhausted`, unless another worker does. `false`: no memory. */
function install(m: Memory, sizeClass: number, exhausted: number): boolean {
  const page = claim(m, 1)
  if (page === 0) return false
  clear(m, page << pageShift, (page << pageShift) + pageHeadBytes)
  store(m, pageTableWord + page, pageEntry(pageInstalling, (m.me << 8) | sizeClass))
  const isInstalled = swap(m, currentAt(sizeClass), exhausted, page) === exhausted
  store(m, pageTableWord + page, isInstalled ? pageEntry(pageSmall, sizeClass) : pageFree)
  return true
}

/** What a worker that ended had of pages goes back, or becomes what it was about to become. Returns the number of pages given back. */
export function recoverPages(m: Memory): number {
  refresh(m)
  let returned = 0
  for (let page = (m.limit >>> pageShift) - 1; page >= m.firstPage; page--) {
    const entry = load(m, pageTableWord + page)
    if (entry === pageEntry(pageClaimed, m.me)) {
      releaseRun(m, page)
      returned++
    } else if (entryKind(entry) === pageInstalling && entryValue(entry) >>> 8 === m.me) {
      const sizeClass = entry & 0xff
      // In this order: only a page that was used up is replaced (S4), and then `bump` is not 0.
      const isCurrent = load(m, currentAt(sizeClass)) === page
      const isUsed = load(m, bumpAt(page)) > 0
      store(m, pageTableWord + page, isCurrent || isUsed ? pageEntry(pageSmall, sizeClass) : pageFree)
      if (!isCurrent && !isUsed) returned++
    }
  }
  return returned
}

/** Size class of the small block, or -1 for a large one, or -2 when no block starts at `offset`. Any number may be asked for. */
export function classAt(m: Memory, offset: number): number {
  if (offset >>> 0 !== offset || (offset & 15) !== 0) return -2
  if (offset >= m.limit) refresh(m)
  if (offset >= m.limit || offset < m.firstPage * pageBytes) return -2
  const inPage = offset & (pageBytes - 1)
  const entry = get(m, pageTableWord + (offset >>> pageShift))
  const kind = entryKind(entry)
  if (kind === pageLarge) return inPage === pageHeadBytes ? -1 : -2
  return (kind === pageSmall || kind === pageInstalling) && inPage >= pageHeadBytes ? entry & 0xff : -2
}

/** Whether a large block starts at `block` that this worker made and nobody has. */
export function isOwnRun(m: Memory, block: number): boolean {
  if (entryKind(load(m, pageTableWord + (block >>> pageShift))) !== pageLarge) return false
  const byte = getByte(m, stateAt(block))
  return isInUse(byte) && (byte & 63) === m.me
}
