import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { afterEach, expect, it, vi } from 'vitest'
import { CoppiceError } from '../domain/errors.ts'
import { EventStreams, STREAM_LIMITS } from './event-stream.ts'

const server = createServer()
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

it('R9.3 an error in what a stream tells of ends this stream, with the reason, and no other', async () => {
  const warn = vi.fn()
  const stopping = new AbortController()
  const streams = new EventStreams({
    log: { warn, info: vi.fn() } as never,
    stopping: stopping.signal,
    limits: STREAM_LIMITS,
  })
  const api = express()
  api.use((_request, response, next) => {
    response.locals.principal = { name: 'ada', role: 'admin' }
    next()
  })
  api.get('/well', (request, response) =>
    streams.serve(request, response, ({ closed }) => once(closed, 'abort').then()),
  )
  api.get('/broken', (request, response) =>
    streams.serve(request, response, async (stream) => {
      await stream.send(Buffer.from('event: line\ndata: 1\n\n'))
      throw new CoppiceError('Unavailable', 'The inventory is locked')
    }),
  )
  server.on('request', api)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const well = await fetch(`${at}/well`)
  const told = await (await fetch(`${at}/broken`)).text()
  expect(told).toContain('event: line\ndata: 1\n\n')
  expect(told).toMatch(
    /event: error\ndata: \{"error_code":"TEMPORARILY_UNAVAILABLE","message":"The inventory is locked/,
  )
  expect(warn).toHaveBeenCalledOnce()
  expect(streams.size).toBe(1)
  stopping.abort()
  await well.text()
})
