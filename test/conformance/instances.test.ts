import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { portOf } from '../../domain/address.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { Instances, Provider } from '../../runtime/contracts.ts'
import { createInstances, type InstancesOptions } from '../../runtime/instances.ts'
import type { Ask } from '../../runtime/probe.ts'
import * as apps from './apps.ts'
import { type Bench, createBench, get, until } from './bench.ts'
import { FakeClock } from './fake-clock.ts'
import { MemoryInventory } from './memory-inventory.ts'

const ID = 'hello-00000001-0'
const SERVING = { role: 'serving', operationOpen: false } as const

let bench: Bench
let inventory: MemoryInventory
let clock: FakeClock
let instances: Instances
const opened: Instances[] = []

/** What a worker opens; a second call is the next worker over the same state. */
function open(options: Partial<InstancesOptions> = {}): Instances {
  const created = createInstances({
    provider: bench.provider,
    inventory,
    logger: pino({ level: 'silent' }),
    clock,
    // Only the back-off runs on the tests' clock: real processes take real time.
    health: { clock: systemClock },
    ...options,
  })
  opened.push(created)
  return created
}

beforeEach(async () => {
  bench = await createBench()
  inventory = new MemoryInventory()
  clock = new FakeClock(Date.now())
  instances = open()
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()))
  await bench.close()
})

const observed = (state: string) => until(() => inventory.record(ID).observed === state)
const crash = (address: string) => fetch(`http://${address}/crash`).catch(() => undefined)

describe('start', () => {
  it('waits until the instance is healthy, and writes down where it is', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    const progress: string[] = []
    instances = open({ clock: systemClock })
    const started = await instances.start(ID, { onProgress: (words) => progress.push(words) })
    await get(started.address)
    expect(started.startMs).toBeGreaterThan(0)
    expect(inventory.record(ID)).toMatchObject({ observed: 'running', address: started.address, restartAt: null })
    expect(progress[0]).toBe('starting its process')
    expect((await instances.start(ID)).address).toBe(started.address)
    expect(inventory.events).toEqual([])
  })

  it('is joined by a second one, which neither starts twice nor is ended when the first is given up', async () => {
    inventory.add(await bench.spec(apps.listensAfter(300)))
    const aborter = new AbortController()
    const reason = new Error('given up')
    const first = instances.start(ID, { signal: aborter.signal })
    const second = instances.start(ID)
    await until(async () => (await bench.provider.observe(ID)).state === 'running')
    aborter.abort(reason)
    await expect(first).rejects.toBe(reason)
    const { address } = await second
    await get(address)
    expect(await bench.provider.logLines(ID, 10)).toEqual([])
  })

  it('that everybody gave up can be started again, and finds the process that it began', async () => {
    inventory.add(await bench.spec(apps.listensAfter(300)))
    const aborter = new AbortController()
    const first = instances.start(ID, { signal: aborter.signal })
    const running = await until(
      () => bench.provider.observe(ID),
      (seen) => seen.state === 'running',
    )
    aborter.abort(new Error('given up'))
    const second = instances.start(ID)
    await expect(first).rejects.toThrow('given up')
    await second
    expect(await bench.provider.observe(ID)).toEqual(running)
  })

  it('that everybody gave up asks the app nothing any more', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    const aborter = new AbortController()
    let asked = false
    let ended = false
    const ask: Ask = ({ signal }) => {
      asked = true
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          ended = true
          resolve({ kind: 'refused' })
        })
      })
    }
    const start = open({ health: { clock: systemClock, ask } }).start(ID, { signal: aborter.signal })
    const failed = expect(start).rejects.toThrow('given up')
    await until(() => asked)
    aborter.abort(new Error('given up'))
    await failed
    await until(() => ended)
  })

  it('that is given up before it begins starts nothing', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    await expect(instances.start(ID, { signal: AbortSignal.abort(new Error('given up')) })).rejects.toThrow('given up')
    await instances.reconcile()
    expect(await bench.provider.list()).toEqual([])
  })

  it('R3.3 of an app that crashes fails with its last lines, and restarts nothing behind the back of the saga', async () => {
    inventory.add(await bench.spec(apps.crashesAtStart))
    await expect(instances.start(ID)).rejects.toMatchObject({ code: 'AppCrashedAtStart' })
    expect(inventory.record(ID)).toMatchObject({ observed: 'crashed', logLines: ['Error: no database'] })
    await instances.reconcile()
    expect(clock.due).toEqual([])
    expect(inventory.record(ID)).toMatchObject({ observed: 'crashed', crashes: 0 })
    expect(inventory.events).toEqual([])
  })

  it('R1.4 of a standard app on loopback succeeds with a warning that people see', async () => {
    inventory.add(await bench.spec(apps.onLoopbackOnly, { mode: 'standard' }))
    const { address } = await instances.start(ID)
    expect(inventory.events).toMatchObject([{ app: 'hello', instance: ID, kind: 'loopbackWarning' }])
    expect(inventory.events[0]?.message).toContain(address)
  })

  it('R12.8 of an app whose port is taken under its feet goes on at another port', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    const { createServer } = await import('node:net')
    const foreign = createServer()
    const taken = await bench.ports.acquire(ID)
    let taking = true
    const provider: Provider = Object.assign(Object.create(bench.provider), {
      ensure: async (spec: Parameters<Provider['ensure']>[0]) => {
        const slow = { ...spec, command: ['sh', '-c', 'sleep 0.5; exec "$0" app.mjs', process.execPath] }
        const running = await bench.provider.ensure(taking ? slow : spec)
        if (taking) await new Promise<void>((resolve) => foreign.listen(taken, '0.0.0.0', resolve))
        taking = false
        return running
      },
      observe: bench.provider.observe.bind(bench.provider),
      remove: bench.provider.remove.bind(bench.provider),
      listeners: bench.provider.listeners.bind(bench.provider),
      logLines: bench.provider.logLines.bind(bench.provider),
      onChange: bench.provider.onChange.bind(bench.provider),
    })
    try {
      const { address } = await open({ provider }).start(ID)
      expect(address).not.toBe(`127.0.0.1:${taken}`)
      expect(await get(address)).toContain('"pid"')
    } finally {
      foreign.close()
    }
  })

  it('R12.8 of an app that loses every port it gets fails within its timeout, not after one for each port', async () => {
    const spec = await bench.spec(apps.listensNowhere, { health: { path: null, timeoutMs: 6_000 } })
    inventory.add(spec)
    const { createServer } = await import('node:http')
    const foreign: Array<ReturnType<typeof createServer>> = []
    const provider = Object.create(bench.provider) as Provider
    const methods = ['observe', 'remove', 'listeners', 'logLines', 'onChange'] as const
    for (const name of methods) Object.assign(provider, { [name]: bench.provider[name].bind(bench.provider) })
    provider.ensure = async (asked) => {
      const running = await bench.provider.ensure(asked)
      const server = createServer((_, response) => response.end('not yours'))
      foreign.push(server)
      await new Promise<void>((resolve) => server.listen(Number(running.address.split(':').at(-1)), '0.0.0.0', resolve))
      return running
    }
    const begun = Date.now()
    try {
      await expect(open({ provider }).start(ID)).rejects.toMatchObject({ code: 'PortUnavailable' })
      expect(foreign.length).toBeGreaterThan(1)
      expect(Date.now() - begun).toBeLessThan(2 * spec.health.timeoutMs)
    } finally {
      for (const server of foreign) server.close()
    }
  })
})

