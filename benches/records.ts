// Records: dated files under `benches/records/`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../scripts/lib.ts'
import type { Machine } from './machine.ts'

/** What every record of Node.js programs says of itself. */
export interface Recorded {
  readonly date: string
  readonly machine: Machine
  /** Load of the machine before and after. */
  readonly load: readonly [number, number]
}

/** The first lines of a record of Node.js programs. */
export function recordHead({ date, machine, load }: Recorded, name: string): string[] {
  const loads = load.map((each) => each.toFixed(2)).join(' before, ')
  return [
    `# ${date}: ${name}`,
    '',
    `- Machine: ${machine.cpu}, ${machine.cpus} processors, ${machine.memoryGib} GiB; load ${loads} after`,
    `- System: ${machine.kernel}, ${machine.libc}, transparent huge pages: ${machine.transparentHugePages}; Node ${machine.node}`,
    `- Commit: ${machine.commit}`,
  ]
}

/** Writes a record: a file for each ending, with its text. */
export function writeRecord(date: string, name: string, texts: Readonly<Record<string, string>>): void {
  const folder = join(root, 'benches', 'records')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${date}-${name}`)
  for (const [ending, text] of Object.entries(texts)) writeFileSync(`${file}.${ending}`, text)
  const [first, ...others] = Object.keys(texts).map((ending) => `.${ending}`)
  console.log(`written: ${[`${file}${first}`, ...others].join(', ')}`)
}
