// The recipes of `docs/docker.md`, as they stand there: taken out of the page, their folders moved below a folder of the test, and
// followed as far as a machine without Docker, a cluster and systemd's manager goes.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { cli, plainEnv, root, tessalloc } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'tessalloc-recipes-'))
const app = join(folder, 'app')
const system = join(folder, 'usr', 'local', 'lib')

test.before(() => {
  const modules = join(app, 'node_modules')
  mkdirSync(join(modules, '@tessalloc'), { recursive: true })
  mkdirSync(join(modules, '.bin'))
  mkdirSync(system, { recursive: true })
  symlinkSync(root, join(modules, 'tessalloc'))
  symlinkSync(join(root, 'npm', 'linux-x64-gnu'), join(modules, '@tessalloc', 'binding-linux-x64-gnu'))
  symlinkSync(cli, join(modules, '.bin', 'tessalloc'))
  writeFileSync(join(app, 'package.json'), '{ "private": true }\n')
  writeFileSync(join(app, 'app.js'), "process.stdout.write(require('tessalloc').status().active)\n")
})

test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const page = readFileSync(join(root, 'docs', 'docker.md'), 'utf8')

/** The blocks of a language, with the folders that they name moved below the test's. */
function blocks(language: string): string[] {
  const found = [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))]
  return found.map(([, text = '']) =>
    text
      .replaceAll('/usr/local/lib', system)
      .replaceAll(/\/srv\/app|(?<=[= ])\/app/g, app)
      .replaceAll('/usr/bin/node', process.execPath),
  )
}

function execute(command: readonly string[], env: Readonly<Record<string, string>> = {}): SpawnSyncReturns<string> {
  const [program = '', ...args] = command
  // What `npm test` tells its scripts would send `npx` to the checkout.
  const plain = Object.fromEntries(Object.entries(plainEnv()).filter(([name]) => !/^npm_/i.test(name)))
  return spawnSync(program, args, { cwd: app, encoding: 'utf8', env: { ...plain, ...env } })
}

/** Follows a Dockerfile: `RUN` lines that concern tessalloc, `ENV`, and `CMD`. The program's output. */
function build(dockerfile: string): string {
  let env: Record<string, string> = {}
  let output = ''
  for (const line of dockerfile.split('\n')) {
    const [, instruction, text = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    if (instruction === 'ENV') {
      env = { ...env, ...Object.fromEntries(text.split(' ').map((pair) => pair.split('=') as [string, string])) }
    } else if (instruction === 'RUN' && text.includes('tessalloc')) {
      const { status, stdout, stderr } = execute(['/bin/sh', '-c', text], env)
      if (status !== 0) throw new Error(`${text}: ${stdout}${stderr}`)
    } else if (instruction === 'CMD') {
      output = execute(JSON.parse(text) as string[], env).stdout
    }
  }
  return output
}

test('docker_images_run_the_program_on_tessalloc', (t) => {
  const dockerfiles = blocks('dockerfile')
  t.deepEqual(dockerfiles.map(build), ['preload', 'preload'])
})

test('docker_lines_are_those_that_the_command_line_prints', (t) => {
  const lines = tessalloc(['env', '--docker']).stdout.trim().split('\n').slice(1)
  t.is(lines.length, 2)
  for (const line of lines) t.true(page.includes(`\n${line}\n`), line)
})

test('kubernetes_gives_the_container_the_variables_and_a_limit', (t) => {
  const [text = ''] = blocks('yaml')
  const { kind, spec } = parse(text) as { kind: string; spec: { template: { spec: { containers: Container[] } } } }
  interface Container {
    readonly command: string[]
    readonly env: { name: string; value: string }[]
    readonly resources: { limits: { memory: string } }
  }
  t.is(kind, 'Deployment')
  const [container] = spec.template.spec.containers
  t.truthy(container?.resources.limits.memory)
  const env = Object.fromEntries((container?.env ?? []).map(({ name, value }) => [name, value]))
  t.is(execute(container?.command ?? [], env).stdout, 'preload')
})

test('systemd_takes_the_unit_and_its_command_runs_on_tessalloc', (t) => {
  const [unit = '', dropIn = ''] = blocks('ini')
  const command = /^ExecStart=(.*)$/m.exec(unit)?.[1]?.split(' ') ?? []
  t.is(execute(command).stdout, 'preload')
  const env = [...dropIn.matchAll(/^Environment="(\w+)=(.*)"$/gm)].map(([, name, value]) => [name, value])
  t.is(execute(['node', 'app.js'], Object.fromEntries(env)).stdout, 'preload')

  const file = join(folder, 'app.service')
  writeFileSync(file, unit)
  mkdirSync(`${file}.d`)
  writeFileSync(join(`${file}.d`, 'override.conf'), dropIn)
  const verified = execute(['systemd-analyze', 'verify', '--man=no', file])
  if (verified.error) return t.log(`not verified: ${verified.error.message}`)
  t.is(verified.status, 0, verified.stderr)
  t.notRegex(verified.stderr, /app\.service/)
})

test('pm2_gets_variables_that_switch_it_on', (t) => {
  const [text = ''] = blocks('js')
  const file = join(app, 'ecosystem.config.cjs')
  writeFileSync(file, text)
  const shown = execute(['node', '-p', `JSON.stringify(require(${JSON.stringify(file)}))`])
  const { apps } = JSON.parse(shown.stdout) as { apps: { script: string; env: Record<string, string> }[] }
  t.is(apps.length, 1)
  for (const { script, env } of apps) t.is(execute(['node', script], env).stdout, 'preload')
})
