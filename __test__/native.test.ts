import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { TessallocError } from '../src/index.ts'
import { binaryPath, missingBinaryText, platformName } from '../src/native.ts'
import { evaluate, library, root } from './helpers.ts'

test('platform_name_tells_glibc_from_musl', (t) => {
  t.is(platformName('linux', 'x64', true), 'linux-x64-gnu')
  t.is(platformName('linux', 'arm64', false), 'linux-arm64-musl')
  t.is(platformName('darwin', 'arm64', false), 'darwin-arm64')
})

test('binary_path_of_this_platform_is_in_its_folder', (t) => {
  t.is(binaryPath('libtessalloc.so'), library)
})

test('binary_path_of_an_unsupported_platform_names_it_and_what_there_is', (t) => {
  const error = t.throws(() => binaryPath('binding', 'linux-riscv64-musl'), { instanceOf: TessallocError })
  t.is(error.code, 'ERR_TESSALLOC_UNSUPPORTED')
  t.is(error.message, 'Cannot load tessalloc: there are binaries for linux-x64-gnu, this is linux-riscv64-musl')
})

test('missing_package_of_a_supported_platform_tells_how_to_install_it', (t) => {
  const text = missingBinaryText('linux-x64-gnu')
  t.regex(text, /@tessalloc\/binding-linux-x64-gnu, which is not installed/)
  t.regex(text, /remove node_modules and package-lock\.json/)
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
    t.is(answer.code, 'ERR_TESSALLOC_UNSUPPORTED')
    t.regex(answer.message, broken ? /Cannot load .*\.node: / : /which is not installed/)
  })
}

test('package_can_be_imported_and_required', async (t) => {
  const names = ['Arena', 'BufferPool', 'Heap', 'TessallocError', 'memoryUsage', 'memoryUsageFields', 'purge', 'status']
  const imported = await evaluate<string[]>(
    `import * as t from 'tessalloc'; console.log(JSON.stringify(Object.keys(t)))`,
  )
  const required = await evaluate<string[]>(`console.log(JSON.stringify(Object.keys(require('tessalloc'))))`, {
    type: 'commonjs',
  })
  t.deepEqual(imported.toSorted(), names)
  t.deepEqual(required.filter((name) => name !== '__esModule').toSorted(), names)
})
