import { binding } from '../native.ts'
import { pc } from './colour.ts'

/** An option in `tessalloc env --list --json`. Values are numbers in `unit`; switches are 0 and 1. */
interface ListedOption {
  readonly name: string
  readonly unit: string
  readonly value: number
  /** Whether the environment gives the value; else it is the default. */
  readonly set: boolean
  readonly default: number
  readonly range: readonly number[]
  readonly doc: string
}

/** `tessalloc env --list`: the options that a program started from here would have. Faults of the environment are reported too. */
export function optionList(options: { readonly json?: true }): string {
  const rows = binding().optionTable()
  if (options.json) {
    const listed = rows.map(
      ({ name, unit, value, isSet, defaultValue, range, doc }): ListedOption => ({
        name,
        unit,
        value,
        set: isSet,
        default: defaultValue,
        range,
        doc,
      }),
    )
    return JSON.stringify(listed, null, 2)
  }
  return rows
    .map(({ name, doc, unit, valueText, isSet, defaultText, rangeText }) => {
      const takes = rangeText.join(unit === 'switch' ? ' or ' : ' to ')
      const setting = `${name}=${valueText}`
      return `${isSet ? pc.green(setting) : setting}  ${pc.dim(`(${takes}; default ${defaultText})`)}\n    ${doc}`
    })
    .join('\n')
}
