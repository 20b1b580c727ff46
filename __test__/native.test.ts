import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { loadErrorCodes } from '../src/errors.ts'
import * as sdk from '../src/index.ts'
import { binaryPath, loadError, missingPackage, oldNode } from '../src/native.ts'
import { platformName, platforms } from '../src/platforms.ts'
import { nodeMinimum, packageVersion } from '../src/version.ts'
import { evaluate, library, root } from './helpers.ts'

test('platform_name_tells_glibc_from_musl', (t) => {
  t.is(platformName('linux', 'x64', 'glibc'), 'linux-x64-gnu')
  t.is(platformName('linux', 'arm64', 'musl'), 'linux-arm64-musl')
  t.is(platformName('darwin', 'arm64'), 'darwin-arm64')
  t.is(platformName('win32', 'x64'), 'win32-x64-msvc')
})

test('binary_path_of_this_platform_is_in_its_folder', (t) => {
  t.is(binaryPath('libtessalloc.so'), library)
})

test('binary_path_of_an_unsupported_platform_names_it_and_what_there_is', (t) => {
  const error = t.throws(() => binaryPath('binding', 'linux-riscv64-musl'), { instanceOf: sdk.TessallocError })
  t.is(error.code, 'ERR_TESSALLOC_UNSUPPORTED')
  t.regex(
    error.message,
    /^Cannot load tessalloc: there are binaries for linux-x64-gnu, .*, this is linux-riscv64-musl\. /,
  )
})

/** What is said about a platform when the packages of others are installed. */
const missing = (platform: string, ...installed: readonly string[]) =>
  missingPackage(platform, (other) => installed.includes(other))

test('missing_package_of_a_released_platform_tells_how_to_install_it', (t) => {
  for (const { name, proof } of platforms.filter(({ proof }) => proof !== 'none')) {
    const { code, message } = missing(name)
    t.is(code, 'ERR_TESSALLOC_MISSING_BINARY', proof)
    t.regex(message, new RegExp(`@tessalloc/binding-${name}, which is not installed`))
    t.regex(message, /Remove node_modules and package-lock\.json and install again, with npm 11/)
  }
})

test('missing_package_beside_that_of_the_other_libc_tells_where_to_install', (t) => {
  for (const [here, there] of [
    ['linux-x64-musl', 'linux-x64-gnu'],
    ['linux-x64-gnu', 'linux-x64-musl'],
  ] as const) {
    const { code, message } = missing(here, there)
    t.is(code, 'ERR_TESSALLOC_WRONG_LIBC')
    t.regex(message, new RegExp(`\\(${here}\\), but node_modules holds @tessalloc/binding-${there}\\.`))
    t.regex(message, /run npm install inside of the image/)
  }
})

test('missing_package_that_was_never_run_is_installed_by_its_name', (t) => {
  const { code, message } = missing('darwin-arm64')
  t.is(code, 'ERR_TESSALLOC_UNSUPPORTED')
  t.regex(message, /for darwin-arm64 were never run/)
  t.true(message.includes(`npm install @tessalloc/binding-darwin-arm64@${packageVersion}`))
})

test('node_that_is_too_old_is_told_which_one_is_needed', (t) => {
  const minimum = /^\d+\.\d+$/.exec(nodeMinimum)?.[0] ?? ''
  const [major = 0, minor = 0] = minimum.split('.').map(Number)
  for (const old of [`${major - 2}.${minor}.0`, `${major}.${minor - 1}.9`, `${major - 1}.99.99`]) {
    const error = oldNode(old)
    t.is(error?.code, 'ERR_TESSALLOC_UNSUPPORTED')
    t.is(
      error?.message,
      `Cannot load tessalloc: expected Node.js ${minimum} or later, this is ${old}. Use a newer Node.js`,
    )
  }
  for (const fine of [`${minimum}.0`, `${major}.${minor + 1}.0`, `${major + 2}.0.0`, process.versions.node]) {
    t.is(oldNode(fine), undefined)
  }
})

/** A copy of the preload library with `change` made to its bytes. */
function changed(t: ExecutionContext, change: (bytes: Buffer) => void): string {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const bytes = readFileSync(library)
  change(bytes)
  writeFileSync(join(folder, 'x.node'), bytes)
  return join(folder, 'x.node')
}

test('load_errors_tell_an_old_or_another_libc_or_machine_from_a_broken_file', (t) => {
  const told = (path: string, text: string, here?: { libc: 'glibc' | 'musl'; arch: string }) =>
    loadError(path, new Error(text), here)
  const old = told('x.node', "/lib/libc.so.6: version `GLIBC_2.34' not found (required by x.node)")
  t.is(old.code, 'ERR_TESSALLOC_WRONG_LIBC')
  t.regex(old.message, /expected GLIBC 2\.34 or later/)
  const onMusl = told(library, 'Error relocating: symbol not found', { libc: 'musl', arch: 'x64' })
  t.is(onMusl.code, 'ERR_TESSALLOC_WRONG_LIBC')
  t.regex(onMusl.message, /it is for glibc, this Node\.js runs on musl: .*\. It was installed on another system/)
  const ofMusl = changed(t, (bytes) => bytes.write('libc.so\0', bytes.indexOf('libc.so.6\0'), 'latin1'))
  const onGlibc = told(ofMusl, 'libc.so: invalid ELF header', { libc: 'glibc', arch: 'x64' })
  t.is(onGlibc.code, 'ERR_TESSALLOC_WRONG_LIBC')
  t.regex(onGlibc.message, /it is for musl, this Node\.js runs on glibc/)
  const foreign = told(library, 'wrong ELF class', { libc: 'glibc', arch: 'arm64' })
  t.is(foreign.code, 'ERR_TESSALLOC_LOAD_FAILED')
  t.regex(foreign.message, /it is for x64, this Node\.js is for arm64/)
  const broken = told('x.node', 'x.node: invalid ELF header')
  t.is(broken.code, 'ERR_TESSALLOC_LOAD_FAILED')
  t.regex(broken.message, /Remove node_modules/)
  t.true(broken.cause instanceof Error)
  t.true([old, onMusl, onGlibc, foreign, broken].every(({ code }) => loadErrorCodes.has(code)))
})

