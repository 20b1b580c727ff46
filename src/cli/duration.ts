import { InvalidArgumentError } from 'commander'

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 }

/** Milliseconds of a text such as `250ms`, `3s`, `1.5s` or `2m`; a plain number is seconds. For commander. */
export function parseDurationMs(text: string): number {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text) ?? []
  const factor = unitMs[unit]
  if (number === undefined || factor === undefined) {
    throw new InvalidArgumentError('Expected a duration such as 500ms, 3s or 2m.')
  }
  return Math.round(Number(number) * factor)
}

/** A whole number of at least 1. For commander. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('Expected a whole number of at least 1.')
  return count
}

/** A process id. For commander. */
export function parsePid(text: string): number {
  const pid = Number(text)
  if (!Number.isInteger(pid) || pid < 1) throw new InvalidArgumentError('Expected the number of a process.')
  return pid
}
