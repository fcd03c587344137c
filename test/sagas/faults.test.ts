import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { TextDecoderStream } from 'node:stream/web'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RouteTable } from '../../domain/route-table.ts'
import { Load } from '../helpers/load.ts'
import { Platform, until } from '../helpers/platform.ts'

function stateOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .charAt(0)
  } catch {
    return 'gone'
  }
}

/** What the stream of route tables says, as a router gets it. */
class TableWatch {
  readonly #aborter = new AbortController()
  readonly #seen: RouteTable[] = []

  constructor({ stack }: Platform) {
    void this.#read(`${stack.apiUrl}/api/coppice/v1/routes/stream?router=test`, stack.token).catch(() => undefined)
  }

  async #read(url: string, token: string): Promise<void> {
    const headers = { authorization: `Bearer ${token}` }
    const { body } = await fetch(url, { headers, signal: this.#aborter.signal })
    const events = (body as ReadableStream<Uint8Array<ArrayBuffer>>)
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream())
    for await (const { event, data } of events) if (event === 'table') this.#seen.push(JSON.parse(data))
  }

  /** Whether it was up, change by change. */
  words(id: string): boolean[] {
    const all = this.#seen.flatMap(({ apps }) => apps.flatMap(({ endpoints }) => endpoints))
    const words = all.filter((endpoint) => endpoint.instance === id).map(({ up }) => up)
    return words.filter((up, i) => up !== words[i - 1])
  }

  says(id: string, up: boolean, withinMs: number): Promise<boolean> {
    return until(`the table to say that ${id} is ${up ? 'up' : 'not up'}`, withinMs, async () =>
      this.words(id).at(-1) === up ? true : null,
    )
  }

  stop(): void {
    this.#aborter.abort()
  }
}

