import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from '../../artifacts/trees.ts'
import { instanceDirectory, writeRecord } from './instance-directory.ts'
import { createProcessProvider } from './process-provider.ts'
import { isAlive, systemProcessTable } from './process-table.ts'
import { heldByPermissions } from './testing.ts'

const ID = 'shop-1-0'

// Each starts processes.
vi.setConfig({ testTimeout: 60_000 })

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-provider-'))
  mkdirSync(join(home, 'instances', ID, 'work'), { recursive: true })
  writeFileSync(join(home, 'instances', ID, 'work', 'file'), 'x')
})
afterEach(() => removeTree(home))

/** What it returns in a process that permissions hold. */
async function told(body: string): Promise<unknown> {
  const script = `
    import { chmodSync, readdirSync } from 'node:fs'
    import { createProcessProvider } from ${JSON.stringify(new URL('process-provider.ts', import.meta.url).href)}
    import { systemClock } from ${JSON.stringify(new URL('../../clock.ts', import.meta.url).href)}
    const home = process.argv[1]
    const warned = []
    const due = new Map()
    const provider = createProcessProvider({
      home: home + '/instances', homeId: home, logsDir: home + '/logs',
      ports: { release: async () => {} },
      logger: { warn: (_fields, words) => warned.push(words) },
      clock: { ...systemClock, after: (ms, work) => (due.set(ms, work), () => {}) },
    })
    const remove = () => provider.remove('${ID}', { graceMs: 0 })
    const answer = await (async () => {${body}})()
    process.stdout.write(JSON.stringify(answer))`
  const [program = '', ...args] = [
    ...(await heldByPermissions()),
    process.execPath,
    '--input-type=module',
    '-e',
    script,
    home,
  ]
  return JSON.parse(execFileSync(program, args, { encoding: 'utf8' }))
}

it('R13.8 an instance whose directory can be neither removed nor moved is let go, told once and not tried at each look', async () => {
  chmodSync(join(home, 'instances'), 0o555)
  const words = expect.stringMatching(/cannot remove .*shop-1-0.*; it cannot be moved either and stays where it is$/)
  expect(
    await told(`
      const before = await provider.list()
      const { left } = await remove()
      return { before, left, after: await provider.list(), warned, there: readdirSync(home + '/instances') }`),
  ).toEqual({ before: [ID], left: words, after: [], warned: [words], there: [ID] })
})

it('R13.8 it is tried again with what was set aside, every ten minutes', async () => {
  chmodSync(join(home, 'instances'), 0o555)
  expect(
    await told(`
      await remove()
      chmodSync(home + '/instances', 0o700)
      due.get(600_000)()
      while ((await provider.list()).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      return { again: await provider.list(), ...(await remove()), after: await provider.list() }`),
  ).toEqual({ again: [ID], left: null, after: [] })
  expect(existsSync(join(home, 'instances', ID))).toBe(false)
})

it('R13.8 a folder of instances that nobody may look into keeps none of them from being let go', async () => {
  chmodSync(join(home, 'instances'), 0)
  expect(await told(`return { list: await provider.list(), ...(await remove()) }`)).toEqual({
    list: [],
    left: expect.stringContaining('stays where it is'),
  })
})

it.each([
  ['another data directory, of which this is a copy, names nobody of ours', 'another', false],
  ['this data directory names one of ours', 'ours', true],
  ['an older version names one of ours', undefined, true],
])('R14.3 a record of %s', async (_what, homeId, isOurs) => {
  const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
  const ended = once(child, 'exit')
  const table = systemProcessTable()
  const pid = child.pid as number
  const startTime = (await table.row(pid))?.startTime as string
  const provider = createProcessProvider({
    home: join(home, 'instances'),
    homeId: 'ours',
    logsDir: join(home, 'logs'),
    ports: { acquire: vi.fn(), replace: vi.fn(), release: async () => {} },
    logger: pino({ level: 'silent' }),
  })
  try {
    const record = {
      phase: 'started',
      id: ID,
      pid,
      startTime,
      port: 4000,
      startedAt: 1,
      ...(homeId && { homeId }),
    } as const
    await writeRecord(instanceDirectory(join(home, 'instances'), ID), record)
    expect((await provider.observe(ID)).state).toBe(isOurs ? 'running' : 'absent')
    await provider.remove(ID, { graceMs: 0 })
    expect(await isAlive(table, pid, startTime)).toBe(!isOurs)
    expect(existsSync(join(home, 'instances', ID))).toBe(false)
  } finally {
    provider.close()
    child.kill('SIGKILL')
    await ended
  }
})
