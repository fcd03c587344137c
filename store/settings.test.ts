import { expect, it } from 'vitest'
import { storeOptionsFrom } from './settings.ts'

it('R1.3 compute sizes are configuration; what is not named keeps its size', () => {
  expect(storeOptionsFrom({}).computeSizes).toEqual({
    MEDIUM: { vcpus: 2, memoryGb: 6 },
    LARGE: { vcpus: 4, memoryGb: 12 },
  })
  expect(storeOptionsFrom({ COPPICE_COMPUTE_SIZES: 'LARGE:8:24.5' }).computeSizes).toEqual({
    MEDIUM: { vcpus: 2, memoryGb: 6 },
    LARGE: { vcpus: 8, memoryGb: 24.5 },
  })
})

it.each(['HUGE:1:1', 'MEDIUM:0:1', 'MEDIUM:2', 'MEDIUM:2:6,', 'MEDIUM:two:6'])(
  'refuses %s and names the variable and what it takes',
  (text) => {
    expect(() => storeOptionsFrom({ COPPICE_COMPUTE_SIZES: text })).toThrow(/COPPICE_COMPUTE_SIZES.*MEDIUM:2:6/)
  },
)

it('R14.4 bounds of backups are configuration, in pieces, GiB and days', () => {
  expect(storeOptionsFrom({}).backups).toEqual({ maxCount: 5, maxBytes: 10 * 2 ** 30, maxAgeMs: 2_592_000_000 })
  const given = { COPPICE_BACKUPS: '2', COPPICE_BACKUP_GB: '1', COPPICE_BACKUP_DAYS: '7' }
  expect(storeOptionsFrom(given).backups).toEqual({ maxCount: 2, maxBytes: 2 ** 30, maxAgeMs: 604_800_000 })
  expect(() => storeOptionsFrom({ COPPICE_BACKUP_GB: 'much' })).toThrow(
    /COPPICE_BACKUP_GB is "much"; it takes a whole number of GiB/,
  )
})
