// Arithmetic over measured figures.

/** The middle value; the mean of the two middle ones where there are two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const high = sorted[Math.floor(sorted.length / 2)]
  const low = sorted[Math.floor((sorted.length - 1) / 2)]
  if (high === undefined || low === undefined)
    throw new RangeError('Cannot take a median: expected values, received none')
  return (low + high) / 2
}

/** The smallest value. */
export function minimum(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('Cannot take a minimum: expected values, received none')
  return Math.min(...values)
}

/** The n-th root of the product, for ratios. */
export function geometricMean(ratios: readonly number[]): number {
  if (ratios.length === 0 || ratios.some((ratio) => !(ratio > 0))) {
    throw new RangeError(`Cannot take a geometric mean: expected ratios above 0, received [${ratios.join(', ')}]`)
  }
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
}

/** `items` begun at another one each round, so that no item always runs after the same neighbour's heat. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const start = items.length === 0 ? 0 : round % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}