describe('an instance', () => {
  let platform: Platform
  beforeAll(async () => {
    platform = await Platform.start()
    await platform.write('sturdy')
    await platform.deploy('sturdy', { instances: 3 })
  })
  afterAll(() => platform?.stop())

  const instances = async (app = 'sturdy') =>
    (await platform.stack.api('GET', `/api/coppice/v1/apps/${app}/instances`)).body.instances as Array<{
      id: string
      pid: number
      state: string
      crashes: number
      address: string
      restart_time?: string
      log_lines?: string[]
    }>
  const kill = async (index: number): Promise<string> => {
    const victim = (await instances())[index]
    process.kill(victim?.pid as number, 'SIGKILL')
    return victim?.id as string
  }
  const backAgain = (id: string, pid: number) =>
    until(`${id} to be back`, 30_000, async () => {
      const found = (await instances()).find((instance) => instance.id === id)
      return found?.state === 'running' && found.pid !== pid ? found : null
    })

  it('R12.1 R1.2 killed under load costs no idempotent request, and is started again at its address', async () => {
    const load = new Load({
      url: platform.stack.routerUrl,
      app: 'sturdy',
      rate: 150,
      slowMs: () => 200,
      method: () => (Math.random() < 0.6 ? 'GET' : 'POST'),
      key: () => `client-${Math.floor(Math.random() * 30)}`,
    })
    await load.more(150)
    const [before] = await instances()
    const id = await kill(0)
    const killedAt = Date.now()
    const after = await backAgain(id, before?.pid as number)
    await load.more(150)
    const answers = await load.stop()
    expect(after.address).toBe(before?.address)
    expect(answers.filter(({ method, status }) => method === 'GET' && status !== 200)).toEqual([])
    // Of the others at most those in flight on the victim at that moment.
    const atRisk = answers.filter(
      ({ method, startedAt, endedAt }) => method === 'POST' && startedAt <= killedAt && endedAt >= killedAt,
    )
    expect(answers.filter(({ method, status }) => method === 'POST' && status !== 200).length).toBeLessThanOrEqual(
      atRisk.length,
    )
    const event = await platform.event('sturdy', ({ kind, instance }) => kind === 'crashed' && instance === id)
    expect(event.message).toMatch(/SIGKILL/)
  })

  it('R12.4 is started again while control plane and Temporal are down, and traffic goes on', async () => {
    const [, before] = await instances()
    await platform.fell('control')
    await platform.fell('temporal')
    try {
      const load = new Load({ url: platform.stack.routerUrl, app: 'sturdy', rate: 50, slowMs: () => 50 })
      process.kill(before?.pid as number, 'SIGKILL')
      await until('a new process', 30_000, async () => {
        const found = platform.processes().find(({ instance }) => instance === before?.id)
        return found !== undefined && found.pid !== before?.pid ? found : null
      })
      await load.more(50)
      expect((await load.stop()).filter(({ status }) => status !== 200)).toEqual([])
    } finally {
      await platform.raiseAll()
    }
    await backAgain(before?.id as string, before?.pid as number)
  })

  it('R12.9 that crashes in a loop is held back longer each time, and the status shows it with its last log lines', async () => {
    const victim = (await instances())[2]?.id as string
    const looping = await until('the status to say CrashLoop', 60_000, async () => {
      const found = (await instances()).find(({ id }) => id === victim)
      const own = platform.processes().filter(({ instance }) => instance === victim)
      for (const { pid } of own) process.kill(pid, 'SIGKILL')
      return found?.state === 'crashLoop' ? found : null
    })
    expect(looping.log_lines?.join('\n')).toMatch(/listening/)
    const { body } = await platform.stack.api('GET', '/api/2.0/apps/sturdy')
    expect(body.app_status.message).toMatch(/CrashLoop/)
    expect(body.app_status.running_instances).toBe(2)
    expect((await platform.event('sturdy', ({ kind }) => kind === 'crashLoop')).instance).toBe(victim)
    expect((await platform.ask('sturdy')).status).toBe(200)
  })

  it('R12.9 R3.7 that lacked its secret is started again as soon as that is set, and with the platform, not when its back-off is over', async () => {
    const SECRET = '/api/coppice/v1/apps/confidant/secrets/told'
    await platform.write('confidant')
    await writeFile(
      join(platform.sources, 'confidant', 'app.yaml'),
      'command: [node, server.mjs]\nenv:\n  - name: TOLD\n    valueFrom: told\n',
    )
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'confidant' })
    expect((await platform.stack.api('PUT', SECRET, { value: 'x' })).status).toBe(200)
    await platform.deploy('confidant')
    const refused = await platform.stack.api('DELETE', SECRET)
    expect(refused).toMatchObject({ status: 409, body: { coppice: { code: 'SecretInUse' } } })
    expect(refused.body.message).toMatch(/Secret told of confidant is in use: deployment .*force=true/)
    expect((await platform.stack.api('DELETE', `${SECRET}?force=true`)).status).toBe(200)

    /** As after eight crashes in a row: minutes. */
    const heldBack = async () => {
      const database = new DatabaseSync(join(platform.stack.home, 'inventory.db'), { timeout: 10_000 })
      database.exec(`update instances set crashes = 8 where app = 'confidant'`)
      database.close()
      const [victim] = await instances('confidant')
      process.kill(victim?.pid as number, 'SIGKILL')
      return until('it to be held back for minutes', 30_000, async () => {
        const [found] = await instances('confidant')
        return found?.state === 'crashLoop' && Date.parse(found.restart_time ?? '') > Date.now() + 60_000 ? found : null
      })
    }
    const back = () =>
      until('it to be back', 30_000, async () => {
        const [found] = await instances('confidant')
        return found?.state === 'running' ? found : null
      })
    await heldBack()
    await platform.stack.api('PUT', SECRET, { value: 'y' })
    expect(await back()).toMatchObject({ crashes: 0 })
    await heldBack()
    await platform.fell('worker')
    await platform.raise('worker')
    expect(await back()).toMatchObject({ crashes: 0 })
  })

  it('R1.6 in a crash loop, and a deployment that fails, harm no other app', async () => {
    await platform.write('neighbour')
    await platform.deploy('neighbour', { instances: 2 })
    const before = (await instances('neighbour')).map(({ pid }) => pid)
    const load = new Load({ url: platform.stack.routerUrl, app: 'neighbour', rate: 50, slowMs: () => 50 })
    await platform.write('bad', { behaviour: 'crashes at start' })
    expect((await platform.deploy('bad', { instances: 2 })).state).toBe('FAILED')
    for (const { pid, instance } of platform.processes())
      if (instance.startsWith('sturdy')) process.kill(pid, 'SIGKILL')
    await load.more(100)
    expect((await load.stop()).filter(({ status }) => status !== 200)).toEqual([])
    expect((await instances('neighbour')).map(({ pid }) => pid)).toEqual(before)
  })

  it('R3.6 that ignores SIGTERM and has forked children is ended with all of them', async () => {
    await platform.write('stubborn', { behaviour: 'ignores SIGTERM and forks' })
    await platform.deploy('stubborn', { instances: 1 })
    const family = platform.processes().filter(({ instance }) => instance.startsWith('stubborn'))
    expect(family.length).toBe(3)
    await platform.stack.api('POST', '/api/2.0/apps/stubborn/stop', {})
    await platform.ended((await platform.lastOperation('stubborn')).id)
    expect(platform.processes().filter(({ instance }) => instance.startsWith('stubborn'))).toEqual([])
    // Where nobody reaps orphans a dead process stays as a zombie; it is no process any more.
    for (const { pid } of family) expect(stateOf(pid)).toMatch(/^(gone|Z)$/)
  })

  it('R1.5 has a working directory, HOME and TMPDIR of its own, removed with it', async () => {
    await platform.write('roomy')
    await platform.deploy('roomy', { instances: 2 })
    const rooms = await Promise.all(
      platform
        .processes()
        .filter(({ instance }) => instance.startsWith('roomy'))
        .map(async ({ pid }) => {
          const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0')
          const cwd = execFileSync('readlink', [`/proc/${pid}/cwd`], { encoding: 'utf8' }).trim()
          return [
            cwd,
            ...['HOME', 'TMPDIR'].map((name) => environment.find((entry) => entry.startsWith(`${name}=`)) ?? ''),
          ]
        }),
    )
    expect(rooms).toHaveLength(2)
    expect(new Set(rooms.flat()).size).toBe(6)
    await platform.stack.api('DELETE', '/api/2.0/apps/roomy')
    await platform.ended((await platform.lastOperation('roomy')).id)
    expect((await platform.footprint()).directories.filter((name) => name.startsWith('roomy'))).toEqual([])
  })
})

