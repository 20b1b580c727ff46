// Blocks of one worker: taken from its magazine and given to it, with no atomic operation but the one that frees. Each step of the
// order below matters: `recovery.ts` relies on it.

import { pop, push } from './depot.ts'
import {
  batchOf,
  cellWord,
  chainWord,
  countWord,
  expectedWord,
  heldCellWord,
  heldWord,
  intentFreeAt,
  intentTake,
  intentWord,
  magazineAt,
  spareCountWord,
  spareWord,
  state,
  stateAllocated,
  stateAt,
  stateFree,
  stateHeld,
} from './layout.ts'
import { get, getByte, load, type Memory, refresh, set, setByte, swap, swapByte } from './memory.ts'
import { carve } from './pages.ts'

/** What {@link take} returns when the chain has been written over. */
export const corrupt = -1

/**
 * A block of a size class with `mark` as its state; 0: no memory; {@link corrupt}. Leaves the intent for the caller to end, when it
 * has recorded the block or is about to return it.
 */
export function take(m: Memory, sizeClass: number, mark: number): number {
  const magazine = magazineAt(m.slot, sizeClass)
  const block = get(m, magazine)
  if (block === 0) return refill(m, sizeClass, magazine) ? take(m, sizeClass, mark) : carveOrPop(m, sizeClass, mark)
  if (getByte(m, stateAt(block)) >>> 6 !== stateFree) {
    // A block of the chain was written to after it was freed: where the rest of the chain is, nobody knows.
    set(m, magazine, 0)
    set(m, magazine + countWord, 0)
    return corrupt
  }
  set(m, m.slot + intentWord, block | intentTake)
  set(m, magazine, get(m, block >>> 2))
  set(m, magazine + countWord, get(m, magazine + countWord) - 1)
  setByte(m, stateAt(block), mark)
  return block
}

/** Fills the empty magazine from its reserve or the stack. */
function refill(m: Memory, sizeClass: number, magazine: number): boolean {
  const spare = get(m, magazine + spareWord)
  if (spare === 0) return pop(m, sizeClass, magazine)
  set(m, magazine + countWord, get(m, magazine + spareCountWord))
  set(m, magazine, spare)
  set(m, magazine + spareWord, 0)
  return true
}

function carveOrPop(m: Memory, sizeClass: number, mark: number): number {
  const block = carve(m, sizeClass, mark)
  // While there was no page, somebody may have pushed a chain.
  if (block !== 0 || !pop(m, sizeClass, magazineAt(m.slot, sizeClass))) return block
  return take(m, sizeClass, mark)
}

/** Makes room for a block in a full magazine: its chain becomes the reserve, and the reserve before it goes to the stack. */
function makeRoom(m: Memory, sizeClass: number, magazine: number): void {
  if (get(m, magazine + spareWord) !== 0) push(m, sizeClass, magazine + spareWord)
  set(m, magazine + spareCountWord, get(m, magazine + countWord))
  set(m, magazine + spareWord, get(m, magazine))
  set(m, magazine, 0)
  set(m, magazine + countWord, 0)
}

/**
 * Frees a small block whose state is `expected`, for `intentFree` or `intentFreeAt`. `false` when the state was another: somebody
 * freed it first.
 */
export function give(m: Memory, block: number, sizeClass: number, expected: number, intent: number): boolean {
  const magazine = magazineAt(m.slot, sizeClass)
  if (get(m, magazine + countWord) >= (batchOf[sizeClass] as number)) makeRoom(m, sizeClass, magazine)
  set(m, m.slot + expectedWord, expected)
  set(m, m.slot + intentWord, block | intent)
  const isOurs = swapByte(m, stateAt(block), expected, state(stateFree, m.me)) === expected
  if (isOurs) {
    if (intent === intentFreeAt) swap(m, get(m, m.slot + cellWord), block, 0)
    link(m, block, magazine)
  }
  set(m, m.slot + intentWord, 0)
  return isOurs
}

/** Puts a block that this worker alone has at the front of its magazine. */
export function link(m: Memory, block: number, magazine: number): void {
  set(m, block >>> 2, get(m, magazine + chainWord))
  set(m, magazine, block)
  set(m, magazine + countWord, get(m, magazine + countWord) + 1)
}

/** Records `block`, whose state is `held`, until {@link publish}; ends the intent. `cell` is the index of a word. */
export function hold(m: Memory, block: number, cell: number): void {
  set(m, m.slot + heldCellWord, cell)
  set(m, m.slot + heldWord, block)
  set(m, m.slot + intentWord, 0)
}

/** Puts the held block in its cell. `false` when the cell is not empty; the block is held still then. */
export function publish(m: Memory): boolean {
  const block = get(m, m.slot + heldWord)
  if (swap(m, get(m, m.slot + heldCellWord), 0, block) !== 0) return false
  swapByte(m, stateAt(block), state(stateHeld, m.me), state(stateAllocated, m.me))
  set(m, m.slot + heldWord, 0)
  return true
}

/** S10: empties the cell and returns what it held. One worker at a time may empty a cell. */
export function emptyCell(m: Memory, cell: number): number {
  const block = load(m, cell)
  if (block === 0) return 0
  if (block >= m.limit) refresh(m)
  const byte = getByte(m, stateAt(block))
  if (byte >>> 6 === stateHeld) swapByte(m, stateAt(block), byte, state(stateAllocated, byte & 63))
  return swap(m, cell, block, 0) === block ? block : 0
}
