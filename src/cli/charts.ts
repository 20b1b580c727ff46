// Charts as SVG text for pages: no script runs when they are shown. Rectangles and areas carry their data in `data-` attributes
// and a title, which browsers show under the pointer.
import { scaleLinear } from 'd3-scale'
import { area, curveStepAfter, line, type SeriesPoint, stack } from 'd3-shape'
import { escapeHtml } from './html.ts'

/** Inner size and margins. Unit: CSS pixels at full width. */
const width = 860
const margin = { left: 64, right: 24, top: 10, bottom: 34 }

type Attributes = Readonly<Record<string, string | number | undefined>>

function element(name: string, attributes: Attributes, content = ''): string {
  const list = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escapeHtml(typeof value === 'number' ? `${+value.toFixed(2)}` : `${value}`)}"`)
  return `<${name}${list.join('')}>${content}</${name}>`
}

function titled(name: string, attributes: Attributes, title: string): string {
  return element(name, attributes, element('title', {}, escapeHtml(title)))
}

function label(x: number, y: number, anchor: 'start' | 'middle' | 'end', text: string): string {
  return element('text', { x, y, 'text-anchor': anchor, 'dominant-baseline': 'middle' }, escapeHtml(text))
}

function svg(id: string, height: number, about: string, content: string): string {
  const [full, tall] = [width + margin.left + margin.right, height + margin.top + margin.bottom]
  const inner = element('g', { transform: `translate(${margin.left} ${margin.top})` }, content)
  return element(
    'svg',
    {
      id,
      role: 'img',
      'aria-label': about,
      viewBox: `0 0 ${full} ${tall}`,
      width: '100%',
      'font-size': 12,
      fill: '#57606a',
    },
    inner,
  )
}

interface Axis {
  (value: number): number
  ticks(count: number): number[]
}

/** Grid and numbers: seconds below, MB at the left. */
function axes(x: Axis, y: Axis, height: number): string {
  const grid = y.ticks(5).map((value) => {
    const rule = element('line', { x1: 0, x2: width, y1: y(value), y2: y(value), stroke: '#d0d7de' })
    return rule + label(-8, y(value), 'end', `${value} MB`)
  })
  const times = x.ticks(8).map((value) => label(x(value), height + 16, 'middle', `${value} s`))
  return grid.join('') + times.join('')
}

export interface Series<Id extends string> {
  readonly id: Id
  readonly label: string
  readonly colour: string
}

/** Colours and names of series, in a line. */
export function legend(series: readonly Series<string>[]): string {
  const entries = series.map(
    ({ label, colour }) =>
      `<span style="margin-right:1.2rem;white-space:nowrap"><span style="display:inline-block;width:.8em;height:.8em;background:${colour}"></span> ${escapeHtml(label)}</span>`,
  )
  return `<p class="note">${entries.join(' ')}</p>`
}

/** Areas on top of each other over seconds; values in MB. */
export function areasOverTime<Id extends string>(
  id: string,
  about: string,
  series: readonly Series<Id>[],
  rows: readonly { readonly seconds: number; readonly mb: Readonly<Record<Id, number>> }[],
): string {
  const height = 320
  const layers = stack<(typeof rows)[number], Id>()
    .keys(series.map((each) => each.id))
    .value((row, key) => row.mb[key])([...rows])
  const top = Math.max(1, ...layers.flatMap((layer) => layer.map(([, upper]) => upper)))
  const x = scaleLinear([rows[0]?.seconds ?? 0, rows.at(-1)?.seconds ?? 1], [0, width])
  const y = scaleLinear([0, top], [height, 0]).nice()
  const shape = area<SeriesPoint<(typeof rows)[number]>>()
    .x((point) => x(point.data.seconds))
    .y0(([lower]) => y(lower))
    .y1(([, upper]) => y(upper))
  const areas = layers.map((layer, i) => {
    const { label, colour } = series[i] as Series<Id>
    return titled('path', { d: shape(layer) ?? '', fill: colour, 'data-part': layer.key }, label)
  })
  return svg(id, height, about, axes(x, y, height) + areas.join(''))
}

