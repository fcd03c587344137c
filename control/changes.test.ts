import { getEventListeners } from 'node:events'
import { expect, it } from 'vitest'
import { Changes } from './changes.ts'

function setUp() {
  let change = () => {}
  const changes = new Changes({
    onChange: (listener) => {
      change = listener as () => void
      return () => undefined
    },
  })
  return { changes, change: () => change() }
}

it('R1.6 a stream that waits for one change after the other leaves nothing behind with each', async () => {
  const { changes, change } = setUp()
  const { signal } = new AbortController()
  for (let n = 0; n < 100; n++) {
    const past = changes.past(changes.count, signal)
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    change()
    await past
  }
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

it('whoever has missed a change waits for none, and whoever has gone ends with the reason', async () => {
  const { changes, change } = setUp()
  const controller = new AbortController()
  const seen = changes.count
  change()
  await changes.past(seen, controller.signal)
  const past = changes.past(changes.count, controller.signal)
  controller.abort(new Error('gone'))
  await expect(past).rejects.toThrow('gone')
  await expect(changes.past(seen, controller.signal)).rejects.toThrow('gone')
})
