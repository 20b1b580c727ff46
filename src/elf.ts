// Reads what matters here of ELF files: for which machine, loader and C library they are, and which names they define.
import { closeSync, openSync, readSync } from 'node:fs'

const segment = { interpreter: 3 } as const
const section = { dynamic: 6, dynsym: 11 } as const
const symbolBytes = 24
const dynamicEntry = { bytes: 16, needed: 1n } as const
/** The machine of Node.js's `process.arch`, as ELF numbers it. */
export const machines: Readonly<Record<string, number>> = {
  x64: 62,
  arm64: 183,
  ia32: 3,
  arm: 40,
  riscv64: 243,
  ppc64: 21,
  s390x: 22,
}

/** A C library that programs and libraries are linked against. */
export type LibcName = 'glibc' | 'musl'

/** Name of a machine, or its number. */
export function machineName(machine: number): string {
  return Object.entries(machines).find(([, number]) => number === machine)?.[0] ?? `machine ${machine}`
}

/** An ELF file, open. Dispose it. All reads throw what the system says. */
export class ElfFile implements Disposable {
  readonly #file: number
  readonly #head: Buffer

  private constructor(file: number, head: Buffer) {
    this.#file = file
    this.#head = head
  }

  /** Opens `path`; `undefined` when it is no ELF file. */
  static open(path: string): ElfFile | undefined {
    const file = openSync(path, 'r')
    const head = Buffer.alloc(64)
    const isElf =
      readSync(file, head, 0, head.length, 0) === head.length && head.toString('latin1', 0, 4) === '\u007fELF'
    if (isElf) return new ElfFile(file, head)
    closeSync(file)
    return undefined
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  /** Whether it is of 64 bits and little-endian: only then the rest can be read. */
  get isReadable(): boolean {
    return this.#head[4] === 2 && this.#head[5] === 1
  }

  get bits(): 32 | 64 {
    return this.#head[4] === 2 ? 64 : 32
  }

  get machine(): number {
    return this.#head[5] === 1 ? this.#head.readUInt16LE(18) : this.#head.readUInt16BE(18)
  }

  #read(offset: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes)
    return buffer.subarray(0, readSync(this.#file, buffer, 0, bytes, offset))
  }

  /** The loader that the file asks for; `undefined` for a static program, and for libraries. */
  get interpreter(): string | undefined {
    const [at, size, count] = [
      Number(this.#head.readBigUInt64LE(32)),
      this.#head.readUInt16LE(54),
      this.#head.readUInt16LE(56),
    ]
    const table = this.#read(at, size * count)
    for (let i = 0; i < count; i++) {
      if (table.readUInt32LE(i * size) !== segment.interpreter) continue
      const text = this.#read(Number(table.readBigUInt64LE(i * size + 8)), Number(table.readBigUInt64LE(i * size + 32)))
      return text.toString('latin1').replace(/\0.*$/s, '')
    }
    return undefined
  }

  /** The contents of the first section of a kind, and of the one with its texts. */
  #section(kind: number): { content: Buffer; texts: Buffer } | undefined {
    const [at, size, count] = [
      Number(this.#head.readBigUInt64LE(40)),
      this.#head.readUInt16LE(58),
      this.#head.readUInt16LE(60),
    ]
    const table = this.#read(at, size * count)
    const content = (index: number) =>
      this.#read(Number(table.readBigUInt64LE(index * size + 24)), Number(table.readBigUInt64LE(index * size + 32)))
    for (let i = 0; i < count; i++) {
      if (table.readUInt32LE(i * size + 4) !== kind) continue
      return { content: content(i), texts: content(table.readUInt32LE(i * size + 40)) }
    }
    return undefined
  }

  /** Offset of a name that the file defines for others; `undefined` if it does not. */
  definition(name: string): number | undefined {
    const { content: symbols, texts } = this.#section(section.dynsym) ?? none
    // Names share their ends: one may begin inside another.
    const isNamed = (at: number) => texts.toString('latin1', at, at + name.length + 1) === `${name}\0`
    for (let symbol = 0; symbol + symbolBytes <= symbols.length; symbol += symbolBytes) {
      const isDefined = symbols.readUInt16LE(symbol + 6) !== 0
      if (isDefined && isNamed(symbols.readUInt32LE(symbol))) return Number(symbols.readBigUInt64LE(symbol + 8))
    }
    return undefined
  }

  /** Names of the libraries that the file asks for. */
  get libraries(): string[] {
    const { content, texts } = this.#section(section.dynamic) ?? none
    const names: string[] = []
    for (let at = 0; at + dynamicEntry.bytes <= content.length; at += dynamicEntry.bytes) {
      if (content.readBigUInt64LE(at) !== dynamicEntry.needed) continue
      const start = Number(content.readBigUInt64LE(at + 8))
      names.push(texts.toString('latin1', start, texts.indexOf(0, start)))
    }
    return names
  }

  /** The C library that the file is linked against, by its loader and its libraries; `undefined` for a static or another one. */
  get libc(): LibcName | undefined {
    if (!this.isReadable) return undefined
    const names = [this.interpreter ?? '', ...this.libraries]
    if (names.some((name) => /\/ld-musl-|^libc\.musl-|^libc\.so$/.test(name))) return 'musl'
    return names.some((name) => /\/ld-linux-|^ld-linux-|^libc\.so\.6$/.test(name)) ? 'glibc' : undefined
  }
}

const none = { content: Buffer.alloc(0), texts: Buffer.alloc(0) }

/** What `look` finds in the ELF file at `path`; `undefined` when it cannot be read or is none. */
export function inElf<T>(path: string, look: (file: ElfFile) => T): T | undefined {
  try {
    using file = ElfFile.open(path)
    return file && look(file)
  } catch {
    return undefined
  }
}
