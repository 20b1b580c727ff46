// Every member of a handle, called after it was disposed: each fails with the same code, and `dispose` itself may be called again.
import test from 'ava'
import { Arena, BufferPool, defineStruct, Heap, SharedHeap, TessallocError } from '../src/index.ts'

interface Case {
  readonly name: string
  /** A handle that was disposed. */
  readonly make: () => Disposable
  /** Arguments for members that take some; others are called without, and getters are read. */
  readonly calls: Readonly<Record<string, readonly unknown[]>>
  /** Members that answer all the same. */
  readonly open: readonly string[]
}

function disposed<T extends Disposable>(handle: T): T {
  handle[Symbol.dispose]()
  return handle
}

const counts = ['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64', 'bigInt64', 'bigUint64']

const cases: readonly Case[] = [
  {
    name: 'Arena',
    make: () => disposed(new Arena(64)),
    calls: {
      ...Object.fromEntries(['alloc', 'allocBuffer', 'allocOffset', ...counts].map((name) => [name, [8]])),
      rewind: [{ used: 0 }],
    },
    open: ['disposed', 'dispose', 'holds'],
  },
  {
    name: 'BufferPool',
    make: () => disposed(new BufferPool()),
    calls: { acquire: [8], lease: [8] },
    // What is out can still come back.
    open: ['disposed', 'dispose', 'release'],
  },
  {
    name: 'Heap',
    make: () => disposed(new Heap()),
    calls: {
      ...Object.fromEntries(
        ['alloc', 'allocZeroed', 'free', 'holds', 'usableSize', 'view'].map((name) => [name, [16]]),
      ),
      realloc: [16, 16],
    },
    open: ['disposed', 'dispose'],
  },
  {
    name: 'SharedHeap',
    make: () => disposed(new SharedHeap()),
    calls: {
      ...Object.fromEntries(
        ['alloc', 'free', 'holds', 'usableSize', 'freeAt', 'take', 'readString'].map((name) => [name, [65_600]]),
      ),
      realloc: [65_600, 16],
      allocAt: [65_600, 16],
      writeString: ['text'],
      array: [Uint8Array, 65_600],
      struct: [defineStruct({ x: 'u32' })],
      reap: [1],
      reapOnExit: [{ threadId: 1 }],
    },
    open: ['disposed', 'dispose'],
  },
]

/** A walk fails at its first step. */
function started(result: unknown): unknown {
  return (result as Iterator<unknown> | undefined)?.next?.()
}

for (const { name, make, calls, open } of cases) {
  test(`members of a disposed ${name} say so`, (t) => {
    const handle = make() as Disposable & Record<string, unknown>
    const members = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(handle) as object)
    const tried = Object.entries(members).filter(([member]) => member !== 'constructor' && !open.includes(member))
    t.true(tried.length > 2)
    for (const [member, { get, value }] of tried) {
      const call = () =>
        get
          ? handle[member]
          : started((value as (...args: unknown[]) => unknown).apply(handle, [...(calls[member] ?? [])]))
      const error = t.throws(call, { instanceOf: TessallocError, code: 'ERR_TESSALLOC_DISPOSED' }, member)
      t.regex(error?.message ?? '', /^Cannot .*: the .* was disposed$/)
    }
    t.notThrows(() => handle[Symbol.dispose]())
  })

  test(`arguments of a disposed ${name} come second`, (t) => {
    const handle = make() as Disposable & Record<string, (bad: unknown) => unknown>
    for (const member of Object.keys(calls)) {
      t.throws(() => handle[member]?.(Number.NaN), { code: 'ERR_TESSALLOC_DISPOSED' }, member)
    }
  })
}
