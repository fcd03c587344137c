import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Barrier } from './barrier.ts'

const at = (version: number, inventory = 'x') => ({ inventory, version })

describe('R3.4 a router gets the word for a table', () => {
  let barrier: Barrier
  let leaves: Record<string, () => void>
  beforeEach(() => {
    vi.useFakeTimers()
    barrier = new Barrier()
    leaves = {}
    for (const name of ['a', 'b', 'c']) {
      leaves[name] = barrier.follow(name)
      barrier.has(name, at(1))
    }
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** Whether it has the word, which is looked up whenever that is asked. */
  function waits(router: string, version: number, signal = new AbortController().signal) {
    const word = { come: false, failed: null as unknown }
    barrier.reachedByOthers(router, at(version), signal).then(
      () => {
        word.come = true
      },
      (error) => {
        word.failed = error
      },
    )
    return word
  }
  const moment = () => vi.advanceTimersByTimeAsync(0)

  it('when all the others hold it or a later one, whatever it does itself', async () => {
    const word = waits('a', 2)
    barrier.has('a', at(2))
    barrier.has('b', at(2))
    await moment()
    expect(word.come).toBe(false)
    barrier.has('c', at(1))
    await moment()
    expect(word.come).toBe(false)
    barrier.has('c', at(3))
    await moment()
    expect(word.come).toBe(true)
  })

  it('not for a table of another inventory, which is no later one', async () => {
    const word = waits('a', 2)
    barrier.has('b', at(2))
    barrier.has('c', at(9, 'y'))
    await moment()
    expect(word.come).toBe(false)
  })

  it('at once when it is alone, and without those whose stream has ended', async () => {
    const word = waits('a', 2)
    barrier.has('b', at(2))
    const second = barrier.follow('c')
    leaves.c?.()
    await moment()
    expect(word.come).toBe(false)
    second()
    await moment()
    expect(word.come).toBe(true)
    leaves.b?.()
    const alone = waits('a', 3)
    await moment()
    expect(alone.come).toBe(true)
  })

  it('without one that has just come and said nothing, nor one that says something and follows no stream', async () => {
    barrier.follow('new')
    barrier.has('stranger', at(1))
    const word = waits('a', 2)
    for (const name of ['b', 'c']) barrier.has(name, at(2))
    await moment()
    expect(word.come).toBe(true)
  })

  it('3 s later at the latest, and the next time without those that were late, until they have caught up', async () => {
    const word = waits('a', 2)
    barrier.has('b', at(2))
    await vi.advanceTimersByTimeAsync(2_900)
    expect(word.come).toBe(false)
    await vi.advanceTimersByTimeAsync(200)
    expect(word.come).toBe(true)
    const next = waits('a', 3)
    barrier.has('b', at(3))
    await moment()
    expect(next.come).toBe(true)
    barrier.has('c', at(1))
    barrier.has('b', at(4))
    expect(await barrier.reachedByOthers('a', at(4), new AbortController().signal)).toBeUndefined()
    barrier.has('c', at(4))
    const again = waits('a', 5)
    barrier.has('b', at(5))
    await moment()
    expect(again.come).toBe(false)
  })

  it('never when it goes meanwhile', async () => {
    const gone = new AbortController()
    const word = waits('a', 2, gone.signal)
    gone.abort()
    await moment()
    expect(word).toEqual({ come: false, failed: gone.signal.reason })
  })
})