describe('stop', () => {
  it('R10.2 leaves nothing, and a start that comes late never brings it back', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    await instances.start(ID)
    await instances.stop(ID)
    expect(await bench.provider.list()).toEqual([])
    expect(inventory.forgotten).toEqual([ID])
    await expect(instances.start(ID)).rejects.toMatchObject({ code: 'InstanceRetired' })
    expect(await bench.provider.list()).toEqual([])
    await instances.stop(ID)
    expect(inventory.events).toEqual([])
  })

  it('retires first, and ends a start that is under way', async () => {
    inventory.add(await bench.spec(apps.listensNowhere))
    const start = instances.start(ID)
    const failed = expect(start).rejects.toMatchObject({ code: 'InstanceRetired' })
    await until(async () => (await bench.provider.observe(ID)).state === 'running')
    const stop = instances.stop(ID, { graceMs: 0 })
    await expect(instances.start(ID)).rejects.toMatchObject({ code: 'InstanceRetired' })
    await Promise.all([failed, stop])
    expect(await bench.provider.list()).toEqual([])
  })

  it('a start fails while it is under way, and does not wait for its end', async () => {
    inventory.add(await bench.spec(apps.hardToEnd))
    await instances.start(ID)
    let gone = false
    const stop = instances.stop(ID, { graceMs: 60_000 }).then(() => {
      gone = true
    })
    // Not its last line for sure: a child that starts late writes after it.
    await until(async () => (await bench.provider.logLines(ID, 10)).includes('not going'))
    await expect(instances.start(ID)).rejects.toMatchObject({ code: 'InstanceRetired' })
    expect(gone).toBe(false)
    const { pid } = (await bench.provider.observe(ID)) as { pid: number }
    process.kill(-pid, 'SIGKILL')
    await stop
  })

  it('a start of what is retired fails, whoever retired it', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), { desired: 'retired' })
    await expect(instances.start(ID)).rejects.toMatchObject({ code: 'InstanceRetired' })
    await expect(instances.start('hello-00000001-7')).rejects.toMatchObject({ code: 'InstanceRetired' })
    expect(await bench.provider.list()).toEqual([])
  })

  it('that the store refuses changes nothing, and can be called again', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    const { address } = await instances.start(ID)
    inventory.failing = (method) => {
      if (method === 'retire') throw new Error('the store is away')
    }
    await expect(instances.stop(ID)).rejects.toThrow('the store is away')
    await get(address)
    inventory.failing = () => undefined
    await instances.stop(ID)
    expect(await bench.provider.list()).toEqual([])
  })
})

