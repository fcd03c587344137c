import { afterEach, beforeEach, expect, it } from 'vitest'
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
