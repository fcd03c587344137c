import { expect, it } from 'vitest'
import { type Footprint, leaks } from './leaks.ts'

const footprint = (more: Partial<Footprint> = {}, router = { megabytes: 100, descriptors: 40 }): Footprint => ({
  instanceProcesses: 3,
  instanceDirectories: 3,
  processes: { router },
  ...more,
})

it('R10.2 what a run leaves behind is told: processes, directories, descriptors, memory', () => {
  const messages = (after: Footprint) => leaks(footprint(), after, 3, 0).map(({ message }) => message)
  expect(messages(footprint())).toEqual([])
  expect(messages(footprint({}, { megabytes: 180, descriptors: 90 }))).toEqual([])
  expect(messages(footprint({ instanceProcesses: 4, instanceDirectories: 2 }))).toEqual([
    '4 processes of instances run, 3 should',
    '2 directories of instances are there, 3 should be',
  ])
  expect(messages(footprint({}, { megabytes: 300, descriptors: 400 }))).toEqual([
    'router holds 400 descriptors, 40 before',
    'router takes 300 MB, 100 before',
  ])
})