describe('a crash', () => {
  it('R12.9 restarts the instance after 1 s, then 2 s, with the reason and its last lines for people to see', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await get(address, '/say?words=goodbye')
    await get(address, '/exit?code=9')
    await observed('crashed')
    expect(inventory.record(ID)).toMatchObject({ crashes: 1, restartAt: clock.now() + 1_000 })
    expect(inventory.record(ID).message).toContain('exit code 9')
    expect(inventory.record(ID).logLines).toContain('goodbye')
    await until(() => clock.due[0] === 1_000)
    clock.advance(999)
    expect(inventory.record(ID).observed).toBe('crashed')
    clock.advance(1)
    await observed('running')
    await crash(address)
    await observed('crashLoop')
    expect(inventory.record(ID)).toMatchObject({ crashes: 2, restartAt: clock.now() + 2_000 })
    expect(inventory.record(ID).message).toContain('SIGKILL')
    await until(() => inventory.kinds(ID).length === 3)
    expect(inventory.kinds(ID)).toEqual(['crashed', 'restarted', 'crashLoop'])
    expect(inventory.events.at(-1)).toMatchObject({ app: 'hello', message: inventory.record(ID).message })
  })

  it('R12.9 in a loop waits longer each time, up to 5 minutes, and starts what a new spec says', async () => {
    const spec = await bench.spec(apps.crashesAtStart)
    inventory.add(spec, { ...SERVING, address: '127.0.0.1:1', crashes: 7 })
    await instances.reconcile()
    await observed('crashLoop')
    for (const delayMs of [128_000, 256_000, 300_000, 300_000]) {
      await until(() => clock.due[0] === delayMs)
      await until(() => inventory.record(ID).restartAt === clock.now() + delayMs)
      clock.advance(delayMs)
      await until(() => inventory.record(ID).restartAt !== clock.now())
    }
    await until(() => clock.due[0] === 300_000)
    inventory.specs.set(ID, { ...(await bench.spec(apps.wellBehaved)), env: { ...spec.env, SECRET: 'rotated' } })
    clock.advance(300_000)
    await observed('running')
    expect(await get(inventory.record(ID).address ?? '')).toContain('"SECRET":"rotated"')
  })

  it('R12.9 whose artifact has to be built again says so meanwhile, and why and after which lines that failed', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    const building = Promise.withResolvers<never>()
    inventory.spec = (_id, { onProgress }) => {
      onProgress('its artifact was damaged and is built again: Running npm run build')
      return building.promise
    }
    await crash(address)
    await until(() => inventory.record(ID).restartAt !== null)
    clock.advance(1_000)
    await until(() => inventory.record(ID).message?.includes('Running npm run build') === true)
    expect(inventory.record(ID)).toMatchObject({
      observed: 'starting',
      restartAt: null,
      message: 'Being started again: its artifact was damaged and is built again: Running npm run build.',
    })
    const why = 'The build did not end within 25 minutes.'
    building.reject(new CoppiceError('BuildFailed', why, { logLines: ['watching'] }))
    await until(() => inventory.record(ID).restartAt !== null)
    expect(inventory.record(ID)).toMatchObject({ message: expect.stringContaining(why), logLines: ['watching'] })
    expect(inventory.record(ID).message).toMatch(/minutes\. Crash 2 in a row; next start in 2 s\.$/)
  })

  it('R12.9 is forgotten when the instance was up for 10 minutes', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, crashes: 3 })
    await instances.start(ID)
    const [resetMs = 0] = clock.due
    // It was started a moment after this clock stood still.
    expect(resetMs).toBe(10 * 60_000)
    clock.advance(resetMs - 1)
    expect(inventory.record(ID).crashes).toBe(3)
    clock.advance(1)
    await until(() => inventory.record(ID).crashes === 0)
    expect(inventory.record(ID).observed).toBe('running')
  })

  it('R12.9 of an instance that is let begin anew is over at once, and counts no more', async () => {
    const spec = await bench.spec(apps.crashesAtStart)
    inventory.add(spec, { ...SERVING, address: '127.0.0.1:1', crashes: 7 })
    await instances.reconcile()
    await observed('crashLoop')
    await until(() => clock.due[0] === 128_000)
    // Nothing has changed: it waits.
    await instances.lookAgain(ID)
    await instances.reconcile()
    expect(clock.due).toEqual([128_000])
    inventory.specs.set(ID, await bench.spec(apps.wellBehaved))
    Object.assign(inventory.record(ID), { crashes: 0, restartAt: clock.now() })
    await instances.lookAgain(ID)
    await observed('running')
    expect(inventory.record(ID)).toMatchObject({ crashes: 0, restartAt: null })
    expect(clock.due).toEqual([])
  })

  it('R12.9 of one that was let begin anew and crashes again is held back as after a first crash', async () => {
    inventory.add(await bench.spec(apps.crashesAtStart), { ...SERVING, address: '127.0.0.1:1', crashes: 7 })
    await instances.reconcile()
    await until(() => clock.due[0] === 128_000)
    await until(() => inventory.record(ID).restartAt !== null)
    Object.assign(inventory.record(ID), { crashes: 0, restartAt: clock.now() })
    await instances.lookAgain(ID)
    await until(() => clock.due[0] === 1_000)
    await until(() => inventory.record(ID).crashes === 1)
    await instances.lookAgain(ID)
    expect(clock.due).toEqual([1_000])
  })

  it.each([
    ['an hour back', -3_600_000, 64_000],
    ['an hour ahead', 3_600_000, 0],
  ])(
    'R13.8 is waited out no longer than its back-off when the clock is set %s before the worker starts anew',
    async (_words, ms, dueMs) => {
      inventory.add(await bench.spec(apps.crashesAtStart), { ...SERVING, address: '127.0.0.1:1', crashes: 6 })
      await instances.reconcile()
      await until(() => inventory.record(ID).crashes === 7 && clock.due[0] === 64_000)
      await instances.close()
      clock.jump(ms)
      instances = open()
      const before = inventory.record(ID).restartAt
      await instances.reconcile()
      if (dueMs > 0) expect(clock.due).toEqual([dueMs])
      else await until(() => inventory.record(ID).restartAt !== before && inventory.record(ID).crashes === 8)
    },
  )

  it.each([-3_600_000, 3_600_000])(
    'R13.8 counts by how long it was up, and not by a clock that was set by %d ms meanwhile',
    async (ms) => {
      inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, crashes: 3 })
      const { address } = await instances.start(ID)
      clock.jump(ms)
      clock.advance(1_000)
      await crash(address)
      await observed('crashLoop')
      expect(inventory.record(ID).crashes).toBe(4)
    },
  )

  it('of an instance that is held back is not waited for by a saga that starts it', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await crash(address)
    await observed('crashed')
    await instances.start(ID)
    expect(inventory.record(ID).observed).toBe('running')
    expect(clock.due.filter((ms) => ms <= 1_000)).toEqual([])
  })

  it('of an instance that is held back is made good by one start, also where its time is over as a saga starts it', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await crash(address)
    await until(() => clock.due[0] === 1_000 && inventory.kinds(ID).length === 1)
    let starts = 0
    inventory.failing = (method) => {
      if (method === 'spec') starts++
    }
    const started = instances.start(ID)
    clock.advance(1_000)
    await started
    // In its turn, behind whatever has begun.
    await instances.reconcile()
    expect(starts).toBe(1)
    expect(inventory.kinds(ID)).toEqual(['crashed'])
  })

  it('of an instance that is held back does not bring it back after a stop', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await crash(address)
    await until(() => clock.due.includes(1_000))
    await instances.stop(ID)
    expect(clock.due).toEqual([])
    clock.advance(600_000)
    expect(await bench.provider.list()).toEqual([])
  })

  it('that cannot be written down is handled by the next reconciliation', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    let refused = false
    inventory.failing = (method) => {
      if (method !== 'get') return
      refused = true
      throw new Error('the store is away')
    }
    await crash(address)
    await until(() => refused)
    inventory.failing = () => undefined
    await instances.reconcile()
    await observed('crashed')
    expect(inventory.record(ID).crashes).toBe(1)
  })

  it.each([[['starting', 'running']], [['running']]])(
    'R12.8 is made good by one start, also where the disk has no room to note that it is %s',
    async (notes) => {
      inventory.add(await bench.spec(apps.wellBehaved), SERVING)
      const { address } = await instances.start(ID)
      await crash(address)
      await until(() => clock.due[0] === 1_000 && inventory.kinds(ID).length === 1)
      inventory.failing = (method, _, patch) => {
        if (method === 'observe' && patch?.observed !== undefined && notes.includes(patch.observed))
          throw new CoppiceError('DiskFull', 'The disk is full')
      }
      clock.advance(1_000)
      await until(() => inventory.kinds(ID).length === 2)
      const running = await bench.provider.observe(ID)
      expect(running).toMatchObject({ state: 'running' })
      expect(inventory.kinds(ID)).toEqual(['crashed', 'restarted'])
      await instances.reconcile()
      expect(inventory.record(ID).observed).not.toBe('running')
      inventory.failing = () => undefined
      await instances.reconcile()
      expect(inventory.record(ID)).toMatchObject({ observed: 'running', crashes: 1, restartAt: null })
      expect(portOf(inventory.record(ID).address ?? '')).toBe(portOf((running as { address: string }).address))
      expect(await bench.provider.observe(ID)).toEqual(running)
    },
  )

  it('R12.8 after which nothing can be found out of the instance that is up again leaves it alone until it can', async () => {
    let trouble = true
    const listeners = async (id: string, port?: number) => {
      if (trouble) throw Object.assign(new Error('too many open files'), { code: 'EMFILE' })
      return bench.provider.listeners(id, port)
    }
    const provider: Provider = new Proxy(bench.provider, {
      get: (target, name) => {
        const value = name === 'listeners' ? listeners : Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, crashes: 1 })
    instances = open({ provider })
    await instances.reconcile()
    await until(() => clock.due[0] === 1_000)
    const running = await bench.provider.observe(ID)
    expect(running.state).toBe('running')
    expect(inventory.kinds(ID)).toEqual([])
    trouble = false
    clock.advance(1_000)
    await observed('running')
    expect(inventory.record(ID).crashes).toBe(1)
    expect(await bench.provider.observe(ID)).toEqual(running)
  })
})

