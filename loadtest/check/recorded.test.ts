import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Attempt, parseHistory } from '../history-line.ts'
import type { Evidence } from './evidence.ts'
import { judge } from './judge.ts'
import { SKEW_MS, tableTimes } from './world.ts'

/**
 * A real run, as it lay in the folder of its results (`npm run loadtest -- deploy --quick --rate 25 --seed 7`): names of
 * steps, of metrics and of fields are the platform's and k6's own here, not those that a test thinks up.
 */
const folder = join(import.meta.dirname, 'recorded', 'deploy')
const text = (name: string) => readFileSync(join(folder, name), 'utf8')
const recorded: Evidence = {
  ...(JSON.parse(text('evidence.json')) as Omit<Evidence, 'history' | 'summary'>),
  history: parseHistory(text('history.txt')),
  summary: JSON.parse(text('summary.json')),
}
const { world, history } = recorded
const verdict = (more: Partial<Evidence>) => judge({ ...recorded, ...more })
const broken = (more: Partial<Evidence>) =>
  verdict(more)
    .rows.filter(({ count }) => count > 0)
    .map(({ name }) => name)

/** When every router had the table of the recorded deployment, by the end of its step. */
const switched = world.operations[0]?.steps.find(({ words }) => words.startsWith('Publish the routes'))
const acknowledged = switched?.endedAt as number
const [before, after] = world.tables.map(({ endpoints }) => endpoints.filter(({ state }) => state === 'serving'))
const old = history.find(({ instance, status }) => instance === before?.[0]?.instance && status === 200) as Attempt
const at = (startedAt: number, attempt = old): Attempt => ({ ...attempt, startedAt, endedAt: startedAt + 10 })

describe('of a recorded deployment', () => {
  it('all that the runner and k6 look at is there, and it held', () => {
    const { outcome, rows, unfit } = verdict({})
    expect({ outcome, unfit }).toEqual({ outcome: 'held', unfit: [] })
    expect(rows.filter(({ by }) => by === 'threshold').map(({ name }) => name)).toEqual([
      'key_replaced',
      'lost_repeatable',
      'lost_other',
      'old_version_after_new',
    ])
    expect(rows.map(({ name }) => name)).toContain('executed_twice')
  })

  it('R6.2 the old table is over when the step that awaits the routers ends, to the millisecond', () => {
    expect(acknowledged - (world.tables[1]?.at ?? 0)).toBeLessThan(1_000)
    expect(tableTimes(world)[0]?.to).toBe(acknowledged + SKEW_MS)
  })

  it('R6.2 an old instance that answers right after that is found', () => {
    expect(broken({ history: [...history, at(acknowledged + SKEW_MS)] })).not.toContain('answered_after_drain')
    expect(broken({ history: [...history, at(acknowledged + SKEW_MS + 1)] })).toContain('answered_after_drain')
  })

  it('R3.3 a new instance that answers before it was switched in is found', () => {
    const fresh = { ...old, instance: after?.[0]?.instance as string }
    expect(broken({ history: [...history, at((world.tables[1]?.at ?? 0) - 1_000, fresh)] })).toContain(
      'answered_before_ready',
    )
  })

  it('R3.4 an old version that follows a new one is found', () => {
    const [first, second] = [at(acknowledged), at(acknowledged + 100)]
    const newer = { ...first, client: 'one', instance: after?.[0]?.instance as string }
    expect(broken({ history: [...history, newer, { ...second, client: 'one' }] })).toContain('old_version_after_new')
  })

  it('R12.2 a request that two instances began is found, and so is the cookie that one of them was sent', () => {
    const [first] = recorded.executions ?? []
    const again = { ...first, instance: 'another', withCookie: true } as NonNullable<typeof first>
    const post = history.find(({ id }) => id === again.id) as Attempt
    const others = history.filter(({ id }) => id !== again.id)
    const executions = [...(recorded.executions ?? []), again]
    expect(broken({ executions, history: [...others, { ...post, method: 'POST', body: true }] })).toEqual(
      expect.arrayContaining(['executed_twice', 'cookie_passed_on']),
    )
  })

  it.each<[string, Partial<Evidence>]>([
    ['an empty journal', { executions: [] }],
    ['an empty log of the routers', { passages: [] }],
    ['a history that has not all that k6 counted', { history: history.slice(1) }],
    ['answers that say of no instance', { history: history.map((one) => ({ ...one, instance: null })) }],
  ])('%s proves nothing', (_what, more) => {
    expect(verdict(more).outcome).toBe('unfit')
  })

  it('R10.1 R11.1 a deployment that ended otherwise, or that nobody saw, is found', () => {
    const operations = world.operations.map((one) => ({ ...one, state: 'FAILED' }))
    expect(broken({ world: { ...world, operations } })).toContain('operation_failed')
    const unseen = history.filter(({ instance }) => before?.some((endpoint) => endpoint.instance === instance))
    expect(broken({ history: unseen })).toContain('not_carried_out')
  })
})
