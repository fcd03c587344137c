import { readdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestControl, type TestControl } from './control.ts'

let control: TestControl

beforeAll(async () => {
  control = await startTestControl()
  await control.call('POST', '/api/2.0/apps', { name: 'there' })
  await symlink('/etc', join(control.sources, 'link'))
})
afterAll(() => control?.stop())

const JSON_TYPE = { 'content-type': 'application/json' }
const APPS = '/api/2.0/apps'
const DEPLOYMENTS = `${APPS}/there/deployments`

type Bad = { method: string; path: string; body: unknown; field: string; reason: RegExp }
const bad = (method: string, path: string, body: unknown, field: string, reason: RegExp): Bad => ({
  method,
  path,
  body,
  field,
  reason,
})

const BAD: Record<string, Bad> = {
  'an unknown field': bad('POST', APPS, { name: 'ok', replicas: 2 }, 'replicas', /not a known field/),
  'an unknown field deep inside': bad(
    'POST',
    DEPLOYMENTS,
    { health_check: { url: '/' } },
    'health_check.url',
    /not a known field/,
  ),
  'a body of null': bad('POST', APPS, null, '(input)', /object/),
  'a body that is a list': bad('POST', APPS, [], '(input)', /object/),
  'no name': bad('POST', APPS, {}, 'name', /string/),
  'a name in capitals': bad('POST', APPS, { name: 'Shop' }, 'name', /lowercase/),
  'a name of 31 characters': bad('POST', APPS, { name: 'a'.repeat(31) }, 'name', /2 to 30/),
  'a name with dots and slashes': bad('POST', APPS, { name: '../etc' }, 'name', /lowercase/),
  'a description that is a number': bad('POST', APPS, { name: 'ok', description: 7 }, 'description', /string/),
  'only one of the two counts': bad(
    'POST',
    APPS,
    { name: 'ok', compute_min_instances: 2 },
    'compute_max_instances',
    /together/,
  ),
  'two different counts': bad(
    'POST',
    APPS,
    { name: 'ok', compute_min_instances: 1, compute_max_instances: 3 },
    'compute_max_instances',
    /fixed/,
  ),
  'zero instances': bad(
    'POST',
    APPS,
    { name: 'ok', compute_min_instances: 0, compute_max_instances: 0 },
    'compute_min_instances',
    />=1/,
  ),
  'half an instance': bad(
    'POST',
    APPS,
    { name: 'ok', compute_min_instances: 1.5, compute_max_instances: 1.5 },
    'compute_min_instances',
    /int/,
  ),
  'a field of the product that is not done here': bad(
    'POST',
    APPS,
    { name: 'ok', resources: [{}] },
    'resources',
    /not supported/,
  ),
  'a start path with ".."': bad('POST', DEPLOYMENTS, { source_code_path: 'a/../../etc' }, 'source_code_path', /"\.\."/),
  'an absolute path outside of the source roots': bad(
    'POST',
    DEPLOYMENTS,
    { source_code_path: '/etc' },
    'source_code_path',
    /outside/,
  ),
  'a link that leaves the source root': bad(
    'POST',
    DEPLOYMENTS,
    { source_code_path: 'link' },
    'source_code_path',
    /link/,
  ),
  'a source that was never uploaded': bad(
    'POST',
    DEPLOYMENTS,
    { source_digest: 'a'.repeat(64) },
    'source_digest',
    /uploaded/,
  ),
  'a digest that is none': bad('POST', DEPLOYMENTS, { source_digest: '../x' }, 'source_digest', /64 hexadecimal/),
  'two sources': bad(
    'POST',
    DEPLOYMENTS,
    { source_code_path: 'x', source_digest: 'a'.repeat(64) },
    'source_digest',
    /cannot go with/,
  ),
  'no source and none before': bad('POST', DEPLOYMENTS, {}, 'source_code_path', /no earlier source/),
  'a variable with a bad name': bad(
    'POST',
    DEPLOYMENTS,
    { env_vars: [{ name: '1A', value: '' }] },
    'env_vars.0.name',
    /digit/,
  ),
  'a variable twice': bad(
    'POST',
    DEPLOYMENTS,
    {
      env_vars: [
        { name: 'A', value: '1' },
        { name: 'A', value: '2' },
      ],
    },
    'env_vars.1.name',
    /twice/,
  ),
  'a variable with value and value_from': bad(
    'POST',
    DEPLOYMENTS,
    { env_vars: [{ name: 'A', value: '', value_from: 's' }] },
    'env_vars.0',
    /exactly one/,
  ),
  'a variable that is too large in bytes, though not in characters': bad(
    'POST',
    DEPLOYMENTS,
    { env_vars: [{ name: 'A', value: '€'.repeat(30_000) }] },
    'env_vars.0.value',
    /is 90000 bytes long/,
  ),
  'a word of the command that is too large in bytes': bad(
    'POST',
    DEPLOYMENTS,
    { command: ['node', '€'.repeat(30_000)] },
    'command.1',
    /is 90000 bytes long/,
  ),
  'more words than a program can be started with': bad(
    'POST',
    DEPLOYMENTS,
    { command: new Array(110_000).fill('x') },
    'env_vars',
    /1100000 bytes in all; 1048576 are the most/,
  ),
  'a command that is a text': bad('POST', DEPLOYMENTS, { command: 'npm start' }, 'command', /list of words/),
  'a health path without a slash': bad(
    'POST',
    DEPLOYMENTS,
    { health_check: { path: 'ok' } },
    'health_check.path',
    /begin with/,
  ),
  'a timeout without a unit': bad(
    'POST',
    DEPLOYMENTS,
    { health_check: { timeout: '90' } },
    'health_check.timeout',
    /"90s"/,
  ),
  'a mode that is not done here': bad('POST', DEPLOYMENTS, { mode: 'AUTO_SYNC' }, 'mode', /SNAPSHOT/),
  'an unknown query': bad('GET', `${APPS}?limit=3`, undefined, 'limit', /not a known field/),
  'a page size that is a word': bad('GET', `${APPS}?page_size=all`, undefined, 'page_size', /number/),
  'a page token of our own making': bad('GET', `${APPS}?page_token=~~`, undefined, 'page_token', /gave/),
  'a path that is no UTF-8': bad('GET', `${APPS}/%ff`, undefined, '(path)', /decode/),
  'a report without a router': bad('POST', '/api/coppice/v1/routers/report', { version: 1 }, 'router', /string/),
  'a change of the count by PATCH': bad(
    'PATCH',
    `${APPS}/there`,
    { compute_min_instances: 2, compute_max_instances: 2 },
    'compute_min_instances',
    /cannot be changed here/,
  ),
}

