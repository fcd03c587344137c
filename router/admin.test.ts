import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Admin } from './admin.ts'
import { resolveOptions } from './options.ts'
import type { RouterStatus } from './primary.ts'

let dir: string
let admin: Admin
let status: Partial<RouterStatus>
const problems: [string, string | null][] = []
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-admin-'))
  status = {
    ready: true,
    stale: false,
    processes: 2,
    acknowledged: { inventory: 'x', version: 7 },
    problems: { listen: 'no' },
    inFlight: { a: 3 },
    down: ['b', 'c'],
    busy: ['d'],
  }
  admin = new Admin({
    options: resolveOptions(['--routes', 'r', '--admin', '127.0.0.1:0', '--state-dir', dir], {}),
    status: () => status as RouterStatus,
    metrics: () => ({ counters: { coppice_router_requests_total: 9 }, gauges: {} }),
    sessions: async () => ({ a: 1 }),
    replaceProcesses: async () => null,
    problem: (key, message) => problems.push([key, message]),
  })
  await admin.start()
})
afterEach(async () => {
  await admin.stop()
  await rm(dir, { recursive: true })
})

async function ask(path: string, token?: string) {
  const authorization = `Bearer ${token ?? (await readFile(join(dir, 'admin-token'), 'utf8')).trim()}`
  return fetch(`${admin.address()}${path}`, { headers: { authorization } })
}

it('its metrics say who is out, who lets others wait and who has what in flight, each by name', async () => {
  const lines = (await (await ask('/metrics')).text())
    .split('\n')
    .filter((line) => !line.startsWith('#') && line !== '')
  expect(lines.sort()).toEqual(
    [
      'coppice_router_in_flight_requests{instance="a"} 3',
      'coppice_router_instance_busy{instance="d"} 1',
      'coppice_router_instance_ejected{instance="b"} 1',
      'coppice_router_instance_ejected{instance="c"} 1',
      'coppice_router_problems 1',
      'coppice_router_processes 2',
      'coppice_router_ready 1',
      'coppice_router_requests_total 9',
      'coppice_router_stale 0',
      'coppice_router_table_version 7',
    ].sort(),
  )
})

it('it is ready when the router is, and says why not', async () => {
  expect((await ask('/readyz')).status).toBe(200)
  status.ready = false
  const answer = await ask('/readyz')
  expect(answer.status).toBe(503)
  expect(await answer.json()).toEqual({ ready: false, stale: false, inventory: 'x', version: 7 })
})

it('R12.8 a flood of connections takes at most 64 descriptors of it, none of them for long, and leaves it room again', async () => {
  const { port } = new URL(admin.address())
  const sockets = Array.from({ length: 100 }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined))
  const closed = () => sockets.filter((socket) => socket.closed).length
  for (const socket of sockets) socket.resume()
  await vi.waitUntil(() => closed() === 36, 5000)
  for (const socket of sockets) socket.destroy()
  await vi.waitUntil(async () => (await ask('/livez').catch(() => null))?.status === 200, 5000)
})

it('R12.8 goes on when an accept fails for want of a descriptor', () => {
  const { server } = admin as unknown as { server: Server }
  expect(() => server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }))).not.toThrow()
})

it('R13.5 without its token nothing is told, and a page of another origin is told nothing with it either', async () => {
  for (const path of ['/livez', '/metrics', '/sessions', '/none']) expect((await ask(path, 'guessed')).status).toBe(401)
  expect((await ask('/none')).status).toBe(404)
  const authorization = `Bearer ${(await readFile(join(dir, 'admin-token'), 'utf8')).trim()}`
  const foreign = await fetch(`${admin.address()}/sessions`, {
    headers: { authorization, origin: 'http://evil.example' },
  })
  expect(foreign.status).toBe(403)
})
