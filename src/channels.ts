// The events that others can watch by `diagnostics_channel`. They cost nothing while nobody is subscribed.
//
// | channel           | message       | published                                                                                      |
// |-------------------|---------------|------------------------------------------------------------------------------------------------|
// | `tessalloc:purge` | `PurgeResult` | by `purge()`, in the thread that called it                                                     |
// | `tessalloc:limit` | `Pressure`    | when memory should be given up, in threads with `onPressure` or a soft limit set by `setLimit` |
import { type Channel, channel } from 'node:diagnostics_channel'

export const purgeChannel: Channel = channel('tessalloc:purge')
export const limitChannel: Channel = channel('tessalloc:limit')