describe('R13.3 400 with the field and the reason, and nothing changed, for', () => {
  it.each(Object.entries(BAD))('%s', async (_name, { method, path, body, field, reason }) => {
    const before = await control.call('GET', APPS)
    const answer = await control.call(method, path, body)
    expect(answer.status).toBe(400)
    expect(answer.body.error_code).toBe('INVALID_PARAMETER_VALUE')
    expect(answer.body.message).toMatch(reason)
    expect(answer.body.coppice.field).toBe(field)
    expect(await control.call('GET', APPS)).toEqual(before)
    expect(await control.store.operations.list()).toEqual([])
  })

  it('a body that is no JSON', async () => {
    const answer = await control.raw(APPS, { method: 'POST', headers: JSON_TYPE, body: '{"name":' })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({
      error_code: 'INVALID_PARAMETER_VALUE',
      message: expect.stringContaining('not valid JSON'),
    })
  })

  it('a body of more than 1 MiB', async () => {
    const body = JSON.stringify({ name: 'x'.repeat(1_100_000) })
    const answer = await control.raw(APPS, { method: 'POST', headers: JSON_TYPE, body })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ message: expect.stringContaining('1 MiB') })
  })

  it('an upload that is no tar, and leaves nothing behind', async () => {
    const headers = { 'content-type': 'application/gzip' }
    const answer = await control.raw('/api/coppice/v1/sources', { method: 'POST', headers, body: 'nonsense' })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ error_code: 'INVALID_PARAMETER_VALUE' })
    expect((await readdir(join(control.home, 'sources', 'kept')).catch(() => [])).length).toBe(0)
    expect((await readdir(join(control.home, 'sources', 'making')).catch(() => [])).length).toBe(0)
  })
})