describe('the reconciler', () => {
  it('R10.2 adopts what an earlier worker left running, and handles its crashes', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await instances.close()
    const running = await bench.provider.observe(ID)
    const provider = bench.open()
    const next = open({ provider })
    await next.reconcile()
    await next.reconcile()
    expect(inventory.kinds(ID)).toEqual(['adopted'])
    expect(await provider.observe(ID)).toEqual(running)
    await crash(address)
    await observed('crashed')
    await until(() => clock.due.includes(1_000))
    clock.advance(1_000)
    await observed('running')
    await get(address)
  })

  it('R10.2 starts again what should be there and is not, at once or when its back-off is over', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, observed: 'running', address: '127.0.0.1:1' })
    await instances.reconcile()
    await observed('running')
    await until(() => inventory.record(ID).address !== '127.0.0.1:1')
    await get(inventory.record(ID).address ?? '')
    const held = 'hello-00000001-1'
    const restartAt = clock.now() + 64_000
    inventory.add({ ...(await bench.spec(apps.wellBehaved)), id: held }, { ...SERVING, crashes: 7, restartAt })
    await instances.reconcile()
    expect(clock.due).toContain(64_000)
    expect(await bench.provider.list()).toEqual([ID])
  })

  it('R10.2 goes on with a restart in the middle of which the worker died', async () => {
    const spec = await bench.spec(apps.listensAfter(300))
    const running = await bench.provider.ensure(spec)
    inventory.add(spec, { ...SERVING, observed: 'starting', address: running.address })
    await open({ provider: bench.open() }).reconcile()
    await observed('running')
    expect(inventory.record(ID)).toMatchObject({ address: running.address, pid: running.pid })
    await get(running.address)
    expect(await bench.provider.observe(ID)).toEqual(running)
  })

  it('R10.2 removes what nobody knows, what is retired, and what its operation left behind', async () => {
    const ids = ['stray-00000001-0', 'retired-00000001-0', 'orphan-00000001-0']
    const spec = await bench.spec(apps.wellBehaved)
    for (const id of ids) await bench.provider.ensure({ ...spec, id })
    inventory.add({ ...spec, id: ids[1] ?? '' }, { ...SERVING, desired: 'retired' })
    inventory.add({ ...spec, id: ids[2] ?? '' }, { operationOpen: false, role: 'standby', observed: 'running' })
    await instances.reconcile()
    await until(async () => (await bench.provider.list()).length === 0)
    await until(() => inventory.records.size === 0)
    await until(() => inventory.events.length === 2)
    expect(inventory.events.map(({ kind }) => kind)).toEqual(['removedStray', 'removedStray'])
  })

  it('tidies up a record of which nothing is left without telling of a stray', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, desired: 'retired' })
    await instances.reconcile()
    await until(() => inventory.forgotten.length === 1)
    expect(inventory.events).toEqual([])
  })

  it('leaves to an open operation what is its own', async () => {
    const spec = await bench.spec(apps.wellBehaved)
    await bench.provider.ensure(spec)
    inventory.add(spec, { observed: 'starting' })
    inventory.add({ ...spec, id: 'hello-00000001-1' })
    inventory.add({ ...spec, id: 'hello-00000001-2' }, { desired: 'retired' })
    await instances.reconcile()
    expect(await bench.provider.list()).toEqual([ID])
    expect(inventory.records.size).toBe(3)
    expect(inventory.events).toEqual([])
  })

  it('R1.6 is not held up by an app that does not get healthy, one that does not go, or one whose spec fails', async () => {
    const never = { ...(await bench.spec(apps.listensNowhere)), id: 'never-00000001-0' }
    const secretless = { ...never, id: 'secretless-00000001-0' }
    const stubborn = { ...(await bench.spec(apps.hardToEnd)), id: 'stubborn-00000001-0' }
    const { address } = await bench.provider.ensure(stubborn)
    await get(address)
    inventory.add(never, SERVING)
    inventory.add(secretless, SERVING)
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    inventory.failing = (method, id) => {
      if (method === 'spec' && id === secretless.id) throw new Error('no such secret')
    }
    const worker = open({ setUps: 1, graceMs: 60_000 })
    await worker.reconcile()
    await observed('running')
    expect(inventory.record(never.id).observed).toBe('starting')
    expect((await bench.provider.observe(stubborn.id)).state).toBe('running')
    await until(() => inventory.record(secretless.id).crashes === 1)
    // It is its grace that is over, so to speak: the removal need not be waited for.
    const { pid } = (await bench.provider.observe(stubborn.id)) as { pid: number }
    process.kill(-pid, 'SIGKILL')
  })

  it('R1.6 looks after all others while one that did not get healthy, and ignores SIGTERM, is taken away', async () => {
    const stubborn = {
      ...(await bench.spec(apps.sickAndHardToEnd, { health: { path: null, timeoutMs: 500 } })),
      id: 'stubborn-00000001-0',
    }
    inventory.add(stubborn, SERVING)
    instances = open({ graceMs: 60_000 })
    await instances.reconcile()
    await until(async () => (await bench.provider.logLines(stubborn.id, 1))[0] === 'not going')
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.lookAgain(stubborn.id)
    await instances.reconcile()
    await observed('running')
    const { pid } = (await bench.provider.observe(stubborn.id)) as { pid: number }
    expect(inventory.record(stubborn.id)).toMatchObject({ observed: 'starting', crashes: 0 })
    // It is its grace that is over, so to speak: what follows from its removal still does.
    process.kill(-pid, 'SIGKILL')
    await until(() => inventory.record(stubborn.id).crashes === 1)
    expect(inventory.record(stubborn.id).observed).toBe('crashed')
    expect(inventory.kinds(stubborn.id)).toEqual(['crashed'])
  })

  it('does not take an instance for a stray that was stopped while it looked', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    const list = inventory.list.bind(inventory)
    inventory.list = async () => {
      await instances.stop(ID)
      return list()
    }
    let retired = 0
    inventory.failing = (method) => {
      if (method === 'retire') retired += 1
    }
    await instances.reconcile()
    expect(retired).toBe(1)
    expect(inventory.forgotten).toEqual([ID])
  })
})

