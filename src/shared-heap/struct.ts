import { TessallocError } from '../errors.ts'
import { checkOptions } from '../validate.ts'
import { type FieldOf, type FieldType, fieldBytes } from './fields.ts'

/** Names and types of a struct's fields, in their order. */
export type StructFields = Readonly<Record<string, FieldType>>

/** The accessors of a struct in one heap, by field. */
export type StructAccess<F extends StructFields> = { readonly [K in keyof F]: FieldOf<F[K]> }

/** A layout of fields, made by {@link defineStruct}; the same in every worker that defines it the same. */
export interface Struct<F extends StructFields> {
  /** What it was defined with. */
  readonly fields: F
  /** Where each field lies. Unit: bytes. */
  readonly at: { readonly [K in keyof F]: number }
  /** What to allocate for one: a multiple of the largest alignment. Unit: bytes. */
  readonly bytes: number
}

/**
 * Lays out a struct: fields in the order given, each aligned to its own size. {@link SharedHeap.struct} makes accessors of it. Threads
 * that define it the same share structs of it.
 * Throws `ERR_TESSALLOC_INVALID_SIZE` without fields, `ERR_TESSALLOC_INVALID_OPTION` for no object, and a `TypeError` for a type that there is not.
 *
 * ```ts
 * using heap = new SharedHeap()
 * const point = defineStruct({ x: 'f64', y: 'f64', next: 'u32' })
 * const points = heap.struct(point)
 * const one = heap.alloc(point.bytes)
 * points.x.set(one, 1.5)
 * points.next.store(one, 0)
 * points.x.get(one) // → 1.5
 * ```
 */
export function defineStruct<const F extends StructFields>(fields: F): Struct<F> {
  checkOptions('define struct', fields)
  const at: Record<string, number> = {}
  let end = 0
  let alignment = 1
  for (const [name, type] of Object.entries(fields)) {
    if (!Object.hasOwn(fieldBytes, type)) {
      const types = Object.keys(fieldBytes).join(', ')
      throw new TypeError(`Cannot define struct: ${name} must be one of ${types}, received ${String(type)}`)
    }
    const bytes = fieldBytes[type]
    const start = Math.ceil(end / bytes) * bytes
    at[name] = start
    end = start + bytes
    alignment = Math.max(alignment, bytes)
  }
  if (end === 0) {
    throw new TessallocError('ERR_TESSALLOC_INVALID_SIZE', 'Cannot define struct: expected fields, received none')
  }
  return { fields, at: at as Struct<F>['at'], bytes: Math.ceil(end / alignment) * alignment }
}
