import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Schema } from './schema.ts'
import { openSqlite } from './sqlite.ts'
import { openStore } from './store.ts'
import { openTestStore, startRival, type TestStore } from './testing.ts'

let store: TestStore
let rival: Awaited<ReturnType<typeof startRival>>
beforeEach(async () => {
  store = await openTestStore({ lockPatienceMs: 2_000 })
  await store.apps.create({ name: 'hello', mode: 'standard', instances: 1, creator: 'ada' })
  rival = await startRival(store.home)
  await rival.standStill()
})
afterEach(async () => {
  await rival.stop()
  await store.dispose()
})

it('D4 a process that is stopped with the write lock keeps no read waiting, nor the event loop while a write waits', async () => {
  const written = store.appSettings.set('hello', { description: 'waited' })
  // Within SQLite this would wait until the lock is free, which it is never made here.
  const plan = await store.admissions.dryRun('hello', { type: 'stop' })
  expect(plan.target.desired).toBe('stopped')
  await store.admissions.assertFree('hello')
  expect((await store.routes.table({ domains: [] })).apps).toHaveLength(1)
  expect((await store.apps.get('hello'))?.description).toBe('')
  await rival.goOn()
  await written
  expect((await store.apps.get('hello'))?.description).toBe('waited')
})

it('D4 a write gives up with a clear word when its patience ends, which begins when it is asked for', async () => {
  const from = performance.now()
  const writes = Array.from({ length: 5 }, (_, i) => store.appSettings.set('hello', { description: `${i}` }))
  for (const write of writes)
    await expect(write).rejects.toMatchObject({ code: 'Unavailable', message: expect.stringMatching(/locked/) })
  // One after the other they would have taken 10 s.
  expect(performance.now() - from).toBeLessThan(6_000)
  await rival.goOn()
  await store.appSettings.set('hello', { description: 'later' })
  expect((await store.apps.get('hello'))?.description).toBe('later')
})

it('D4 writes come in the order in which they were asked for, and see each other', async () => {
  const writes = ['a', 'b', 'c'].map((name) => store.secrets.set('hello', name, name))
  const last = store.appSettings.set('hello', { description: 'last' })
  await rival.goOn()
  await Promise.all([...writes, last])
  expect((await store.secrets.list('hello')).map(({ name }) => name)).toEqual(['a', 'b', 'c'])
})

it('D4 a store can be opened while the lock is held: the usual start writes nothing', async () => {
  const second = await openStore({ home: store.home })
  try {
    expect(second.inventory).toBe(store.inventory)
    expect(await second.apps.list()).toHaveLength(1)
  } finally {
    await second.close()
    await rival.goOn()
  }
})

it('D4 refuses what is written through the connection that reads', async () => {
  await rival.goOn()
  const { reader, close } = openSqlite<Schema>({ file: join(store.home, 'inventory.db') })
  await expect(reader.deleteFrom('apps').execute()).rejects.toThrow(/readonly/)
  await close()
})
