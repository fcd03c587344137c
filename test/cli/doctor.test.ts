import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { writeApp } from '../helpers/app-source.ts'
import { coppice, type Ran, run, startPlatform } from './cli.ts'

/** A platform as a person has it running, with its example `hello` on two instances. */
let platform: { home: string }
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-doctor-'))
  platform = await startPlatform()
})
afterAll(async () => {
  if (platform !== undefined) expect(await run(platform, 'down', '--purge')).toMatchObject({ code: 0 })
  await removeTree(folder)
})

/** Asks until it says so; what it sees, others see first. */
async function doctorSays(pattern: RegExp): Promise<Ran> {
  for (;;) {
    const ran = await run(platform, 'doctor')
    if (pattern.test(ran.out)) return ran
  }
}

async function pidOf(app: string, slot: number): Promise<number> {
  const { out } = await run(platform, '-o', 'json', 'apps', 'get', app)
  const { instances } = JSON.parse(out) as { instances: { slot: number; pid: number }[] }
  return instances.find((instance) => instance.slot === slot)?.pid as number
}

const state = async () => JSON.parse(await readFile(join(platform.home, 'run', 'state.json'), 'utf8'))

describe('R14.3 coppice doctor', () => {
  it('says that apps, router and supervisor are well where they are', async () => {
    const { code, out } = await doctorSays(/✓ apps +one app, all well/)
    expect(out).toMatch(/✓ supervisor +npm start, process \d+, ready/)
    expect(out).toMatch(/✓ router +router at http/)
    expect([code, out]).toEqual([0, expect.not.stringContaining('✗')])
  })

  it('is red while an instance is stopped by a signal, and says which and what to do', async () => {
    const pid = await pidOf('hello', 0)
    process.kill(pid, 'SIGSTOP')
    try {
      const { code, out } = await doctorSays(/✗ app hello .*slot 0 is stopped by a signal.*\n +→ .*apps logs hello/)
      expect([code, out]).toEqual([1, expect.not.stringContaining('✓ apps')])
      const { checks } = JSON.parse((await run(platform, '-o', 'json', 'doctor')).out)
      expect(checks).toContainEqual({
        name: 'app hello',
        ok: false,
        message: expect.stringContaining('slot 0'),
        hint: expect.stringContaining('apps logs hello'),
      })
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    expect((await doctorSays(/✓ apps/)).code).toBe(0)
  })

  it('R12.9 is red while an app crash-loops, with the last that it wrote', async () => {
    await writeApp(folder, 'doomed', { behaviour: 'serves at its first start only' })
    const deploy = ['apps', 'deploy', 'doomed', '--source', join(folder, 'doomed'), '--instances', '1']
    expect(await run(platform, ...deploy)).toMatchObject({ code: 0 })
    process.kill(await pidOf('doomed', 0), 'SIGKILL')
    const { code, out } = await doctorSays(/✗ app doomed .*CrashLoop.*cannot start twice/)
    expect([code, out]).toEqual([1, expect.stringContaining('apps rollback doomed')])
    expect(await run(platform, 'apps', 'delete', 'doomed')).toMatchObject({ code: 0 })
  })

  it('notes that the last operation of an app failed, and finds nothing wrong with the app for that', async () => {
    await writeApp(folder, 'broken', { behaviour: 'crashes at start' })
    expect((await run(platform, 'apps', 'deploy', 'hello', '--source', join(folder, 'broken'))).code).toBe(1)
    const { code, out } = await run(platform, 'doctor')
    expect(out).toMatch(
      /✓ app hello +its last operation, a deploy \(op-\S+\), failed: .*exit code 3.*\n +→ Read the log/,
    )
    expect([code, out]).toEqual([0, expect.stringMatching(/✓ apps +one app, all well/)])
  })

  it('R12.10 is red while a router gives no sign of life', async () => {
    const { pid } = (await state()).processes.router
    process.kill(pid, 'SIGSTOP')
    try {
      const { code } = await doctorSays(/✗ router +router at http\S+ was last heard of \d+ s ago\n +→ Start it/)
      expect(code).toBe(1)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    expect((await doctorSays(/✓ router/)).code).toBe(0)
  })

  it('is red while a process of the platform dies again and again, though each time another one takes its place', async () => {
    for (let exits = 0; exits < 3; exits++) {
      const { pid } = (await state()).processes.worker
      process.kill(pid, 'SIGKILL')
      for (;;) {
        const now = (await state()).processes.worker
        if (now !== undefined && now.pid !== pid) break
        await sleep(50)
      }
    }
    const { code, out } = await doctorSays(/✓ worker /)
    expect(out).toMatch(
      /✗ worker process +it does not stay up: .* 3 times in the last ten minutes, lately it ended by SIGKILL\n +→ .*worker\.log/,
    )
    expect(code).toBe(1)
  })

  it('is red when nobody looks after the processes any more, though all of them run', async () => {
    const { pid } = (await state()).starter
    process.kill(pid, 'SIGSTOP')
    await doctorSays(/✗ supervisor +nobody looks after the processes.*Ctrl-Z.*\n +→ .*kill -CONT/)
    process.kill(pid, 'SIGKILL')
    const { code, out } = await doctorSays(
      /✗ supervisor +nobody looks after the processes.* has ended .*\n +→ .*coppice up/,
    )
    expect([code, out]).toEqual([1, expect.stringMatching(/✓ api /)])
  })

  it('says nothing of the supervisor of another platform than the one that it asks', async () => {
    const other = await mkdtemp(join(tmpdir(), 'coppice-doctor-'))
    const { out } = await coppice(['--api-url', 'http://127.0.0.1:1', 'doctor'], { home: other }).ended
    expect(out).not.toContain('supervisor')
    await removeTree(other)
  })
})
