// A sample's resident memory in the parts that people are shown.
import type { Sample } from './sample.ts'

/** The parts, in the order of charts and tables, with their colours (on white; every two neighbours differ in brightness). */
export const parts = [
  { id: 'js', label: 'JS heap', colour: '#b08800' },
  { id: 'allocated', label: 'tessalloc: in use', colour: '#1a7f37' },
  { id: 'retained', label: 'tessalloc: freed, held', colour: '#7ee2a8' },
  { id: 'blocks', label: 'tessalloc: blocks', colour: '#2da44e' },
  { id: 'metadata', label: 'tessalloc: own tables', colour: '#0b4f1f' },
  { id: 'native', label: 'other native memory', colour: '#0969da' },
  { id: 'stacks', label: 'stacks', colour: '#80ccff' },
  { id: 'files', label: 'programs and libraries', colour: '#8250df' },
  { id: 'shared', label: 'shared memory', colour: '#d8b9ff' },
] as const
export type Part = (typeof parts)[number]['id']

/**
 * Resident bytes by part; they add up to the RSS. What is in use of the blocks is the allocator's figure: blocks that were never
 * written are not resident, so that what is freed but held may be a little more. Without figures it is all `blocks`.
 */
export function splitOf({ causes, tessalloc }: Pick<Sample, 'causes' | 'tessalloc'>): Record<Part, number> {
  const allocated = tessalloc === null ? 0 : Math.min(causes.blocks, tessalloc.allocated)
  return {
    js: causes.js,
    allocated,
    retained: tessalloc === null ? 0 : causes.blocks - allocated,
    blocks: tessalloc === null ? causes.blocks : 0,
    metadata: causes.tables,
    native: causes.native,
    stacks: causes.stacks,
    files: causes.files,
    shared: causes.shared,
  }
}
