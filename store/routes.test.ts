import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Plan } from '../domain/plan.ts'
import type { ObservedPatch } from '../runtime/contracts.ts'
import { openStore } from './store.ts'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  for (const name of ['one', 'two']) await store.apps.create({ name, mode: 'scaled', instances: 1, creator: 'ada' })
})
afterEach(() => store.dispose())

const hosts = { domains: ['localhost'] }

it('D7 a table of a version is one table: with other domains all routes have a new version, with the same none', async () => {
  await store.routes.apply(hosts)
  const before = await store.routes.table(hosts)
  expect(await store.routes.apply(hosts)).toBe('same')
  expect(await store.routes.table(hosts)).toEqual(before)

  const more = { domains: ['localhost', 'apps.example.test'] }
  expect(await store.routes.apply(more)).toBe('changed')
  const after = await store.routes.table(more)
  expect(after.version).toBeGreaterThan(before.version)
  for (const [index, app] of after.apps.entries()) {
    expect(app.version).toBeGreaterThan(before.apps[index]?.version as number)
    expect(app.hostnames).toContain(`${app.app}.apps.example.test`)
  }
})

it('D7 so it is with another drain timeout', async () => {
  await store.routes.apply(hosts)
  const before = await store.routes.version()
  const other = await openStore({ home: store.home, drainTimeoutMs: 5_000 })
  expect(await other.routes.apply(hosts)).toBe('changed')
  await other.close()
  expect(await store.routes.version()).toBeGreaterThan(before)
})

describe('R11.4 the naming key of an app', () => {
  const digestOf = (key: string) => createHash('sha256').update(key).digest('hex')
  const digests = async () =>
    Object.fromEntries((await store.routes.table(hosts)).apps.map(({ app, namingDigest }) => [app, namingDigest]))

  it('is always the same, another one for each app, and stands in the table as its digest only', async () => {
    const [one, two] = [await store.routes.namingKey('one'), await store.routes.namingKey('two')]
    expect(Buffer.from(one, 'base64url')).toHaveLength(32)
    expect(one).not.toBe(two)
    expect(await store.routes.namingKey('one')).toBe(one)
    expect(await digests()).toEqual({ one: digestOf(one), two: digestOf(two) })
    const again = await openStore({ home: store.home })
    expect(await again.routes.namingKey('one')).toBe(one)
    await again.close()
    expect(JSON.stringify(await store.routes.table(hosts))).not.toContain(one)
  })

  it('is not kept in the inventory, and ends with its app: a later one of that name has another', async () => {
    const before = await store.routes.namingKey('one')
    await store.routes.apply(hosts)
    for (const name of ['inventory.db', 'inventory.db-wal'])
      expect(readFileSync(join(store.home, name)).includes(before), name).toBe(false)
    store.raw.prepare(`update apps set id = 'of-another-app' where name = 'one'`).run()
    const after = await store.routes.namingKey('one')
    expect(after).not.toBe(before)
    expect((await digests()).one).toBe(digestOf(after))
  })

  it('there is none without an app', async () => {
    await expect(store.routes.namingKey('none')).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('of a table before the first with such keys differs in version: routers would not take the new one else', async () => {
    await store.routes.apply(hosts)
    const before = await store.routes.version()
    // As a program without such keys left it.
    store.raw
      .prepare(`update meta set value = ? where key = 'route_settings'`)
      .run(JSON.stringify([hosts.domains, 30_000]))
    expect(await store.routes.apply(hosts)).toBe('changed')
    expect(await store.routes.version()).toBeGreaterThan(before)
  })
})

describe('an instance', () => {
  const observe = (patch: ObservedPatch) => store.instances.observe(id, patch)
  const endpoint = async () => (await store.routes.table(hosts)).apps[0]?.endpoints[0]
  let id: string
  let plan: Plan
  beforeEach(async () => {
    plan = await store.admissions.admit({
      id: 'op-00000001',
      app: 'one',
      type: 'deploy',
      workflowId: 'app/one',
      runId: 'run',
      byHand: {
        startedBy: 'ada',
        change: { type: 'deploy' },
        deployment: {
          sourceCodePath: 'x',
          source: null,
          command: null,
          env: [],
          health: { path: null, timeoutMs: 1_000 },
          creator: 'ada',
        },
      },
    })
    id = plan.add[0]?.id as string
  })

  it.each(['suspended', 'crashed', 'crashLoop', 'starting', 'gone'] as const)(
    'R12.2 that is observed as %s is not up in a new table, serving or draining; once it runs again it is in the next',
    async (observed) => {
      await observe({ observed: 'running', address: '127.0.0.1:20000' })
      await store.transitions.commit(plan)
      for (const role of ['serving', 'draining'] as const) {
        store.raw.prepare('update instances set role = ?').run(role)
        const before = await store.routes.version()
        expect(await endpoint()).toMatchObject({ state: role, up: true })
        await observe({ observed })
        expect(await endpoint()).toMatchObject({ state: role, up: false, address: '127.0.0.1:20000' })
        expect(await store.routes.version()).toBe(before + 1)
        await observe({ observed: 'running' })
        expect(await endpoint()).toMatchObject({ state: role, up: true })
        expect(await store.routes.version()).toBe(before + 2)
      }
    },
  )

  it('D7 makes no new table of what routers do not go by, and none while it is in no table', async () => {
    const before = await store.routes.version()
    await observe({ observed: 'starting' })
    await observe({ observed: 'running', address: '127.0.0.1:20000' })
    expect(await store.routes.version()).toBe(before)
    const { version } = await store.transitions.commit(plan)
    await observe({ observed: 'running', crashes: 0, message: 'as before', address: '127.0.0.1:20000' })
    await observe({ observed: 'crashed' })
    await observe({ observed: 'crashLoop', crashes: 2 })
    await observe({ observed: 'starting' })
    expect(await store.routes.version()).toBe(version + 1)
    await observe({ observed: 'running', address: '127.0.0.1:20001' })
    expect(await store.routes.version()).toBe(version + 2)
  })
})
