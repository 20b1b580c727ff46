// Typed fields of blocks: read and written through one view of the whole heap, so that no access allocates.
import { TessallocError } from '../errors.ts'
import { type Memory, refresh } from './memory.ts'

/** What a field of {@link defineStruct} may be: signed and unsigned integers and floating-point numbers, with their bits. */
export type FieldType = 'i8' | 'u8' | 'i16' | 'u16' | 'i32' | 'u32' | 'f32' | 'f64' | 'i64' | 'u64'

/** A field of a struct in one heap. Cost: about as an element of a typed array, and no allocation. */
export interface Field<T extends number | bigint = number> {
  /** Where it lies in the struct. Unit: bytes. */
  readonly at: number
  /** Reads it from the struct at `offset`. Throws `ERR_TESSALLOC_NOT_OWNED` for an offset outside the heap's pages. */
  get(offset: number): T
  /** Writes it. Throws `ERR_TESSALLOC_NOT_OWNED` for an offset outside the heap's pages. */
  set(offset: number, value: T): void
}

/** A field that several workers may change at once: by `Atomics`, which also order what was written before. Errors as {@link Field}. */
export interface AtomicField extends Field {
  /** Reads it, and with it all that was written before the value was stored. */
  load(offset: number): number
  /** Writes it after all that was written before. */
  store(offset: number, value: number): void
  /** Adds, and returns what was there before. */
  add(offset: number, value: number): number
  /** Puts `value` in the place of `expected`; returns what was there. */
  compareExchange(offset: number, expected: number, value: number): number
}

/** The accessors of a field by its type. */
export type FieldOf<T extends FieldType> = T extends 'i64' | 'u64'
  ? Field<bigint>
  : T extends 'i32' | 'u32'
    ? AtomicField
    : Field

/** Unit: bytes; also the alignment. */
export const fieldBytes: Readonly<Record<FieldType, number>> = {
  i8: 1,
  u8: 1,
  i16: 2,
  u16: 2,
  i32: 4,
  u32: 4,
  f32: 4,
  f64: 8,
  i64: 8,
  u64: 8,
}

/** As the system has it: an atomic and a plain access of a field see the same number. */
const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/** Views of the whole heap for fields; follow its growth. */
export class FieldViews {
  readonly #memory: () => Memory
  readonly #start: number
  #span = 0
  #data: DataView = new DataView(new ArrayBuffer(0))
  #u32: Uint32Array = new Uint32Array(0)

  /** `memory` throws when the heap is disposed; `start` is the offset of the first page. */
  constructor(memory: () => Memory, start: number) {
    this.#memory = memory
    this.#start = start
  }

  /** Ends every access: the next one asks `memory`. */
  close(): void {
    this.#span = 0
  }

  /** The view in which the byte `index` lies. */
  data(index: number): DataView {
    if ((index - this.#start) >>> 0 >= this.#span) this.#follow(index)
    return this.#data
  }

  /** The words in which the byte `index` lies. */
  words(index: number): Uint32Array {
    if ((index - this.#start) >>> 0 >= this.#span) this.#follow(index)
    return this.#u32
  }

  #follow(index: number): void {
    const memory = this.#memory()
    refresh(memory)
    if (memory.limit - this.#start > this.#span) {
      this.#span = memory.limit - this.#start
      this.#data = new DataView(memory.buffer, 0, memory.limit)
      this.#u32 = new Uint32Array(memory.buffer, 0, memory.limit >>> 2)
    }
    if ((index - this.#start) >>> 0 < this.#span) return
    throw new TessallocError(
      'ERR_TESSALLOC_NOT_OWNED',
      `Cannot access a field: expected an offset from ${this.#start} to ${memory.limit}, received ${index}`,
    )
  }
}

type Make<T extends number | bigint> = (v: FieldViews, at: number) => Field<T>

const plain: { readonly [T in FieldType]: Make<T extends 'i64' | 'u64' ? bigint : number> } = {
  i8: (v, at) => ({ at, get: (o) => v.data(o + at).getInt8(o + at), set: (o, x) => v.data(o + at).setInt8(o + at, x) }),
  u8: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getUint8(o + at),
    set: (o, x) => v.data(o + at).setUint8(o + at, x),
  }),
  i16: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getInt16(o + at, little),
    set: (o, x) => v.data(o + at).setInt16(o + at, x, little),
  }),
  u16: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getUint16(o + at, little),
    set: (o, x) => v.data(o + at).setUint16(o + at, x, little),
  }),
  i32: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getInt32(o + at, little),
    set: (o, x) => v.data(o + at).setInt32(o + at, x, little),
  }),
  u32: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getUint32(o + at, little),
    set: (o, x) => v.data(o + at).setUint32(o + at, x, little),
  }),
  f32: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getFloat32(o + at, little),
    set: (o, x) => v.data(o + at).setFloat32(o + at, x, little),
  }),
  f64: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getFloat64(o + at, little),
    set: (o, x) => v.data(o + at).setFloat64(o + at, x, little),
  }),
  i64: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getBigInt64(o + at, little),
    set: (o, x) => v.data(o + at).setBigInt64(o + at, x, little),
  }),
  u64: (v, at) => ({
    at,
    get: (o) => v.data(o + at).getBigUint64(o + at, little),
    set: (o, x) => v.data(o + at).setBigUint64(o + at, x, little),
  }),
}

/** Accessors of a field of type `type`, `at` bytes into its struct. */
export function fieldOf<T extends FieldType>(views: FieldViews, type: T, at: number): FieldOf<T> {
  const field = plain[type](views, at)
  if (type !== 'i32' && type !== 'u32') return field as unknown as FieldOf<T>
  // Atomics on one kind of array for both; the sign is put back.
  const sign = type === 'i32' ? (value: number) => value | 0 : (value: number) => value
  const atomic: AtomicField = {
    ...(field as Field),
    load: (o) => sign(Atomics.load(views.words(o + at), (o + at) >>> 2)),
    store: (o, x) => void Atomics.store(views.words(o + at), (o + at) >>> 2, x),
    add: (o, x) => sign(Atomics.add(views.words(o + at), (o + at) >>> 2, x)),
    compareExchange: (o, expected, x) =>
      sign(Atomics.compareExchange(views.words(o + at), (o + at) >>> 2, expected, x)),
  }
  return atomic as FieldOf<T>
}
