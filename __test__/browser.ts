// A browser for pages that the command line writes.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ExecutionContext } from 'ava'
import { chromium, type Page } from 'playwright-core'

/** Debian's Chromium; in CI it is installed when it is missing, elsewhere the test is left out. */
function browserPath(): string | undefined {
  const path = '/usr/bin/chromium'
  if (!existsSync(path) && process.env.CI === 'true' && process.getuid?.() === 0) {
    spawnSync('sh', ['-c', 'apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium'], {
      stdio: 'ignore',
    })
  }
  return existsSync(path) ? path : undefined
}

/**
 * Opens `html` in a tab that is closed with the test. The test fails when a script of the page throws, or when the page asks for
 * anything but itself. `undefined` where there is no browser.
 */
export async function openPage(t: ExecutionContext, html: string): Promise<Page | undefined> {
  const executablePath = browserPath()
  if (executablePath === undefined) {
    t.log('left out: there is no /usr/bin/chromium (apt-get install chromium)')
    t.not(process.env.CI, 'true', 'CI has a browser')
    return undefined
  }
  const folder = mkdtempSync(join(tmpdir(), 'tessalloc-test-'))
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  const errors: string[] = []
  t.teardown(async () => {
    await browser.close()
    rmSync(folder, { recursive: true })
    if (errors.length > 0) throw new Error(errors.join('\n'))
  })
  const file = join(folder, 'page.html')
  writeFileSync(file, html)
  const tab = await browser.newPage()
  tab.on('pageerror', (error) => errors.push(error.message))
  tab.on('request', (request) => request.url().startsWith('file:') || errors.push(`asked for ${request.url()}`))
  await tab.goto(`${pathToFileURL(file)}`)
  return tab
}

/** Pixels of a PNG that have a colour such as `#1a7f37` exactly, counted by the browser itself. */
export function countPixels(tab: Page, png: Buffer, colour: string): Promise<number> {
  const wanted = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))
  return tab.evaluate(
    async ([source, [red, green, blue]]) => {
      // What the browser has and Node.js lacks; the types of pages are not among this project's.
      const page = globalThis as unknown as {
        createImageBitmap(blob: Blob): Promise<{ width: number; height: number }>
        OffscreenCanvas: new (
          width: number,
          height: number,
        ) => {
          getContext(kind: '2d'): {
            drawImage(image: unknown, x: number, y: number): void
            getImageData(...box: number[]): { data: Uint8ClampedArray }
          }
        }
      }
      const bytes = Uint8Array.from(atob(source), (letter) => letter.charCodeAt(0))
      const image = await page.createImageBitmap(new Blob([bytes], { type: 'image/png' }))
      const context = new page.OffscreenCanvas(image.width, image.height).getContext('2d')
      context.drawImage(image, 0, 0)
      const { data } = context.getImageData(0, 0, image.width, image.height)
      let count = 0
      for (let i = 0; i < data.length; i += 4) {
        if (data[i] === red && data[i + 1] === green && data[i + 2] === blue) count += 1
      }
      return count
    },
    [png.toString('base64'), wanted] as const,
  )
}
