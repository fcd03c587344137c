import { afterEach, beforeEach, expect, it } from 'vitest'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
let foreign: Set<number>
beforeEach(async () => {
  foreign = new Set()
  store = await openTestStore({
    appPorts: { first: 8_100, last: 8_102 },
    isPortFree: async (port) => !foreign.has(port),
  })
})
afterEach(() => store.dispose())

const create = async (name: string) =>
  (await store.apps.create({ name, mode: 'standard', instances: 1, creator: 'ada' })).port

it('an app gets the first port that no other has and on which nobody foreign listens', async () => {
  foreign.add(8_101)
  expect(await create('a')).toBe(8_100)
  expect(await create('b')).toBe(8_102)
})

it('apps that are created at the same time get ports of their own, and none when all are taken', async () => {
  const ports = await Promise.all(['a', 'b', 'c', 'd'].map(create))
  expect(ports.toSorted()).toEqual([8_100, 8_101, 8_102, null])
})

it('an app that is made under a name that there is already is refused, and changes nothing', async () => {
  await create('a')
  const version = await store.routes.version()
  await expect(create('a')).rejects.toMatchObject({ code: 'AlreadyExists' })
  expect(await store.routes.version()).toBe(version)
  expect(await store.apps.list()).toHaveLength(1)
})