it('R3.3 tells which of them have ended, by what there is and not by what was written down', async () => {
  inventory.add(await bench.spec(apps.wellBehaved))
  const { address } = await instances.start(ID)
  expect(await instances.ended([ID])).toEqual([])
  // A worker that has written nothing down yet: it has just been started.
  await instances.close()
  await crash(address)
  await until(async () => (await bench.provider.observe(ID)).state === 'exited')
  expect(inventory.record(ID).observed).toBe('running')
  const next = open({ provider: bench.open() })
  expect(await next.ended([ID, 'hello-00000001-9'])).toEqual([
    { id: ID, message: expect.stringMatching(/^It crashed/), logLines: await bench.provider.logLines(ID, 30) },
    { id: 'hello-00000001-9', message: 'It has gone, with its directory.', logLines: [] },
  ])
})

it('R3.3 counts as ended what lives on, but listens on its port no longer', async () => {
  inventory.add(await bench.spec(apps.closesItsServer))
  const { address } = await instances.start(ID)
  expect(await instances.ended([ID])).toEqual([])
  await fetch(`http://${address}/`)
  await until(async () => (await instances.ended([ID])).length === 1)
  expect((await bench.provider.observe(ID)).state).toBe('running')
  const port = address.split(':').at(-1)
  expect(await instances.ended([ID])).toMatchObject([
    { id: ID, message: `Nothing of it listens on its port ${port} any more.` },
  ])
})

