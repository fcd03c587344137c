import { expect, it } from 'vitest'
import { formatServedBy, parseServedBy } from './served-by.ts'

it.each([
  [{ instance: 'hello-362f4354-0', slot: 0, deployment: '55cad4ef84344eafae27685edc52d7dc' }],
  [{ instance: 'a', slot: 63, deployment: null }],
])('R11.4 what the router says is read again as it was: %o', (said) => {
  expect(parseServedBy(formatServedBy(said))).toEqual(said)
})

it.each([
  'cache-fra-etou8220021-FRA',
  'a; slot=',
  'a; slot=0; ',
  'a; slot=0; deployment=',
  // Two headers, as clients join them: of two words none counts.
  'a; slot=0, b; slot=1',
  'evil, a; slot=0',
  '',
])('R11.4 what somebody else says in that header names no instance: "%s"', (value) => {
  expect(parseServedBy(value)).toBeNull()
})
