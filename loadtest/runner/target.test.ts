import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { attachTo } from './target.ts'

type Open = {
  id: string
  polls: number
  state: 'SUCCEEDED' | 'FAILED'
  atEnd: (app: { instances: number | null }) => void
}

const closers: Array<() => void> = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** Of a platform what the load test asks: an app with a number of instances, which changes when an operation ends. */
async function platform(
  instances: number | null,
  active: Record<string, unknown> = {},
  open: Open | null = null,
  signal?: AbortSignal,
) {
  const app = {
    instances,
    open,
    updates: [] as unknown[],
    refused: 0,
    end: 'SUCCEEDED' as Open['state'],
  }
  const ended = new Map<string, Open['state']>()
  const wantedBy = (body: string) =>
    (JSON.parse(body) as { app: { compute_min_instances?: number } }).app.compute_min_instances ?? null
  const answer = (method: string, path: string, body: string): [number, unknown] => {
    const [, operation] = /\/operations\/(.+)$/.exec(path) ?? []
    if (operation !== undefined) {
      const { open } = app
      if (open !== null && open.id === operation && --open.polls <= 0) {
        open.atEnd(app)
        ended.set(open.id, open.state)
        app.open = null
      }
      const state = ended.get(operation) ?? 'RUNNING'
      const failure = state === 'FAILED' && { failure: { message: 'no room for another instance' } }
      return [200, { id: operation, type: 'resize', state, ...failure }]
    }
    if (path.endsWith('/naming-key')) return [404, {}]
    if (path.endsWith('/instances')) return [200, { instances: [{ id: 'a-1-0', slot: 0, role: 'serving' }] }]
    if (method === 'POST' && path.endsWith('/update')) {
      if (app.open !== null) {
        app.refused++
        return [409, { message: `${app.open.id} is under way` }]
      }
      const count = wantedBy(body)
      app.updates.push(count)
      const { end: state } = app
      const atEnd = () => {
        if (state === 'SUCCEEDED') app.instances = count
      }
      app.open = { id: `restore-${app.updates.length}`, polls: 1, state, atEnd }
      return [200, { operation: app.open.id }]
    }
    const count = app.instances === null ? {} : { compute_min_instances: app.instances }
    const mode = app.instances === null ? 'standard' : 'scaled'
    const operationOf = app.open === null ? {} : { operation: app.open.id }
    return [200, { name: 'a', mode, urls: ['http://127.0.0.1:1'], active_deployment: active, ...count, ...operationOf }]
  }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const [status, said] = answer(request.method as string, request.url as string, body)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(said))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => server.close().closeAllConnections())
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { app, target: await attachTo({ app: 'a', apiUrl, token: 't' }, () => {}, signal) }
}

describe('somebody’s app gets its number of instances back', () => {
  it('R6.1 although its resize comes to the switch only after Ctrl-C: that is waited for', async () => {
    const { app, target } = await platform(2)
    app.open = { id: 'to-5', polls: 3, state: 'SUCCEEDED', atEnd: () => (app.instances = 5) }
    await target.leave()
    expect(app).toMatchObject({ instances: 2, updates: [2], refused: 0 })
  })

  it('R6.1 although a resize is open that ends otherwise than the run began, and would refuse another one', async () => {
    const { app, target } = await platform(1)
    app.instances = 5
    app.open = { id: 'to-2', polls: 3, state: 'SUCCEEDED', atEnd: () => (app.instances = 2) }
    await target.leave()
    expect(app).toMatchObject({ instances: 1, updates: [1] })
  })

  it('R6.1 and that is the one to which an operation of somebody else led that was open when the run began', async () => {
    const { app, target } = await platform(
      2,
      {},
      { id: 'to-4', polls: 3, state: 'SUCCEEDED', atEnd: (of) => (of.instances = 4) },
    )
    app.instances = 5
    await target.leave()
    expect(app.updates).toEqual([4])
  })

  it('and Ctrl-C ends the wait for such an operation, before anything was done to the app', async () => {
    const interrupt = new AbortController()
    const atEnd = () => expect.unreachable('it was waited for')
    const open: Open = { id: 'build', polls: 1_000_000, state: 'SUCCEEDED', atEnd }
    const attached = platform(2, {}, open, interrupt.signal)
    await Promise.all([
      expect(attached).rejects.toMatchObject({ name: 'AbortError' }),
      vi.waitFor(() => expect(open.polls).toBeLessThan(1_000_000), 9_000).then(() => interrupt.abort()),
    ])
  })

  it('R5.2 by way of one instance where it has become a standard one', async () => {
    const { app, target } = await platform(3)
    app.instances = null
    await target.leave()
    expect(app).toMatchObject({ instances: 3, updates: [1, 3] })
  })

  it('and nothing is done to one that has it', async () => {
    const { app, target } = await platform(2)
    await target.leave()
    expect(app.updates).toEqual([])
  })

  it('R10.1 or the run says that it has not, how many it has, and what to do', async () => {
    const { app, target } = await platform(2)
    app.instances = 5
    app.end = 'FAILED'
    await expect(target.leave()).rejects.toThrow(
      /a has 5 instances and had 2 instances before the run: .*no room for another instance.*coppice apps resize a --instances 2/,
    )
    expect(app.updates).toEqual([2])
  })
})

describe('a deployment of somebody’s app', () => {
  it('keeps the command that it was given', async () => {
    const { target } = await platform(2, { source_digest: 'd', command: ['node', 'serve.js'] })
    expect(await target.deployment('2')).toEqual({ source_digest: 'd', command: ['node', 'serve.js'] })
    const { target: without } = await platform(2, { source_code_path: 'app' })
    expect(await without.deployment('2')).toEqual({ source_code_path: 'app' })
  })

  it('R3.7 is none where it has environment values, which nobody can read back', async () => {
    const { target } = await platform(2, { source_digest: 'd', env_vars: [{ name: 'KEY' }] })
    expect(await target.deployment('2')).toBeNull()
  })
})