/** An installed package as a user has it, without its platform package. */
function installWithoutBinaries(broken: boolean): string {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(folder, 'package.json'))
  if (broken) {
    mkdirSync(join(folder, 'npm', platformName()), { recursive: true })
    writeFileSync(join(folder, 'npm', platformName(), `tessalloc.${platformName()}.node`), 'not a library')
  }
  return folder
}

/** What the command line is built on, from the checkout. */
function symlinkDependencies(folder: string): void {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }
  for (const name of Object.keys(dependencies)) {
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
}

for (const broken of [false, true]) {
  test(`package_with_${broken ? 'a_broken' : 'no'}_binary_imports_and_tells_on_use`, async (t) => {
    const folder = installWithoutBinaries(broken)
    t.teardown(() => rmSync(folder, { recursive: true }))
    const answer = await evaluate<{ status: { active: string; path: null }; code: string; message: string }>(
      `import { purge, status } from ${JSON.stringify(pathToFileURL(join(folder, 'dist', 'index.js')))}
       let error
       try { purge() } catch (e) { error = e }
       console.log(JSON.stringify({ status: status(), code: error.code, message: error.message }))`,
    )
    t.is(answer.status.active, 'none')
    t.is(answer.status.path, null)
    t.is(answer.code, broken ? 'ERR_TESSALLOC_LOAD_FAILED' : 'ERR_TESSALLOC_MISSING_BINARY')
    t.regex(answer.message, broken ? /Cannot load .*\.node: / : /which is not installed/)
  })
}

test('package_beside_binaries_of_another_version_or_without_a_library_says_so', (t) => {
  const folder = installWithoutBinaries(false)
  t.teardown(() => rmSync(folder, { recursive: true }))
  const platform = join(folder, 'node_modules', '@tessalloc', `binding-${platformName()}`)
  const path = () => spawnSync(process.execPath, [join(folder, 'dist', 'cli.js'), 'path'], { encoding: 'utf8' })
  mkdirSync(platform, { recursive: true })
  symlinkDependencies(folder)
  writeFileSync(join(platform, 'package.json'), '{ "version": "0.0.1" }')
  const skewed = path()
  t.is(skewed.status, 3)
  t.regex(skewed.stderr, new RegExp(`expected @tessalloc/.* of version ${packageVersion}, received 0\\.0\\.1 in `))
  writeFileSync(join(platform, 'package.json'), JSON.stringify({ version: packageVersion }))
  const incomplete = path()
  t.is(incomplete.status, 3)
  t.regex(incomplete.stderr, /Cannot find libtessalloc\.so: expected it at .*\. Remove node_modules/)
})

test('without_a_binary_arenas_heaps_and_pools_work_on_memory_of_javascript', async (t) => {
  const folder = installWithoutBinaries(false)
  t.teardown(() => rmSync(folder, { recursive: true }))
  const answer = await evaluate<unknown>(
    `import { Arena, BufferPool, Heap } from ${JSON.stringify(pathToFileURL(join(folder, 'dist', 'index.js')))}
     const [arena, heap, pool] = [new Arena({ capacity: 64, maxCapacity: 1 << 20 }), new Heap(), new BufferPool()]
     const { backing } = arena
     const views = [arena.alloc(1 << 19), heap.view(heap.alloc(100)), pool.acquire(100)]
     pool.release(views[2])
     arena.reset()
     heap.purge()
     const whole = views.map(({ length }) => length)
     for (const handle of [arena, heap, pool]) handle.dispose()
     console.log(JSON.stringify({ backing, whole, after: views.map(({ length }) => length) }))`,
  )
  t.deepEqual(answer, { backing: 'js', whole: [2 ** 19, 112, 100], after: [0, 0, 0] })
})

test('package_can_be_imported_and_required', async (t) => {
  const names = Object.keys(sdk).toSorted()
  t.true(names.includes('status'))
  const imported = await evaluate<string[]>(
    `import * as t from 'tessalloc'; console.log(JSON.stringify(Object.keys(t)))`,
  )
  const required = await evaluate<string[]>(`console.log(JSON.stringify(Object.keys(require('tessalloc'))))`, {
    type: 'commonjs',
  })
  t.deepEqual(imported.toSorted(), names)
  t.deepEqual(required.filter((name) => name !== '__esModule').toSorted(), names)
})
