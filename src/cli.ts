#!/usr/bin/env node
// The command line: arguments in, exit code out. What the commands do lies in `cli/`.
import { Command, CommanderError, Option } from 'commander'
import { compare } from './cli/compare.ts'
import { doctor } from './cli/doctor.ts'
import { parseCount, parseDurationMs, parsePid } from './cli/duration.ts'
import { type EnvFormat, env } from './cli/env.ts'
import { ExitError, exitCode } from './cli/exit.ts'
import { optionList } from './cli/option-list.ts'
import { path } from './cli/path.ts'
import { report } from './cli/report.ts'
import { run } from './cli/run.ts'
import { top } from './cli/top.ts'
import { TessallocError } from './errors.ts'
import { packageVersion } from './version.ts'

function parser(): Command {
  const cli = new Command('tessalloc')
    .description(
      'A memory allocator for programs as they are: preloaded, and memory that is freed goes back to the system.',
    )
    .version(packageVersion)
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      '\nExit codes: that of the command that was run; 2 wrong usage; 3 not supported on this system.',
    )

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
      process.exitCode = await run(command, options)
    })

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
core for --idle: its memory is read, then its process group is stopped with SIGTERM.`,
    )
    .passThroughOptions()
    .action(compare)

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
stopped; that is allowed to root, to parents, and to the same user where kernel.yama.ptrace_scope is 0. q or Ctrl-C ends it.`,
    )
    .action(top)

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
Exit codes: the command's own if it ended by itself, else 0; 127 no such command; 2 wrong usage; 3 not supported on this system.`,
    )
    .action(async (targets: string[], options) => {
      process.exitCode = await report(targets, options)
    })

  cli
    .command('path')
    .description('print the path of the preload library')
    .option('--static', 'that of the static library')
    .addOption(new Option('--json', 'both as JSON').conflicts('static'))
    .action((options) => {
      process.stdout.write(`${path(options)}\n`)
    })

  const formats: readonly EnvFormat[] = ['sh', 'docker', 'systemd', 'json']
  const envCommand = cli.command('env').description('print what switches tessalloc on, or which options there are')
  const texts: Record<EnvFormat, string> = {
    sh: 'for a shell, as in: eval "$(tessalloc env --sh)" (the default)',
    docker: 'for a Dockerfile',
    systemd: 'for a systemd unit',
    json: 'as JSON',
  }
  for (const format of formats) {
    const others = formats.filter((other) => other !== format)
    envCommand.addOption(new Option(`--${format}`, texts[format]).conflicts(others))
  }
  envCommand.addOption(
    new Option('--list', 'all options with the values that the environment gives now').conflicts([
      'sh',
      'docker',
      'systemd',
    ]),
  )
  envCommand.action((options: Partial<Record<EnvFormat | 'list', true>>) => {
    const text = options.list ? optionList(options) : env(formats.find((format) => options[format]) ?? 'sh')
    process.stdout.write(`${text}\n`)
  })

  cli
    .command('doctor')
    .description('tell whether tessalloc works here, in a running process, or for a command')
    .argument('[target...]', 'a process id, or a command after --')
    .option('--json', 'print JSON')
    .action((targets: string[], options) => {
      process.exitCode = doctor(targets, options)
    })
  return cli
}

async function main(): Promise<void> {
  try {
    await parser().parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      // Its message is printed already; help and version are no error.
      process.exitCode = error.exitCode === 0 ? exitCode.ok : exitCode.usage
    } else if (error instanceof ExitError) {
      process.stderr.write(`tessalloc: ${error.message}\n`)
      process.exitCode = error.code
    } else if (error instanceof TessallocError && error.code === 'ERR_TESSALLOC_UNSUPPORTED') {
      process.stderr.write(`tessalloc: ${error.message}\n`)
      process.exitCode = exitCode.unsupported
    } else {
      throw error
    }
  }
}

await main()
