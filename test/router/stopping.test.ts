import { once } from 'node:events'
import { expect, it } from 'vitest'
import { client, startInProcess } from './support/in-process.ts'
import { startOrigin } from './support/origin.ts'
import { until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

it.each([
  ['of an instance', { affinity: true }, '200 OK'],
  ['of the router itself', { held: true }, '503 Service Unavailable'],
])(
  'a process that stops says so with each answer that is still under way, %s: nobody sends another request into the end of the connection',
  async (_, more, status) => {
    const origin = await startOrigin('i0')
    const router = await startInProcess(table(1, app('app', [origin], more)), ['--timeout', 'holdWaitMs=3000'])
    try {
      const socket = client(router, 'GET /hold HTTP/1.1\r\nHost: app.localhost\r\n\r\n')
      await until(() =>
        'held' in more ? router.gauge('coppice_router_waiting_requests') === 1 : origin.held.length === 1,
      )
      router.stop(10_000)
      for (const answer of origin.held) answer()
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
      })
      socket.resume()
      await once(socket, 'close')
      expect(text).toContain(`HTTP/1.1 ${status}`)
      expect(text.toLowerCase()).toContain('\r\nconnection: close\r\n')
    } finally {
      await router.ended
      await origin.close()
    }
  },
)
