import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import type { RouteTable } from '../../domain/route-table.ts'
import { ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

describe('a table that takes an app to other instances', () => {
  let origins: [Origin, Origin]
  let router: RouterProcess
  const stopped = new Set<number>()

  beforeEach(async () => {
    origins = [await startOrigin('old'), await startOrigin('new')]
    // What an operator allows to other waits counts for nothing here.
    const limits = ['--timeout', 'holdWaitMs=0', '--timeout', 'noInstanceWaitMs=0', '--limit', 'maxWaiting=0']
    // Longer than a busy machine takes for what a test does while a process stands still.
    limits.push('--timeout', 'workerSilenceMs=12000')
    router = await startRouter({ routes: version(1, 0), args: ['--processes', '2', ...limits] })
  })
  afterEach(async () => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
    stopped.clear()
    await router.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  const version = (number: number, serving: 0 | 1): RouteTable =>
    table(number, app('app', [origins[serving]], { affinity: false }), app('other', [origins[0]], { affinity: false }))

  /** One of the two processes stands still, as it does on a machine that has no time for it; tells which. */
  async function halt(): Promise<number> {
    const [pid] = (await router.workers()) as [number]
    process.kill(pid, 'SIGSTOP')
    stopped.add(pid)
    return pid
  }
  function goOn(pid: number): void {
    stopped.delete(pid)
    process.kill(pid, 'SIGCONT')
  }

  /** Puts it into the file and returns when the router has read it; nobody waits for its processes. */
  async function publish(next: RouteTable): Promise<void> {
    const file = join(router.dir, 'routes.json')
    await writeFile(`${file}.new`, JSON.stringify(next))
    await rename(`${file}.new`, file)
    await until(async () => ((await router.admin('/table')) as RouteTable).version === next.version)
  }
  const who = async (host = 'app.localhost') => {
    const answer = await ask(router, { host })
    expect(answer.status).toBe(200)
    return answer.json.instance
  }

  /** A request that waits; up to the moment at which the table is on disk they are answered by the old instance still. */
  async function waiting(): Promise<{ asked: Promise<string> }> {
    let asked = Promise.resolve('')
    await until(async () => {
      let answered = false
      asked = who().finally(() => {
        answered = true
      })
      // Other apps do not wait: by the time that they are answered this one would have been, too.
      for (let n = 0; n < 20; n++) expect(await who('other.localhost')).toBe('old')
      if (answered) expect(await asked).toBe('old')
      return !answered
    })
    return { asked }
  }

  it('R3.4 is in force in no process while another one may still send somebody to the instances before', async () => {
    const halted = await halt()
    expect(await who()).toBe('old')
    await publish(version(2, 1))
    const { asked } = await waiting()
    goOn(halted)
    expect(await asked).toBe('new')
    await until(async () => (await acknowledged()) === 2)
    for (let n = 0; n < 20; n++) expect(await who()).toBe('new')
  })

  it('R5.1 R7.2 is a conversion: who waits for it with a key of its own is at home by that key, and keeps it', async () => {
    const halted = await halt()
    await publish(table(2, app('app', origins), app('other', [origins[0]], { affinity: false })))
    const { asked } = await waiting()
    const keys = Array.from({ length: 8 }, (_, n) => `order-${n}`)
    const answers = keys.map((key) => ask(router, { headers: { 'x-routing-key': key } }))
    goOn(halted)
    await asked
    for (const [n, answer] of (await Promise.all(answers)).entries()) {
      const home = pickSlot(digestKey(keys[n] as string), [0, 1])
      expect([answer.json.instance, answer.headers['set-cookie']]).toEqual([['old', 'new'][home], undefined])
    }
  })

  it('R3.4 waits for no process that hangs: that one is replaced, and nobody is refused', async () => {
    const halted = await halt()
    await publish(version(2, 1))
    await until(async () => (await who()) === 'new', 30_000)
    await until(async () => (await acknowledged()) === 2, 30_000)
    stopped.delete(halted)
    expect(await router.workers()).not.toContain(halted)
  })

  it('R3.4 that is overtaken by the next one ends nowhere half way', async () => {
    const halted = await halt()
    await publish(version(2, 1))
    await publish(version(3, 0))
    expect(await who()).toBe('old')
    goOn(halted)
    await until(async () => (await acknowledged()) === 3)
    for (let n = 0; n < 20; n++) expect(await who()).toBe('old')
  })

  async function acknowledged(): Promise<number> {
    return ((await router.admin('/status')) as { acknowledged: { version: number } }).acknowledged.version
  }
})
