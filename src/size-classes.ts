import { binding } from './native.ts'

/** What the pages of one size class hold. Scope: that of {@link sizeClasses}. */
export interface SizeClassUsage {
  /** Bytes of a block: the class's name. */
  readonly blockBytes: number
  /** Pages of the class. */
  readonly pages: number
  /** How many of them no thread owns: nearly all of their blocks are in use, or they wait for a thread that wants them. */
  readonly ownerlessPages: number
  /** Blocks that left the pages: in use, at hand of a thread, or on their way home. */
  readonly blocksUsed: number
  /** Blocks made so far; the rest was never touched as blocks. */
  readonly blocksMade: number
  /** Blocks that fit into the pages. */
  readonly blocksFit: number
}

/** What all pages of the allocator hold. Read without stopping a thread: figures may be a moment apart. */
export interface SizeClasses {
  /** The classes that have pages, by rising block size. */
  readonly classes: readonly SizeClassUsage[]
  /** Pages of 64 KiB with the first blocks of a thread, of all small classes. */
  readonly mixedPages: number
  /** Blocks that left them. */
  readonly mixedBlocksUsed: number
  /** Number of large blocks in use, each with pages of its own. */
  readonly largeBlocks: number
  /** Their usable size. Unit: bytes. */
  readonly largeBytes: number
  /** Number of large blocks that threads keep for their next request. */
  readonly warmBlocks: number
  /** Their size. Unit: bytes. */
  readonly warmBytes: number
}

/**
 * Tells which sizes of blocks the memory is in. Scope: the whole process under preload, all threads; without it the copy of
 * tessalloc in this package, which serves arenas and heaps. Cost: a look at every page, some nanoseconds each. Throws
 * `ERR_TESSALLOC_UNSUPPORTED` where there are no binaries.
 *
 * ```ts
 * import { sizeClasses } from 'tessalloc'
 *
 * const wasted = sizeClasses().classes.map((each) => [each.blockBytes, (each.blocksMade - each.blocksUsed) * each.blockBytes])
 * console.log(wasted)
 * ```
 */
export function sizeClasses(): SizeClasses {
  return binding().pageRows()
}
