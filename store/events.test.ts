import { afterEach, beforeEach, expect, it } from 'vitest'
import type { HistoryEvent } from '../domain/records.ts'
import { admitDeploy, openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})
afterEach(() => store.dispose())

const SIZE = 1_000
function write(count: number, data: string | null = null): void {
  const insert = store.raw.prepare(`insert into events (at, app, kind, message, data) values (1, 'a', 'step', ?, ?)`)
  store.raw.exec('begin')
  for (let n = 0; n < count; n++) insert.run('x'.repeat(SIZE), data)
  store.raw.exec('commit')
}
const left = async (): Promise<number[]> => (await store.events.after(0, { limit: 1e9 })).map(({ seq }) => seq)
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n)

it('R14.4 events go past the newest of them, and past the bytes that the newest have together, also when there are very many', async () => {
  write(2_500)
  await store.events.trim({ count: 2_400, bytes: 1e9 })
  expect(await left()).toEqual(numbers(101, 2_500))
  await store.events.trim({ count: 50_000, bytes: 1_500 * SIZE })
  expect(await left()).toEqual(numbers(1_001, 2_500))
  // Characters of three bytes count as three.
  write(10, JSON.stringify({ logLines: ['漢'.repeat(SIZE)] }))
  await store.events.trim({ count: 50_000, bytes: 10 * 4 * SIZE })
  expect(await left()).toEqual(numbers(2_502, 2_510))
  await store.events.trim({ count: 50_000, bytes: 0 })
  expect(await left()).toEqual([])
})

it('R9.3 a page ends before the event that does not fit, has at least one, and goes as far as it says', async () => {
  write(20)
  const page = async (seq: number, options: { upTo?: number; limit?: number; maxBytes?: number; app?: string }) => {
    const { events, to } = await store.events.page(seq, { upTo: 20, limit: 100, maxBytes: 1e9, ...options })
    return [events.map((event) => event.seq), to]
  }
  expect(await page(0, {})).toEqual([numbers(1, 20), 20])
  expect(await page(0, { maxBytes: 3 * SIZE })).toEqual([[1, 2, 3], 3])
  expect(await page(3, { maxBytes: 3 * SIZE - 1 })).toEqual([[4, 5], 5])
  expect(await page(5, { maxBytes: 1 })).toEqual([[6], 6])
  expect(await page(6, { limit: 2 })).toEqual([[7, 8], 8])
  expect(await page(8, { upTo: 9 })).toEqual([[9], 9])
  // Nothing of it passes, so all of it has been gone through.
  expect(await page(0, { app: 'b', maxBytes: 1 })).toEqual([[], 20])
})

it('R14.4 what an event, a failure and an instance keep of a log is bounded, and says so', async () => {
  await store.apps.create({ name: 'hello', mode: 'standard', instances: 1, creator: 'ada' })
  const plan = await admitDeploy(store, 'op-1')
  const id = plan.add[0]?.id as string
  const logLines = Array.from({ length: 30 }, (_, n) => `${n} ${'漢'.repeat(2_000)}`)
  await store.instances.observe(id, { observed: 'crashed', logLines })
  await store.instances.event({ app: 'hello', instance: id, kind: 'crashed', message: 'It crashed', logLines })
  const message = 'm'.repeat(100_000)
  await store.operations.noteStep({ operation: 'op-1', step: 'admit', words: 'Admit' }, message, 'failed')
  const [instance] = await store.instances.ofApp('hello')
  const failure = { code: 'AppCrashedAtStart' as const, message, logLines, undoFailures: logLines }
  await store.transitions.abandon('op-1', { state: 'FAILED', failure })
  const operation = await store.operations.get('op-1')
  const events = await store.events.after(0)
  const ended = events.findLast(({ kind }) => kind === 'operation') as HistoryEvent
  const kept = [
    instance?.logLines,
    operation?.failure?.logLines,
    operation?.failure?.undoFailures,
    events.find(({ kind }) => kind === 'crashed')?.data?.logLines,
    (ended.data?.failure as typeof failure | undefined)?.logLines,
  ] as string[][]
  for (const lines of kept) {
    expect(lines[0]).toBe('(28 earlier lines are left out here)')
    expect(lines.slice(1)).toEqual(logLines.slice(28))
  }
  for (const event of events) expect(JSON.stringify(event).length).toBeLessThan(64 * 1024)
})
