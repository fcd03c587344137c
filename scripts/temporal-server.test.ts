import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { refuseToLeaveOpenOperations, temporalCommand } from './temporal-server.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-temporal-'))
})
afterEach(() => removeTree(folder))

/** The columns that are looked at, of the table as server 1.29 has it; status 1 is RUNNING, 2 COMPLETED. */
function database(version: string, workflows: { status: number; queue: string }[]): void {
  const file = new DatabaseSync(join(folder, `temporal-${version}.db`))
  file.exec('CREATE TABLE executions_visibility (status INT, task_queue TEXT)')
  const insert = file.prepare('INSERT INTO executions_visibility VALUES (?, ?)')
  for (const { status, queue } of workflows) insert.run(status, queue)
  file.close()
}

describe('a Temporal server of another version', () => {
  it('does not begin an empty database while operations are open in the old one', () => {
    database('1.28.0', [{ status: 1, queue: 'coppice' }])
    expect(() => refuseToLeaveOpenOperations(folder, '1.29.1')).toThrow(
      /1 operation\(s\) are still open in the database of 1\.28\.0/,
    )
  })

  it('does when they have ended, when they are not ours, and when it has a database already', () => {
    database('1.28.0', [
      { status: 2, queue: 'coppice' },
      { status: 1, queue: 'temporal-sys' },
    ])
    refuseToLeaveOpenOperations(folder, '1.29.1')
    database('1.27.0', [{ status: 1, queue: 'coppice' }])
    database('1.29.1', [])
    refuseToLeaveOpenOperations(folder, '1.29.1')
    refuseToLeaveOpenOperations(join(folder, 'nothing'), '1.29.1')
  })
})

describe('the embedded Temporal server', () => {
  const command = (uiPort: number | null) =>
    temporalCommand({ cli: 'temporal', version: '1.29.1', folder, port: 1, uiPort })
  const wordAfter = (words: string[], flag: string) => words[words.indexOf(flag) + 1]

  it('R13.5 listens on loopback, and so does its UI', () => {
    expect([wordAfter(command(2), '--ip'), wordAfter(command(2), '--ui-ip')]).toEqual(['127.0.0.1', '127.0.0.1'])
    expect(wordAfter(command(2), '--db-filename')).toBe(join(folder, 'temporal-1.29.1.db'))
  })

  it('R13.7 answers no host by HTTP, and has no UI that was not asked for', () => {
    for (const words of [command(null), command(2)]) expect(words).toContain('frontend.httpAllowedHosts=[]')
    expect(command(null)).toContain('--headless')
    expect(command(2)).not.toContain('--headless')
  })
})
