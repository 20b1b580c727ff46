// Slabs: one ArrayBuffer each, which arenas and heaps divide. Where its memory comes from is its backing.
//
// | backing  | memory from                     | given back when closed                | where there is none      |
// |----------|---------------------------------|---------------------------------------|--------------------------|
// | `native` | tessalloc, an external buffer   | at once                               | `js` serves              |
// | `js`     | V8, an ordinary ArrayBuffer     | at once; without binding at the next garbage collection | –      |
// | `shared` | V8, a SharedArrayBuffer         | when no thread has it any more        | –                        |
//
// A new slab reads zero and takes RAM only where it is touched.
import { constants } from 'node:buffer'
import { TessallocError } from './errors.ts'
import { type Binding, binding } from './native.ts'
import { invalidOption } from './validate.ts'

/**
 * Where a slab's memory comes from: `native`, tessalloc's own, given back as soon as it is disposed; `js`, an ordinary
 * ArrayBuffer; `shared`, a SharedArrayBuffer, which other threads can see and which nobody can detach.
 */
export type Backing = 'native' | 'js' | 'shared'

/** A slab and the backing that it really has. */
export interface Slab {
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  readonly backing: Backing
}

let loaded: Binding | null | undefined

/** The binding, or `null` on a platform without one. */
function optionalBinding(): Binding | null {
  if (loaded === undefined) {
    try {
      loaded = binding()
    } catch {
      loaded = null
    }
  }
  return loaded
}

/** Opens a slab of `bytes` bytes. `native` is passed for tests. Throws `ERR_TESSALLOC_OUT_OF_MEMORY`. */
export function openSlab(
  action: string,
  bytes: number,
  wanted: Backing,
  native: Pick<Binding, 'newSlab'> | null = optionalBinding(),
): Slab {
  try {
    if (wanted === 'shared') return { buffer: new SharedArrayBuffer(bytes), backing: wanted }
    // Electron takes no external buffers, Node none above a limit, and some platforms have no binding: memory of JavaScript's
    // works everywhere.
    const asks = wanted === 'native' && bytes <= constants.MAX_LENGTH
    const external = asks ? native?.newSlab(bytes) : undefined
    return external ? { buffer: external, backing: 'native' } : { buffer: new ArrayBuffer(bytes), backing: 'js' }
  } catch (cause) {
    const text = `Cannot ${action}: the system has no ${bytes} bytes for its ${wanted} slab`
    throw new TessallocError('ERR_TESSALLOC_OUT_OF_MEMORY', text, { cause })
  }
}

/** Detaches a slab: every view of it has length 0 from now on. A shared one cannot be detached and stays as it is. */
export function closeSlab(buffer: ArrayBuffer | SharedArrayBuffer, native: Binding | null = optionalBinding()): void {
  if (buffer instanceof SharedArrayBuffer || buffer.byteLength === 0) return
  if (native) native.detach(buffer)
  else structuredClone(buffer, { transfer: [buffer] })
}

/**
 * Gives the memory of a part of a slab back to the system, by whole OS pages. Whether it did: the whole pages read zero then.
 */
export function discardPart(buffer: ArrayBuffer | SharedArrayBuffer, start: number, bytes: number): boolean {
  // A range above what one view can span stays.
  if (bytes <= 0 || bytes > 2 ** 32 - 1) return false
  return (optionalBinding()?.discard(new Uint8Array(buffer, start, bytes)) ?? 0) > 0
}

/** Checks the name of a backing. */
export function checkBacking(action: string, backing: unknown): asserts backing is Backing {
  if (backing === 'native' || backing === 'js' || backing === 'shared') return
  throw invalidOption(action, 'backing', "'native', 'js' or 'shared'", backing)
}
