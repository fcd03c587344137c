import { execFileSync } from 'node:child_process'
import cluster, { type Worker } from 'node:cluster'
import { EventEmitter } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { RouteTable } from '../domain/route-table.ts'
import { app, table } from '../test/router/support/tables.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { resolveOptions } from './options.ts'
import { Primary } from './primary.ts'

describe('the primary of a router', () => {
  let dir: string
  let primary: Primary
  /** Versions of the tables that a process was told, in order. */
  let told: number[]
  const taken = createServer()
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() }

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-primary-'))
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    told = []
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    // A process that does at once what it is told, and carries no traffic.
    vi.spyOn(cluster, 'fork').mockImplementation(() => {
      const one = new EventEmitter()
      const say = (message: FromWorker) => setImmediate(() => one.emit('message', message))
      const beat = { inFlight: {}, longLived: {}, heard: [], failing: [], silentMs: {} }
      const send = (message: ToWorker) => {
        if (message.type === 'stop') setImmediate(() => one.emit('exit', 0, null))
        if (message.type !== 'table') return
        const { inventory, version } = message.table
        told.push(version)
        say({ type: 'applied', inventory, version, ports: message.ports, beat })
      }
      say({ type: 'ready' })
      return Object.assign(one, { id: 1, process, isConnected: () => true, send }) as unknown as Worker
    })
    await writeFile(join(dir, 'routes.json'), JSON.stringify(taking()))
    const where = ['--routes', join(dir, 'routes.json'), '--state-dir', join(dir, 'state')]
    const options = resolveOptions([...where, '--listen', '127.0.0.1:0', '--processes', '1'], {})
    primary = new Primary(options, log as never, (reason) => {
      throw new Error(reason)
    })
    await primary.start()
  })
  afterEach(async () => {
    await primary.stop()
    vi.useRealTimers()
    vi.restoreAllMocks()
    await new Promise((resolve) => taken.close(resolve))
    await rm(dir, { recursive: true })
  })

  const taking = (): RouteTable => table(1, app('app', [], { port: (taken.address() as { port: number }).port }))

  it('D7 R3.4 distributes no table because a port is taken that waits for the disk still', async () => {
    await vi.waitUntil(() => told.length > 0)
    const [first] = told as [number]
    const newest = () => log.info.mock.calls.findLast(([, words]) => words === 'route table')?.[0].version
    // Opening a pipe for writing takes until somebody reads: a disk that hangs.
    const fresh = join(dir, 'state', 'routes.json.new')
    // The first one is written by then.
    await vi.waitUntil(() => existsSync(join(dir, 'state', 'routes.json')))
    execFileSync('mkfifo', [fresh])
    await writeFile(join(dir, 'next.json'), JSON.stringify({ ...taking(), version: 2 }))
    await rename(join(dir, 'next.json'), join(dir, 'routes.json'))
    await vi.waitUntil(() => newest() === first + 1)
    const from = performance.now()
    await vi.waitUntil(() => {
      // The time at which taken ports are looked at again, over and over.
      vi.advanceTimersByTime(2000)
      return told.includes(first + 1)
    }, 5000)
    expect(performance.now() - from).toBeGreaterThan(800)
    expect(told.slice(0, -1).every((version) => version === first)).toBe(true)
    const reader = await open(fresh, 'r')
    await rm(fresh)
    await reader.close()
  })
})
