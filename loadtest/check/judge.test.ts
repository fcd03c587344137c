import { describe, expect, it } from 'vitest'
import { digestKey, mintKey, shedTarget } from '../../domain/affinity.ts'
import type { Evidence } from './evidence.ts'
import { judge } from './judge.ts'
import { attempt, keyFor, SLOTS, T0, table, world } from './testing.ts'
import type { World } from './world.ts'

const summary = (counts: Record<string, number>, thresholds: string[] = []): Evidence['summary'] => ({
  metrics: Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [
      name,
      { values: { count }, ...(thresholds.includes(name) && { thresholds: { 'count==0': { ok: count === 0 } } }) },
    ]),
  ),
})

const evidence = (more: Partial<Evidence> = {}): Evidence => {
  const history = more.history ?? [attempt(), attempt()]
  return {
    history,
    executions: history.map(({ id }) => ({ id, instance: 'a-1-0', at: T0 })),
    passages: history.map(({ id }) => ({ id, instance: null, status: 200, attempts: 1, clientGone: false })),
    world: world(),
    summary: summary({ app_requests: history.length }),
    ...more,
  }
}

const broken = (verdict: ReturnType<typeof judge>) =>
  verdict.rows.filter(({ count }) => count > 0).map(({ name }) => name)

describe('the verdict', () => {
  it('is that all held when nothing was found', () => {
    const verdict = judge(evidence())
    expect(verdict.outcome).toBe('held')
    expect(broken(verdict)).toEqual([])
  })

  it('names each promise that was broken, of the checks and of the thresholds', () => {
    const history = [attempt({ slot: 2, key: keyFor(1) }), attempt({ status: 502, slot: null })]
    const verdict = judge(
      evidence({
        history,
        summary: summary({ app_requests: 2, affinity_broken: 1, key_replaced: 0 }, ['affinity_broken', 'key_replaced']),
      }),
    )
    expect(verdict.outcome).toBe('broken')
    expect(broken(verdict)).toEqual(['lost', 'moved_needlessly', 'affinity_broken'])
    expect(verdict.rows.every(({ rule }) => /^R\d+\.\d+/.test(rule))).toBe(true)
  })

  it('is that the harness was unfit, not that a promise was broken, when iterations were dropped', () => {
    const history = [attempt({ status: 502, slot: null })]
    const verdict = judge(evidence({ history, summary: summary({ app_requests: 1, dropped_iterations: 3 }) }))
    expect(verdict.outcome).toBe('unfit')
    expect(verdict.unfit).toEqual(['3 visits could not begin in time: this machine is too slow for that rate'])
  })

  it('R11.1 is that the harness was unfit when k6 left no summary, unless the run was cut short, which is said instead', () => {
    const { outcome, unfit } = judge(evidence({ summary: null }))
    expect([outcome, ...unfit]).toEqual(['unfit', expect.stringMatching('k6 left no summary')])
    const cut = judge(evidence({ summary: null }), { cutShort: 'interrupted' })
    expect([cut.outcome, ...cut.unfit]).toEqual(['unfit', 'the run was cut short: interrupted'])
    // Thresholds that were crossed in the middle of requests mean nothing.
    const crossed = evidence({ summary: summary({ app_requests: 9, lost_other: 3 }, ['lost_other']) })
    const { rows, unfit: why } = judge(crossed, { cutShort: 'interrupted' })
    expect(rows.filter(({ by }) => by === 'threshold')).toEqual([])
    expect(why).toEqual(['the run was cut short: interrupted'])
  })

  it('R11.1 is that the harness was unfit when nothing could be done of what the scenario does', () => {
    const { outcome, unfit } = judge(evidence(), { nothingDone: true })
    expect([outcome, ...unfit]).toEqual(['unfit', expect.stringMatching('nothing was done to the app')])
    const history = [attempt(), attempt({ status: 502, slot: null })]
    expect(judge(evidence({ history }), { nothingDone: true })).toMatchObject({ outcome: 'broken', unfit: [] })
  })

  it('R11.1 is that the harness was unfit when the app has no page where it was asked, and names APP_PATH', () => {
    const missing = (refusal: string | null = null) => attempt({ status: 404, slot: null, refusal })
    const all = [missing(), missing(), attempt({ status: 502, slot: null, refusal: 'UpstreamFailed' })]
    const { outcome, unfit } = judge(evidence({ history: all, executions: null, passages: null }))
    expect([outcome, ...unfit]).toEqual(['unfit', expect.stringMatching(/answered 404.*APP_PATH=/)])
    // What the router says itself, what has no answer, and an app that has the page now and then, are what was found.
    for (const history of [
      [missing('NoSuchApp'), missing('NoSuchApp')],
      [missing(), attempt()],
      [missing(), attempt({ status: 500, slot: null })],
      [attempt({ status: 0, slot: null })],
    ]) {
      expect(judge(evidence({ history, executions: null, passages: null })).outcome).toBe('broken')
    }
  })

  it('is that the harness was unfit when history or logs are not whole', () => {
    expect(judge(evidence({ summary: summary({ app_requests: 3 }) })).outcome).toBe('unfit')
    expect(judge(evidence({ passages: [] })).outcome).toBe('unfit')
    expect(judge(evidence({ executions: [] })).outcome).toBe('unfit')
    expect(judge(evidence({ passages: null, executions: null })).outcome).toBe('held')
  })

  it.each([
    ['app', 'did not say which instance gave them'],
    ['router', 'a router on the way is of an older version'],
  ] as const)(
    'R11.4 is that the harness was unfit when answers do not say who gave them, be it some of them: by the %s',
    (namedBy, words) => {
      const nobody = () => attempt({ instance: null, slot: null, key: keyFor(1) })
      for (const history of [[nobody()], [nobody(), attempt(), attempt()]]) {
        const verdict = judge(evidence({ history }), { namedBy })
        expect(verdict.outcome).toBe('unfit')
        expect(verdict.unfit).toEqual([
          expect.stringMatching(`^1 of ${history.length} good answers .*${words}.*INSTANCE_AT`),
        ])
      }
      const few = [nobody(), ...Array.from({ length: 150 }, () => attempt())]
      expect(judge(evidence({ history: few }), { namedBy }).outcome).toBe('held')
    },
  )

  it('R11.4 counts no threshold as kept that k6 had nothing to judge by', () => {
    const seen = summary({ app_requests: 2, old_version_after_new: 0, lost_other: 0 }, [
      'old_version_after_new',
      'lost_other',
    ])
    const thresholds = (ok: boolean) => {
      const metrics = { ...seen?.metrics, answers_versioned: { values: {}, thresholds: { 'rate>=0.99': { ok } } } }
      const rows = judge(evidence({ summary: { metrics } })).rows
      return rows.filter(({ by }) => by === 'threshold').map(({ name }) => name)
    }
    expect(thresholds(true)).toEqual(['lost_other', 'old_version_after_new'])
    expect(thresholds(false)).toEqual(['lost_other'])
  })

  it('R11.4 is that the harness was unfit when answers name instances that are in no table', () => {
    const history = [attempt({ instance: 'host-7', slot: null, key: keyFor(1) })]
    const { outcome, unfit } = judge(evidence({ history }))
    expect([outcome, ...unfit]).toEqual([
      'unfit',
      expect.stringMatching('no route table, such as host-7.*COPPICE_INSTANCE_ID'),
    ])
  })

  it('R11.4 is that the harness was unfit when WebSockets do not say where they lead, though all else does', () => {
    const history = [attempt(), attempt({ kind: 'socket', instance: null, slot: null, key: keyFor(1) })]
    const { unfit } = judge(evidence({ history, summary: summary({ app_requests: 1 }) }), { namedBy: 'router' })
    expect(unfit).toEqual([expect.stringMatching('^1 of 1 WebSockets did not say')])
  })

  it('is that the harness was unfit when somebody’s app has no WebSocket where one was looked for', () => {
    const history = [attempt({ kind: 'socket', status: 0, slot: null })]
    const refused = summary({ app_requests: 0, socket_refused: 1 }, ['socket_refused'])
    expect(judge(evidence({ history, passages: null, summary: refused })).unfit).toEqual([
      expect.stringContaining('WS_PATH'),
    ])
    expect(judge(evidence({ history, summary: refused })).outcome).toBe('broken')
  })

  it('knows the slot of an instance by the tables, where answers do not tell it', () => {
    const history = [attempt({ instance: 'a-1-2', slot: null, key: keyFor(1) })]
    expect(broken(judge(evidence({ history })))).toEqual(['moved_needlessly'])
  })

  it('R11.1 is not green when a fault hit no session', () => {
    const faults = [{ kind: 'kill' as const, instance: 'a-1-1', slot: 1, at: T0, until: T0 + 3_000 }]
    const others = [attempt({ slot: 0, key: keyFor(0) })]
    expect(broken(judge(evidence({ history: others, world: world({ faults }) })))).toEqual(['not_carried_out'])
    const hit = [attempt({ at: 100, slot: 2, key: keyFor(1, 2) })]
    expect(broken(judge(evidence({ history: hit, world: world({ faults }) })))).toEqual([])
  })

  it('R7.4 is red when the app is sent the routing cookie', () => {
    const history = [attempt(), attempt()]
    const seen = (withCookie: boolean) => ({ id: history[0]?.id ?? '', instance: 'a-1-0', at: T0, withCookie })
    expect(broken(judge(evidence({ history, executions: [seen(true)] })))).toEqual(['cookie_passed_on'])
    expect(broken(judge(evidence({ history, executions: [seen(false)] })))).toEqual([])
  })

  it('R8.3 R11.1 is red when a rebalance moved nobody, although sessions came back that it was to move', () => {
    const rebalance = { epoch: 1, slots: SLOTS, shed: { 1: 1 } }
    const tables = [table(-10_000), table(1_000, '1', SLOTS, { rebalance }), table(9_000, '1', SLOTS)]
    const key = mintKey(() => (Math.random() * 2 ** 32) >>> 0, 1, SLOTS)
    const seen = (
      at: number,
      moved: number | null,
      more: Parameters<typeof attempt>[0] = {},
      faults: World['faults'] = [],
    ) =>
      broken(
        judge(
          evidence({
            history: [attempt({ at, kind: 'browser', key, slot: 1, ...more })],
            world: world({ tables, faults, rebalances: [{ at: T0 + 900, epoch: 1, atMost: 5, moved }] }),
          }),
        ),
      )
    expect(seen(5_000, 0)).toContain('not_carried_out')
    // Somebody moved; it was not counted, because the run was over before.
    expect(seen(5_000, 1)).not.toContain('not_carried_out')
    expect(seen(5_000, null)).not.toContain('not_carried_out')
    // Nobody whom it was to move has asked since: before it, while routers still had the old table, after the next one.
    for (const at of [500, 1_500, 9_500]) expect(seen(at, 0)).not.toContain('not_carried_out')
    // Not one of those: a key of the client's own, no answer, another slot.
    expect(seen(5_000, 0, { key: keyFor(1) })).not.toContain('not_carried_out')
    expect(seen(5_000, 0, { kind: 'header' })).not.toContain('not_carried_out')
    expect(seen(5_000, 0, { status: 502, slot: null })).not.toContain('not_carried_out')
    // Not while the slot was away to which it was to go; of one that has nothing to do with it that is no excuse.
    const target = shedTarget(digestKey(key), SLOTS, rebalance)
    const away = (slot: number): World['faults'] => [
      { kind: 'ejected', instance: `a-1-${slot}`, slot, at: T0 + 4_000, until: T0 + 6_000 },
    ]
    expect(seen(5_000, 0, {}, away(target))).not.toContain('not_carried_out')
    expect(seen(5_000, 0, {}, away(2 - target))).toContain('not_carried_out')
  })

  it('R8.3 is red when a rebalance moves more sessions than it was to', () => {
    const rebalanced = (moved: number) =>
      evidence({ world: world({ rebalances: [{ at: T0, epoch: 1, atMost: 5, moved }] }) })
    expect(broken(judge(rebalanced(6)))).toEqual(['rebalanced_beyond_plan'])
    expect(broken(judge(rebalanced(5)))).toEqual([])
  })
})
