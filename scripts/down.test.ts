import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { settleGround } from '../runtime/ground.ts'
import { marksOf } from '../runtime/providers/process/app-environment.ts'
import { instanceDirectory, writeRecord } from '../runtime/providers/process/instance-directory.ts'
import { systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { heldByPermissions } from '../runtime/providers/process/testing.ts'
import { openStore } from '../store/store.ts'
import { homePaths } from './stack-options.ts'

// Each starts processes.
vi.setConfig({ testTimeout: 60_000 })

let folder: string
let home: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-down-'))
  home = join(folder, 'home')
  await (await openStore({ home })).close()
  mkdirSync(dirname(homePaths(home).state))
  mkdirSync(join(home, 'instances', 'shop-1-0', 'work'), { recursive: true })
  writeFileSync(join(home, 'instances', 'shop-1-0', 'work', 'file'), 'x')
  chmodSync(join(home, 'instances'), 0o555)
})
const children: ChildProcess[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await removeTree(folder)
})

async function down(...args: string[]) {
  const command = [process.execPath, join(import.meta.dirname, 'down.ts'), '--home', home, ...args]
  const [program = '', ...rest] = [...(await heldByPermissions()), ...command]
  const { status, stderr } = spawnSync(program, rest, { encoding: 'utf8' })
  return { status, stderr }
}

it('R14.3 down says what of an instance can be neither removed nor moved, and is not kept from ending the rest', async () => {
  const ran = await down()
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining('Stopped. The apps are kept in') })
  expect(ran.stderr).toMatch(/Of shop-1-0 something is left: .* stays where it is/)
  expect(existsSync(join(home, 'instances', 'shop-1-0'))).toBe(true)
})

it('R14.3 down is not kept from its work by a record of what ran that cannot be removed', async () => {
  const { state, lock } = homePaths(home)
  for (const file of [state, lock]) writeFileSync(file, '')
  chmodSync(dirname(state), 0o555)
  const ran = await down()
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining(`unlink '${state}'`) })
  expect(await down('--purge')).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
})

it('R14.3 down --purge removes what nothing but the permissions of a folder held', async () => {
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
  expect(existsSync(home)).toBe(false)
})

it('R14.3 down --purge of a data directory whose own folder must stay removes all that is in it, and says so', async () => {
  chmodSync(folder, 0o555)
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining('the folder itself stays') })
  expect(readdirSync(home)).toEqual([])
})

it('R14.3 down --purge names what it could not remove, and keeps the inventory, by which the next one knows the folder', async () => {
  chmodSync(home, 0o555)
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 1, stderr: expect.stringContaining('removed but for this') })
  expect(ran.stderr).not.toContain('    at ')
  for (const name of ['instances', 'run']) expect(ran.stderr).toContain(join(home, name))
  chmodSync(home, 0o755)
  expect(await down('--purge')).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
})

/** A data directory in the default layout, with a living instance and what a build has left; no platform runs on it. */
async function inClone() {
  vi.stubEnv('XDG_STATE_HOME', join(folder, 'state'))
  mkdirSync(join(folder, 'clone', 'node_modules'), { recursive: true })
  const original = join(folder, 'clone', '.coppice')
  const ground = await settleGround(original, { logger: pino({ level: 'silent' }), env: process.env })
  const store = await openStore({ home: original })
  const { homeId } = store
  await store.close()
  const directory = instanceDirectory(ground.instances, 'shop-1-0')
  const making = join(ground.artifacts, 'making', 'half')
  for (const path of [directory.work, directory.home, making]) mkdirSync(path, { recursive: true })
  const instance = await started(directory.work, marksOf('shop-1-0', { directory, homeId }))
  const pid = instance.pid as number
  const startTime = (await systemProcessTable().row(pid))?.startTime as string
  const record = {
    phase: 'started',
    id: 'shop-1-0',
    pid,
    startTime,
    port: 20_000,
    startedAt: Date.now(),
    homeId,
  } as const
  await writeRecord(directory, record)
  return { original, directory, instance, build: await started(making, {}) }
}

async function started(cwd: string, marks: Record<string, string>): Promise<ChildProcess> {
  const [program = '', ...rest] = [...(await heldByPermissions()), 'sleep', '120']
  const child = spawn(program, rest, { cwd, env: { ...process.env, ...marks }, detached: true, stdio: 'ignore' })
  children.push(child)
  await once(child, 'spawn')
  return child
}

/** Its parent, which would be told, has been waiting for `down`; what it has not reaped is a zombie. */
const lives = async ({ pid }: ChildProcess) => (await systemProcessTable().row(pid as number))?.zombie === false

it('R14.3 down --purge of a copy ends nothing of the original, to whose ground its links lead, and takes none of its folders', async () => {
  const { original, directory, instance, build } = await inClone()
  home = join(folder, 'copy')
  execFileSync('cp', ['-a', original, home])
  for (const args of [[], ['--purge']]) {
    const ran = await down(...args)
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.not.stringContaining('shop-1-0') })
    expect([await lives(instance), await lives(build), existsSync(directory.work)]).toEqual([true, true, true])
  }
  expect(existsSync(home)).toBe(false)
  home = original
  const purged = await down('--purge')
  expect(purged, purged.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining('shop-1-0') })
  expect([await lives(instance), await lives(build)]).toEqual([false, false])
  expect([existsSync(original), existsSync(directory.path)]).toEqual([false, false])
})
