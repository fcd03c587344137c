import { mkdtempSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { pruneBackups, stamp } from './backups.ts'

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
    pruneBackups(folder, { ...BOUNDS, maxCount: 2 }, NOW)
    expect(left()).toEqual([tar(1), tar(0), db(1), db(0)])
  })

  it('are bounded in age, but for the newest of each kind', () => {
    for (const days of [40, 50]) add(db(days), { days })
    for (const days of [29, 31]) add(tar(days), { days })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual([tar(29), db(40)])
  })

  it('are bounded in size, all together and the oldest first, but for the newest of each kind', () => {
    add(db(1), { bytes: 200, days: 1 })
    add(db(4), { bytes: 300, days: 4 })
    add(tar(2), { bytes: 300, days: 2 })
    add(tar(3), { bytes: 300, days: 3 })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual([tar(3), tar(2), db(1)])
    pruneBackups(folder, { ...BOUNDS, maxBytes: 0 }, NOW)
    expect(left()).toEqual([tar(2), db(1)])
  })

  it('leave alone what somebody named himself, and what is being written; drafts of a dead process go', () => {
    add('before-the-move.tar.gz', { days: 400, bytes: 5000 })
    add('notes.txt', { days: 400 })
    add(`${tar(0)}.7.new`)
    for (const name of [`${tar(1)}.8.new`, `${db(1)}.8.new`, `${db(1)}.8.new-journal`]) add(name, { days: 1 })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual(['before-the-move.tar.gz', `${tar(0)}.7.new`, 'notes.txt'])
  })

  it('need not be there', () => {
    expect(() => pruneBackups(join(folder, 'none'), BOUNDS, NOW)).not.toThrow()
  })
})