describe('R12.2 an instance that is suspended', () => {
  const suspend = async () => {
    const running = await bench.provider.observe(ID)
    if (running.state !== 'running') throw new Error('it does not run')
    bench.suspend(running)
    return running
  }

  it('is told, and goes on without being touched when it goes on in time', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    const running = await suspend()
    await observed('suspended')
    expect(inventory.record(ID)).toMatchObject({ address, pid: running.pid, restartAt: clock.now() + 120_000 })
    await until(() => clock.due.includes(120_000))
    clock.advance(119_999)
    await instances.reconcile()
    bench.resume(running)
    await observed('running')
    expect(inventory.record(ID)).toMatchObject({ restartAt: null, message: null, crashes: 0 })
    await until(() => inventory.kinds(ID).length === 2)
    expect(inventory.kinds(ID)).toEqual(['suspended', 'resumed'])
    expect(clock.due).toEqual([])
    expect(await bench.provider.observe(ID)).toEqual(running)
    // A second time is a time of its own.
    await suspend()
    await until(() => clock.due.includes(120_000))
  })

  it('is started again when it does not, with its last lines and what happened in plain words, after its back-off', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    const { address } = await instances.start(ID)
    await get(address, '/say?words=the-last')
    const { pid } = await suspend()
    await until(() => clock.due.includes(120_000))
    clock.advance(120_000)
    await observed('crashed')
    const record = inventory.record(ID)
    expect(record).toMatchObject({ crashes: 1, restartAt: clock.now() + 1_000, pid: null })
    expect(record.message).toBe('It had been stopped by a signal for 120 s, so it is started again. Next start in 1 s.')
    expect(record.logLines?.at(-1)).toBe('the-last')
    await until(() => inventory.kinds(ID).includes('replaced'))
    expect(inventory.events.at(-1)).toMatchObject({ message: record.message, logLines: record.logLines })
    await until(() => clock.due.includes(1_000))
    clock.advance(1_000)
    await observed('running')
    expect(JSON.parse(await get(inventory.record(ID).address ?? '')).pid).not.toBe(pid)
    expect(inventory.record(ID).restartAt).toBeNull()
  })

  it('is seen by the next worker, which waits what is left of its time, and longer by no jump of the clock', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    const { pid } = await suspend()
    await observed('suspended')
    await instances.close()
    clock.advance(100_000)
    await open({ provider: bench.open() }).reconcile()
    expect(clock.due).toEqual([20_000])
    expect(inventory.kinds(ID)).toEqual(['suspended', 'adopted'])
    await opened.at(-1)?.close()
    clock = new FakeClock(clock.now() - 3_600_000)
    await open({ provider: bench.open() }).reconcile()
    expect(clock.due).toEqual([120_000])
    clock.advance(120_000)
    await until(() => inventory.kinds(ID).includes('replaced'))
    await until(() => clock.due.includes(1_000))
    clock.advance(1_000)
    await observed('running')
    expect(inventory.record(ID).pid).not.toBe(pid)
  })

  it('and went on, or ended, while no worker was there is found so, and not held back', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    const running = await suspend()
    await observed('suspended')
    await instances.close()
    bench.resume(running)
    const next = open({ provider: bench.open() })
    await next.reconcile()
    expect(inventory.record(ID)).toMatchObject({ observed: 'running', restartAt: null, message: null })
    await suspend()
    await observed('suspended')
    await next.close()
    process.kill(running.pid, 'SIGKILL')
    await open({ provider: bench.open() }).reconcile()
    await until(() => inventory.record(ID).observed === 'running' && inventory.record(ID).pid !== running.pid)
  })

  it('is counted as down by whoever asks what ended, and is stopped like any other', async () => {
    inventory.add(await bench.spec(apps.wellBehaved))
    await instances.start(ID)
    expect(await instances.ended([ID])).toEqual([])
    await suspend()
    await observed('suspended')
    expect(await instances.ended([ID])).toMatchObject([{ id: ID, message: 'It was stopped by a signal.' }])
    await instances.stop(ID)
    expect(clock.due).toEqual([])
    expect(await bench.provider.list()).toEqual([])
  })

  it('that cannot be written down is so at the next reconciliation', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    let refused = false
    inventory.failing = (method) => {
      if (method !== 'observe') return
      refused = true
      throw new Error('the store is away')
    }
    await suspend()
    await until(() => refused)
    inventory.failing = () => undefined
    await instances.reconcile()
    expect(inventory.record(ID).observed).toBe('suspended')
    expect(clock.due).toEqual([120_000])
  })

  it('proves nothing of its crashes while it is', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), { ...SERVING, crashes: 3 })
    instances = open({ restartSilentAfterMs: 3_600_000 })
    await instances.start(ID)
    await suspend()
    await observed('suspended')
    clock.advance(11 * 60_000)
    await until(() => inventory.record(ID).crashes === 0)
    expect(inventory.record(ID).observed).toBe('suspended')
  })
})

