// What a worker's slot says is finished, or taken back. Runs as that worker (S11), and may be stopped and begun again anywhere.
import { finishPop, hasHappened, push } from './depot.ts'
import {
  capacityOf,
  cellWord,
  chainWord,
  classCount,
  countWord,
  expectedWord,
  heldCellWord,
  heldWord,
  intentCarve,
  intentFree,
  intentFreeAt,
  intentLarge,
  intentPop,
  intentPush,
  intentTake,
  intentWord,
  isInUse,
  magazineAt,
  movingWord,
  spareCountWord,
  spareWord,
  state,
  stateAllocated,
  stateAt,
  stateFree,
  stateHeld,
} from './layout.ts'
import { give, link } from './magazine.ts'
import { get, getByte, load, type Memory, refresh, set, setByte, swap, swapByte } from './memory.ts'
import { classAt, dropRun, giveRun, isOwnRun, recoverPages } from './pages.ts'

/** What {@link recover} found. */
export interface Recovered {
  /** Blocks that were in flight and are back in a magazine, or whose free is complete: 0 to 2. */
  inFlight: number
  pages: number
}

/** Finishes or takes back whatever the worker was doing. Afterwards its magazines are whole, and nothing is in flight. */
export function recover(m: Memory): Recovered {
  refresh(m)
  const found: Recovered = { inFlight: 0, pages: 0 }
  if (recoverIntent(m)) found.inFlight++
  for (let sizeClass = 0; sizeClass < classCount; sizeClass++) recoverMagazine(m, sizeClass)
  if (recoverHeld(m)) found.inFlight++
  if (recoverMoving(m)) found.inFlight++
  found.pages = recoverPages(m)
  return found
}

/** Brings all that the worker's magazines hold to the stacks; returns the number of blocks. */
export function flush(m: Memory): number {
  let blocks = 0
  for (let sizeClass = 0; sizeClass < classCount; sizeClass++) {
    const magazine = magazineAt(m.slot, sizeClass)
    for (const word of [magazine + chainWord, magazine + spareWord]) {
      if (get(m, word) === 0) continue
      blocks += get(m, word + countWord)
      push(m, sizeClass, word)
    }
  }
  return blocks
}

function recoverIntent(m: Memory): boolean {
  const intent = get(m, m.slot + intentWord)
  const block = intent & -16
  const sizeClass = (intent & 15) === intentPop ? block >>> 4 : classAt(m, block)
  const magazine = magazineAt(m.slot, sizeClass)
  switch (intent & 15) {
    case intentTake:
      // Before its first effect the block leads the chain still.
      if (get(m, magazine) === block) break
      return takeBack(m, block, magazine)
    case intentCarve: {
      // S3: only this worker's CAS can have written its number, since the block had no state before.
      const byte = getByte(m, stateAt(block))
      if (!isInUse(byte) || (byte & 63) !== m.me) break
      set(m, m.slot + expectedWord, byte)
      set(m, m.slot + intentWord, block | intentFree)
      return recoverFree(m, block, sizeClass, intentFree)
    }
    case intentLarge:
      if (!isOwnRun(m, block)) break
      dropRun(m, block)
      return true
    case intentFree:
    case intentFreeAt:
      return recoverFree(m, block, sizeClass, intent & 15)
    case intentPush:
      if (!hasHappened(m, sizeClass)) break
      for (const word of [magazine + chainWord, magazine + spareWord]) if (get(m, word) === block) set(m, word, 0)
      break
    case intentPop:
      if (hasHappened(m, sizeClass)) finishPop(m, magazine)
      break
  }
  set(m, m.slot + intentWord, 0)
  return false
}

/** A block that was taken from the chain but not handed out: becomes a free that has got as far as its state. */
function takeBack(m: Memory, block: number, magazine: number): boolean {
  setByte(m, stateAt(block), state(stateFree, m.me))
  set(m, m.slot + intentWord, block | intentFree)
  link(m, block, magazine)
  set(m, m.slot + intentWord, 0)
  return true
}

function recoverFree(m: Memory, block: number, sizeClass: number, intent: number): boolean {
  const freed = state(stateFree, m.me)
  let byte = sizeClass === -2 ? 0 : getByte(m, stateAt(block))
  // A free that had no effect yet is done now; the block of `freeAt` stays where its cell has it.
  if (intent === intentFree && byte === get(m, m.slot + expectedWord) && isInUse(byte)) {
    if (swapByte(m, stateAt(block), byte, freed) === byte) byte = freed
  }
  if (byte !== freed) {
    set(m, m.slot + intentWord, 0)
    return false
  }
  if (intent === intentFreeAt) swap(m, get(m, m.slot + cellWord), block, 0)
  if (sizeClass === -1) {
    dropRun(m, block)
    return true
  }
  const magazine = magazineAt(m.slot, sizeClass)
  if (get(m, magazine) !== block) link(m, block, magazine)
  set(m, m.slot + intentWord, 0)
  return true
}

/** A chain that is in use and in reserve was on its way from one to the other. Counts may be off by the block in flight. */
function recoverMagazine(m: Memory, sizeClass: number): void {
  const magazine = magazineAt(m.slot, sizeClass)
  if (get(m, magazine + spareWord) === get(m, magazine)) set(m, magazine + spareWord, 0)
  set(m, magazine + countWord, lengthOf(m, sizeClass, get(m, magazine)))
  set(m, magazine + spareCountWord, lengthOf(m, sizeClass, get(m, magazine + spareWord)))
}

function lengthOf(m: Memory, sizeClass: number, chain: number): number {
  let length = 0
  for (let block = chain; block !== 0 && length < (capacityOf[sizeClass] as number); block = get(m, block >>> 2))
    length++
  return length
}

function recoverHeld(m: Memory): boolean {
  const block = get(m, m.slot + heldWord)
  if (block === 0) return false
  const held = state(stateHeld, m.me)
  // In this order: a cell that held the block is emptied only after the state has changed (S10).
  const isHeld = getByte(m, stateAt(block)) === held
  const isPublished = load(m, get(m, m.slot + heldCellWord)) === block
  let isTakenBack = false
  if (isHeld && isPublished) swapByte(m, stateAt(block), held, state(stateAllocated, m.me))
  else if (isHeld) isTakenBack = discard(m, block, held)
  set(m, m.slot + heldWord, 0)
  return isTakenBack
}

/** The copy that a `realloc` was making is nobody's. */
function recoverMoving(m: Memory): boolean {
  const block = get(m, m.slot + movingWord)
  if (block === 0) return false
  const made = state(stateAllocated, m.me)
  const isTakenBack = getByte(m, stateAt(block)) === made && discard(m, block, made)
  set(m, m.slot + movingWord, 0)
  return isTakenBack
}

/** Frees a block of this worker that nobody else knows. */
export function discard(m: Memory, block: number, expected: number): boolean {
  const sizeClass = classAt(m, block)
  return sizeClass === -1 ? giveRun(m, block, expected, intentFree) : give(m, block, sizeClass, expected, intentFree)
}
