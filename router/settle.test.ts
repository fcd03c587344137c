import { expect, it } from 'vitest'
import { digestKey, mintKey, movedKey, shedRank } from '../domain/affinity.ts'
import { Metrics } from './metrics.ts'
import type { Sessions } from './sessions.ts'
import { NOT_MINTED } from './sessions.ts'
import { settle } from './settle.ts'

const KEY = mintKey(() => 7, 0, [0, 1])
const HASH = 5

function settled(more: object) {
  const metrics = new Metrics()
  const sessions: unknown[][] = []
  const logged: unknown[] = []
  const digest = digestKey(KEY)
  const exchange = {
    startedAt: performance.now(),
    refusal: null,
    status: 200,
    app: { hash: HASH, metrics: metrics.app('app'), row: { affinity: true } },
    digest,
    minted: true,
    endpoint: { instance: 'i1', slot: 1 },
    newHome: null,
    ...more,
  }
  const noted = {
    seen: (hash: number, instance: string, _: number, rank: number) => sessions.push(['seen', hash, instance, rank]),
    moved: (hash: number) => sessions.push(['moved', hash]),
  }
  const handler = settle({
    metrics,
    sessions: noted as unknown as Sessions,
    log: { request: (one: unknown) => logged.push(one) } as never,
  })
  handler({ exchange } as never, {} as never, () => undefined)
  expect(logged).toEqual([exchange])
  return { metrics: exchange.app === null ? null : metrics.app('app'), all: metrics, sessions }
}

const hashOf = (key: string) => (digestKey(key).a ^ HASH) >>> 0
const rankOf = (key: string) => shedRank(digestKey(key))

it('a request is counted once: by its status, or as an upgrade', () => {
  expect(settled({}).metrics).toMatchObject({ byClass: [0, 0, 1, 0, 0, 0], upgrades: 0 })
  expect(settled({ status: 101 }).metrics).toMatchObject({ byClass: [0, 0, 0, 0, 0, 0], upgrades: 1 })
  expect(settled({ refusal: { reason: 'AppHeld' }, app: null }).all.refusalsFor('AppHeld')).toBe(1)
})

it('R8.3 a session is counted where it was served, a minted one with its rank, and as a moved one where it got its new home', () => {
  expect(settled({}).sessions).toEqual([['seen', hashOf(KEY), 'i1', rankOf(KEY)]])
  expect(settled({ minted: false }).sessions).toEqual([['seen', hashOf(KEY), 'i1', NOT_MINTED]])
  const key = movedKey(KEY, 1, [0, 1])
  expect(settled({ newHome: { slot: 1, key, cause: 'moved' } }).sessions).toEqual([
    ['moved', hashOf(KEY)],
    ['seen', hashOf(key), 'i1', rankOf(key)],
  ])
  // Served by another than its new home, it has not moved yet.
  expect(settled({ newHome: { slot: 2, key, cause: 'moved' } }).sessions).toEqual([
    ['seen', hashOf(KEY), 'i1', rankOf(KEY)],
  ])
})

it('what no instance answered is no session, nor is a request to a standard app', () => {
  for (const more of [{ status: 0 }, { endpoint: null }, { digest: null }, { app: null }])
    expect(settled(more).sessions).toEqual([])
  const standard = { hash: HASH, metrics: new Metrics().app('app'), row: { affinity: false } }
  expect(settled({ app: standard }).sessions).toEqual([])
})
