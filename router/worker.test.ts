import cluster, { type Worker } from 'node:cluster'
import { EventEmitter } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { RouteTable } from '../domain/route-table.ts'
import { app, table } from '../test/router/support/tables.ts'
import { Fleet } from './fleet.ts'
import { ALL_WELL } from './health.ts'
import type { ToWorker } from './messages.ts'
import { resolveOptions } from './options.ts'
import { runWorker } from './worker.ts'

describe('what a process of the router takes from its primary', () => {
  let origin: Server
  let fleet: Fleet
  let port = 0

  beforeEach(async () => {
    origin = createServer((_req, res) => res.end('answered'))
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() } as never
    const options = resolveOptions(
      ['--routes', 'x', '--processes', '1', '--listen', '127.0.0.1:0', '--timeout', 'noInstanceWaitMs=0'],
      {},
    )
    // The other process is this one: nothing else differs.
    vi.spyOn(cluster, 'fork').mockImplementation(() => {
      const one = new EventEmitter()
      let listener: (message: ToWorker) => void = () => undefined
      const send = (message: ToWorker) => listener(message)
      setImmediate(() =>
        runWorker(
          options,
          { send: (message) => one.emit('message', message), onMessage: (given) => (listener = given) },
          { log, lines: { write: () => undefined } as never },
          (code) => one.emit('exit', code, null),
        ),
      )
      return Object.assign(one, { id: 1, process, isConnected: () => true, send }) as unknown as Worker
    })
    const nothing = () => undefined
    fleet = new Fleet(
      options,
      {
        onListening: (given) => (port = given),
        onPortFailed: nothing,
        onApplied: nothing,
        onHolding: nothing,
        onBeat: nothing,
        onSuspect: nothing,
        onMoved: nothing,
        onRefused: nothing,
        onProblem: nothing,
      },
      log,
    )
  })
  afterEach(async () => {
    await fleet.stop()
    vi.restoreAllMocks()
    await new Promise((resolve) => origin.close(resolve))
  })

  const tableOf = (version: number): RouteTable =>
    table(version, app('app', [{ name: 'i0', address: `127.0.0.1:${(origin.address() as AddressInfo).port}` }]))
  const applied = (version: number) => vi.waitUntil(() => fleet.appliedEverywhere('test', version))
  const status = () =>
    new Promise<number | undefined>((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, headers: { host: 'app.localhost' }, agent: false }, (answer) => {
        answer.resume()
        resolve(answer.statusCode)
      })
      asked.once('error', reject)
      asked.end()
    })

  it('R12.2 is the newest word on who is well, also where a table from before that word is applied after it', async () => {
    fleet.start(tableOf(1), [], { ...ALL_WELL, dead: ['i0'] })
    await applied(1)
    expect(await status()).toBe(503)
    fleet.publish(tableOf(2), [])
    fleet.publishHealth(ALL_WELL)
    await applied(2)
    expect(await status()).toBe(200)
    fleet.publish(tableOf(3), [])
    fleet.publishHealth({ ...ALL_WELL, dead: ['i0'] })
    await applied(3)
    expect(await status()).toBe(503)
  })
})
