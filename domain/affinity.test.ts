import { describe, expect, it } from 'vitest'
import {
  digestKey,
  isMinted,
  isShed,
  keyFromCookie,
  keyFromHeader,
  mintKey,
  movedKey,
  pickSlot,
  rankSlots,
  SHED_RANKS,
  shedRank,
  shedTarget,
} from './affinity.ts'

/** A seeded generator, so that a failure can be repeated. */
function words(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let t = s
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

const bump = (counts: number[], i: number) => {
  counts[i] = (counts[i] ?? 0) + 1
}

function uuids(count: number, seed = 1): string[] {
  const random = words(seed)
  return range(count).map(() => {
    const h = range(4)
      .map(() => random().toString(16).padStart(8, '0'))
      .join('')
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-4${h.slice(13, 16)}-a${h.slice(17, 20)}-${h.slice(20)}`
  })
}

describe('rendezvous hashing', () => {
  // Another implementation, and every later version of this one, has to agree: sessions live longer than releases.
  it('R7.2 answers the published test vectors', () => {
    const vectors: [string, number[]][] = [
      ['00000000-0000-4000-8000-000000000000', [2, 0, 1, 3, 4]],
      ['0f8fad5b-d9cb-469f-a165-70867728950e', [1, 4, 2, 3, 0]],
      ['ffffffff-ffff-4fff-bfff-ffffffffffff', [4, 3, 1, 0, 2]],
      ['tenant-7', [0, 4, 2, 3, 1]],
      ['a', [1, 3, 2, 4, 0]],
      ['Zo\u00c3\u00ab', [1, 4, 2, 0, 3]],
    ]
    for (const [key, order] of vectors) expect([key, rankSlots(digestKey(key), range(5))]).toEqual([key, order])
  })

  it('gives the same slot whatever the order of the slots', () => {
    for (const key of uuids(500)) {
      expect(pickSlot(digestKey(key), [4, 2, 0, 3, 1])).toBe(pickSlot(digestKey(key), range(5)))
    }
  })

  it.each([2, 3, 4, 5, 8])('spreads keys evenly over %i slots', (n) => {
    const kinds = { uuid: uuids(40_000), counter: range(40_000).map((i) => `user-${i}`) }
    for (const keys of Object.values(kinds)) {
      const counts = new Array<number>(n).fill(0)
      for (const key of keys) bump(counts, pickSlot(digestKey(key), range(n)))
      const expected = keys.length / n
      const chiSquare = counts.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0)
      // 99.99th percentile of chi-square with 7 degrees of freedom is 29.9; fewer slots have a lower one.
      expect(chiSquare).toBeLessThan(29.9)
    }
  })

  it('R8.2 a slot that leaves moves only its own keys, and spreads them over the others', () => {
    const moved = new Array<number>(5).fill(0)
    for (const key of uuids(40_000)) {
      const digest = digestKey(key)
      const before = pickSlot(digest, range(5))
      const after = pickSlot(digest, [0, 1, 3, 4])
      if (before !== 2) expect(after).toBe(before)
      else bump(moved, after)
    }
    for (const slot of [0, 1, 3, 4]) expect(moved[slot]).toBeGreaterThan(1800)
  })

  it('R8.2 a slot that joins takes its share from all others and moves nothing between them', () => {
    let taken = 0
    for (const key of uuids(40_000)) {
      const digest = digestKey(key)
      const before = pickSlot(digest, range(5))
      const after = pickSlot(digest, range(6))
      if (after === 5) taken++
      else expect(after).toBe(before)
    }
    expect(taken / 40_000).toBeCloseTo(1 / 6, 2)
  })

  it('goes to the next in rank when the home is not usable, and says -1 when none is', () => {
    for (const key of uuids(200)) {
      const digest = digestKey(key)
      const [home, next] = rankSlots(digest, range(4))
      expect(pickSlot(digest, range(4), (slot) => slot !== home)).toBe(next)
      expect(pickSlot(digest, range(4), () => false)).toBe(-1)
    }
    expect(pickSlot(digestKey('x'), [])).toBe(-1)
  })
})

describe('keys', () => {
  it('R7.4 a cookie value that is no UUID counts as absent', () => {
    const good = '0F8FAD5B-D9CB-469F-A165-70867728950E'
    expect(keyFromCookie(good)).toBe(good.toLowerCase())
    for (const bad of ['', 'x', `${good}0`, good.replace('-', '0'), `"${good}"`, good.replace('F', 'G')]) {
      expect(keyFromCookie(bad)).toBeNull()
    }
  })

  it('R7.2 X-Routing-Key is any non-blank text of at most 128 bytes of UTF-8', () => {
    const bytes = (text: string) => Buffer.from(text).toString('latin1')
    expect(keyFromHeader('tenant-7')).toBe('tenant-7')
    expect(keyFromHeader(bytes('Zoë'))).toBe(bytes('Zoë'))
    expect(keyFromHeader('k'.repeat(128))).toHaveLength(128)
    expect(keyFromHeader('k'.repeat(129))).toBeNull()
    expect(keyFromHeader(bytes('é'.repeat(65)))).toBeNull()
    expect(keyFromHeader('')).toBeNull()
    expect(keyFromHeader('   ')).toBeNull()
    expect(keyFromHeader(bytes('\u00a0\u2003'))).toBeNull()
    expect(keyFromHeader('\xff\xfe')).toBeNull()
  })

  it('minted keys are UUIDv8 that hash to the wanted slot and are told from chosen ones', () => {
    const random = words(7)
    for (const slot of range(5)) {
      for (let i = 0; i < 200; i++) {
        const key = mintKey(random, slot, range(5))
        expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(keyFromCookie(key)).toBe(key)
        expect(isMinted(key)).toBe(true)
        expect(pickSlot(digestKey(key), range(5))).toBe(slot)
      }
    }
  })

  it('R8.1 a key that a client chose is never taken for a minted one', () => {
    const chosen = uuids(20_000)
    const asVersion8 = chosen.map((key) => `${key.slice(0, 14)}8${key.slice(15)}`)
    for (const key of [...chosen, ...asVersion8]) expect(isMinted(key)).toBe(false)
    const minted = mintKey(words(3), 0, [0])
    const last = minted.endsWith('0') ? '1' : '0'
    expect(isMinted(minted.slice(0, -1) + last)).toBe(false)
    expect(isMinted('tenant-7')).toBe(false)
  })

  it('R8.1 the key of a moved session is the same wherever it is derived, and lives in the new slot', () => {
    const random = words(11)
    const seen = new Set<string>()
    for (let i = 0; i < 500; i++) {
      const key = mintKey(random, 2, range(5))
      const target = pickSlot(digestKey(key), range(5), (slot) => slot !== 2)
      const moved = movedKey(key, target, [4, 3, 2, 1, 0])
      expect(movedKey(key, target, range(5))).toBe(moved)
      expect(isMinted(moved)).toBe(true)
      expect(pickSlot(digestKey(moved), range(5))).toBe(target)
      seen.add(moved)
    }
    expect(seen.size).toBe(500)
  })
})

describe('rebalancing', () => {
  const rebalance = { epoch: 3, slots: [0, 1, 2], shed: { '0': 0.25, '1': 0.5 } }

  it('R8.3 sheds the planned fraction of each slot, once, to slots that shed nothing', () => {
    const random = words(5)
    const shed = [0, 0, 0]
    for (const slot of range(3)) {
      for (let i = 0; i < 4000; i++) {
        const key = mintKey(random, slot, range(3))
        const digest = digestKey(key)
        if (!isShed(digest, slot, rebalance)) continue
        bump(shed, slot)
        const target = shedTarget(digest, range(3), rebalance)
        expect(target).toBe(2)
        const moved = movedKey(key, target, range(3), rebalance)
        expect(pickSlot(digestKey(moved), range(3))).toBe(2)
        expect(isShed(digestKey(moved), 2, rebalance)).toBe(false)
      }
    }
    expect((shed[0] as number) / 4000).toBeCloseTo(0.25, 1)
    expect((shed[1] as number) / 4000).toBeCloseTo(0.5, 1)
    expect(shed[2]).toBe(0)
  })

  it('R8.2 R8.3 leaves alone the sessions that began or moved after it', () => {
    const random = words(8)
    for (const slot of range(3)) {
      for (let i = 0; i < 500; i++) {
        const key = mintKey(random, slot, range(3), rebalance)
        const target = (slot + 1) % 3
        const moved = movedKey(key, target, range(3), rebalance)
        expect([pickSlot(digestKey(key), range(3)), isShed(digestKey(key), slot, rebalance)]).toEqual([slot, false])
        expect([pickSlot(digestKey(moved), range(3)), isShed(digestKey(moved), target, rebalance)]).toEqual([
          target,
          false,
        ])
      }
    }
  })

  it('R8.2 R8.3 leaves alone the sessions of a slot that left since: they have moved once', () => {
    const random = words(9)
    const shedAll = { epoch: 1, slots: range(3), shed: { '0': 1 } }
    let moved = 0
    for (let i = 0; i < 500; i++) {
      const digest = digestKey(mintKey(random, 2, range(3)))
      // Parallel requests of a browser still bring the old key when the slot has gone.
      if (pickSlot(digest, range(2)) !== 0) continue
      moved++
      expect(isShed(digest, 0, shedAll)).toBe(false)
    }
    expect(moved).toBeGreaterThan(100)
  })

  it('R8.3 sheds exactly the lowest ranks, so that a second rebalance by the same counts moves nobody twice', () => {
    const random = words(6)
    const ranks = new Set<number>()
    for (let i = 0; i < 4000; i++) {
      const digest = digestKey(mintKey(random, 1, range(3)))
      const rank = shedRank(digest)
      ranks.add(rank)
      expect(isShed(digest, 1, rebalance)).toBe(rank < SHED_RANKS / 2)
      expect(isShed(digest, 1, { ...rebalance, epoch: 4 })).toBe(isShed(digest, 1, rebalance))
    }
    expect([...ranks].sort((a, b) => a - b)).toEqual(range(SHED_RANKS))
  })

  it('keeps everybody where there is no slot to go to', () => {
    expect(shedTarget(digestKey('k'), [0, 1], rebalance)).toBe(-1)
  })
})
