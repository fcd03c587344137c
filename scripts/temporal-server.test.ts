import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { REFUSED_BY_BROWSERS } from './stack/ports.ts'
import { drawTemporalPorts, refuseToLeaveOpenOperations, temporalCommand, uiPortOf } from './temporal-server.ts'

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
  const command = (ui: boolean) => temporalCommand({ cli: 'temporal', version: '1.29.1', folder, port: 1, ui })
  const wordAfter = (words: string[], flag: string) => words[words.indexOf(flag) + 1]

  it('R13.5 listens on loopback, and so does its UI', () => {
    expect([wordAfter(command(true), '--ip'), wordAfter(command(true), '--ui-ip')]).toEqual(['127.0.0.1', '127.0.0.1'])
    expect(wordAfter(command(true), '--db-filename')).toBe(join(folder, 'temporal-1.29.1.db'))
  })

  it('R13.7 answers no host by HTTP, and has no UI that was not asked for', () => {
    for (const words of [command(false), command(true)]) expect(words).toContain('frontend.httpAllowedHosts=[]')
    expect(command(false)).toContain('--headless')
    expect(command(true)).not.toContain('--headless')
  })

  it('R13.7 has its metrics and its UI where no browser connects to, each on a port of its own', async () => {
    const portsOf = (words: string[]) => words.filter((word) => /^\d+$/.test(word)).map(Number)
    const headless = await drawTemporalPorts(false)
    expect([headless[0], uiPortOf(headless)]).toEqual(['--metrics-port', null])
    const drawn = await drawTemporalPorts(true)
    expect(drawn).toEqual(['--ui-port', expect.any(String), '--metrics-port', expect.any(String)])
    expect(uiPortOf(drawn)).toBe(portsOf(drawn)[0])
    const ports = [...portsOf(headless), ...portsOf(drawn)]
    for (const port of ports) expect(REFUSED_BY_BROWSERS).toContain(port)
    expect(new Set(portsOf(drawn)).size).toBe(2)
  })
})
