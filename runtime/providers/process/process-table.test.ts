import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, realpathSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { removeTree } from '../../artifacts/trees.ts'
import { ageMs, isAlive, parsePs, parsePsEnvironments, parseStat, systemProcessTable } from './process-table.ts'

it('reads a stat line whose command holds spaces and parentheses', () => {
  const after = `S 10 42 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3 4 5 6 7 8 0 0 0 0 0 0`
  expect(parseStat(`4711 (a) b (c)) ${after}`, 'boot')).toEqual({
    pid: 4711,
    parent: 10,
    group: 42,
    session: 40,
    startTime: 'boot:987654',
    zombie: false,
    stopped: false,
    doomed: false,
  })
  expect(parseStat(`4711 (a) ${after.replace('S', 'T')}`, 'boot')?.stopped).toBe(true)
  expect(parseStat(`4711 (a) ${after.replace('S', 't')}`, 'boot')?.stopped).toBe(true)
  for (const cut of ['', '4711 (a', '4711 (a) S 10 42 40']) expect(parseStat(cut, 'boot')).toBeNull()
  expect(parseStat(`4711 (a) ${after.replace('7 8 0', '7 8 256')}`, 'boot')?.doomed).toBe(true)
  expect(parseStat(`4711 (a) ${after.replace('7 8 0', '7 8 16384')}`, 'boot')?.doomed).toBe(false)
})

it('R13.8 tells how long a process has run where the kernel counts from the same moment as it does', async () => {
  expect(ageMs('boot:987654', 9_877_540)).toBe(1_000)
  expect(ageMs('boot:987654', 9_876_000)).toBe(0)
  expect(ageMs('boot:987654', 60_000)).toBeNull()
  expect(ageMs('Mon Nov 23 04:27:20 2026', 60_000)).toBeNull()
  const own = await systemProcessTable().row(process.pid)
  const age = ageMs(own?.startTime ?? '')
  if (process.platform === 'linux') expect(Math.abs((age ?? 0) - process.uptime() * 1_000)).toBeLessThan(5_000)
  else expect(age).toBeNull()
})

it('reads the lines of ps, with zombies', () => {
  const text =
    '  501   1   501      0 Ss   Mon Nov 23 04:27:20 2026\n  502 501   501      0 Z+   Mon Nov 23 04:27:21 2026\n'
  expect(parsePs(text)).toEqual([
    {
      pid: 501,
      parent: 1,
      group: 501,
      session: 0,
      startTime: 'Mon Nov 23 04:27:20 2026',
      zombie: false,
      stopped: false,
      doomed: false,
    },
    {
      pid: 502,
      parent: 501,
      group: 501,
      session: 0,
      startTime: 'Mon Nov 23 04:27:21 2026',
      zombie: true,
      stopped: false,
      doomed: false,
    },
  ])
  expect(
    parsePsEnvironments('  501 node app.js --x ID=a-1 HOME_ID=h PATH=/bin\n 502 node\n', ['ID', 'HOME_ID']),
  ).toEqual([{ pid: 501, values: { ID: 'a-1', HOME_ID: 'h' } }])
})

it('tells a live process from its start time, and a process that has gone', async () => {
  const table = systemProcessTable()
  const child = spawn('sleep', ['60'], { env: { ...process.env, COPPICE_TEST_TAG: `t${process.pid}` } })
  try {
    await once(child, 'spawn')
    const pid = child.pid ?? 0
    const row = await table.row(pid)
    expect(row?.parent).toBe(process.pid)
    expect(await isAlive(table, pid, row?.startTime ?? '')).toBe(true)
    expect(await isAlive(table, pid, 'another boot:1')).toBe(false)
    expect((await table.rows()).some((found) => found.pid === pid)).toBe(true)
    expect(await table.tagged(['COPPICE_TEST_TAG'])).toContainEqual({
      pid,
      values: { COPPICE_TEST_TAG: `t${process.pid}` },
    })
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(await isAlive(table, pid, row?.startTime ?? '')).toBe(false)
  } finally {
    child.kill('SIGKILL')
  }
})

it.runIf(process.platform === 'linux')(
  'R10.2 tells who works in a folder, below it, or in it when it was removed, and nobody else',
  async () => {
    const top = realpathSync(mkdtempSync(join(tmpdir(), 'coppice-table-')))
    const folder = join(top, 'i')
    const works = async (path: string) => {
      mkdirSync(path, { recursive: true })
      const child = spawn('sleep', ['60'], { cwd: path })
      await once(child, 'spawn')
      return child
    }
    const children = [await works(folder)]
    rmdirSync(folder)
    for (const path of [folder, join(folder, 'deeper'), join(top, 'i2'), top]) children.push(await works(path))
    try {
      const places = await systemProcessTable().places(folder)
      const folders = children.map(({ pid }) => places.find((place) => place.pid === pid)?.folders)
      expect(folders).toEqual([[`${folder} (deleted)`], [folder], [join(folder, 'deeper')], [], []])
      expect((await systemProcessTable().places(null)).flatMap((place) => place.folders)).toEqual([])
    } finally {
      for (const child of children) child.kill('SIGKILL')
      await removeTree(top)
    }
  },
)
