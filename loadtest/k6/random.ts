/** Seeded randomness: the same seed gives every virtual user the same methods, sessions and pauses. */

export type Random = {
  /** From 0 to below 1. */
  number(): number
  /** A whole number, both ends included. */
  whole(least: number, most: number): number
  pick<T>(of: readonly T[]): T
  uuid(): string
}

const MIX = 0x9e3779b9

/** Splitmix-like, 32 bits: good enough to vary traffic, and a few nanoseconds in k6's interpreter. */
export function seeded(...seeds: number[]): Random {
  let state = 0
  for (const seed of seeds) state = scramble((state + MIX + (seed | 0)) | 0)
  const next = (): number => {
    state = (state + MIX) | 0
    return scramble(state)
  }
  const number = () => next() / 2 ** 32
  const hex = () => next().toString(16).padStart(8, '0')
  return {
    number,
    whole: (least, most) => least + Math.floor(number() * (most - least + 1)),
    pick: (of) => of[Math.floor(number() * of.length)] as never,
    uuid: () => {
      const [a, b, c, d] = [hex(), hex(), hex(), hex()] as [string, string, string, string]
      return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-a${c.slice(1, 4)}-${c.slice(4)}${d}`
    },
  }
}

function scramble(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad)
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97)
  return (h ^ (h >>> 15)) >>> 0
}