describe('R12.2 an instance of which routers say that it is silent', () => {
  const say = async (since: number | null) => {
    if (since === null) inventory.silentSince.delete(ID)
    else inventory.silentSince.set(ID, since)
    await instances.reconcile()
  }
  const block = async (address: string) => {
    fetch(`http://${address}/block`).catch(() => undefined)
    await until(async () => (await bench.provider.logLines(ID, 1))[0] === 'blocking')
  }
  const NEVER: Ask = ({ signal }) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve({ kind: 'refused' })))

  it('for longer than it may, and that does not answer the worker either, is started again though it ignores SIGTERM', async () => {
    instances = open({ graceMs: 100 })
    inventory.add(await bench.spec(apps.canBlock), SERVING)
    const { address } = await instances.start(ID)
    const pid = await get(address)
    await block(address)
    await say(clock.now())
    expect(inventory.record(ID)).toMatchObject({ observed: 'running', restartAt: clock.now() + 120_000 })
    expect(inventory.record(ID).message).toContain(new Date(clock.now()).toISOString())
    clock.advance(120_000)
    await observed('crashed')
    expect(inventory.record(ID).message).toMatch(
      /^It had not answered for 120 s longer than its app allows, nor the worker/,
    )
    expect(inventory.record(ID).logLines).toEqual(['blocking'])
    await until(() => clock.due.includes(1_000))
    clock.advance(1_000)
    await observed('running')
    expect(await get(inventory.record(ID).address ?? '')).not.toBe(pid)
    await until(() => inventory.kinds(ID).includes('restarted'))
    expect(inventory.kinds(ID)).toEqual(['replaced', 'restarted'])
    // The routers have not heard of the new process yet: what they say is about the old one.
    await instances.reconcile()
    expect(inventory.record(ID)).toMatchObject({ restartAt: null, message: null })
    expect(clock.due.filter((ms) => ms === 120_000)).toEqual([])
    await say(clock.now() + 1)
    expect(clock.due).toContain(120_000)
  })

  it('is left alone when it answers the worker, which asks its health path once, and once again after as long', async () => {
    const asked: string[] = []
    const ask: Ask = async ({ path }) => {
      asked.push(path)
      return { kind: 'status', status: 500 }
    }
    const spec = await bench.spec(apps.wellBehaved, { health: { path: '/health', timeoutMs: 20_000 } })
    inventory.add(spec, SERVING)
    await instances.start(ID)
    const running = await bench.provider.observe(ID)
    await instances.close()
    instances = open({ health: { clock: systemClock, ask }, provider: bench.open() })
    await say(1)
    for (const times of [1, 2]) {
      clock.advance(120_000)
      await until(() => asked.length === times)
      await until(() => clock.due.includes(120_000))
    }
    expect(asked).toEqual(['/health', '/health'])
    expect(await bench.provider.observe(ID)).toEqual(running)
    expect(inventory.kinds(ID)).toEqual(['adopted'])
  })

  it('has all its time again when it answered in between, and is well when no router says so any more', async () => {
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    await say(1)
    await say(1)
    clock.advance(100_000)
    await say(1)
    expect(clock.due).toEqual([20_000])
    await say(2)
    expect(clock.due).toEqual([120_000])
    await say(null)
    expect(clock.due).toEqual([])
    expect(inventory.record(ID)).toMatchObject({ observed: 'running', restartAt: null, message: null })
    expect(inventory.kinds(ID)).toEqual([])
  })

  it('is not started again for a silence that has ended since, or is another one, while it blocks anew', async () => {
    inventory.add(await bench.spec(apps.canBlock), SERVING)
    const { address } = await instances.start(ID)
    const running = await bench.provider.observe(ID)
    await say(1)
    // The routers have heard of it, and nobody has looked at all instances since.
    inventory.silentSince.set(ID, 2)
    await block(address)
    clock.advance(120_000)
    await until(() => clock.due.includes(120_000))
    expect(inventory.record(ID).message).toContain(new Date(2).toISOString())
    inventory.silentSince.delete(ID)
    clock.advance(120_000)
    await until(() => inventory.record(ID).restartAt === null)
    expect(inventory.record(ID)).toMatchObject({ observed: 'running', message: null })
    expect(await bench.provider.observe(ID)).toEqual(running)
    expect(inventory.kinds(ID)).toEqual([])
  }, 30_000)

  it('is not waited for by its stop, nor does it hold up a reconciliation, while the worker asks it', async () => {
    let asked = false
    const ask: Ask = (options) => {
      asked = true
      return NEVER(options)
    }
    inventory.add(await bench.spec(apps.wellBehaved), SERVING)
    await instances.start(ID)
    await instances.close()
    instances = open({ health: { clock: systemClock, ask }, provider: bench.open() })
    await say(1)
    clock.advance(120_000)
    await until(() => asked)
    await instances.reconcile()
    await instances.stop(ID)
    expect(await bench.provider.list()).toEqual([])
    expect(inventory.kinds(ID)).toEqual(['adopted'])
  })

  it('and drains is left to whoever drains it', async () => {
    inventory.add(await bench.spec(apps.canBlock), { ...SERVING, role: 'draining' })
    const { address } = await instances.start(ID)
    await block(address)
    await say(1)
    clock.advance(120_000)
    await until(() => clock.due.includes(120_000))
    expect((await bench.provider.observe(ID)).state).toBe('running')
    expect(inventory.record(ID).observed).toBe('running')
  })
})

it('close ends the waiting and leaves the instances running', async () => {
  inventory.add(await bench.spec(apps.listensNowhere))
  const failed = expect(instances.start(ID)).rejects.toMatchObject({ code: 'Unavailable' })
  await until(async () => (await bench.provider.observe(ID)).state === 'running')
  await instances.close()
  await failed
  expect((await bench.provider.observe(ID)).state).toBe('running')
  await expect(instances.start(ID)).rejects.toMatchObject({ code: 'Unavailable' })
})
