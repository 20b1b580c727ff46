import test from 'ava'
import { classBytes, classedBytesMax, classOf } from '../src/size-class.ts'

test('classes rise, and each size has the smallest class that holds it', (t) => {
  const last = classOf(classedBytesMax)
  const sizes = Array.from({ length: last + 1 }, (_, sizeClass) => classBytes(sizeClass))
  t.is(sizes[0], 16)
  t.is(sizes.at(-1), classedBytesMax)
  for (const [sizeClass, bytes] of sizes.entries()) {
    const before = sizes[sizeClass - 1] ?? 0
    t.true(
      bytes > before && bytes % 16 === 0 && bytes - before <= Math.max(16, bytes / 9),
      `class ${sizeClass}: ${bytes}`,
    )
    for (const size of [before + 1, Math.ceil((before + bytes) / 2), bytes]) t.is(classOf(size), sizeClass, `${size}`)
  }
})
