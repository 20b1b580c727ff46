// Eight workers get 4,000 messages, parse, compress and keep Buffers, and are terminated: the bundled workload of `compare`.
import '../../workloads/workers.mjs'
import { idle } from './idle.mjs'

await idle()
