import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { familyOf, platformOn } from '../../scripts/stack/strays.ts'
import { homePaths } from '../../scripts/stack-options.ts'

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

/** @param before in a mount namespace of its own */
async function run(before: string): Promise<number> {
  child = spawn('unshare', ['--mount', 'sh', '-c', `${before} && echo there && exec sleep 60`], {
    env: {
      ...process.env,
      COPPICE_HOME: home,
      COPPICE_ROUTER_STATE_DIR: homePaths(home).router,
      COPPICE_READY_FILE: homePaths(home).ready('worker'),
    },
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
