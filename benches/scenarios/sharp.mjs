// A picture service: 320 pictures of 2 megapixels are made smaller, 16 at once, without libvips' cache.
import { randomBytes } from 'node:crypto'
import sharp from 'sharp'
import { idle } from './idle.mjs'

sharp.cache(false)
const size = { width: 1800, height: 1200 }
// Noise that is made larger, so that the picture is neither flat nor pure noise.
const noise = sharp(randomBytes(300 * 200 * 3), { raw: { width: 300, height: 200, channels: 3 } })
const original = await noise.resize(size).jpeg({ quality: 85 }).toBuffer()

let left = 320
async function serve() {
  while (left-- > 0) {
    const { width, height } = { width: 300 + (left % 5) * 100, height: 200 + (left % 5) * 66 }
    const format = left % 4 === 0 ? 'webp' : 'jpeg'
    await sharp(original)
      .rotate(left % 2 ? 90 : 0)
      .resize(width, height)
      .toFormat(format)
      .toBuffer()
  }
}
await Promise.all(Array.from({ length: 16 }, serve))
await idle()
