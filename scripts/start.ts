/** `npm start`: builds what is missing or older than its sources, and compares the bundled workload on both allocators. */
import { join } from 'node:path'
import { build } from './build.ts'
import { main, root, run } from './lib.ts'

main(() => {
  build()
  run(process.execPath, [join(root, 'dist', 'cli.js'), 'compare', ...process.argv.slice(2)])
})