describe('an instance that stands still', () => {
  const RESTART_MS = 8_000
  let platform: Platform
  let tables: TableWatch
  beforeAll(async () => {
    platform = await Platform.start({ env: { COPPICE_RESTART_SILENT_AFTER_MS: String(RESTART_MS) } })
    await platform.write('still', { behaviour: 'can deadlock' })
    await platform.deploy('still', { instances: 3 })
    tables = new TableWatch(platform)
  })
  afterAll(async () => {
    tables?.stop()
    await platform?.stop()
  })

  const instances = async () =>
    (await platform.stack.api('GET', '/api/coppice/v1/apps/still/instances')).body.instances as Array<{
      id: string
      pid: number
      state: string
      restart_time?: string
      log_lines?: string[]
    }>
  const instance = async (index: number) => (await instances())[index] as Awaited<ReturnType<typeof instances>>[number]
  const runsAnew = (id: string, pid: number) =>
    until(`${id} to run anew`, 60_000, async () => {
      const found = (await instances()).find((one) => one.id === id)
      return found?.state === 'running' && found.pid !== pid ? found : null
    })

  it('R12.2 is not up in the table within 3 s of SIGSTOP, and up again when it goes on in time, untouched', async () => {
    const { id, pid } = await instance(0)
    process.kill(pid, 'SIGSTOP')
    await tables.says(id, false, 3_000)
    expect(await instance(0)).toMatchObject({ state: 'suspended', pid, restart_time: expect.any(String) })
    process.kill(pid, 'SIGCONT')
    await tables.says(id, true, 3_000)
    const resumed = await platform.event('still', (event) => event.kind === 'resumed' && event.instance === id)
    // Longer than it would have had, and than a look at what it was to be ended for.
    const passed = Date.now() + RESTART_MS + 2_000
    await until('its time to pass', RESTART_MS + 10_000, async () => (Date.now() > passed ? true : null))
    expect(await instance(0)).toMatchObject({ id, pid, state: 'running' })
    expect(resumed.message).toBe('It goes on.')
  })

  it('R12.2 is started again when its time is over, though its worker died meanwhile, and its last lines are kept', async () => {
    const { id, pid } = await instance(1)
    const stoppedAt = Date.now()
    process.kill(pid, 'SIGSTOP')
    await tables.says(id, false, 3_000)
    await platform.fell('worker')
    await platform.raise('worker')
    const event = await platform.event('still', ({ kind, instance }) => kind === 'replaced' && instance === id)
    expect(event.message).toBe('It had been stopped by a signal for 8 s, so it is started again. Next start in 1 s.')
    // Neither sooner, as a start of the worker lets what has crashed begin anew, nor from its beginning once more.
    expect(event.at - stoppedAt).toBeGreaterThanOrEqual(RESTART_MS)
    expect(event.data?.logLines).toContain('listening')
    expect((await runsAnew(id, pid)).log_lines?.join()).toContain('listening')
    await tables.says(id, true, 3_000)
    expect(tables.words(id).filter((up) => up)).toHaveLength(2)
  })

  it('R12.1 is not up in the table within 3 s of SIGKILL', async () => {
    const { id, pid } = await instance(2)
    process.kill(pid, 'SIGKILL')
    await tables.says(id, false, 3_000)
    await runsAnew(id, pid)
    await tables.says(id, true, 3_000)
  })

  it('R12.2 for ever, deaf to SIGTERM, is told by the router, and started again by the worker', async () => {
    const { id, pid } = await until('an answer', 30_000, async () => {
      const { body } = await platform.ask('still', { key: 'unlucky' }).catch(() => ({ body: null }))
      return body === null ? null : { id: body.instance as string, pid: body.pid as number }
    })
    await platform.stack.api('PATCH', '/api/2.0/apps/still', { health_check: { silence_timeout: '2s' } })
    const lost = platform.ask('still', { key: 'unlucky', path: '/deadlock' })
    const why = /^It had not answered for 8 s longer than its app allows, nor the worker when it asked/
    const event = await platform.event('still', (one) => one.instance === id && why.test(one.message), 120_000)
    expect(event.kind).toBe('replaced')
    expect(event.data?.logLines).toContain('deadlock')
    await runsAnew(id, pid)
    expect((await lost).status).not.toBe(200)
    // Whoever lived there lives on, and what had been in flight was carried out once.
    expect((await platform.ask('still', { key: 'unlucky' })).status).toBe(200)
    const all = (await instances()).map(({ id }) =>
      platform.stack.api('GET', `/api/coppice/v1/apps/still/logs?instance=${id}`),
    )
    const lines = (await Promise.all(all)).flatMap(({ body }) =>
      body.instances.flatMap((one: { lines: string[] }) => one.lines),
    )
    expect(lines.filter((line: string) => line === 'deadlock')).toHaveLength(1)
  }, 240_000)
})

