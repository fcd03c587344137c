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

it('ports are configuration, as a range of one or more', () => {
  expect(storeOptionsFrom({}).appPorts).toEqual({ first: 8_100, last: 8_299 })
  const given = (text: string) => storeOptionsFrom({ COPPICE_APP_PORTS: text }).appPorts
  expect(given('9000-9001')).toEqual({ first: 9_000, last: 9_001 })
  expect(given('1-1')).toEqual({ first: 1, last: 1 })
  expect(given('65535-65535')).toEqual({ first: 65_535, last: 65_535 })
  for (const text of ['9001-9000', '0-9000', '9000-65536', '9000', '9000-', 'a-b'])
    expect(() => given(text)).toThrow(/COPPICE_APP_PORTS is ".*"; it takes two ports, such as 8100-8299/)
})
