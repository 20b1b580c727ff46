// A queue of 6,000 compressed texts: each is unpacked by the thread pool, parsed, and cached for a while.
import { promisify } from 'node:util'
import { gunzip, gzipSync } from 'node:zlib'
import { idle, random } from './idle.mjs'

const unpack = promisify(gunzip)
const next = random(17)
const texts = Array.from({ length: 50 }, () => {
  const rows = Array.from({ length: 50 + next(800) }, () => ({
    id: next(1e9),
    name: `user-${next(1e6)}`,
    score: next(1e6) / 7,
  }))
  return gzipSync(JSON.stringify(rows))
})
const cache = new Map()
let done = 0
async function serve() {
  while (done < 6000) {
    const id = done++
    const unpacked = await unpack(texts[id % texts.length])
    const rows = JSON.parse(unpacked.toString())
    cache.set(id, { unpacked, count: rows.length })
    if (cache.size > 400) cache.delete(cache.keys().next().value)
  }
}
await Promise.all(Array.from({ length: 8 }, serve))
cache.clear()
await idle()