describe('the machine', () => {
  it('R12.8 whose ports are taken: others are used; when there is none the old instances serve on', async () => {
    const listeners: Server[] = []
    const listen = (port: number) =>
      new Promise<boolean>((resolve) => {
        const server = createServer()
        server.once('error', () => resolve(false))
        server.listen(port, '0.0.0.0', () => {
          listeners.push(server)
          resolve(true)
        })
      })
    const first = 15_000 + Math.floor(Math.random() * 4_000)
    const platform = await Platform.start({ env: { COPPICE_INSTANCE_PORTS: `${first}-${first + 5}` } })
    try {
      for (const port of [first, first + 1, first + 2]) await listen(port)
      await platform.write('ports', { version: '1' })
      expect((await platform.deploy('ports', { instances: 2 })).state).toBe('SUCCEEDED')
      for (const port of [first + 3, first + 4, first + 5]) await listen(port)
      await platform.write('ports', { version: '2' })
      const failed = await platform.deploy('ports')
      expect(failed).toMatchObject({ state: 'FAILED', failure: { code: 'PortUnavailable' } })
      expect(failed.failure?.message).toMatch(new RegExp(`between ${first} and ${first + 5}`))
      await platform.settled({ ports: 2 })
      expect(await platform.version('ports')).toBe('1')
    } finally {
      for (const server of listeners) server.close()
      await platform.stop()
    }
  })
})
