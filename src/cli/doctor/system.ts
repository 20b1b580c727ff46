// What the machine, the container and the limits of this process mean for an allocator.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { bytesText } from '../format.ts'
import { type Finding, ok, warning } from './finding.ts'

export function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Overcommit, huge pages, limits; of this process, or of `pid`. */
export function system(pid: number | 'self' = 'self'): Finding[] {
  const findings: Finding[] = []
  if (read('/proc/sys/vm/overcommit_memory') === '2') {
    findings.push(
      warning(
        'overcommit',
        'overcommit',
        'vm.overcommit_memory is 2: address space counts as memory, and is taken in small steps',
        'nothing, unless allocations fail: then raise vm.overcommit_ratio',
      ),
    )
  }
  const hugePages = /\[(\w+)\]/.exec(read('/sys/kernel/mm/transparent_hugepage/enabled') ?? '')?.[1]
  if (hugePages) {
    const note =
      hugePages === 'always' ? '; tessalloc keeps its memory out of them, other mappings may grow by them' : ''
    findings.push(ok('huge-pages', 'huge pages', `transparent huge pages: ${hugePages}${note}`))
  }
  const addressSpace = /^Max address space\s+(\S+)/m.exec(read(`/proc/${pid}/limits`) ?? '')?.[1]
  if (addressSpace && addressSpace !== 'unlimited') {
    findings.push(
      warning(
        'address-space',
        'address space',
        `limited to ${bytesText(Number(addressSpace))} (ulimit -v): regions are smaller`,
        'limit memory by a control group in place of ulimit -v; do not lower the limit inside a process',
      ),
    )
  }
  findings.push(memory(pid))
  return findings
}

/** The memory limit of a process's control group, version 2 first. */
function memory(pid: number | 'self'): Finding {
  const group = /^0::(.*)$/m.exec(read(`/proc/${pid}/cgroup`) ?? '')?.[1] ?? '/'
  const limit =
    read(join('/sys/fs/cgroup', group, 'memory.max')) ??
    read('/sys/fs/cgroup/memory.max') ??
    read('/sys/fs/cgroup/memory/memory.limit_in_bytes')
  const bytes = Number(limit)
  const isLimited = Number.isFinite(bytes) && bytes < totalmem()
  return ok(
    'memory',
    'memory',
    isLimited
      ? `container limit ${bytesText(bytes)} of ${bytesText(totalmem())}`
      : `${bytesText(totalmem())}, no container limit`,
  )
}

/** sharp, if it can be imported from this folder, uses one core on glibc unless MALLOC_ARENA_MAX is set. */
export function sharpHere(env: NodeJS.ProcessEnv = process.env): Finding[] {
  if (env.MALLOC_ARENA_MAX !== undefined || !env.LD_PRELOAD?.includes('libtessalloc')) return []
  try {
    createRequire(join(process.cwd(), 'x.js')).resolve('sharp')
  } catch {
    return []
  }
  return [sharp('sharp')]
}

export function sharp(what: string): Finding {
  return warning(
    'sharp',
    what,
    'sharp works on one core: it takes glibc’s allocator for granted, unless MALLOC_ARENA_MAX is set',
    'set MALLOC_ARENA_MAX=2 (as "tessalloc run" and "tessalloc env" do), or call sharp.concurrency()',
  )
}
