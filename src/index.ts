/**
 * tessalloc for Node.js: which allocator serves this process, what memory it holds, giving back what is unused, and memory of
 * one's own: arenas, pools of buffers, heaps.
 *
 * @module
 */
export { Arena, type ArenaMark, type ArenaOptions } from './arena.ts'
export { type BufferLease, BufferPool, type BufferPoolOptions, type BufferPoolStats } from './buffer-pool.ts'
export { TessallocError, type TessallocErrorCode } from './errors.ts'
export { Heap, type HeapBlock, type HeapOptions, type HeapPageInfo, type HeapStats } from './heap.ts'
export { type MemoryUsage, type MemoryUsageFunction, memoryUsage, memoryUsageFields } from './memory-usage.ts'
export { type PurgeResult, purge } from './purge.ts'
export type { Backing } from './slab.ts'
export { type Status, status } from './status.ts'
