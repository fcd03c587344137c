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

it('R3.6 a build may take 25 minutes, or what the variable says, and always less than the step of the saga', () => {
  const limit = (text?: string) => workerOptionsFrom({ COPPICE_BUILD_TIMEOUT_MS: text }).buildTimeoutMs
  expect([limit(), limit(''), limit('1000')]).toEqual([1_500_000, 1_500_000, 1_000])
  for (const text of ['abc', '0', '999', '1800000']) expect(() => limit(text)).toThrow('COPPICE_BUILD_TIMEOUT_MS')
})

const read = (text?: string) => workerOptionsFrom({ COPPICE_RESTART_SILENT_AFTER_MS: text }).restartSilentAfterMs

it('R12.2 what ails is started again after 120 s, or what the variable says, which cannot be nonsense', () => {
  expect([read(), read(''), read('1000'), read('600000')]).toEqual([120_000, 120_000, 1_000, 600_000])
  for (const text of ['abc', '-1', '1e4', '999', '0', '2 min'])
    expect(() => read(text)).toThrow('COPPICE_RESTART_SILENT_AFTER_MS')
})
