import { mkdtempSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { pruneBackups } from './backups.ts'

const NOW = Date.UTC(2026, 0, 31)
const DAY_MS = 24 * 3_600_000
const BOUNDS = { maxCount: 5, maxBytes: 1000, maxAgeMs: 30 * DAY_MS }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-backups-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function add(name: string, { days = 0, bytes = 1 } = {}): void {
  const file = join(folder, name)
  writeFileSync(file, '')
  truncateSync(file, bytes)
  utimesSync(file, new Date(NOW - days * DAY_MS), new Date(NOW - days * DAY_MS))
}

const left = (): string[] => readdirSync(folder).sort()

describe('R14.4 backups in the data directory', () => {
  it('are bounded in number, each kind by itself', () => {
    for (const days of [0, 1, 2, 3]) add(`a${days}.db`, { days })
    for (const days of [0, 1]) add(`b${days}.tar.gz`, { days })
    pruneBackups(folder, { ...BOUNDS, maxCount: 2 }, NOW)
    expect(left()).toEqual(['a0.db', 'a1.db', 'b0.tar.gz', 'b1.tar.gz'])
  })

  it('are bounded in age, but for the newest of each kind', () => {
    add('a1.db', { days: 40 })
    add('a2.db', { days: 50 })
    add('b1.tar.gz', { days: 29 })
    add('b2.tar.gz', { days: 31 })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual(['a1.db', 'b1.tar.gz'])
  })

  it('are bounded in size, all together and the oldest first, but for the newest of each kind', () => {
    add('a1.db', { bytes: 200, days: 1 })
    add('a2.db', { bytes: 300, days: 4 })
    add('b1.tar.gz', { bytes: 300, days: 2 })
    add('b2.tar.gz', { bytes: 300, days: 3 })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual(['a1.db', 'b1.tar.gz', 'b2.tar.gz'])
    pruneBackups(folder, { ...BOUNDS, maxBytes: 0 }, NOW)
    expect(left()).toEqual(['a1.db', 'b1.tar.gz'])
  })

  it('leave alone what is none, and what is being written; half-written ones of a dead process go', () => {
    add('notes.txt', { days: 400, bytes: 5000 })
    add('c.tar.gz.7.new')
    add('d.tar.gz.8.new', { days: 1 })
    pruneBackups(folder, BOUNDS, NOW)
    expect(left()).toEqual(['c.tar.gz.7.new', 'notes.txt'])
  })

  it('need not be there', () => {
    expect(() => pruneBackups(join(folder, 'none'), BOUNDS, NOW)).not.toThrow()
  })
})