describe("R13.3 errors have the product's shape, also where", () => {
  it('the app does not exist', async () => {
    for (const [method, path] of [
      ['GET', `${APPS}/nope`],
      ['DELETE', `${APPS}/nope`],
      ['POST', `${APPS}/nope/start`],
      ['POST', `${APPS}/nope/deployments`],
      ['GET', `${APPS}/nope/deployments`],
      ['GET', '/api/coppice/v1/apps/nope/logs'],
    ] as const) {
      const answer = await control.call(method, path, method === 'POST' ? {} : undefined)
      expect(answer.status).toBe(404)
      expect(answer.body).toMatchObject({
        error_code: 'RESOURCE_DOES_NOT_EXIST',
        message: expect.stringContaining('nope'),
      })
    }
  })

  it('the name is taken', async () => {
    const answer = await control.call('POST', APPS, { name: 'there' })
    expect(answer.status).toBe(409)
    expect(answer.body.error_code).toBe('RESOURCE_ALREADY_EXISTS')
    expect(answer.body.message).toContain('An app with the same name already exists: there')
  })

  it('there is no such path or method', async () => {
    for (const [method, path] of [
      ['GET', '/api/2.0/nope'],
      ['PUT', `${APPS}/there`],
    ] as const) {
      const answer = await control.call(method, path)
      expect(answer.status).toBe(404)
      expect(answer.body.error_code).toBe('ENDPOINT_NOT_FOUND')
    }
  })
})

describe('R13.5 the API needs its token:', () => {
  const tries = (token: string): Array<[string, Record<string, string>]> => [
    ['none', {}],
    ['a wrong one', { authorization: 'Bearer 0123456789abcdef0123456789abcdef0123456789a' }],
    ['half of it', { authorization: `Bearer ${token.slice(0, 20)}` }],
    ['it with more behind', { authorization: `Bearer ${token}x` }],
    ['it as a password', { authorization: `Basic ${Buffer.from(`token:${token}`).toString('base64')}` }],
  ]
  const paths = [
    APPS,
    '/api/coppice/v1/routes/stream?router=r',
    '/api/coppice/v1/events',
    '/api/coppice/v1/doctor',
    '/nowhere',
  ]

  it('every path refuses every request without it, with an answer in the shape of all others', async () => {
    for (const path of paths)
      for (const [, headers] of tries(control.token)) {
        const answer = await fetch(control.url + path, { headers })
        expect(answer.status).toBe(401)
        expect(answer.headers.get('www-authenticate')).toBe('Bearer')
        expect(await answer.json()).toMatchObject({
          error_code: 'UNAUTHENTICATED',
          message: expect.stringContaining('token'),
        })
      }
  })

  it('nothing is created without it', async () => {
    await fetch(control.url + APPS, { method: 'POST', headers: JSON_TYPE, body: '{"name":"sneaky"}' })
    expect(await control.store.apps.get('sneaky')).toBeNull()
  })

  it("health and the discovery of the product's clients do without", async () => {
    expect((await fetch(`${control.url}/healthz`)).status).toBe(200)
    expect((await fetch(`${control.url}/.well-known/databricks-config`)).status).toBe(404)
  })
})

