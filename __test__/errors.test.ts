// Each code of an error, thrown by what a caller does to get it. That none is left out, the compiler sees.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { loadErrorCodes } from '../src/errors.ts'
import { Arena, BufferPool, Heap, SharedHeap, TessallocError, type TessallocErrorCode } from '../src/index.ts'
import { binaryPath, loadError, missingPackage } from '../src/native.ts'
import { packageOf, platformName } from '../src/platforms.ts'
import { root } from './helpers.ts'

function thrown(error: unknown): never {
  throw error
}

/** An installation whose platform package is of another version. */
async function skewed(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  try {
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
    cpSync(join(root, 'package.json'), join(folder, 'package.json'))
    const platform = join(folder, 'node_modules', packageOf(platformName()))
    mkdirSync(platform, { recursive: true })
    writeFileSync(join(platform, 'package.json'), '{ "version": "0.0.1" }')
    const { purge } = (await import(pathToFileURL(join(folder, 'dist', 'index.js')).href)) as { purge: () => void }
    purge()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A shared heap in which a free block was written over. */
function corrupt(): void {
  using heap = new SharedHeap()
  const blocks = Array.from({ length: 2000 }, () => heap.alloc(16))
  for (const block of blocks) heap.free(block)
  new Int32Array(heap.buffer, blocks[0]).fill(-1)
  for (const _ of blocks) heap.alloc(16)
}

function shared<T>(use: (heap: SharedHeap) => T): T {
  using heap = new SharedHeap()
  return use(heap)
}

const ways: Readonly<Record<TessallocErrorCode, () => unknown>> = {
  ERR_TESSALLOC_UNSUPPORTED: () => binaryPath('binding', 'linux-s390x-gnu'),
  ERR_TESSALLOC_WRONG_LIBC: () => thrown(loadError('x.node', new Error("version `GLIBC_9.9' not found"))),
  ERR_TESSALLOC_MISSING_BINARY: () => thrown(missingPackage('linux-x64-gnu', () => false)),
  ERR_TESSALLOC_VERSION_SKEW: skewed,
  ERR_TESSALLOC_LOAD_FAILED: () => thrown(loadError('x.node', new Error('invalid ELF header'))),
  ERR_TESSALLOC_INVALID_SIZE: () => new Arena(0),
  ERR_TESSALLOC_INVALID_OPTION: () => new Arena({ capacity: 1, backing: 'disk' as 'js' }),
  ERR_TESSALLOC_OUT_OF_MEMORY: () => new Arena(64).alloc(65),
  ERR_TESSALLOC_DISPOSED: () => {
    const arena = new Arena(64)
    arena.dispose()
    arena.alloc(1)
  },
  ERR_TESSALLOC_NOT_OWNED: () => new Heap().free(16),
  ERR_TESSALLOC_DOUBLE_FREE: () => {
    const pool = new BufferPool()
    const buffer = pool.acquire(64)
    pool.release(buffer)
    pool.release(buffer)
  },
  ERR_TESSALLOC_STALE_MARK: () => {
    const arena = new Arena(64)
    const mark = arena.mark()
    arena.reset()
    arena.rewind(mark)
  },
  ERR_TESSALLOC_INCOMPATIBLE: () => SharedHeap.from(new SharedArrayBuffer(2 ** 17)),
  ERR_TESSALLOC_FULL: () => shared((heap) => Array.from({ length: 64 }, () => SharedHeap.from(heap.buffer))),
  ERR_TESSALLOC_OCCUPIED: () =>
    shared((heap) => {
      heap.roots.set('one', heap.alloc(16))
      heap.allocAt(heap.roots.cell('one'), 16)
    }),
  ERR_TESSALLOC_CORRUPT: corrupt,
}

for (const [code, way] of Object.entries(ways)) {
  test(`${code} is thrown, and says what was to be done and why not`, async (t) => {
    const error = await t.throwsAsync(async () => way())
    // An installation elsewhere has a class of its own.
    t.is(error.name, 'TessallocError')
    t.is((error as TessallocError).code, code as TessallocErrorCode)
    t.regex(error.message, /^Cannot [^:]+: .+/s)
  })
}

test('errors of loading are among the codes, and an error has its cause', (t) => {
  t.true([...loadErrorCodes].every((code) => code in ways))
  const cause = new Error('why')
  t.is(new TessallocError('ERR_TESSALLOC_LOAD_FAILED', 'Cannot load', { cause }).cause, cause)
})
