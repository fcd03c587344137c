import { mkdirSync, mkdtempSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { makeRoom, pruneBackups, stamp } from './backups.ts'

const NOW = Date.UTC(2026, 0, 31)
const DAY_MS = 24 * 3_600_000
const BOUNDS = { maxCount: 5, maxBytes: 1000, maxAgeMs: 30 * DAY_MS }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-backups-'))
})
afterEach(() => removeTree(folder))

const at = (days: number): string => stamp(NOW - days * DAY_MS)
const db = (days: number): string => `inventory-v2-${at(days)}.db`
const tar = (days: number): string => `coppice-${at(days)}.tar.gz`

function add(name: string, { days = 0, bytes = 1 } = {}): void {
  const file = join(folder, name)
  writeFileSync(file, '')
  truncateSync(file, bytes)
  utimesSync(file, new Date(NOW - days * DAY_MS), new Date(NOW - days * DAY_MS))
}

const left = (): string[] => readdirSync(folder).sort()

describe('R14.4 backups in the data directory', () => {
  it('are bounded in number, each kind by itself', () => {
    for (const days of [0, 1, 2, 3]) add(db(days), { days })
    for (const days of [0, 1]) add(tar(days), { days })
    pruneBackups(folder, { ...BOUNDS, maxCount: 2 }, { now: NOW })
    expect(left()).toEqual([tar(1), tar(0), db(1), db(0)])
  })

  it('are bounded in age, but for the three newest of each kind', () => {
    for (const days of [40, 50, 60, 70]) add(db(days), { days })
    for (const days of [1, 2, 29, 31]) add(tar(days), { days })
    pruneBackups(folder, BOUNDS, { now: NOW })
    expect(left()).toEqual([tar(29), tar(2), tar(1), db(60), db(50), db(40)])
  })

  it('are bounded in size, all together and the oldest first, but for the newest of each kind', () => {
    add(db(1), { bytes: 200, days: 1 })
    add(db(4), { bytes: 300, days: 4 })
    add(tar(2), { bytes: 300, days: 2 })
    add(tar(3), { bytes: 300, days: 3 })
    pruneBackups(folder, BOUNDS, { now: NOW })
    expect(left()).toEqual([tar(3), tar(2), db(1)])
    pruneBackups(folder, { ...BOUNDS, maxBytes: 0 }, { now: NOW })
    expect(left()).toEqual([tar(2), db(1)])
  })

  it('leave alone what somebody named himself, and what is being written; drafts of a dead process go', () => {
    add('before-the-move.tar.gz', { days: 400, bytes: 5000 })
    add('notes.txt', { days: 400 })
    add(`${tar(0)}.7.new`)
    add(`${tar(-1)}.8.new`, { days: -1 })
    for (const name of [`${tar(1)}.8.new`, `${db(1)}.8.new`, `${db(1)}.8.new-journal`]) add(name, { days: 1 })
    pruneBackups(folder, BOUNDS, { now: NOW })
    expect(left()).toEqual(['before-the-move.tar.gz', `${tar(0)}.7.new`, 'notes.txt'])
  })

  it('R14.3 that were made while the clock was ahead go before those of the right one, whatever their number', () => {
    for (const days of [-300, -301, -302, -303, -304]) add(tar(days), { days })
    for (const days of [0, 3]) add(tar(days), { days })
    pruneBackups(folder, BOUNDS, { now: NOW })
    expect(left()).toEqual([tar(3), tar(0), ...[-302, -303, -304].map(tar)])
  })

  it('R14.3 that were just made stay, whatever the clock says of them and of the others', () => {
    for (const days of [0, 1, 2, 3, 4, 5]) add(tar(days), { days })
    for (const days of [900, -900]) {
      add(tar(days), { days })
      makeRoom(join(folder, tar(days)), BOUNDS, NOW)
      expect(left()).toContain(tar(days))
      expect(left()).toHaveLength(5)
    }
  })

  it('R14.3 outlive a clock that jumps ahead for a while, but for the oldest', () => {
    for (const days of [0, 1, 2, 3, 4]) for (const name of [db(days), tar(days)]) add(name, { days })
    pruneBackups(folder, BOUNDS, { now: NOW + 10_000 * DAY_MS })
    expect(left()).toEqual([...[2, 1, 0].map(tar), ...[2, 1, 0].map(db)])
  })

  it('R14.3 are there although others cannot be removed, which is told by whoever only tidies up', () => {
    mkdirSync(join(folder, tar(40)))
    utimesSync(join(folder, tar(40)), new Date(NOW - 40 * DAY_MS), new Date(NOW - 40 * DAY_MS))
    for (const days of [0, 1, 2, 50]) add(tar(days), { days })
    expect(() => pruneBackups(folder, BOUNDS, { now: NOW })).toThrow('directory')
    expect(left()).toEqual([40, 2, 1, 0].map(tar))
    expect(() => makeRoom(join(folder, tar(0)), BOUNDS, NOW)).not.toThrow()
  })

  it('need not be there', () => {
    expect(() => pruneBackups(join(folder, 'none'), BOUNDS, { now: NOW })).not.toThrow()
  })
})