describe('apps', () => {
  it('R3.1 one instance of a scaled app is allowed, and 2 or more recommended in the answer', async () => {
    const one = await control.call('POST', APPS, { name: 'one', compute_min_instances: 1, compute_max_instances: 1 })
    expect(one.status).toBe(200)
    expect(one.body.compute_status.message).toContain('2 or more instances are recommended')
    const two = await control.call('POST', APPS, { name: 'two', compute_min_instances: 2, compute_max_instances: 2 })
    expect(two.body.compute_status.message).not.toContain('recommended')
    expect(two.body).toMatchObject({ compute_min_instances: 2, compute_max_instances: 2 })
  })

  it('R5.0 without counts an app is a standard one and shows none', async () => {
    const { body } = await control.call('GET', `${APPS}/there`)
    expect(body).not.toHaveProperty('compute_min_instances')
    expect(body.mode).toBe('standard')
  })

  it('R2.3 more than 5 instances are refused before anything changes, with the limit and how to raise it', async () => {
    const answer = await control.call('POST', APPS, { name: 'six', compute_min_instances: 6, compute_max_instances: 6 })
    expect(answer.status).toBe(400)
    expect(answer.body.error_code).toBe('RESOURCE_LIMIT_EXCEEDED')
    expect(answer.body.message).toMatch(
      /instances is 6 .*may have 5.*admin can raise.*workspace set --max-instances-per-app/,
    )
    expect(await control.store.apps.get('six')).toBeNull()
  })

  it('R2.2 with the preview off a scaled app is refused with who can turn it on, and a standard one is not', async () => {
    const off = await startTestControl({ env: { COPPICE_HORIZONTAL_SCALING: 'off' } })
    try {
      const counts = { compute_min_instances: 2, compute_max_instances: 2 }
      const refused = await off.call('POST', APPS, { name: 'scaled', ...counts })
      expect(refused).toMatchObject({ status: 403, body: { error_code: 'FEATURE_DISABLED' } })
      expect(refused.body.message).toMatch(/preview that is off.*admin can turn the preview on/)
      expect(await off.store.apps.get('scaled')).toBeNull()
      expect((await off.call('POST', APPS, { name: 'plain' })).status).toBe(200)
    } finally {
      await off.stop()
    }
  })

  it('R2.3 a raised limit lets 6 in', async () => {
    const raised = await startTestControl({ env: { COPPICE_MAX_INSTANCES: '6' } })
    try {
      const six = await raised.call('POST', APPS, { name: 'six', compute_min_instances: 6, compute_max_instances: 6 })
      expect(six.status).toBe(200)
    } finally {
      await raised.stop()
    }
  })

  it('with no_compute is stopped, and otherwise active at once: clients fail on STOPPED', async () => {
    const stopped = await control.call('POST', `${APPS}?no_compute=true`, { name: 'asleep' })
    expect(stopped.body.compute_status.state).toBe('STOPPED')
    expect(stopped.body.app_status.state).toBe('UNAVAILABLE')
    const active = await control.call('POST', APPS, { name: 'awake' })
    expect(active.body.compute_status.state).toBe('ACTIVE')
  })

  it('a deployment of a stopped app is refused with what to do', async () => {
    const answer = await control.call('POST', `${APPS}/asleep/deployments`, { source_code_path: '.' })
    expect(answer.status).toBe(400)
    expect(answer.body).toMatchObject({
      error_code: 'INVALID_STATE',
      message: expect.stringContaining('Start the app compute to deploy the app'),
    })
  })

  it('are listed in pages that neither repeat nor skip when apps come in between', async () => {
    const seen: string[] = []
    let query = '?page_size=2'
    for (let page = 0; query !== ''; page++) {
      const { body } = await control.call('GET', `${APPS}${query}`)
      expect(body.apps.length).toBeLessThanOrEqual(2)
      seen.push(...body.apps.map((app: { name: string }) => app.name))
      query = body.next_page_token === undefined ? '' : `?page_size=2&page_token=${body.next_page_token}`
      if (page === 0) await control.call('POST', APPS, { name: 'aa-first' })
    }
    const all = (await control.store.apps.list()).map((app) => app.name).filter((name) => name !== 'aa-first')
    expect(seen).toEqual(all)
  })

  it('take back what they answered: fields that only answers carry are ignored by PATCH', async () => {
    const { body } = await control.call('GET', `${APPS}/two`)
    const answer = await control.call('PATCH', `${APPS}/two`, { ...body, mode: undefined, description: 'changed' })
    expect(answer.status).toBe(200)
    expect(answer.body.description).toBe('changed')
    expect((await control.call('PATCH', `${APPS}/two`, {})).body.description).toBe('changed')
  })

  it('D13 have a URL by name and one by a port of their own', async () => {
    const { body } = await control.call('GET', `${APPS}/there`)
    expect(body.url).toBe('http://there.localhost:8080')
    expect(body.urls).toEqual(['http://there.localhost:8080', expect.stringMatching(/^http:\/\/127\.0\.0\.1:8\d{3}$/)])
  })
})
