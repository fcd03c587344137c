/** What is the admins' (R2.1), and what goes in and never comes out (R3.7). */
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestControl, type TestControl } from './control.ts'

let control: TestControl
let user: string

beforeAll(async () => {
  control = await startTestControl({ env: { COPPICE_HORIZONTAL_SCALING: 'off' } })
  const made = await control.call('POST', '/api/coppice/v1/tokens', { name: 'ada' })
  user = made.body.token
})
afterAll(() => control?.stop())

const WORKSPACE = '/api/coppice/v1/workspace'
const TOKENS = '/api/coppice/v1/tokens'
const scaled = (name: string) => ({ name, compute_min_instances: 2, compute_max_instances: 2 })

describe('R2.1 only admins', () => {
  it.each([
    ['PATCH', WORKSPACE, { horizontal_scaling: true }],
    ['PATCH', WORKSPACE, { max_scaled_apps: 100 }],
    ['GET', TOKENS, undefined],
    ['POST', TOKENS, { name: 'eve', role: 'admin' }],
    ['DELETE', `${TOKENS}/ada`, undefined],
    ['POST', '/api/coppice/v1/artifacts/prune', {}],
    ['POST', '/api/coppice/v1/artifacts/scrub', {}],
    ['GET', '/api/coppice/v1/routes/stream?router=r', undefined],
    ['POST', '/api/coppice/v1/routers/report', {}],
    ['GET', '/api/coppice/v1/routers', undefined],
    ['DELETE', '/api/coppice/v1/routers/r', undefined],
    ['GET', '/api/coppice/v1/apps/any/naming-key', undefined],
  ])('%s %s', async (method, path, body) => {
    const before = await control.call('GET', WORKSPACE)
    const answer = await control.call(method, path, body, user)
    expect(answer).toMatchObject({ status: 403, body: { error_code: 'PERMISSION_DENIED' } })
    expect(answer.body.message).toContain('ada')
    expect(await control.call('GET', WORKSPACE)).toEqual(before)
    expect((await control.call('GET', TOKENS)).body.tokens).toHaveLength(1)
  })

  it('turn the preview on; users then scale their apps, and stand in the records with their names', async () => {
    expect((await control.call('POST', '/api/2.0/apps', scaled('hers'), user)).body).toMatchObject({
      error_code: 'FEATURE_DISABLED',
      message: expect.stringContaining('coppice workspace set --horizontal-scaling on'),
    })
    expect(
      (await control.call('PATCH', WORKSPACE, { horizontal_scaling: true })).body.settings.horizontal_scaling,
    ).toBe(true)
    const made = await control.call('POST', '/api/2.0/apps', scaled('hers'), user)
    expect(made).toMatchObject({ status: 200, body: { creator: 'ada' } })
    expect((await control.call('GET', '/api/2.0/preview/scim/v2/Me', undefined, user)).body.userName).toBe('ada')
  })

  it('R2.3 raise limits: the place past the last is refused with limit, use and way out, and there once it is raised', async () => {
    await control.call('PATCH', WORKSPACE, { max_scaled_apps: 1 })
    const refused = await control.call('POST', '/api/2.0/apps', scaled('second'), user)
    expect(refused.body).toMatchObject({
      error_code: 'RESOURCE_LIMIT_EXCEEDED',
      message: expect.stringMatching(/may have 1, and 1 are in use.*--max-scaled-apps/),
    })
    await control.call('PATCH', WORKSPACE, { max_scaled_apps: 2 })
    expect((await control.call('POST', '/api/2.0/apps', scaled('second'), user)).status).toBe(200)
  })
})

describe('a user, as docs/security.md says', () => {
  it('changes every app, also one that somebody else made: description, secrets, deletion', async () => {
    const made = await control.call('POST', '/api/2.0/apps', { name: 'his' })
    expect(made.body.creator).toBe('admin')
    const patched = await control.call('PATCH', '/api/2.0/apps/his', { description: 'by ada' }, user)
    expect(patched).toMatchObject({ status: 200, body: { creator: 'admin', description: 'by ada' } })
    const secret = await control.call('PUT', '/api/coppice/v1/apps/his/secrets/a', { value: 'x' }, user)
    expect(secret.status).toBe(200)
    // Refused for Temporal, which this test has none of, and not for who asks.
    expect((await control.call('DELETE', '/api/2.0/apps/his', undefined, user)).status).toBe(503)
  })
})

