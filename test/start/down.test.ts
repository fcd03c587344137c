import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { startStack } from '../../scripts/stack/stack.ts'
import { freeStackOptions } from '../../scripts/stack-options.ts'
import { coppice } from '../cli/cli.ts'
import { standIns } from './stand-ins/programs.ts'

/** Real supervision of stand-ins, which are up in an instant, in a starter of its own process; no Temporal. */

let folder: string
let home: string
let starter: ChildProcess
/** Whatever a failing test has not ended. */
let left: number[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-down-'))
  home = join(folder, 'home')
  left = []
})
afterEach(async () => {
  for (const pid of left) if (await alive(pid)) process.kill(pid, 'SIGKILL')
  await removeTree(folder)
})

/** @returns the pids of starter and processes. */
async function startPlatform(): Promise<number[]> {
  const options = { ...(await freeStackOptions(home)), temporalAddress: '127.0.0.1:1' }
  const script = join(import.meta.dirname, 'stand-ins', 'starter.ts')
  starter = spawn(process.execPath, [script, home, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(starter.stdout as NonNullable<typeof starter.stdout>, 'data')
  const pids = [starter.pid as number, ...(Object.values(JSON.parse(String(line))) as number[])]
  left.push(...pids)
  return pids
}

/** As a worker would start it: detached, with what tells whose it is. */
function startInstance(homeId: string): number {
  const folderOfIt = join(home, 'instances', 'shop-1-a')
  const child = spawn('sleep', ['300'], {
    detached: true,
    stdio: 'ignore',
    env: {
      PATH: process.env.PATH,
      HOME: join(folderOfIt, 'home'),
      COPPICE_INSTANCE_ID: 'shop-1-a',
      COPPICE_HOME_ID: homeId,
    },
  })
  left.push(child.pid as number)
  return child.pid as number
}

async function alive(pid: number): Promise<boolean> {
  const row = await systemProcessTable().row(pid)
  return row !== null && !row.zombie
}

const living = async (pids: number[]) => (await Promise.all(pids.map(alive))).filter(Boolean).length

describe('R14.3 coppice down', () => {
  it('ends all that runs on a data directory that was removed, and does not say that nothing runs on it', async () => {
    const pids = [...(await startPlatform()), startInstance('lost')]
    const stranger = spawn('sleep', ['300'], { env: { ...process.env, COPPICE_HOME: home }, stdio: 'ignore' })
    left.push(stranger.pid as number)
    expect(await living(pids)).toBe(5)
    await removeTree(home)
    const ran = await coppice(['down', '--purge'], { home }).ended
    expect(await living(pids), ran.err).toBe(0)
    expect(ran).toMatchObject({ code: 0, err: expect.not.stringContaining('nothing runs') })
    expect(existsSync(home)).toBe(false)
    // Somebody's shell may have the data directory in its environment, too.
    expect(await alive(stranger.pid as number)).toBe(true)
  })
  it('ends a platform whose starter was stopped by Ctrl-Z, as soon as one that was not', {
    timeout: 60_000,
  }, async () => {
    const pids = await startPlatform()
    starter.kill('SIGSTOP')
    const ran = await coppice(['down'], { home }).ended
    expect(ran, ran.err).toMatchObject({ code: 0, err: expect.stringContaining('are kept in') })
    expect(await living(pids)).toBe(0)
  })
})

describe('R14.1 Ctrl-C', () => {
  it('ends the instances that no worker is there to end', async () => {
    const options = { ...(await freeStackOptions(home)), temporalAddress: '127.0.0.1:1' }
    const stack = await startStack({ home, ports: options, programs: standIns() })
    const kept = startInstance('kept')
    await stack.stop({ keepInstances: true })
    expect(await alive(kept)).toBe(true)
    const again = await startStack({ home, ports: options, programs: standIns() })
    await again.fell('worker')
    await again.stop()
    expect(await alive(kept)).toBe(false)
  })
})
