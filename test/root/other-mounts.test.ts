import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { marksOf } from '../../runtime/providers/process/app-environment.ts'
import { instanceDirectory } from '../../runtime/providers/process/instance-directory.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { removeInstances } from '../../scripts/stack/instances.ts'
import { familyOf, platformOn } from '../../scripts/stack/strays.ts'
import { homePaths } from '../../scripts/stack-options.ts'
import { openStore } from '../../store/store.ts'

/** As in a container: another disk at the same path. */

let home: string
let child: ChildProcess | null = null
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-mounts-'))
})
afterEach(async () => {
  const gone = child === null ? null : once(child, 'exit')
  if (child?.kill('SIGKILL')) await gone
  await removeTree(home)
})

const ofPlatform = () => ({
  COPPICE_HOME: home,
  COPPICE_ROUTER_STATE_DIR: homePaths(home).router,
  COPPICE_READY_FILE: homePaths(home).ready('worker'),
})

/** @param before in a mount namespace of its own */
async function run(before: string, env: Record<string, string> = ofPlatform(), last = ''): Promise<number> {
  child = spawn('unshare', ['--mount', 'sh', '-c', `${before} && echo there && exec ${last} sleep 60`], {
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data')
  return child.pid as number
}

it('R14.1 a platform whose data directory only has the same path, on a disk that is not mounted here, is another one', async () => {
  await run(`mount -t tmpfs none '${home}'`)
  expect(await platformOn(home)).toEqual([])
  expect(await familyOf(home)).toEqual(new Map())
})

it('R14.1 a platform that sees the same data directory from another mount namespace is found', async () => {
  const pid = await run(':')
  expect(await platformOn(home)).toMatchObject([{ name: 'worker', pid }])
})

it('R14.1 a root of its own, with another disk at that path below it, makes it another one, too', async () => {
  const jail = join(home, 'jail')
  mkdirSync(jail)
  await run(`mount --rbind / '${jail}' && mount -t tmpfs none '${jail}${home}'`, ofPlatform(), `chroot '${jail}'`)
  expect(await familyOf(home)).toEqual(new Map())
})

/** In its work directory; what is mounted before is there when that is made. */
const asInstance = (before: string, marks: Record<string, string>) => {
  const { work } = instanceDirectory(join(home, 'instances'), 'shop-1-0')
  return run(`${before} && mkdir -p '${work}' && cd '${work}'`, marks)
}
const marks = () =>
  marksOf('shop-1-0', { directory: instanceDirectory(join(home, 'instances'), 'shop-1-0'), homeId: 'of-another' })

it.each([
  ['with its environment', marks],
  ['that wiped its environment', () => ({})],
])(
  'R14.3 an instance %s, of a platform whose data directory only has the same path there, is left alone',
  async (_, env) => {
    await (await openStore({ home })).close()
    const { path } = instanceDirectory(join(home, 'instances'), 'shop-1-0')
    const pid = await asInstance(`mount -t tmpfs none '${home}'`, env())
    const table = systemProcessTable()
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe(join(path, 'work'))
    expect((await table.places(path)).find((place) => place.pid === pid)?.folders).toEqual([])
    expect(await removeInstances(home, () => {})).toBe(0)
    // As one of ours with that id is ended.
    mkdirSync(path, { recursive: true })
    expect(await removeInstances(home, () => {})).toBe(1)
    expect(await table.row(pid)).toMatchObject({ pid, doomed: false, zombie: false })
  },
)

it.each([
  ['with its environment', marks],
  ['that wiped its environment', () => ({})],
])(
  'R14.3 an instance %s, in a mount namespace of its own in which it has the same directory, is found and ended',
  async (_, env) => {
    await (await openStore({ home })).close()
    await asInstance(':', env())
    const ended = once(child as ChildProcess, 'exit')
    expect(await removeInstances(home, () => {})).toBe(1)
    await ended
  },
)
