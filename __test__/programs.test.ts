import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { cli, library, plainEnv, root } from './helpers.ts'

const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
const biome = join(root, 'node_modules', '@biomejs', 'biome', 'bin', 'biome')

/** Runs a program under preload, or on the system's allocator. */
function run(program: string, args: readonly string[], preload: boolean) {
  const env = plainEnv(preload ? { LD_PRELOAD: library } : {})
  return spawnSync(program, args, { encoding: 'utf8', env, cwd: root, maxBuffer: 2 ** 26 })
}

test('tsc_compiles_this_package_to_the_same_bytes', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, preload] of [
    ['with', true],
    ['without', false],
  ] as const) {
    const result = run(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', join(folder, name)], preload)
    t.is(result.status, 0, result.stdout)
  }
  for (const file of ['cli.js', 'cli/measure.js', 'index.d.ts']) {
    t.is(readFileSync(join(folder, 'with', file), 'utf8'), readFileSync(join(folder, 'without', file), 'utf8'))
  }
})

test('biome_finds_the_same_with_its_own_allocator_beside', (t) => {
  const results = [true, false].map((preload) =>
    run(process.execPath, [biome, 'lint', 'src', '--max-diagnostics=none'], preload),
  )
  t.deepEqual(
    results.map((result) => result.status),
    [0, 0],
  )
})

test('node_hashes_compresses_and_parses_the_same', (t) => {
  const script = `
    const { createHash, scryptSync } = require('crypto')
    const zlib = require('zlib')
    const text = JSON.stringify(Array.from({ length: 20000 }, (_, id) => ({ id, name: 'n' + id, tags: [id % 7, 'x'.repeat(id % 50)] })))
    const packed = [zlib.gzipSync(text), zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }), zlib.deflateRawSync(text)]
    const back = [zlib.gunzipSync(packed[0]), zlib.brotliDecompressSync(packed[1]), zlib.inflateRawSync(packed[2])]
    const hash = createHash('sha256')
    for (const each of [...packed, ...back]) hash.update(each)
    hash.update(JSON.stringify(JSON.parse(back[1])))
    hash.update(scryptSync('secret', 'salt', 64))
    console.log(hash.digest('hex'))`
  const [ours, system] = [true, false].map((preload) => run(process.execPath, ['-e', script], preload))
  t.is(system?.status, 0, system?.stderr)
  t.regex(system?.stdout ?? '', /^[0-9a-f]{64}\n$/)
  t.is(ours?.stdout, system?.stdout)
})

test('the_command_line_itself_runs_on_tessalloc', (t) => {
  t.is(run(process.execPath, [cli, 'path'], true).stdout, `${library}\n`)
})
