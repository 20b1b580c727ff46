/**
 * tessalloc for Node.js: which allocator serves this process, what memory it holds, giving back what is unused, and memory of
 * one's own: arenas, pools of buffers, heaps, heaps that workers share.
 *
 * Importing never fails. Where the binaries of the platform are missing or do not load, `status()` says `none`, arenas, pools and heaps
 * work on memory of JavaScript, and what asks the allocator throws a {@link TessallocError} with the code
 * `ERR_TESSALLOC_UNSUPPORTED`, `ERR_TESSALLOC_WRONG_LIBC`, `ERR_TESSALLOC_MISSING_BINARY`, `ERR_TESSALLOC_VERSION_SKEW` or
 * `ERR_TESSALLOC_LOAD_FAILED`; its text says what to do.
 *
 * @module tessalloc
 */
export { Arena, type ArenaEvent, type ArenaMark, type ArenaOptions } from './arena.ts'
export { type BufferLease, BufferPool, type BufferPoolOptions, type BufferPoolStats } from './buffer-pool.ts'
export { TessallocError, type TessallocErrorCode } from './errors.ts'
export { Heap, type HeapBlock, type HeapOptions, type HeapPageInfo, type HeapStats } from './heap.ts'
export { type Limits, setLimit } from './limits.ts'
export {
  type MemoryUsage,
  type MemoryUsageFunction,
  memoryUsage,
  memoryUsageIndex,
  memoryUsageLength,
} from './memory-usage.ts'
export { type OpenTelemetryMeter, openTelemetry, type PrometheusRegistry, prometheus } from './metrics.ts'
export {
  type OptionInfo,
  type OptionName,
  type OptionSource,
  type Options,
  type OptionUnit,
  type OptionUnits,
  type OptionValue,
  options,
} from './options.ts'
export { onPressure, type Pressure } from './pressure.ts'
export { type PurgeResult, purge } from './purge.ts'
export type { Registration } from './registration.ts'
export type { AtomicField, Field, FieldOf, FieldType } from './shared-heap/fields.ts'
export type { Roots } from './shared-heap/roots.ts'
export { SharedHeap } from './shared-heap/shared-heap.ts'
export { defineStruct, type Struct, type StructAccess, type StructFields } from './shared-heap/struct.ts'
export type {
  ReapResult,
  SharedHeapCheck,
  SharedHeapOptions,
  SharedHeapStats,
  TypedArrayOf,
} from './shared-heap/types.ts'
export { type SizeClasses, type SizeClassUsage, sizeClasses } from './size-classes.ts'
export type { Backing } from './slab.ts'
export { type Status, status } from './status.ts'
