import { expect, it } from 'vitest'
import { appRouteSchema, endpointSchema } from './route-table.ts'

const endpoint = { instance: 'a', slot: 0, state: 'serving' }
const app = {
  app: 'app',
  hostnames: [],
  port: null,
  version: 1,
  affinity: true,
  status: 'running',
  drainTimeoutMs: 0,
  endpoints: [],
}

it.each(['127.0.0.1:1', '[::1]:65535', 'app-1.some_zone.internal:8000'])('an address is %s', (address) => {
  expect(endpointSchema.safeParse({ ...endpoint, address }).success).toBe(true)
})

it.each(['127.0.0.1', '127.0.0.1:65536', '::1:80', '[::1]', 'ä:80', 'a b:80', 'a/b:80', 'a:80\n', 'a@b:80'])(
  'D7 a table with the address %j is refused: a router that asked there would end',
  (address) => {
    expect(endpointSchema.safeParse({ ...endpoint, address }).success).toBe(false)
  },
)

it.each([
  ['without a slash', 'health'],
  ['with a blank', '/a b'],
  ['with an umlaut', '/ä'],
  ['with a line break', '/a\r\nX: y'],
  ['without an end', `/${'a'.repeat(3000)}`],
])('D7 a table with a health path %s is refused, as an app with it is', (_what, healthPath) => {
  expect(appRouteSchema.safeParse({ ...app, healthPath }).success).toBe(false)
  expect(appRouteSchema.safeParse({ ...app, healthPath: '/healthz?a=b' }).success).toBe(true)
})
