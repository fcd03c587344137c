import { describe, expect, it } from 'vitest'
import type { App, Instance, Operation } from '../domain/records.ts'
import { type AppFacts, appChecks } from './app-checks.ts'
import { app, instance } from './testing.ts'

const facts = (
  rest: Partial<App>,
  instances: Instance[] = [instance(0), instance(1)],
  more: Partial<AppFacts> = {},
) => ({
  app: { ...app, ...rest },
  instances,
  last: null,
  unanswered: new Set<string>(),
  ...more,
})
const wrong = (one: AppFacts) => appChecks([one]).filter(({ ok }) => !ok)

describe('R14.3 the doctor on apps', () => {
  it('has one line for all that are well', () => {
    expect(appChecks([])).toEqual([{ name: 'apps', ok: true, message: 'there is none' }])
    expect(appChecks([facts({}), facts({ name: 'other' })])).toEqual([
      { name: 'apps', ok: true, message: '2 apps, all well' },
    ])
  })

  it.each<[string, AppFacts, RegExp]>([
    [
      'crash-loops',
      facts({}, [instance(0), instance(1, { observed: 'crashLoop', crashes: 4 })]),
      /CrashLoop: .*slot 1/,
    ],
    ['has crashed', facts({}, [instance(0), instance(1, { observed: 'crashed' })]), /slot 1 has crashed/],
    ['is stopped', facts({}, [instance(0, { observed: 'suspended' }), instance(1)]), /slot 0 is stopped by a signal/],
    [
      'is silent',
      facts({}, undefined, { unanswered: new Set(['shop-12345678-1']) }),
      /slot 1 runs and gives no answer/,
    ],
    ['lacks an instance', facts({}, [instance(0)]), /1 of 2 instances are missing/],
    ['lacks all', facts({}, []), /2 of 2 instances are missing/],
    [
      'lacks one that only another operation would bring',
      facts({}, [instance(0), instance(1, { role: 'standby' })]),
      /1 of 2/,
    ],
    ['is in error', facts({ computeState: 'ERROR', computeMessage: 'It broke.' }), /It broke/],
  ])('names one that %s, with what to do', (_what, one, message) => {
    expect(wrong(one)).toEqual([
      {
        name: 'app shop',
        ok: false,
        message: expect.stringMatching(message),
        hint: expect.stringContaining('coppice apps'),
      },
    ])
    expect(appChecks([one]).some(({ name }) => name === 'apps')).toBe(false)
  })

  it.each<[string, AppFacts]>([
    ['is stopped on purpose', facts({ desired: 'stopped' }, [])],
    ['was never deployed', facts({ activeDeployment: null }, [])],
    ['is being changed', facts({ operation: 'op-2' }, [instance(0)])],
    ['is starting', facts({}, [instance(0), instance(1, { observed: 'starting' })])],
    [
      'has one that leaves and does not answer',
      facts({}, [instance(0), instance(1), instance(2, { role: 'draining', observed: 'gone' })]),
    ],
  ])('finds nothing wrong with one that %s', (_what, one) => {
    expect(wrong(one)).toEqual([])
  })

  it('notes a last operation that failed, and none that was cancelled or has succeeded', () => {
    const last = { id: 'op-1', type: 'deploy', state: 'FAILED', failure: { code: 'BuildFailed', message: 'No wheel.' } }
    const checks = (rest: object) => appChecks([facts({}, undefined, { last: { ...last, ...rest } as Operation })])
    expect(checks({})).toEqual([
      { name: 'apps', ok: true, message: 'one app, all well' },
      {
        name: 'app shop',
        ok: true,
        message: 'its last operation, a deploy (op-1), failed: No wheel.',
        hint: expect.stringContaining('Read the build log'),
      },
    ])
    for (const state of ['CANCELLED', 'SUCCEEDED']) expect(checks({ state })).toHaveLength(1)
  })
})