describe('R1.3 the workspace', () => {
  it('says what is used in all, what a size is, and that nothing enforces it here', async () => {
    const { body } = await control.call('GET', WORKSPACE, undefined, user)
    expect(body).toMatchObject({
      use: { scaled_apps: 2, instances: 0, vcpus: 0, memory_gb: 0, instance_hours: 0 },
      compute_sizes: { MEDIUM: { vcpus: 2, memory_gb: 6 }, LARGE: { vcpus: 4, memory_gb: 12 } },
      compute_limits: 'advisory',
    })
    expect((await control.call('GET', '/api/2.0/apps/hers')).body.compute_limits).toMatchObject({
      limits: 'advisory',
      instance: { vcpus: 2, memory_gb: 6 },
    })
  })

  it.each([
    [{ max_scaled_apps: -1 }, 'max_scaled_apps'],
    [{ max_instances_per_app: 65 }, 'max_instances_per_app'],
    [{ horizontal_scaling: 'on' }, 'horizontal_scaling'],
    [{ colour: 'blue' }, 'colour'],
  ])('R13.3 refuses %j', async (patch, field) => {
    expect(await control.call('PATCH', WORKSPACE, patch)).toMatchObject({ status: 400, body: { coppice: { field } } })
  })
})

describe('tokens', () => {
  it('are shown once, and end with their removal', async () => {
    const { body } = await control.call('POST', TOKENS, { name: 'bob', role: 'admin' })
    expect((await control.call('GET', TOKENS, undefined, body.token)).body.tokens).toMatchObject([
      { name: 'ada', role: 'user', created_by: 'admin' },
      { name: 'bob', role: 'admin' },
    ])
    expect(JSON.stringify(await control.call('GET', TOKENS))).not.toContain(body.token)
    expect((await control.call('POST', TOKENS, { name: 'bob' })).status).toBe(409)
    expect((await control.call('POST', TOKENS, { name: 'admin' })).body.coppice.field).toBe('name')
    await control.call('DELETE', `${TOKENS}/bob`)
    expect((await control.call('GET', WORKSPACE, undefined, body.token)).status).toBe(401)
    expect((await control.call('DELETE', `${TOKENS}/bob`)).status).toBe(404)
  })
})

describe('R3.7 secrets', () => {
  const SECRETS = '/api/coppice/v1/apps/hers/secrets'

  it('are set, listed by name and deleted; no answer and no event has a value', async () => {
    const answers = [
      await control.call('PUT', `${SECRETS}/db-password`, { value: 'planted-4711' }, user),
      await control.call('PUT', `${SECRETS}/db-password`, { value: 'planted-4712' }, user),
      await control.call('GET', SECRETS, undefined, user),
      await control.call('GET', '/api/2.0/apps/hers'),
    ]
    expect(answers[2]?.body.secrets).toEqual([{ name: 'db-password', update_time: expect.any(String) }])
    expect((await control.store.secrets.values('hers')).get('db-password')).toBe('planted-4712')
    const events = await control.store.events.after(0, { app: 'hers' })
    expect(events.map(({ kind }) => kind)).toContain('secret')
    expect(JSON.stringify([answers, events])).not.toContain('planted')
    expect((await control.call('DELETE', `${SECRETS}/db-password`)).status).toBe(200)
    expect((await control.call('DELETE', `${SECRETS}/db-password`)).status).toBe(404)
  })

  it.each([
    ['a bad name', `${SECRETS}/a%20b`, { value: 'x' }, 'secret'],
    ['no value', `${SECRETS}/a`, {}, 'value'],
    ['a NUL in it', `${SECRETS}/a`, { value: 'a\0b' }, 'value'],
    ['more than 64 KiB', `${SECRETS}/a`, { value: 'x'.repeat(65_537) }, 'value'],
    ['more than 64 KiB in fewer characters', `${SECRETS}/a`, { value: '€'.repeat(30_000) }, 'value'],
  ])('R13.3 with %s are refused', async (_words, path, body, field) => {
    expect(await control.call('PUT', path, body)).toMatchObject({ status: 400, body: { coppice: { field } } })
  })

  it('of an app that is not there are refused', async () => {
    expect((await control.call('PUT', '/api/coppice/v1/apps/nope/secrets/a', { value: 'x' })).status).toBe(404)
  })
})

