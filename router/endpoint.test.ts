import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Endpoint } from './endpoint.ts'
import { DEFAULT_TIMEOUTS } from './options.ts'

const at = (address: string) =>
  new Endpoint({ instance: 'i', slot: 0, address, state: 'serving', up: true }, DEFAULT_TIMEOUTS, () => undefined)

describe('R12.1 one that lost requests is asked whether it lives', () => {
  let server: Server | null = null
  afterEach(() => {
    server?.closeAllConnections()
    server?.close()
    server = null
  })
  async function instance(answer: (path: string, respond: (status: number) => void) => void) {
    const started = createServer((req, res) => answer(req.url ?? '', (status) => res.writeHead(status).end()))
    server = started.listen(0, '127.0.0.1')
    await once(started, 'listening')
    return at(`127.0.0.1:${(started.address() as AddressInfo).port}`)
  }
  const asked = (endpoint: Endpoint, path: string | null = null) =>
    new Promise<boolean>((resolve) => endpoint.asksWhetherItLives(path, resolve))

  it('once for all who ask meanwhile, at its health path, and anew for those who come later', async () => {
    const seen: string[] = []
    const endpoint = await instance((path, respond) => {
      seen.push(path)
      respond(200)
    })
    expect(await Promise.all([asked(endpoint, '/health'), asked(endpoint, '/health')])).toEqual([true, true])
    expect(seen).toEqual(['/health'])
    expect(await asked(endpoint)).toBe(true)
    expect(seen).toEqual(['/health', '/'])
  })

  it('and believed to when it lets the question wait, which then ends', async () => {
    let ended: Promise<unknown> | null = null
    const endpoint = await instance(() => undefined)
    server?.on('connection', (socket) => {
      ended = once(socket, 'close')
    })
    expect(await asked(endpoint)).toBe(true)
    await ended
  })

  it('and found dead when it refuses or loses the question', async () => {
    const endpoint = await instance(() => server?.closeAllConnections())
    expect(await asked(endpoint)).toBe(false)
    server?.close()
    await once(server as Server, 'close')
    expect(await asked(endpoint)).toBe(false)
  })
})
