import { describe, expect, it } from 'vitest'
import { OPERATION_TYPES } from '../domain/states.ts'
import { allCases, FAULTS, nameOf, stepsOf } from '../test/crash/cases.ts'
import { OPERATION_NAMES, operationOf } from '../test/crash/operations.ts'
import { MOMENTS_OF, STEP_KINDS, type StepKind } from './steps.ts'

describe('the crash suite', () => {
  it('has cases for every kind of step, at each of its moments, with every fault (DESIGN D17)', () => {
    const cases = allCases()
    const missing = (Object.keys(STEP_KINDS) as StepKind[]).flatMap((kind) =>
      MOMENTS_OF[STEP_KINDS[kind].shape].flatMap((moment) =>
        FAULTS.filter(
          (fault) => !cases.some((each) => each.kind === kind && each.moment === moment && each.fault === fault),
        ).map((fault) => `${kind}.${moment} ${fault}`),
      ),
    )
    expect(missing).toEqual([])
    expect(new Set(cases.map(nameOf)).size).toBe(cases.length)
  })

  it('has cases for every type of operation', () => {
    const types = new Set<string>(OPERATION_NAMES.map((name) => operationOf(name).type))
    // A repair is brought about by the end of another's workflow.
    expect(OPERATION_TYPES.filter((type) => !types.has(type))).toEqual(['repair'])
    for (const name of OPERATION_NAMES) {
      expect(stepsOf(name)).toEqual(expect.arrayContaining(['admit', 'commit']))
      const repaired = allCases().filter(({ operation, kind }) => operation === name && kind === 'takeOver')
      expect(new Set(repaired.map(({ cause }) => cause))).toEqual(
        new Set(['end before the pivot', 'end after the pivot']),
      )
    }
  })
})
