import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { Question, type Reply } from './question.ts'

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

async function serve(answer: (req: IncomingMessage, res: ServerResponse) => void, host = '127.0.0.1'): Promise<number> {
  const server = createServer(answer)
  servers.push(server)
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
const ask = (address: string, path: string | null = null) =>
  new Promise<Reply>((resolve) => new Question(address, path, resolve))

it.each([
  [null, 200, 'good'],
  [null, 404, 'good'],
  [null, 499, 'good'],
  [null, 500, 'bad'],
  ['/ok', 200, 'good'],
  ['/ok', 399, 'good'],
  ['/ok', 400, 'bad'],
] as const)('R12.2 asked for %s, %d is a %s answer', async (path, status, reply) => {
  let seen: string | undefined
  const port = await serve((req, res) => {
    seen = `${req.method} ${req.url} ${req.headers.host} ${req.headers['user-agent']}`
    res.writeHead(status).end()
  })
  expect(await ask(`127.0.0.1:${port}`, path)).toBe(reply)
  expect(seen).toBe(`GET ${path ?? '/'} 127.0.0.1:${port} coppice-router-check`)
})

it('R12.2 asks at the address that it was given, also IPv6', async () => {
  const port = await serve((_, res) => res.end(), '::1')
  expect(await ask(`[::1]:${port}`)).toBe('good')
})

it('R12.2 nobody who listens is a refusal, and a lost connection a bad answer', async () => {
  const port = await serve((req) => req.socket.destroy())
  expect(await ask(`127.0.0.1:${port}`)).toBe('bad')
  const [server] = servers.splice(0)
  await new Promise((resolve) => server?.close(resolve))
  expect(await ask(`127.0.0.1:${port}`)).toBe('refused')
})

it('R12.2 one that is cancelled hears nothing more, and lets go of its connection', async () => {
  const replies: Reply[] = []
  let closed: Promise<unknown> = Promise.resolve()
  const arrived = Promise.withResolvers<void>()
  const port = await serve((req) => {
    closed = once(req.socket, 'close')
    arrived.resolve()
  })
  const question = new Question(`127.0.0.1:${port}`, null, (reply) => replies.push(reply))
  await arrived.promise
  question.cancel()
  await closed
  expect(replies).toEqual([])
})
