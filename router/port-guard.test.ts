import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { PortGuard } from './port-guard.ts'

describe('the ports of apps', () => {
  const servers: Server[] = []
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
  })
  const listening = async (): Promise<{ server: Server; port: number }> => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    servers.push(server)
    return { server, port: (server.address() as { port: number }).port }
  }

  it('D13 are taken by others only, not by a second look at them, which comes to its end after the first', async () => {
    const problems: string[] = []
    const guard = new PortGuard(
      '127.0.0.1',
      (_key, message) => message !== null && problems.push(message),
      () => true,
    )
    const [free, taken] = [await listening(), await listening()]
    servers.splice(servers.indexOf(free.server), 1)
    await new Promise((resolve) => free.server.close(resolve))
    const ends: number[] = []
    const looks = Array.from({ length: 10 }, async (_, n) => {
      const usable = await guard.usable([free.port, taken.port])
      ends.push(n)
      return usable
    })
    for (const usable of await Promise.all(looks)) expect(usable).toEqual([free.port])
    expect(ends).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(guard.takenPorts).toEqual([taken.port])
    expect(new Set(problems)).toEqual(new Set([expect.stringContaining(`port ${taken.port} cannot be opened`)]))
  })
})
