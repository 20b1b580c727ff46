import type { Command } from 'commander'

/**
 * `text`, an error of commander's, with a hint for half-typed names: those that begin with what was typed; else what commander
 * suggests, names that differ by few letters; else all that there are.
 */
export function withHint(text: string, command: Command): string {
  const [, kind, typed] = /unknown (option|command) '([^']+)'/.exec(text) ?? []
  if (typed === undefined) return text
  const help = command.createHelp()
  const names =
    kind === 'option'
      ? help.visibleOptions(command).map((option) => option.long ?? option.flags)
      : help.visibleCommands(command).map((each) => each.name())
  const fitting = names.filter((name) => name.startsWith(typed))
  const [message = '', suggestion] = text.trimEnd().split('\n')
  if (fitting.length > 0) {
    return `${message}\n(Did you mean ${new Intl.ListFormat('en', { type: 'disjunction' }).format(fitting)}?)\n`
  }
  return `${message}\n${suggestion ?? `(There are: ${names.join(', ')})`}\n`
}
