// The first words of the buffer: made once, read by who opens it.
import { TessallocError } from '../errors.ts'
import { checkInteger } from '../validate.ts'
import {
  bytesMax,
  firstPageFor,
  firstPageWord,
  layoutVersion,
  magic,
  magicWord,
  maxBytesWord,
  nameBytesMax,
  nameBytesWord,
  nameOffset,
  pageBytes,
  pageEntry,
  pageReserved,
  pageShift,
  pageTableWord,
  versionWord,
} from './layout.ts'
import { type Memory, memoryOf } from './memory.ts'

const wholePages = (bytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes

/** A buffer with an empty heap. */
export function create(bytes: number, maxBytes: number, name: string): SharedArrayBuffer {
  checkInteger('create shared heap', 'bytes', bytes, 0, bytesMax)
  checkInteger('create shared heap', 'maxBytes', maxBytes, bytes, bytesMax)
  const end = Math.max(wholePages(maxBytes), 2 * pageBytes)
  const firstPage = firstPageFor(end)
  const start = Math.max(wholePages(bytes), (firstPage + 1) * pageBytes)
  const text = new TextEncoder().encode(name)
  if (text.length > nameBytesMax) {
    throw new TessallocError(
      'ERR_TESSALLOC_INVALID_SIZE',
      `Cannot create shared heap: name must be at most ${nameBytesMax} bytes, received ${text.length}`,
    )
  }
  const buffer = allocate(start, end)
  const { i32, u8 } = memoryOf(buffer, 1, firstPage)
  i32[versionWord] = layoutVersion
  i32[maxBytesWord] = end
  i32[firstPageWord] = firstPage
  i32[nameBytesWord] = text.length
  u8.set(text, nameOffset)
  for (let page = 0; page < firstPage; page++) i32[pageTableWord + page] = pageEntry(pageReserved, 0)
  Atomics.store(i32, magicWord, magic)
  return buffer
}

function allocate(bytes: number, maxBytes: number): SharedArrayBuffer {
  try {
    return bytes === maxBytes ? new SharedArrayBuffer(bytes) : new SharedArrayBuffer(bytes, { maxByteLength: maxBytes })
  } catch (cause) {
    const text = `Cannot create shared heap: the system refused a buffer of ${bytes} to ${maxBytes} bytes`
    throw new TessallocError('ERR_TESSALLOC_OUT_OF_MEMORY', text, { cause })
  }
}

/** The heap in `buffer`, not yet with a worker's number. Throws `ERR_TESSALLOC_INCOMPATIBLE` when there is none of this version. */
export function open(buffer: SharedArrayBuffer): Memory {
  if (!(buffer instanceof SharedArrayBuffer)) {
    throw new TypeError(`Cannot open shared heap: expected a SharedArrayBuffer, received ${typeof buffer}`)
  }
  const fail = (expected: string) => {
    throw new TessallocError('ERR_TESSALLOC_INCOMPATIBLE', `Cannot open shared heap: expected ${expected}`)
  }
  const bytes = buffer.byteLength
  if (bytes < 2 * pageBytes || bytes % pageBytes !== 0)
    fail(`whole pages of ${pageBytes} bytes, received ${bytes} bytes`)
  const words = new Int32Array(buffer, 0, nameBytesWord + 1)
  if (Atomics.load(words, magicWord) !== magic) fail('a buffer made by SharedHeap, received another one')
  const version = words[versionWord] as number
  if (version !== layoutVersion) fail(`layout version ${layoutVersion}, received ${version}`)
  const firstPage = words[firstPageWord] as number
  const end = words[maxBytesWord] as number
  if (end < bytes || firstPage !== firstPageFor(end))
    fail('a head that fits its buffer, received one that was written over')
  return memoryOf(buffer, 1, firstPage)
}

/** The name it was created with. */
export function nameOf(m: Memory): string {
  const bytes = m.i32[nameBytesWord] as number
  return new TextDecoder().decode(m.u8.slice(nameOffset, nameOffset + bytes))
}

/** Most that the buffer may grow to. Unit: bytes. */
export function maxBytesOf(m: Memory): number {
  return m.i32[maxBytesWord] as number
}

/** Whole pages that `bytes` and a head need. */
export function pagesFor(bytes: number, headBytes: number): number {
  return Math.ceil((bytes + headBytes) / (1 << pageShift))
}
