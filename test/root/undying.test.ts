import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { runCommand } from '../../runtime/builders/command.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { coppice } from '../cli/cli.ts'
import { Platform, until } from '../helpers/platform.ts'
import { makeFreezer } from './freezer.ts'

let folder: string
let platform: Platform
let freezer: ReturnType<typeof makeFreezer>
beforeEach(async () => {
  freezer = makeFreezer()
  folder = await mkdtemp(join(tmpdir(), 'coppice-undying-'))
  platform = await Platform.start({ home: join(folder, 'home'), env: { COPPICE_STOP_GRACE_MS: '500' } })
})
afterEach(async () => {
  freezer.thaw()
  await platform?.stop()
  freezer.remove()
  await removeTree(folder)
})

type Check = { name: string; ok: boolean; message: string }
const doctor = async (): Promise<Check | undefined> => {
  const { body } = await platform.stack.api('GET', '/api/coppice/v1/doctor')
  return (body.checks as Check[]).find(({ name }) => name === 'processes')
}

const instanceOf = async (app: string): Promise<{ id: string; pid: number }> =>
  (await platform.stack.api('GET', `/api/coppice/v1/apps/${app}/instances`)).body.instances[0]

const isThere = (pid: number) =>
  systemProcessTable()
    .row(pid)
    .then((row) => row !== null && !row.zombie)

/** Where the kernel keeps the control group of a process, in the hierarchy of version 2; null where there is none. */
function controlGroupOf(pid: number): string | null {
  const [, path] = /^0::(\/.*coppice-.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8')) ?? []
  const [, point] = /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8')) ?? []
  return path === undefined || point === undefined ? null : join(point, path)
}

describe('R13.8 a process that does not end on SIGKILL', () => {
  it('is told by the step and by the doctor, holds neither this operation nor the next, and is forgotten when it goes', async () => {
    await platform.write('stuck', { version: '1' })
    await platform.deploy('stuck', { instances: 1 })
    expect(await doctor()).toMatchObject({ ok: true })
    const { id, pid } = await instanceOf('stuck')
    const group = controlGroupOf(pid)
    freezer.freeze(pid)

    await platform.write('stuck', { version: '2' })
    const { state, steps } = await platform.deploy('stuck')
    expect(state).toBe('SUCCEEDED')
    expect(await platform.version('stuck')).toBe('2')
    expect(steps?.find(({ step }) => step === `stop/${id}`)?.detail).toMatch(
      new RegExp(`processes .*\\b${pid}\\b.* do not end on SIGKILL: the kernel waits`),
    )
    expect(await doctor()).toMatchObject({ ok: false, message: expect.stringContaining(`${pid} of ${id}`) })
    // Its port is not given to anybody, and nobody waits for it again.
    await platform.write('stuck', { version: '3' })
    expect((await platform.deploy('stuck')).state).toBe('SUCCEEDED')
    expect(await platform.version('stuck')).toBe('3')
    expect(await isThere(pid)).toBe(true)

    freezer.thaw()
    await until('the process to end', 20_000, async () => ((await isThere(pid)) ? null : true))
    expect(await doctor()).toMatchObject({ ok: true })
    expect((await platform.stack.api('DELETE', '/api/2.0/apps/stuck')).status).toBe(200)
    expect((await platform.ended((await platform.lastOperation('stuck')).id)).state).toBe('SUCCEEDED')
    // Its control group could not be removed while it was in it; nothing of it is left at the next start of a worker.
    await platform.fell('worker')
    await platform.raise('worker')
    if (group !== null) expect(existsSync(group)).toBe(false)
  })

  it('in a build keeps nobody from cancelling that, and is told in its log', async () => {
    const controller = new AbortController()
    const lines: string[] = []
    const running = runCommand(['/bin/sh', '-c', 'echo $$ > pid; exec sleep 600'], {
      cwd: folder,
      env: { PATH: '/usr/bin:/bin' },
      signal: controller.signal,
      log: (line) => lines.push(line),
      name: 'the command',
      spawn,
      box: { prefix: [], homeId: 'test', folder: null },
    })
    const pid = await until(
      'the command to begin',
      20_000,
      async () => Number(await readFile(join(folder, 'pid'), 'utf8').catch(() => 0)) || null,
    )
    freezer.freeze(pid)
    controller.abort(new Error('cancelled'))
    await expect(running).rejects.toThrow('cancelled')
    expect(await isThere(pid)).toBe(true)
    expect(lines).toContainEqual(expect.stringMatching(new RegExp(`\\b${pid} do not end on SIGKILL`)))
    freezer.thaw()
    await until('the process to end', 20_000, async () => ((await isThere(pid)) ? null : true))
  })
})

it('R13.8 control groups that a killed platform has left go with the next start of a worker, and with `down`', async () => {
  await platform.write('hello')
  await platform.deploy('hello', { instances: 1 })
  const { pid } = await instanceOf('hello')
  const groups = dirname(controlGroupOf(pid) as string)
  const leave = () => {
    for (const path of [join(groups, 'gone-00000000-0'), join(`${groups}-builds`, 'build-1')])
      mkdirSync(path, { recursive: true })
  }
  leave()
  await platform.fell('worker')
  await platform.raise('worker')
  expect([existsSync(join(groups, 'gone-00000000-0')), existsSync(`${groups}-builds`)]).toEqual([false, false])
  expect(existsSync(controlGroupOf(pid) as string)).toBe(true)
  leave()
  await platform.stack.stop()
  expect(await coppice(['down'], { home: platform.stack.home }).ended).toMatchObject({ code: 0 })
  expect([existsSync(groups), existsSync(`${groups}-builds`)]).toEqual([false, false])
})
