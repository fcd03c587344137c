import { describe, expect, it } from 'vitest'
import { SHED_RANKS } from './affinity.ts'
import { planRebalance, predictResize } from './sessions.ts'

describe('predicting a resize', () => {
  it('R8.2 counts the sessions of the slots that leave, and no others', () => {
    expect(predictResize({ 0: 10, 1: 20, 2: 30 }, 3, 2)).toEqual({ sessions: 60, moved: 30 })
    expect(predictResize({ 0: 10, 1: 20, 2: 30 }, 3, 3)).toEqual({ sessions: 60, moved: 0 })
  })

  it('R8.2 expects the share of the slots that join', () => {
    expect(predictResize({ 0: 50, 1: 50 }, 2, 4)).toEqual({ sessions: 100, moved: 50 })
  })
})

describe('planning a rebalance', () => {
  const each = (n: number) => Array.from({ length: SHED_RANKS }, () => n)

  it('R8.3 takes no more from a slot than it has above its share, and tells how many that are', () => {
    expect(planRebalance({ 0: 96, 1: 30 }, { 0: each(3), 1: each(1) }, [0, 1, 2])).toEqual({
      shed: { 0: 18 / SHED_RANKS },
      atMost: 54,
    })
    expect(planRebalance({ 0: 5, 1: 0 }, { 0: [1, 0, 2, 2] }, [0, 1])).toEqual({
      shed: { 0: 1 / SHED_RANKS },
      atMost: 1,
    })
  })

  it('R8.3 leaves keys that clients chose where they are', () => {
    expect(planRebalance({ 0: 100, 1: 10 }, {}, [0, 1])).toEqual({ shed: {}, atMost: 0 })
  })

  it('R8.3 sheds no more ranks than it needs, and never all: sessions that begin in the slot later have to stay', () => {
    expect(planRebalance({ 0: 100, 1: 10 }, { 0: each(1) }, [0, 1])).toEqual({
      shed: { 0: (SHED_RANKS - 1) / SHED_RANKS },
      atMost: SHED_RANKS - 1,
    })
    expect(planRebalance({ 0: 100, 1: 10 }, { 0: [1, 1] }, [0, 1])).toEqual({ shed: { 0: 2 / SHED_RANKS }, atMost: 2 })
  })

  it('R8.3 leaves even slots alone', () => {
    expect(planRebalance({ 0: 10, 1: 10 }, { 0: each(1) }, [0, 1])).toEqual({ shed: {}, atMost: 0 })
    expect(planRebalance({}, {}, [0, 1])).toEqual({ shed: {}, atMost: 0 })
  })
})
