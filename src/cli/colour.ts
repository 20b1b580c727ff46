import picocolors from 'picocolors'

const { env, stdout } = process
const isWanted = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0'
const isRefused = (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'

/** Colours where standard output is a terminal, and nowhere else; `NO_COLOR` and `FORCE_COLOR` decide before that. */
export const pc: ReturnType<typeof picocolors.createColors> = picocolors.createColors(
  isWanted || (stdout.isTTY === true && !isRefused),
)
