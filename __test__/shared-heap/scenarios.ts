// What the model checker tries: operations as the class does them, and who does which.
import {
  cellWord,
  classCount,
  heldWord,
  intentFree,
  intentFreeAt,
  intentWord,
  isInUse,
  movingWord,
  state,
  stateAllocated,
  stateAt,
  stateHeld,
} from '../../src/shared-heap/layout.ts'
import { cellWords, Fault, type Operation, type Scenario } from './model.ts'

/** The largest class: two blocks in a page, one in a chain, so that every path is short. */
const big = classCount - 1
const cell = cellWords[0] as number

const alloc: Operation = function* (p, m, { has }) {
  const block = yield* p.take(m, big, state(stateAllocated, m.me))
  yield* p.set(m, m.slot + intentWord, 0)
  if (block > 0) has.add(block)
}

/** Frees the block that came as number `index` of those that the worker has. */
const freeOf = (index: number): Operation =>
  function* (p, m, { has, gives }) {
    const block = [...has][index]
    if (block === undefined) return
    has.delete(block)
    gives.add(block)
    const byte = yield* p.getByte(m, stateAt(block))
    if (!(yield* p.give(m, block, big, byte, intentFree))) throw new Fault(`the free of ${block} found it free`)
    gives.delete(block)
  }

const free = freeOf(0)

const realloc: Operation = function* (p, m, { has, gives }) {
  const [old] = has
  if (old === undefined) return
  const block = yield* p.take(m, big, state(stateAllocated, m.me))
  if (block <= 0) return
  yield* p.set(m, m.slot + movingWord, block)
  yield* p.set(m, m.slot + intentWord, 0)
  has.delete(old)
  gives.add(old)
  const byte = yield* p.getByte(m, stateAt(old))
  yield* p.give(m, old, big, byte, intentFree)
  yield* p.set(m, m.slot + movingWord, 0)
  gives.delete(old)
  has.add(block)
}

const allocRun: Operation = function* (p, m, { has }) {
  const block = yield* p.takeRun(m, 2, state(stateAllocated, m.me))
  yield* p.set(m, m.slot + intentWord, 0)
  if (block > 0) has.add(block)
}

const freeRun: Operation = function* (p, m, { has, gives }) {
  const [block] = has
  if (block === undefined) return
  has.delete(block)
  gives.add(block)
  const byte = yield* p.getByte(m, stateAt(block))
  if (!(yield* p.giveRun(m, block, byte, intentFree))) throw new Fault(`the free of ${block} found it free`)
  gives.delete(block)
}

const allocAt: Operation = function* (p, m) {
  if ((yield* p.load(m, cell)) !== 0) return
  const held = state(stateHeld, m.me)
  const block = yield* p.take(m, big, held)
  if (block <= 0) return
  yield* p.hold(m, block, cell)
  if (yield* p.publish(m)) return
  yield* p.discard(m, block, held)
  yield* p.set(m, m.slot + heldWord, 0)
}

const freeAt: Operation = function* (p, m) {
  const block = yield* p.load(m, cell)
  if (block === 0) return
  const byte = yield* p.getByte(m, stateAt(block))
  yield* p.set(m, m.slot + cellWord, cell)
  if (isInUse(byte)) yield* p.give(m, block, big, byte, intentFreeAt)
}

const take: Operation = function* (p, m, { has }) {
  const block = yield* p.emptyCell(m, cell)
  if (block !== 0) has.add(block)
}

const release: Operation = function* (p, m) {
  yield* p.release(m)
}

const flush: Operation = function* (p, m) {
  yield* p.flush(m)
}

/** Operations one after the other. */
const inTurn = (...operations: Operation[]): Operation =>
  function* (p, m, hands) {
    for (const operation of operations) yield* operation(p, m, hands)
  }

/** A page is carved already: its second block is next. */
const oneCarved = inTurn(alloc, free)

