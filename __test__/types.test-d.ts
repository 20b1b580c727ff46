// Checked by the compiler alone: `npm test` runs it as the step "types".
import { metrics } from '@opentelemetry/api'
import { expectTypeOf } from 'expect-type'
import { Registry } from 'prom-client'
import {
  Arena,
  type ArenaEvent,
  type ArenaMark,
  type ArenaOptions,
  type AtomicField,
  type Backing,
  type BufferLease,
  BufferPool,
  type BufferPoolStats,
  defineStruct,
  type Field,
  Heap,
  type HeapBlock,
  type HeapOptions,
  type HeapPageInfo,
  type HeapStats,
  type Limits,
  type MemoryUsage,
  memoryUsage,
  memoryUsageIndex,
  type OptionInfo,
  type OptionName,
  onPressure,
  openTelemetry,
  options,
  type Pressure,
  type PurgeResult,
  prometheus,
  purge,
  type Registration,
  SharedHeap,
  type Status,
  setLimit,
  sizeClasses,
  status,
  TessallocError,
  type TessallocErrorCode,
} from '../src/index.ts'

expectTypeOf(status).toEqualTypeOf<() => Status>()
expectTypeOf<Status['active']>().toEqualTypeOf<'preload' | 'addon' | 'none'>()
expectTypeOf<Status['path']>().toEqualTypeOf<string | null>()

expectTypeOf(memoryUsage()).toEqualTypeOf<MemoryUsage>()
expectTypeOf<MemoryUsage[keyof MemoryUsage]>().toEqualTypeOf<number>()
expectTypeOf(memoryUsage.fast).toEqualTypeOf<(out: Float64Array) => Float64Array>()

expectTypeOf(memoryUsageIndex.resident).toEqualTypeOf<7>()

expectTypeOf(options.get('TESSALLOC_SCAVENGER')).toEqualTypeOf<boolean>()
expectTypeOf(options.get('TESSALLOC_PURGE_DELAY')).toEqualTypeOf<number>()
expectTypeOf(options.info('TESSALLOC_KEEP')).toEqualTypeOf<OptionInfo<'TESSALLOC_KEEP'>>()
expectTypeOf(options.list()).toEqualTypeOf<readonly OptionInfo[]>()
expectTypeOf<OptionInfo['name']>().toEqualTypeOf<OptionName>()

expectTypeOf(setLimit).toEqualTypeOf<(limits: Limits) => Required<Limits>>()
expectTypeOf(onPressure).toEqualTypeOf<(callback: (pressure: Pressure) => void) => Registration>()
expectTypeOf<Pressure['cause']>().toEqualTypeOf<'soft-limit' | 'container' | 'system'>()
expectTypeOf<Registration>().toExtend<Disposable>()
expectTypeOf(prometheus).toBeCallableWith(new Registry())
expectTypeOf(openTelemetry).toBeCallableWith(metrics.getMeter('test'))
expectTypeOf(sizeClasses().classes[0]?.blockBytes).toEqualTypeOf<number | undefined>()

expectTypeOf(purge).toEqualTypeOf<() => PurgeResult>()
expectTypeOf<PurgeResult['via']>().toEqualTypeOf<'tessalloc' | 'glibc' | 'none'>()

expectTypeOf<TessallocError>().toExtend<Error>()
expectTypeOf<TessallocError['code']>().toEqualTypeOf<TessallocErrorCode>()

expectTypeOf(Arena).toBeConstructibleWith(1024)
expectTypeOf(Arena).toBeConstructibleWith({ capacity: 1024, backing: 'shared' })
expectTypeOf<Arena>().toExtend<Disposable>()
expectTypeOf<Arena['alloc']>().toEqualTypeOf<(bytes: number, align?: number) => Uint8Array>()
expectTypeOf<Arena['allocBuffer']>().toEqualTypeOf<(bytes: number) => Buffer>()
expectTypeOf<Arena['float64']>().toEqualTypeOf<(count: number) => Float64Array>()
expectTypeOf<Arena['mark']>().toEqualTypeOf<() => ArenaMark>()
expectTypeOf<ArenaMark>().toExtend<Disposable>()
expectTypeOf<ArenaEvent['arena']>().toEqualTypeOf<Arena>()
expectTypeOf<ArenaEvent['used']>().toEqualTypeOf<number>()
expectTypeOf<Arena['backing']>().toEqualTypeOf<Backing>()
expectTypeOf<ArenaOptions['backing']>().toEqualTypeOf<Backing | undefined>()

expectTypeOf(BufferPool).toBeConstructibleWith()
expectTypeOf(BufferPool).toBeConstructibleWith({ zeroOnRelease: true })
expectTypeOf<BufferPool['acquire']>().toEqualTypeOf<(bytes: number) => Buffer>()
expectTypeOf<BufferPool['release']>().toEqualTypeOf<(buffer: Buffer) => void>()
expectTypeOf<BufferPool['lease']>().toEqualTypeOf<(bytes: number) => BufferLease>()
expectTypeOf<BufferLease>().toExtend<Disposable>()
expectTypeOf<BufferPoolStats[keyof BufferPoolStats]>().toEqualTypeOf<number>()

expectTypeOf(Heap).toBeConstructibleWith()
expectTypeOf<Heap['alloc']>().toEqualTypeOf<(bytes: number, align?: number) => number>()
expectTypeOf<Heap['realloc']>().toEqualTypeOf<(offset: number, bytes: number) => number>()
expectTypeOf<Heap['view']>().toEqualTypeOf<(offset: number, bytes?: number) => Uint8Array>()
expectTypeOf<ReturnType<Heap['blocks']>>().toExtend<Iterable<HeapBlock>>()
expectTypeOf<ReturnType<Heap['pages']>>().toExtend<Iterable<HeapPageInfo>>()
expectTypeOf<HeapStats[keyof HeapStats]>().toEqualTypeOf<number>()
expectTypeOf<Heap['check']>().toEqualTypeOf<() => readonly string[]>()
expectTypeOf<Parameters<NonNullable<HeapOptions['onLimit']>>>().toEqualTypeOf<[limit: 'soft' | 'hard', heap: Heap]>()

// @ts-expect-error an arena has a capacity
new Arena({ backing: 'js' })
// @ts-expect-error results are read-only
purge().before = 1
// @ts-expect-error an array of numbers is no Float64Array
memoryUsage.fast([0])
// @ts-expect-error a switch takes no number
options.set('TESSALLOC_SCAVENGER', 1)
// @ts-expect-error options are a closed set
options.get('TESSALLOC_OTHER')
// @ts-expect-error codes are a closed set
new TessallocError('ERR_OTHER', '')

const layout = defineStruct({ x: 'f64', next: 'u32', id: 'u64' })
expectTypeOf(layout.at).toEqualTypeOf<{ readonly x: number; readonly next: number; readonly id: number }>()
declare const shared: SharedHeap
const accessors = shared.struct(layout)
expectTypeOf(accessors.x).toEqualTypeOf<Field>()
expectTypeOf(accessors.next).toEqualTypeOf<AtomicField>()
expectTypeOf(accessors.id.get).returns.toEqualTypeOf<bigint>()
expectTypeOf(shared.array(Float64Array, 0)).toExtend<Float64Array>()
expectTypeOf(shared).toExtend<Disposable>()
// @ts-expect-error a field has one of ten types
defineStruct({ x: 'number' })
// @ts-expect-error only words can be changed by several workers at once
accessors.x.add(0, 1)
// @ts-expect-error memory of one thread cannot be shared
SharedHeap.from(new ArrayBuffer(8))
