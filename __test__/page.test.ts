import test from 'ava'
import type { Comparison, Result } from '../src/cli/compare.ts'
import { page } from '../src/cli/compare-html.ts'
import { openPage } from './browser.ts'

function result(name: string, idleMb: number): Result {
  const figures = {
    wallMs: 2000,
    cpuMs: 3000,
    peakRssBytes: 500e6,
    idleRssBytes: idleMb * 1e6,
    idlePssBytes: idleMb * 1e6,
  }
  const samples = Array.from({ length: 50 }, (_, i): [number, number] => [i * 100, (i < 25 ? 500 : idleMb) * 1e6])
  return {
    name,
    library: null,
    runs: [{ ...figures, idleProcesses: 1, samples }],
    median: figures,
    ratio: { ...figures, wallMs: 1, cpuMs: 1, peakRssBytes: 1, idleRssBytes: idleMb / 400, idlePssBytes: idleMb / 400 },
  }
}

const comparison: Comparison = {
  version: 1,
  tessalloc: '0.0.0',
  date: '2026-01-01T00:00:00.000Z',
  machine: 'a machine',
  command: ['node', '<b>.mjs'],
  isBundled: false,
  idleMs: 3000,
  results: [result('system', 400), result('tessalloc', 100)],
  verdict: 'tessalloc takes less & nothing got worse.',
}

test('page_shows_verdict_table_and_chart_in_a_browser', async (t) => {
  const tab = await openPage(t, page(comparison))
  if (tab === undefined) return
  t.is(await tab.textContent('#verdict'), comparison.verdict)
  t.is(await tab.textContent('code'), 'node <b>.mjs')
  t.is(await tab.locator('#figures tbody tr').count(), 2)
  t.regex((await tab.textContent('#figures tbody tr:nth-child(2)')) ?? '', /tessalloc.*100 MB 0\.25 ×/)
  t.deepEqual(await tab.locator('.u-legend .u-label').allTextContents(), ['under the pointer', 'system', 'tessalloc'])
  const box = await tab.locator('.uplot canvas').boundingBox()
  t.true((box?.width ?? 0) > 300 && (box?.height ?? 0) > 200)
  // The line of the second allocator is drawn: its green is in the picture.
  const green = await tab.locator('.uplot canvas').evaluate((element) => {
    const canvas = element as unknown as {
      width: number
      height: number
      getContext(kind: '2d'): { getImageData(...box: number[]): { data: Uint8ClampedArray } }
    }
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    let count = 0
    for (let i = 0; i < data.length; i += 4)
      if (data[i] === 0x1a && data[i + 1] === 0x7f && data[i + 2] === 0x37) count += 1
    return count
  })
  t.true(green > 100, `${green} green pixels`)
})
