import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { endAll, leftIn, outlived, pidsOf, TAG, taggedPids } from './leftovers.ts'

describe('what tests leave behind', () => {
  const started: ChildProcess[] = []
  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL')
  })
  const run = async (env: NodeJS.ProcessEnv): Promise<number> => {
    const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)', 'left behind'], { env })
    started.push(child)
    await once(child.stdout, 'data')
    return child.pid as number
  }

  it('finds processes by their tag, and none of another user’s run', async () => {
    const [ours, others] = [await run(TAG), await run({ ...TAG, COPPICE_CI_RUN: 'of somebody else' })]
    expect(await taggedPids()).toContain(ours)
    expect(await taggedPids()).not.toContain(others)
  })

  it.runIf(process.platform === 'linux')('finds those of a user that wiped their environment', async () => {
    const uid = process.getuid?.() as number
    const pid = await run({})
    expect(pidsOf(uid)).toContain(pid)
    expect(pidsOf(uid + 4711)).not.toContain(pid)
  })

  it('names what outlives its time, and not what ends within it', async () => {
    const [stays, ends] = [await run({}), await run({})]
    const all = async () => [stays, ends].filter((pid) => started.some((c) => c.pid === pid && c.signalCode === null))
    process.kill(ends)
    const left = await outlived(all, 500)
    expect(left).toHaveLength(1)
    expect(left[0]).toMatch(new RegExp(`^${stays} .*left behind`))
  })

  it('ends all, those included that are started meanwhile', async () => {
    const found = [await run({})]
    const alive = (pid: number) => started.some((child) => child.pid === pid && child.signalCode === null)
    let asked = 0
    await endAll(async () => {
      if (asked++ === 0) found.push(await run({}))
      return found.filter(alive)
    })
    expect(found.filter(alive)).toEqual([])
    expect(asked).toBeGreaterThan(1)
  })

  it('lists files, but not the caches that programs keep on purpose', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'coppice-left-'))
    for (const name of ['coppice-home-1', 'node-compile-cache', 'pulse-PKdhtXMmr18n']) mkdirSync(join(folder, name))
    expect(leftIn(folder)).toEqual([join(folder, 'coppice-home-1')])
    await removeTree(folder)
  })
})
