import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { InstanceSpec, Observation, PortLeases, Provider } from '../../runtime/contracts.ts'
import { hardToEnd, listensNowhere, wellBehaved } from './apps.ts'
import { exited, get, until } from './bench.ts'

/** What the suite needs of a provider's surroundings. */
export type ConformanceBench = {
  provider: Provider
  /** Another provider over the same state, as the next worker opens it. */
  open(): Provider
  ports: PortLeases & { leases: Record<string, number>; next: number[]; replaced: number[] }
  spec(source: string, more?: Partial<InstanceSpec>): Promise<InstanceSpec>
  artifact(files: Record<string, string>): Promise<string>
  /** Makes an instance stand still from outside, as an operator would: a signal, a pause. */
  suspend(running: Extract<Observation, { state: 'running' }>): void
  resume(running: Extract<Observation, { state: 'running' }>): void
  close(): Promise<void>
}

/** What every provider promises, whatever it runs instances on; sagas and actors rest on no more than this. */
export function defineProviderConformance(name: string, createBench: () => Promise<ConformanceBench>): void {
  describe(`the ${name} provider`, () => {
    let bench: ConformanceBench
    let provider: Provider
    beforeEach(async () => {
      bench = await createBench()
      provider = bench.provider
    })
    afterEach(() => bench.close())

    const about = async (address: string) => JSON.parse(await get(address))

    it('brings an instance up, and finds it up the second time', async () => {
      const spec = await bench.spec(wellBehaved)
      expect(await provider.observe(spec.id)).toEqual({ state: 'absent' })
      const [first, joined] = await Promise.all([provider.ensure(spec), provider.ensure(spec)])
      expect(joined).toEqual(first)
      expect(await provider.ensure(spec)).toEqual(first)
      expect(await provider.observe(spec.id)).toEqual(first)
      expect(await provider.list()).toEqual([spec.id])
      expect(first.address).toBe(`127.0.0.1:${bench.ports.leases[spec.id]}`)
      await get(first.address)
      const port = bench.ports.leases[spec.id] as number
      expect(await provider.listeners(spec.id)).toEqual([`0.0.0.0:${port}`])
      expect(await provider.listeners(spec.id, port)).toEqual([`0.0.0.0:${port}`])
      expect(await provider.listeners(spec.id, port + 1)).toEqual([])
    })

    it('R3.6 gives the app its port, its environment and nothing else, and substitutes the port in the command', async () => {
      const spec = await bench.spec(wellBehaved)
      const { address } = await provider.ensure({
        ...spec,
        command: [
          ...spec.command,
          '--port=$DATABRICKS_APP_PORT',
          // biome-ignore lint/suspicious/noTemplateCurlyInString: what an app.yaml may hold
          '${DATABRICKS_APP_PORT}',
          '$DATABRICKS_APP_PORTS',
          '$HOME; exit',
        ],
        env: { ...spec.env, GREETING: 'hello "world" $HOME' },
      })
      const { env, args } = await about(address)
      const port = String(bench.ports.leases[spec.id])
      expect(args).toEqual([`--port=${port}`, port, '$DATABRICKS_APP_PORTS', '$HOME; exit'])
      expect(env).toMatchObject({
        GREETING: 'hello "world" $HOME',
        PORT: port,
        DATABRICKS_APP_PORT: port,
        COPPICE_INSTANCE_ID: spec.id,
      })
      expect(
        Object.keys(env)
          .filter((key) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(key))
          .sort(),
      ).toEqual([
        'COPPICE_HOME_ID',
        'COPPICE_INSTANCE_ID',
        'DATABRICKS_APP_PORT',
        'GREETING',
        'HOME',
        'PATH',
        'PORT',
        'TMPDIR',
      ])
    })

    it('R1.5 gives each instance a working directory, HOME and TMPDIR of its own', async () => {
      const artifactPath = await bench.artifact({ 'app.mjs': wellBehaved, 'static/page.html': 'hi' })
      const one = await bench.spec('', { artifactPath })
      const two = { ...one, id: 'hello-00000001-1', slot: 1 }
      const [first, second] = await Promise.all([provider.ensure(one), provider.ensure(two)])
      await get(first.address, '/write')
      const [a, b] = [await about(first.address), await about(second.address)]
      expect(a.files).toEqual(['app.mjs', 'static', 'written'])
      expect(b.files).toEqual(['app.mjs', 'static'])
      const places = [a, b].flatMap(({ cwd, env }) => [cwd, env.HOME, env.TMPDIR])
      expect(new Set(places).size).toBe(6)
    })

    it('tells how an instance ended, at once, and starts it again in a fresh working directory', async () => {
      const spec = await bench.spec(wellBehaved)
      const told: string[] = []
      const stop = provider.onChange((id) => told.push(id))
      const first = await provider.ensure(spec)
      await get(first.address, '/write')
      await get(first.address, '/exit?code=7')
      expect(await exited(provider, spec.id)).toMatchObject({ code: 7, signal: null })
      await until(() => told.length === 1)
      expect(told).toEqual([spec.id])
      stop()
      const second = await provider.ensure(spec)
      expect(second.address).toBe(first.address)
      expect((await about(second.address)).files).toEqual(['app.mjs'])
      await fetch(`http://${second.address}/crash`).catch(() => undefined)
      expect(await exited(provider, spec.id)).toMatchObject({ code: null, signal: 'SIGKILL' })
      expect(told).toHaveLength(1)
    })

    it('R12.2 tells soon that an instance is suspended and that it goes on, and of both only once', async () => {
      const spec = await bench.spec(wellBehaved)
      const running = await provider.ensure(spec)
      await get(running.address)
      const told: Array<[string, unknown]> = []
      provider.onChange(async (id) => told.push([id, await provider.observe(id)]))
      const suspended = { ...running, suspended: true }
      for (let times = 1; times <= 2; times++) {
        bench.suspend(running)
        await until(() => told.length === times * 2 - 1)
        bench.resume(running)
        await until(() => told.length === times * 2)
      }
      expect(told).toEqual([suspended, running, suspended, running].map((seen) => [spec.id, seen]))
      await get(running.address)
    })

    it('R12.2 an instance that ends while it is suspended has ended, and its next run is not suspended', async () => {
      const spec = await bench.spec(wellBehaved)
      const running = await provider.ensure(spec)
      await get(running.address)
      bench.suspend(running)
      const isSuspended = (seen: Observation) => seen.state === 'running' && seen.suspended
      await until(() => provider.observe(spec.id), isSuspended)
      expect(isSuspended(await provider.ensure(spec))).toBe(true)
      process.kill(running.pid, 'SIGKILL')
      await exited(provider, spec.id)
      expect(await provider.ensure(spec)).toMatchObject({ state: 'running', suspended: false })
    })

    it('R12.2 the next worker sees at its first look that an instance is suspended, and that it goes on', async () => {
      const spec = await bench.spec(wellBehaved)
      const running = await provider.ensure(spec)
      await get(running.address)
      bench.suspend(running)
      // A signal takes its time to arrive.
      await until(
        () => provider.observe(spec.id),
        (seen) => seen.state === 'running' && seen.suspended,
      )
      const next = bench.open()
      expect(await next.observe(spec.id)).toEqual({ ...running, suspended: true })
      const told: string[] = []
      next.onChange((id) => told.push(id))
      bench.resume(running)
      await until(() => told.length > 0)
      expect(await next.observe(spec.id)).toEqual(running)
    })

    it('R10.2 leaves nothing of a removed instance: no process, no address, no lease, no id', async () => {
      const spec = await bench.spec(wellBehaved)
      const { address } = await provider.ensure(spec)
      await get(address)
      const told: string[] = []
      provider.onChange((id) => told.push(id))
      await provider.remove(spec.id, { graceMs: 15_000 })
      expect(await provider.observe(spec.id)).toEqual({ state: 'absent' })
      expect(await provider.list()).toEqual([])
      expect(bench.ports.leases).toEqual({})
      expect(await provider.listeners(spec.id)).toEqual([])
      await expect(fetch(`http://${address}`)).rejects.toThrow()
      expect(told).toEqual([])
    })

    it('removes what never was, and what was removed before', async () => {
      await provider.remove('hello-00000001-0', { graceMs: 15_000 })
      const spec = await bench.spec(wellBehaved)
      await provider.ensure(spec)
      await Promise.all([provider.remove(spec.id, { graceMs: 0 }), provider.remove(spec.id, { graceMs: 0 })])
      await provider.remove(spec.id, { graceMs: 0 })
      expect(await provider.list()).toEqual([])
    })

    it('R3.6 asks an app to go before it makes it go', async () => {
      const spec = await bench.spec(wellBehaved)
      const { address } = await provider.ensure(spec)
      await get(address)
      const begun = Date.now()
      await provider.remove(spec.id, { graceMs: 15_000 })
      expect(Date.now() - begun).toBeLessThan(10_000)
      expect(await provider.logLines(spec.id, 1)).toEqual(['got SIGTERM'])
    })

    it('R3.6 ends an app that ignores SIGTERM when its grace is over, with every child it has', async () => {
      const spec = await bench.spec(hardToEnd)
      const { address } = await provider.ensure(spec)
      await get(address)
      const children = await until(
        () => provider.logLines(spec.id, 10),
        (lines) => lines.length === 3,
      )
      const pids = children.map((line) => Number(line.split(' ')[1]))
      const begun = Date.now()
      await provider.remove(spec.id, { graceMs: 300 })
      expect(Date.now() - begun).toBeGreaterThanOrEqual(300)
      expect(await provider.logLines(spec.id, 1)).toEqual(['not going'])
      expect(await provider.list()).toEqual([])
      for (const pid of pids) expect(isRunning(pid)).toBe(false)
    })

    it('R10.2 the next worker finds, watches and removes what an earlier one started', async () => {
      const spec = await bench.spec(wellBehaved)
      const first = await provider.ensure(spec)
      await get(first.address)
      const next = bench.open()
      const told: string[] = []
      next.onChange((id) => told.push(id))
      expect(await next.list()).toEqual([spec.id])
      expect(await next.observe(spec.id)).toEqual(first)
      expect(await next.ensure(spec)).toEqual(first)
      expect(await next.listeners(spec.id)).toEqual([`0.0.0.0:${bench.ports.leases[spec.id]}`])
      await get(first.address, '/exit?code=1')
      await until(() => told.length > 0)
      expect(told).toEqual([spec.id])
      expect((await next.observe(spec.id)).state).toBe('exited')
      const second = await next.ensure(spec)
      expect(second.pid).not.toBe(first.pid)
      await next.remove(spec.id, { graceMs: 0 })
      expect(await next.list()).toEqual([])
    })

    it('R10.2 the next worker tells once that an instance of an earlier one has ended, however often it looks', async () => {
      const spec = await bench.spec(wellBehaved)
      const { address } = await provider.ensure(spec)
      const next = bench.open()
      const told: string[] = []
      next.onChange((id) => told.push(id))
      await next.observe(spec.id)
      await get(address, '/exit?code=1')
      await until(() => told.length > 0)
      const witness = await next.ensure({ ...spec, id: 'hello-00000001-1', slot: 1 })
      await get(witness.address)
      // To be sure of that it takes two looks.
      bench.suspend(witness)
      await until(() => told.includes('hello-00000001-1'))
      expect(told).toEqual([spec.id, 'hello-00000001-1'])
    })

    it('R12.8 gives an instance another port when somebody foreign listens on its own', async () => {
      const foreign = createServer().listen(0, '127.0.0.1')
      await new Promise((resolve) => foreign.once('listening', resolve))
      const { port } = foreign.address() as { port: number }
      try {
        bench.ports.next.push(port)
        const { address } = await provider.ensure(await bench.spec(wellBehaved))
        expect(bench.ports.replaced).toEqual([port])
        expect(address).not.toBe(`127.0.0.1:${port}`)
        await get(address)
      } finally {
        foreign.close()
      }
    })

    it('keeps the last lines an instance wrote, over its restarts and its end', async () => {
      const spec = await bench.spec(wellBehaved)
      const { address } = await provider.ensure(spec)
      await get(address, '/say?words=first')
      await get(address, '/exit?code=0')
      await exited(provider, spec.id)
      const again = await provider.ensure(spec)
      await get(again.address, '/say?words=second')
      await provider.remove(spec.id, { graceMs: 15_000 })
      expect(await provider.logLines(spec.id, 10)).toEqual(['listening', 'first', 'listening', 'second', 'got SIGTERM'])
      expect(await provider.logLines(spec.id, 2)).toEqual(['second', 'got SIGTERM'])
      expect(await provider.logLines('hello-00000001-9', 2)).toEqual([])
    })

    it('R13.4 an id cannot lead out of the directory of instances', async () => {
      const spec = await bench.spec(listensNowhere)
      for (const id of ['../up', 'a/b', '', '.', '..']) {
        await expect(provider.ensure({ ...spec, id })).rejects.toMatchObject({ code: 'InvalidInput' })
        await expect(provider.remove(id, { graceMs: 0 })).rejects.toMatchObject({ code: 'InvalidInput' })
      }
    })
  })
}

/** A zombie takes signals for ever, and does nothing any more. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  return !isZombie(pid)
}

function isZombie(pid: number): boolean {
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/, ''))
  } catch {
    return false
  }
}
