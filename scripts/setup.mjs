// The entry of every npm script: `node scripts/setup.mjs <task> [arguments]`. Runs before anything is installed, so it is
// plain JavaScript without a dependency. It checks the tools, installs the npm packages when they are missing or older than the
// lock file, and then runs `scripts/<task>.ts` (or what the table below names).
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Every task: its TypeScript file and whether it compiles Rust. */
const tasks = {
  start: { file: 'scripts/start.ts', rust: true },
  test: { file: 'scripts/test.ts', rust: true },
  verify: { file: 'scripts/verify.ts', rust: true },
  build: { file: 'scripts/build.ts', rust: true },
  'install-c': { file: 'scripts/install-c.ts', rust: true },
  packages: { file: 'scripts/packages.ts', rust: false },
  docs: { file: 'scripts/docs.ts', rust: true },
  coverage: { file: 'scripts/coverage.ts', rust: false },
  bench: { file: 'benches/run.ts', rust: true },
  'bench-node': { file: 'benches/node/run.ts', rust: false },
  sanitize: { file: 'scripts/sanitize.ts', rust: true },
  fuzz: { file: 'scripts/fuzz.ts', rust: true },
  differential: { file: 'scripts/differential.ts', rust: true },
  'bench-scenarios': { file: 'benches/scenarios/run.ts', rust: false },
  'bench-start': { file: 'benches/scenarios/start.ts', rust: false },
  weaken: { file: 'scripts/weaken.ts', rust: true },
  cross: { file: 'scripts/cross-check.ts', rust: true },
  tidy: { file: 'scripts/tidy.ts', rust: false },
  format: { file: 'scripts/format.ts', rust: true },
}

const nodeMinimum = [20, 19]
const rustMinimum = /rust-version = "([\d.]+)"/.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))?.[1] ?? '1.95'

const say = (/** @type {string} */ text) => process.stderr.write(`tessalloc: ${text}\n`)

/** @param {string} text @returns {never} */
function missing(text) {
  say(text)
  process.exit(1)
}

/** @param {string} have @param {string} want */
function atLeast(have, want) {
  const a = have.split('.').map(Number)
  const b = want.split('.').map(Number)
  for (let i = 0; i < b.length; i++) {
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0)
  }
  return true
}

/** @param {boolean} rust */
function checkTools(rust) {
  if (!atLeast(process.versions.node, nodeMinimum.join('.'))) {
    missing(
      `Node.js ${nodeMinimum.join('.')} or later is needed, this is ${process.versions.node} (${process.execPath}).`,
    )
  }
  if (!rust) return
  const cargo = spawnSync('cargo', ['--version'], { cwd: root, encoding: 'utf8' })
  if (cargo.error)
    missing(`Rust ${rustMinimum} or later is needed, but no "cargo" was found on PATH. Install Rust with rustup.`)
  const version = /cargo (\d+\.\d+\.\d+)/.exec(cargo.stdout)?.[1]
  if (!version) missing(`"cargo --version" failed: ${(cargo.stderr || cargo.stdout).trim()}`)
  if (!atLeast(version, rustMinimum))
    missing(`Rust ${rustMinimum} or later is needed, this is ${version}. Try: rustup update`)
  if (process.platform !== 'win32' && spawnSync('cc', ['--version']).error) {
    missing(
      'A C compiler is needed to link Rust code, but no "cc" was found on PATH. On Debian: apt-get install gcc libc6-dev',
    )
  }
}

function packagesAreCurrent() {
  const installed = join(root, 'node_modules', '.package-lock.json')
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs
}

function installPackages() {
  if (packagesAreCurrent()) return
  say('installing npm packages (once; about a minute) …')
  const npm = process.env.npm_execpath
  // Not `npm ci`: it wants an entry for every platform's optional package in the lock file, also for those that a registry
  // mirror does not carry. `--no-save` keeps the lock file's versions and leaves the file alone.
  const args = ['install', '--no-save', '--no-fund', '--no-audit', '--loglevel=error']
  const options = {
    cwd: root,
    encoding: /** @type {const} */ ('utf8'),
    stdio: /** @type {const} */ (['ignore', 'inherit', 'pipe']),
  }
  // `npm_execpath` is the npm that runs us; without it (called by hand) the one on PATH.
  const result = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, options)
  if (result.error) missing(`npm could not be started: ${result.error.message}`)
  if (result.status === 0) return
  process.stderr.write(result.stderr)
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH/.test(result.stderr)) {
    missing(
      'The npm registry could not be reached: check the network, or the proxy and registry settings of npm ("npm config list").',
    )
  }
  missing('"npm install" failed; its message is above.')
}

const [name = '', ...rest] = process.argv.slice(2)
const task = tasks[/** @type {keyof typeof tasks} */ (name)]
if (!task) missing(`No task "${name}". There are: ${Object.keys(tasks).join(', ')}.`)
checkTools(task.rust)
installPackages()

const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', join(root, task.file), ...rest], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, OXC_TSCONFIG_PATH: join(root, 'tsconfig.json') },
})
// The terminal sends Ctrl-C to both; the child decides what it means.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => signal !== 'SIGINT' && child.kill(signal))
}
child.on('exit', (code, signal) => process.exit(code ?? 128 + (signal ? constants.signals[signal] : 0)))
