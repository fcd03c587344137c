import { readdir } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const LIMIT = 200
const OK = /^HTTP\/1\.1 200 OK\r\n/

describe('a router that has no descriptor left', () => {
  let origin: Origin
  let router: RouterProcess
  let pid: number
  const sockets: Socket[] = []

  beforeAll(async () => {
    origin = await startOrigin('a')
    router = await startRouter({
      routes: table(1, app('app', [origin], { affinity: false })),
      args: ['--processes', '1', '--check', 'idleMs=600000'],
      descriptors: LIMIT,
    })
    ;[pid] = (await router.workers()) as [number]
  })
  afterAll(async () => {
    for (const socket of sockets) socket.destroy()
    await router?.stop()
    await origin.close()
  })

  const lines = () => router.log.filter((line) => line.event === 'turned-away')

  function open(): Socket {
    const socket = connect(router.port, '127.0.0.1')
    socket.on('error', () => undefined)
    sockets.push(socket)
    return socket
  }

  /** Its head. */
  function answerOn(socket: Socket, path = '/'): Promise<string> {
    return new Promise((resolve) => {
      socket.once('data', (chunk) => resolve(chunk.toString()))
      socket.once('close', () => resolve('closed'))
      socket.write(`GET ${path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n`)
    })
  }

  it('R12.8 turns new clients away, serves those that it has, says so once a second, and is well again by itself', async () => {
    let closed = 0
    const first = open()
    expect(await answerOn(first)).toMatch(OK)
    const storm = () => {
      for (let i = 0; i < 100; i++) open().once('close', () => closed++)
    }
    const began = performance.now()
    // Four seconds of many more than there is room for.
    while (performance.now() - began < 4000) {
      storm()
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const took = performance.now() - began
    await until(() => closed > 1000)
    expect((await readdir(`/proc/${pid}/fd`)).length).toBeLessThan(LIMIT)
    // Those that were let in have what they need.
    expect(await answerOn(first)).toMatch(OK)
    const other = sockets.find((socket) => socket !== first && !socket.closed) as Socket
    expect(await answerOn(other)).toMatch(OK)
    await until(() => lines().length > 1)
    expect(lines().length).toBeLessThanOrEqual(took / 1000 + 3)
    expect(lines().at(-1)).toMatchObject({ limit: LIMIT, maxConnections: 0 })
    expect(lines().at(-1)?.msg).toContain('ulimit -n')
    expect((await router.admin('/metrics')) as string).toMatch(
      /coppice_router_turned_away_connections_total\{cause="descriptors"\} \d{3,}/,
    )

    for (const socket of sockets.splice(0)) socket.destroy()
    await until(async () => (await readdir(`/proc/${pid}/fd`)).length < LIMIT / 2)
    const before = lines().length
    for (let i = 0; i < 20; i++) expect((await ask(router)).status).toBe(200)
    // Told of what was before, at most once more, and then no more.
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(lines().length).toBeLessThanOrEqual(before + 1)
    expect(await router.workers()).toEqual([pid])
  })

  it('R12.8 answers 503 where only the connection to the instance is missing, ejects nobody for it, and says so', async () => {
    const before = lines().length
    const clients = Array.from({ length: 120 }, open)
    // One after the other, so that the instance's connection is one.
    for (const client of clients) expect(await answerOn(client)).toMatch(OK)
    // Each takes another one towards the instance, and what these clients have left is not enough for all of them.
    const answers = await Promise.all(clients.map((socket) => answerOn(socket, '/slow?ms=3000')))
    for (const socket of sockets.splice(0)) socket.destroy()
    expect(answers.some((answer) => answer.startsWith('HTTP/1.1 200 '))).toBe(true)
    const refused = answers.find((answer) => answer.startsWith('HTTP/1.1 503 '))
    expect(refused?.toLowerCase()).toContain('x-coppice-router: routeroverloaded\r\n')
    await until(() =>
      lines()
        .slice(before)
        .some((line) => Number(line.unconnected) > 0),
    )
    await until(async () => (await ask(router).catch(() => null))?.status === 200)
    expect(((await router.admin('/status')) as { down: string[] }).down).toEqual([])
  })

  it('says it too where it is --limit maxConnections that turns them away', async () => {
    const probe = createServer()
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
    const { port: ownPort } = probe.address() as { port: number }
    await new Promise((resolve) => probe.close(resolve))
    const small = await startRouter({
      routes: table(1, app('app', [origin], { affinity: false, port: ownPort })),
      args: ['--processes', '1', '--limit', 'maxConnections=5'],
    })
    try {
      const all = Array.from({ length: 20 }, () => connect(small.port, '127.0.0.1').on('error', () => undefined))
      const line = await until(() => small.log.find((one) => one.event === 'turned-away'))
      expect(line).toMatchObject({ maxConnections: 15, descriptors: 0 })
      // Of the process, not of each port that it listens on.
      const own = connect(ownPort, '127.0.0.1')
      const turnedAway = new Promise((resolve) => own.on('error', () => undefined).on('close', resolve))
      own.resume()
      await turnedAway
      for (const socket of all) socket.destroy()
      await until(async () => (await ask(small).catch(() => null))?.status === 200)
    } finally {
      await small.stop()
    }
  })
})
