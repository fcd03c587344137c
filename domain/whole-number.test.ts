import { expect, it } from 'vitest'
import { wholeNumber } from './whole-number.ts'

it.each(['abc', '', ' ', '-1', '1.5', '1e3', '0x10', 'NaN', 'Infinity', '101', '99999999999999999'])(
  'R13.3 an option refuses %j with its name, its unit and its range',
  (text) => {
    expect(() => wholeNumber('COPPICE_WAIT_MS', text, { min: 0, max: 100, unit: 'ms' })).toThrow(
      `COPPICE_WAIT_MS is "${text}"; it takes a whole number of ms from 0 to 100`,
    )
  },
)

it('an option takes its bounds', () => {
  expect(wholeNumber('N', '0', { min: 0, max: 7 })).toBe(0)
  expect(wholeNumber('N', '7', { min: 0, max: 7 })).toBe(7)
})
