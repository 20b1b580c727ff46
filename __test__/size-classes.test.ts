import test from 'ava'
import { type SizeClasses, sizeClasses } from '../src/index.ts'
import { evaluate } from './helpers.ts'

test('size classes under preload see the blocks of Buffers', async (t) => {
  const [before, after] = await evaluate<[SizeClasses, SizeClasses]>(
    `import { sizeClasses } from 'tessalloc'
     const before = sizeClasses()
     const kept = Array.from({ length: 5000 }, () => Buffer.allocUnsafeSlow(1000))
     const large = Array.from({ length: 64 }, () => Buffer.allocUnsafeSlow(1 << 20))
     console.log(JSON.stringify([before, sizeClasses(), kept.length + large.length]))`,
    { preload: true },
  )
  // Node's own blocks come and go meanwhile; the Buffers are all there. The first few may lie in a page of mixed sizes.
  const used = ({ classes, mixedBlocksUsed }: SizeClasses) =>
    (classes.find(({ blockBytes }) => blockBytes === 1024)?.blocksUsed ?? 0) + mixedBlocksUsed
  t.true(used(before) < 4000 && used(after) >= 5000 && used(after) < 9000, `${used(before)} to ${used(after)}`)
  t.true(before.largeBlocks < 64 && after.largeBlocks >= 64, `${before.largeBlocks} to ${after.largeBlocks}`)
  t.true(before.largeBytes < 2 ** 26 && after.largeBytes >= 2 ** 26, `${before.largeBytes} to ${after.largeBytes}`)
  const sizes = after.classes.map(({ blockBytes }) => blockBytes)
  t.deepEqual(
    sizes,
    sizes.toSorted((a, b) => a - b),
  )
  for (const each of after.classes) {
    t.true(each.blocksUsed <= each.blocksMade && each.blocksMade <= each.blocksFit, JSON.stringify(each))
    t.true(each.pages > 0 && each.ownerlessPages <= each.pages, JSON.stringify(each))
  }
})

test('size classes without preload are those of the add-on', (t) => {
  const { classes, mixedPages, largeBlocks } = sizeClasses()
  for (const each of [mixedPages, largeBlocks]) t.true(Number.isInteger(each) && each >= 0)
  // The process itself holds more than the add-on.
  t.true(classes.reduce((sum, { blocksUsed, blockBytes }) => sum + blocksUsed * blockBytes, 0) < 2 ** 20)
})