/** One bar, cut in parts. */
export function splitBar<Id extends string>(
  id: string,
  about: string,
  series: readonly Series<Id>[],
  mb: Readonly<Record<Id, number>>,
): string {
  const height = 36
  const total = series.reduce((sum, each) => sum + mb[each.id], 0)
  const x = scaleLinear([0, Math.max(total, 1e-9)], [0, width])
  let from = 0
  const bars = series.map(({ id: part, label, colour }) => {
    const bar = { x: x(from), y: 0, width: x(mb[part]), height, fill: colour, 'data-part': part, 'data-mb': mb[part] }
    from += mb[part]
    return titled('rect', bar, `${label}: ${mb[part].toFixed(1)} MB`)
  })
  return svg(id, height, about, bars.join('') + label(0, height + 16, 'start', `${total.toFixed(0)} MB`))
}

export interface Bar {
  readonly name: string
  /** Parts of the bar, from the left. Unit: MB. */
  readonly mb: readonly number[]
  readonly title: string
}

/** A bar for each row, on one scale; the parts have the given colours. */
export function barsByName(id: string, about: string, colours: readonly string[], bars: readonly Bar[]): string {
  const [rowHeight, gap] = [20, 4]
  const height = bars.length * rowHeight
  const longest = Math.max(1e-9, ...bars.map((bar) => bar.mb.reduce((sum, mb) => sum + mb, 0)))
  const x = scaleLinear([0, longest], [0, width]).nice()
  const grid = x.ticks(8).map((value) => {
    const rule = element('line', { x1: x(value), x2: x(value), y1: 0, y2: height, stroke: '#d0d7de' })
    return rule + label(x(value), height + 16, 'middle', `${value} MB`)
  })
  const rows = bars.map(({ name, mb, title }, row) => {
    let from = 0
    const rects = mb.map((each, i) => {
      const bar = { x: x(from), y: row * rowHeight + gap / 2, width: x(each), height: rowHeight - gap }
      from += each
      return titled('rect', { ...bar, fill: colours[i], 'data-name': name, 'data-mb': each }, title)
    })
    return label(-8, (row + 0.5) * rowHeight, 'end', name) + rects.join('')
  })
  return svg(id, height, about, grid.join('') + rows.join(''))
}

/** Bars of what happened between two looks, and a line of what there was; over seconds, values in MB. */
export function eventsOverTime(
  id: string,
  about: string,
  colours: { readonly bars: string; readonly line: string },
  rows: readonly { readonly seconds: number; readonly event: number; readonly level: number }[],
): string {
  const height = 220
  const top = Math.max(1, ...rows.flatMap((row) => [row.event, row.level]))
  const x = scaleLinear([rows[0]?.seconds ?? 0, rows.at(-1)?.seconds ?? 1], [0, width])
  const y = scaleLinear([0, top], [height, 0]).nice()
  const bars = rows.slice(1).flatMap(({ seconds, event }, i) => {
    const from = rows[i]?.seconds ?? 0
    if (event <= 0) return []
    const bar = { x: x(from), y: y(event), width: Math.max(1, x(seconds) - x(from)), height: height - y(event) }
    return [titled('rect', { ...bar, fill: colours.bars, 'data-mb': event }, `${event.toFixed(1)} MB at ${seconds} s`)]
  })
  const shape = line<(typeof rows)[number]>()
    .x((row) => x(row.seconds))
    .y((row) => y(row.level))
    .curve(curveStepAfter)
  const path = element('path', { d: shape([...rows]) ?? '', fill: 'none', stroke: colours.line, 'stroke-width': 2 })
  return svg(id, height, about, axes(x, y, height) + bars.join('') + path)
}
