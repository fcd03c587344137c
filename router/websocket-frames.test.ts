import { expect, it } from 'vitest'
import { FrameFollower } from './websocket-frames.ts'

/** Frames as RFC 6455 5.2 lays them out. */
function frame(length: number, masked: boolean): Buffer {
  const header = [0x82]
  const mask = masked ? 0x80 : 0
  if (length < 126) header.push(mask | length)
  else if (length < 65_536) header.push(mask | 126, length >> 8, length & 0xff)
  else header.push(mask | 127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff)
  if (masked) header.push(1, 2, 3, 4)
  return Buffer.concat([Buffer.from(header), Buffer.alloc(length, 0xff)])
}

const FRAMES = [0, 1, 125, 126, 300, 65_535, 65_536, 70_000].flatMap((length) => [
  frame(length, false),
  frame(length, true),
])

it('R6.2 is at a boundary after each frame and nowhere in between', () => {
  const follower = new FrameFollower()
  for (const one of FRAMES) {
    for (let i = 0; i < one.length - 1; i += 997) {
      const upTo = new FrameFollower()
      upTo.follow(one.subarray(0, i + 1))
      expect([one.length, i, upTo.atBoundary]).toEqual([one.length, i, i + 1 === one.length])
    }
    follower.follow(one)
    expect(follower.atBoundary).toBe(true)
  }
})

it('finds the first boundary in what comes, wherever it was cut', () => {
  const all = Buffer.concat(FRAMES.slice(0, 8))
  for (let cut = 1; cut < all.length; cut += 13) {
    const follower = new FrameFollower()
    follower.follow(all.subarray(0, cut))
    let end = 0
    for (const one of FRAMES) {
      end += one.length
      if (end >= cut) break
    }
    expect([cut, follower.atBoundary]).toEqual([cut, end === cut])
    if (end === cut) continue
    expect(follower.followToBoundary(all.subarray(cut))).toBe(end - cut)
  }
})