/** By what they show. With kills, each access of each worker is one after which it may be gone. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  'one carves from an empty heap': { pages: 1, workers: [[alloc, free]], kills: 1 },
  'two carve from an empty heap': {
    pages: 2,
    workers: [
      [alloc, free],
      [alloc, free],
    ],
    kills: 0,
  },
  'two carve from one page': { pages: 1, before: inTurn(alloc), workers: [[realloc], [alloc]], kills: 1 },
  'chains are popped, pushed and popped': {
    pages: 2,
    before: inTurn(alloc, alloc, free, free, flush),
    workers: [
      [alloc, free],
      [alloc, alloc, free, free],
    ],
    kills: 0,
  },
  // The first of two chains is popped and comes back without the second while another worker is about to pop it.
  'a head that comes back': {
    pages: 2,
    before: inTurn(alloc, alloc, alloc, freeOf(1), freeOf(1), flush),
    workers: [[alloc, alloc, freeOf(1), free, free], [alloc]],
    kills: 0,
  },
  'two pop': { pages: 2, before: inTurn(alloc, alloc, free, free, flush), workers: [[alloc], [alloc]], kills: 1 },
  'one pushes, one pops': {
    pages: 2,
    before: inTurn(alloc, alloc, alloc, free, free),
    workers: [[free], [alloc]],
    kills: 1,
  },
  'a cell is filled and emptied': { pages: 1, workers: [[allocAt], [freeAt]], kills: 1 },
  'a cell is filled, and its block taken and freed': { pages: 1, workers: [[allocAt], [take, free]], kills: 1 },
  'two fill a cell': { pages: 1, before: oneCarved, workers: [[allocAt], [allocAt]], kills: 1 },
  'two large blocks': { pages: 3, workers: [[allocRun, freeRun], [allocRun]], kills: 0 },
  'a large block comes and goes': { pages: 2, workers: [[allocRun, freeRun]], kills: 1 },
  'a reaper is killed that finishes a free': {
    pages: 2,
    before: inTurn(alloc, alloc, alloc, free, free),
    workers: [[free]],
    kills: 2,
  },
  'a reaper is killed that takes back a block': { pages: 1, before: oneCarved, workers: [[alloc]], kills: 2 },
  'a reaper is killed that takes back a held block': { pages: 1, before: oneCarved, workers: [[allocAt]], kills: 2 },
  'a reaper is killed that takes back pages': { pages: 2, workers: [[allocRun]], kills: 2 },
  'a worker ends': { pages: 1, before: inTurn(alloc, alloc, free, free), workers: [[release], [alloc]], kills: 1 },
}

/** Too many states for every run: `TESSALLOC_LONG=1`. */
export const longScenarios: Readonly<Record<string, Scenario>> = {
  'a large block goes while a small one comes': { pages: 2, before: allocRun, workers: [[freeRun], [alloc]], kills: 1 },
  'two carve from an empty heap, one killed': { pages: 2, workers: [[alloc], [alloc]], kills: 1 },
  'two realloc, one killed': { pages: 2, before: alloc, workers: [[realloc], [alloc]], kills: 1 },
  'two large blocks where one fits, one killed': { pages: 2, workers: [[allocRun], [allocRun]], kills: 1 },
}

/** A change of the protocol's source that breaks a promise, and the scenario that shows it. */
export interface Broken {
  readonly promise: string
  readonly from: string
  readonly to: string
  readonly scenario: keyof typeof scenarios
}

export const broken: readonly Broken[] = [
  {
    promise: 'S3: only what this worker carved is taken back',
    from: 'if (!isInUse(byte) || (byte & 63) !== m.me) break',
    to: 'if (!isInUse(byte)) break',
    scenario: 'two carve from one page',
  },
  {
    promise: 'S2: a run is taken apart from its end',
    from: 'for (let page = last; page >= first; page--) store',
    to: 'for (let page = first; page <= last; page++) store',
    scenario: 'a large block comes and goes',
  },
  {
    promise: 'S6: no head comes twice',
    from: 'headOf(chain, m.me, sequence)',
    to: 'headOf(chain, 0, 0)',
    scenario: 'a head that comes back',
  },
  {
    promise: 'S6: each operation has a number of its own',
    from: 'sequenceWord) + 1) | 0',
    to: 'sequenceWord) + 0) | 0',
    scenario: 'two pop',
  },
  {
    promise: 'S7: who replaces a head says so',
    from: 'if (writer === 0 || writer === m.me) return',
    to: 'return',
    scenario: 'two pop',
  },
  {
    promise: 'S8: a chain has one place',
    from: 'if (get(m, magazine + spareWord) === get(m, magazine)) set(m, magazine + spareWord, 0)',
    to: '',
    scenario: 'one pushes, one pops',
  },
  {
    promise: 'S9: the intent stands before the effect',
    from: 'set(m, m.slot + intentWord, block | intentTake)',
    to: '',
    scenario: 'a reaper is killed that takes back a block',
  },
  {
    promise: 'S9: the intent stands until the block is recorded',
    from: 'set(m, m.slot + heldWord, block)\n  set(m, m.slot + intentWord, 0)',
    to: 'set(m, m.slot + intentWord, 0)\n  set(m, m.slot + heldWord, block)',
    scenario: 'a cell is filled and emptied',
  },
  {
    promise: 'S10: who empties a cell says so first',
    from: 'if (byte >>> 6 === stateHeld) swapByte',
    to: 'if (false) swapByte',
    scenario: 'a cell is filled, and its block taken and freed',
  },
  {
    promise: 'S11: a killed reaper is reaped',
    from: 'while (takeOver(m))',
    to: 'while (false)',
    scenario: 'a reaper is killed that takes back a block',
  },
]
