import { expect, it, vi } from 'vitest'
import type { Store } from '../store/store.ts'
import { createLogger } from './logger.ts'
import { followNewBeginnings } from './new-beginnings.ts'

it('R12.9 what begins anew waits for no other one that takes long, or cannot be looked at', async () => {
  const stopping = new AbortController()
  const begunAnew = ['slow', 'broken', 'other']
  const asked: string[] = []
  let release: () => void = () => {}
  const lookAgain = async (id: string) => {
    asked.push(id)
    if (id === 'slow') await new Promise<void>((resolve) => (release = resolve))
    if (id === 'broken') throw new Error('the store is away')
  }
  const store = {
    instances: { begunAnew: async () => begunAnew },
    // One look, as after one change.
    watch: { until: (look: () => Promise<null>) => look() },
  } as unknown as Store
  const warned: unknown[] = []
  const logger = { ...createLogger('silent'), warn: (fields: unknown) => warned.push(fields) } as never
  const following = followNewBeginnings({ store, instances: { lookAgain }, logger }, stopping.signal)
  await vi.waitFor(() => expect(asked).toEqual(['slow', 'broken', 'other']))
  release()
  await following
  expect(warned).toEqual([{ err: new Error('the store is away'), instance: 'broken' }])
})
