import { expect, it } from 'vitest'
import { ClockWatch } from './clock-watch.ts'

const HOUR = 3_600_000

function watched() {
  let wall = 1_000_000
  let steady = 0
  const watch = new ClockWatch(
    () => wall,
    () => steady,
  )
  return {
    watch,
    /** Time passes; the clock on the wall is set meanwhile. */
    pass(ms: number, setBy = 0) {
      wall += ms + setBy
      steady += ms
      watch.look()
    },
  }
}

it('sees that the clock was set, how far and when, and forgets it within the hour', () => {
  const { watch, pass } = watched()
  pass(1_000)
  expect(watch.jump).toBeNull()
  pass(1_000, -HOUR)
  pass(60_000)
  expect(watch.jump).toEqual({ byMs: -HOUR, agoMs: 60_000 })
  pass(1_000, 2 * HOUR)
  expect(watch.jump).toEqual({ byMs: 2 * HOUR, agoMs: 0 })
  pass(HOUR)
  expect(watch.jump).not.toBeNull()
  pass(1_000)
  expect(watch.jump).toBeNull()
})

it('takes no slewing for a jump, nor that nobody looked for long', () => {
  const { watch, pass } = watched()
  for (let second = 0; second < 100; second++) pass(1_000, 400)
  pass(10 * HOUR, 4_000)
  expect(watch.jump).toBeNull()
})
