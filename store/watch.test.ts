import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})
afterEach(() => store.dispose())

/** As another process would. */
const change = () => store.raw.exec(`insert into meta (key, value) values ('${Math.random()}', '')`)
const soon = { timeout: 5_000 }

it('tells each listener of a change by another process, and who has stopped listening of none', async () => {
  const [first, second] = [vi.fn(), vi.fn()]
  const stopFirst = store.watch.onChange(first)
  const stopSecond = store.watch.onChange(second)
  change()
  await vi.waitFor(() => expect(first).toHaveBeenCalled(), soon)
  await vi.waitFor(() => expect(second).toHaveBeenCalled(), soon)
  stopFirst()
  first.mockClear()
  second.mockClear()
  change()
  await vi.waitFor(() => expect(second).toHaveBeenCalled(), soon)
  expect(first).not.toHaveBeenCalled()
  stopSecond()
  // One that comes when all had stopped.
  const third = vi.fn()
  const stopThird = store.watch.onChange(third)
  change()
  await vi.waitFor(() => expect(third).toHaveBeenCalled(), soon)
  stopThird()
})

it('who waits for something looks at once and after each change, and stops at the signal', async () => {
  let looks = 0
  const abort = new AbortController()
  const waiting = store.watch.until(async () => {
    looks++
    return looks < 3 ? null : 'seen'
  }, abort.signal)
  await vi.waitFor(() => expect(looks).toBe(1), soon)
  change()
  await vi.waitFor(() => expect(looks).toBe(2), soon)
  change()
  expect(await waiting).toBe('seen')
  const never = store.watch.until(async () => null, abort.signal)
  abort.abort(new Error('enough'))
  await expect(never).rejects.toThrow('enough')
})
