// A worker's view of the heap, and the only functions by which the protocol reads and writes it. The model test puts its own in
// their place, each of which is a point where another worker may run or this one may end.
import { doneWord, headAt, pageShift, slotAt } from './layout.ts'

/** The heap as the worker of one slot sees it. */
export interface Memory {
  readonly buffer: SharedArrayBuffer
  i32: Int32Array
  u8: Uint8Array
  u64: BigUint64Array
  /** Bytes that the views cover: the buffer may have grown since. */
  limit: number
  /** Number of this worker, from 1 on. */
  readonly me: number
  /** Index of the first word of its slot. */
  readonly slot: number
  readonly firstPage: number
}

/** Views of `buffer` for the worker with number `me`. */
export function memoryOf(buffer: SharedArrayBuffer, me: number, firstPage: number): Memory {
  const bytes = buffer.byteLength
  return {
    buffer,
    i32: new Int32Array(buffer, 0, bytes >>> 2),
    u8: new Uint8Array(buffer, 0, bytes),
    u64: new BigUint64Array(buffer, 0, bytes >>> 3),
    limit: bytes,
    me,
    slot: slotAt(me),
    firstPage,
  }
}

/** Makes the views cover what the buffer has grown by. */
export function refresh(m: Memory): void {
  const bytes = m.buffer.byteLength
  if (bytes === m.limit) return
  m.i32 = new Int32Array(m.buffer, 0, bytes >>> 2)
  m.u8 = new Uint8Array(m.buffer, 0, bytes)
  m.u64 = new BigUint64Array(m.buffer, 0, bytes >>> 3)
  m.limit = bytes
}

/** Lets the heap grow by at least `pages`, or by a quarter. `false` when it cannot, and nobody else made it grow. */
export function grow(m: Memory, pages: number): boolean {
  const before = m.limit
  refresh(m)
  if (m.limit > before) return true
  const max = m.buffer.maxByteLength ?? before
  const least = before + (pages << pageShift)
  if (least > max) return false
  const quarter = (before + (before >>> 2)) & -(1 << pageShift)
  try {
    m.buffer.grow(Math.min(max, Math.max(least, quarter)))
  } catch {
    // Another worker made it larger than that, or the system has no memory: the next line tells.
  }
  refresh(m)
  return m.limit > before
}

/** Word `index`, for what this worker alone writes, or what was handed to it. */
export function get(m: Memory, index: number): number {
  return m.i32[index] as number
}

export function set(m: Memory, index: number, value: number): void {
  m.i32[index] = value
}

/** Word `index`, for what others write. */
export function load(m: Memory, index: number): number {
  return Atomics.load(m.i32, index)
}

export function store(m: Memory, index: number, value: number): void {
  Atomics.store(m.i32, index, value)
}

/** Puts `value` in the place of `expected`; returns what was there. */
export function swap(m: Memory, index: number, expected: number, value: number): number {
  return Atomics.compareExchange(m.i32, index, expected, value)
}

export function getByte(m: Memory, index: number): number {
  return m.u8[index] as number
}

export function setByte(m: Memory, index: number, value: number): void {
  m.u8[index] = value
}

export function swapByte(m: Memory, index: number, expected: number, value: number): number {
  return Atomics.compareExchange(m.u8, index, expected, value)
}

/** Zeroes bytes that this worker alone has. */
export function clear(m: Memory, from: number, to: number): void {
  m.u8.fill(0, from, to)
}

export function loadHead(m: Memory, sizeClass: number): bigint {
  return Atomics.load(m.u64, headAt(sizeClass))
}

export function swapHead(m: Memory, sizeClass: number, expected: bigint, value: bigint): boolean {
  return Atomics.compareExchange(m.u64, headAt(sizeClass), expected, value) === expected
}

/** The last sequence number of `worker` that somebody replaced. */
export function loadDone(m: Memory, worker: number): number {
  return Atomics.load(m.i32, slotAt(worker) + doneWord)
}

export function swapDone(m: Memory, worker: number, expected: number, value: number): boolean {
  return Atomics.compareExchange(m.i32, slotAt(worker) + doneWord, expected, value) === expected
}

// A head: block / 16 in 26 bits and the writer in 6, then the sequence number in 32. Taken apart through these, since shifts of
// a bigint cost twice as much.
const wide = new BigUint64Array(1)
const halves = new Int32Array(wide.buffer)

export function headOf(chain: number, worker: number, sequence: number): bigint {
  halves[0] = (chain << 2) | worker
  halves[1] = sequence
  return wide[0] as bigint
}

/** Offset of the first block; 0: the stack is empty. */
export function chainOf(head: bigint): number {
  wide[0] = head
  return ((halves[0] as number) >>> 6) << 4
}

/** Who wrote it; 0: nobody yet. */
export function writerOf(head: bigint): number {
  wide[0] = head
  return (halves[0] as number) & 63
}

export function sequenceOf(head: bigint): number {
  wide[0] = head
  return halves[1] as number
}
