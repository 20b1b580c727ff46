/** `npm run format`: formats Rust and TypeScript, and applies the linter's safe fixes. */
import { biome, main, run } from './lib.ts'

main(() => {
  run('cargo', ['fmt', '--all'])
  run('cargo', ['fmt', '--manifest-path', 'fuzz/Cargo.toml'])
  run(process.execPath, [biome, 'check', '--write', '.'])
})
