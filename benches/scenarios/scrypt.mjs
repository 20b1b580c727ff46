// A log-in service: 120 passwords are checked with 8 to 32 MiB each, 16 waiting at once.
import { randomBytes, scrypt } from 'node:crypto'
import { promisify } from 'node:util'
import { idle } from './idle.mjs'

const derive = promisify(scrypt)
let left = 120
async function serve() {
  while (left-- > 0) {
    const N = 2 ** (13 + (left % 3))
    await derive(`password-${left}`, randomBytes(16), 64, { N, r: 8, p: 1, maxmem: 64 << 20 })
  }
}
await Promise.all(Array.from({ length: 16 }, serve))
await idle()
