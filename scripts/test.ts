/**
 * `npm test`: everything that is checked, as CI does it. Installs nothing itself, `scripts/setup.mjs` did.
 *
 *     npm test                            every step
 *     npm test -- --only ava,tidy         only these (and what is built already)
 *     npm test -- --list                  names of the steps
 *
 * A step is a row of the table below; `scripts/steps.ts` runs them.
 */
import { ava, biome, root, tsc } from './lib.ts'
import { node, own, ownFolder, runSteps, type Step, script } from './steps.ts'

const steps: readonly Step[] = [
  { name: 'format', command: [node, biome, 'ci', '--error-on-warnings', '.'] },
  { name: 'rustfmt', command: ['cargo', 'fmt', '--all', '--check'] },
  { name: 'rustfmt-fuzz', command: ['cargo', 'fmt', '--manifest-path', 'fuzz/Cargo.toml', '--check'] },
  { name: 'types', command: [node, tsc, '-p', 'tsconfig.json'] },
  { name: 'tidy', command: script('tidy') },
  { name: 'docs', command: script('docs', 'typescript') },
  {
    name: 'clippy',
    command: [
      'cargo',
      'clippy',
      '-p',
      'tessalloc',
      '--features',
      'allocator-api2',
      '--all-targets',
      '--',
      '-D',
      'warnings',
    ],
  },
  {
    name: 'clippy-node',
    command: ['cargo', 'clippy', '-p', 'tessalloc-node', '-p', 'word-counts', '--all-targets', '--', '-D', 'warnings'],
  },
  // Without `--all-targets`: the library has its own panic handler, which a test harness has too.
  {
    name: 'clippy-c',
    command: ['cargo', 'clippy', '-p', 'tessalloc-c', '--lib', '--profile', 'release-c', '--', '-D', 'warnings'],
  },
  { name: 'build', command: script('build') },
  {
    name: 'core',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc', '--features', 'allocator-api2'],
    runner: 'cargo',
  },
  // What only a nightly compiler takes, by the stable one: the standard `Allocator`, and codes of errors in `compile_fail` examples.
  {
    name: 'core-nightly',
    command: ['cargo', 'test', '-p', 'tessalloc', '--features', 'nightly,allocator-api2', '--test', 'allocator'],
    env: { RUSTC_BOOTSTRAP: 'tessalloc,allocator', CARGO_TARGET_DIR: ownFolder('nightly') },
    runner: 'cargo',
  },
  {
    name: 'core-nightly-doc',
    command: ['cargo', 'test', '-p', 'tessalloc', '--features', 'nightly,allocator-api2', '--doc', 'allocator'],
    env: { RUSTC_BOOTSTRAP: 'tessalloc,allocator', CARGO_TARGET_DIR: ownFolder('nightly') },
    runner: 'cargo',
    needs: ['core-nightly'],
  },
  {
    name: 'core-sim',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc'],
    env: own('sim', 'tessalloc_sim'),
    runner: 'cargo',
  },
  // Random programs against a naive model; all invariants of the core between their steps. The same programs each time: `npm run verify`
  // tries new ones.
  {
    name: 'differential',
    command: ['cargo', 'test', '--no-fail-fast', '--manifest-path', 'fuzz/Cargo.toml', '--no-default-features'],
    env: { ...own('check', 'tessalloc_check'), TESSALLOC_TEST_SEED: '1' },
    runner: 'cargo',
    needs: ['build'],
  },
  {
    name: 'clippy-differential',
    command: [
      ...['cargo', 'clippy', '--manifest-path', 'fuzz/Cargo.toml', '--no-default-features', '--all-targets'],
      ...['--', '-D', 'warnings'],
    ],
    env: own('check', 'tessalloc_check'),
  },
  {
    name: 'core-loom',
    command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc', '--release', '--lib'],
    // The models alone are compiled, and run for seconds: optimising across crates costs more than it saves.
    env: { ...own('loom', 'loom'), CARGO_PROFILE_RELEASE_LTO: 'off', CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16' },
    runner: 'cargo',
  },
  { name: 'c', command: ['cargo', 'test', '--no-fail-fast', '-p', 'tessalloc-c'], runner: 'cargo', needs: ['build'] },
  {
    name: 'ava',
    command: [node, ava],
    env: { OXC_TSCONFIG_PATH: `${root}/tsconfig.json` },
    runner: 'ava',
    needs: ['build'],
  },
]

await runSteps(steps)
