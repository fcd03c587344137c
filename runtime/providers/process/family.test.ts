import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../clock.ts'
import { endFamily, familyOf, type Leader } from './family.ts'
import { type Place, type ProcessRow, type ProcessTable, systemProcessTable, type Tagged } from './process-table.ts'

const row = (pid: number, more: Partial<ProcessRow> = {}): ProcessRow => ({
  pid,
  parent: 1,
  group: 1,
  session: 1,
  startTime: `b:${pid}`,
  zombie: false,
  stopped: false,
  doomed: false,
  ...more,
})
const LEADER: Leader = { pid: 10, startTime: 'b:10' }
const MARK = { ID: 'i', HOME: 'h' }

function family(rows: ProcessRow[], more: { tagged?: Tagged[]; places?: Place[]; leader?: Leader | null } = {}) {
  const table = {
    rows: async () => rows,
    row: async (pid: number) => rows.find((one) => one.pid === pid) ?? null,
    tagged: async () => more.tagged ?? [],
    places: async () => more.places ?? [],
  } as Partial<ProcessTable> as ProcessTable
  const { leader = LEADER } = more
  return familyOf({ table, mark: MARK, folder: '/data/i', controlGroup: null, leader }).then((found) =>
    found.map(({ pid }) => pid),
  )
}

describe('the family of an instance', () => {
  it('R10.2 is its group with all descendants, and none of the dead', async () => {
    const rows = [
      row(10, { group: 10 }),
      row(11, { group: 10, parent: 10 }),
      row(12, { group: 12, parent: 11 }),
      row(13, { group: 12, parent: 12 }),
      row(14, { group: 10, parent: 10, zombie: true }),
      row(20),
    ]
    expect(await family(rows)).toEqual([10, 11, 12, 13])
  })

  it('R10.2 is nobody of another process that has got its number, in its group or not', async () => {
    const rows = [row(10, { group: 10, startTime: 'b:99' }), row(11, { group: 10 })]
    expect(await family(rows)).toEqual([])
    expect(await family([row(10, { group: 5 }), row(11, { group: 5 })])).toEqual([])
  })

  it('R10.2 is what a leader that has gone left in its group and session since this boot, and no other group of its number', async () => {
    const left = { group: 10, session: 10 }
    expect(await family([row(11, left)])).toEqual([11])
    for (const other of [
      { ...left, session: 3 },
      { ...left, group: 3 },
      { ...left, startTime: 'c:11' },
    ])
      expect(await family([row(11, other)])).toEqual([])
  })

  it('R10.2 is who has the whole mark, and not who has a part of it', async () => {
    const rows = [row(20), row(21), row(22, { parent: 20 })]
    const tagged = [
      { pid: 20, values: { ...MARK } },
      { pid: 21, values: { ...MARK, HOME: 'of another' } },
    ]
    expect(await family(rows, { tagged, leader: null })).toEqual([20, 22])
  })

  it('R10.2 is who works in its folder, but for a person with a terminal', async () => {
    const at = (pid: number, folders: string[], hasTerminal = false): Place => ({
      pid,
      folders,
      controlGroup: '',
      hasTerminal,
    })
    const places = [at(20, ['/data/i']), at(21, []), at(22, ['/data/i/deeper']), at(23, ['/data/i'], true)]
    expect(
      await family(
        [20, 21, 22, 23].map((pid) => row(pid)),
        { places, leader: null },
      ),
    ).toEqual([20, 22])
  })
})

describe('the end of a family', () => {
  const started: number[] = []
  afterEach(() => {
    for (const pid of started.splice(0))
      try {
        process.kill(pid, 'SIGKILL')
      } catch {}
  })

  /** A real process with a mark, in a group of its own; what ends it is told. */
  async function start(script: string) {
    const mark = { COPPICE_FAMILY_TEST: `${process.pid}-${performance.now()}` }
    const child = spawn(process.execPath, ['-e', `${script}; console.log('up'); setInterval(() => 0, 1e6)`], {
      detached: true,
      env: { ...mark },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const pid = child.pid as number
    started.push(pid)
    const exit = once(child, 'exit').then(([code, signal]) => signal ?? code)
    await once(child.stdout, 'data')
    const table = systemProcessTable()
    const { startTime } = (await table.row(pid)) as ProcessRow
    const end = (leader: Leader | null, graceMs: number) =>
      endFamily({ table, mark, folder: null, controlGroup: null, leader, graceMs, clock: systemClock })
    return { leader: { pid, startTime }, exit, end }
  }
  const DEAF = `process.on('SIGTERM', () => 0)`
  const POLITE = `process.on('SIGTERM', () => process.exit(7))`

  it.each([
    ['with', true],
    ['without', false],
  ])('R6.2 is asked for first, %s a leader', async (_, led) => {
    const { leader, exit, end } = await start(POLITE)
    expect(await end(led ? leader : null, 20_000)).toEqual([])
    expect(await exit).toBe(7)
  })

  it.each([
    ['with', true],
    ['without', false],
  ])('R6.2 comes by force when its grace is over, %s a leader', async (_, led) => {
    const { leader, exit, end } = await start(DEAF)
    const at = performance.now()
    expect(await end(led ? leader : null, 300)).toEqual([])
    expect(performance.now() - at).toBeGreaterThanOrEqual(300)
    expect(await exit).toBe('SIGKILL')
  })

  it('R6.2 comes by force at once where there is no grace', async () => {
    const { leader, exit, end } = await start(POLITE)
    expect(await end(leader, 0)).toEqual([])
    expect(await exit).toBe('SIGKILL')
  })
})
