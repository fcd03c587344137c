import { expect, it } from 'vitest'
import { diskCheck, judge } from './disk-check.ts'

const GIB = 1024 ** 3
const MANY = 1_000_000

it.each<[string, number, number, boolean, RegExp]>([
  ['a disk with room', 4 * GIB, MANY, true, /^4\.0 GiB free/],
  ['one without a bound on files', 4 * GIB, Number.POSITIVE_INFINITY, true, /^4\.0 GiB free/],
  ['little space', GIB / 2, MANY, false, /^0\.5 GiB free/],
  ['no space', 1024 ** 2, MANY, false, /^disk full: 1 MiB free/],
  ['few files', 4 * GIB, 1_000, false, /room for 1000 more files only/],
  ['no more files', 4 * GIB, 0, false, /^disk full: room for 0 more files/],
])('R12.8 of %s the doctor says so', (_what, bytes, files, ok, message) => {
  const check = judge({ bytes, files }, '/home')
  expect([check.ok, check.hint === undefined]).toEqual([ok, ok])
  expect(check.message).toMatch(message)
})

it('looks at the disk of a data directory, whatever of it is there', async () => {
  expect((await diskCheck(import.meta.dirname)).message).toMatch(/GiB free|disk full/)
})
