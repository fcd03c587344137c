import { describe, expect, it } from 'vitest'
import type { Exchange } from './exchange.ts'
import { WaitingRoom } from './waiting-room.ts'

describe('the waiting room', () => {
  const of = (app: string) => ({ app: { name: app } }) as Exchange
  const fill = (room: WaitingRoom, app: string): Exchange[] => {
    const inside: Exchange[] = []
    for (;;) {
      const exchange = of(app)
      if (!room.enter(exchange, () => undefined)) return inside
      inside.push(exchange)
    }
  }

  it('R1.6 gives an app alone half of its places, each further one half of what is left, and always one to who has none', () => {
    const room = new WaitingRoom(100)
    expect(fill(room, 'a')).toHaveLength(50)
    expect(fill(room, 'b')).toHaveLength(25)
    expect(fill(room, 'c')).toHaveLength(13)
    expect(fill(room, 'a')).toHaveLength(0)
    let apps = 0
    while (fill(room, `app-${apps}`).length > 0) apps++
    expect(room.size).toBe(100)
    expect(apps).toBeGreaterThanOrEqual(4)
  })

  it('gives places back, and takes nobody’s whose turn it is to look again', () => {
    const room = new WaitingRoom(20)
    const looked: Exchange[] = []
    const stays = (exchange: Exchange): (() => void) => {
      return () => {
        looked.push(exchange)
        expect(room.enter(exchange, stays(exchange))).toBe(true)
      }
    }
    const all: Exchange[] = []
    for (const app of ['b', 'a', 'a', 'b', 'a', 'a', 'a', 'a', 'a', 'c']) {
      const exchange = of(app)
      expect(room.enter(exchange, stays(exchange))).toBe(true)
      all.push(exchange)
    }
    // More of b than would find room behind the others now.
    while (room.enter(of('c'), () => undefined));
    room.wake()
    expect(looked).toEqual(all)
    for (const exchange of all) room.leave(exchange)
    for (const exchange of all) room.leave(exchange)
    expect(room.size).toBe(0)
    expect(fill(room, 'a')).toHaveLength(10)
  })
})
