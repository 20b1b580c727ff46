import test from 'ava'
import { formatFigure } from '../benches/report.ts'
import { type Bar, ours, type Row, rows } from '../benches/rows.ts'
import { geometricMean, median, minimum, rotated } from '../benches/statistics.ts'
import { cellOf, figureOf, rowResult, type Sample, speedResult } from '../benches/verdict.ts'

const row = (bars: Bar[], change: Partial<Row> = {}): Row => ({
  name: 'w',
  face: 'rust',
  workload: 'w',
  figure: 'ns',
  unit: 'ns',
  take: 'minimum',
  bars,
  isSpeed: true,
  ...change,
})

const ran = (...values: number[]): Sample[] => values.map((ns) => ({ ok: true, result: { ns } }))
const crashed: Sample[] = [{ ok: false, reason: 'ended by SIGSEGV' }]

test('median of odd and even counts, whatever the order', (t) => {
  t.is(median([9, 1, 5]), 5)
  t.is(median([4, 1, 3, 10]), 3.5)
  t.is(median([7]), 7)
  t.throws(() => median([]), { instanceOf: RangeError })
})

test('minimum refuses nothing', (t) => {
  t.is(minimum([3, 2, 8]), 2)
  t.throws(() => minimum([]), { instanceOf: RangeError })
})

test('geometric mean of ratios', (t) => {
  t.true(Math.abs(geometricMean([0.5, 2]) - 1) < 1e-12)
  t.true(Math.abs(geometricMean([1, 8, 27]) - 6) < 1e-9)
  t.throws(() => geometricMean([]), { instanceOf: RangeError })
  t.throws(() => geometricMean([1, 0]), { instanceOf: RangeError })
  t.throws(() => geometricMean([1, Number.NaN]), { instanceOf: RangeError })
})

test('rotation begins at another item each round and keeps all', (t) => {
  t.deepEqual(rotated(['a', 'b', 'c'], 0), ['a', 'b', 'c'])
  t.deepEqual(rotated(['a', 'b', 'c'], 2), ['c', 'a', 'b'])
  t.deepEqual(rotated(['a', 'b', 'c'], 4), ['b', 'c', 'a'])
  t.deepEqual(rotated([], 3), [])
})

test('a figure is found inside the result, and only if it is a number', (t) => {
  t.is(figureOf({ metrics: { a: 2 } }, 'metrics.a'), 2)
  t.is(figureOf({ metrics: { a: '2' } }, 'metrics.a'), undefined)
  t.is(figureOf({}, 'metrics.a'), undefined)
  t.is(figureOf({ a: null }, 'a'), undefined)
  t.is(figureOf({}, 'constructor.length'), undefined)
})

test('a cell holds minimum and median, and one failed run fails it', (t) => {
  t.like(cellOf(row([]), 'p', ran(3, 1, 2)), { value: 1, minimum: 1, median: 2 })
  t.is(cellOf(row([], { take: 'median' }), 'p', ran(3, 1, 2)).value, 2)
  t.deepEqual(cellOf(row([]), 'p', [...ran(1), ...crashed]), { peer: 'p', failure: 'ended by SIGSEGV' })
  t.deepEqual(cellOf(row([]), 'p', []), { peer: 'p', failure: 'not run' })
})

test('the best rival is neither us nor one that failed', (t) => {
  const result = rowResult(
    row([{ kind: 'best', most: 0.95 }]),
    new Map([
      ['system', ran(8)],
      ['mimalloc', ran(4)],
      ['rpmalloc', crashed],
      [ours, ran(2)],
    ]),
  )
  t.is(result.bestRival, 'mimalloc')
  t.is(result.toBest, 0.5)
  t.is(result.toMimalloc, 0.5)
  t.deepEqual(result.bars, [{ text: '≤ 0.95 × best', reached: 0.5, met: true }])
})

const metOf = (bar: Bar, own: Sample[] | undefined, rivals: Record<string, Sample[]>) => {
  const samples = new Map(Object.entries(rivals))
  if (own !== undefined) samples.set(ours, own)
  return rowResult(row([bar]), samples).bars[0]?.met
}

test('bars: on the line is met, above it is not', (t) => {
  t.true(metOf({ kind: 'best', most: 0.5 }, ran(2), { system: ran(4) }))
  t.false(metOf({ kind: 'best', most: 0.5 }, ran(2.1), { system: ran(4) }))
  t.true(metOf({ kind: 'peer', peer: 'jemalloc', most: 1.3 }, ran(13), { jemalloc: ran(10), system: ran(1) }))
  t.false(metOf({ kind: 'peer', peer: 'jemalloc', most: 1.3 }, ran(14), { jemalloc: ran(10) }))
  t.true(metOf({ kind: 'value', most: 5 }, ran(5), {}))
  t.false(metOf({ kind: 'value', most: 5 }, ran(5.1), {}))
  t.true(metOf({ kind: 'least', least: 1 }, ran(1), {}))
  t.false(metOf({ kind: 'least', least: 1 }, ran(0), {}))
})

test('bars: our failure is a bar not met, a missing rival is no verdict', (t) => {
  t.false(metOf({ kind: 'best', most: 0.5 }, crashed, { system: ran(4) }))
  t.false(metOf({ kind: 'value', most: 5 }, crashed, {}))
  t.is(metOf({ kind: 'best', most: 0.5 }, ran(2), {}), undefined)
  t.is(metOf({ kind: 'peer', peer: 'jemalloc', most: 1 }, ran(2), { jemalloc: crashed }), undefined)
  t.deepEqual(rowResult(row([{ kind: 'value', most: 5 }]), new Map([['system', ran(1)]])).bars, [])
})

test('the geometric mean takes speed rows that both finished', (t) => {
  const result = (change: Partial<Row>, own: Sample[], mimalloc: Sample[]) =>
    rowResult(row([], change), new Map(Object.entries({ mimalloc, [ours]: own })))
  const speed = speedResult([
    result({}, ran(1), ran(4)),
    result({}, ran(1), ran(1)),
    result({ isSpeed: false }, ran(9), ran(1)),
    result({}, crashed, ran(1)),
    result({}, ran(9), crashed),
  ])
  t.is(speed?.rows, 2)
  t.true(Math.abs((speed?.reached ?? 0) - 0.5) < 1e-12)
  t.true(speed?.met)
  t.is(speedResult([]), undefined)
})

test('figures keep about three digits and say their unit', (t) => {
  t.is(formatFigure(1.704, 'ns'), '1.70')
  t.is(formatFigure(12_345, 'ns'), '12.3 µs')
  t.is(formatFigure(3_400_000, 'ns'), '3.40 ms')
  t.is(formatFigure(512, 'KiB'), '512 KiB')
  t.is(formatFigure(2_048, 'KiB'), '2.00 MiB')
  t.is(formatFigure(7 * 2 ** 20, 'KiB'), '7.00 GiB')
  t.is(formatFigure(1.304, 'ratio'), '1.30')
  t.is(formatFigure(1_999.6, 'count'), '2000')
})

test('row names are unique', (t) => {
  t.is(new Set(rows.map(({ name }) => name)).size, rows.length)
})
