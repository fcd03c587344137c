import { expect, it } from 'vitest'
import { workerOptionsFrom } from './options.ts'

it('R3.6 a time from SIGTERM to SIGKILL that is no number is refused: NaN would be none', () => {
  expect(workerOptionsFrom({}).stopGraceMs).toBe(15_000)
  expect(workerOptionsFrom({ COPPICE_STOP_GRACE_MS: '2000' }).stopGraceMs).toBe(2_000)
  for (const text of ['abc', '-1', '1e9', '99999999999'])
    expect(() => workerOptionsFrom({ COPPICE_STOP_GRACE_MS: text })).toThrow(
      `COPPICE_STOP_GRACE_MS is "${text}"; it takes a whole number of ms from 0 to 3600000`,
    )
})
