import { expect, it } from 'vitest'
import { PROTOCOL } from '../domain/route-table.ts'
import { parseTable } from './table-file.ts'

const endpoint = { instance: 'i', slot: 0, address: '127.0.0.1:1', state: 'serving', up: true }
const app = {
  app: 'app',
  hostnames: ['app.localhost'],
  port: null,
  version: 1,
  affinity: true,
  status: 'running',
  drainTimeoutMs: 1,
  held: false,
  healthPath: null,
  silenceMs: 1,
  rebalance: null,
  namingDigest: 'a1'.repeat(32),
  endpoints: [endpoint],
}
const table = { protocol: PROTOCOL, inventory: 'x', version: 3, apps: [app] }
const parse = (value: object, by: 'people' | 'program') => parseTable(JSON.stringify(value), by)

it('a good table is taken whole, from people and from programs', () => {
  for (const by of ['people', 'program'] as const) expect(parse(table, by)).toEqual(table)
})

it('D32 R11.4 of a control plane that knows no naming keys it is a table that opens nothing; a bad digest is none', () => {
  const { namingDigest: _, ...older } = app
  expect(parse({ ...table, apps: [older] }, 'program')).toEqual({ ...table, apps: [{ ...app, namingDigest: null }] })
  for (const namingDigest of ['', 'a1', 'A1'.repeat(32), 'a1'.repeat(33)])
    expect(parse({ ...table, apps: [{ ...app, namingDigest }] }, 'program')).toMatchObject({
      unusable: expect.stringContaining('apps.0.namingDigest: '),
    })
})

it('D32 a field that nobody knows is an error of people, who are told where, and nothing to a program', () => {
  const slip = (more: object, inEndpoint = {}) => ({
    ...table,
    apps: [{ ...app, ...more, endpoints: [endpoint, { ...endpoint, ...inEndpoint }] }],
  })
  expect(parse({ ...table, versoin: 3 }, 'people')).toEqual({
    unusable: 'versoin: is not a known field',
    version: null,
  })
  expect(parse(slip({}, { slto: 1 }), 'people')).toEqual({
    unusable: 'apps.0.endpoints.1.slto: is not a known field',
    version: null,
  })
  expect(parse(slip({ hlod: true }, { slto: 1 }), 'program')).toEqual(slip({}))
})

it('a table that cannot be used is refused whole, with the place and, if it says one, its version', () => {
  const { endpoints: _, ...without } = app
  for (const by of ['people', 'program'] as const) {
    expect(parse({ ...table, apps: [without] }, by)).toEqual({
      unusable: expect.stringContaining('apps.0.endpoints: '),
      version: 3,
    })
    expect(parse({ ...table, version: -1 }, by)).toMatchObject({ version: null })
    expect(parseTable('{', by)).toEqual({ unusable: expect.stringContaining('not JSON'), version: null })
  }
})
