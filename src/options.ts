import { binding } from './native.ts'
import { invalidOption } from './validate.ts'

/** The options and what their values count. The core's table says the rest; a test holds the two together. */
export interface OptionUnits {
  TESSALLOC_RESERVE: 'bytes'
  TESSALLOC_PURGE_DELAY: 'milliseconds'
  TESSALLOC_SCAVENGER: 'switch'
  TESSALLOC_MOVE_LARGE: 'switch'
  TESSALLOC_STATS: 'switch'
  TESSALLOC_VERBOSE: 'switch'
  TESSALLOC_IDLE_DELAY: 'milliseconds'
  TESSALLOC_KEEP: 'bytes'
  TESSALLOC_PURGE_HOLES: 'switch'
  TESSALLOC_THREAD_CACHE: 'bytes'
  TESSALLOC_MAX_WARNINGS: 'count'
  TESSALLOC_SOFT_LIMIT: 'bytes'
  TESSALLOC_HARD_LIMIT: 'bytes'
  TESSALLOC_PROFILE: 'switch'
  TESSALLOC_PROFILE_RATE: 'bytes'
  TESSALLOC_PROFILE_PEAK: 'switch'
  TESSALLOC_GUARDED_SAMPLE_RATE: 'count'
  TESSALLOC_GUARDED_MIN: 'bytes'
  TESSALLOC_GUARDED_MAX: 'bytes'
  TESSALLOC_GUARDED_PRECISE: 'switch'
  TESSALLOC_GUARDED_SAMPLE_SEED: 'count'
}

/** What an option's value counts. */
export type OptionUnit = 'switch' | 'milliseconds' | 'bytes' | 'count'
/** Name of an option, as the environment has it. */
export type OptionName = keyof OptionUnits
/** Value of an option: switches are booleans, all others whole numbers in the option's unit. */
export type OptionValue<Name extends OptionName = OptionName> = OptionUnits[Name] extends 'switch' ? boolean : number
/** Who gave the value in force, from the weakest to the strongest; `set` is {@link Options.set}. */
export type OptionSource = 'default' | 'program' | 'environment' | 'set'

/** An option with all that is known of it. */
export interface OptionInfo<Name extends OptionName = OptionName> {
  /** The variable that sets it. */
  readonly name: Name
  /** What it does, in a sentence or two. */
  readonly doc: string
  /** What its values count. */
  readonly unit: OptionUnit
  /** The value in force. */
  readonly value: OptionValue<Name>
  /** Who gave it. */
  readonly source: OptionSource
  /** The value where nobody gives another one. */
  readonly defaultValue: OptionValue<Name>
  /** The least and the greatest number that it takes, in its unit; of a switch `[0, 1]`. */
  readonly range: readonly [least: number, most: number]
}

/**
 * The options of the allocator, `TESSALLOC_*`. Scope: the process's allocator under preload, for all its threads; without preload
 * the copy of tessalloc in this package, which serves arenas and heaps. What each does: `docs/options.md`.
 */
export interface Options {
  /** The value in force. Throws `ERR_TESSALLOC_INVALID_OPTION` for a name that is none. */
  get<Name extends OptionName>(name: Name): OptionValue<Name>
  /**
   * Sets a value for the whole process, stronger than the environment; it counts from the next time that the allocator looks at it.
   * A text is read as in the environment: `'250ms'`, `'64M'`, `'off'`. Throws `ERR_TESSALLOC_INVALID_OPTION` for a name that
   * is none and a value that the option does not take; then nothing changes.
   *
   * ```ts
   * import { options } from 'tessalloc'
   *
   * options.set('TESSALLOC_PURGE_DELAY', '2s')
   * options.get('TESSALLOC_PURGE_DELAY') // 2000
   * ```
   */
  set<Name extends OptionName>(name: Name, value: OptionValue<Name> | string): void
  /** One option with its unit, range, default and who gave its value. Throws as {@link Options.get}. */
  info<Name extends OptionName>(name: Name): OptionInfo<Name>
  /** All options, in the order of the table in `docs/options.md`. */
  list(): readonly OptionInfo[]
}

const unitNames: readonly OptionUnit[] = ['switch', 'milliseconds', 'bytes', 'count']
const sourceNames: readonly OptionSource[] = ['default', 'program', 'environment', 'set']

function described(live: ReturnType<ReturnType<typeof binding>['liveOptions']>[number]): OptionInfo {
  const unit = unitNames[live.unit] ?? 'count'
  const value = (number: number) => (unit === 'switch' ? number !== 0 : number) as OptionValue
  return {
    name: live.name as OptionName,
    doc: live.doc,
    unit,
    value: value(live.value),
    source: sourceNames[live.source] ?? 'set',
    defaultValue: value(live.defaultValue),
    range: [live.least, live.most],
  }
}

function list(): readonly OptionInfo[] {
  return binding().liveOptions().map(described)
}

/** The option of a name, and its number in the table of the allocator that serves. */
function find<Name extends OptionName>(action: string, name: Name): { info: OptionInfo<Name>; number: number } {
  const all = list()
  const number = all.findIndex((each) => each.name === name)
  const info = all[number]
  if (info !== undefined) return { info: info as unknown as OptionInfo<Name>, number }
  throw invalidOption(action, 'name', 'that of an option, such as TESSALLOC_PURGE_DELAY', name)
}

function info<Name extends OptionName>(name: Name): OptionInfo<Name> {
  return find('read an option', name).info
}

function set<Name extends OptionName>(name: Name, value: OptionValue<Name> | string): void {
  const { info, number } = find('set an option', name)
  if (typeof value === 'string') {
    if (binding().setLiveOptionText(number, value)) return
  } else if (typeof value === (info.unit === 'switch' ? 'boolean' : 'number')) {
    const wanted = Number(value)
    if (Number.isInteger(wanted) && wanted >= 0 && binding().setLiveOption(number, wanted)) return
  }
  const [least, most] = info.range
  const expected = info.unit === 'switch' ? 'a boolean' : `a whole number of ${info.unit} from ${least} to ${most}`
  throw invalidOption(`set ${name}`, 'value', `${expected}, or a text for it`, value)
}

/**
 * The options of the allocator, to read and to set from any thread, for all of them; see {@link Options}.
 *
 * ```ts
 * options.set('TESSALLOC_IDLE_DELAY', '500ms')
 * options.get('TESSALLOC_IDLE_DELAY') // → 500
 * options.info('TESSALLOC_IDLE_DELAY').unit // → 'milliseconds'
 * ```
 */
export const options: Options = {
  get: (name) => info(name).value,
  set,
  info,
  list,
}
