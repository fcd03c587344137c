import { describe, expect, it } from 'vitest'
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
  it('R8.3 takes no more from a slot than it has above its share', () => {
    const { shed, atMost } = planRebalance({ 0: 90, 1: 30 }, [0, 1, 2])
    expect(atMost).toBe(50)
    expect(shed).toEqual({ 0: 50 / 90 })
  })

  it('R8.3 leaves even slots alone', () => {
    expect(planRebalance({ 0: 10, 1: 10 }, [0, 1])).toEqual({ shed: {}, atMost: 0 })
    expect(planRebalance({}, [0, 1])).toEqual({ shed: {}, atMost: 0 })
  })
})
