// The stacks of chains, one a size class: where magazines get blocks from and bring them to. Treiber's stack with S6 and S7.
import { countWord, intentPop, intentPush, intentWord, sequenceWord, targetWord } from './layout.ts'
import {
  chainOf,
  get,
  headOf,
  load,
  loadDone,
  loadHead,
  type Memory,
  refresh,
  sequenceOf,
  set,
  swapDone,
  swapHead,
  writerOf,
} from './memory.ts'

/** S7: says to the worker that wrote `head` that its CAS has happened, before `head` is replaced. */
function announce(m: Memory, head: bigint): void {
  const writer = writerOf(head)
  // What this worker wrote is of an operation before this one: nobody will ask.
  if (writer === 0 || writer === m.me) return
  const sequence = sequenceOf(head)
  let done = loadDone(m, writer)
  while (((sequence - done) | 0) > 0) {
    if (swapDone(m, writer, done, sequence)) return
    done = loadDone(m, writer)
  }
}

/** Whether the last operation of this worker on the stack has taken effect. */
export function hasHappened(m: Memory, sizeClass: number): boolean {
  const sequence = get(m, m.slot + sequenceWord)
  const head = loadHead(m, sizeClass)
  if (writerOf(head) === m.me && sequenceOf(head) === sequence) return true
  return loadDone(m, m.me) === sequence
}

/** A number for the next operation. Before the intent: an intent never stands beside the number of the operation before. */
function nextSequence(m: Memory): number {
  const sequence = (get(m, m.slot + sequenceWord) + 1) | 0
  set(m, m.slot + sequenceWord, sequence)
  return sequence
}

/**
 * Pushes the chain at `word` of the magazine (in use or in reserve; its count is in the word after), and empties both words.
 * Lock-free.
 */
export function push(m: Memory, sizeClass: number, word: number): void {
  const chain = get(m, word)
  const sequence = nextSequence(m)
  set(m, (chain >>> 2) + 2, get(m, word + countWord))
  set(m, m.slot + intentWord, chain | intentPush)
  for (;;) {
    const head = loadHead(m, sizeClass)
    set(m, (chain >>> 2) + 1, chainOf(head))
    announce(m, head)
    if (swapHead(m, sizeClass, head, headOf(chain, m.me, sequence))) break
  }
  set(m, word, 0)
  set(m, word + countWord, 0)
  set(m, m.slot + intentWord, 0)
}

/** Pops a chain into the empty magazine at `magazine`. `false` when the stack is empty. Lock-free. */
export function pop(m: Memory, sizeClass: number, magazine: number): boolean {
  const sequence = nextSequence(m)
  set(m, m.slot + intentWord, (sizeClass << 4) | intentPop)
  for (;;) {
    const head = loadHead(m, sizeClass)
    const chain = chainOf(head)
    if (chain === 0) {
      set(m, m.slot + intentWord, 0)
      return false
    }
    // Blocks of the chain may lie in what another worker let the heap grow by.
    refresh(m)
    // If the chain is not the stack's any more, this is no link, but then the head has changed, and the CAS fails.
    const next = load(m, (chain >>> 2) + 1)
    set(m, m.slot + targetWord, chain)
    announce(m, head)
    if (swapHead(m, sizeClass, head, headOf(next, m.me, sequence))) break
  }
  finishPop(m, magazine)
  return true
}

/** The part of {@link pop} after its CAS; may be repeated. */
export function finishPop(m: Memory, magazine: number): void {
  const chain = get(m, m.slot + targetWord)
  set(m, magazine, chain)
  set(m, magazine + countWord, get(m, (chain >>> 2) + 2))
  set(m, m.slot + intentWord, 0)
}
