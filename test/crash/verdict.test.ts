import { describe, expect, it } from 'vitest'
import type { Answer } from '../helpers/load.ts'
import { allCases, FAULTS, nameOf, rounds, sample } from './cases.ts'
import { type OperationName, operationOf } from './operations.ts'
import { seededRandom } from './random.ts'
import { type Ending, judgeAnswers, judgeState } from './verdict.ts'
import type { World } from './world.ts'

/** An app of one instance in slot 0. */
function worldWith(id: string, version: string, mode: 'standard' | 'scaled' = 'scaled'): World {
  const deployment = `deployment-of-${version}`
  return {
    apps: [{ name: 'shop', mode, instances: 1, desired: 'running', active_deployment: deployment }],
    instances: [{ id, app: 'shop', slot: 0, deployment, mode, pid: 7 }],
    deployments: [{ id: deployment, app: 'shop', source_code_path: `crash-${version}` }],
    operations: [],
    steps: [],
  } as unknown as World
}

function answerOf(instance: string, version: string, at: number, more: Partial<Answer> = {}): Answer {
  const times = { startedAt: at, endedAt: at + 10 }
  const body = { instance, version }
  return { method: 'GET', status: 200, error: null, cookies: ['router=1'], body, ...times, ...more }
}

function ending(operation: OperationName, end: 'new' | 'old', more: Partial<Ending> = {}): Ending {
  const before = worldWith('shop-aaaaaaaa-0', 'v1')
  const after = end === 'old' ? before : worldWith('shop-bbbbbbbb-0', 'v2')
  const record = { id: 'op-1', failure: null, plan: null } as unknown as Ending['record']
  return { app: 'shop', operation: operationOf(operation), record, end, before, after, ...more }
}

const old = (at: number, more?: Partial<Answer>) => answerOf('shop-aaaaaaaa-0', 'v1', at, more)
const young = (at: number, more?: Partial<Answer>) => answerOf('shop-bbbbbbbb-0', 'v2', at, more)
const failed = (at: number, status = 502) => old(at, { status, body: {}, cookies: [] })

describe('the judge of answers', () => {
  it('has nothing to say of old ones and then new ones, side by side for an instant', () => {
    expect(judgeAnswers([old(0), young(20), old(25), young(50)], ending('deploy', 'new'))).toEqual([])
  })

  it.each([
    ['a failed request', [old(0), failed(20)], 'old', /request failed/],
    ['no instance for an instant', [old(0), failed(20, 503), young(40)], 'new', /request failed/],
    ['the old version after the new one', [young(0), old(20)], 'new', /old after new/],
    ['the new version of a deployment that came to nothing', [old(0), young(20)], 'old', /never part of the app/],
    [
      'another version than that of its instance',
      [old(0, { body: { instance: 'shop-aaaaaaaa-0', version: 'v2' } })],
      'old',
      /version v2/,
    ],
    ['no cookie from a scaled app', [old(0, { cookies: [] })], 'old', /0 routing cookies/],
  ] as const)('sees %s', (_what, answers, end, says) => {
    expect(judgeAnswers(answers, ending('deploy', end)).join()).toMatch(says)
  })

  it('lets an app go that is stopped, once and for good, and not one whose stop was undone', () => {
    const stopped = ending('stop', 'new')
    expect(judgeAnswers([old(0), failed(20, 503), failed(40, 404)], stopped)).toEqual([])
    expect(judgeAnswers([old(0), failed(20, 503), old(40)], stopped).join()).toMatch(/after it had been stopped/)
    expect(judgeAnswers([old(0), failed(20, 502)], stopped).join()).toMatch(/request failed/)
    expect(judgeAnswers([old(0), failed(20, 503)], ending('stop', 'old')).join()).toMatch(/request failed/)
  })

  it('excuses who met the time without a router, but no answer of it and nobody later', () => {
    const none = (at: number) => failed(at, 0)
    const during = { from: 100, to: 200 }
    const judge = (...answers: Answer[]) => judgeAnswers(answers, ending('deploy', 'old'), during).join()
    expect(judge(old(0), none(95), none(150), none(200), old(220))).toBe('')
    expect(judge(none(80))).toMatch(/request failed/)
    expect(judge(none(210))).toMatch(/request failed/)
    expect(judge(failed(150, 502))).toMatch(/request failed/)
  })
})

describe('the judge of the state', () => {
  it('sees an instance that was started anew although the operation was undone', () => {
    const other = worldWith('shop-aaaaaaaa-0', 'v1')
    Object.assign(other.instances[0] as object, { pid: 8 })
    expect(judgeState(ending('deploy', 'old'))).toEqual([])
    expect(judgeState(ending('deploy', 'old', { after: other })).join()).toMatch(/not as it was/)
  })

  it('sees a conversion that left the mode, and a step that no case is made of', () => {
    const after = worldWith('shop-bbbbbbbb-0', 'v1', 'scaled')
    after.steps.push({ operation: 'op-1', step: 'bless/shop' })
    const found = judgeState(ending('convert back', 'new', { after })).join()
    expect(found).toMatch(/the mode is "scaled", should be "standard"/)
    expect(found).toMatch(/the set of steps that it took is \["bless"\]/)
  })
})

describe('the rounds', () => {
  it('carry out every case once, a dozen at a time, each dozen with one fault', () => {
    const all = rounds(allCases(), seededRandom(1))
    expect(all.flat().map(nameOf).toSorted()).toEqual(allCases().map(nameOf).toSorted())
    for (const round of all) {
      expect(round.length).toBeLessThanOrEqual(12)
      expect(new Set(round.map(({ fault }) => fault)).size).toBe(1)
    }
  })

  it('draw at least 40 cases for a test run, with every fault, the same ones for the same seed', () => {
    const drawn = sample(7)
    expect(drawn.length).toBeGreaterThanOrEqual(40)
    expect(new Set(drawn.map(({ fault }) => fault)).size).toBe(FAULTS.length)
    expect(sample(7)).toEqual(drawn)
    expect(sample(8)).not.toEqual(drawn)
  })
})
