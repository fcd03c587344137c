import { afterEach, beforeEach, expect, it } from 'vitest'
import type { EventFilter } from '../store/events.ts'
import { openTestStore, type TestStore } from '../store/testing.ts'
import { Changes } from './changes.ts'
import { EventFeed } from './event-feed.ts'
import { Turns } from './turns.ts'

let store: TestStore
let changes: Changes

beforeEach(async () => {
  store = await openTestStore()
  changes = new Changes(store.watch)
})
afterEach(async () => {
  changes.close()
  await store.dispose()
})

const idsIn = (bytes: Buffer): number[] => [...bytes.toString().matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))

it('R9.3 each follower gets what passes its filter, in order, once, whatever is written meanwhile', async () => {
  const feed = new EventFeed(store.events, changes, new Turns())
  const truth: Array<{ seq: number; app: string; operation: string }> = []
  const write = async (count: number) => {
    for (let n = 0; n < count; n++) {
      const app = ['a', 'b', 'rare'][n % 100 === 7 ? 2 : n % 2] as string
      const operation = `op-${n % 10}`
      await store.events.add({ app, operation, kind: 'step', message: 'x'.repeat((n * 37) % 3_000) })
      truth.push({ seq: truth.length + 1, app, operation })
    }
  }
  await write(1_500)
  const ended = new AbortController()
  const follow = (from: number, filter: EventFilter) => {
    const follower = { from, filter, cursor: from, ids: [] as number[], ended: Promise.resolve() }
    follower.ended = (async () => {
      while (!ended.signal.aborted) {
        const page = await feed.next(follower.cursor, filter, ended.signal)
        expect(page.last).toBeGreaterThan(follower.cursor)
        follower.ids.push(...idsIn(page.bytes))
        follower.cursor = page.last
      }
    })().catch((error: unknown) => {
      if (!ended.signal.aborted) throw error
    })
    return follower
  }
  const filters: EventFilter[] = [
    {},
    { app: 'a' },
    { app: 'rare' },
    { operation: 'op-3' },
    { app: 'b', operation: 'op-5' },
    { app: 'none' },
  ]
  const followers = [0, 1, 700, 1_499, 1_500].flatMap((from) => filters.map((filter) => follow(from, filter)))
  await write(800)
  followers.push(follow(1_200, { app: 'a' }))
  await write(700)
  await expect.poll(() => Math.min(...followers.map(({ cursor }) => cursor)), { timeout: 9_000 }).toBe(3_000)
  ended.abort()
  for (const { from, filter, ids, ended } of followers) {
    await ended
    const passes = (told: { app: string; operation: string }) =>
      (filter.app ?? told.app) === told.app && (filter.operation ?? told.operation) === told.operation
    const wanted = truth.filter((told) => told.seq > from && passes(told))
    expect(ids, JSON.stringify({ from, filter })).toEqual(wanted.map(({ seq }) => seq))
  }
})

it('R9.3 what was trimmed away is passed over, and not looked through number by number', async () => {
  for (let n = 0; n < 300; n++) await store.events.add({ app: 'a', kind: 'step', message: '' })
  await store.events.trim({ count: 10, bytes: 1e9 })
  const feed = new EventFeed(store.events, changes, new Turns())
  const page = await feed.next(0, {}, new AbortController().signal)
  expect(idsIn(page.bytes)).toEqual(Array.from({ length: 10 }, (_, n) => 291 + n))
})

it('R9.3 of events that carry the last lines of a log only those are read that one page sends, however many follow', async () => {
  // As they were before records were bounded: raw, and of characters that take three bytes.
  const lines = JSON.stringify({ logLines: Array.from({ length: 30 }, () => '漢'.repeat(2_000)) })
  const insert = store.raw.prepare(
    `insert into events (at, app, kind, message, data) values (1, 'a', 'crashed', '', ?)`,
  )
  store.raw.exec('begin')
  for (let n = 0; n < 250; n++) insert.run(lines)
  store.raw.exec('commit')
  let read = 0
  const events = new Proxy(store.events, {
    get: (target, method: keyof typeof store.events) =>
      typeof target[method] !== 'function'
        ? target[method]
        : async (...given: never[]) => {
            const answer = await (target[method] as (...given: never[]) => Promise<unknown>).apply(target, given)
            read += Buffer.byteLength(JSON.stringify(answer))
            return answer
          },
  })
  const signal = new AbortController().signal
  const seen: number[] = []
  const feed = new EventFeed(events, changes, new Turns())
  for (let cursor = 0; cursor < 250; ) {
    read = 0
    const page = await feed.next(cursor, {}, signal)
    expect(page.last).toBeGreaterThan(cursor)
    // What does not fit is left for the next page, and is not read for this one.
    expect(read).toBeLessThan(page.bytes.length + 10_000)
    expect(page.bytes.length).toBeLessThan(256 * 1024 + 10_000)
    seen.push(...idsIn(page.bytes))
    cursor = page.last
  }
  expect(seen).toEqual(Array.from({ length: 250 }, (_, n) => n + 1))
})
