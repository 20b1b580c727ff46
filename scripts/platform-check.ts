/**
 * Looks into the binaries of a platform, without running them: made for the right system and processor, asking for no library that the
 * system may lack, for no glibc newer than promised, giving the names that it is to give and no others.
 */
import { join } from 'node:path'
import { addonOf, type Platform } from '../src/platforms.ts'
import { python } from './cross-tools.ts'
import { CommandError, output, root } from './lib.ts'
import { glibcFloor } from './platform-build.ts'

/** What lief sees of a library, of whatever system. */
interface Look {
  readonly format: string
  readonly processor: string
  readonly libraries: readonly string[]
  readonly exports: readonly string[]
  readonly imports: readonly string[]
  /** Versions of names that are asked for, such as `GLIBC_2.17`. */
  readonly versions: readonly string[]
}

const look = `
import json, sys, lief
b = lief.parse(sys.argv[1])
name = lambda s: s if isinstance(s, str) else s.name
# macOS puts a line before each name.
plain = lambda f: f.name[1:] if b.format == lief.Binary.FORMATS.MACHO else f.name
needs = b.symbols_version_requirement if b.format == lief.Binary.FORMATS.ELF else []
print(json.dumps({
  "format": b.format.name,
  "processor": b.abstract.header.architecture.name,
  "libraries": [name(l) for l in b.libraries],
  "exports": [plain(f) for f in b.abstract.exported_functions],
  "imports": [plain(f) for f in b.abstract.imported_functions],
  "versions": [a.name for n in needs for a in n.get_auxiliary_symbols()],
}))
`

function lookInto(path: string): Look {
  return JSON.parse(output(join(python, 'python'), ['-c', look, path])) as Look
}

/** What a platform's libraries may be, and may ask the system for. */
interface Expected {
  readonly format: string
  readonly libraries: RegExp
}

const expectations: readonly (readonly [platform: RegExp, expected: Expected])[] = [
  [/^linux-.*-gnu$/, { format: 'ELF', libraries: /^(lib(c|m|dl|rt|pthread)\.so\.\d|ld-linux-[\w-]+\.so\.\d)$/ }],
  [/^linux-.*-musl$/, { format: 'ELF', libraries: /^libc\.so$/ }],
  [
    /^freebsd/,
    { format: 'ELF', libraries: /^lib(c|m|thr|rt|util|execinfo|kvm|memstat|procstat|devstat|gcc_s)\.so\.\d$/ },
  ],
  // The name under which programs look for the library itself stands there too.
  [
    /^darwin/,
    {
      format: 'MACHO',
      libraries:
        /^(@rpath\/(libtessalloc\.dylib|tessalloc\.node)|\/usr\/lib\/lib(System\.B|iconv\.2|charset\.1)\.dylib)$/,
    },
  ],
  [
    /^win32/,
    {
      format: 'PE',
      libraries: /^(kernel32|ntdll|msvcrt|userenv|ws2_32|bcryptprimitives|advapi32|api-ms-win-[\w-]+)\.dll$/i,
    },
  ],
]

const processors: Readonly<Record<string, string>> = { x64: 'X86_64', arm64: 'ARM64' }

/** What a preload library has to stand in for. On macOS it does so by a zone, and gives none of the names. */
const family = [
  'malloc',
  'calloc',
  'realloc',
  'free',
  'posix_memalign',
  'aligned_alloc',
  'memalign',
  'malloc_usable_size',
]

/** The newest of `versions` with `prefix`, such as `2.17`; `undefined` when there is none. */
function newest(versions: readonly string[], prefix: string): string | undefined {
  const numbers = versions.filter((each) => each.startsWith(prefix)).map((each) => each.slice(prefix.length))
  return numbers.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
}

/** Checks all of a platform's binaries; tells the glibc they ask for, if any. Throws a `CommandError` that names what is wrong. */
export function checkPlatform({ name, files }: Platform): string | undefined {
  const expected = expectations.find(([pattern]) => pattern.test(name))?.[1]
  const floors = [addonOf(name), ...files.filter((file) => !file.endsWith('.a'))].map((file) => {
    const path = join(root, 'npm', name, file)
    const found = lookInto(path)
    const fail = (what: string, wanted: unknown, received: unknown): never => {
      throw new CommandError(`Cannot take ${path}: ${what} must be ${wanted}, received ${received}`)
    }
    if (found.format !== expected?.format) fail('the format', expected?.format, found.format)
    const processor = processors[name.split('-')[1] ?? '']
    if (found.processor !== processor) fail('the processor', processor, found.processor)
    const foreign = found.libraries.filter((library) => !expected?.libraries.test(library))
    if (foreign.length > 0) fail('libraries it asks for', 'the system’s own', foreign.join(', '))
    const floor = newest(found.versions, 'GLIBC_')
    if (floor !== undefined && newest([`GLIBC_${floor}`, `GLIBC_${glibcFloor}`], 'GLIBC_') !== glibcFloor) {
      fail('the newest glibc it asks for', `at most ${glibcFloor}`, floor)
    }
    const exports = new Set(found.exports)
    if (file.endsWith('.node')) {
      if (!exports.has('napi_register_module_v1'))
        fail('its exports', 'napi_register_module_v1', [...exports].join(', '))
      const asked = found.imports.filter((each) => /^napi_/.test(each))
      if (asked.length > 0) fail('names of Node-API', 'looked up when it runs', asked.join(', '))
    }
    const isPreload = file.endsWith('.so')
    const missing = family.filter((each) => exports.has(each) !== isPreload)
    if (missing.length > 0) fail('the malloc family', isPreload ? 'exported' : 'left alone', missing.join(', '))
    if (file.endsWith('.dylib') && !found.imports.includes('malloc_zone_register')) {
      fail('its imports', 'malloc_zone_register among them', found.imports.join(', '))
    }
    if (/^lib.*\.(so|dylib)$/.test(file) && !exports.has('tessalloc_malloc')) {
      fail('its exports', 'tessalloc_malloc among them', [...exports].join(', '))
    }
    return floor
  })
  return newest(
    floors.flatMap((floor) => (floor === undefined ? [] : [`GLIBC_${floor}`])),
    'GLIBC_',
  )
}
