// The events that others can watch by `diagnostics_channel`. They cost nothing while nobody is subscribed.
//
// | channel                   | message       | published                                                                                      |
// |---------------------------|---------------|------------------------------------------------------------------------------------------------|
// | `tessalloc:purge`         | `PurgeResult` | by `purge()`, in the thread that called it                                                     |
// | `tessalloc:limit`         | `Pressure`    | when memory should be given up, in threads with `onPressure` or a soft limit set by `setLimit` |
// | `tessalloc:arena.create`  | `ArenaEvent`  | by `new Arena()`, when it has its slab                                                         |
// | `tessalloc:arena.dispose` | `ArenaEvent`  | by the call that disposed the arena, after it; not for an arena that is only forgotten         |
import { type Channel, channel } from 'node:diagnostics_channel'

export const purgeChannel: Channel = channel('tessalloc:purge')
export const limitChannel: Channel = channel('tessalloc:limit')
export const arenaCreateChannel: Channel = channel('tessalloc:arena.create')
export const arenaDisposeChannel: Channel = channel('tessalloc:arena.dispose')
