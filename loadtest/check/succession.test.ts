import { describe, expect, it } from 'vitest'
import { oldAfterNew, operationsFailed, outsideItsTime } from './succession.ts'
import { attempt, T0, table, world } from './testing.ts'
import type { SeenOperation } from './world.ts'

/** A deployment whose table came at 5 s, with that as its version, and was acknowledged at 5.2 s. */
const deployment: SeenOperation = {
  id: 'op',
  type: 'deploy',
  state: 'SUCCEEDED',
  wanted: 'SUCCEEDED',
  deployment: 'd2',
  startedAt: T0 + 3_000,
  endedAt: T0 + 8_000,
  failure: null,
  steps: [{ step: 'publish/5000', words: '', startedAt: T0 + 5_000, endedAt: T0 + 5_200 }],
}
const deployed = world({
  tables: [table(-10_000, '1'), table(5_000, '2')],
  operations: [deployment],
  versions: ['d1', 'd2'],
})
const old = (at: number, took = 10) => attempt({ at, took })
const fresh = (at: number, took = 10) => attempt({ at, took, version: 'd2', instance: 'a-2-0' })

describe('the old version after the new one', () => {
  it('R3.4 is an answer to a request that began after the same client had seen the new one', () => {
    const found = oldAfterNew([old(4_900), fresh(5_000), old(5_100)], deployed)
    expect(found.map(({ message }) => message)).toEqual(['version d1 answered a client that had been answered by d2'])
  })

  it('R3.4 is none when the request had begun before, or the client is another one', () => {
    expect(oldAfterNew([fresh(5_000), old(5_005)], deployed)).toEqual([])
    expect(oldAfterNew([fresh(5_000), { ...old(5_100), client: 'another' }], deployed)).toEqual([])
  })
})

describe('an instance', () => {
  it('R6.2 that left gets nothing that began after every router knew, and may finish what it had', () => {
    expect(outsideItsTime([old(5_100, 3_000), old(5_400)], deployed)).toEqual([])
    const [found] = outsideItsTime([old(6_000)], deployed)
    expect(found?.kind).toBe('answered_after_drain')
  })

  it('R6.2 that left may be asked as long as a router has not acknowledged, however long that takes', () => {
    const during = (endedAt: number | null) => {
      const steps = deployment.steps.map((step) => ({ ...step, endedAt }))
      return outsideItsTime([old(9_000)], { ...deployed, operations: [{ ...deployment, steps }] })
    }
    expect(during(T0 + 9_500)).toEqual([])
    expect(during(null)).toEqual([])
    expect(during(T0 + 8_000)).toHaveLength(1)
  })

  it('R6.2 that left by a table for which no step waits has left with the next one that is acknowledged', () => {
    const tables = [table(-10_000, '1'), table(4_800, '2'), table(5_000, '2')]
    const said = (operations: SeenOperation[]) => outsideItsTime([old(5_600)], { ...deployed, tables, operations })
    expect(said([deployment])).toHaveLength(1)
    expect(said([])).toEqual([])
  })

  it('R3.3 that is new answers nobody before it is made part of the app', () => {
    expect(outsideItsTime([fresh(4_990)], deployed)).toEqual([])
    const [found] = outsideItsTime([fresh(4_000)], deployed)
    expect(found?.kind).toBe('answered_before_ready')
  })

  it('R3.3 that never was part of the app answers nobody at all', () => {
    const [found] = outsideItsTime([attempt({ at: 6_000, instance: 'a-3-0' })], deployed)
    expect(found?.message).toBe('a-3-0 answered and was never part of the app')
  })
})

it('R10.1 an operation ends as it was meant to, be it as failed', () => {
  const failing: SeenOperation = { ...deployment, state: 'FAILED', wanted: 'FAILED', failure: 'exit code 3' }
  expect(operationsFailed(world({ operations: [deployment, failing] }))).toEqual([])
  const wrong = [
    { ...failing, wanted: 'SUCCEEDED' as const },
    { ...deployment, wanted: 'FAILED' as const },
  ]
  expect(operationsFailed(world({ operations: wrong })).map(({ message }) => message)).toEqual([
    'deploy op is FAILED, wanted was SUCCEEDED: exit code 3',
    'deploy op is SUCCEEDED, wanted was FAILED',
  ])
})
