/**
 * tessalloc for Node.js: which allocator serves this process, what memory it holds, and giving back what is unused.
 *
 * @module
 */
export { TessallocError, type TessallocErrorCode } from './errors.ts'
export { type MemoryUsage, type MemoryUsageFunction, memoryUsage, memoryUsageFields } from './memory-usage.ts'
export { type PurgeResult, purge } from './purge.ts'
export { type Status, status } from './status.ts'
