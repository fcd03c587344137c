import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import type { StackState } from '../../scripts/stack/state-file.ts'
import { coppice, run, startPlatform } from '../cli/cli.ts'
import { isRunning } from '../conformance/provider.ts'
import { Platform, until } from '../helpers/platform.ts'

/** Somebody tidies up in the data directory: the folder of the instances goes while they run. */
let folder: string
let platform: Platform
const instances = () => join(platform.stack.home, 'instances')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-lost-'))
  platform = await Platform.start({ home: join(folder, 'home') })
  await platform.write('shop', { version: '1' })
  expect((await platform.deploy('shop', { instances: 2 })).state).toBe('SUCCEEDED')
})
afterAll(async () => {
  await platform?.stop()
  await removeTree(folder)
})

it('R14.3 instances whose folder was removed are started anew, and none of the old processes is left', async () => {
  const before = platform.processes().map(({ pid }) => pid)
  await rm(instances(), { recursive: true })
  await until('the old processes to go', 60_000, async () => (before.some(isRunning) ? null : true))
  await until('their folder to be there again', 60_000, async () => (existsSync(instances()) ? true : null))
  await platform.settled({ shop: 2 }, 60_000)
  await until('the app to answer', 30_000, async () => ((await platform.version('shop')) === '1' ? true : null))
})

it('R14.3 down --purge finds and ends them without it, and leaves nothing', async () => {
  const running = platform.processes().map(({ pid }) => pid)
  expect(running.length).toBeGreaterThanOrEqual(2)
  await platform.stack.stop({ keepInstances: true })
  await removeTree(instances())
  expect(running.every(isRunning)).toBe(true)
  const { home } = platform.stack
  const purged = await coppice(['down', '--purge'], { home }).ended
  expect(purged, purged.err).toMatchObject({ code: 0 })
  expect(running.filter(isRunning)).toEqual([])
  expect(existsSync(home)).toBe(false)
})

it('R14.3 down --purge ends a whole platform whose data directory was removed while it ran', async () => {
  const started = await startPlatform()
  const { starter, processes } = JSON.parse(readFileSync(join(started.home, 'run', 'state.json'), 'utf8')) as StackState
  const hello = JSON.parse((await run(started, '-o', 'json', 'apps', 'get', 'hello')).out)
  const instances = (hello.instances as Array<{ pid: number }>).map(({ pid }) => pid)
  const running = [starter.pid, ...Object.values(processes).map(({ pid }) => pid), ...instances]
  expect(running.filter(isRunning)).toHaveLength(7)
  await removeTree(started.home)
  const purged = await run(started, 'down', '--purge')
  expect(purged, purged.err).toMatchObject({ code: 0, err: expect.not.stringContaining('nothing runs') })
  expect(running.filter(isRunning)).toEqual([])
  expect(existsSync(started.home)).toBe(false)
})