describe('R11.4 the naming key of an app', () => {
  const PATH = '/api/coppice/v1/apps/hers/naming-key'

  it('is told to admins, is kept by no cache, and stands nowhere else that is told', async () => {
    const answer = await control.raw(PATH)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const { header, naming_key: key } = (await answer.json()) as { header: string; naming_key: string }
    expect([header, key]).toEqual(['X-Coppice-Naming-Key', await control.store.routes.namingKey('hers')])
    const told = await Promise.all([
      ...['/api/2.0/apps', '/api/2.0/apps/hers', WORKSPACE, '/api/coppice/v1/routers', '/api/coppice/v1/doctor'].map(
        (path) => control.call('GET', path),
      ),
      control.store.events.after(0, {}),
      control.store.routes.table({ domains: ['localhost'] }),
    ])
    expect(JSON.stringify(told)).toContain('hers')
    expect(JSON.stringify(told)).not.toContain(key)
    expect((await control.call('GET', '/api/coppice/v1/apps/nope/naming-key')).status).toBe(404)
  })

  it('is not told to users, also not for an app of theirs, nor without a token', async () => {
    const refused = await control.call('GET', PATH, undefined, user)
    expect(refused).toMatchObject({ status: 403, body: { error_code: 'PERMISSION_DENIED' } })
    const stranger = await fetch(control.url + PATH)
    expect(stranger.status).toBe(401)
    const key = await control.store.routes.namingKey('hers')
    expect(JSON.stringify([refused, await stranger.text()])).not.toContain(key)
  })
})

describe('R4.3 artifacts', () => {
  it('are listed, and pruned by age but for what is pinned', async () => {
    const upload = async (text: string) => {
      const { pack } = await import('tar-stream')
      const tar = pack()
      tar.entry({ name: 'app.py' }, text)
      tar.finalize()
      const chunks: Buffer[] = []
      for await (const chunk of tar) chunks.push(chunk as Buffer)
      const upload = { method: 'POST', headers: { 'content-type': 'application/gzip' }, body: Buffer.concat(chunks) }
      const answer = await control.raw('/api/coppice/v1/sources', upload)
      return ((await answer.json()) as { digest: string }).digest
    }
    const [kept, gone] = [await upload('a'), await upload('b')]
    await control.store.pins.pin(kept, 'a-deployment')
    const { body } = await control.call('GET', '/api/coppice/v1/artifacts', undefined, user)
    expect(body.artifacts).toEqual(
      expect.arrayContaining([
        { key: kept, kind: 'source', bytes: 1, use_time: expect.any(String), pinned: true, unread: null },
        expect.objectContaining({ key: gone, pinned: false }),
      ]),
    )
    expect((await control.call('POST', '/api/coppice/v1/artifacts/prune', {})).body.removed).toEqual([])
    // In the place of the folder to which it is taken there is a file.
    const trash = join(control.home, 'sources', 'trash')
    await writeFile(trash, '')
    expect((await control.call('POST', '/api/coppice/v1/artifacts/prune', { older_than: '0s' })).body).toEqual({
      removed: [],
      kept: 2,
      stuck: [{ key: gone, reason: expect.stringContaining('EEXIST') }],
    })
    await rm(trash)
    expect((await control.call('POST', '/api/coppice/v1/artifacts/prune', { older_than: '0s' })).body).toEqual({
      removed: [gone],
      kept: 1,
      stuck: [],
    })
    expect((await control.call('POST', '/api/coppice/v1/artifacts/scrub')).body).toEqual({
      checked: 1,
      damaged: [],
      unchecked: [],
    })
  })
})

describe('R3.7 the doctor', () => {
  it('says that the key of the secrets is gone while processes that run still know it', async () => {
    const file = join(control.home, 'secret.key')
    const check = async () =>
      (await control.call('GET', '/api/coppice/v1/doctor')).body.checks.find(
        ({ name }: { name: string }) => name === 'secret key',
      )
    expect(await check()).toBeUndefined()
    await rename(file, `${file}.away`)
    expect(await check()).toMatchObject({ ok: false, message: expect.stringContaining('secret.key is gone') })
    await rename(`${file}.away`, file)
    expect(await check()).toBeUndefined()
  })
})
