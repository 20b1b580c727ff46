// The commands, their options and their help. Each command's own code is loaded when it runs: `run` is to start quickly.
import { Command, Option } from 'commander'
import { packageVersion } from '../version.ts'
import { parseCount, parseDurationMs, parsePid } from './duration.ts'
import type { EnvFormat } from './env.ts'
import { withHint } from './hint.ts'

function addRun(cli: Command): void {
  cli
    .command('run')
    .description('run a command on tessalloc')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--stats', 'print statistics when a process ends')
    .option('--purge-delay <duration>', 'how long unused memory is kept, such as 500ms or 2s', parseDurationMs)
    .option('--verbose', 'say which variables are set')
    .addHelpText(
      'after',
      `
The command takes the place of this process: same process id, signals go straight to it, no second Node.js stays.
Sets LD_PRELOAD, before what it names already, and MALLOC_ARENA_MAX=2 where it is unset: it means nothing to tessalloc, but the
image library sharp uses one core on glibc without it. The command's children inherit both.
Exit codes: the command's own; 127 no such command; 126 it cannot be run; 2 wrong usage; 3 not supported on this system.`,
    )
    .passThroughOptions()
    .action(async (command: string[], options) => {
      const { run } = await import('./run.ts')
      process.exitCode = await run(command, options)
    })
}

function addCompare(cli: Command): void {
  cli
    .command('compare')
    .description("run a command on the system's allocator and on tessalloc in turn, and show time and memory")
    .argument('[command...]', 'the command and its arguments, after --; without one, the bundled workload')
    .option('--runs <count>', 'runs on each allocator', parseCount, 3)
    .option(
      '--idle <duration>',
      'a command that did nothing for this long is measured and stopped',
      parseDurationMs,
      3000,
    )
    .option(
      '--with <list>',
      'allocators: system, tessalloc, paths of libraries; the first is the base',
      'system,tessalloc',
    )
    .option('--json', 'print JSON with every run and every sample')
    .option('--html <file>', 'write a page with a chart of RSS over time')
    .option('--output', "show the command's output (on standard error)")
    .addHelpText(
      'after',
      `
A command that ends by itself is measured to its end. One that keeps running is taken for idle when it used less than 10 % of one
core for --idle, and did not wait for one: its memory is read, then its process group is stopped with SIGTERM.
Exit codes: that of a command that failed; 127 no such command; 2 wrong usage; 3 not supported on this system.`,
    )
    .passThroughOptions()
    .action(async (command: string[], options) => {
      const { compare } = await import('./compare.ts')
      await compare(command, options)
    })
}

function addTop(cli: Command): void {
  cli
    .command('top')
    .description('show what the memory of a running process is for, live')
    .argument('<pid>', 'the process id', parsePid)
    .option('--interval <duration>', 'time between two looks', parseDurationMs, 1000)
    .option('--once', 'one look; so it is where the output is no terminal')
    .option('--json', 'print JSON, a line for each look')
    .addHelpText(
      'after',
      `
Works with and without tessalloc in the process. With it, its own figures are read from the memory of the process, which is not
stopped; that is allowed to root, to parents, and to the same user where kernel.yama.ptrace_scope is 0. q or Ctrl-C ends it.
Exit codes: 0, also when the process ends; 2 wrong usage or no such process; 3 not supported on this system.`,
    )
    .action(async (pid: number, options) => {
      const { top } = await import('./top.ts')
      await top(pid, options)
    })
}

function addReport(cli: Command): void {
  cli
    .command('report')
    .description('watch a process, or a command run on tessalloc, and write a page of what its memory is for')
    .argument('<target...>', 'a process id, or a command after --')
    .option(
      '--for <duration>',
      'how long; a command that still runs then is stopped with SIGTERM',
      parseDurationMs,
      10_000,
    )
    .option('--interval <duration>', 'time between two looks', parseDurationMs, 250)
    .option('--html <file>', 'the page (default: tessalloc-report.html, unless other output is asked for)')
    .option('--markdown', 'print Markdown')
    .addOption(new Option('--json', 'print JSON with every look').conflicts('markdown'))
    .addHelpText(
      'after',
      `
Ctrl-C ends the watching, and the report is written. The command's output goes to standard error.
Exit codes: the command's own if it ended by itself, else 0; 127 no such command; 126 it cannot be run; 2 wrong usage or no such
process; 3 not supported on this system.`,
    )
    .action(async (targets: string[], options) => {
      const { report } = await import('./report.ts')
      process.exitCode = await report(targets, options)
    })
}

function addDoctor(cli: Command): void {
  cli
    .command('doctor')
    .description('tell whether tessalloc works here, in a running process, or for a command')
    .argument('[target...]', 'a process id, or a command after --')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Looks at the installation and the system, and then at this process, at a process with all that it started, or at a program. Says of
each finding what to do.
Exit codes: 0 nothing is wrong; 1 something is; 2 wrong usage, no such process or command; 3 not supported on this system.`,
    )
    .action(async (targets: string[], options) => {
      const { doctor } = await import('./doctor.ts')
      process.exitCode = doctor(targets, options)
    })
}

function addPath(cli: Command): void {
  cli
    .command('path')
    .description('print the path of the preload library')
    .option('--static', 'that of the static library')
    .addOption(new Option('--json', 'both as JSON').conflicts('static'))
    .addHelpText('after', '\nExit codes: 0; 2 wrong usage; 3 not supported on this system.')
    .action(async (options) => {
      const { path } = await import('./path.ts')
      process.stdout.write(`${path(options)}\n`)
    })
}

const formats: Readonly<Record<EnvFormat, string>> = {
  sh: 'for a shell, as in: eval "$(tessalloc env --sh)" (the default)',
  docker: 'for a Dockerfile',
  systemd: 'for a systemd unit',
  json: 'as JSON',
}

function addEnv(cli: Command): void {
  const names = Object.keys(formats) as EnvFormat[]
  const command = cli.command('env').description('print what switches tessalloc on, or which options there are')
  for (const name of names) {
    const others = names.filter((other) => other !== name)
    command.addOption(new Option(`--${name}`, formats[name]).conflicts(others))
  }
  command
    .addOption(
      new Option('--list', 'all options with the values that the environment gives now').conflicts(
        names.filter((name) => name !== 'json'),
      ),
    )
    .addHelpText('after', '\nExit codes: 0; 2 wrong usage; 3 not supported on this system.')
    .action(async (options: Partial<Record<EnvFormat | 'list', true>>) => {
      const text = options.list
        ? (await import('./option-list.ts')).optionList(options)
        : (await import('./env.ts')).env(names.find((name) => options[name]) ?? 'sh')
      process.stdout.write(`${text}\n`)
    })
}

/** A new parser. It throws where it would end the process; what it has to say of wrong usage is printed before. */
export function parser(): Command {
  const cli = new Command('tessalloc')
    .description(
      'A memory allocator for programs as they are: preloaded, and memory that is freed goes back to the system.',
    )
    .version(packageVersion)
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      `
Exit codes: that of the command that was run; 1 something failed; 2 wrong usage; 3 not supported on this system.
Help of a command: tessalloc help run, or tessalloc run --help.`,
    )
  for (const add of [addRun, addCompare, addTop, addReport, addDoctor, addPath, addEnv]) add(cli)
  for (const command of [cli, ...cli.commands]) {
    command.configureOutput({ outputError: (text, write) => write(withHint(text, command)) })
  }
  return cli
}
