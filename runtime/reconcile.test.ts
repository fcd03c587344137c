import { expect, it } from 'vitest'
import { verdict } from './reconcile.ts'

const record = { desired: 'running', role: 'serving', operationOpen: false, address: '127.0.0.1:1' } as const

it('R10.2 removes what the inventory does not know, and what nobody will ever need', () => {
  expect(verdict(null)).toBe('remove')
  expect(verdict({ ...record, desired: 'retired' })).toBe('remove')
  expect(verdict({ ...record, role: 'standby' })).toBe('remove')
})

it('R1.2 keeps up what serves, also while an operation is open on the app', () => {
  for (const operationOpen of [true, false])
    for (const role of ['serving', 'draining'] as const)
      expect(verdict({ ...record, role, operationOpen, address: null })).toBe('keepUp')
})

it('R10.1 leaves to an open operation what it is about to start or to stop', () => {
  expect(verdict({ ...record, operationOpen: true, role: 'standby', address: null })).toBe('leave')
  expect(verdict({ ...record, operationOpen: true, desired: 'retired' })).toBe('leave')
  expect(verdict({ ...record, operationOpen: true, role: 'standby' })).toBe('keepUp')
})
