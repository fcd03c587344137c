import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})
afterEach(() => store.dispose())

it('a token is known by itself alone, and its text is kept nowhere', async () => {
  const { token } = await store.tokens.create({ name: 'ada', role: 'user', createdBy: 'admin' })
  expect(await store.tokens.holder(token)).toEqual({ name: 'ada', role: 'user' })
  expect(await store.tokens.holder(`${token}x`)).toBeNull()
  expect(await store.tokens.holder('ada')).toBeNull()
  for (const name of ['inventory.db', 'inventory.db-wal'])
    expect(readFileSync(join(store.home, name)).includes(token)).toBe(false)
})

it('a name stands for one token, until it is removed', async () => {
  const { token } = await store.tokens.create({ name: 'ada', role: 'admin', createdBy: 'admin' })
  await expect(store.tokens.create({ name: 'ada', role: 'user', createdBy: 'x' })).rejects.toMatchObject({
    code: 'AlreadyExists',
  })
  expect(await store.tokens.remove('ada')).toBe(true)
  expect(await store.tokens.remove('ada')).toBe(false)
  expect(await store.tokens.holder(token)).toBeNull()
  expect(await store.tokens.list()).toEqual([])
})
