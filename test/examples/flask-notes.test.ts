import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ROOT } from '../../scripts/stack-options.ts'
import { Platform } from '../helpers/platform.ts'

let platform: Platform

beforeAll(async () => {
  platform = await Platform.start()
  await cp(join(ROOT, 'examples', 'flask-notes'), join(platform.sources, 'notes'), { recursive: true })
})
afterAll(() => platform?.stop())

type Notes = { slot: number; notes: Array<{ text: string }> }

it('R3.2 R7.2 an app with requirements.txt runs on two instances, and a key finds the notes of its own', {
  timeout: 300_000,
}, async () => {
  const deployed = await platform.ended(await platform.beginDeploy('notes', { instances: 2 }), 240_000)
  expect(deployed.failure).toBeUndefined()

  const { body } = await platform.stack.api('GET', '/api/2.0/apps/notes')
  const url = body.urls.at(-1) as string
  const call = async (key: string, text?: string): Promise<Notes> => {
    const headers = { 'x-routing-key': key, 'content-type': 'application/json', accept: 'application/json' }
    const answer = await fetch(text === undefined ? url : `${url}/notes`, {
      headers,
      ...(text !== undefined && { method: 'POST', body: JSON.stringify({ text }) }),
    })
    expect(answer.ok).toBe(true)
    return (await answer.json()) as Notes
  }
  const keys = Array.from({ length: 20 }, (_, i) => `reader-${i}`)
  const slots = await Promise.all(keys.map(async (key) => (await call(key, key)).slot))
  expect([...new Set(slots)].sort()).toEqual([0, 1])
  for (const [i, key] of keys.entries()) {
    const { slot, notes } = await call(key)
    expect(slot).toBe(slots[i])
    expect(notes.map(({ text }) => text).sort()).toEqual(keys.filter((_, other) => slots[other] === slot).sort())
  }
})
