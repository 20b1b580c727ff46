// Size classes: 16-byte steps up to 128 bytes, then eight to a doubling, so a block is at most 12.5 % (and 15 bytes) larger than
// what was asked for. Pure arithmetic on 32-bit integers.
//
//     class     0   1  …    7 |   8   9 …  15 |  16  17 …  23 | …
//     bytes    16  32  …  128 | 144 160 … 256 | 288 320 … 512 | …

/** Largest size that has a class. */
export const classedBytesMax: number = 2 ** 30

/** The smallest class whose blocks hold `bytes`, from 1 to {@link classedBytesMax}. */
export function classOf(bytes: number): number {
  const last = bytes - 1
  if (last < 128) return last >> 4
  const power = 31 - Math.clz32(last)
  return (power - 7) * 8 + (last >> (power - 3))
}

/** Bytes of a block of a class. */
export function classBytes(sizeClass: number): number {
  if (sizeClass < 8) return (sizeClass + 1) * 16
  return ((sizeClass & 7) + 9) * 2 ** ((sizeClass >> 3) + 3)
}
